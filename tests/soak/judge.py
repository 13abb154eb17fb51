"""What a soak run is held to. Pure: samples in, complaints out, so that a test can show that it complains.

A sample is a dictionary of numbers, one a second:
  time, phase (text), rss, anonymous, maps (bytes), descriptors, threads, queued, ring_used, held (spans)
"""

import statistics

# Upward only. What is let through is what a heap does that holds the same amount of data, but not always the same data.
RSS_GROWTH = 0.02        # of the phase's median, over the phase
RSS_GROWTH_LEAST = 2 << 20
RETURN_GROWTH = 0.03     # the end of the run against the most that the warm-up and the dead receiver needed
DESCRIPTORS = 4
MAPS_GROWTH = 0.01
LEAST_SAMPLES = 10


def slope(points):
    """Theil-Sen: the median of the slopes between all pairs. A few samples out of line do not move it."""
    slopes = [(y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(points) for x2, y2 in points[i + 1:] if x2 > x1]
    return statistics.median(slopes) if slopes else 0.0


def growth(samples, key):
    """By how much `key` grew from the first to the last of the samples, as the robust line says."""
    points = [(s["time"], s[key]) for s in samples]
    return slope(points) * (points[-1][0] - points[0][0]) if len(points) > 1 else 0.0


def phases(samples):
    """The samples by phase in order, without those that were taken while the phase had just begun."""
    found = {}
    for sample in samples:
        found.setdefault(sample["phase"], []).append(sample)
    return found


def judge_memory(samples, steady):
    """`steady`: the phases over which nothing may grow, in order."""
    complaints = []
    by_phase = phases(samples)
    for name in steady:
        part = by_phase.get(name, [])
        if len(part) < LEAST_SAMPLES:
            complaints.append(f"{name}: {len(part)} samples are too few to judge")
            continue
        for key in ("rss", "anonymous"):
            allowed = max(RSS_GROWTH_LEAST, RSS_GROWTH * statistics.median(s[key] for s in part))
            grown = growth(part, key)
            # A queue that was emptied fills again: below what all of them once took together, growth says nothing.
            earlier = max((s[key] for s in samples if s["time"] < part[0]["time"]), default=0)
            if grown > allowed and part[-1][key] > earlier + allowed:
                complaints.append(f"{name}: {key} grew by {mib(grown)} in {part[-1]['time'] - part[0]['time']:.0f} s; "
                                  f"allowed are {mib(allowed)}")
        grown = growth(part, "maps")
        allowed = MAPS_GROWTH * statistics.median(s["maps"] for s in part)
        if grown > allowed:
            complaints.append(f"{name}: BPF maps grew by {mib(grown)}; allowed are {mib(allowed)}")
        threads = {s["threads"] for s in part}
        if len(threads) > 1:
            complaints.append(f"{name}: the number of threads changed: {sorted(threads)}")
        descriptors = [s["descriptors"] for s in part]
        if growth(part, "descriptors") > DESCRIPTORS or max(descriptors) - min(descriptors) > 4 * DESCRIPTORS:
            complaints.append(f"{name}: open descriptors from {min(descriptors)} to {max(descriptors)}")
    return complaints


def judge_return(samples, before, after):
    """The last phase needs no more than the worst one did."""
    by_phase = phases(samples)
    worst = max((s["anonymous"] for s in by_phase.get(before, [])), default=0)
    end = statistics.median([s["anonymous"] for s in by_phase.get(after, [])] or [0])
    if not worst or not end:
        return [f"{before} or {after}: no samples"]
    if end > worst * (1 + RETURN_GROWTH):
        return [f"{after}: {mib(end)} of anonymous memory, more than the {mib(worst)} of {before}"]
    return []


def judge_limits(samples, limits):
    """No sample beyond a limit: {"queued": 50000, ...}"""
    complaints = []
    for key, limit in limits.items():
        worst = max(s[key] for s in samples)
        if worst > limit:
            complaints.append(f"{key}: {worst:.0f} is more than {limit:.0f}")
    return complaints


def judge_ledger(ledger, exports, received, asked):
    """At the end, when nothing is under way.

    ledger: sums of all rows; exports: {"exported", "rejected", "failed", "dropped"} of the span exporter; received: spans
    that the receivers counted; asked: requests that had their whole answer, each seen at both ends.
    """
    complaints = []
    dropped = sum(ledger["dropped"].values())
    accounted = ledger["emitted"] + ledger["filtered"] + ledger["sampled_out"] + dropped + ledger["in_flight"]
    if ledger["seen"] != accounted:
        complaints.append(f"the ledger does not add up: seen {ledger['seen']}, accounted for {accounted}")
    if ledger["in_flight"] != 0:
        complaints.append(f"{ledger['in_flight']} requests still have no outcome")
    if received != ledger["emitted"]:
        complaints.append(f"the receivers counted {received} spans, the ledger says {ledger['emitted']} were emitted")
    if exports["exported"] != ledger["emitted"]:
        complaints.append(f"the exporter says {exports['exported']} exported, the ledger {ledger['emitted']} emitted")
    by_export = ledger["dropped"].get("span_queue_full", 0) + ledger["dropped"].get("export_failed", 0) + \
        ledger["dropped"].get("export_rejected", 0)
    lost = exports["dropped"] + exports["failed"] + exports["rejected"]
    if by_export != lost:
        complaints.append(f"the exporter lost {lost} spans, the ledger has {by_export} of them")
    # Filtered by the rules are other programs' requests before it was known whose they are.
    seen = ledger["seen"] - ledger["filtered"] - ledger.get("others", 0)
    if seen + ledger.get("unseen_records", 0) < 2 * asked or seen > 2 * asked:
        complaints.append(f"{asked} requests were answered, so {2 * asked} were to be seen; seen: {seen}, "
                          f"lost in the kernel: {ledger.get('unseen_records', 0)}")
    return complaints


def mib(count):
    return f"{count / (1 << 20):.1f} MiB"
