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
            "conformance": {key: judge.conformance_rows(boot.results, key) for key in ("auto", "b")},
            "misses": transfer_misses(boot, judge),
            "lifecycle_misses": {name: count for name, count in judge.recursion_misses(boot.results).items() if not name.startswith("tier_")},
            "cases": boot.outcome})
    return sorted(rows, key=lambda row: ([int(n) for n in row["guest"].split()[0].split(".")], row["guest"]))


# Why a tier is blind for the rows that it is: of each tier they are one family.
BLIND = {"a": "the bytes leave the socket without recvmsg", "b": "io_uring makes no call for a transfer"}


def number_of(rows):
    return sum(len(row["families"]) for row in rows.values())


def counts(rows):
    """How many rows are right, of all."""
    if not rows:
        return "–"
    return f"{rows['ok']} of {rows['ok'] + sum(number_of(rows[result]) for result in ('blind', 'absent', 'FAIL'))}"


def missing(rows):
    """What there is to say of the others: which, and why."""
    parts = []
    reasons = [("blind", BLIND[rows["tier"]], rows["blind"])] if rows["blind"] else []
    for what, result in (("absent", "absent"), ("not right", "FAIL")):
        reasons += [(what, why, {name: row for name, row in rows[result].items() if row["why"] == why})
                    for why in sorted({row["why"] for row in rows[result].values()})]
    for what, why, those in reasons:
        names = ", ".join(f"`{name}` ({', '.join(row['families'])})" for name, row in those.items())
        parts.append(f"{number_of(those)} {what}, {why}: {names}")
    return "; ".join(parts) or "none"


def explain(rows):
    """A line for each set of rows that are not right, with where that is so."""
    where = {}
    for row in rows:
        for told in filter(None, row["conformance"].values()):
            where.setdefault(missing(told), {}).setdefault(f"tier {told['tier'].upper()}", []).append(row["guest"])
    return [f"- {'; '.join(f'{tier} on ' + ', '.join(guests) for tier, guests in places.items())}: {text}." for text, places in where.items()]


def lifecycle(rows):
    """The misses that are made up for: how many, where and of which program."""
    those = [f"{count} of `{program}` on {row['guest']}" for row in rows for program, count in row["lifecycle_misses"].items()]
    return f"{sum(sum(row['lifecycle_misses'].values()) for row in rows)}" + (f" ({', '.join(those)})" if those else "")


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
    lines += ["", "Rows that are not among the right ones:", "", *explain(rows), ""]
    lines.append(f"Transfers that the kernel skipped (`recursion_misses`) in these runs, but for the one of 7.0 and later without tracefs, where it may and zerotap says so: {sum(row['misses'] for row in rows)}. Beginnings and "
                 f"ends of connections and processes, where skipping is made up for: {lifecycle(rows)}.")
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
