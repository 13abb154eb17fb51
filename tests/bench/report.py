"""A run's JSON as a table for the terminal and as the generated part of docs/performance.md."""

import json
import os

import svg
import targets

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RECORD = os.path.join(HERE, "results.json")
PAGE = os.path.join(ROOT, "docs", "performance.md")
PICTURE = os.path.join(ROOT, "docs", "performance.svg")
BEGIN = "<!-- The next lines are generated: tests/bench/run --write-docs -->"
END = "<!-- End of what is generated -->"
MIB = 1 << 20
NONE = "–"


def grouped(value):
    """1234567 as 1 234 567, with three significant digits below a thousand."""
    if value is None:
        return NONE
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}" if value else "0"


def percent(value):
    return NONE if value is None else f"{100 * value:.1f} %"


def ratio(paired):
    return percent(paired["ratio"]["median"]) if paired else NONE


def latency(summary, key):
    """A rate that a side could not keep up with says nothing of latencies."""
    return "overloaded" if summary.get("overloaded") else ratio(summary[key])


def between(paired):
    return f"{100 * paired['ratio']['min']:.1f}–{100 * paired['ratio']['max']:.1f}" if paired else NONE


def added(paired):
    """A number of the off side and what came to it."""
    if not paired:
        return NONE
    difference = paired["difference"]["median"]
    return f"{grouped(paired['off'])} {'−' if difference < 0 else '+'}{grouped(abs(difference))}"


def counts(row):
    checks = row["summary"]["checks"]
    if not checks:
        return NONE
    wrong = [c for c in checks if not c["equal"]]
    if not wrong:
        return "equal"
    return "; ".join(f"{c['agent'] - c['judge']:+} of {c['judge']}" for c in wrong)


def cells(row):
    summary, watcher = row["summary"], row["summary"]["watcher"]
    return [row["workload"], row["variant"], f"{grouped(summary['throughput']['off'])} {row['unit']}/s", ratio(summary["throughput"]),
            between(summary["throughput"]), added(summary["app_us"]), added(summary["softirq_us"]), latency(summary, "p50_us"),
            latency(summary, "p99_us"), latency(summary, "p999_us"), grouped(watcher["cpu_us"]), f"{watcher['cpu_percent']:.0f} %",
            f"{watcher['rss_kib'] / 1024:.0f}", f"{watcher['maps_bytes'] / MIB:.0f}", grouped(watcher.get("lost")), counts(row)]


HEADINGS = ["workload", "variant", "off", "on/off", "min–max %", "app µs/req", "softirq µs/req", "p50", "p99", "p99.9", "agent µs/req",
            "agent CPU", "RSS MiB", "maps MiB", "lost", "counts"]


def aligned(rows):
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(str(cell).ljust(width) if i < 2 else str(cell).rjust(width)
                               for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows)


def target_cells(row):
    def shown(value):
        if value is None:
            return row["missing"] or "not measured"
        if row["unit"] == "%":
            return percent(value)
        return f"{grouped(value)}{row['unit'] if row['unit'] == '/s' else ' ' + row['unit']}".rstrip()
    return [row["name"], ("≥ " if row["at_least"] else "≤ ") + shown(row["limit"]), shown(row["measured"]), row["met"] or NONE]


def terminal(data):
    parts = [aligned([HEADINGS, *(cells(row) for row in data["results"])])]
    if data.get("event_times"):
        parts.append(aligned([EVENT_HEADINGS, *event_cells(data)]))
    if data.get("targets"):
        parts.append(aligned([["target", "", "measured", "met"], *(target_cells(row) for row in data["targets"])]))
    return "\n\n".join(parts)


EVENT_HEADINGS = ["workload", "captured event, ns", "event of an ignored process, ns", "empty program, ns (taken off)"]


def event_cells(data):
    return [[name, grouped(t["captured_ns"]), grouped(t["ignored_ns"]), grouped(t["measuring_ns"])]
            for name, t in data["event_times"].items()]


def markdown(headings, rows):
    return ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings),
            *("| " + " | ".join(str(c) for c in row) + " |" for row in rows)]


