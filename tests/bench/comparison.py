"""Pairs of phases, without and with a watcher, of one workload and one variant."""

import contextlib
import json
import time

import harness
import loads
import measuring
import ratios
import variants
import workloads

PROTOCOLS = ("http", "postgresql")
AGENT_SECONDS, CAPTURE_SECONDS = 1.5, 0.5  # start, settle and stop of a watcher, about: for the estimate
BEFORE_COUNT_SECONDS = 0.2  # the agent takes in what was before within its turn of some milliseconds
SNAPSHOT_SECONDS = 1.05  # the agent looks at its counters, and sends what it has, each second
SETUP_SECONDS = {"node": 5, "python": 5, "go": 5, "java": 9, "connections": 6} | dict.fromkeys(
    ("pgbench-simple", "pgbench-extended", "pgbench-prepared", "postgres-1gb"), 3)


def fixed_rate(off, on):
    """Of requests a second, from what both sides took: neither is to be overloaded."""
    return round(min(off, on) * workloads.FRACTION_OF_SATURATION)


def gained_counters(before, after, loaded_seconds):
    """The agent's counters over the load. Those before it are up to a second old, of an agent that has just begun."""
    if after is None:
        return {}
    gained = {key: after[key] - before[key] for key in ("records", "ignored", "lost", "spans", "dropped")}
    return gained | {"losses": after["losses"], "ring_bytes": after["ring_bytes"],
                     "records_per_second": gained["records"] / loaded_seconds}


class Receiver:
    """Takes what the agent exports."""

    def __init__(self):
        self.workspace = harness.Workspace("bench-receiver")
        self.port = harness.free_port()
        process = self.workspace.start([loads.BENCH_PEER, "receive", self.port], "receiver")
        harness.wait_for_listener(self.port, process)

    def received(self):
        """{requests, bytes} so far."""
        return json.loads(harness.http_get(f"http://127.0.0.1:{self.port}/")[1])

    def close(self):
        self.workspace.close()


def used(workload, load, before, after):
    """What a load used, a request."""
    requests = max(1, load["requests"])
    user, system = ((load["user_us"], load["system_us"]) if "user_us" in load
                    else tuple(b - a for a, b in zip(before["app"], after["app"])))
    busy, softirq = (b - a for a, b in zip(before["machine"], after["machine"]))
    return {"requests": load["requests"], "per_second": load["per_second"], "errors": load["errors"],
            "app_us": (user + system) / requests, "app_user_us": user / requests, "app_system_us": system / requests,
            "softirq_us": softirq / requests, "machine_us": busy / requests}


def snapshot(workload):
    return {"app": measuring.cpu_of_tree(workload.roots), "machine": measuring.machine()}


