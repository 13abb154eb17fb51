"""Processes to which the agent costs more than harm_budget are watched for less, alone, to the unit, and for as long as it takes."""

import json
import os
import re
import shutil
import signal
import unittest

from harness import SERVER, Agent, Case, Client, free_port, wait_for_listener, wait_until
from servers import Nginx

RUNGS = ["full", "heads", "metrics", "counts", "detached"]
# Whatever the machine, a program that does nothing but answer has more than this in calls of its sockets.
BUDGET = "0.5%"


class Ladder(Case):
    def limited(self, agent):
        """{pid: rung} of those that are watched for less now."""
        return {p["pid"]: p["rung"] for p in json.loads(agent.get("/ledger"))["limited"]}

    def steps(self, agent, pid):
        """[(from, to)] of the log."""
        with open(agent.process.log_path) as file:
            text = file.read()
        return (re.findall(rf"\(pid {pid}\) costs [\d.]+ % .* from (\w+) down to (\w+)", text),
                re.findall(rf"\(pid {pid}\) goes up from (\w+) to (\w+)", text))

    def metric(self, agent, name, **labels):
        wanted = ",".join(f'{key}="{value}"' for key, value in labels.items())
        for line in agent.get("/metrics").splitlines():
            if line.startswith(name + "{" + wanted + "}"):
                return int(line.split()[-1])
        raise AssertionError(f"no metric {name} {labels}")

    def wrk(self, nginx):
        return self.workspace.start(["wrk", "-t", "1", "-c", "4", "-d", "600", f"http://127.0.0.1:{nginx.port}/load"], "wrk")

    def redis(self):
        binary = shutil.which("redis-server")
        if not binary:
            raise AssertionError("redis-server is not installed: run deploy/install-deps test")
        port = free_port()
        server = self.workspace.start([binary, "--port", port, "--save", "", "--appendonly", "no", "--dir", self.workspace.path],
                                      "redis-server")
        wait_for_listener(port, server)
        return server, port

    def assert_one_at_a_time(self, down, up):
        for before, after in down:
            self.assertEqual(RUNGS.index(after), RUNGS.index(before) + 1, down)
        for before, after in up:
            self.assertEqual(RUNGS.index(after), RUNGS.index(before) - 1, up)
        self.assertEqual(down[0], ("full", "heads"))

    def test_down_under_load_and_up_again(self):
        # One connection is silent for as long as the way up takes.
        nginx = Nginx(self.workspace, 'location / { keepalive_timeout 900s; return 200 "fine\\n"; }', workers=1)
        worker, = nginx.pids
        redis, redis_port = self.redis()
        quiet, quiet_port = self.start_app("http_server.py")
        agent = Agent(self.workspace, {"harm_budget": BUDGET})
        client = Client(self.workspace)
        old = client.connect(["127.0.0.1", nginx.port])  # lives through all of it
        client.exchange(old, "GET", "/before")
        agent.expect(lambda s: s.pid == worker and s.path == "/before", 1)

        loads = [self.wrk(nginx),
                 self.workspace.start(["redis-benchmark", "-p", redis_port, "-t", "get", "-n", 1_000_000_000, "-c", 8, "-q"],
                                      "redis-benchmark")]
        for pid, depth in ((worker, "counts"), (redis.pid, "heads")):
            wait_until(lambda: RUNGS.index(self.limited(agent).get(pid, "full")) >= RUNGS.index(depth),
                       f"{pid} is still watched in full:\n{agent.log()}", 90, 0.2)
        # Others pay nothing for it.
        answers = client.connect(["127.0.0.1", quiet_port])
        for i in range(20):
            client.exchange(answers, "GET", f"/ok?number={i}")
        agent.expect(lambda s: s.pid == quiet.pid and s.kind == SERVER, 20)
        self.assertNotIn(quiet.pid, self.limited(agent))
        client.exchange(old, "GET", "/during")
        for rung in RUNGS[1:4]:
            self.assertGreaterEqual(self.metric(agent, "zerotap_harm_steps_total", direction="down", rung=rung), 1)
        self.assertGreaterEqual(sum(self.metric(agent, "zerotap_harm_processes", rung=rung) for rung in RUNGS[1:]), 2)
        for load in loads:
            self.workspace.stop(load, signal.SIGKILL)

        wait_until(lambda: not {worker, redis.pid} & self.limited(agent).keys(),
                   f"not watched in full again:\n{agent.log()}", 150, 0.5)
        self.assertGreaterEqual(self.metric(agent, "zerotap_harm_steps_total", direction="up", rung="full"), 2)
        for pid in (worker, redis.pid):
            self.assert_one_at_a_time(*self.steps(agent, pid))
        # As before: on a connection that lived through it (the first answers may be nobody's for certain), and on a new one.
        for i in range(4):
            client.exchange(old, "GET", f"/maybe/{i}")
        client.exchange(old, "GET", "/old")
        new = client.connect(["127.0.0.1", nginx.port])
        for i in range(10):
            client.exchange(new, "GET", "/new")
        agent.expect(lambda s: s.pid == worker and s.path == "/new", 10)
        agent.expect(lambda s: s.pid == worker and s.path == "/old", 1)

        # Nothing was made up, and nothing counted twice.
        seen_paths = {s.path for s in agent.spans(lambda s: s.pid == worker and s.kind == SERVER)}
        self.assertLessEqual(seen_paths, {"/before", "/load", "/during", "/old", "/new", *(f"/maybe/{i}" for i in range(4))})
        self.assertEqual(agent.spans(lambda s: s.pid == worker and (s.http_status != 200 or s.seconds > 30)), [])
        rows = [r for r in agent.ledger({worker}) if r["role"] == "server"]  # balanced: the harness checks it
        self.assertGreater(sum(r["dropped"].get("harm_budget", 0) for r in rows), 0)
        total = sum(r["seen"] for r in rows)
        requests = len(nginx.logged())
        self.assertLessEqual(total, requests)
        if not any(after == "detached" for _, after in self.steps(agent, worker)[0]):
            self.assertEqual(total, requests)
        self.assertEqual([r for r in agent.ledger({quiet.pid}) if r["dropped"].get("harm_budget")], [])
        self.assertEqual(agent.stop(), 0)

    def test_off_and_reload(self):
        nginx = Nginx(self.workspace, 'location / { return 200 "fine\\n"; }', workers=1)
        worker, = nginx.pids
        agent = Agent(self.workspace, {"harm_budget": BUDGET})
        load = self.wrk(nginx)
        wait_until(lambda: worker in self.limited(agent), "the worker is still watched in full:\n" + agent.log(), 60, 0.2)
        with open(agent.config_path) as file:
            settings = json.load(file)
        settings["harm_budget"] = "off"
        with open(agent.config_path, "w") as file:
            json.dump(settings, file)
        os.kill(agent.pid, signal.SIGHUP)
        wait_until(lambda: not self.limited(agent), "a limit is still in force:\n" + agent.log())
        seen = agent.ledger_sum({worker}, "http", "server")["seen"]
        wait_until(lambda: agent.ledger_sum({worker}, "http", "server")["seen"] > seen + 20000, "nothing is seen", 60)
        self.assertFalse(self.limited(agent))
        self.workspace.stop(load, signal.SIGKILL)
        self.assertEqual(agent.stop(), 0)


if __name__ == "__main__":
    unittest.main()
