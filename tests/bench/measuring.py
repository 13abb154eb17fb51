"""What processes, the machine and BPF programs used: read from /proc and bpftool, nothing is switched on but by KernelTimes."""

import contextlib
import json
import os
import re
import shutil
import subprocess

import harness

TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
STATISTICS_SWITCH = "/proc/sys/kernel/bpf_stats_enabled"


def cpu_of_tree(roots):
    """(user, system) microseconds of these processes and all that they forked, ended ones included, as far as these processes
    waited for them."""
    user = system = 0
    for pid in harness.tree_of(roots):
        with contextlib.suppress(OSError):
            fields = harness.stat_of(pid)
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
    return user * TICK_US, system * TICK_US


def cpu_of_threads(pid):
    """Microseconds that a process's living threads ran, to the nanosecond: for one whose threads stay."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1000


def machine():
    """(busy, softirq) microseconds of all CPUs."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq = (int(n) for n in file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) * TICK_US, softirq * TICK_US


def bpf_memory(pid):
    """Bytes that the maps and programs held open by a process take, by the kernel's account, and of them the ring buffers'."""
    seen, maps, rings, programs = set(), 0, 0, 0
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/fdinfo/{fd}") as file:
            fields = dict(line.split(":", 1) for line in file.read().splitlines() if ":" in line)
            fields = {key.strip(): value.strip() for key, value in fields.items()}
            identity = ("map", fields["map_id"]) if "map_id" in fields else ("program", fields.get("prog_id"))
            if "memlock" not in fields or identity in seen:
                continue
            seen.add(identity)
            if identity[0] == "program":
                programs += int(fields["memlock"])
            else:
                maps += int(fields["memlock"])
                rings += int(fields["memlock"]) if fields.get("map_type") == "27" else 0  # BPF_MAP_TYPE_RINGBUF
    return {"maps_bytes": maps, "rings_bytes": rings, "programs_bytes": programs}


def programs_of(pid):
    """Numbers of the BPF programs that a process holds open."""
    numbers = set()
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/fdinfo/{fd}") as file:
            numbers |= {int(n) for n in re.findall(r"^prog_id:\s+(\d+)", file.read(), re.MULTILINE)}
    return numbers


def prometheus(text):
    """{name with labels: value}"""
    values = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            with contextlib.suppress(ValueError):
                values[name] = float(value)
    return values


class KernelTimes:
    """Times of BPF programs by the kernel's statistics, which are on for as long as this is open and cost a little themselves."""

    def __enter__(self):
        with open(STATISTICS_SWITCH) as file:
            self.before = file.read().strip()
        self._set("1")
        return self

    def __exit__(self, *exception):
        self._set(self.before)

    @staticmethod
    def _set(value):
        with open(STATISTICS_SWITCH, "w") as file:
            file.write(value)

    @staticmethod
    def read(pid):
        """{program: (runs, nanoseconds)} of a process's programs."""
        bpftool = shutil.which("bpftool", path="/usr/sbin:/sbin:/usr/bin")
        mine = programs_of(pid)
        listed = json.loads(subprocess.run([bpftool, "-j", "prog", "show"], stdout=subprocess.PIPE, check=True).stdout)
        times = {}
        for program in listed:
            if program["id"] in mine:
                runs, ns = times.get(program.get("name", "?"), (0, 0))
                times[program.get("name", "?")] = (runs + program.get("run_cnt", 0), ns + program.get("run_time_ns", 0))
        return times


def description():
    """The machine, as far as numbers depend on it; nothing that tells which one it is."""
    with open("/proc/cpuinfo") as file:
        model = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.MULTILINE)
    with open("/proc/meminfo") as file:
        memory = int(re.search(r"MemTotal:\s+(\d+)", file.read()).group(1))
    release = re.match(r"[\d.]+", os.uname().release).group(0).rstrip(".")
    return {"cpus": os.cpu_count(), "model": model.group(1).strip() if model else os.uname().machine,
            "memory_gib": round(memory / 2**20), "kernel": release}
