"""Two processes that send each other pseudo-random bytes over TCP, in HTTP and PostgreSQL dress and bare, and hash what
arrives; whoever touches one byte, or breaks a connection, is found out.

usage: stream.py SECONDS SEED    prints {"sent": N, "received": N, "mismatches": 0, "errors": 0, "streams": N}
"""

import hashlib
import json
import multiprocessing
import random
import socket
import struct
import sys
import time


def payload(rng):
    """A message whose beginning may look like a protocol; the body is never looked at here."""
    body = rng.randbytes(rng.choice((1, 17, 300, 4096, 70000, 300000)))
    dress = rng.randrange(6)
    if dress == 0:
        return b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    if dress == 1:
        return b"Q" + struct.pack("!I", len(body) + 5) + body + b"\0"
    if dress == 2:
        return b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    if dress == 3:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n" + body
    return body


def send(sock, data, rng):
    how = rng.randrange(4)
    if how == 0:
        sock.sendall(data)
    elif how == 1:
        while data:
            data = data[sock.sendmsg([data[:100], data[100:1000], data[1000:]]):]
    elif how == 2:
        while data:
            size = rng.randrange(1, 50000)
            sock.sendall(data[:size])
            data = data[size:]
    else:
        sock.setblocking(False)
        while data:
            try:
                data = data[sock.send(data):]
            except BlockingIOError:
                time.sleep(0.0005)
        sock.setblocking(True)


def peer(listener):
    """Answers each length-framed message with its digest and an echo of it."""
    while True:
        sock, _ = listener.accept()
        with sock:
            rng = random.Random(7)
            while True:
                head = receive(sock, 8)
                if head is None:
                    break
                data = receive(sock, struct.unpack("!Q", head)[0])
                send(sock, hashlib.sha256(data).digest() + data, rng)


def receive(sock, size):
    parts, left = [], size
    while left:
        data = sock.recv(min(left, 1 << 18))
        if not data:
            if parts or size != 8:
                raise EOFError
            return None
        parts.append(data)
        left -= len(data)
    return b"".join(parts)


def main():
    seconds, seed = float(sys.argv[1]), int(sys.argv[2])
    listener = socket.create_server(("127.0.0.1", 0))
    child = multiprocessing.get_context("fork").Process(target=peer, args=(listener,), daemon=True)
    child.start()
    rng = random.Random(seed)
    result = {"sent": 0, "received": 0, "mismatches": 0, "errors": 0, "streams": 0}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result["streams"] += 1
        try:
            with socket.create_connection(listener.getsockname(), timeout=30) as sock:
                for _ in range(20):
                    data = payload(rng)
                    sock.sendall(struct.pack("!Q", len(data)))
                    # The peer reads all before it answers, so this cannot block for ever.
                    send(sock, data, rng)
                    digest, echo = receive(sock, 32), receive(sock, len(data))
                    result["sent"] += len(data)
                    result["received"] += len(echo)
                    result["mismatches"] += digest != hashlib.sha256(data).digest() or echo != data
        except (OSError, EOFError):
            result["errors"] += 1
    print(json.dumps(result))
    child.terminate()


main()
