"""Medians and spreads of paired measurements."""

import math
import statistics


def quantile(values, part):
    """Linear between the neighbours, as most tools do it."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    at = (len(ordered) - 1) * part
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def median_interval(values):
    """Two of the values between which the median of all that could have been measured lies, by a probability of at least 95 % and
    whatever their distribution, if they do not depend on each other: so often more than `cut` of them fall to each side of it.
    None of too few to say so."""
    count = len(values)
    cut, outside = -1, 0.0
    while cut + 1 < count / 2:
        outside += 2 * math.comb(count, cut + 1) / 2 ** count
        if outside > 0.05:
            break
        cut += 1
    ordered = sorted(values)
    return [ordered[cut], ordered[count - 1 - cut]] if cut >= 0 else None


def spread(values):
    """Median, its interval, quartiles and extremes of what is there; None of nothing."""
    known = [v for v in values if v is not None]
    if not known:
        return None
    return {"median": statistics.median(known), "median_interval": median_interval(known), "q1": quantile(known, 0.25),
            "q3": quantile(known, 0.75), "min": min(known), "max": max(known), "n": len(known)}


def ratio(on, off):
    return None if on is None or not off else on / off


def paired(pairs, *path):
    """What a number of the phases (path: keys into one) was off and on, and the spread of on/off, pair by pair. A pair whose
    number is missing on either side counts on neither."""
    def of(phase):
        for key in path:
            phase = None if phase is None else phase.get(key)
        return phase
    both = [(of(p["off"]), of(p["on"])) for p in pairs]
    both = [(off, on) for off, on in both if off is not None and on is not None]
    if not both:
        return None
    return {"off": statistics.median(off for off, _ in both), "on": statistics.median(on for _, on in both),
            "ratio": spread([ratio(on, off) for off, on in both]),
            "difference": spread([on - off for off, on in both])}


def orders(count):
    """Which side of each pair goes first: off-on, on-off, off-on ..., so that a drift of the machine hits both alike."""
    return ["off-on" if i % 2 == 0 else "on-off" for i in range(count)]


def event_times(ignored, captured, floor):
    """Nanoseconds that a program takes for an event that it ignores and for one that it captures, from runs with the kernel's
    statistics on: everything ignored (gives the price of an ignored event), everything captured but the load generator (gives
    the rest), empty programs (gives what measuring itself adds, which is taken off). Each is {"runs", "time_ns", "captured"}."""
    def per_run(run):
        return run["time_ns"] / run["runs"] if run and run["runs"] else None
    empty, idle = per_run(floor), per_run(ignored)
    result = {"measuring_ns": empty, "ignored_ns": None, "captured_ns": None}
    if idle is not None:
        result["ignored_ns"] = idle - (empty or 0)
    if idle is not None and captured and captured["captured"]:
        others = max(0, captured["runs"] - captured["captured"])
        result["captured_ns"] = (captured["time_ns"] - others * idle) / captured["captured"] - (empty or 0)
    return result
