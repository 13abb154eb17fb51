"""The program itself: metrics, ledger, recording and replay, names of services, messages, configuration."""

import json
import os
import shutil
import subprocess
import time
import unittest
import urllib.error

from harness import (APPS, BINARY, CLIENT, ROOT, SYSTEM_PYTHON, Agent, Case, Client, attributes_of, clean_environment,
                     free_port, http_get, read_spans, rss_anon_kib, tail, wait_for_listener, wait_until)


def zerotap(*arguments, env=None, timeout=20, **options):
    """Runs the program to its end; gives (exit status, standard output, standard error)."""
    environment = clean_environment()
    environment.update(env or {})
    result = subprocess.run([BINARY, *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, timeout=timeout, **options)
    return result.returncode, result.stdout.decode(), result.stderr.decode()


class Numbers(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server, cls.port = cls.start_app("http_server.py")

    def load(self, count, path="/ok"):
        process = self.workspace.start([SYSTEM_PYTHON, os.path.join(APPS, "load.py"), "127.0.0.1", self.port, path, count,
                                        8], "load")
        self.assertEqual(process.wait(60), 0, tail(process.log_path))
        return process

    def histogram(self, agent, name, pid):
        """{attributes as sorted items: (count, sum, bucket counts, bounds, exemplars)} of the newest export."""
        points = {}
        for resource, metric in agent.metrics():
            if metric["name"] == name and resource.get("process.pid") == pid:
                points = {}
                for point in metric["histogram"]["dataPoints"]:
                    key = tuple(sorted(attributes_of(point).items()))
                    points[key] = (int(point["count"]), point["sum"], [int(c) for c in point["bucketCounts"]],
                                   point["explicitBounds"], point.get("exemplars", []))
        return points

    def test_red_metrics_count_everything_whatever_is_sampled(self):
        agent = Agent(self.workspace, {"sampling": {"sampler": "traceidratio", "argument": "0.1"}})
        load = self.load(2000)
        self.load(100, "/status/500")
        wait_until(lambda: sum(p[0] for p in self.histogram(agent, "http.server.request.duration", self.server.pid).values())
                   == 2100, "the histogram does not reach 2100")
        points = self.histogram(agent, "http.server.request.duration", self.server.pid)
        by_status = {dict(key)["http.response.status_code"]: value for key, value in points.items()}
        self.assertEqual({status: value[0] for status, value in by_status.items()}, {200: 2000, 500: 100})
        for key, (count, total, buckets, bounds, _) in points.items():
            self.assertEqual(bounds, [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10])
            self.assertEqual(len(buckets), len(bounds) + 1)
            self.assertEqual(sum(buckets), count)
            self.assertGreater(total, 0)
        self.assertTrue(any(value[4] for value in points.values()), "no exemplar")
        errors, = [dict(key) for key in points if dict(key)["http.response.status_code"] == 500]
        self.assertEqual(errors["error.type"], "500")
        clients = self.histogram(agent, "http.client.request.duration", load.pid)
        self.assertEqual(sum(p[0] for p in clients.values()), 2000)
        total = agent.ledger_sum({self.server.pid}, "http", "server")
        self.assertEqual(total["seen"], 2100)
        self.assertEqual(total["emitted"] + total["sampled_out"], 2100)
        self.assertTrue(100 < total["emitted"] < 340, total)
        spans = agent.expect(lambda s: s.pid == self.server.pid, total["emitted"])
        # Both ends of an exchange are kept, or neither.
        kept = {s.span_id for s in agent.spans(lambda s: s.kind == CLIENT)}
        self.assertEqual([s for s in spans if s.parent not in kept], [])
        agent.stop()

    def test_delta_temporality(self):
        agent = Agent(self.workspace, env={"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"})
        self.load(300)
        time.sleep(1.2)
        self.load(200)
        time.sleep(1.2)
        agent.stop()
        counts = [int(p["count"]) for r, m in agent.metrics() if m["name"] == "http.server.request.duration"
                  and r.get("process.pid") == self.server.pid for p in m["histogram"]["dataPoints"]]
        self.assertEqual(sum(counts), 500)
        self.assertGreater(len(counts), 1)

    def test_series_are_capped(self):
        agent = Agent(self.workspace, {"metrics": {"max_series": 10}})
        client = Client(self.workspace)
        n = client.connect(["127.0.0.1", self.port])
        for i in range(60):
            client.exchange(n, "GET", f"/word{'abcdefghij'[i % 10]}{'klmnop'[i // 10]}/x")
        wait_until(lambda: sum(p[0] for p in self.histogram(agent, "http.server.request.duration", self.server.pid).values())
                   == 60, "the histogram does not reach 60")
        points = self.histogram(agent, "http.server.request.duration", self.server.pid)
        self.assertLessEqual(len(points), 11)
        self.assertIn((("otel.metric.overflow", True),), points)
        agent.stop()

    def test_health_server(self):
        agent = Agent(self.workspace)
        self.load(50)
        agent.expect(lambda s: s.pid == self.server.pid, 50)
        self.assertTrue(agent.get("/livez"))
        text = agent.get("/metrics")
        self.assertIn("zerotap_", text)
        for line in text.splitlines():
            if line and not line.startswith("#"):
                float(line.rsplit(" ", 1)[1])
        self.assertEqual(agent.ledger_sum({self.server.pid}, "http", "server")["emitted"], 50)
        agent.stop()

    def test_memory_of_the_agent(self):
        agent = Agent(self.workspace)
        self.load(20000)
        agent.expect(lambda s: s.pid == self.server.pid, 20000, 30)
        self.assertLess(rss_anon_kib(agent.pid), 40 * 1024)
        agent.stop()


class Recording(Case):
    def test_replay_gives_the_same_spans(self):
        server, port = self.start_app("http_server.py")
        recording = self.workspace.file("traffic.ztrec")
        agent = Agent(self.workspace, arguments=["--record", recording])
        client = Client(self.workspace)
        n = client.connect(["127.0.0.1", port])
        for path in ("/ok", "/chunked", "/status/404", "/sendfile", "/hints", "/sleep/0.01", "/by/bytes"):
            client.exchange(n, "GET", path)
        client.send(n, "".join(f"GET /status/20{i % 2} HTTP/1.1\r\nHost: a\r\n\r\n" for i in range(20)))
        for _ in range(20):
            client.receive(n)
        client.close(n)
        pids = {server.pid, client.pid}
        live = agent.expect(lambda s: s.pid in pids, 54)
        self.assertEqual(agent.stop(), 0)
        self.assertEqual(os.stat(recording).st_mode & 0o077, 0)  # it holds payload: for its owner only
        status, output, errors = zerotap("replay", recording)
        self.assertEqual(status, 0, errors)
        replayed = [s for s in read_spans(output.encode().splitlines()) if s.pid in pids]
        self.assertEqual(sorted(s.raw for s in replayed), sorted(s.raw for s in live))
        by_id = {s.span_id: s for s in live}
        for span in replayed:
            self.assertEqual(span.resource["service.name"], by_id[span.span_id].resource["service.name"])


    def test_redacted_recording(self):
        """It replays to the same requests, and of what was said it holds nothing."""
        server, port = self.start_app("http_server.py")
        canary = "canary4711secret"
        spans, recordings = {}, {}
        for payload in ("redacted", "none"):
            recordings[payload] = self.workspace.file(f"{payload}.ztrec")
            agent = Agent(self.workspace, arguments=["--record", recordings[payload], "--record-payload", payload])
            client = Client(self.workspace)
            n = client.connect(["127.0.0.1", port])
            client.exchange(n, "GET", f"/ok?key={canary}", f"Cookie: a={canary}\r\nX-{canary}: {canary}\r\n")
            client.exchange(n, "POST", f"/{canary}/orders", f"Content-Length: {len(canary)}\r\n", canary)
            for path in ("/chunked", "/status/503", "/by/bytes"):
                client.exchange(n, "GET", path)
            client.close(n)
            # One whose arguments hold a secret, and that talks.
            load = self.workspace.start([SYSTEM_PYTHON, os.path.join(APPS, "load.py"), "127.0.0.1", port, f"/{canary}", 3, 1], "load")
            self.assertEqual(load.wait(30), 0, tail(load.log_path))
            pids = {server.pid, client.pid, load.pid}
            spans[payload] = agent.expect(lambda s: s.pid in pids, 16)
            self.assertEqual(agent.stop(), 0)
            with open(recordings[payload], "rb") as file:
                self.assertNotIn(canary.encode(), file.read())
        status, output, errors = zerotap("replay", recordings["redacted"])
        self.assertEqual(status, 0, errors)
        pids = {s.pid for s in spans["redacted"]}
        replayed = [s for s in read_spans(output.encode().splitlines()) if s.pid in pids]
        skeleton = lambda s: (s.span_id, s.trace_id, s.parent, s.kind, s.start, s.end, s.status, s.http_status, s.service,  # noqa: E731
                              s.attributes["http.request.method"], s.attributes.get("http.request.body.size"),
                              s.attributes.get("http.response.body.size"))
        self.assertEqual(sorted(map(skeleton, replayed)), sorted(map(skeleton, spans["redacted"])))
        status, output, errors = zerotap("replay", recordings["none"])
        self.assertEqual((status, output), (0, ""), errors)


class Names(Case):
    """service.name of real programs."""

    def test_names(self):
        folder = self.workspace.file("shop")
        os.makedirs(f"{folder}/warehouse")
        script = f"{folder}/warehouse/__main__.py"
        with open(script, "w") as file:
            file.write("import http.server, sys\n"
                       "http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])),"
                       " http.server.SimpleHTTPRequestHandler).serve_forever()\n")
        with open(f"{folder}/checkout.js", "w") as file:
            file.write("require('http').createServer((q, r) => r.end('ok')).listen(process.argv[2], '127.0.0.1')")
        cases = [([SYSTEM_PYTHON, "-m", "warehouse"], {}, "warehouse"),
                 (["node", f"{folder}/checkout.js"], {}, "checkout"),
                 ([SYSTEM_PYTHON, "-m", "warehouse"], {"OTEL_SERVICE_NAME": "by-variable"}, "by-variable"),
                 ([SYSTEM_PYTHON, "-m", "warehouse"],
                  {"OTEL_RESOURCE_ATTRIBUTES": "service.name=by-attributes,deployment.environment.name=prod%2Ceu"},
                  "by-attributes")]
        agent = Agent(self.workspace)
        for command, env, name in cases:
            with self.subTest(name):
                port = free_port()
                process = self.workspace.start([*command, port], "named", env=env, cwd=folder)
                wait_for_listener(port, process)
                http_get(f"http://127.0.0.1:{port}/")
                span, = agent.expect(lambda s: s.pid == process.pid, 1)
                self.assertEqual(span.service, name)
                self.assertEqual(span.resource["host.name"], os.uname().nodename)
                self.assertEqual(span.resource["os.type"], "linux")
                self.assertEqual(span.resource["telemetry.distro.name"], "zerotap")
                self.assertIn("service.instance.id", span.resource)
                if name == "by-attributes":
                    self.assertEqual(span.resource["deployment.environment.name"], "prod,eu")
        agent.stop()

    def test_configured_names(self):
        server, port = self.start_app("http_server.py")
        agent = Agent(self.workspace, {"services": [{"name": "shop", "command_contains": f"http_server.py {port}"}]})
        http_get(f"http://127.0.0.1:{port}/ok")
        span, = agent.expect(lambda s: s.pid == server.pid, 1)
        self.assertEqual(span.service, "shop")
        agent.stop()


class Messages(Case):
    """Errors name the thing and the remedy, and end with the documented status."""

    def write(self, text):
        path = self.workspace.file("wrong.yaml")
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_wrong_configuration(self):
        cases = [("capture:\n  teir: a\n", ["teir", "tier"]),
                 ("capture:\n  tier: z\n", ["capture.tier", "z"]),
                 ("export:\n  flush_interval: soon\n", ["flush_interval", "soon"]),
                 ("sampling:\n  sampler: sometimes\n", ["sampler", "sometimes"]),
                 ("health:\n  address: nowhere\n", ["health", "nowhere"]),
                 ("capture: [unclosed\n", ["wrong.yaml"])]
        for text, words in cases:
            with self.subTest(text):
                status, _, errors = zerotap("run", "--config", self.write(text))
                self.assertEqual(status, 2, errors)
                for word in words:
                    self.assertIn(word, errors)

    def test_missing_configuration_file(self):
        status, _, errors = zerotap("run", "--config", "/nonexistent.yaml")
        self.assertEqual(status, 2, errors)
        self.assertIn("/nonexistent.yaml", errors)

    def test_unknown_option(self):
        status, _, errors = zerotap("run", "--no-such-option")
        self.assertEqual(status, 2, errors)
        self.assertIn("--no-such-option", errors)

    def test_not_root(self):
        nobody = self.workspace.file("zerotap-copy")  # where any user may read it
        shutil.copy(BINARY, nobody)
        os.chmod(nobody, 0o755)
        environment = clean_environment()
        result = subprocess.run([nobody, "run", "--exporter", "none", "--health", "off"], env=environment, user="nobody", group="nogroup",
                                extra_groups=[], cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, timeout=20)
        errors = result.stderr.decode()
        self.assertEqual(result.returncode, 3, errors)
        self.assertTrue("root" in errors or "CAP_" in errors, errors)

    def test_taken_health_port(self):
        """Watching goes on without the health server, and the log says why and what to do."""
        agent = Agent(self.workspace)
        status, _, errors = zerotap("run", "--exporter", "none", "--health", f"127.0.0.1:{agent.health_port}", "--duration", "1")
        self.assertEqual(status, 0, errors)
        self.assertIn(f"127.0.0.1:{agent.health_port}", errors)
        self.assertIn("--health", errors)
        agent.stop()

    def test_disabled(self):
        agent = Agent(self.workspace, env={"OTEL_SDK_DISABLED": "true"}, wait=False)
        wait_until(lambda: "OTEL_SDK_DISABLED" in agent.log(), "no word about it")
        with self.assertRaises(urllib.error.HTTPError):
            agent.get("/readyz")
        self.assertEqual(agent.get("/livez").strip(), "ok")
        self.assertEqual(agent.stop(), 0)

    def test_samples_load(self):
        """Every sample configuration in the repository is accepted."""
        for name in ("deploy/zerotap.yaml",):
            status, output, errors = zerotap("print-config", "--config", os.path.join(ROOT, name))
            self.assertEqual(status, 0, errors)
            self.assertIn("capture:", output)

    def test_console(self):
        server, port = self.start_app("http_server.py")
        process = self.workspace.start([BINARY, "run", "--health", f"127.0.0.1:{(health := free_port())}"], "console",
                                       env={"NO_COLOR": "1"})
        wait_for_listener(health, process)
        time.sleep(0.5)
        client = Client(self.workspace)
        n = client.connect(["127.0.0.1", port])
        for i in range(5):
            client.exchange(n, "GET", f"/status/404?n={i}")
        wait_until(lambda: tail(process.log_path, 500).count("GET /status/{id}") >= 5, "no line on the console")
        text = tail(process.log_path, 500)
        self.assertNotIn("\x1b[", text)
        self.assertIn("http_server", text)
        self.assertIn("404", text)
        self.workspace.stop(process)


if __name__ == "__main__":
    unittest.main()
