"""The benchmark itself, for seconds (as root): what it writes is complete, its counts agree, and the floor is empty."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
BPFTOOL_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
LOAD_KEYS = {"requests", "per_second", "errors", "app_us", "app_user_us", "app_system_us", "softirq_us", "machine_us"}
RATE_KEYS = LOAD_KEYS | {"rate", "unsent", "p50_us", "p99_us", "p999_us"}
WATCHER_KEYS = {"cpu_us", "cpu_percent", "rss_kib", "rss_anonymous_kib", "maps_bytes", "rings_bytes", "programs_bytes", "ready_ms", "lost",
                "dropped", "records", "ignored", "records_per_second", "exported_bytes", "spans", "checks"}


def expect(good, what):
    if not good:
        raise SystemExit(f"bench smoke: {what}")


def check_results(data):
    rows = {row["workload"]: row for row in data["results"]}
    expect(set(rows) == {"nginx-200", "echo-64"}, f"other workloads than asked for: {set(rows)}")
    for name, row in rows.items():
        expect([p["order"] for p in row["pairs"]] == ["off-on", "on-off"], f"{name}: the order does not alternate")
        for pair in row["pairs"]:
            for side in ("off", "on"):
                expect(LOAD_KEYS <= set(pair[side]["saturated"]), f"{name}: {LOAD_KEYS - set(pair[side]['saturated'])} missing")
                expect(RATE_KEYS <= set(pair[side]["fixed_rate"]), f"{name}: {RATE_KEYS - set(pair[side]['fixed_rate'])} missing")
                expect(pair[side]["saturated"]["requests"] > 100, f"{name}: no load")
                expect(pair[side]["fixed_rate"]["p50_us"] <= pair[side]["fixed_rate"]["p999_us"], f"{name}: percentiles")
            watcher = pair["on"]["watcher"]
            expect(WATCHER_KEYS <= set(watcher), f"{name}: {WATCHER_KEYS - set(watcher)} missing")
            expect(watcher["maps_bytes"] >= watcher["rings_bytes"] > 0 and watcher["cpu_us"] > 0, f"{name}: {watcher}")
            expect(watcher["checks"] and all(c["agent"] == c["judge"] for c in watcher["checks"]), f"{name}: {watcher['checks']}")
        found = row["summary"]
        for key in ("throughput", "app_us", "softirq_us", "machine_us", "p50_us", "p99_us", "p999_us"):
            if found["overloaded"] and key.startswith("p"):
                expect(found[key] is None, f"{name}: {key} of a rate that was too much")
            else:
                expect(found[key]["ratio"] is None or found[key]["ratio"]["n"] == 2, f"{name}: {key}")
        expect(found["errors"] == 0 and all(c["equal"] for c in found["checks"]), f"{name}: {found['checks']}")
        expect(row["kernel"]["runs"] > 100 and row["kernel"]["time_ns"] > 0, f"{name}: no program times: {row['kernel']}")
    nginx = rows["nginx-200"]["pairs"][0]["on"]
    expect(nginx["watcher"]["checks"][0]["judge"] == nginx["saturated"]["requests"] + nginx["fixed_rate"]["requests"], "the sum")
    expect(nginx["watcher"]["exported_bytes"] > 0 and nginx["watcher"]["spans"] > 0, "nothing was exported")
    expect(len(data["targets"]) > 20, "targets are missing")


def programs_of(pid):
    sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]
    import measuring
    mine = measuring.programs_of(pid)
    listed = subprocess.run(["bpftool", "-j", "prog", "show"], stdout=subprocess.PIPE, check=True, env=dict(os.environ, PATH=BPFTOOL_PATH))
    return [p for p in json.loads(listed.stdout) if p["id"] in mine]


def check_capture(build, kind):
    """bench_capture attaches real programs, or empty ones and then tells of nothing."""
    process = subprocess.Popen([os.path.join(build, "bench_capture"), kind], stdout=subprocess.PIPE)
    try:
        expect(process.stdout.readline() == b"ready\n", f"bench_capture {kind} is not ready")
        programs = programs_of(process.pid)
        sizes = {p["name"]: p["bytes_xlated"] for p in programs}
        expect(any(name.startswith("tier_") for name in sizes), f"{kind}: no program of a tier: {sizes}")
        expect(all((size <= 16) == (kind == "floor") for name, size in sizes.items()), f"{kind}: {sizes}")
        subprocess.run(["true"], check=True)
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said = json.loads(process.stdout.readline())
        expect((said["records"] == 0) == (kind == "floor"), f"{kind}: {said}")
        expect(process.wait(10) == 0, f"bench_capture {kind} ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()


def main():
    build = sys.argv[1]
    began = time.monotonic()
    for kind in ("floor", "discard"):
        check_capture(build, kind)
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "results.json")
        command = [sys.executable, os.path.join(HERE, "run"), "--no-build", "--workloads", "nginx-200,echo-64", "--pairs", "2",
                   "--seconds", "0.5", "--output", output]
        status = subprocess.run(command, stdin=subprocess.DEVNULL, env=dict(os.environ, ZEROTAP_BUILD=build), timeout=120).returncode
        expect(status == 0, f"tests/bench/run ended with {status}")
        with open(output) as file:
            check_results(json.load(file))
    print(f"bench smoke: good in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
