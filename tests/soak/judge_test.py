"""The judge of the soak passes what is flat and complains of what is not."""

import random
import sys
import unittest

sys.dont_write_bytecode = True
import judge
import receiver

PHASES = ("dead", "slow", "well again")
MIB = 1 << 20


def run(change=lambda sample, second: None, seconds=120):
    """Samples of a healthy run of three phases, with a heap's noise, after `change` was at each."""
    noise = random.Random(4)
    samples = []
    for second in range(seconds):
        phase = PHASES[second * 3 // seconds]
        settling = second * 3 % seconds < seconds * 0.4
        sample = {"time": float(second), "phase": "settling" if settling else phase, "rss": 60 * MIB + noise.randrange(MIB),
                  "anonymous": 40 * MIB + noise.randrange(MIB), "maps": 25 * MIB, "descriptors": 60 + noise.randrange(3),
                  "threads": 9, "queued": 30_000 if phase == "dead" else 100, "ring_used": 1000, "held": 5}
        change(sample, second)
        samples.append(sample)
    return samples


def verdict(samples):
    return judge.judge_memory(samples, PHASES) + judge.judge_return(samples, "dead", "well again") + \
        judge.judge_limits(samples, {"queued": 30_000})


LEDGER = {"seen": 1000, "emitted": 900, "filtered": 0, "sampled_out": 0, "in_flight": 0,
          "dropped": {"span_queue_full": 70, "export_failed": 30}}
EXPORTS = {"exported": 900, "dropped": 70, "failed": 30, "rejected": 0}


class Memory(unittest.TestCase):
    def test_a_healthy_run_passes(self):
        self.assertEqual(verdict(run()), [])

    def test_a_few_samples_out_of_line_are_no_leak(self):
        def spike(sample, second):
            if second % 17 == 0:
                sample["rss"] += 20 * MIB
        self.assertEqual(judge.judge_memory(run(spike), PHASES), [])

    def test_memory_that_falls_is_no_leak(self):
        self.assertEqual(verdict(run(lambda sample, second: sample.update(rss=sample["rss"] - second * 100_000))), [])

    def test_a_slow_leak_is_found(self):
        def leak(sample, second):
            sample["rss"] += second * 100_000
            sample["anonymous"] += second * 100_000
        complaints = verdict(run(leak))
        self.assertTrue(any("dead: rss grew" in c for c in complaints), complaints)
        self.assertTrue(any("well again: anonymous grew" in c for c in complaints), complaints)

    def test_a_leak_in_steps_at_each_change_is_found(self):
        def step(sample, second):
            sample["anonymous"] += 2 * MIB * (second * 3 // 120)
        self.assertTrue(any("more than the" in c for c in verdict(run(step))))

    def test_maps_that_grow_are_found(self):
        complaints = verdict(run(lambda sample, second: sample.update(maps=sample["maps"] + second * 40_000)))
        self.assertTrue(any("BPF maps grew" in c for c in complaints), complaints)

    def test_descriptors_and_threads_that_grow_are_found(self):
        complaints = verdict(run(lambda sample, second: sample.update(descriptors=60 + second // 2, threads=9 + second // 30)))
        self.assertTrue(any("descriptors" in c for c in complaints), complaints)
        self.assertTrue(any("threads" in c for c in complaints), complaints)

    def test_a_queue_beyond_its_limit_is_found(self):
        self.assertTrue(any("queued" in c for c in verdict(run(lambda sample, second: sample.update(queued=second * 1000)))))

    def test_too_few_samples_are_no_proof(self):
        self.assertTrue(any("too few" in c for c in judge.judge_memory(run(seconds=30), PHASES)))


class Ledger(unittest.TestCase):
    def complaints(self, received=900, asked=500, exports=None, **changes):
        return judge.judge_ledger({**LEDGER, **changes}, {**EXPORTS, **(exports or {})}, received, asked)

    def test_what_adds_up_passes(self):
        self.assertEqual(self.complaints(), [])
        self.assertEqual(self.complaints(seen=998, emitted=898, exports={"exported": 898}, received=898, unseen_records=2), [])

    def test_every_single_unit_counts(self):
        self.assertTrue(self.complaints(seen=1001))
        self.assertTrue(self.complaints(received=899))
        self.assertTrue(self.complaints(received=901))
        self.assertTrue(self.complaints(exports={"exported": 899}))
        self.assertTrue(self.complaints(exports={"dropped": 69}))
        self.assertTrue(self.complaints(in_flight=1, emitted=899, exports={"exported": 899}, received=899))
        self.assertTrue(self.complaints(asked=501))
        self.assertTrue(self.complaints(asked=499))


class Receiver(unittest.TestCase):
    def test_spans_are_counted_and_damage_is_refused(self):
        def message(number, body):
            size, at = b"", len(body)
            while at >= 128:
                size, at = size + bytes([at & 127 | 128]), at >> 7
            return bytes([number << 3 | 2]) + size + bytes([at]) + body
        span = message(1, b"x" * 16) + b"\x30\x02" + b"\x39" + b"y" * 8
        scope = message(1, b"scope") + message(2, span) * 3
        resource = message(1, b"resource") + message(2, scope) + message(2, scope)
        self.assertEqual(receiver.spans_in(message(1, resource) * 2), 12)
        self.assertEqual(receiver.spans_in(b""), 0)
        with self.assertRaises((ValueError, IndexError)):
            receiver.spans_in(message(1, resource)[:-5])


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    unittest.main()
