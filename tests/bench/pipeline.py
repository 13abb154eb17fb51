"""Cost in user space by stage, replayed from memory: nanoseconds, and instructions where valgrind is installed.

Stages contain each other, so the difference of two lines is the cost of one stage.
"""

import json
import os
import re
import shutil
import subprocess

import harness

PROGRAM = os.path.join(harness.BUILD, "pipeline_bench")
PROTOCOLS = ("http", "postgresql")
STAGES = ("decode", "parse", "metrics", "sampled", "spans", "encode")
HEADINGS = ["protocol", "stage", "ns/exchange", "CPU ns/exchange", "instructions/exchange"]


def _command(protocol, stage, exchanges):
    return [PROGRAM, "--stage", stage, "--protocol", protocol, "--exchanges", str(exchanges)]


def _instructions(protocol, stage):
    """Of two lengths, so that what is not per exchange cancels out."""
    def collected(exchanges):
        result = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                                 *_command(protocol, stage, exchanges)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
        return int(re.search(rb"Collected : (\d+)", result.stderr).group(1))
    return (collected(20000) - collected(10000)) / 10000


def measure(exchanges=200000, with_instructions=True):
    with_instructions = with_instructions and shutil.which("valgrind") is not None
    rows = []
    for protocol in PROTOCOLS:
        for stage in STAGES:
            row = json.loads(harness.run(_command(protocol, stage, exchanges)))
            row["instructions"] = _instructions(protocol, stage) if with_instructions else None
            rows.append(row)
    return {"exchanges": exchanges, "rows": rows}


def cells(data):
    return [[r["protocol"], r["stage"], f"{r['ns_per_exchange']:.0f}", f"{r['cpu_ns_per_exchange']:.0f}",
             "–" if r["instructions"] is None else f"{r['instructions']:.0f}"] for r in data["rows"]]
