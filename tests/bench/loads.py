"""The load generators: each gives {requests, per_second, errors} and, at a fixed rate, percentiles of its latencies."""

import csv
import glob
import json
import os
import re

import harness
import ratios

BENCH_LOAD = os.path.join(harness.BUILD, "bench_load")
BENCH_PEER = os.path.join(harness.BUILD, "bench_peer")
PGBENCH_CLIENTS = 4


def request_file(workspace, text):
    number = len(os.listdir(workspace.path))
    path = workspace.file(f"request.{number}")
    with open(path, "w", newline="") as file:
        file.write(text)
    return path


def _load(output):
    found = json.loads(output)
    load = {"requests": found["requests"], "per_second": found["requests_per_second"], "errors": found["errors"],
            "unsent": found["unsent"], "bytes": found["bytes"]}
    return load | {key: found[key] for key in ("p50_us", "p99_us", "p999_us")}


def exchange(workspace, port, seconds, rate, requests, connections, response_bytes=0, connection_per_request=False):
    command = [BENCH_LOAD, "exchange", "--port", port, "--connections", connections, "--seconds", seconds]
    for request in requests:
        command += ["--request", request]
    if rate:
        command += ["--rate", rate]
    if response_bytes:
        command += ["--response-bytes", response_bytes]
    if connection_per_request:
        command += ["--connection-per-request"]
    return _load(harness.run(command, timeout=60 + 3 * seconds))


def wrk(port, connections, seconds, threads=1):
    output = harness.run(["wrk", "-t", threads, "-c", connections, "-d", f"{seconds}s", f"http://127.0.0.1:{port}/"])
    requests, took = re.search(r"(\d+) requests in ([\d.]+)s,", output).groups()
    failed = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return {"requests": int(requests), "per_second": int(requests) / float(took),
            "errors": sum(int(n) for found in (failed, refused) if found for n in found.groups())}


def result_set(workspace, port, database, rows, width):
    """Throughput is in MB a second; the one statement counts as one request."""
    query = f"SELECT repeat('x', {width}) FROM generate_series(1, {rows})"
    found = json.loads(harness.run([BENCH_LOAD, "postgres", "--port", port, "--database", database, "--query", query]))
    if found["bytes"] < rows * width or found["errors"]:
        raise AssertionError(f"the result set is not whole: {found}")
    return {"requests": found["requests"], "per_second": found["bytes"] / 1e6 / found["seconds"], "errors": found["errors"],
            "bytes": found["bytes"]}


def redis(port, what, count, pipeline):
    """redis-benchmark; its count of what was answered is what it was told to ask for, or it does not end."""
    count -= count % pipeline
    output = harness.run(["redis-benchmark", "-h", "127.0.0.1", "-p", port, "-t", what, "-n", max(count, pipeline), "-P", pipeline,
                          "-c", 32, "--csv"])
    row = next(csv.DictReader(output.splitlines()))
    return {"requests": max(count, pipeline), "per_second": float(row["rps"]), "errors": 0}


def run_pgbench(postgres, arguments):
    return harness.run(["pgbench", "-h", "127.0.0.1", "-p", postgres.port, "-U", "postgres", *arguments, "bench"])


def pgbench(workspace, postgres, mode, seconds, rate=0):
    """pgbench counts whole seconds. At a rate its latencies are those since a transaction was due."""
    arguments = ["-n", "-S", "-M", mode, "-c", PGBENCH_CLIENTS, "-T", max(1, round(seconds))]
    prefix = workspace.file("pgbench-log")
    if rate:
        arguments += ["-R", rate, "-l", f"--log-prefix={prefix}"]
    output = run_pgbench(postgres, arguments)
    load = {"requests": int(re.search(r"transactions actually processed: (\d+)", output).group(1)),
            "per_second": float(re.search(r"tps = ([\d.]+)", output).group(1)),
            "errors": int(re.search(r"failed transactions: (\d+)", output).group(1))}
    if rate:
        latencies = []
        for path in glob.glob(prefix + ".*"):
            with open(path) as file:
                latencies += [int(line.split()[2]) for line in file]
            os.unlink(path)
        due = rate * max(1, round(seconds))  # on average: pgbench draws the instants
        load |= {"unsent": max(0, due - load["requests"]) if load["requests"] < 0.95 * due else 0, "p50_us": ratios.quantile(latencies, 0.5), "p99_us": ratios.quantile(latencies, 0.99),
                 "p999_us": ratios.quantile(latencies, 0.999)}
    return load
