"""The steps of tests/run: build, run, add up. Every test case of every part counts as one in the closing line."""

import argparse
import concurrent.futures
import fnmatch
import glob
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree

from early_builds import EarlyBuilds

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PARTS = ("unit", "replay", "bpf", "layering", "guard", "sanitize", "fuzz", "tsan", "integration", "soak", "kernels")
SOAK_MINUTES = 5
# Where threads meet: queue and log (base), the export threads, the ledger that they and the pipeline write, the agent's own
# loop and health server.
TSAN_TARGETS = ("base_test", "exporters_test", "pipeline_test", "app_test")
# ThreadSanitizer's runtime of this age cannot place its shadow memory where newer kernels randomize further.
FIXED_ADDRESSES = ("setarch", "-R")


class Suite:
    def __init__(self, arguments):
        self.arguments = arguments
        self.jobs = arguments.jobs or os.cpu_count() or 1
        self.passed = 0
        self.failed = []
        self.skipped = []  # (name, reason)
        self.early = None
        with open(os.path.join(ROOT, "tests", "known-skips.txt")) as file:
            self.known_skips = [line.split("#")[0].strip() for line in file if line.split("#")[0].strip()]

    def wants(self, part):
        if self.arguments.only:
            return part in self.arguments.only
        return not self.arguments.quick or part in ("unit", "replay", "layering", "bpf", "integration")

    def say(self, text):
        print(f"== {text}", flush=True)

    def run(self, command, quiet=False, **options):
        """Exit status of a command; with `quiet` its output is shown only when it fails."""
        if quiet:
            options.update(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, **options) as process:
            try:
                output, _ = process.communicate()
            except BaseException as end:
                self.give_up(process, asked=isinstance(end, KeyboardInterrupt))
                raise
        if quiet and process.returncode != 0:
            print("\n".join(output.decode(errors="replace").splitlines()[-80:]), flush=True)
        return process.returncode

    def give_up(self, process, asked):
        """Ends a command, which has time to end what it started: agents and servers that would stay. `asked`: by Ctrl-C, of
        which the terminal told it too."""
        for sign in (None if asked else signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if sign is not None:
                process.send_signal(sign)
            try:
                process.wait(60)
                return
            except subprocess.TimeoutExpired:
                pass

    def build_commands(self, preset, targets=(), prefix=()):
        command = [*prefix, "cmake", "--build", "--preset", preset, "-j", str(self.jobs)]
        return [["cmake", "--preset", preset], command + (["--target", *targets] if targets else [])]

    def build_early(self):
        """What integration needs to be installed, and the presets that come later."""
        plan = {}
        if self.wants("integration") and os.geteuid() == 0:
            plan["programs"] = [[sys.executable, "tests/integration/prepare.py"]]
        if self.wants("sanitize") or self.wants("fuzz"):
            plan["fuzz"] = self.build_commands("fuzz")
        if self.wants("tsan"):
            plan["tsan"] = self.build_commands("tsan", TSAN_TARGETS, FIXED_ADDRESSES)
        self.early = EarlyBuilds(plan)

    def build(self, preset, targets=(), prefix=()):
        """Configures and builds; a failure counts as one failed case. Building runs the tests once, to list them."""
        began = time.monotonic()
        self.say(f"build {preset}")
        if self.early:
            self.early.take(preset)
        good = all(self.run(command, quiet=True) == 0 for command in self.build_commands(preset, targets, prefix))
        self.say(f"build {preset}: {'done' if good else 'FAILED'} in {time.monotonic() - began:.0f} s")
        if not good:
            self.failed.append(f"build of preset {preset}")
        return good

    def ctest(self, name, folder, options, env=None, prefix=()):
        """Runs ctest and counts its cases."""
        began = time.monotonic()
        report = os.path.join(ROOT, folder, f"{name}.junit.xml")
        if os.path.exists(report):
            os.unlink(report)
        self.say(f"{name}")
        self.run([*prefix, "ctest", "--test-dir", folder, "-j", str(self.jobs), "--output-on-failure", "--no-tests=ignore",
                  "--timeout", "600", "--output-junit", report, *options], quiet=True, env=dict(os.environ, **(env or {})))
        if not os.path.exists(report):
            self.failed.append(f"{name}: ctest wrote no report")
            return
        before = self.passed, len(self.failed), len(self.skipped)
        for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
            title = f"{name}: {case.get('name')}"
            status = case.get("status")
            if status == "run":
                self.passed += 1
            elif status == "disabled" or (status == "notrun" and case.find("skipped") is not None):
                output = case.findtext("system-out") or ""
                reason = next((line.strip() for line in output.splitlines() if "Skipped" in line or "kipp" in line), "")
                self.skipped.append((title, reason))
            else:
                self.failed.append(title)
        self.say(f"{name}: {self.passed - before[0]} passed, {len(self.failed) - before[1]} failed, "
                 f"{len(self.skipped) - before[2]} skipped in {time.monotonic() - began:.0f} s")

    def release(self):
        parts = [p for p in ("unit", "replay", "bpf", "layering", "guard") if self.wants(p)]
        if not parts and not any(self.wants(part) for part in ("integration", "soak", "kernels")):
            return
        targets = () if parts or self.wants("kernels") else ("zerotap", "soak_load")
        if not self.build("release", targets):
            return
        self.build_early()
        if set(parts) == {"unit", "replay", "bpf", "layering", "guard"}:
            self.ctest("release", "build/release", [])
        else:
            for part in parts:
                self.ctest(part, "build/release", ["-R", "^layering$"] if part == "layering" else ["-L", f"^{part}"])
        if self.wants("integration"):
            self.integration()
        if self.wants("soak"):
            self.program("soak", ["tests/soak/run", "--minutes", str(SOAK_MINUTES)])
        if self.wants("kernels"):
            self.program("kernels", ["tests/kernels/run"])

    def instrumented(self):
        """One build with clang serves the sanitizers and the fuzzers: everything that needs no root, under
        AddressSanitizer and UndefinedBehaviorSanitizer, and compiled by the second compiler."""
        if not (self.wants("sanitize") or self.wants("fuzz")) or not self.build("fuzz"):
            return
        if self.wants("sanitize"):
            self.ctest("sanitize", "build/fuzz", ["-LE", "^bpf"], env={"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1",
                                                          "UBSAN_OPTIONS": "print_stacktrace=1"})
        if self.wants("fuzz"):
            self.fuzz()

    def fuzz(self):
        seconds = self.arguments.fuzz_seconds
        programs = sorted(p for p in glob.glob(os.path.join(ROOT, "build/fuzz/**/*_fuzzer"), recursive=True)
                          if os.path.isfile(p) and os.access(p, os.X_OK))
        self.say(f"fuzz: {len(programs)} targets, {seconds} s each")
        if not programs:
            self.failed.append("fuzz: no target was built")

        def one(program):
            name = os.path.basename(program)
            corpus = os.path.join(ROOT, "build/fuzz/corpus", name)
            findings = os.path.join(ROOT, "build/fuzz/findings", name)
            os.makedirs(corpus, exist_ok=True)
            os.makedirs(findings, exist_ok=True)
            seeds = [p for p in (os.path.join(ROOT, "tests/fuzz/corpus", name.removesuffix("_fuzzer")),) if os.path.isdir(p)]
            command = [program, f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=16384",
                       f"-artifact_prefix={findings}/", "-print_final_stats=1", corpus, *seeds]
            result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            return name, result.returncode, result.stdout.decode(errors="replace")
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            for name, status, output in pool.map(one, programs):
                runs = next((line.split()[-1] for line in output.splitlines() if "number_of_executed_units" in line), "?")
                if status == 0:
                    self.passed += 1
                    self.say(f"fuzz: {name}: {runs} inputs")
                else:
                    self.failed.append(f"fuzz: {name} (its input is in build/fuzz/findings/{name})")
                    print("\n".join(output.splitlines()[-60:]), flush=True)

    def tsan(self):
        if not self.wants("tsan") or not self.build("tsan", TSAN_TARGETS, FIXED_ADDRESSES):
            return
        self.ctest("tsan", "build/tsan", ["-L", "^unit", "-E", "_NOT_BUILT"], prefix=FIXED_ADDRESSES,
                   env={"TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"})

    def integration(self):
        if os.geteuid() != 0:
            self.failed.append("integration: needs root, run: sudo tests/run")
            return
        command = ["tests/integration/run"]
        command += ["--quick"] if self.arguments.quick else []
        command += ["--keep"] if self.arguments.keep else []
        self.early.take("programs")
        self.program("integration", command)

    def program(self, part, command):
        """Runs a part that counts its cases itself and adds up what it writes."""
        summary = os.path.join(ROOT, "build", f"{part}.json")
        if os.path.exists(summary):
            os.unlink(summary)
        status = self.run([sys.executable, *command, "--summary", summary])
        if not os.path.exists(summary):
            self.failed.append(f"{part}: ended with status {status} before its end")
            return
        with open(summary) as file:
            result = json.load(file)
        self.passed += result["passed"]
        self.failed += [f"{part}: {name}" for name in result["failures"]]
        self.skipped += [(f"{part}: {name}", reason) for name, reason in result["skipped"]]

    def finish(self):
        unknown = [(name, reason) for name, reason in self.skipped
                   if not any(fnmatch.fnmatch(name, pattern) for pattern in self.known_skips)]
        for name, reason in self.skipped:
            print(f"skipped {name} {reason}")
        if os.environ.get("CI") == "true":
            for name, _ in unknown:
                self.failed.append(f"{name}: skipped, and not listed in tests/known-skips.txt")
            self.skipped = [s for s in self.skipped if s not in unknown]
        for name in self.failed:
            print(f"FAILED {name}")
        line = f"{self.passed} passed, {len(self.failed)} failed"
        if self.skipped:
            line += f", {len(self.skipped)} skipped"
        print(line, flush=True)
        return 1 if self.failed or not self.passed else 0


def main():
    parser = argparse.ArgumentParser(prog="tests/run")
    parser.add_argument("--quick", action="store_true", help="one compiler, one tier, a few programs")
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--fuzz-seconds", type=int, default=20)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--keep", action="store_true", help="leave the working folders of the integration tests")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what is built early ends too
    began = time.monotonic()
    suite = Suite(arguments)
    suite.release()
    suite.instrumented()
    suite.tsan()
    suite.say(f"all of it took {time.monotonic() - began:.0f} s")
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())
