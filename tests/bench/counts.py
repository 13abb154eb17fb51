"""Instruction counts of pipeline_bench: how they are taken, and how they are held to a baseline.

Counts are callgrind's, of the measured part alone and after a warm-up; they repeat exactly for one binary, C library and
kind of processor, whatever else the machine does. Used by tests/bench/guard and tests/bench/pipeline.
"""

import concurrent.futures
import json
import os
import re
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BASELINE = os.path.join(HERE, "baseline.json")
STAGES = ("decode", "parse", "metrics", "sampled", "spans", "encode", "gzip")  # each contains those before it
# What is counted. Recordings are named by their file below tests/data, and stand for what real programs say.
TRAFFIC = {
    "http": STAGES,
    "http-client": ("metrics", "spans", "encode"),
    "http-churn": ("parse", "metrics", "spans"),
    "postgresql": STAGES,
    "postgresql-server": ("metrics", "spans", "encode"),
    "redis": ("decode", "spans"),
    "http/keep_alive.capture": STAGES,
    "http/framing.capture": ("parse", "spans"),
    "postgresql/pgbench.capture": STAGES,
    "chain/nginx_python_postgres.capture": ("parse", "metrics", "spans"),
}
TOLERANCE = 0.05
EXCHANGES = 4096
MEASURED = "pipeline_bench_measured"


class Trouble(Exception):
    """Counts could not be taken, or there is nothing to hold them to; the message is for people."""


def bench_of(build):
    program = os.path.join(build, "pipeline_bench")
    if not os.path.exists(program):
        raise Trouble(f"{program} is not built: cmake --preset release && cmake --build --preset release --target pipeline_bench")
    return os.path.abspath(program)


def arguments_of(traffic, stage, exchanges, further=()):
    name = os.path.join("tests", "data", traffic) if traffic.endswith(".capture") else traffic
    return ["--stage", stage, "--traffic", name, "--exchanges", str(exchanges), *further]


def run(command):
    result = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"})
    output, errors = result.stdout.decode(), result.stderr.decode(errors="replace")
    if result.returncode != 0:
        raise Trouble(f"{' '.join(command)} ended with status {result.returncode}:\n{errors[-2000:]}")
    return output, errors


def toolchain_of(bench):
    return run([bench, "--toolchain"])[0].strip()


def count(bench, traffic, stage, further=()):
    """Instructions {"exchange": ..., "event": ...} of one stage."""
    if shutil.which("valgrind") is None:
        raise Trouble("valgrind is missing; deploy/install-deps test installs it")
    output, errors = run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no",
                          f"--toggle-collect={MEASURED}", bench, *arguments_of(traffic, stage, EXCHANGES, further)])
    row = json.loads(output)
    collected = re.search(r"Collected : (\d+)", errors)
    instructions = int(collected.group(1)) if collected else 0
    if instructions == 0:
        raise Trouble(f"callgrind counted nothing in {MEASURED}:\n{errors[-2000:]}")
    return {"exchange": round(instructions / row["exchanges"], 1), "event": round(instructions / row["events"], 1)}


def count_all(bench, wanted=None, jobs=2):
    """{traffic: {stage: counts}}; `jobs` at a time."""
    wanted = wanted or TRAFFIC
    rows = [(traffic, stage) for traffic, stages in wanted.items() for stage in stages]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(lambda row: count(bench, *row), rows))
    counted = {}
    for (traffic, stage), result in zip(rows, results):
        counted.setdefault(traffic, {})[stage] = result
    return counted


def load_baseline(path, toolchain):
    """The baseline of this toolchain; others' counts say nothing of ours."""
    with open(path, encoding="utf-8") as file:
        known = json.load(file)
    if toolchain not in known:
        listed = "; ".join(sorted(known)) or "none"
        raise Trouble(f"no baseline for this toolchain ({toolchain}), only for: {listed}. On a commit whose counts are known to be "
                      f"good, tests/bench/guard --update adds it to {os.path.relpath(path, ROOT)}")
    return known[toolchain]


def save_baseline(path, toolchain, counted):
    known = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            known = json.load(file)
    known[toolchain] = counted
    lines = []
    for name in sorted(known):
        rows = [f"  {json.dumps(traffic)}: {{\n" +
                ",\n".join(f"   {json.dumps(stage)}: {json.dumps(value)}" for stage, value in stages.items()) + "\n  }"
                for traffic, stages in known[name].items()]
        lines.append(f" {json.dumps(name)}: {{\n" + ",\n".join(rows) + "\n }")
    with open(path, "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


def own_share(stages, stage):
    """What the stage adds to the one before it that was counted too."""
    before = [s for s in STAGES[:STAGES.index(stage)] if s in stages]
    return stages[stage]["exchange"] - (stages[before[-1]]["exchange"] if before else 0)


def judge(counted, baseline, tolerance=TOLERANCE):
    """(failures, remarks): texts. A rise beyond the tolerance fails, and so does a row that only one side has; a fall
    beyond it is remarked on, since until the baseline is updated that much could be lost again unseen."""
    failures, remarks = [], []
    for traffic, stage in sorted({(t, s) for table in (counted, baseline) for t, stages in table.items() for s in stages},
                                 key=lambda row: (row[0], STAGES.index(row[1]) if row[1] in STAGES else len(STAGES))):
        now, then = counted.get(traffic, {}).get(stage), baseline.get(traffic, {}).get(stage)
        name = f"{traffic} {stage}"
        if now is None or then is None:
            where = "the baseline" if then is None else "what is counted"
            failures.append(f"{name}: not in {where}; tests/bench/guard --update")
            continue
        for unit in ("exchange", "event"):
            change = round(now[unit] / then[unit] - 1, 6)
            text = f"{name}: {now[unit]:.0f} instructions per {unit}, {change:+.1%} from {then[unit]:.0f}"
            if change > tolerance:
                share, share_then = own_share(counted[traffic], stage), own_share(baseline[traffic], stage)
                failures.append(f"{text} (this stage alone, per exchange: {share:.0f}, was {share_then:.0f})")
                break
            if change < -tolerance:
                remarks.append(f"{text}: better; tests/bench/guard --update keeps it so")
                break
    return failures, remarks
