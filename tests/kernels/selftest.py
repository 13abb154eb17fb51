"""Breaks the kernel side on purpose and expects that the matrix notices: a check that cannot fail is none.

Each mutation is made in a copy of the sources, in which only what it touches is built anew.
"""

import os
import shutil
import subprocess
import tempfile

import archive
import guest
import judge

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

# name: (file, text, what it becomes, kernel, case, a word of what must be said)
MUTATIONS = {
    "a wake-up for each event": (
        "bpf/lib/maps.h", "? BPF_RB_FORCE_WAKEUP\n\t\t   : BPF_RB_NO_WAKEUP;", "? BPF_RB_FORCE_WAKEUP\n\t\t   : BPF_RB_FORCE_WAKEUP;",
        "newest", "conformance", "wakeups"),
    "a scratch buffer for each CPU": (
        "bpf/lib/maps.h", "} exits __weak SEC(\".maps\");",
        "} exits __weak SEC(\".maps\");\n\nstruct {\n\t__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);\n\t__uint(max_entries, 1);\n"
        "\t__type(key, zt_u32);\n\t__type(value, struct zt_connection);\n} scratch __weak SEC(\".maps\");",
        "newest", "load", "scratch"),
    "the first CPU target": ("bpf/CMakeLists.txt", "-mcpu=v3", "-mcpu=v1", "5.10", "load", "is refused"),
    "direct attachment where it is preempted": (
        "agent/capture/preemption.cc", "return !(result & kSeen) || (result & kCountMask) != 0;", "return !(result & kSeen);",
        "newest", "conformance", "threads"),
}


def copy_of_sources(folder):
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
    for name in filter(None, files):
        target = os.path.join(folder, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(os.path.join(ROOT, name), target)


def build(folder):
    """Error, or None; what is built is in <folder>/build/release."""
    targets = ["conformance", "zerotap_skeleton_header", "zerotap_bpf_newer_compiler"]
    for command in (["cmake", "--preset", "release"], ["cmake", "--build", "--preset", "release", "-j", "2", "--target", *targets]):
        result = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if result.returncode != 0:
            return result.stdout.decode(errors="replace")[-1500:]
    return None


def problems_of(case, results, budgets, version):
    return judge.load(results, budgets, version) if case == "load" else judge.conformance(results, "auto", version)


def run(budgets, total):
    folder = tempfile.mkdtemp(prefix="zerotap-broken.")
    source = archive.Archive()
    try:
        copy_of_sources(folder)
        for name, (path, text, broken, prefix, case, word) in MUTATIONS.items():
            version, kernel = source.kernel(prefix)
            where = os.path.join(folder, path)
            with open(where) as file:
                good = file.read()
            error = f"{path} no longer has what is to be broken" if text not in good else None
            if not error:
                with open(where, "w") as file:
                    file.write(good.replace(text, broken))
                error = build(folder)
                built = os.path.join(folder, "build/release")
                results = os.path.join(folder, name.replace(" ", "-"))
                if not error:
                    programs = dict(guest.PROGRAMS)
                    programs["conformance"] = os.path.join(built, "conformance")
                    programs["clang-14.o"] = os.path.join(built, "bpf/zerotap.bpf.o")
                    guest.pack(os.path.join(folder, "initramfs"), programs)
                    error = guest.boot(kernel, os.path.join(folder, "initramfs"), results, (case,))
                with open(where, "w") as file:
                    file.write(good)
            problems = [] if error else problems_of(case, os.path.join(results, "results"), budgets, version)
            if not error and not any(word in problem for problem in problems):
                error = f"nobody noticed; said was {problems}"
            total["failures" if error else "passed"] = total["failures"] + [f"self-test: {name}"] if error else total["passed"] + 1
            print(f"{'FAILED' if error else 'ok    '} {name} on {version}: {error or [p[:200] for p in problems if word in p][0]}", flush=True)
    finally:
        source.close()
        shutil.rmtree(folder, ignore_errors=True)
