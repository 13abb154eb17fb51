"""What the project promises, against a run's numbers; each miss with what else was measured of it.

A target's measure finds its number in the results, None when they do not have it: a Measured, whose spread is that of the pairs,
or a plain number where there are no pairs. Texts get their numbers from the results.
"""

import dataclasses
import typing

SERVICES = ("node", "python", "go", "java")
PGBENCH = ("pgbench-simple", "pgbench-extended", "pgbench-prepared")
MIB = 1 << 20
RECORDED = "http/keep_alive.capture"  # real traffic, for the pipeline
ENOUGH_PAIRS = 5  # for quartiles
MANY_PAIRS = 20  # for the interval of the median: from there on it is no wider than the quartiles are, but for 22
# What an event of which 256 bytes are captured takes with programs that decide nothing: docs/performance.md, "The floor of a captured event".
FLOOR_NS = 370


@dataclasses.dataclass(frozen=True)
class Measured:
    value: float
    spread: dict | None


def interval_of(spread):
    """Of the median; None where the quartiles say more, and of results that have none."""
    return spread.get("median_interval") if spread["n"] >= MANY_PAIRS else None


def in_unit(key, value, unit):
    if key == "n" or value is None:
        return value
    return [v / unit for v in value] if key == "median_interval" else value / unit


class Results:
    """Look-ups in a run's JSON."""

    def __init__(self, data):
        self.data = data
        self.rows = {(r["workload"], r["variant"]): r for r in data["results"]}

    def row(self, workload, variant):
        return self.rows.get((workload, variant))

    def paired(self, workload, variant, key):
        row = self.row(workload, variant)
        found = row and row["summary"].get(key)
        return Measured(found["ratio"]["median"], found["ratio"]) if found and found["ratio"] else None

    def median(self, workload, variant, key):
        found = self.paired(workload, variant, key)
        return found and found.value

    def watcher(self, workload, variant, key):
        row = self.row(workload, variant)
        return row["summary"]["watcher"].get(key) if row else None

    def watched(self, workload, variant, key, unit=1):
        """The same with what the pairs had."""
        value = self.watcher(workload, variant, key)
        if value is None:
            return None
        spread = self.row(workload, variant)["summary"].get("spreads", {}).get(key)
        return Measured(value / unit, spread and {k: in_unit(k, v, unit) for k, v in spread.items()})

    def overloaded(self, workload, variant):
        row = self.row(workload, variant)
        return bool(row and row["summary"].get("overloaded"))

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
    missing: typing.Callable = lambda results: None  # why nothing was measured, if more is known than that

    def meets(self, value):
        return value >= self.limit if self.at_least else value <= self.limit

    def met(self, measured):
        """yes, no or cannot tell: by the interval of the median where there are many pairs, by the quartiles where there are
        some, by all of them where they are few."""
        if measured is None:
            return None
        spread = measured.spread if isinstance(measured, Measured) else None
        if spread is None:
            return "yes" if self.meets(measured.value if isinstance(measured, Measured) else measured) else "no"
        if interval_of(spread):
            low, high = interval_of(spread)
        elif spread["n"] >= ENOUGH_PAIRS:
            low, high = spread["q1"], spread["q3"]
        else:
            low, high = spread["min"], spread["max"]
        worst, best = (low, high) if self.at_least else (high, low)
        if self.meets(worst):
            return "yes"
        return "cannot tell" if self.meets(best) else "no"


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


def busy_cpus(paired_us, throughput, side):
    return paired_us[side] * throughput[side] / 1e6


def floor_of_events(summary):
    """What its events take by the floor, and the agent, of a request's CPU time, that of the whole machine."""
    records, requests = (summary["watcher"].get(key) for key in ("records", "requests"))
    if not records or not requests or not summary["machine_us"]:
        return ""
    each, total = records / requests, summary["machine_us"]["off"]
    floor = each * FLOOR_NS / 1000
    agent = summary["watcher"]["cpu_us"]
    return (f". A request takes {total:.0f} µs of CPU time in all and has {each:.1f} captured events: {floor:.1f} µs ({100 * floor / total:.1f} %) by the floor for "
            f"256 bytes; the agent took {agent:.1f} µs ({100 * agent / total:.1f} %)")


def throughput_miss(workload):
    def explain(results):
        summary = results.row(workload, "sampled-a")["summary"]
        text = per_cents_of(results, workload) + floor_of_events(summary)
        busy = summary["watcher"].get("cpu_percent")
        if busy is not None:
            text += f". The agent's own threads used {busy:.0f} % of a CPU meanwhile"
        if summary["machine_us"]:
            without = busy_cpus(summary["machine_us"], summary["throughput"], "off")
            text += f"; without it {without:.1f} of {results.data['machine']['cpus']} CPUs were busy"
        return f"{text}. The pairs lay {range_of(summary['throughput']['ratio'])}"
    return explain


def range_of(ratio):
    text = f"between {percent(ratio['min'])} and {percent(ratio['max'])}"
    if interval_of(ratio):
        low, high = interval_of(ratio)
        text += f", their median with 95 % certainty between {percent(low)} and {percent(high)}"
    return text


def latency_miss(workload):
    def explain(results):
        row = results.row(workload, "sampled-a")["summary"]["p99_us"]
        return f"p99 was {row['off']:.0f} µs without and {row['on']:.0f} µs with it; the pairs lay {range_of(row['ratio'])}"
    return explain


def kernel_miss(results):
    empty = results.kernel("nginx-200", "measuring_ns")
    if empty is None:
        return "empty programs were not measured, so what measuring itself takes is in it"
    return f"{empty:.0f} ns are taken off already, which empty programs at the same hooks show"


