"""The table of docs/kernel-support.md is what tests/kernels/table.py makes of tests/kernels/matrix.json, to the letter."""

import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import table  # noqa: E402


def main():
    with open(table.RECORD) as file:
        rows = json.load(file)
    with open(table.PAGE) as file:
        page = file.read()
    problems = []
    if page.count(table.BEGIN) != 1 or page.count(table.END) != 1:
        problems.append(f"{table.PAGE} must have each mark once")
    elif table.page_with(rows) != page:
        problems.append(f"{table.PAGE} has another table than {table.RECORD} gives: tests/kernels/run --write-docs")
    for row in rows:
        failed = [case for case, good in row["cases"].items() if not good]
        if failed or row["misses"]:
            problems.append(f"the record has {row['misses']} misses and failures of {row['guest']}: {', '.join(failed)}")
    print("\n".join(problems) or f"{len(rows)} guests")
    return 1 if problems or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
