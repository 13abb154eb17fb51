"""An OTLP/HTTP receiver that counts.  usage: collector.py PORT [ok|refuse|hang|retry]

GET /stats answers {"requests": N, "spans": N, "metrics": N, "bytes": N, "largest": N}, where spans and metrics are
requests of that signal with their size; refuse answers 400, retry answers 503 to every other request, hang never answers.
"""

import gzip
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = sys.argv[2] if len(sys.argv) > 2 else "ok"
stats = {"requests": 0, "spans": 0, "metrics": 0, "bytes": 0, "largest": 0, "headers": {}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, body=b"", kind="application/x-protobuf"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, json.dumps(stats).encode(), "application/json")

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        stats["requests"] += 1
        if MODE == "hang":
            time.sleep(3600)
        if MODE == "refuse":
            return self.answer(400)
        if MODE == "retry" and stats["requests"] % 2:
            return self.answer(503)
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        stats["spans" if self.path.endswith("/v1/traces") else "metrics"] += 1
        stats["bytes"] += len(data)
        stats["largest"] = max(stats["largest"], len(data))
        stats["headers"] = dict(self.headers.items())
        with open(sys.argv[3] + ("/traces" if self.path.endswith("/v1/traces") else "/metrics"), "ab") as file:
            file.write(data)  # concatenated messages are one message: repeated fields add up
        self.answer(200)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
