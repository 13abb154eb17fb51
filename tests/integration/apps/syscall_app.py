"""Makes system calls of every kind that is measured, a known number of each: usage syscall_app.py FOLDER."""

import os
import select
import socket
import sys
import threading
import time

folder = sys.argv[1]
path = os.path.join(folder, "data")
with open(path, "wb", buffering=0) as file:
    for _ in range(40):
        file.write(b"x" * 4096)
        os.fsync(file.fileno())
    for _ in range(20):
        os.pwrite(file.fileno(), b"y" * 512, 0)
        os.fdatasync(file.fileno())
for _ in range(25):
    try:
        os.open(os.path.join(folder, "missing"), os.O_RDONLY)
    except FileNotFoundError:
        pass
here, there = socket.socketpair()
for _ in range(300):
    here.send(b"question")
    there.recv(64)
there.setblocking(False)
for _ in range(30):
    try:
        there.recv(64)
    except BlockingIOError:
        pass
waiter = select.poll()
waiter.register(here, select.POLLIN)
for _ in range(20):
    waiter.poll(15)
for _ in range(10):
    time.sleep(0.025)
lock = threading.Lock()
lock.acquire()
threads = [threading.Thread(target=lock.acquire, kwargs={"timeout": 0.2}) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
