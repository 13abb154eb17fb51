"""Builds presets, and what else takes commands to have, beforehand: while parts run that mostly wait.

On CPU time that nobody else wants (SCHED_IDLE), so that these parts measure what they would measure alone. A preset that is not
done when it is needed is finished at the usual priority, where that may be given back (CAP_SYS_NICE); else it stays idle, which
costs nothing while nobody else wants the CPU.
"""

import atexit
import contextlib
import os
import subprocess
import threading

# Where a session is scheduled as a group (autogroup), being idle counts only within it: the group has to stand back too.
IDLE = ("sh", "-c", 'echo 19 >/proc/self/autogroup; exec chrt --idle 0 "$@"', "sh")


class EarlyBuilds:
    def __init__(self, plan):
        """`plan` is {preset: [command, ...]}, in the order in which they will be needed."""
        self.plan = plan
        self.done = {preset: threading.Event() for preset in plan}
        self.lock = threading.Lock()  # of what follows
        self.wanted, self.process, self.ended = set(), None, False
        atexit.register(self.stop)
        threading.Thread(target=self._run, daemon=True).start()

    def take(self, preset):
        """Waits until the preset needs nobody to wait any more. Whether it is good the caller sees by building it again: what is
        done takes no time then, and what failed fails once more, and is shown."""
        if preset not in self.done:
            return
        with self.lock:
            self.wanted.add(preset)
        while True:
            with self.lock:
                if self.process is not None and not self.done[preset].is_set():
                    _hurry(self.process.pid)
            if self.done[preset].wait(1):  # again and again: a command that has only just begun makes itself idle later
                return

    def stop(self):
        with self.lock:
            self.ended = True
            if self.process is not None and self.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, 15)  # ninja takes away what is half written

    def _run(self):
        for preset, commands in self.plan.items():
            try:
                for command in commands:
                    if self._command(command) != 0:
                        break
            except OSError:  # a program is not there: whoever needs the preset is told by its own attempt
                pass
            finally:
                self.done[preset].set()

    def _command(self, command):
        with self.lock:
            if self.ended:
                return 1
            waited_for = any(not self.done[preset].is_set() for preset in self.wanted)
            self.process = subprocess.Popen([*(() if waited_for else IDLE), *command], start_new_session=True,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        status = self.process.wait()
        with self.lock:
            self.process = None
        return status


def _hurry(session):
    """Gives all processes of the session the usual priority, until there is none left that was forked meanwhile."""
    with contextlib.suppress(OSError):  # no such groups here
        with open(f"/proc/{session}/autogroup", "w") as file:
            file.write("0")
    found = True
    while found:
        found = False
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):  # it ended
                with open(f"/proc/{pid}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
                if int(fields[3]) == session and fields[0] != "Z" and os.sched_getscheduler(int(pid)) == os.SCHED_IDLE:
                    os.sched_setscheduler(int(pid), os.SCHED_OTHER, os.sched_param(0))
                    found = True
