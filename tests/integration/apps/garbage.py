"""Random bytes over TCP in both directions: text, binary, half-true beginnings of protocols.  usage: garbage.py BYTES SEED"""

import random
import socket
import struct
import sys
import threading

total, seed = int(sys.argv[1]), int(sys.argv[2])
rng = random.Random(seed)


def piece():
    size = rng.choice((3, 50, 700, 9000))
    kind = rng.randrange(8)
    if kind == 0:
        return "".join(rng.choices("GETPOSTHTTP/1. \r\n:abc", k=size)).encode()
    if kind == 1:
        return b"GET " + rng.randbytes(size) + b"\r\n"
    if kind == 2:
        return rng.choice((b"Q", b"P", b"B", b"E", b"Z", b"T", b"D")) + struct.pack("!I", rng.randrange(0, 1 << 32)) + rng.randbytes(size)
    if kind == 3:
        return b"SSH-2.0-OpenSSH_9.2\r\n" + rng.randbytes(size)
    if kind == 4:
        return b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n" % size + rng.randbytes(size) + b"\r\n"
    if kind == 5:
        return b"\x16\x03\x01" + struct.pack("!H", size) + rng.randbytes(size)
    if kind == 6:
        return b"EHLO example.test\r\nMAIL FROM:<a@example.test>\r\n" * (size // 40 + 1)
    return rng.randbytes(size)


listener = socket.create_server(("127.0.0.1", 0))


def drain(sock):
    try:
        while sock.recv(1 << 16):
            pass
    except OSError:  # closed under us
        pass


def serve():
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=drain, args=(sock,), daemon=True).start()
        try:
            for _ in range(30):
                sock.sendall(piece())
        except OSError:
            pass


threading.Thread(target=serve, daemon=True).start()
sent = 0
while sent < total:
    with socket.create_connection(listener.getsockname()) as sock:
        threading.Thread(target=drain, args=(sock,), daemon=True).start()
        for _ in range(30):
            data = piece()
            sock.sendall(data)
            sent += len(data)
        sock.shutdown(socket.SHUT_WR)
print(sent)
