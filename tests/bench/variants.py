"""What is attached while a workload runs: the agent in several settings, or only its kernel side."""

import contextlib
import dataclasses
import json
import os
import subprocess
import time
import urllib.error

import harness
import measuring

POLL_SECONDS = 0.25  # an answer costs CPU time of the agent, which is being measured
BENCH_CAPTURE = os.path.join(harness.BUILD, "bench_capture")


@dataclasses.dataclass(frozen=True)
class Variant:
    name: str        # with its tier: sampled-a
    title: str
    tier: str
    kind: str = "agent"  # agent, discard, floor
    config: str = "{}"
    counts: bool = True  # the ledger must have each request
    settle_seconds: float = 0.0  # of load before anything is measured


def _settings(**changes):
    """Without the harm budget: what is measured is what was asked for, however much it costs."""
    return json.dumps({"harm_budget": "off"} | changes)


_OF_THE_AGENT = (
    ("ignored", "attached, all ignored", _settings(targets={"exclude": [{"executable": "*"}]}), False),
    ("metrics", "metrics only", _settings(spans={"enabled": False}), True),
    ("sampled", "metrics, 10 % of spans", _settings(sampling={"sampler": "traceidratio", "argument": "0.1"}), True),
    ("spans", "metrics, all spans", _settings(export={"otlp": {"compression": "none"}}), True),
    ("spans-gzip", "metrics, all spans, gzip", _settings(export={"otlp": {"compression": "gzip"}}), True),
)
_OF_THE_KERNEL_SIDE = (
    ("discard", "programs, reader discards"),
    ("floor", "empty programs"),
)


def _all():
    for tier in ("a", "b"):
        for name, title, config, counts in _OF_THE_AGENT:
            yield Variant(f"{name}-{tier}", title, tier, "agent", config, counts)
        for name, title in _OF_THE_KERNEL_SIDE:
            yield Variant(f"{name}-{tier}", title, tier, name, "{}", False)
    # The ladder goes down a rung every three seconds, after a first window of four.
    yield Variant("default", "as installed but for 10 % of spans: harm budget of 5 %", "a", "agent",
                  _settings(harm_budget="5%", sampling={"sampler": "traceidratio", "argument": "0.1"}), False, 15.0)


VARIANTS = {v.name: v for v in _all()}


class AgentWatcher:
    """The agent with one variant's settings."""

    def __init__(self, workspace, variant, workload, receiver_port):
        excluded = [{"executable": f"*/{name}"} for name in workload.load_programs]
        config = harness.merge({
            "targets": {"exclude": excluded},
            "export": {"traces": ["otlp"], "metrics": ["otlp"], "flush_interval": "1s",
                       "otlp": {"endpoint": f"http://127.0.0.1:{receiver_port}"}},
            "metrics": {"interval": "1s"},
        }, json.loads(variant.config))
        began = time.monotonic()
        self.agent = harness.Agent(workspace, config, tier=variant.tier, wait=False)
        self._wait_ready(began)
        self.pid = self.agent.pid

    def _wait_ready(self, began):
        deadline = began + 20
        while True:
            with contextlib.suppress(urllib.error.URLError, OSError):
                self.agent.get("/readyz")
                break
            if self.agent.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the agent is not ready:\n" + self.agent.log())
            time.sleep(0.003)
        self.ready_seconds = time.monotonic() - began

    def seen(self, protocol, role="server"):
        """{pid: requests seen} by the ledger."""
        counts = {}
        for row in self.agent.ledger():
            if row["protocol"] == protocol and row["role"] == role:
                counts[row["pid"]] = counts.get(row["pid"], 0) + row["seen"]
        return counts

    def settle(self, wanted, timeout=4.0):
        """Waits until wanted() is true and nothing is in flight; gives up silently, for the counts will tell."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if wanted() and sum(r["in_flight"] for r in self.agent.ledger()) == 0:
                return
            time.sleep(POLL_SECONDS)

    def rungs(self):
        """[(pid, rung)] of the processes that are watched for less."""
        return [(row["pid"], row["rung"]) for row in json.loads(self.agent.get("/ledger")).get("limited", [])]

    def counters(self):
        """Events by the agent's own account; its snapshot of them is up to a second old."""
        values = measuring.prometheus(self.agent.get("/metrics"))
        losses = {key: value for key, value in values.items() if key.startswith("zerotap_kernel_losses_total") and value}
        return {"records": values.get("zerotap_kernel_records_total", 0),
                "ignored": values.get("zerotap_kernel_ignored_events_total", 0),
                "lost": sum(v for k, v in losses.items() if 'reason="ring_full"' in k or 'reason="recursion"' in k),
                "losses": losses,
                "ring_bytes": values.get("zerotap_kernel_ring_size_bytes", values.get("zerotap_kernel_ring_size", 0)),
                "spans": sum(r["emitted"] for r in self.agent.ledger()),
                "dropped": sum(sum(r["dropped"].values()) for r in self.agent.ledger())}

    def stop(self):
        status = self.agent.stop()
        if status != 0:
            raise AssertionError(f"the agent ended with {status}:\n{self.agent.log()}")
        return None


class CaptureWatcher:
    """Only the kernel side: bench_capture."""

    def __init__(self, workspace, variant, workload):
        command = [BENCH_CAPTURE, variant.kind, "--tier", variant.tier, "--verdict", workload.verdict]
        for name in workload.load_programs:
            command += ["--ignore", name]
        began = time.monotonic()
        self.workspace = workspace
        self.process = workspace.start(command, "bench_capture", stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        if line.strip() != b"ready":
            self.process.wait(5)
            raise AssertionError(f"bench_capture is not ready: {harness.tail(self.process.log_path)}")
        self.ready_seconds = time.monotonic() - began
        self.pid = self.process.pid

    def seen(self, protocol, role="server"):
        return {}

    def settle(self, wanted, timeout=0.0):
        time.sleep(0.05)

    def rungs(self):
        return []

    def counters(self):
        return None

    def stop(self):
        """What it counted."""
        self.process.terminate()
        line = self.process.stdout.readline()
        status = self.workspace.stop(self.process)
        if status != 0 or not line:
            raise AssertionError(f"bench_capture ended with {status}: {harness.tail(self.process.log_path)}")
        return json.loads(line)


def attach(workspace, variant, workload, receiver_port):
    if variant.kind == "agent":
        return AgentWatcher(workspace, variant, workload, receiver_port)
    return CaptureWatcher(workspace, variant, workload)
