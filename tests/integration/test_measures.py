"""What is counted in the kernel by process, against other observers: system calls against strace, TCP against nstat and ss; and why requests were slow."""

import collections
import os
import re
import shutil
import subprocess
import unittest

from harness import (APPS, BINARY, SYSTEM_PYTHON, Agent, Case, attributes_of, http_get, read_spans, run,
                     wait_until)

STRACE_LINE = re.compile(r"^(?:\d+ +)?(?:<\.\.\. )?(\w+)(?:\(| resumed).*= (-?\d+|\?|0x[0-9a-f]+)(?: (\w+))?.* <([\d.]+)>$")
MEASURED = ["clock_nanosleep", "fdatasync", "fsync", "futex", "openat", "poll", "pwrite64", "read", "recvfrom", "sendto", "write"]


def read_strace(path):
    """{(call, error): [seconds, ...]} of `strace -f -T -o`."""
    calls = collections.defaultdict(list)
    with open(path) as file:
        for line in file:
            match = STRACE_LINE.match(line.rstrip())
            if match:
                name, result, error, seconds = match.groups()
                failed = result == "?" or result.startswith("-")
                calls[name, error if failed else None].append(float(seconds))
    return calls


def points(agent, name, pid):
    """The newest export of a histogram of one process: {frozenset of attributes: point}."""
    found = {}
    for resource, metric in agent.metrics():
        if metric["name"] == name and resource.get("process.pid") == pid:
            found = {frozenset(attributes_of(p).items()): p for p in metric["histogram"]["dataPoints"]}
    return found


class Syscalls(Case):
    def traced(self, *command):
        """Runs a program below strace; gives what strace saw of it and its pid."""
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        output = self.workspace.file("strace")
        run(["strace", "-f", "-T", "-e", "trace=" + ",".join(MEASURED), "-o", output, *command])
        with open(output) as file:
            pid = int(file.readline().split()[0])
        return read_strace(output), pid

    def syscalls_of(self, agent, pid):
        return {(dict(key)["syscall.name"], dict(key).get("error.type")): point
                for key, point in points(agent, "zerotap.syscall.duration", pid).items()}

    def test_counts_and_sums_are_those_of_strace(self):
        agent = Agent(self.workspace, {"syscalls": {"enabled": True, "names": MEASURED}})
        folder = self.workspace.file("files")
        os.mkdir(folder)
        strace, pid = self.traced(SYSTEM_PYTHON, os.path.join(APPS, "syscall_app.py"), folder)
        wait_until(lambda: self.syscalls_of(agent, pid), "no syscall metric of the program")
        agent.stop()
        seen = self.syscalls_of(agent, pid)
        for key, at_least in {("fsync", None): 40, ("fdatasync", None): 20, ("openat", "ENOENT"): 25, ("sendto", None): 300,
                              ("recvfrom", None): 300, ("recvfrom", "EAGAIN"): 30, ("poll", None): 20,
                              ("clock_nanosleep", None): 10, ("futex", "ETIMEDOUT"): 4}.items():
            self.assertGreaterEqual(len(strace[key]), at_least, key)
        self.assertEqual({key: int(p["count"]) for key, p in seen.items()}, {k: len(v) for k, v in strace.items()})
        for key, point in seen.items():
            self.assertEqual(sum(int(c) for c in point["bucketCounts"]), int(point["count"]))
            self.assertEqual(len(point["bucketCounts"]), len(point["explicitBounds"]) + 1)
            # strace's own stops lie outside of our two hooks, so its times are never shorter.
            ours, theirs = point["sum"], sum(strace[key])
            self.assertLessEqual(ours, theirs + 2e-6 * len(strace[key]), f"{key}: {ours} s against {theirs} s of strace")
            self.assertGreaterEqual(ours, theirs - 1e-3 * len(strace[key]) - 0.05 * theirs, f"{key}: {ours} s, strace {theirs} s")
        for key, least in {("poll", None): 20 * 0.015, ("clock_nanosleep", None): 10 * 0.025,
                           ("futex", "ETIMEDOUT"): 4 * 0.2}.items():
            # They sleep until an instant that they compute before the call, and strace stops them in between.
            self.assertGreaterEqual(seen[key]["sum"], 0.9 * least)
            self.assertLess(seen[key]["sum"], 1.5 * least)

    def test_who_is_excluded_has_no_metric(self):
        agent = Agent(self.workspace, {"syscalls": {"enabled": True}, "targets": {"exclude": [{"command_contains": "excluded-one"}]}})
        folder = self.workspace.file("both")
        os.mkdir(folder)
        script = os.path.join(APPS, "syscall_app.py")
        pids = []
        for name in ("excluded-one", "other-one"):
            path = os.path.join(folder, name)
            os.mkdir(path)
            process = self.workspace.start([SYSTEM_PYTHON, script, path], name)
            self.assertEqual(process.wait(60), 0)
            pids.append(process.pid)
        wait_until(lambda: self.syscalls_of(agent, pids[1]), "no syscall metric of the program")
        agent.stop()
        self.assertFalse(self.syscalls_of(agent, pids[0]))
        self.assertFalse(self.syscalls_of(agent, agent.pid))

    def names_with(self, name, settings):
        agent = Agent(self.workspace, settings)
        folder = self.workspace.file(name)
        os.mkdir(folder)
        run([SYSTEM_PYTHON, os.path.join(APPS, "syscall_app.py"), folder])
        agent.stop()
        return {m["name"] for _, m in agent.metrics() if m["name"].startswith("zerotap.syscall")}

    def test_off_by_default(self):
        self.assertEqual(self.names_with("off", {}), set())
        self.assertIn("zerotap.syscall.duration", self.names_with("on", {"syscalls": {"enabled": True}}))


