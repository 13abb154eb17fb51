"""What the agent must never do: change a byte, invent a span, trace itself, fill the memory."""

import glob
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from harness import APPS, CLIENT, SERVER, SYSTEM_PYTHON, Agent, Case, Client, free_port, http_get, rss_anon_kib, tail, wait_until


class Streams(Case):
    def stream(self, seconds, seed):
        return self.workspace.start([SYSTEM_PYTHON, os.path.join(APPS, "stream.py"), seconds, seed], "stream")

    def check(self, process):
        self.assertEqual(process.wait(90), 0, tail(process.log_path))
        with open(process.log_path) as file:
            result = json.loads(file.read())
        self.assertEqual((result["mismatches"], result["errors"]), (0, 0), result)
        self.assertEqual(result["sent"], result["received"])
        self.assertGreater(result["sent"], 1_000_000)

    def test_streams_are_unchanged_off_on_and_killed(self):
        """The streams go on from before the agent's start until after its kill -9, and again while it runs."""
        running = self.stream(7, 1)
        time.sleep(1)
        agent = Agent(self.workspace)
        during = self.stream(2, 2)
        self.check(during)
        agent.stop(signal.SIGKILL)
        self.check(running)
        again = Agent(self.workspace)  # nothing that the killed one left is in the way
        across = self.stream(2, 3)
        self.check(across)
        self.assertEqual(again.stop(), 0)

    @staticmethod
    def program_descriptors(pid):
        mine = []
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                if "bpf-prog" in os.readlink(f"/proc/{pid}/fd/{fd}"):
                    mine.append(fd)
            except FileNotFoundError:
                pass  # closed in between
        return mine

    def test_nothing_stays_behind(self):
        """After a stop, and after a kill, no program and no map of the agent is in the kernel."""
        for sig in (signal.SIGTERM, signal.SIGKILL):
            agent = Agent(self.workspace)
            mine = self.program_descriptors(agent.pid)
            self.assertTrue(mine)
            identifiers = set()
            for fd in mine:
                with open(f"/proc/{agent.pid}/fdinfo/{fd}") as file:
                    identifiers |= {line.split()[1] for line in file if line.startswith("prog_id")}
            self.assertTrue(identifiers)
            agent.stop(sig)
            self.assertEqual(glob.glob("/sys/fs/bpf/zerotap*"), [])
            bpftool = shutil.which("bpftool", path="/usr/sbin:/sbin:/usr/bin")

            def gone():
                listed = subprocess.run([bpftool, "-j", "prog", "show"], stdout=subprocess.PIPE).stdout
                return not identifiers & {str(p["id"]) for p in json.loads(listed or b"[]")}
            wait_until(gone, f"programs {identifiers} are still loaded after {sig.name}")


class Truth(Case):
    def test_random_bytes_give_no_span(self):
        agent = Agent(self.workspace)
        programs = [self.workspace.start([SYSTEM_PYTHON, os.path.join(APPS, "garbage.py"), 30_000_000, seed], "garbage")
                    for seed in (1, 2)]
        for program in programs:
            self.assertEqual(program.wait(90), 0, tail(program.log_path))
        time.sleep(1)
        pids = {p.pid for p in programs}
        self.assertEqual(agent.spans(lambda s: s.pid in pids), [])
        self.assertEqual(sum(r["emitted"] for r in agent.ledger(pids)), 0)
        # It is still there and still sees.
        server, port = self.start_app("http_server.py")
        http_get(f"http://127.0.0.1:{port}/ok")
        agent.expect(lambda s: s.pid == server.pid, 1)
        agent.stop()