def titled(row, data):
    return [data["titles"]["workloads"][row["workload"]], *cells(row)[2:]]


def results_tables(data):
    """One table of all workloads with the variant that most of them have, one for each workload that has several."""
    by_workload, by_variant = {}, {}
    for row in data["results"]:
        by_workload.setdefault(row["workload"], []).append(row)
        by_variant.setdefault(row["variant"], []).append(row)
    lines = []
    main = max(by_variant, key=lambda name: len(by_variant[name]))
    lines += ["", f"## Every workload, {data['titles']['variants'][main]}", ""]
    lines += markdown(["workload", *HEADINGS[2:]], [titled(row, data) for row in by_variant[main]])
    for name, rows in by_workload.items():
        if len(rows) > 1:
            lines += ["", f"## {data['titles']['workloads'][name]}: every variant", ""]
            lines += markdown(["variant", *HEADINGS[2:]], [[data["titles"]["variants"][row["variant"]], *cells(row)[2:]] for row in rows])
    return lines


def of_commit(data):
    return f" of commit `{data['commit']}`" if data.get("commit") else ""


def rungs(data):
    """Where the harm budget had processes of the application when they were measured."""
    return [f"- {data['titles']['workloads'][row['workload']]}, {data['titles']['variants'][row['variant']]}: "
            f"{', '.join(row['summary']['rungs'])}." for row in data["results"] if row["summary"].get("rungs")]


def generated(data):
    """The lines between the marks."""
    machine = data["machine"]
    lines = [f"Measured {data['date']} with {machine['cpus']} CPUs ({machine['model']}), {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
             f"by `{data['command']}`{of_commit(data)}.", "", "![What is left of the throughput](performance.svg)", "", "## Targets", ""]
    lines += markdown(["what", "target", "measured", "met"], [target_cells(row) for row in data["targets"]])
    for verdict, heading in (("no", "What was missed, and what else was measured of it:"), ("cannot tell", "What the pairs cannot tell:")):
        found = [row for row in data["targets"] if row["met"] == verdict]
        if found:
            lines += ["", heading, ""]
            lines += [f"- **{row['name']}** ({target_cells(row)[2]}): {row['explanation']}." for row in found]
    if data["failures"]:
        lines += ["", "Not measured, since it failed: " + "; ".join(data["failures"]) + "."]
    lines += results_tables(data)
    if rungs(data):
        lines += ["", "Watched for less by the harm budget at the end of the load, by rung:", "", *rungs(data)]
    if data.get("event_times"):
        lines += ["", "## Time in the kernel programs", ""]
        lines += markdown(EVENT_HEADINGS, event_cells(data))
    if data.get("pipeline"):
        lines += ["", "## The pipeline without a kernel", ""]
        lines += markdown(["traffic", "stage", "CPU ns/exchange", "exchanges/s of one core"],
                          [[r["traffic"], r["stage"], f"{r['cpu_ns_per_exchange']:.0f}", grouped(r["exchanges_per_cpu_second"])]
                           for r in data["pipeline"]["rows"]])
    return lines


def page_with(data, text):
    before, mark, rest = text.partition(BEGIN + "\n")
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError("docs/performance.md has not both marks")
    return before + BEGIN + "\n" + "\n".join(generated(data)) + "\n" + END + after


def without_pairs(data):
    """What is committed: the summaries; single pairs stay in build/bench."""
    kept = dict(data)
    kept["results"] = [{key: value for key, value in row.items() if key != "pairs"} for row in data["results"]]
    return kept


def rounded(value):
    """Four significant digits are more than anything here is good for."""
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    if isinstance(value, float):
        return round(value) if abs(value) >= 10000 else float(f"{value:.4g}")
    return value


def write_docs(data):
    record = rounded(without_pairs(data))
    record["targets"] = targets.judge(record)
    with open(PAGE) as file:
        page = page_with(record, file.read())
    with open(RECORD, "w") as file:
        json.dump(record, file, indent=1, ensure_ascii=False)
        file.write("\n")
    with open(PAGE, "w") as file:
        file.write(page)
    with open(PICTURE, "w") as file:
        file.write(svg.throughput(record))