def cpu_miss(variant):
    def explain(results):
        row = results.row("nginx-200", variant)["summary"]["watcher"]
        exported = row.get("exported_bytes", 0) / max(1, row["requests"])
        stages = {s: results.pipeline(RECORDED, s) for s in ("metrics", "spans", "encode")}
        text = f"{row['cpu_us']:.2f} µs of all of the agent's threads, with {exported:.0f} bytes sent a request"
        known = [f"{stage} {r['cpu_ns_per_exchange'] / 1000:.2f} µs" for stage, r in stages.items() if r]
        if known:
            text += f"; the pipeline alone, with {RECORDED} replayed from memory, needs " + ", ".join(known)
        return text
    return explain


def memory_miss(results):
    row = results.row("connections", "sampled-a")["summary"]["watcher"]
    return (f"{row['rss_anonymous_kib'] / 1024:.1f} MiB of RSS are anonymous; maps take {row['maps_bytes'] / MIB:.1f} MiB, of which the "
            f"ring is {row['rings_bytes'] / MIB:.1f} MiB")


def start_miss(results):
    spread = results.row("connections", "sampled-a")["summary"]["spreads"]["ready_ms"]
    return f"the slowest of {spread['n']} starts; the median was {spread['median']:.0f} ms, the fastest {spread['min']:.0f} ms"


def loss_miss(results):
    row = results.row("nginx-200", "sampled-a")["summary"]["watcher"]
    return f"with {row['records_per_second']:,.0f} records a second and a ring of {row['rings_bytes'] / MIB:.1f} MiB".replace(",", " ")


def _ratio(workload, variant, key="throughput"):
    return lambda results: results.paired(workload, variant, key)


def _event_time(key):
    return lambda results: results.kernel("nginx-200", key)


def _exchanges_per_second(results):
    row = results.pipeline(RECORDED, "spans")
    return 1e9 / row["cpu_ns_per_exchange"] if row else None


def _pipeline_miss(results):
    row = results.pipeline(RECORDED, "sampled")
    return f"with 10 % of the spans it is {1e9 / row['cpu_ns_per_exchange']:,.0f}".replace(",", " ") if row else "no more was measured"


def _rss(results):
    return results.watched("connections", "sampled-a", "rss_kib", 1024)


def _maps(results):
    return results.watched("connections", "sampled-a", "maps_bytes", MIB)


def _loss(results):
    """Of the run with the most records, the worst of all pairs; None unless more than 100,000 a second went through the ring."""
    if (results.watcher("nginx-200", "sampled-a", "records_per_second") or 0) <= 100_000:
        return None
    return results.watcher("nginx-200", "sampled-a", "lost")


def all_targets():
    for name, by in (("nginx-200-cpus", ", a worker for each CPU, by wrk"), ("nginx-200-wrk", ", one worker, by wrk"), ("nginx-200", ", one worker")):
        yield Target(f"nginx return 200, saturated{by}: kernel part, reader discards", 0.92, True, "%", _ratio(name, "discard-a"),
                     lambda results, n=name: per_cents_of(results, n))
        yield Target(f"nginx return 200, saturated{by}: whole agent, 10 % of spans", 0.85, True, "%", _ratio(name, "sampled-a"),
                     throughput_miss(name))
    yield Target("Redis, saturated, pipeline 1", 0.96, True, "%", _ratio("redis-1", "sampled-a"), throughput_miss("redis-1"))
    for name in PGBENCH:
        yield Target(name, 0.96, True, "%", _ratio(name, "sampled-a"), throughput_miss(name))
    for name in SERVICES:
        yield Target(f"{name} service: throughput", 0.98, True, "%", _ratio(name, "sampled-a"), throughput_miss(name))
        yield Target(f"{name} service: p99 at 70 % load", 1.02, False, "%", _ratio(name, "sampled-a", "p99_us"), latency_miss(name),
                     lambda results, n=name: "overloaded" if results.overloaded(n, "sampled-a") else None)
    yield Target("kernel time for a captured event", 150, False, "ns", _event_time("captured_ns"), kernel_miss)
    yield Target("kernel time for an event of an ignored process", 50, False, "ns", _event_time("ignored_ns"), kernel_miss)
    for variant, title, limit in (("metrics-a", "metrics only", 1.0), ("spans-a", "all spans", 2.0), ("spans-gzip-a", "all spans, gzip", 3.5)):
        yield Target(f"agent CPU a request: {title}", limit, False, "µs",
                     lambda results, v=variant: results.watched("nginx-200", v, "cpu_us"), cpu_miss(variant))
    yield Target("pipeline on recorded HTTP from memory, all spans, one core", 1_000_000, True, "/s", _exchanges_per_second, _pipeline_miss)
    yield Target("RSS with 200 processes and 10,000 connections", 40, False, "MiB", _rss, memory_miss)
    yield Target("BPF maps and rings then", 32, False, "MiB", _maps, memory_miss)
    yield Target("start: exec to ready, 200 processes running", 300, False, "ms",
                 lambda results: results.watched("connections", "sampled-a", "ready_ms"), start_miss)
    yield Target("events lost at more than 100,000 records a second", 0, False, "", _loss, loss_miss)


def judge(data):
    """[{name, limit, at_least, unit, measured, missing, met, explanation}]"""
    results = Results(data)
    rows = []
    for target in all_targets():
        measured = target.measure(results)
        met = target.met(measured)
        value = measured.value if isinstance(measured, Measured) else measured
        rows.append({"name": target.name, "limit": target.limit, "at_least": target.at_least, "unit": target.unit,
                     "measured": value, "missing": target.missing(results) if value is None else None, "met": met,
                     "explanation": target.explain(results) if met in ("no", "cannot tell") else None})
    return rows
