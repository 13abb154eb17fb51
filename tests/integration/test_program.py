"""The program as its operator meets it: settings that change while it runs, programs with an SDK inside, the doctor."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import prepare
from harness import (APPS, BINARY, CLIENT, PYTHON, ROOT, SERVER, SYSTEM_PYTHON, Agent, Case, Client, attributes_of,
                     clean_environment, free_port, http_get, merge, run, tail, wait_for_listener, wait_until)
from test_agent import zerotap


def metric_value(agent, name, **labels):
    """The value of a sample of /metrics."""
    wanted = "".join(f'{key}="{value}"' for key, value in labels.items())
    for line in agent.get("/metrics").splitlines():
        if line.startswith(name) and wanted in line:
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no {name} with {labels}")


class Reload(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server, cls.port = cls.start_app("http_server.py")

    def settings(self, agent):
        with open(agent.config_path) as file:
            return json.load(file)

    def write(self, agent, settings):
        with open(agent.config_path + ".new", "w") as file:
            json.dump(settings, file)
        os.replace(agent.config_path + ".new", agent.config_path)

    def reload(self, agent, settings, outcome="applied"):
        """Writes the settings, sends SIGHUP and waits until they are taken."""
        self.write(agent, settings)
        before = self.count(agent, outcome)
        agent.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.count(agent, outcome) == before + 1, f"no reload {outcome}:\n{agent.log()}")

    def count(self, agent, outcome):
        return int(metric_value(agent, "zerotap_config_reloads_total", outcome=outcome))

    def start_load(self, count, path="/ok", connections=8):
        return self.workspace.start([SYSTEM_PYTHON, os.path.join(APPS, "load.py"), "127.0.0.1", self.port, path, count,
                                     connections], "load")

    def test_reloads_every_100_ms_lose_nothing(self):
        agent = Agent(self.workspace)
        settings = self.settings(agent)
        total = int(os.environ.get("ZEROTAP_TEST_REQUESTS", 30000))
        load = self.start_load(total, "/status/200")
        reloads = 0
        while load.poll() is None:
            settings["http"] = {"routes": ["/status/{code}"] if reloads % 2 else [],
                                "request_headers": ["host"] if reloads % 3 else []}
            settings["services"] = [{"name": f"shop-{reloads % 4}", "command_contains": f"http_server.py {self.port}"}]
            settings["targets"] = {"exclude": [{"command_contains": "load.py"}] if reloads % 5 == 4 else []}
            self.write(agent, settings)
            agent.process.send_signal(signal.SIGHUP)
            reloads += 1
            time.sleep(0.1)
        self.assertEqual(load.wait(), 0, tail(load.log_path))
        self.assertEqual(json.loads(tail(load.log_path))["bad"], 0)
        self.assertGreater(reloads, 5)
        spans = agent.expect(lambda s: s.pid == self.server.pid, total, timeout=30)
        # Each rule was in force for a while.
        self.assertEqual({s.service for s in spans}, {"shop-0", "shop-1", "shop-2", "shop-3"} | (
            {"http_server"} if any(s.service == "http_server" for s in spans) else set()))
        self.assertEqual({s.attributes["http.route"] for s in spans}, {"/status/{code}", "/status/{id}"})
        self.assertEqual({"http.request.header.host" in s.attributes for s in spans}, {True, False})
        rows = agent.ledger({self.server.pid})
        self.assertEqual(sum(r["seen"] for r in rows), total)
        self.assertEqual(sum(r["emitted"] for r in rows), total)
        # Of the load generator, which was excluded now and then, each request that was seen has its outcome too.
        wait_until(lambda: sum(r["in_flight"] for r in agent.ledger({load.pid})) == 0, "requests are still in flight")
        self.assertGreaterEqual(self.count(agent, "applied"), 5)
        self.assertEqual(self.count(agent, "refused"), 0)
        self.assertEqual(agent.stop(), 0)

    def test_excluded_and_included_again(self):
        """Over one connection that stays open."""
        agent = Agent(self.workspace)
        plain = self.settings(agent)
        client = Client(self.workspace)
        n = client.connect(["127.0.0.1", self.port])

        def ask(path):
            for _ in range(3):
                client.exchange(n, "GET", path)
        for without, rules in enumerate(({"exclude": [{"pid": self.server.pid}]}, {"exclude_ports": [self.port]},
                                         {"select": [{"pid": client.pid}]})):
            ask(f"/status/20{without}")
            agent.expect(lambda s: s.pid == self.server.pid and s.http_status < 300, 3 * (without + 1))
            self.reload(agent, dict(plain, targets=rules))
            ask("/status/404")
            late = client.connect(["127.0.0.1", self.port])  # while it is left out
            client.exchange(late, "GET", "/status/503")
            agent.expect(lambda s: s.pid == self.server.pid and s.http_status in (404, 503), 5 * without)
            self.reload(agent, plain)
            for _ in range(2):
                client.exchange(late, "GET", "/status/503")
            client.close(late)
            agent.expect(lambda s: s.pid == self.server.pid and s.http_status == 503, 2 * (without + 1))
            ask("/status/404")
            agent.expect(lambda s: s.pid == self.server.pid and s.http_status == 404, 3 * (without + 1))
        for row in agent.ledger():
            self.assertEqual(row["in_flight"], 0, row)
        agent.stop()

    def test_receiver_changes_under_load(self):
        """Between them the two receivers get every span."""
        receivers = []
        for name in ("first", "second"):
            folder = self.workspace.file(name)
            os.makedirs(folder)
            receivers.append(self.start_app("collector.py", "ok", folder))
        agent = Agent(self.workspace, {"export": {"traces": ["otlp"], "metrics": ["none"], "otlp": {
            "endpoint": f"http://127.0.0.1:{receivers[0][1]}"}}, "targets": {"select": [{"pid": self.server.pid}]}})
        settings = self.settings(agent)
        load = self.start_load(20000)
        time.sleep(0.3)
        for turn in range(1, 5):
            settings["export"]["otlp"]["endpoint"] = f"http://127.0.0.1:{receivers[turn % 2][1]}"
            self.reload(agent, settings)
            time.sleep(0.3)
        self.assertEqual(load.wait(60), 0, tail(load.log_path))
        wait_until(lambda: agent.ledger_sum({self.server.pid}, "http", "server")["in_flight"] == 0, "spans are on their way")
        total = agent.ledger_sum({self.server.pid}, "http", "server")
        self.assertEqual((total["seen"], total["emitted"]), (20000, 20000), total)
        self.assertEqual(metric_value(agent, "zerotap_export_items_total", exporter="otlp"), 20000)
        took = [json.loads(http_get(f"http://127.0.0.1:{port}/stats")[1])["spans"] for _, port in receivers]
        self.assertTrue(all(count > 0 for count in took), took)
        agent.stop()

    def test_wrong_configuration_is_refused(self):
        agent = Agent(self.workspace)
        settings = self.settings(agent)
        before = agent.get("/ledger")
        self.reload(agent, dict(settings, htpp={"routes": []}), "refused")
        self.assertIn("htpp", agent.log())
        self.assertIn('did you mean "http"', agent.log())
        os.unlink(agent.config_path)
        agent.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.count(agent, "refused") == 2, "a missing file was not refused")
        self.assertEqual(agent.get("/ledger"), before)
        http_get(f"http://127.0.0.1:{self.port}/ok")
        agent.expect(lambda s: s.pid == self.server.pid, 1)
        agent.stop()

    def test_what_needs_a_restart_is_said(self):
        agent = Agent(self.workspace)
        settings = self.settings(agent)
        settings["capture"]["ring_size"] = "1MiB"
        settings["health"]["address"] = "off"
        self.reload(agent, settings, "unchanged")
        line, = [line for line in agent.log().splitlines() if "restart" in line]
        self.assertIn("capture.ring_size", line)
        self.assertIn("health.address", line)
        settings["logging"] = {"level": "debug"}
        self.reload(agent, settings)
        self.assertIn("in force now: logging.level", agent.log())
        agent.stop()

    def test_settings_of_the_health_server(self):
        """Off is off: nothing listens."""
        process = self.workspace.start([BINARY, "run", "--health", "off", "--exporter", "none"], "zerotap")
        wait_until(lambda: "watches this host" in tail(process.log_path), "it does not start")
        _, output, _ = zerotap("doctor", "--json", "--all", "--health", "off", timeout=60)
        found, = [p for p in json.loads(output)["processes"] if p["pid"] == process.pid]
        self.assertEqual(found["listening"], [])
        self.assertEqual(self.workspace.stop(process), 0)

    def test_ledger_is_as_before(self):
        agent = Agent(self.workspace)
        settings = self.settings(agent)
        self.start_load(200).wait(30)
        agent.expect(lambda s: s.pid == self.server.pid, 200)
        wait_until(lambda: all(r["in_flight"] == 0 for r in agent.ledger()), "requests are in flight")
        before = agent.get("/ledger")
        for i in range(5):
            self.reload(agent, dict(settings, http={"routes": [f"/{i}/{{id}}"]}))
        self.assertEqual(agent.get("/ledger"), before)
        agent.stop()


class OwnTelemetry(Case):
    """A program with the OpenTelemetry SDK inside is not doubled."""

    def start(self, *arguments, config=None):
        folder = self.workspace.file(f"receiver.{len(self.workspace.processes)}")
        os.makedirs(folder)
        receiver, receiver_port = self.start_app("collector.py", "ok", folder)
        next_server, next_port = self.start_app("http_server.py")
        agent = Agent(self.workspace, config)
        app, port = self.start_app("otel_app.py", f"127.0.0.1:{receiver_port}", f"127.0.0.1:{next_port}", *arguments,
                                   python=PYTHON)

        def stats():
            return json.loads(http_get(f"http://127.0.0.1:{receiver_port}/stats")[1])

        def work(count):
            return [json.loads(http_get(f"http://127.0.0.1:{port}/work")[1]) for _ in range(count)]
        return agent, app, receiver, next_server, stats, work

    def histogram_count(self, agent, name, pid):
        counts = {}
        for resource, metric in agent.metrics():
            if metric["name"] == name and resource.get("process.pid") == pid:
                for point in metric["histogram"]["dataPoints"]:
                    counts[tuple(sorted(attributes_of(point).items()))] = int(point["count"])
        return sum(counts.values())

    def test_spans_are_the_sdks_and_metrics_ours(self):
        agent, app, receiver, next_server, stats, work = self.start()
        work(3)
        line = wait_until(lambda: [x for x in agent.log().splitlines() if f"pid {app.pid}" in x and "spans" in x],
                          f"the export was not noticed:\n{agent.log()}")
        self.assertIn("exclude_otel_instrumented_services", line[0])
        before = len(agent.spans(lambda s: s.pid == app.pid))
        done = work(20)
        spans = agent.expect(lambda s: s.pid == next_server.pid, 23)
        self.assertEqual(len(agent.spans(lambda s: s.pid == app.pid)), before)
        # What the SDK's client spans caused hangs on them, not on spans that nobody has.
        by_parent = {s.parent: s for s in spans}
        for ids in done:
            self.assertEqual(by_parent[ids["client"]].trace_id, ids["trace"])
        # Nor is what asks it, or what it asks, left without its own.
        self.assertEqual(len(agent.spans(lambda s: s.pid == os.getpid() and s.path == "/work" and s.kind == CLIENT)), 23)
        wait_until(lambda: self.histogram_count(agent, "http.server.request.duration", app.pid) == 23,
                   "RED metrics are not counted")
        exports = wait_until(lambda: stats()["spans"], "nothing was exported")
        time.sleep(0.5)
        exports = stats()["spans"]
        rows = agent.ledger({app.pid})
        self.assertEqual(sum(r["filtered_by"].get("own_spans", 0) for r in rows), 2 * 23 - before)
        self.assertEqual(sum(r["filtered_by"].get("otlp_export", 0) for r in rows), exports)
        received, = [r for r in agent.ledger({receiver.pid}) if "otlp_export" in r["filtered_by"]]
        self.assertEqual(received["filtered_by"]["otlp_export"], exports)
        self.assertFalse(agent.spans(lambda s: s.path.endswith("/v1/traces")))
        self.assertGreater(metric_value(agent, "zerotap_requests_filtered_total", reason="own_spans"), 0)
        agent.stop()

    def test_own_metrics_too(self):
        agent, app, _, _, stats, work = self.start("metrics")
        work(1)
        wait_until(lambda: "exports metrics of its own" in agent.log() and "exports spans of its own" in agent.log(),
                   f"the exports were not noticed:\n{agent.log()}")
        before = self.histogram_count(agent, "http.server.request.duration", app.pid)
        work(10)
        time.sleep(1.5)
        self.assertEqual(self.histogram_count(agent, "http.server.request.duration", app.pid), max(before, 1) if before else 0)
        agent.stop()

    def test_option(self):
        agent, app, _, _, stats, work = self.start(
            config={"targets": {"exclude_otel_instrumented_services": False}})
        work(3)
        wait_until(lambda: stats()["spans"], "nothing was exported")
        work(10)
        agent.expect(lambda s: s.pid == app.pid and s.kind == SERVER, 13)
        self.assertTrue(agent.spans(lambda s: s.pid == app.pid and s.path == "/v1/traces"))
        self.assertNotIn("of its own", agent.log())
        agent.stop()


class Doctor(Case):
    """What it foretells is what zerotap run does."""

    def doctor(self, settings=None, *arguments, **options):
        path = self.workspace.file(f"doctor.{time.monotonic_ns()}.yaml")
        with open(path, "w") as file:
            json.dump(merge({"health": {"address": "off"}}, settings), file)
        os.chmod(path, 0o644)
        status, output, errors = zerotap("doctor", "--json", "--config", path, *arguments, timeout=60, **options)
        self.assertEqual(errors, "")
        report = json.loads(output)
        return status, report, {p["pid"]: p for p in report["processes"]}

    def kinds(self, process):
        return [b["kind"] for b in process["blind"]]

    def check(self, report, name):
        found = [c for c in report["host"] if c["name"] == name]
        self.assertEqual(len(found), 1, f"{name}: {report['host']}")
        return found[0]

    def test_processes(self):
        plain, plain_port = self.start_app("http_server.py")
        left_out, _ = self.start_app("http_server.py")
        instrumented, _ = self.start_app("http_server.py", env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})
        port = free_port()
        encrypted = self.workspace.start([SYSTEM_PYTHON, "-c", "import http.server, ssl, sys\n"
                                          "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), "
                                          "http.server.SimpleHTTPRequestHandler).serve_forever()", port], "ssl")
        wait_for_listener(port, encrypted)
        apps = {}
        for name, command in (("Node", ["node", "-e", "require('http').createServer((q, r) => r.end()).listen(process.argv[1],"
                                        " '127.0.0.1')"]),
                              ("Java", prepare.java("server")), ("Go", [prepare.GO_APPS, "server"])):
            number = free_port()
            extra = {"Java": ["jdbc:postgresql://127.0.0.1/x"], "Go": ["postgres://127.0.0.1/x"]}.get(name, [])
            apps[name] = (self.workspace.start([*command, number, *extra], name), number)
            wait_for_listener(number, apps[name][0])
        status, report, processes = self.doctor({"targets": {"exclude": [{"pid": 1}, {"pid": left_out.pid}]}})
        self.assertEqual(status, 0, report)
        self.assertTrue(report["would_capture"])
        self.assertIn(report["tier"], ("a", "b"))
        found = processes[plain.pid]
        self.assertEqual((found["runtime"], found["service"], found["listening"], found["blind"], found["captured"]),
                         ("Python", "http_server", [plain_port], [], ["http", "postgresql"]))
        self.assertEqual((self.kinds(processes[left_out.pid]), processes[left_out.pid]["captured"]), (["excluded"], []))
        self.assertIn("targets.exclude[1]", processes[left_out.pid]["blind"][0]["text"])
        self.assertEqual(self.kinds(processes[instrumented.pid]), ["own_spans"])
        self.assertEqual(self.kinds(processes[encrypted.pid]), ["tls"])
        self.assertIn("libssl", processes[encrypted.pid]["blind"][0]["text"])
        for name, (process, number) in apps.items():
            self.assertEqual((processes[process.pid]["runtime"], processes[process.pid]["listening"]), (name, [number]))
        self.assertEqual(self.kinds(processes[apps["Java"][0].pid]), ["tls"])
        # And so it is.
        agent = Agent(self.workspace, {"targets": {"exclude": [{"pid": left_out.pid}]}})
        http_get(f"http://127.0.0.1:{plain_port}/ok")
        agent.expect(lambda s: s.pid == plain.pid, 1)
        agent.stop()

    def test_leaves_nothing_behind(self):
        def programs():
            return {line.split(":")[0] for line in run(["bpftool", "prog", "list"]).splitlines() if line[:1].isdigit()}
        before = programs()
        status, report, _ = self.doctor()
        self.assertEqual(status, 0, report)
        wait_until(lambda: not programs() - before, "programs are left in the kernel")

    def test_receivers(self):
        folder = self.workspace.file("receiver")
        os.makedirs(folder)
        _, port = self.start_app("collector.py", "ok", folder)
        _, refusing = self.start_app("collector.py", "refuse", folder)
        for endpoint, finding, word in ((f"http://127.0.0.1:{port}", "good", "takes exports"),
                                        (f"http://127.0.0.1:{refusing}", "note", "400"),
                                        (f"http://127.0.0.1:{free_port()}", "note", "connect")):
            status, report, _ = self.doctor({}, "--endpoint", endpoint)
            self.assertEqual(status, 0, report)
            for name in ("traces_to", "metrics_to"):
                check = self.check(report, name)
                self.assertEqual(check["finding"], finding, check)
                self.assertIn(word, check["text"])

    def test_running_agent_is_asked(self):
        folder = self.workspace.file("sdk-receiver")
        os.makedirs(folder)
        _, receiver_port = self.start_app("collector.py", "ok", folder)
        agent = Agent(self.workspace)
        app, port = self.start_app("otel_app.py", f"127.0.0.1:{receiver_port}", "127.0.0.1:1", python=PYTHON)
        http_get(f"http://127.0.0.1:{port}/")
        wait_until(lambda: f"pid {app.pid}" in agent.log(), "the export was not noticed")
        for _ in range(7):
            http_get(f"http://127.0.0.1:{port}/")
        wait_until(lambda: sum(r["filtered_by"].get("own_spans", 0) for r in agent.ledger({app.pid})) == 7, "not filtered")
        status, report, processes = self.doctor({"health": {"address": f"127.0.0.1:{agent.health_port}"}})
        self.assertEqual(status, 0, report)
        self.assertEqual(self.check(report, "running")["finding"], "note")
        spot, = [b for b in processes[app.pid]["blind"] if b["kind"] == "own_spans"]
        self.assertIn("7 requests", spot["text"])
        agent.stop()

    def test_without_root(self):
        copy = self.workspace.file("zerotap-copy")
        shutil.copy(BINARY, copy)
        os.chmod(copy, 0o755)
        result = subprocess.run([copy, "doctor", "--json", "--health", "off"], env=clean_environment(), user="nobody",
                                group="nogroup", extra_groups=[], cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(result.returncode, 3, result.stderr)
        report = json.loads(result.stdout)
        self.assertFalse(report["would_capture"])
        self.assertIsNone(report["tier"])
        capabilities = self.check(report, "capabilities")
        self.assertEqual(capabilities["finding"], "bad")
        self.assertIn("sudo", capabilities["remedy"])
        self.assertGreater(report["processes_not_readable"], 0)

    def test_text(self):
        status, output, errors = zerotap("doctor", "--health", "off", timeout=60)
        self.assertEqual((status, errors), (0, ""))
        self.assertIn("zerotap run would capture here, in tier", output)

    def test_wrong_configuration(self):
        status, output, errors = zerotap("doctor", "--sampler", "sometimes")
        self.assertEqual((status, output), (2, ""))
        self.assertIn("sometimes", errors)


class Documentation(Case):
    """Each command that the documents show for zerotap is one that it knows, and those that need nothing else run."""

    def commands(self):
        """(file, arguments) of each line that calls zerotap in a code block of README.md and docs/."""
        files = [os.path.join(ROOT, "README.md")]
        files += sorted(os.path.join(ROOT, "docs", n) for n in os.listdir(os.path.join(ROOT, "docs")) if n.endswith(".md"))
        for path in files:
            with open(path) as file:
                text = file.read()
            for block in re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
                for line in block.splitlines():
                    match = re.match(r"(?:sudo )?(?:build/release/)?zerotap( [^#|>]*)?(?:[#|>].*)?$", line.strip())
                    if match:
                        yield os.path.relpath(path, ROOT), (match.group(1) or "").split()
            for inline in re.findall(r"`(?:sudo )?zerotap ([^`\n]+)`", text):
                yield os.path.relpath(path, ROOT), inline.split()

    def test_commands(self):
        names = set()
        for path, arguments in self.commands():
            with self.subTest(f"{path}: zerotap {' '.join(arguments)}"):
                flags = [a for a in arguments if a.startswith("-")]
                command = [a for a in arguments if not a.startswith("-")][:1]
                status, output, errors = zerotap(*command, "--help")
                self.assertEqual(status, 0, errors)
                names.update(command)
                for flag in flags:
                    self.assertIn(flag.split("=")[0], output)
        self.assertLessEqual({"run", "replay", "doctor", "print-config"}, names)

    def test_readme_block(self):
        """The commands of "Use", as they stand."""
        with open(os.path.join(ROOT, "README.md")) as file:
            block = re.search(r"^## Use\n```\n(.*?)^```", file.read(), re.MULTILINE | re.DOTALL).group(1)
        agent = Agent(self.workspace)
        shown = [line.split("#")[0].strip() for line in block.splitlines()]
        self.assertGreaterEqual(len(shown), 4)
        for line in shown:
            with self.subTest(line):
                line = line.removeprefix("sudo ").replace("build/release/zerotap", BINARY)
                line = line.replace("127.0.0.1:8686", f"127.0.0.1:{agent.health_port}")
                run(["sh", "-c", line], cwd=ROOT)
        agent.stop()

    def test_links(self):
        """Of the documents, to files and to headings."""
        def anchors(path):
            with open(path) as file:
                return {re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").strip().lower()).replace(" ", "-")
                        for line in file if line.startswith("#")}
        folder = os.path.join(ROOT, "docs")
        files = [os.path.join(ROOT, "README.md")]
        files += [os.path.join(at, n) for at, _, names in os.walk(folder) for n in names if n.endswith(".md")]
        seen = 0
        for path in files:
            with open(path) as file:
                links = re.findall(r"\]\(([^)\s]+)\)", file.read())
            for link in links:
                if "://" in link:
                    continue
                seen += 1
                with self.subTest(f"{os.path.relpath(path, ROOT)}: {link}"):
                    name, _, anchor = link.partition("#")
                    target = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
                    self.assertTrue(os.path.exists(target))
                    if anchor:
                        self.assertIn(anchor, anchors(target))
        self.assertGreater(seen, 20)

    def blocks(self, path, language=""):
        with open(os.path.join(ROOT, path)) as file:
            return re.findall(rf"^```{language}\n(.*?)^```", file.read(), re.MULTILINE | re.DOTALL)

    def test_installation(self):
        """The files of "Install as a service" land where the unit looks for them, and the configuration is good."""
        block, = [b for b in self.blocks("docs/operations.md") if "sudo install" in b]
        root = self.workspace.file("root")
        for line in block.splitlines():
            if line.startswith("sudo install"):
                *command, source, target = line.removeprefix("sudo ").replace("build/release/zerotap", BINARY).split()
                run([*command, source, root + target], cwd=ROOT)
        with open(f"{root}/etc/systemd/system/zerotap.service") as file:
            start, = re.findall(r"^ExecStart=(.*)$", file.read(), re.MULTILINE)
        program, command, flag, config = start.split()
        self.assertEqual((command, flag), ("run", "--config"))
        self.assertIn("level: info", run([root + program, "print-config", flag, root + config]))

    def test_commands_of_the_suite(self):
        """What docs/testing.md passes to the runners names tests that there are."""
        lines = [line for block in self.blocks("docs/testing.md") for line in block.splitlines()
                 if "tests/integration/run" in line]
        self.assertGreaterEqual(len(lines), 3)
        for line in lines:
            with self.subTest(line):
                command = line.split("#")[0].split()
                command = command[command.index("tests/integration/run"):]
                listed = run([sys.executable, *command, "--list"], cwd=ROOT)
                self.assertRegex(listed, r"test_\w+\.\w+\.test_")

    def test_quickstart_explains_itself(self):
        self.assertIn("--build-only", run(["deploy/quickstart", "--help"], cwd=ROOT))
        for script in ("deploy/quickstart", "deploy/install-deps", "tests/run"):
            with open(os.path.join(ROOT, script)) as file:
                if "bash" in file.readline():
                    run(["bash", "-n", script], cwd=ROOT)

    def test_protocol_sample_compiles(self):
        """The C++ of docs/adding-a-protocol.md, with a protocol that exists."""
        sample, = self.blocks("docs/adding-a-protocol.md", "cpp")
        with open(os.path.join(ROOT, "build/release/compile_commands.json")) as file:
            entry, = [e for e in json.load(file) if e["file"].endswith("protocols/http1_scenarios_test.cc")]
        source = self.workspace.file("sample_test.cc")
        with open(source, "w") as file:
            file.write('#include <gmock/gmock.h>\n#include <gtest/gtest.h>\n#include "agent/protocols/http1.h"\n'
                       '#include "tests/support/parser_harness.h"\nnamespace zerotap {\nusing namespace testing;\n'
                       f"TEST(Sample, Compiles) {{\nconst Protocol& kRedisProtocol = kHttp1Protocol;\n{sample}}}\n}}\n")
        command = entry["command"].split()
        command = [a for a in command[command.index("/usr/bin/c++") if "/usr/bin/c++" in command else 0:]
                   if not a.endswith((".o", ".o.d")) and a not in ("-MD", "-MT", "-MF", "-o", "-c", "-Werror")]
        run([source if a == entry["file"] else a for a in command] + ["-fsyntax-only"], cwd=entry["directory"])

    def test_console_is_as_the_readme_shows_it(self):
        shown, = [line for block in self.blocks("README.md") for line in block.splitlines() if line.startswith("TIME ")]
        server, port = self.start_app("http_server.py")
        process = self.workspace.start([BINARY, "run", "--health", "off", "--log-level", "error"], "console",
                                       env={"NO_COLOR": "1"})
        time.sleep(2)
        http_get(f"http://127.0.0.1:{port}/ok")
        first = wait_until(lambda: next((x for x in tail(process.log_path).splitlines() if x.startswith("TIME ")), None),
                           "no heading on the console")
        self.assertEqual(first.split(), shown.split())
        self.workspace.stop(process)

    def test_unit_reloads(self):
        """systemctl reload sends what the agent takes as a reload."""
        with open(os.path.join(ROOT, "deploy/zerotap.service")) as file:
            reload_line, = [line for line in file if line.startswith("ExecReload=")]
        agent = Agent(self.workspace)
        run(reload_line.split("=", 1)[1].replace("$MAINPID", str(agent.pid)).split())
        wait_until(lambda: metric_value(agent, "zerotap_config_reloads_total", outcome="unchanged") == 1, "no reload")
        agent.stop()


if __name__ == "__main__":
    sys.exit("run tests/integration/run --only test_program")
