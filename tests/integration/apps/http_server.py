"""An HTTP server whose every byte and system call is chosen by the request.

usage: http_server.py PORT [MODE]
  threads   one blocking thread a connection (default)
  prefork   four processes accept on one shared listener
  fork      one child a connection, accepted by the parent
  pass      the parent reads half of the head and hands the socket on by SCM_RIGHTS
  split     one thread reads, another writes
  ipv6      like threads, on [::1]
  unix:PATH like threads, on an AF_UNIX socket (PORT is listened on too, and only says that all is ready)
"""

import os
import socket
import struct
import sys
import tempfile
import threading
import time

import wire

BIG = 8 * 1024 * 1024
TEXT = {200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified", 404: "Not Found", 500: "Internal Server Error",
        503: "Service Unavailable"}


def response(status, body=b"", headers=()):
    lines = [f"HTTP/1.1 {status} {TEXT.get(status, 'Other')}", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def handle(sock, reader, start, headers, send):
    """Answers one request; False ends the connection."""
    method, target, _version = start.split(" ")
    path, _, query = target.split("://", 1)[-1].partition("?")
    if not path.startswith("/") and method != "CONNECT":
        path = "/" + path.partition("/")[2]
    name, _, argument = path.strip("/").partition("/")
    if name == "early":  # the answer is complete before the request is
        send(response(200, b"early"))
    if headers.get("expect") == "100-continue":
        send(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "content-length" in headers:
        reader.skip(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        wire.read_chunked(reader)
    if name == "early":
        return True
    if method == "CONNECT" or name == "upgrade":
        if method == "CONNECT":
            send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while True:  # no HTTP any more: echo
            if not reader.buffer and not reader.fill():
                return False
            data, reader.buffer = reader.buffer, b""
            send(data)
    if name == "status":
        send(response(int(argument), b"" if argument in ("204", "304") else b"x" * 10))
    elif name == "chunked":
        send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Checksum\r\n\r\n")
        for part in (b"hello ", b"chunked ", b"world"):
            send(b"%x;note=1\r\n%s\r\n" % (len(part), part))
            time.sleep(0.005)
        send(b"0\r\nChecksum: 1\r\n\r\n")
    elif name == "close":
        send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        send(b"y" * 5000)
        time.sleep(0.02)
        send(b"y" * 5000)
        return False
    elif name == "hints":
        send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        time.sleep(0.01)
        send(response(200, b"ok"))
    elif name == "head":  # the length of what GET would give, and no body
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 123456\r\n\r\n")
    elif name == "unmodified":
        send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 123456\r\nETag: \"a\"\r\n\r\n")
    elif name in ("sendfile", "splice"):
        send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
        with tempfile.TemporaryFile() as file:
            file.truncate(BIG)
            (wire.send_file if name == "sendfile" else wire.splice_file)(sock, file, BIG)
    elif name == "big":
        send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
        for _ in range(BIG // 65536):
            send(bytes(65536))
    elif name == "sleep":
        time.sleep(float(argument))
        send(response(200, b"slept"))
    elif name == "by":  # answered by the named system call
        wire.send_all(sock, response(200, b"z" * 3000), argument)
    elif name == "headers":
        send(response(200, b"ok", [f"X-Long-{i}: {'v' * 1000}" for i in range(int(argument))]))
    elif name == "cut":
        if argument == "head":
            send(b"HTTP/1.1 200 OK\r\nContent-Le")
        elif argument == "body":
            send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
        elif argument == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False
    elif name == "pid":
        send(response(200, str(os.getpid()).encode()))
    else:
        send(response(200, b"ok"))
    return headers.get("connection", "").lower() != "close"


def serve(sock, reading="recv", send=None, first=b""):
    """Answers requests on one connection until its end."""
    reader = wire.Reader(sock, reading)
    reader.buffer = first
    try:
        while True:
            start, headers = wire.read_head(reader)
            if start is None:
                break
            if "x-read-by" in headers:
                reader.how = headers["x-read-by"]
            if not handle(sock, reader, start, headers, send or sock.sendall):
                break
    except (OSError, EOFError):
        pass
    sock.close()


def serve_split(sock):
    """Reads here, writes in another thread."""
    from queue import Queue
    queue = Queue()

    def write():
        while True:
            data, done = queue.get()
            if data is None:
                return
            sock.sendall(data)
            done.set()

    def send(data):
        done = threading.Event()
        queue.put((data, done))
        done.wait(5)
    threading.Thread(target=write, daemon=True).start()
    serve(sock, send=send)
    queue.put((None, None))


def in_threads(listener, target):
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=target, args=(sock,), daemon=True).start()


def pass_sockets(listener):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        listener.close()
        ours.close()
        while True:
            first, descriptors, _, _ = socket.recv_fds(theirs, 65536, 1)
            if not descriptors:
                os._exit(0)
            sock = socket.socket(fileno=descriptors[0])
            threading.Thread(target=serve, args=(sock,), kwargs={"first": first}, daemon=True).start()
    while True:
        sock, _ = listener.accept()
        first = sock.recv(12)
        socket.send_fds(ours, [first], [sock.fileno()])
        sock.close()


def main():
    port, mode = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "threads"
    if mode == "ipv6":
        listener = socket.create_server(("::1", port), family=socket.AF_INET6)
    else:
        listener = socket.create_server(("127.0.0.1", port), backlog=512)
    if mode in ("threads", "ipv6"):
        in_threads(listener, serve)
    elif mode == "split":
        in_threads(listener, serve_split)
    elif mode.startswith("unix:"):
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(mode[5:])
        unix.listen()
        in_threads(unix, serve)
    elif mode == "prefork":
        for _ in range(3):
            if os.fork() == 0:
                break
        while True:
            sock, _ = listener.accept()
            serve(sock)
    elif mode == "fork":
        while True:
            sock, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                serve(sock)
                os._exit(0)
            sock.close()
    elif mode == "pass":
        pass_sockets(listener)
    else:
        sys.exit(f"unknown mode {mode}")


main()