class Export(Case):
    def collector(self, mode="ok"):
        folder = self.workspace.file(f"collected.{len(self.workspace.processes)}")
        os.mkdir(folder)
        process, port = self.start_app("collector.py", mode, folder)
        return process, port, folder

    def otlp(self, port, **settings):
        return {"export": {"traces": ["otlp", "file"], "metrics": ["otlp", "file"],
                           "otlp": {"endpoint": f"http://127.0.0.1:{port}", **settings}}}

    def test_own_export_is_not_traced(self):
        collector, port, folder = self.collector()
        server, http_port = self.start_app("http_server.py")
        agent = Agent(self.workspace, self.otlp(port))
        for i in range(25):
            http_get(f"http://127.0.0.1:{http_port}/ok?i={i}")
            time.sleep(0.02)
        agent.expect(lambda s: s.pid == server.pid, 25)
        agent.get("/metrics")
        time.sleep(1.5)
        self.assertEqual(agent.spans(lambda s: s.pid in (agent.pid, collector.pid)), [])
        stats = json.loads(http_get(f"http://127.0.0.1:{port}/stats")[1])
        self.assertGreater(stats["spans"], 0)
        self.assertGreater(stats["metrics"], 0)
        self.assertIn("zerotap", stats["headers"].get("User-Agent", ""))
        self.assertNotIn("Content-Encoding", stats["headers"], "compressed for a receiver on this host")
        with open(f"{folder}/traces", "rb") as file:
            self.assertEqual(file.read().count(b"/ok"), 25 * 4)  # name, url.path, http.route; url.full
        # A program of another process that talks to the very same collector is traced like any other.
        agent.expect(lambda s: s.pid == collector.pid and s.kind == SERVER, 1)
        self.assertEqual(agent.stop(), 0)

    def test_retried_and_refused_batches_are_accounted(self):
        for mode, row in (("retry", "emitted"), ("refuse", "dropped")):
            with self.subTest(mode):
                _, port, folder = self.collector(mode)
                server, http_port = self.start_app("http_server.py")
                agent = Agent(self.workspace, {"export": {"traces": ["otlp"], "metrics": ["none"],
                                                          "otlp": {"endpoint": f"http://127.0.0.1:{port}"}}})
                for i in range(10):
                    http_get(f"http://127.0.0.1:{http_port}/ok?number={i}")
                total = wait_until(lambda: self.settled(agent, server.pid, 10), "the spans are not accounted", 20)
                self.assertEqual(total[row], 10, total)
                agent.stop()

    def settled(self, agent, pid, count):
        total = agent.ledger_sum({pid}, "http", "server")
        return total if total["seen"] == count and total["in_flight"] == 0 else None

    def test_dead_collector(self):
        """Nobody listens: the agent lives, says so once, keeps its memory bounded and still counts."""
        server, http_port = self.start_app("http_server.py")
        agent = Agent(self.workspace, {"export": {"traces": ["otlp"], "metrics": ["otlp"], "queue_size": 1000,
                                                  "otlp": {"endpoint": f"http://127.0.0.1:{free_port()}"}}})
        self.load(http_port, 3000)
        before = rss_anon_kib(agent.pid)
        for _ in range(4):
            self.load(http_port, 3000)
        time.sleep(1)
        self.assertIsNone(agent.process.poll(), agent.log())
        self.assertLess(rss_anon_kib(agent.pid) - before, 8 * 1024)
        self.assertEqual(agent.get("/livez").strip() != "", True)
        total = agent.ledger_sum({server.pid}, "http", "server")
        self.assertEqual((total["seen"], total["emitted"]), (15000, 0))
        self.assertGreater(total["dropped"], 12000)
        complaints = [line for line in agent.log().splitlines() if "collector" in line or "endpoint" in line or "export" in line]
        self.assertLessEqual(len(complaints), 6, complaints)
        begin = time.monotonic()
        agent.stop()
        self.assertLess(time.monotonic() - begin, 15)

    def test_silent_collector_does_not_hold_up_the_stop(self):
        _, port, _ = self.collector("hang")
        server, http_port = self.start_app("http_server.py")
        agent = Agent(self.workspace, {"export": {"traces": ["otlp"], "metrics": ["none"],
                                                  "otlp": {"endpoint": f"http://127.0.0.1:{port}", "timeout": "30s"}}})
        self.load(http_port, 100)
        time.sleep(0.5)
        begin = time.monotonic()
        agent.stop()
        self.assertLess(time.monotonic() - begin, 12)

    def load(self, port, count):
        process = self.workspace.start([SYSTEM_PYTHON, os.path.join(APPS, "load.py"), "127.0.0.1", port, "/ok", count, 8],
                                       "load")
        self.assertEqual(process.wait(60), 0, tail(process.log_path))


class Rules(Case):
    """Selection and exclusion of processes and ports."""

    def two_servers(self, config):
        first, first_port = self.start_app("http_server.py")
        second, second_port = self.start_app("http_server.py", "split")
        agent = Agent(self.workspace, config(first, first_port, second, second_port))
        client = Client(self.workspace)
        for port in (first_port, second_port):
            n = client.connect(["127.0.0.1", port])
            for _ in range(3):
                client.exchange(n, "GET", "/ok")
        time.sleep(1.2)
        seen = {name: len(agent.spans(lambda s, pid=p.pid: s.pid == pid))
                for name, p in (("first", first), ("second", second), ("client", client))}
        agent.stop()
        return seen

    def test_exclusion(self):
        expected = {"first": 3, "second": 0, "client": 6}
        self.assertEqual(self.two_servers(lambda a, ap, b, bp: {"targets": {"exclude": [{"pid": b.pid}]}}), expected)
        self.assertEqual(self.two_servers(lambda a, ap, b, bp: {"targets": {"exclude": [{"command_contains": f"{bp} split"}]}}),
                         expected)
        self.assertEqual(self.two_servers(lambda a, ap, b, bp: {"targets": {"exclude": [{"command": f"server.py {bp} s.*t$"}]}}),
                         expected)

    def test_exclusion_of_a_service(self):
        self.assertEqual(self.two_servers(lambda a, ap, b, bp: {"targets": {"exclude": [{"service": "tcp_*"}]}}),
                         {"first": 3, "second": 3, "client": 0})

    def test_excluded_ports_are_ports_of_both_ends(self):
        self.assertEqual(self.two_servers(lambda a, ap, b, bp: {"targets": {"exclude_ports": [bp]}}),
                         {"first": 3, "second": 0, "client": 3})

    def test_selection(self):
        self.assertEqual(self.two_servers(lambda a, ap, b, bp: {"targets": {"select": [{"pid": a.pid}]}}),
                         {"first": 3, "second": 0, "client": 0})
        self.assertEqual(self.two_servers(lambda a, ap, b, bp: {"targets": {"include_ports": [ap]}}),
                         {"first": 3, "second": 0, "client": 3})

    def test_a_disabled_protocol(self):
        self.assertEqual(self.two_servers(lambda a, ap, b, bp: {"protocols": {"disabled": ["http"]}}),
                         {"first": 0, "second": 0, "client": 0})


if __name__ == "__main__":
    unittest.main()
