"""usage: host_test.py BUILD-FOLDER [--update]

Loads every program of the BPF objects of both compilers on the running kernel and holds them to the committed budgets;
--update makes what was measured the budget of this kernel's series.
"""

import json
import os
import platform
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import judge  # noqa: E402


def main():
    build = sys.argv[1]
    with open(os.path.join(HERE, "budgets.json")) as file:
        budgets = json.load(file)
    failed = 0
    for compiler, folder in (("clang-14", "bpf"), ("clang-19", "bpf/clang-19")):
        path = os.path.join(build, folder, "zerotap.bpf.o")
        if not os.path.exists(path):
            print(f"FAILED {compiler}: {path} was not built")
            failed += 1
            continue
        result = subprocess.run([os.path.join(build, "kernel_load_programs"), path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                check=False)
        programs = [json.loads(line) for line in result.stdout.decode().splitlines()]
        for program in (line for line in programs if "program" in line):
            print(f"{compiler} {program['program']:20} {program['instructions']:8} {'' if program['loaded'] else 'does not load'}")
        if "--update" in sys.argv[2:]:
            series = ".".join(str(n) for n in judge.series_of(platform.release()))
            known = budgets[compiler].get(series, {})
            budgets[compiler][series] = {
                line["program"]: line["instructions"] if line["loaded"] else
                None if judge.may_be_refused(line, platform.release(), known) else 0 for line in programs if "program" in line}
        problems = judge.over_budget(programs, budgets[compiler], platform.release()) if programs else ["load_programs said nothing"]
        for problem in problems:
            print(f"FAILED {compiler}: {problem}")
        failed += len(problems)
    if "--update" in sys.argv[2:]:
        with open(os.path.join(HERE, "budgets.json"), "w") as file:
            json.dump(budgets, file, indent=1)
            file.write("\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
