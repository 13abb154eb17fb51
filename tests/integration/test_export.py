"""What leaves, by every OTLP transport: against the OpenTelemetry Collector, and against a receiver that misbehaves.

The judge is what the receiver took: it is compared with the agent's ledger, to the unit.
"""

import json
import os
import time
import unittest

import prepare
from harness import (APPS, Agent, Case, SYSTEM_PYTHON, free_port, http_get, read_metrics, read_spans, run, tail,
                     wait_for_listener, wait_until)


class ExportCase(Case):
    def load(self, port, count, connections=4):
        """Requests of a process of its own; gives its process id."""
        process = self.workspace.start([SYSTEM_PYTHON, os.path.join(APPS, "load.py"), "127.0.0.1", port, "/ok", count, connections],
                                       "load")
        self.assertEqual(process.wait(120), 0, tail(process.log_path))
        return process.pid

    def totals(self, agent, pids):
        """Sums of the ledger over both ends of the HTTP exchanges of some processes."""
        total = {"seen": 0, "emitted": 0, "in_flight": 0, "dropped": {}}
        for row in agent.ledger(pids):
            for key in ("seen", "emitted", "in_flight"):
                total[key] += row[key]
            for reason, count in row["dropped"].items():
                total["dropped"][reason] = total["dropped"].get(reason, 0) + count
        return total

    def settled(self, agent, pids, count, timeout=20):
        """The totals once `count` requests were seen and none is in flight."""
        def ready():
            total = self.totals(agent, pids)
            return total if total["seen"] >= count and total["in_flight"] == 0 else None
        total = wait_until(ready, f"{count} requests are not accounted for: {agent.ledger_text()}\n{agent.log()}", timeout)
        self.assertEqual(total["seen"], count)
        return total


