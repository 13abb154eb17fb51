"""Exactly N GET requests over C keep-alive connections, each answered before the next one is sent on its connection.

usage: load.py HOST PORT PATH N C    prints {"requests": N, "bad": number of answers other than 200}
"""

import json
import selectors
import socket
import sys


def main():
    host, port, path, total, connections = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    selector = selectors.DefaultSelector()
    sent = done = bad = 0
    for _ in range(min(connections, total)):
        sock = socket.create_connection((host, port))
        selector.register(sock, selectors.EVENT_READ, bytearray())
        sock.sendall(request)
        sent += 1
    while done < total:
        for key, _ in selector.select(30):
            data = key.fileobj.recv(65536)
            if not data:
                sys.exit("the server closed a connection")
            key.data.extend(data)
            end = key.data.find(b"\r\n\r\n")
            if end < 0:
                continue
            head = bytes(key.data[:end]).lower()
            if b"chunked" in head:
                if not key.data.endswith(b"0\r\n\r\n"):
                    continue
            else:
                at = head.index(b"content-length:") + 15
                if len(key.data) < end + 4 + int(head[at:].split(b"\r\n")[0]):
                    continue
            done += 1
            bad += not key.data.startswith(b"HTTP/1.1 200")
            key.data.clear()
            if sent < total:
                key.fileobj.sendall(request)
                sent += 1
    print(json.dumps({"requests": done, "bad": bad}))


main()
