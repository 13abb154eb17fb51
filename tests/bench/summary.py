"""Pairs of phases to what is reported of them."""

import statistics

import ratios

LOADED = ("app_us", "app_user_us", "app_system_us", "softirq_us", "machine_us")
LATENCIES = ("p50_us", "p99_us", "p999_us")
PAIRWISE = ("cpu_us", "rss_kib", "maps_bytes", "ready_ms")  # of these the spread is kept, for what is judged pair by pair
# Of these the largest of all pairs counts, of the rest the median.
WORST = ("lost", "dropped", "rss_kib", "rss_anonymous_kib", "maps_bytes", "rings_bytes", "ready_ms")


def of_pairs(pairs):
    result = {"throughput": ratios.paired(pairs, "saturated", "per_second")}
    for key in LOADED:
        result[key] = ratios.paired(pairs, "saturated", key)
    result["overloaded"] = any(p[side]["fixed_rate"]["unsent"] for p in pairs for side in ("off", "on") if p[side]["fixed_rate"])
    for key in LATENCIES:
        result[key] = None if result["overloaded"] else ratios.paired(pairs, "fixed_rate", key)
    result["rate"] = next((p["off"]["fixed_rate"]["rate"] for p in pairs if p["off"]["fixed_rate"]), None)
    result["watcher"] = of_watchers([p["on"]["watcher"] for p in pairs])
    result["spreads"] = {key: ratios.spread([p["on"]["watcher"].get(key) for p in pairs]) for key in PAIRWISE}
    result["rungs"] = sorted({rung for p in pairs for rung in p["on"]["watcher"].get("rungs", [])})
    result["checks"] = of_checks([p["on"]["watcher"]["checks"] for p in pairs])
    result["errors"] = sum(phase[load]["errors"] for p in pairs for phase in (p["off"], p["on"])
                           for load in ("saturated", "fixed_rate") if phase[load])
    return result


def of_watchers(watchers):
    """One number for each key that all have."""
    numbers = {}
    for key in watchers[0]:
        values = [w[key] for w in watchers if isinstance(w.get(key), (int, float))]
        if len(values) == len(watchers):
            numbers[key] = max(values) if key in WORST else statistics.median(values)
    return numbers


def of_checks(all_checks):
    """The same check of all pairs added up; equal only when it was in each."""
    result = {}
    for checks in all_checks:
        for check in checks:
            row = result.setdefault(check["what"], {"what": check["what"], "agent": 0, "judge": 0, "equal": True})
            row["agent"] += check["agent"]
            row["judge"] += check["judge"]
            row["equal"] = row["equal"] and check["agent"] == check["judge"]
    return list(result.values())
