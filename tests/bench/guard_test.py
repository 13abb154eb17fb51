"""The judge of instruction counts (counts.py), with made-up counts."""

import copy
import json
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import counts  # noqa: E402

BASE = {"http": {"parse": {"exchange": 4000.0, "event": 2000.0}, "spans": {"exchange": 10000.0, "event": 5000.0}},
        "redis": {"spans": {"exchange": 400.0, "event": 200.0}}}


def changed(traffic, stage, exchange, event=None):
    table = copy.deepcopy(BASE)
    table[traffic][stage] = {"exchange": exchange, "event": exchange / 2 if event is None else event}
    return table


class Judge(unittest.TestCase):
    def test_equal_counts_pass(self):
        self.assertEqual(counts.judge(BASE, BASE), ([], []))

    def test_five_percent_pass_and_more_fails(self):
        self.assertEqual(counts.judge(changed("http", "parse", 4200.0), BASE), ([], []))
        failures, remarks = counts.judge(changed("http", "parse", 4201.0), BASE)
        self.assertEqual(len(failures), 1)
        self.assertIn("http parse: 4201 instructions per exchange", failures[0])
        self.assertEqual(remarks, [])

    def test_names_the_stage_that_rose_and_its_own_share(self):
        failures, _ = counts.judge(changed("http", "spans", 11000.0), BASE)
        self.assertEqual(failures, ["http spans: 11000 instructions per exchange, +10.0% from 10000 "
                                    "(this stage alone, per exchange: 7000, was 6000)"])

    def test_a_rise_per_event_alone_fails(self):
        failures, _ = counts.judge(changed("redis", "spans", 400.0, 230.0), BASE)
        self.assertEqual(len(failures), 1)
        self.assertIn("230 instructions per event", failures[0])

    def test_every_rise_is_told(self):
        table = changed("http", "parse", 5000.0)
        table["redis"]["spans"] = {"exchange": 800.0, "event": 400.0}
        self.assertEqual([f.split(":")[0] for f in counts.judge(table, BASE)[0]], ["http parse", "redis spans"])

    def test_a_fall_is_remarked_on_and_passes(self):
        failures, remarks = counts.judge(changed("http", "parse", 3000.0), BASE)
        self.assertEqual(failures, [])
        self.assertEqual(len(remarks), 1)
        self.assertIn("--update", remarks[0])
        self.assertEqual(counts.judge(changed("http", "parse", 3801.0), BASE), ([], []))

    def test_a_row_that_only_one_side_has_fails(self):
        fewer = copy.deepcopy(BASE)
        del fewer["http"]["spans"]
        self.assertEqual(counts.judge(fewer, BASE)[0], ["http spans: not in what is counted; tests/bench/guard --update"])
        self.assertEqual(counts.judge(BASE, fewer)[0], ["http spans: not in the baseline; tests/bench/guard --update"])
        del fewer["redis"]
        self.assertEqual(len(counts.judge(BASE, fewer)[0]), 2)


class Baseline(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "baseline.json")

    def test_is_kept_by_toolchain(self):
        counts.save_baseline(self.path, "gcc 12", BASE)
        other = changed("http", "parse", 1.0)
        counts.save_baseline(self.path, "clang 14", other)
        self.assertEqual(counts.load_baseline(self.path, "gcc 12"), BASE)
        self.assertEqual(counts.load_baseline(self.path, "clang 14"), other)

    def test_an_unknown_toolchain_is_an_error_that_lists_the_known(self):
        counts.save_baseline(self.path, "gcc 12", BASE)
        with self.assertRaisesRegex(counts.Trouble, r"no baseline for this toolchain \(gcc 13\), only for: gcc 12\."):
            counts.load_baseline(self.path, "gcc 13")

    def test_the_committed_one_has_every_row(self):
        with open(counts.BASELINE, encoding="utf-8") as file:
            known = json.load(file)
        self.assertTrue(known)
        for toolchain, table in known.items():
            rows = {traffic: tuple(stages) for traffic, stages in table.items()}
            self.assertEqual(rows, {traffic: tuple(stages) for traffic, stages in counts.TRAFFIC.items()}, toolchain)
            for stages in table.values():
                for values in stages.values():
                    self.assertGreater(values["exchange"], 0)
                    self.assertGreater(values["event"], 0)


class Measuring(unittest.TestCase):
    def test_a_bench_that_is_not_built_is_an_error(self):
        with self.assertRaisesRegex(counts.Trouble, "is not built"):
            counts.bench_of(os.path.join(counts.ROOT, "tests"))

    def test_a_bench_that_fails_is_an_error(self):
        with self.assertRaisesRegex(counts.Trouble, "ended with status 1"):
            counts.toolchain_of("/bin/false")


if __name__ == "__main__":
    unittest.main()