def make_certificates(folder):
    """A certification authority, and by it a server and a client."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    run(["openssl", "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test-ca"], cwd=folder)
    with open(os.path.join(folder, "names"), "w") as file:
        file.write("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("server", "client"):
        run(["openssl", "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"], cwd=folder)
        run(["openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
             "-days", "2", "-extfile", "names", "-out", f"{name}.pem"], cwd=folder)


def established(port):
    """Local ports of the connections of this host to a port of its own."""
    found = set()
    with open("/proc/net/tcp") as file:
        for line in file:
            fields = line.split()
            if fields[2].endswith(f":{port:04X}") and fields[3] == "01":
                found.add(int(fields[1].split(":")[1], 16))
    return found


class Collector(ExportCase):
    """The OpenTelemetry Collector with its OTLP receiver."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = cls.workspace.path
        make_certificates(folder)
        cls.ports = {name: free_port() for name in ("grpc", "http", "tls grpc", "tls http", "small")}
        cls.output = cls.workspace.file("collected.jsonl")
        tls = {"cert_file": f"{folder}/server.pem", "key_file": f"{folder}/server.key", "client_ca_file": f"{folder}/ca.pem"}
        address = {name: {"endpoint": f"127.0.0.1:{port}"} for name, port in cls.ports.items()}
        receivers = {
            "otlp": {"protocols": {"grpc": address["grpc"], "http": address["http"]}},
            "otlp/tls": {"protocols": {"grpc": {**address["tls grpc"], "tls": tls}, "http": {**address["tls http"], "tls": tls}}},
            "otlp/small": {"protocols": {"grpc": {**address["small"], "max_recv_msg_size_mib": 1}}},
        }
        pipeline = {"receivers": list(receivers), "exporters": ["lines"]}
        config = {
            "receivers": receivers, "exporters": {"lines": {"path": cls.output}},
            "service": {"telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
                        "pipelines": {"traces": pipeline, "metrics": pipeline}},
        }
        with open(cls.workspace.file("collector.yaml"), "w") as file:
            json.dump(config, file)
        cls.collector = cls.workspace.start([prepare.COLLECTOR, "--config", file.name], "otel-collector")
        for port in cls.ports.values():
            wait_for_listener(port, cls.collector)

    def collected(self):
        with open(self.output, "rb") as file:
            return [line for line in file.read().split(b"\n") if line]

    def send(self, otlp, count=200, **export):
        """Traces `count` requests with an agent of that configuration. Gives (agent, pids of both ends); the agent runs."""
        server, port = self.start_app("http_server.py")
        agent = Agent(self.workspace, {"export": {"traces": ["otlp"], "metrics": ["otlp"], "otlp": otlp, **export}})
        return agent, {server.pid, self.load(port, count)}

    def check_collected(self, pids, emitted, count):
        spans = [s for s in read_spans(self.collected()) if s.pid in pids]
        self.assertEqual(len(spans), emitted)
        self.assertEqual(len({s.span_id for s in spans}), emitted, "a span arrived twice")
        for kind in (2, 3):
            self.assertEqual(sum(s.kind == kind for s in spans), count)
        self.assertLessEqual({s.attributes["http.response.status_code"] for s in spans}, {200})

    def requests_counted(self, pids):
        """By the collector's newest point of each end."""
        newest = {}
        for resource, metric in read_metrics(self.collected()):
            if resource.get("process.pid") in pids and metric["name"].endswith(".request.duration"):
                for point in metric["histogram"]["dataPoints"]:
                    newest[metric["name"]] = int(point["count"])
        return newest

    def check_transport(self, **otlp):
        agent, pids = self.send(otlp)
        total = self.settled(agent, pids, 400)
        self.assertEqual((total["emitted"], total["dropped"]), (400, {}))
        wanted = {"http.server.request.duration": 200, "http.client.request.duration": 200}
        wait_until(lambda: self.requests_counted(pids) == wanted, f"metrics: {self.requests_counted(pids)}")
        self.assertEqual(agent.ledger({agent.pid, self.collector.pid}), [], "own export was traced")
        self.assertEqual(agent.stop(), 0)
        self.check_collected(pids, 400, 200)

    def url(self, name):
        return f"{'https' if 'tls' in name else 'http'}://127.0.0.1:{self.ports[name]}"

    def certificates(self):
        folder = self.workspace.path
        return {"certificate": f"{folder}/ca.pem", "client_certificate": f"{folder}/client.pem",
                "client_key": f"{folder}/client.key"}

    def test_http_protobuf(self):
        self.check_transport(endpoint=self.url("http"), protocol="http/protobuf", compression="none")

    def test_http_protobuf_gzip_tls(self):
        self.check_transport(endpoint=self.url("tls http"), compression="gzip", **self.certificates())

    def test_http_json(self):
        self.check_transport(endpoint=self.url("http"), protocol="http/json", compression="none")

    def test_http_json_gzip(self):
        self.check_transport(endpoint=self.url("http"), protocol="http/json", compression="gzip")

    def test_grpc(self):
        self.check_transport(endpoint=f"127.0.0.1:{self.ports['grpc']}", insecure=True, protocol="grpc", compression="none")

    def test_grpc_gzip(self):
        self.check_transport(endpoint=self.url("grpc"), protocol="grpc", compression="gzip")

    def test_grpc_gzip_tls(self):
        self.check_transport(endpoint=f"127.0.0.1:{self.ports['tls grpc']}", protocol="grpc", compression="gzip", **self.certificates())

    def test_grpc_by_variables(self):
        """The standard variables alone; TLS connections are used again."""
        server, port = self.start_app("http_server.py")
        folder = self.workspace.path
        agent = Agent(self.workspace, {"export": {"traces": [], "metrics": []}}, env={
            "OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": self.url("tls grpc"), "OTEL_EXPORTER_OTLP_CERTIFICATE": f"{folder}/ca.pem",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": f"{folder}/client.pem",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": f"{folder}/client.key", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"})
        connections = set()
        pids = {server.pid}
        for number in range(1, 4):
            pids.add(self.load(port, 20))
            self.assertEqual(self.settled(agent, pids, 40 * number)["emitted"], 40 * number)
            connections |= established(self.ports["tls grpc"])
        self.assertEqual(len(connections), 1, "one connection for three requests")
        self.assertEqual(agent.stop(), 0)
        self.check_collected(pids, 120, 60)

    def test_an_unknown_authority_is_refused(self):
        agent, pids = self.send({"endpoint": self.url("tls grpc"), "protocol": "grpc"}, 20)
        total = self.settled(agent, pids, 40)
        self.assertEqual((total["emitted"], total["dropped"]), (0, {"export_failed": 40}))
        self.assertIn("OTEL_EXPORTER_OTLP_CERTIFICATE", agent.log())
        agent.stop()
        self.check_collected(pids, 0, 0)

    def test_batches_larger_than_the_collector_takes(self):
        agent, pids = self.send({"endpoint": self.url("small"), "protocol": "grpc"}, 3000, flush_interval="5s")
        total = self.settled(agent, pids, 6000, 30)
        self.assertEqual((total["emitted"], total["dropped"]), (6000, {}))
        self.assertIn("they are at most", agent.log())
        agent.stop()
        self.check_collected(pids, 6000, 3000)

    def test_a_stop_flushes_what_waits(self):
        agent, pids = self.send({"endpoint": self.url("grpc"), "protocol": "grpc"}, 100, flush_interval="60s")
        wait_until(lambda: self.totals(agent, pids)["seen"] == 200, "not seen")
        self.assertEqual(self.totals(agent, pids)["emitted"], 0)
        time.sleep(0.5)  # spans wait for the other end of their connection before they queue
        self.assertEqual(agent.stop(), 0)
        self.check_collected(pids, 200, 100)


class Odd(ExportCase):
    """A receiver that does what the specification allows, and more; nothing is sent again that must not be, nothing is lost
    that need not be, and the ledger has it all."""

    REQUESTS = 10
    SPANS = 2 * REQUESTS

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.odd, cls.port = cls.start_app("odd_collector.py")
        cls.server, cls.http_port = cls.start_app("http_server.py")
        cls.agent = Agent(cls.workspace, {"export": {
            "traces": ["otlp"], "metrics": ["none"], "flush_interval": "200ms",
            "otlp": {"endpoint": f"http://127.0.0.1:{cls.port}", "protocol": "http/json", "timeout": "1500ms",
                     "headers": {"x-key": "secret"}}}})

    @classmethod
    def tearDownClass(cls):
        cls.agent.stop()
        super().tearDownClass()

    def case(self, mode):
        """Ten requests while the receiver is in that mode; gives (what the ledger counted for them, what the receiver got)."""
        http_get(f"http://127.0.0.1:{self.port}/mode/{mode}")
        before = self.totals(self.agent, {self.server.pid})
        client = self.load(self.http_port, self.REQUESTS, 1)
        after = self.settled(self.agent, {self.server.pid, client}, before["seen"] + self.SPANS)
        dropped = {reason: count - before["dropped"].get(reason, 0) for reason, count in after["dropped"].items()}
        requests = json.loads(http_get(f"http://127.0.0.1:{self.port}/requests")[1])
        ours = self.ids_of(requests)
        return after["emitted"] - before["emitted"], {r: c for r, c in dropped.items() if c}, requests, ours

    @staticmethod
    def ids_of(requests):
        """How often each span arrived."""
        times = {}
        for request in requests:
            for span_id in request["ids"]:
                times[span_id] = times.get(span_id, 0) + 1
        return times

    def check_retried(self, mode):
        """The first request is sent again as it was, and nothing is lost."""
        emitted, dropped, requests, _ = self.case(mode)
        self.assertEqual((emitted, dropped), (self.SPANS, {}), mode)
        self.assertEqual(requests[0]["accepted"], 0)
        self.assertEqual(requests[0]["ids"], requests[1]["ids"], f"{mode}: not the same again")
        times = self.ids_of(requests[1:])
        self.assertEqual(set(times.values()), {1}, f"{mode}: a span was taken twice")
        return requests[1]["at"] - requests[0]["at"]

    def check_not_retried(self, mode, reason=None):
        emitted, dropped, requests, times = self.case(mode)
        self.assertEqual(set(times.values()), {1}, f"{mode}: something was sent again")
        if reason:
            self.assertEqual((emitted, dropped), (0, {reason: self.SPANS}), mode)
        else:
            self.assertEqual((emitted, dropped), (self.SPANS, {}), mode)
        return requests

    def test_what_may_be_retried(self):
        self.assertGreaterEqual(self.check_retried("throttle"), 1.0)
        self.check_retried("unavailable")
        self.check_retried("reset")
        self.assertGreaterEqual(self.check_retried("hang"), 1.5)

    def test_what_may_not(self):
        self.check_not_retried("refuse", "export_rejected")
        self.check_not_retried("limit", "export_rejected")
        requests = self.check_not_retried("redirect", "export_rejected")
        self.assertEqual({r["path"] for r in requests}, {"/v1/traces"}, "a redirect was followed")
        self.assertEqual({r["key"] for r in requests}, {"secret"})

    def test_what_was_taken(self):
        self.check_not_retried("ok")
        self.check_not_retried("slow")
        self.check_not_retried("garbage")
        self.check_not_retried("huge")

    def test_partial_success(self):
        emitted, dropped, requests, times = self.case("partial")
        self.assertEqual(set(times.values()), {1})
        rejected = sum(request["rejected"] for request in requests)  # a tick between them makes two requests
        self.assertGreaterEqual(rejected, 4)
        self.assertEqual((emitted, dropped), (self.SPANS - rejected, {"export_rejected": rejected}))
        wait_until(self.partial_losses, "no reason in /metrics")
        self.assertEqual(self.partial_losses(), [str(rejected)])

    def partial_losses(self):
        return [line.rsplit(" ", 1)[1] for line in self.agent.get("/metrics").splitlines()
                if line.startswith("zerotap_export_losses") and 'reason="partial_success"' in line]


if __name__ == "__main__":
    unittest.main()
