"""What is counted in the kernel by process, against other observers: system calls against strace."""

import collections
import os
import re
import shutil
import unittest

from harness import APPS, SYSTEM_PYTHON, Agent, Case, attributes_of, run, wait_until

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
            self.assertGreaterEqual(seen[key]["sum"], least)
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

    def test_off_by_default(self):
        agent = Agent(self.workspace)
        folder = self.workspace.file("off")
        os.mkdir(folder)
        run([SYSTEM_PYTHON, os.path.join(APPS, "syscall_app.py"), folder])
        agent.stop()
        self.assertEqual([m["name"] for _, m in agent.metrics() if m["name"].startswith("zerotap.syscall")], [])


if __name__ == "__main__":
    unittest.main()
