"""What runs of the matrix found, as committed records and as the tables of docs/kernel-support.md."""

import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RECORD = os.path.join(HERE, "matrix.json")
PAGE = os.path.join(ROOT, "docs", "kernel-support.md")
BEGIN = "<!-- The next lines are generated: tests/kernels/run --write-docs -->"
END = "<!-- End of what is generated -->"
REAL_RECORD = os.path.join(HERE, "real_servers.json")
REAL_BEGIN = "<!-- The next lines are generated: tests/kernels/run --real-servers --write-docs -->"
REAL_END = "<!-- End of what real servers gave -->"


def transfer_misses(boot, judge):
    return sum(count for name, count in judge.recursion_misses(boot.results).items() if name.startswith("tier_"))


def record_of(planned, judge):
    rows = []
    for boot in planned:
        tier, form = judge.watching(boot.results)
        programs = judge.programs_of(boot.results)
        rows.append({
            "guest": boot.name, "version": boot.version, "tier": tier, "form": form,
            "largest": max((p["instructions"] for p in programs if p["loaded"]), default=None),
            "conformance": {key: judge.conformance_counts(boot.results, key) for key in ("auto", "b")},
            "misses": transfer_misses(boot, judge),
            "lifecycle_misses": sum(count for name, count in judge.recursion_misses(boot.results).items() if not name.startswith("tier_")),
            "cases": boot.outcome})
    return sorted(rows, key=lambda row: ([int(n) for n in row["guest"].split()[0].split(".")], row["guest"]))


def counts(numbers):
    if not numbers:
        return "–"
    text = f"{numbers['ok']} of {numbers['ok'] + numbers['FAIL']}"
    return text + (f", {numbers['blind']} blind" if numbers["blind"] else "")


def outcome(cases, names):
    tried = [cases[name] for name in names if name in cases]
    return "–" if not tried else "yes" if all(tried) else "NO"


def render(rows):
    """The lines between the marks."""
    lines = ["| guest | package | tier, by itself | largest program | events of tier, of tier B | spans, old and short | kill and restart | odd hosts |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        odd = [name for name in row["cases"] if name not in ("load", "conformance", "conformance of tier b", "spans", "start-up log", "restart")]
        largest = f"{row['largest']:,}".replace(",", " ") if row["largest"] else "–"
        lines.append(f"| {row['guest']} | {row['version']} | {(row['tier'] or '–').upper()}, {row['form'] or '–'} | {largest} | "
                     f"{counts(row['conformance']['auto'])}; {counts(row['conformance']['b'])} | {outcome(row['cases'], ('spans', 'start-up log'))} | "
                     f"{outcome(row['cases'], ('restart',))} | {outcome(row['cases'], odd)} |")
    lines.append("")
    lines.append(f"Transfers that the kernel skipped (`recursion_misses`) in all of these runs: {sum(row['misses'] for row in rows)}. Beginnings and "
                 f"ends of connections and processes, where skipping is made up for: {sum(row['lifecycle_misses'] for row in rows)}.")
    return lines


def real_record_of(planned, real_servers, judge):
    """What was run now, and of the other kernels what is on record."""
    with open(REAL_RECORD) as file:
        rows = [row for row in json.load(file)["rows"] if row["guest"] not in {boot.name for boot in planned}]
    for boot in planned:
        tier, form = judge.watching(boot.results, "real")
        rows.append({"guest": boot.name, "version": boot.version, "tier": tier, "form": form, **real_servers.numbers(boot.results),
                     "misses": transfer_misses(boot, judge), "cases": boot.outcome})
    return {"servers": real_servers.versions(), "rows": sorted(rows, key=lambda row: [int(n) for n in row["guest"].split(".")])}


def render_real(record):
    """The lines between the marks."""
    lines = ["| guest | package | tier, by itself | HTTP spans | SQL spans | as the servers counted |", "|---|---|---|---|---|---|"]
    for row in record["rows"]:
        lines.append(f"| {row['guest']} | {row['version']} | {(row['tier'] or '–').upper()}, {row['form'] or '–'} | {row['http']} | {row['sql']} | "
                     f"{outcome(row['cases'], row['cases'])} |")
    return [*lines, "", f"The servers: {record['servers']}. Transfers that the kernel skipped in these runs: {sum(row['misses'] for row in record['rows'])}."]


def page_with(lines, begin=BEGIN, end=END):
    """The page with these between the marks."""
    with open(PAGE) as file:
        text = file.read()
    before, _, rest = text.partition(begin + "\n")
    _, _, after = rest.partition(end)
    return before + begin + "\n" + "\n".join(lines) + "\n" + end + after


def store(record, path, lines, *marks):
    with open(path, "w") as file:
        json.dump(record, file, indent=1)
        file.write("\n")
    text = page_with(lines, *marks)
    with open(PAGE, "w") as file:
        file.write(text)


def write(planned, judge):
    rows = record_of(planned, judge)
    store(rows, RECORD, render(rows))


def write_real(planned, real_servers, judge):
    record = real_record_of(planned, real_servers, judge)
    store(record, REAL_RECORD, render_real(record), REAL_BEGIN, REAL_END)
