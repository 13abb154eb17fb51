"""An OTLP/HTTP receiver of JSON that misbehaves on request.  usage: odd_collector.py PORT

GET /mode/NAME   what the next export (or, for some, every export) gets; forgets what came before
GET /requests    [{"ids": [span id, ...], "accepted": N, "rejected": N, "at": seconds, "path": text}, ...] since then
"""

import gzip
import json
import socket
import struct
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

state = {"mode": "ok", "requests": []}
ONCE = ("throttle", "unavailable", "reset", "hang", "partial")  # afterwards the receiver is well


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, body=b"{}", headers=()):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/mode/"):
            state["mode"] = self.path.split("/")[2]
            state["requests"] = []
        self.answer(200, json.dumps(state["requests"]).encode())

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        ids = [span["spanId"] for r in json.loads(data).get("resourceSpans", []) for s in r["scopeSpans"]
               for span in s["spans"]]
        mode = state["mode"]
        if mode in ONCE:
            state["mode"] = "ok"
        record = {"ids": ids, "accepted": 0, "rejected": 0, "at": time.monotonic(), "path": self.path,
                  "key": self.headers.get("x-key", "")}
        state["requests"].append(record)
        if mode == "hang":
            time.sleep(4)
            self.close_connection = True
        elif mode == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif mode == "throttle":
            self.answer(429, headers=[("Retry-After", "1")])
        elif mode == "unavailable":
            self.answer(503)
        elif mode == "refuse":
            self.answer(400, b'{"code":3,"message":"no"}')
        elif mode == "limit":
            self.answer(413)
        elif mode == "redirect":
            self.answer(307, headers=[("Location", "/elsewhere")])
        elif mode == "partial":
            record["rejected"] = min(4, len(ids))
            record["accepted"] = len(ids) - record["rejected"]
            self.answer(200, json.dumps({"partialSuccess": {"rejectedSpans": str(record["rejected"]),
                                                            "errorMessage": "odd"}}).encode())
        else:
            record["accepted"] = len(ids)
            if mode == "slow":
                time.sleep(0.7)
            body = {"garbage": b"\x00\xff<html>", "huge": b" " * 20_000_000}.get(mode, b"{}")
            self.answer(200, body)


class Server(ThreadingHTTPServer):
    def handle_error(self, request, address):  # what it does to connections is meant
        pass


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
