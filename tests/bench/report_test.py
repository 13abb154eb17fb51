"""Statistics, targets and documents of the benchmark, on numbers made up here; and the committed page against its record."""

import copy
import importlib.machinery
import importlib.util
import json
import os
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True
sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)),
                os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration")]
import comparison as pairs_of  # noqa: E402
import loads  # noqa: E402
import measuring  # noqa: E402
import ratios  # noqa: E402
import report  # noqa: E402
import summary  # noqa: E402
import svg  # noqa: E402
import targets  # noqa: E402
import variants  # noqa: E402
import workloads  # noqa: E402


def phase(per_second, p99=None, watcher=None):
    loaded = {"requests": per_second, "per_second": float(per_second), "errors": 0, "app_us": 1e6 / per_second, "app_user_us": 1.0,
              "app_system_us": 2.0, "softirq_us": 0.5, "machine_us": 9.0}
    result = {"saturated": loaded, "fixed_rate": None}
    if p99:
        result["fixed_rate"] = loaded | {"rate": 70, "p50_us": p99 / 2, "p99_us": p99, "p999_us": 2 * p99, "unsent": 0}
    return result | ({"watcher": watcher} if watcher else {})


def watcher(**changes):
    return {"cpu_us": 1.5, "cpu_percent": 12.0, "requests": 100, "rss_kib": 30 * 1024, "rss_anonymous_kib": 10 * 1024, "ready_ms": 100.0,
            "maps_bytes": 20 << 20, "rings_bytes": 16 << 20, "lost": 0.0, "dropped": 0, "records": 200, "records_per_second": 200000.0,
            "exported_bytes": 1000, "checks": [{"what": "http", "agent": 100, "judge": 100}]} | changes


def comparison(workload, variant, ons, **changes):
    pairs = [{"order": order, "off": phase(1000, 200.0), "on": phase(on, 210.0, watcher(**changes))}
             for order, on in zip(ratios.orders(len(ons)), ons)]
    return {"workload": workload, "variant": variant, "unit": "req", "pairs": pairs, "summary": summary.of_pairs(pairs)}


def results():
    rows = [comparison("nginx-200", "sampled-a", (800, 840, 820)), comparison("nginx-200", "floor-a", (900, 910, 905)),
            comparison("nginx-200", "discard-a", (870, 880, 890)), comparison("redis-1", "sampled-a", (970, 975, 980))]
    data = {"date": "2000-01-02", "command": "sudo tests/bench/run", "seconds": 1.0, "took_seconds": 3, "results": rows, "failures": [],
            "machine": {"cpus": 2, "model": "A <CPU>", "memory_gib": 8, "kernel": "6.1.0"}, "pipeline": None,
            "event_times": {"nginx-200": {"measuring_ns": 20.0, "ignored_ns": 30.0, "captured_ns": 160.0}},
            "titles": {"workloads": {"nginx-200": "nginx & co", "redis-1": "Redis"},
                       "variants": {"sampled-a": "10 %", "floor-a": "empty", "discard-a": "discard"}}}
    data["targets"] = targets.judge(data)
    return data


LOSS = "events lost at more than 100,000 records a second"


