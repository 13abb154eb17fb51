"""What the project promises, against a run's numbers; each miss with what the floor says about it.

A target's measure finds its number in the results, None when they do not have it. Texts get their numbers from the results.
"""

import dataclasses
import typing

SERVICES = ("node", "python", "go", "java")
PGBENCH = ("pgbench-simple", "pgbench-extended", "pgbench-prepared")
MIB = 1 << 20


class Results:
    """Look-ups in a run's JSON."""

    def __init__(self, data):
        self.data = data
        self.rows = {(r["workload"], r["variant"]): r for r in data["results"]}

    def row(self, workload, variant):
        return self.rows.get((workload, variant))

    def median(self, workload, variant, key):
        row = self.row(workload, variant)
        found = row and row["summary"].get(key)
        return found["ratio"]["median"] if found else None

    def watcher(self, workload, variant, key):
        row = self.row(workload, variant)
        return row["summary"]["watcher"].get(key) if row else None

    def kernel(self, workload, key):
        return self.data.get("event_times", {}).get(workload, {}).get(key)

    def pipeline(self, traffic, stage):
        for row in (self.data.get("pipeline") or {}).get("rows", []):
            if (row["traffic"], row["stage"]) == (traffic, stage):
                return row
        return None


@dataclasses.dataclass(frozen=True)
class Target:
    name: str
    limit: float
    at_least: bool
    unit: str
    measure: typing.Callable
    explain: typing.Callable

    def met(self, measured):
        if measured is None:
            return None
        return measured >= self.limit if self.at_least else measured <= self.limit


def percent(value):
    return f"{100 * value:.1f} %"


def per_cents_of(results, workload, tier="a"):
    """What each step up from empty programs costs."""
    said = []
    for variant, text in (("floor", "the same hooks with empty programs"), ("discard", "the real programs with a reader that discards"),
                          ("ignored", "the agent with everything ignored"), ("metrics", "with metrics only")):
        value = results.median(workload, f"{variant}-{tier}", "throughput")
        if value is not None:
            said.append(f"{text} leave {percent(value)}" if variant in ("floor", "discard") else f"{text} leaves {percent(value)}")
    return "; ".join(said) or "the floor was not measured in this run"


def throughput_miss(workload):
    def explain(results):
        row = results.row(workload, "sampled-a")
        busy = row["summary"]["watcher"].get("cpu_percent") if row else None
        text = per_cents_of(results, workload)
        if busy is not None:
            text += (f". The agent's own threads used {busy:.0f} % of a CPU meanwhile, on a machine with "
                     f"{results.data['machine']['cpus']} CPUs that the load generator and the server fill already")
        spread = row["summary"]["throughput"]["ratio"] if row else None
        if spread:
            text += f". The pairs lay between {percent(spread['min'])} and {percent(spread['max'])}"
        return text
    return explain


def latency_miss(workload):
    def explain(results):
        row = results.row(workload, "sampled-a")["summary"]["p99_us"]
        return (f"p99 was {row['off']:.0f} µs without and {row['on']:.0f} µs with it; single pairs lay between "
                f"{percent(row['ratio']['min'])} and {percent(row['ratio']['max'])}, which is how well this machine can tell")
    return explain


def kernel_miss(results):
    times = results.data.get("event_times", {}).get("nginx-200", {})
    return (f"an empty program at the same hooks measures {times.get('measuring_ns') or 0:.0f} ns, which is the price of measuring and "
            "is taken off already; the kernel's clock is read twice for each run")


def cpu_miss(variant):
    def explain(results):
        row = results.row("nginx-200", variant)["summary"]["watcher"]
        exported = row.get("exported_bytes", 0) / max(1, row["requests"])
        stages = {s: results.pipeline("http", s) for s in ("metrics", "spans", "encode")}
        text = f"{row['cpu_us']:.2f} µs of all of the agent's threads, with {exported:.0f} bytes sent a request"
        known = [f"{stage} {r['cpu_ns_per_exchange'] / 1000:.2f} µs" for stage, r in stages.items() if r]
        if known:
            text += "; the pipeline alone, replayed from memory, needs " + ", ".join(known)
        return text + "; the rest is fetching records from other CPUs' caches, waking up, and sending"
    return explain