class Comparison:
    def __init__(self, workload, variant, receiver, seconds):
        self.workload, self.variant, self.receiver, self.seconds = workload, variant, receiver, seconds
        self.rate = None

    def calibrate(self, with_rate=True):
        """Warms up, and finds the fixed rate from the slower side of a pair that counts for nothing else."""
        self.workload.saturate(max(self.workload.warm_up, 0.05))
        off = self.workload.saturate(min(self.seconds, 1.0))
        if self.workload.rated and with_rate:
            watcher = variants.attach(self.workload.workspace, self.variant, self.workload, self.receiver.port)
            try:
                self.workload.attached()
                on = self.workload.saturate(min(self.seconds, 1.0))
            finally:
                watcher.stop()
            self.rate = fixed_rate(off["per_second"], on["per_second"])

    def saturated(self):
        before = snapshot(self.workload)
        load = self.workload.saturate(self.seconds)
        return used(self.workload, load, before, snapshot(self.workload))

    def at_rate(self):
        before = snapshot(self.workload)
        load = self.workload.at_rate(self.rate, self.seconds)
        return used(self.workload, load, before, snapshot(self.workload)) | {
            key: load[key] for key in ("p50_us", "p99_us", "p999_us", "unsent")} | {"rate": self.rate}

    def off(self, with_rate=True):
        self.workload.attached()
        return {"saturated": self.saturated(), "fixed_rate": self.at_rate() if with_rate and self.rate else None}

    def on(self, with_rate=True):
        watcher = variants.attach(self.workload.workspace, self.variant, self.workload, self.receiver.port)
        try:
            self.workload.attached()
            if self.variant.settle_seconds:
                self.workload.saturate(self.variant.settle_seconds)
            self.workload.begin_count()
            time.sleep(BEFORE_COUNT_SECONDS)
            counted = {p: watcher.seen(p) for p in PROTOCOLS}
            received, counters = self.receiver.received(), watcher.counters()
            phase, numbers = {"fixed_rate": None}, {}
            phase["saturated"], numbers = self._watched(watcher, counted, 0, self.saturated)
            requests = phase["saturated"]["requests"]
            if with_rate and self.rate:
                phase["fixed_rate"], at_rate = self._watched(watcher, counted, requests, self.at_rate)
                phase["fixed_rate"] |= {"agent_cpu_us": at_rate["cpu_us"], "agent_cpu_percent": at_rate["cpu_percent"]}
                requests += phase["fixed_rate"]["requests"]
                numbers["loaded_seconds"] += at_rate["loaded_seconds"]
            numbers |= self._of_watcher(watcher, requests)
            numbers |= gained_counters(counters, watcher.counters(), numbers["loaded_seconds"])
            tree = self.workload.tree()
            numbers["rungs"] = sorted({rung for pid, rung in watcher.rungs() if pid in tree})
            numbers["exported_bytes"] = self.receiver.received()["bytes"] - received["bytes"]
            if self.variant.counts:
                seen = {p: self._gained(counted[p], watcher.seen(p)) for p in PROTOCOLS}
                numbers["checks"] = self.workload.checks(seen, requests)
        except BaseException:
            with contextlib.suppress(AssertionError):
                watcher.stop()
            raise
        said = watcher.stop()
        if said:
            numbers |= {"records": said["records"], "lost": said["lost"], "record_bytes": said["bytes"]}
        return phase | {"watcher": numbers}

    def _watched(self, watcher, counted, requests_before, load):
        """A load's numbers, and the watcher's CPU for it: until everything of it is counted and sent."""
        cpu, began = measuring.cpu_of_threads(watcher.pid), time.monotonic()
        found = load()
        ended = time.monotonic()
        self._settle(watcher, counted, requests_before + found["requests"])
        if self.variant.kind == "agent":
            time.sleep(max(0.0, ended + SNAPSHOT_SECONDS - time.monotonic()))
        cpu = measuring.cpu_of_threads(watcher.pid) - cpu
        return found, {"cpu_us": cpu / max(1, found["requests"]), "cpu_percent": cpu / 1e4 / (ended - began),
                       "loaded_seconds": ended - began}

    def _settle(self, watcher, counted, requests):
        protocol = self.workload.protocol

        def wanted():
            if protocol is None or not self.variant.counts:
                return True
            return sum(self._gained(counted[protocol], watcher.seen(protocol)).values()) >= requests
        watcher.settle(wanted)

    @staticmethod
    def _gained(before, after):
        return {pid: count - before.get(pid, 0) for pid, count in after.items()}

    @staticmethod
    def _of_watcher(watcher, requests):
        numbers = {"requests": requests, "rss_kib": harness.rss_kib(watcher.pid),
                   "rss_anonymous_kib": harness.rss_anon_kib(watcher.pid), "ready_ms": watcher.ready_seconds * 1000, "checks": []}
        return numbers | measuring.bpf_memory(watcher.pid)

    def kernel_times(self):
        """{runs, time_ns, captured, programs} of the programs under saturation, by the kernel's statistics."""
        with measuring.KernelTimes() as times:
            watcher = variants.attach(self.workload.workspace, self.variant, self.workload, self.receiver.port)
            try:
                self.workload.attached()
                before = times.read(watcher.pid)
                counters = watcher.counters() or {"records": 0}
                load = self.workload.saturate(self.seconds)
                after = times.read(watcher.pid)
                if watcher.counters() is not None:
                    time.sleep(SNAPSHOT_SECONDS)
                captured = (watcher.counters() or {"records": 0})["records"] - counters["records"]
            finally:
                watcher.stop()
        programs = {name: {"runs": runs - before.get(name, (0, 0))[0], "time_ns": ns - before.get(name, (0, 0))[1]}
                    for name, (runs, ns) in after.items()}
        programs = {name: p for name, p in sorted(programs.items()) if p["runs"]}
        of_tier = [p for name, p in programs.items() if name.startswith("tier_")]
        return {"runs": sum(p["runs"] for p in of_tier), "time_ns": sum(p["time_ns"] for p in of_tier),
                "captured": captured, "requests": load["requests"], "programs": programs}

    def measure(self, pairs, with_rate=True, say=lambda text: None):
        taken = []
        for number, order in enumerate(ratios.orders(pairs)):
            pair = {"order": order}
            for side in order.split("-"):
                pair[side] = self.off(with_rate) if side == "off" else self.on(with_rate)
            taken.append(pair)
            ratio = ratios.ratio(pair["on"]["saturated"]["per_second"], pair["off"]["saturated"]["per_second"])
            say(f"{self.workload.name} {self.variant.name} {number + 1}/{pairs}: {ratio:.3f}")
        return taken


def estimate(workload, variant, pairs, seconds, with_rate, with_times):
    """Seconds that a comparison takes, about."""
    seconds = max(seconds, workload.least_seconds)
    rated = workload.rated and with_rate
    side = seconds * (2 if rated else 1) + 0.05
    watcher = AGENT_SECONDS if variant.kind == "agent" else CAPTURE_SECONDS
    on = side + watcher + variant.settle_seconds + (SNAPSHOT_SECONDS if rated else 0)
    return (pairs * (side + on) + (seconds + AGENT_SECONDS if with_times else 0) +
            (seconds + AGENT_SECONDS if rated else 0))


def estimate_setup(workload, seconds):
    """Of a workload's programs, with the warm-up."""
    return SETUP_SECONDS.get(workload.name, 1) + max(seconds, workload.least_seconds)