class Ratios(unittest.TestCase):
    def test_quantiles_are_between_neighbours(self):
        self.assertEqual([ratios.quantile([4, 1, 3, 2], p) for p in (0, 0.5, 1)], [1, 2.5, 4])
        self.assertEqual(ratios.quantile([7], 0.99), 7)
        with self.assertRaises(ValueError):
            ratios.quantile([], 0.5)

    def test_spread_leaves_out_what_was_not_measured(self):
        self.assertEqual(ratios.spread([3, None, 1, 2]), {"median": 2, "median_interval": None, "q1": 1.5, "q3": 2.5, "min": 1, "max": 3, "n": 3})
        self.assertIsNone(ratios.spread([None]))

    def test_ratio_is_of_each_pair_not_of_the_medians(self):
        pairs = [{"off": {"x": 100}, "on": {"x": 90}}, {"off": {"x": 10}, "on": {"x": 11}}, {"off": {"x": 50}, "on": {"x": 50}}]
        found = ratios.paired(pairs, "x")
        self.assertEqual((found["ratio"]["median"], found["ratio"]["min"], found["ratio"]["max"]), (1.0, 0.9, 1.1))
        self.assertEqual((found["off"], found["on"], found["difference"]["median"]), (50, 50, 0))

    def test_a_pair_with_one_side_does_not_count(self):
        pairs = [{"off": {"f": None}, "on": {"f": {"x": 1}}}, {"off": {"f": {"x": 2}}, "on": {"f": {"x": 4}}}]
        self.assertEqual(ratios.paired(pairs, "f", "x")["ratio"]["n"], 1)
        self.assertIsNone(ratios.paired(pairs[:1], "f", "x"))

    def test_order_alternates(self):
        self.assertEqual(ratios.orders(3), ["off-on", "on-off", "off-on"])

    def test_event_times_take_apart_what_was_measured_together(self):
        ignored = {"runs": 1000, "time_ns": 50_000, "captured": 0}       # 50 each
        captured = {"runs": 1000, "time_ns": 400 * 50 + 600 * 200, "captured": 600}
        floor = {"runs": 10, "time_ns": 200, "captured": 0}              # 20 each
        self.assertEqual(ratios.event_times(ignored, captured, floor), {"measuring_ns": 20, "ignored_ns": 30, "captured_ns": 180})
        self.assertEqual(ratios.event_times(ignored, None, None), {"measuring_ns": None, "ignored_ns": 50, "captured_ns": None})


class Summary(unittest.TestCase):
    def test_memory_and_loss_are_the_worst_cpu_is_the_median(self):
        found = summary.of_watchers([watcher(cpu_us=c, lost=n, rss_kib=r) for c, n, r in ((1, 0, 10), (9, 5, 30), (2, 0, 20))])
        self.assertEqual((found["cpu_us"], found["lost"], found["rss_kib"]), (2, 5, 30))

    def test_checks_are_equal_only_when_each_pair_was(self):
        found = summary.of_checks([[{"what": "a", "agent": 1, "judge": 2}], [{"what": "a", "agent": 2, "judge": 1}]])
        self.assertEqual(found, [{"what": "a", "agent": 3, "judge": 3, "equal": False}])

    def test_errors_of_all_loads_add_up(self):
        row = comparison("w", "sampled-a", (1, 1))
        row["pairs"][1]["on"]["fixed_rate"]["errors"] = 3
        self.assertEqual(summary.of_pairs(row["pairs"])["errors"], 3)


class MedianInterval(unittest.TestCase):
    def test_too_few_say_nothing(self):
        self.assertIsNone(ratios.median_interval([1, 2, 3, 4, 5]))
        self.assertEqual(ratios.median_interval([6, 5, 4, 3, 2, 1]), [1, 6])  # outside by 2 / 2^6 = 3.1 %

    def test_as_in_tables_of_order_statistics(self):
        for count, low in ((9, 2), (15, 4), (20, 6), (21, 6), (40, 14)):
            self.assertEqual(ratios.median_interval(list(range(count, 0, -1))), [low, count + 1 - low])