class Waits(Case):
    """A slow span says why, and a fast one, or one that no single thread served, says nothing."""

    def ask(self, port, cause, milliseconds):
        http_get(f"http://127.0.0.1:{port}/{cause}/{milliseconds}", timeout=60)

    def span(self, agent, server, cause, milliseconds):
        found, = agent.expect(lambda s: s.pid == server.pid and s.path == f"/{cause}/{milliseconds}", 1)
        prefix = "zerotap.wait."
        return found, {k[len(prefix):]: v for k, v in found.attributes.items() if k.startswith(prefix)}

    def check(self, agent, server, port, cause, name):
        self.ask(port, cause, 1200)
        span, waits = self.span(agent, server, cause, 1200)
        named = waits.pop("cause", None)
        self.assertTrue(named, f"{span} says nothing")
        self.assertLessEqual(sum(waits.values()), span.seconds + 1e-6, waits)
        self.assertGreaterEqual(sum(waits.values()), 0.9 * span.seconds, waits)
        self.assertEqual(waits[named], max(waits.values()), waits)
        if name:
            self.assertEqual(named, name, waits)
        return span, waits

    def causes(self, *arguments):
        folder = self.workspace.file("slow" + "".join(arguments))
        os.mkdir(folder)
        server, port = self.start_app("slow_app.py", folder, *arguments)
        agent = Agent(self.workspace)
        for cause, name in (("sleep", "sleep"), ("lock", "futex"), ("socket", "socket"), ("pipe", "pipe"), ("poll", "poll"),
                            ("child", "child")):
            _, waits = self.check(agent, server, port, cause, name)
            self.assertGreaterEqual(waits[name], 1.08, waits)
            self.assertLess(waits[name], 1.3, waits)
        _, waits = self.check(agent, server, port, "disk", None)
        on_cpu = waits.get("on_cpu", 0) + waits.get("cpu_queue", 0)
        self.assertGreaterEqual(waits["disk"], 0.9 * (1.2 - 0.12 - on_cpu), waits)
        # Of the CPU the share that the program took is known to the program; the wait for it depends on the host.
        for cause, seconds in (("burn", 1.2), ("share", 0.6)):
            _, waits = self.check(agent, server, port, cause, None)
            self.assertAlmostEqual(waits["on_cpu"], seconds, delta=0.08 * seconds + 0.02)
            self.assertGreaterEqual(waits["on_cpu"] + waits.get("cpu_queue", 0), 0.9 * sum(waits.values()))
        self.assertGreaterEqual(waits["cpu_queue"], 0.25, waits)
        self.ask(port, "sleep", 300)
        self.assertEqual(self.span(agent, server, "sleep", 300)[1], {})
        agent.stop()

    def test_each_cause_is_named(self):
        self.causes()

    def test_also_when_the_thread_ends_with_its_answer(self):
        self.causes("old")

    def test_thresholds_by_service_and_replay(self):
        folder = self.workspace.file("threshold")
        os.mkdir(folder)
        server, port = self.start_app("slow_app.py", folder, env={"OTEL_SERVICE_NAME": "shop-front"})
        other, other_port = self.start_app("slow_app.py", folder, env={"OTEL_SERVICE_NAME": "batch"})
        recording = self.workspace.file("slow.capture")
        config = {"waits": {"threshold": "1m", "services": [{"service": "shop-*", "threshold": "200ms"}]}}
        agent = Agent(self.workspace, config, arguments=("--record", recording))
        self.ask(port, "sleep", 300)
        self.ask(other_port, "sleep", 300)
        span, waits = self.span(agent, server, "sleep", 300)
        self.assertEqual(waits["cause"], "sleep")
        self.assertGreaterEqual(waits["sleep"], 0.27)
        self.assertEqual(self.span(agent, other, "sleep", 300)[1], {})
        agent.stop()
        replayed = [s for line in run([BINARY, "replay", recording, "--config", agent.config_path]).splitlines()
                    for s in read_spans([line.encode()]) if s.span_id == span.span_id]
        self.assertEqual([s.attributes for s in replayed], [span.attributes])

    def test_switched_off(self):
        slow, slow_port = self.start_app("slow_app.py", self.workspace.path)
        agent = Agent(self.workspace, {"waits": {"enabled": False}})
        self.ask(slow_port, "sleep", 1200)
        self.assertEqual(self.span(agent, slow, "sleep", 1200)[1], {})
        agent.stop()


