"""The tables of docs/kernel-support.md are what tests/kernels/table.py makes of the committed records, to the letter."""

import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import table  # noqa: E402


def compare(path, lines, *marks):
    with open(table.PAGE) as file:
        page = file.read()
    if any(page.count(mark) != 1 for mark in marks):
        return [f"{table.PAGE} must have each of {marks} once"]
    if table.page_with(lines, *marks) != page:
        return [f"{table.PAGE} has another table than {path} gives: tests/kernels/run --write-docs"]
    return []


def main():
    with open(table.RECORD) as file:
        rows = json.load(file)
    with open(table.REAL_RECORD) as file:
        real = json.load(file)
    problems = compare(table.RECORD, table.render(rows), table.BEGIN, table.END)
    problems += compare(table.REAL_RECORD, table.render_real(real), table.REAL_BEGIN, table.REAL_END)
    for row in rows + real["rows"]:
        failed = [case for case, good in row["cases"].items() if not good]
        if failed or row["misses"]:
            problems.append(f"the record has {row['misses']} misses and failures of {row['guest']}: {', '.join(failed)}")
    print("\n".join(problems) or f"{len(rows)} guests, {len(real['rows'])} with real servers")
    return 1 if problems or not rows or not real["rows"] else 0


if __name__ == "__main__":
    sys.exit(main())