class Targets(unittest.TestCase):
    def rows(self, data):
        return {row["name"]: row for row in targets.judge(data)}

    def test_missed_met_and_not_measured(self):
        rows = self.rows(results())
        whole = rows["nginx return 200, saturated, one worker: whole agent, 10 % of spans"]
        self.assertEqual((round(whole["measured"], 3), whole["met"]), (0.82, "no"))
        self.assertIn("empty programs leave 90.5 %", whole["explanation"])
        self.assertIn("12 % of a CPU", whole["explanation"])
        self.assertRegex(whole["explanation"], r"has 2\.0 captured events: 0\.7 µs \([\d.]+ %\) by the floor for 256 bytes; the agent took 1\.5 µs")
        self.assertEqual(rows["Redis, saturated, pipeline 1"]["met"], "yes")
        self.assertIsNone(rows["pgbench-simple"]["met"])
        self.assertEqual(rows["kernel time for a captured event"]["met"], "no")
        self.assertEqual(rows[LOSS]["met"], "yes")

    def test_many_pairs_tell_by_the_interval_of_their_median(self):
        # Of 40 the 14th from either end counts, where the quartiles are the tenth and the eleventh.
        met = targets.Target("t", 0.85, True, "%", None, None).met
        self.assertEqual(met(targets.Measured(0.87, ratios.spread([0.7] * 13 + [0.86] * 27))), "yes")
        self.assertEqual(met(targets.Measured(0.87, ratios.spread([0.7] * 14 + [0.86] * 26))), "cannot tell")
        self.assertEqual(met(targets.Measured(0.84, ratios.spread([0.84] * 27 + [0.9] * 13))), "no")
        older = {k: v for k, v in ratios.spread([0.7] * 13 + [0.86] * 27).items() if k != "median_interval"}
        self.assertEqual(met(targets.Measured(0.86, older)), "cannot tell")

    def test_a_slow_run_says_nothing_about_loss(self):
        data = results()
        data["results"][0] = comparison("nginx-200", "sampled-a", (800,), records_per_second=100_000.0)
        self.assertIsNone(self.rows(data)[LOSS]["met"])

    def test_one_pair_that_lost_is_a_loss(self):
        data = results()
        data["results"][0]["summary"]["watcher"]["lost"] = 1
        row = self.rows(data)[LOSS]
        self.assertEqual((row["met"], row["explanation"]), ("no", "with 200 000 records a second and a ring of 16.0 MiB"))

    def test_quartiles_tell_and_few_pairs_only_when_they_agree(self):
        def met(*ons):
            return targets.judge(results() | {"results": [comparison("redis-1", "sampled-a", ons)]})[6]["met"]
        self.assertEqual(met(900, 965, 970, 975, 980), "yes")
        self.assertEqual(met(900, 940, 950, 955, 980), "no")
        self.assertEqual(met(930, 940, 970, 975, 980), "cannot tell")
        self.assertEqual(met(930, 940, 955, 965, 980), "cannot tell")
        self.assertEqual(met(950, 965, 970, 980), "cannot tell")
        self.assertEqual((met(961, 970), met(950, 955)), ("yes", "no"))

    def test_at_most_is_judged_by_the_other_quartile(self):
        target = targets.Target("x", 1.0, False, "", None, None)
        spread = {"q1": 0.8, "q3": 1.1, "min": 0.1, "max": 9, "n": 5}
        self.assertEqual([target.met(targets.Measured(0.9, spread | {"q1": low, "q3": high})) for low, high in ((0.8, 1), (0.8, 2), (1.1, 2))],
                         ["yes", "cannot tell", "no"])

    def test_an_overloaded_rate_has_no_latency(self):
        data = results()
        row = comparison("node", "sampled-a", (990,) * 5)
        row["pairs"][2]["on"]["fixed_rate"]["unsent"] = 1
        row["summary"] = summary.of_pairs(row["pairs"])
        data["results"].append(row)
        found = self.rows(data)["node service: p99 at 70 % load"]
        self.assertEqual((found["measured"], found["met"], found["missing"]), (None, None, "overloaded"))
        self.assertEqual(report.target_cells(found)[2], "overloaded")
        self.assertEqual(report.cells(row)[7:10], ["overloaded"] * 3)

    def test_every_miss_is_explained(self):
        data = results()
        for row in data["results"]:
            row["summary"]["watcher"] |= {"rss_kib": 1e6, "maps_bytes": 1e9, "ready_ms": 1e4, "cpu_us": 99.0, "lost": 7}
        names = [*targets.PGBENCH, *targets.SERVICES]
        data["results"] += [comparison(name, "sampled-a", (500,)) for name in names]
        data["results"] += [comparison("nginx-200", v, (500,), cpu_us=9.0) for v in ("metrics-a", "spans-a", "spans-gzip-a")]
        data["results"] += [comparison(w, v, (500,)) for w in ("nginx-200-cpus", "nginx-200-wrk") for v in ("sampled-a", "discard-a")]
        data["results"].append(comparison("connections", "sampled-a", (500,), rss_kib=1e6, maps_bytes=1e9, ready_ms=1e4))
        data["event_times"]["nginx-200"] |= {"ignored_ns": 99.0}
        data["pipeline"] = {"rows": [{"traffic": "http", "stage": s, "cpu_ns_per_exchange": 5000.0} for s in ("sampled", "spans")]}
        data["pipeline"]["rows"] = [row | {"traffic": targets.RECORDED} for row in data["pipeline"]["rows"]]
        rows = targets.judge(data)
        self.assertGreater(sum(row["met"] == "no" for row in rows), 20)
        for row in rows:
            self.assertEqual(bool(row["explanation"]), row["met"] == "no", row)
            self.assertIsNotNone(row["met"], row)


