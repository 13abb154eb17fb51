"""A client that does as it is told, one JSON list a line on standard input: [operation, argument...]; answers each with
one JSON value a line. Its sockets are the only ones it has, so all of its traffic is known to the test."""

import json
import socket
import struct
import sys
import time

import wire

connections = {}
count = 0


def connect(address, *options):
    """[host, port] or a path; gives the connection's number."""
    global count
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address)
    else:
        sock = socket.create_connection(tuple(address))
    count += 1
    connections[count] = (sock, wire.Reader(sock))
    return count


def send(number, text, how="send"):
    wire.send_all(connections[number][0], text.encode("latin-1"), how)


def receive(number, method="GET", how="recv"):
    """One response, interim ones included: [[statuses], body length], or null when the stream ended first."""
    reader = connections[number][1]
    reader.how = how
    statuses = []
    while True:
        start, headers = wire.read_head(reader)
        if start is None:
            return None
        status = int(start.split()[1])
        statuses.append(status)
        if status >= 200 or status == 101:
            break
    length = 0
    if method == "HEAD" or status in (101, 204, 304) or (method == "CONNECT" and status == 200):
        pass
    elif headers.get("transfer-encoding") == "chunked":
        length = wire.read_chunked(reader)
    elif "content-length" in headers:
        length = int(headers["content-length"])
        try:
            reader.skip(length)
        except (EOFError, OSError):
            return [statuses, -1]
    else:
        length = reader.to_end()
    return [statuses, length]


def raw(number, size):
    return connections[number][1].exactly(size).decode("latin-1")


def to_end(number):
    try:
        return connections[number][1].to_end()
    except OSError as error:
        return error.errno


def timed(number, text, repeat):
    """[seconds] of each request with its response, as this program sees them: from before the send to after the read."""
    sock, reader = connections[number]
    data = text.encode("latin-1")
    result = []
    for _ in range(repeat):
        begin = time.perf_counter()
        sock.sendall(data)
        receive(number)
        result.append(time.perf_counter() - begin)
    return result


def close(number, reset=False):
    sock = connections.pop(number)[0]
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


operations = {f.__name__: f for f in (connect, send, receive, raw, to_end, timed, close)}
for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        answer = {"ok": operations[name](*arguments)}
    except Exception as error:  # told to the test, which decides what it means
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
