"""What a run of the matrix found, as a committed record and as the table of docs/kernel-support.md."""

import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RECORD = os.path.join(HERE, "matrix.json")
PAGE = os.path.join(ROOT, "docs", "kernel-support.md")
BEGIN = "<!-- The next lines are generated: tests/kernels/run --write-docs -->"
END = "<!-- End of what is generated -->"


def record_of(planned, judge):
    rows = []
    for boot in planned:
        tier, form = judge.watching(boot.results)
        programs = judge.programs_of(boot.results)
        rows.append({
            "guest": boot.name, "version": boot.version, "tier": tier, "form": form,
            "largest": max((p["instructions"] for p in programs if p["loaded"]), default=None),
            "conformance": {key: judge.conformance_counts(boot.results, key) for key in ("auto", "b")},
            "misses": sum(count for name, count in judge.recursion_misses(boot.results).items() if name.startswith("tier_")),
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


def page_with(rows):
    with open(PAGE) as file:
        text = file.read()
    before, _, rest = text.partition(BEGIN + "\n")
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + "\n".join(render(rows)) + "\n" + END + after


def write(planned, judge):
    rows = record_of(planned, judge)
    with open(RECORD, "w") as file:
        json.dump(rows, file, indent=1)
        file.write("\n")
    text = page_with(rows)
    with open(PAGE, "w") as file:
        file.write(text)