def memory_miss(results):
    row = results.row("connections", "sampled-a")["summary"]["watcher"]
    return (f"{row['rss_anonymous_kib'] / 1024:.1f} MiB of it are anonymous; maps take {row['maps_bytes'] / MIB:.1f} MiB, of which the "
            f"ring is {row['rings_bytes'] / MIB:.1f} MiB and is mapped into the agent too")


def _ratio(workload, variant, key="throughput"):
    return lambda results: results.median(workload, variant, key)


def _event_time(key):
    return lambda results: results.kernel("nginx-200", key)


def _exchanges_per_second(results):
    row = results.pipeline("http", "spans")
    return 1e9 / row["cpu_ns_per_exchange"] if row else None


def _pipeline_miss(results):
    row = results.pipeline("http", "sampled")
    return f"with 10 % of the spans it is {1e9 / row['cpu_ns_per_exchange']:,.0f}".replace(",", " ") if row else "–"


def _rss(results):
    kib = results.watcher("connections", "sampled-a", "rss_kib")
    return None if kib is None else kib / 1024


def _maps(results):
    size = results.watcher("connections", "sampled-a", "maps_bytes")
    return None if size is None else size / MIB


def _loss(results):
    """Of the run with the most events; None below 100,000 a second."""
    if (results.watcher("nginx-200", "sampled-a", "events_per_second") or 0) < 100_000:
        return None
    return results.watcher("nginx-200", "sampled-a", "lost")


def all_targets():
    floor = lambda results: per_cents_of(results, "nginx-200")  # noqa: E731
    yield Target("nginx return 200, saturated: kernel part, reader discards", 0.92, True, "%", _ratio("nginx-200", "discard-a"), floor)
    yield Target("nginx return 200, saturated: whole agent, 10 % of spans", 0.85, True, "%", _ratio("nginx-200", "sampled-a"),
                 throughput_miss("nginx-200"))
    yield Target("Redis, saturated, pipeline 1", 0.96, True, "%", _ratio("redis-1", "sampled-a"), throughput_miss("redis-1"))
    for name in PGBENCH:
        yield Target(name, 0.96, True, "%", _ratio(name, "sampled-a"), throughput_miss(name))
    for name in SERVICES:
        yield Target(f"{name} service: throughput", 0.98, True, "%", _ratio(name, "sampled-a"), throughput_miss(name))
        yield Target(f"{name} service: p99 at 70 % load", 1.02, False, "%", _ratio(name, "sampled-a", "p99_us"), latency_miss(name))
    yield Target("kernel time for a captured event", 150, False, "ns", _event_time("captured_ns"), kernel_miss)
    yield Target("kernel time for an ignored event", 50, False, "ns", _event_time("ignored_ns"), kernel_miss)
    for variant, title, limit in (("metrics-a", "metrics only", 1.0), ("spans-a", "all spans", 2.0), ("spans-gzip-a", "all spans, gzip", 3.5)):
        yield Target(f"agent CPU a request: {title}", limit, False, "µs",
                     lambda results, v=variant: results.watcher("nginx-200", v, "cpu_us"), cpu_miss(variant))
    yield Target("pipeline on HTTP from memory, all spans, one core", 1_000_000, True, "/s", _exchanges_per_second, _pipeline_miss)
    yield Target("RSS with 200 processes and 10,000 connections", 40, False, "MiB", _rss, memory_miss)
    yield Target("BPF maps and rings then", 32, False, "MiB", _maps, memory_miss)
    yield Target("start: exec to ready, 200 processes running", 300, False, "ms",
                 lambda results: results.watcher("connections", "sampled-a", "ready_ms"),
                 lambda results: "the slowest start of all pairs counts; most of it is the verifier looking at the programs")
    yield Target("events lost at more than 100,000 a second", 0, False, "", _loss,
                 lambda results: "the ring was full: the ledger has the exact number")


def judge(data):
    """[{name, limit, at_least, unit, measured, met, explanation}]"""
    results = Results(data)
    rows = []
    for target in all_targets():
        measured = target.measure(results)
        met = target.met(measured)
        rows.append({"name": target.name, "limit": target.limit, "at_least": target.at_least, "unit": target.unit,
                     "measured": measured, "met": met, "explanation": target.explain(results) if met is False else None})
    return rows
