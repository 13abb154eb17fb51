"""A web application with the OpenTelemetry SDK inside, which exports its own spans (and metrics) by OTLP over HTTP.

usage: otel_app.py PORT COLLECTOR NEXT [metrics]
GET /work asks NEXT (host:port) for /plain with the context of its client span in the headers, and answers
{"trace": id, "server": span id, "client": span id}; every other GET just answers.
"""

import http.client
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

PORT, COLLECTOR, NEXT = int(sys.argv[1]), sys.argv[2], sys.argv[3]
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"http://{COLLECTOR}/v1/traces"),
                                               schedule_delay_millis=200))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("shop")
if "metrics" in sys.argv[4:]:
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"http://{COLLECTOR}/v1/metrics"), 200)
    metrics.set_meter_provider(MeterProvider([reader]))
counter = metrics.get_meter("shop").create_counter("orders")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        answer = {}
        with tracer.start_as_current_span("work", extract(self.headers), SpanKind.SERVER) as server:
            counter.add(1)
            if self.path == "/work":
                with tracer.start_as_current_span("ask", kind=SpanKind.CLIENT) as client:
                    headers = {}
                    inject(headers)
                    connection = http.client.HTTPConnection(NEXT)
                    connection.request("GET", "/plain", headers=headers)
                    connection.getresponse().read()
                    connection.close()
                context = server.get_span_context()
                answer = {"trace": f"{context.trace_id:032x}", "server": f"{context.span_id:016x}",
                          "client": f"{client.get_span_context().span_id:016x}"}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
