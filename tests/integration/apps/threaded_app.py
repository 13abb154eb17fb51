"""A blocking, threaded web application on PostgreSQL: the request of a thread is the parent of that thread's queries.

usage: threaded_app.py PORT DSN [NEXT]    GET /orders/N: two queries; GET /relay: asks NEXT over HTTP; GET /plain: nothing
"""

import http.client
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2

local = threading.local()
DSN = sys.argv[2]
NEXT = sys.argv[3] if len(sys.argv) > 3 else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        body = b"plain"
        if self.path.startswith("/orders/"):
            if not hasattr(local, "connection"):
                local.connection = psycopg2.connect(DSN)
                local.connection.autocommit = True
            cursor = local.connection.cursor()
            cursor.execute("SELECT name FROM items WHERE id = %s", (int(self.path.split("/")[2]) % 100,))
            body = str(cursor.fetchall()).encode()
            cursor.execute("INSERT INTO log (who, what) VALUES ('threaded', %s)", (self.path,))
        elif self.path.startswith("/relay"):
            host, port = NEXT.split(":")
            upstream = http.client.HTTPConnection(host, int(port))
            upstream.request("GET", "/plain")
            body = upstream.getresponse().read()
            upstream.close()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