class Tcp(Case):
    """In a network namespace of its own, whose counters have nothing but this test in them."""

    @classmethod
    def command_inside(cls, *command):
        """Not by the option of ip(8) and tc(8), which also want to mount, and cannot where / is no mount point (chroot)."""
        return ["nsenter", f"--net=/run/netns/{cls.namespace}", "--", *command]

    @staticmethod
    def is_mounted(path):
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            return any(line.split()[4] == path for line in file)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.namespace = f"zerotap-test-{os.getpid()}"
        if not cls.is_mounted("/run/netns"):
            cls.addClassCleanup(lambda: cls.is_mounted("/run/netns") and run(["umount", "/run/netns"]))
        run(["ip", "netns", "add", cls.namespace])
        cls.addClassCleanup(run, ["ip", "netns", "del", cls.namespace])
        run(cls.command_inside("ip", "link", "set", "lo", "mtu", "1500", "up"))

    def inside(self, *command):
        return run(self.command_inside(*command))

    def nstat(self, name):
        line, = [l for l in self.inside("nstat", "-asz", name).splitlines() if l.startswith(name)]
        return int(line.split()[1])

    def start_inside(self, name, *arguments, **options):
        # exec keeps the process id
        command = self.command_inside(SYSTEM_PYTHON, os.path.join(APPS, "tcp_app.py"), name, *arguments)
        return self.workspace.start(command, name, **options)

    def tell(self, client, *words):
        if words:
            client.stdin.write((" ".join(map(str, words)) + "\n").encode())
            client.stdin.flush()
        self.assertIn(client.stdout.readline(), (b"connected\n", b"done\n"))

    def exports(self, agent, name, pid):
        """Every point that was exported of a metric of one process, oldest first."""
        return [(attributes_of(point), point) for resource, metric in agent.metrics()
                if metric["name"] == name and resource.get("process.pid") == pid
                for kind in ("sum", "gauge", "histogram") for point in metric.get(kind, {}).get("dataPoints", [])]

    def latest(self, agent, name, pid, field="asInt"):
        found = self.exports(agent, name, pid)
        return int(found[-1][1][field]) if found else None

    def test_figures_are_those_of_nstat_and_ss(self):
        agent = Agent(self.workspace)
        port = 7000
        server = self.start_inside("server", port)
        wait_until(lambda: f":{port}" in self.inside("ss", "-tlnH"), "the server does not listen")
        client = self.start_inside("client", port, 3, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.tell(client)
        # A queue of a few packets: what does not fit into it is dropped.
        self.inside("tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "40mbit", "burst", "6000", "limit", "9000")
        self.tell(client, "send", 4_000_000)
        self.inside("tc", "qdisc", "del", "dev", "lo", "root")
        self.tell(client, "refused", 7, port + 1)
        wait_until(lambda: all(l.split()[1:3] == ["0", "0"] for l in self.inside("ss", "-tnH").splitlines()), "bytes are left")
        again = self.nstat("TcpRetransSegs")
        self.assertGreater(again, 5, "nothing was lost: this test shows nothing")
        both = (client.pid, server.pid)
        wait_until(lambda: sum(self.latest(agent, "zerotap.tcp.retransmits", p) or 0 for p in both) == again,
                   f"retransmissions are not {again}")
        for pid in both:
            self.assertEqual(self.latest(agent, "zerotap.tcp.connections", pid), 3)

        connects = {a.get("error.type"): int(p["count"]) for a, p in
                    self.exports(agent, "zerotap.tcp.connect.duration", client.pid)}
        self.assertEqual(connects, {None: 3, "ECONNREFUSED": 7})
        self.assertEqual(self.nstat("TcpActiveOpens"), 10)
        self.assertEqual(self.nstat("TcpAttemptFails"), 7)
        self.assertEqual(self.exports(agent, "zerotap.tcp.connect.duration", server.pid), [])

        # Nothing moves now, so each collection adds what ss says.
        trips = {True: 0.0, False: 0.0}
        lines = self.inside("ss", "-tinH").splitlines()
        for line, info in zip(lines[::2], lines[1::2]):
            to_server = line.split()[4].endswith(f":{port}")
            trips[to_server] += float(re.search(r" rtt:([\d.]+)/", info).group(1)) / 1e3
        count = len(self.exports(agent, "zerotap.tcp.rtt", server.pid))
        wait_until(lambda: len(self.exports(agent, "zerotap.tcp.rtt", server.pid)) >= count + 3, "no further collection")
        for pid, expected in ((client.pid, trips[True]), (server.pid, trips[False])):
            before, after = [p for _, p in self.exports(agent, "zerotap.tcp.rtt", pid)][-2:]
            self.assertEqual(int(after["count"]) - int(before["count"]), 3)
            self.assertAlmostEqual(after["sum"] - before["sum"], expected, delta=3.1e-6)

        self.tell(client, "close")
        wait_until(lambda: self.latest(agent, "zerotap.tcp.connections", client.pid) == 0, "the connections are still there")
        agent.stop()
        self.assertEqual(sum(self.latest(agent, "zerotap.tcp.retransmits", p) for p in both), self.nstat("TcpRetransSegs"))

    def names_with(self, settings):
        agent = Agent(self.workspace, settings)
        server, port = self.start_app("http_server.py")
        http_get(f"http://127.0.0.1:{port}/ok")
        agent.stop()
        return {m["name"] for _, m in agent.metrics() if m["name"].startswith("zerotap.tcp")}

    def test_switched_off(self):
        self.assertEqual(self.names_with({"tcp": {"enabled": False}}), set())
        self.assertTrue(self.names_with({}))


if __name__ == "__main__":
    unittest.main()