class Documents(unittest.TestCase):
    def test_table_shows_the_ratio_and_its_range(self):
        shown = report.terminal(results())
        line, = [x for x in shown.splitlines() if x.startswith("nginx-200") and "sampled-a" in x]
        for cell in ("1 000 req/s", "82.0 %", "80.0–84.0", "105.0 %", "equal"):
            self.assertIn(cell, line)

    def test_unequal_counts_are_told(self):
        row = comparison("nginx-200", "sampled-a", (800,), checks=[{"what": "http", "agent": 90, "judge": 100}])
        self.assertEqual(report.counts(row), "-10 of 100")

    def test_page_keeps_what_is_around_the_marks(self):
        page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
        made = report.page_with(results(), page)
        self.assertTrue(made.startswith("before\n") and made.endswith("\nafter\n"))
        self.assertNotIn("old", made)
        self.assertIn("nginx & co: every variant", made)
        self.assertIn("**nginx return 200, saturated, one worker: whole agent, 10 % of spans** (82.0 %)", made)
        with self.assertRaises(ValueError):
            report.page_with(results(), "no marks")

    def test_failures_are_told(self):
        data = results() | {"failures": ["redis-1 spans-a: no port"]}
        self.assertIn("Not measured, since it failed: redis-1 spans-a: no port.", report.generated(data))

    def test_commit_and_rungs_are_told(self):
        data = results() | {"commit": "0123abc-dirty"}
        self.assertIn("by `sudo tests/bench/run` of commit `0123abc-dirty`.", report.generated(data)[0])
        data["results"][3] = comparison("redis-1", "sampled-a", (970,), rungs=["counts"])
        self.assertIn("- Redis, 10 %: counts.", report.generated(data))

    def test_numbers_come_from_the_results(self):
        data = results()
        other = copy.deepcopy(data)
        other["results"][3] = comparison("redis-1", "sampled-a", (123,))
        before, after = (set("\n".join(report.generated(d)).splitlines()) for d in (data, other))
        self.assertTrue(any("12.3 %" in line for line in after - before))

    def test_picture_is_well_formed_and_has_a_bar_for_each(self):
        data = results()
        root = xml.etree.ElementTree.fromstring(svg.throughput(data))
        colours = [r.get("fill") for r in root.iter("{http://www.w3.org/2000/svg}rect")]
        self.assertEqual(len([c for c in colours if c in svg.COLOURS.values()]), 2 + 3)  # one variant of all, and nginx's three
        words = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("82.0 %", words)
        self.assertIn("nginx & co", words)

    def test_record_is_rounded_and_has_no_pairs(self):
        record = report.rounded(report.without_pairs(results()))
        self.assertNotIn("pairs", record["results"][0])
        self.assertEqual(report.rounded([1.23456, 123456.7, 0.0]), [1.235, 123457, 0.0])

    def test_committed_page_and_picture_are_of_the_committed_record(self):
        with open(report.RECORD) as file:
            record = json.load(file)
        with open(report.PAGE) as file:
            page = file.read()
        with open(report.PICTURE) as file:
            picture = file.read()
        self.assertEqual(targets.judge(record), record["targets"])
        self.assertEqual(report.page_with(record, page), page, "tests/bench/run --from tests/bench/results.json --write-docs")
        self.assertEqual(svg.throughput(record), picture)


