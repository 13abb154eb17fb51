"""An OTLP/HTTP receiver (protobuf) that counts spans.  usage: receiver.py PORT [SECONDS]

Each export is answered after SECONDS, once it is up for GRACE: requests that others have tried in vain before have less time
left, and nobody could say whether what is answered too late was delivered. GET /stop answers {"requests": N, "spans": N,
"points_requests": N}; from then on nothing is counted or answered.
"""

import gzip
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GRACE = 8
STARTED = time.monotonic()
lock = threading.Lock()
stopped = threading.Event()
stats = {"requests": 0, "spans": 0, "points_requests": 0}


def fields(data, begin, end):
    """(number, begin, end) of each length-delimited field of the message; others are skipped."""
    at = begin
    while at < end:
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 2:
            size, at = varint(data, at)
            yield tag >> 3, at, at + size
            at += size
        elif kind == 0:
            _, at = varint(data, at)
        else:
            at += 8 if kind == 1 else 4
    if at != end:
        raise ValueError("the message ends within a field")


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def spans_in(data):
    """ExportTraceServiceRequest.resource_spans[].scope_spans[].spans"""
    count = 0
    for number, begin, end in fields(data, 0, len(data)):
        if number == 1:
            for inner, inner_begin, inner_end in fields(data, begin, end):
                if inner == 2:
                    count += sum(1 for leaf, _, _ in fields(data, inner_begin, inner_end) if leaf == 2)
    return count


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, body=b"", kind="application/x-protobuf"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        with lock:
            stopped.set()
            self.answer(json.dumps(stats).encode(), "application/json")

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        if time.monotonic() > STARTED + GRACE:
            time.sleep(DELAY)
        with lock:
            if stopped.is_set():
                self.close_connection = True
                return
            stats["requests"] += 1
            if self.path.endswith("/v1/traces"):
                stats["spans"] += spans_in(data)
            else:
                stats["points_requests"] += 1
            self.answer()


DELAY = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
