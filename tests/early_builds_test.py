"""EarlyBuilds: idle until it is needed, in order, and never in the way when a command fails."""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from early_builds import EarlyBuilds  # noqa: E402

# Waits for a file named by its argument, in a grandchild, and writes the scheduling policies that both had at their ends.
WAITING = """
import os, subprocess, sys, time
if len(sys.argv) == 3:
    subprocess.run([sys.executable, __file__, sys.argv[1], sys.argv[2], "child"])
else:
    open(sys.argv[1] + ".began" , "w").write(str(os.sched_getscheduler(0)))
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.01)
with open(sys.argv[1], "a") as file:
    file.write(f"{os.sched_getscheduler(0)}\\n")
"""


def policy_when_hurried():
    """What is idle gets its usual priority back from who may give it: root does, unless CAP_SYS_NICE was taken from it."""
    with subprocess.Popen(["sleep", "60"]) as process:
        os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(process.pid, os.SCHED_OTHER, os.sched_param(0))
        policy = os.sched_getscheduler(process.pid)
        process.kill()
    return policy


def left_of(session):
    """The processes of a session that have not ended."""
    pids = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                pids.append(int(pid))
    return pids


class EarlyBuildsTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="zerotap-early-builds.")
        self.addCleanup(self.folder.cleanup)
        with open(self.path("waiting.py"), "w") as file:
            file.write(WAITING)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def waiting(self, name):
        return [sys.executable, self.path("waiting.py"), self.path(name), self.path("go")]

    def text(self, name, timeout=120):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if os.path.exists(self.path(name)) and os.path.getsize(self.path(name)):
                with open(self.path(name)) as file:
                    return file.read()
            time.sleep(0.01)
        raise AssertionError(f"{name} was not written")

    def until(self, condition, what, timeout=120):
        end = time.monotonic() + timeout
        while not condition():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.01)

    def group_is(self, session, nice):
        """Whether the session is scheduled so among others, where it is."""
        path = f"/proc/{session}/autogroup"
        if not os.path.exists(path):
            return True
        with open(path) as file:
            return file.read().split()[-2:] == ["nice", nice]

    def go(self):
        open(self.path("go"), "w").close()

    def test_idle_while_nobody_waits_for_it(self):
        early = EarlyBuilds({"fuzz": [self.waiting("one"), self.waiting("two")], "tsan": [self.waiting("three")]})
        self.assertEqual(self.text("one.began"), str(os.SCHED_IDLE))
        self.assertTrue(self.group_is(early.process.pid, "19"))
        self.go()
        early.done["tsan"].wait(120)
        for name in ("one", "two", "three"):
            self.assertEqual(self.text(name), f"{os.SCHED_IDLE}\n" * 2)
        early.take("fuzz")
        early.take("tsan")

    def test_usual_priority_for_what_is_waited_for_and_not_for_what_follows(self):
        early = EarlyBuilds({"fuzz": [self.waiting("one"), self.waiting("two")], "tsan": [self.waiting("three")]})
        self.text("one.began")
        with early.lock:
            session = early.process.pid
        # What take() does before it waits reaches the grandchild: only then is it told to end.
        taken = threading.Thread(target=early.take, args=("fuzz",))
        taken.start()
        policy = policy_when_hurried()
        self.until(lambda: self.group_is(session, "0"), "the group still stands back")
        self.until(lambda: os.sched_getscheduler(session) == policy, "it is still idle")
        with early.lock:  # take() has let go of it: all of the session are done
            pass
        self.go()
        taken.join(120)
        self.assertFalse(taken.is_alive())
        self.assertEqual(self.text("one"), f"{policy}\n" * 2)
        self.assertEqual(self.text("two"), f"{os.SCHED_OTHER}\n" * 2)
        early.done["tsan"].wait(120)
        self.assertEqual(self.text("three"), f"{os.SCHED_IDLE}\n" * 2)

    def test_a_failure_ends_its_preset_only(self):
        early = EarlyBuilds({"programs": [["/nowhere/to/be/found"]], "fuzz": [["false"], self.waiting("one")], "tsan": [self.waiting("three")]})
        early.take("programs")
        early.take("fuzz")
        self.assertFalse(os.path.exists(self.path("one.began")))
        self.go()
        early.take("tsan")
        self.assertTrue(self.text("three"))

    def test_nothing_is_left_when_it_is_stopped(self):
        early = EarlyBuilds({"fuzz": [self.waiting("one"), self.waiting("two")]})
        self.text("one.began")
        session = early.process.pid
        self.assertEqual(len(left_of(session)), 2)  # it, and the child that waits
        early.stop()
        early.take("fuzz")
        self.until(lambda: not left_of(session), "a process is left")
        self.go()
        self.assertFalse(os.path.exists(self.path("one")))
        self.assertFalse(os.path.exists(self.path("two.began")))

    def test_a_program_that_is_not_there_holds_up_nobody(self):
        early = EarlyBuilds({"fuzz": [self.waiting("one"), ["/nowhere/to/be/found"]], "tsan": [self.waiting("three")]})
        self.text("one.began")
        taken = threading.Thread(target=early.take, args=("fuzz",))
        taken.start()
        self.go()
        taken.join(120)
        self.assertFalse(taken.is_alive())
        self.assertTrue(self.text("three"))

    def test_what_is_not_planned_needs_no_waiting(self):
        EarlyBuilds({}).take("fuzz")


if __name__ == "__main__":
    unittest.main()