class Run(unittest.TestCase):
    def test_the_budget_is_off_for_all_but_the_default(self):
        budgets = {v.name: json.loads(v.config)["harm_budget"] for v in variants.VARIANTS.values() if v.kind == "agent"}
        self.assertEqual(budgets.pop("default"), "5%")
        self.assertEqual(set(budgets.values()), {"off"})

    def test_the_rate_is_of_the_slower_side(self):
        self.assertEqual((pairs_of.fixed_rate(1000, 800), pairs_of.fixed_rate(800, 1000)), (560, 560))

    def test_counters_are_of_the_load_only(self):
        before = {"records": 50, "ignored": 5, "lost": 1, "spans": 0, "dropped": 0}
        after = {"records": 450, "ignored": 9, "lost": 3, "spans": 7, "dropped": 2, "losses": {}, "ring_bytes": 1}
        found = pairs_of.gained_counters(before, after, 2.0)
        self.assertEqual((found["records"], found["lost"], found["records_per_second"]), (400, 2, 200))
        self.assertEqual(pairs_of.gained_counters(None, None, 2.0), {})

    def test_the_plan_has_the_important_first_and_is_short(self):
        run = program()
        plan = run.plan_of(run.arguments_of([]))
        self.assertLessEqual(run.estimate(plan, True), 20 * 60)
        self.assertGreaterEqual(min(row[2] for row in plan), targets.ENOUGH_PAIRS)
        self.assertEqual({row[1] for row in plan if row[0] == "nginx-200"}, set(variants.VARIANTS))
        self.assertEqual(set(row[0] for row in plan), set(workloads.WORKLOADS))
        self.assertEqual(list(dict.fromkeys(row[0] for row in plan))[:3], ["nginx-200-cpus", "nginx-200-wrk", "nginx-200"])

    def test_one_that_fails_is_named_and_the_others_go_on(self):
        run = program()
        kept = []
        made = run.Run([], None, lambda r: kept.append(len(r.results)))
        run.say = lambda text: None
        with made.failing("a b"):
            raise KeyError("x")
        self.assertEqual(made.failures, ["a b: 'x'"])
        with self.assertRaises(KeyboardInterrupt), made.failing("c"):
            raise KeyboardInterrupt
        with self.assertRaises(KeyboardInterrupt), made.failing("d"):
            try:
                raise KeyboardInterrupt
            finally:
                raise AssertionError("a program that Ctrl-C ended")


def program():
    """tests/bench/run, which has no .py."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run")
    spec = importlib.util.spec_from_loader("bench_run", importlib.machinery.SourceFileLoader("bench_run", path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Reading(unittest.TestCase):
    def test_prometheus(self):
        self.assertEqual(measuring.prometheus('# HELP a b\na_total{x="y z"} 3\nb 0.5\n'), {'a_total{x="y z"}': 3, "b": 0.5})

    def test_own_cpu_is_counted_for_a_tree(self):
        before = sum(measuring.cpu_of_tree([os.getpid()]))
        while sum(measuring.cpu_of_tree([os.getpid()])) - before < 3 * measuring.TICK_US:
            pass
        self.assertGreater(measuring.cpu_of_threads(os.getpid()), 0)

    def test_request_files_keep_their_line_ends(self):
        class Folder:
            path = tempfile.mkdtemp()
            file = lambda self, name: os.path.join(self.path, name)  # noqa: E731
        path = loads.request_file(Folder(), "a\r\n\r\n")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"a\r\n\r\n")
        os.unlink(path)
        os.rmdir(Folder.path)


if __name__ == "__main__":
    unittest.main()
