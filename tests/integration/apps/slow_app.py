"""A threaded web server whose requests are slow for a known reason: GET /CAUSE/MILLISECONDS.

usage: slow_app.py PORT FOLDER
"""

import os
import select
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lock = threading.Lock()


def hold_lock(seconds):
    lock.acquire()
    threading.Timer(seconds, lock.release).start()
    with lock:
        pass


def burn(seconds):
    end = time.thread_time() + seconds  # of CPU
    while time.thread_time() < end:
        pass


def share_a_cpu(seconds):
    """Runs on a CPU that somebody else wants as well."""
    os.sched_setaffinity(threading.get_native_id(), {0})
    hog = subprocess.Popen(["taskset", "-c", "0", sys.executable, "-c", "while True: pass"])
    try:
        burn(seconds / 2)
    finally:
        hog.kill()
        hog.wait()
        os.sched_setaffinity(threading.get_native_id(), range(os.cpu_count()))


def write_through(seconds):
    """Every write waits until it is on the disk."""
    end = time.monotonic() + seconds
    with open(os.path.join(sys.argv[2], f"data.{threading.get_native_id()}"), "wb", buffering=0) as file:
        while time.monotonic() < end:
            file.write(bytes(4096))
            os.fsync(file.fileno())


def receive(seconds):
    here, there = socket.socketpair()
    threading.Timer(seconds, there.close).start()
    here.recv(1)


def read_pipe(seconds):
    reader, writer = os.pipe()
    threading.Timer(seconds, os.close, (writer,)).start()
    os.read(reader, 1)
    os.close(reader)


CAUSES = {"sleep": time.sleep, "lock": hold_lock, "burn": burn, "share": share_a_cpu, "disk": write_through, "socket": receive,
          "pipe": read_pipe, "poll": lambda seconds: select.select([], [], [], seconds),
          "child": lambda seconds: subprocess.run(["sleep", str(seconds)], check=True)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        _, cause, milliseconds = self.path.split("/")
        CAUSES[cause](int(milliseconds) / 1000)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


class OldHandler(Handler):
    """Ends its thread with the answer."""
    protocol_version = "HTTP/1.0"


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), OldHandler if "old" in sys.argv[3:] else Handler).serve_forever()
