"""What the guests left behind against what the scripts say must be there: exact spans, budgets of the verifier, messages.

A judgement is a list of what is wrong; an empty one is a pass.
"""

import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))
from harness import CLIENT, ERROR, SERVER, read_spans  # noqa: E402

GROWTH = 1.2  # of a program's processed instructions over its budget

# Turn by turn what the two ends of tests/kernels/conversations.cc must give:
# (name of the client's span, of the server's, status code, client in error, server in error)
HTTP = [("GET", "GET /items/{id}", 200, False, False),
        ("POST", "POST /items", 201, False, False),
        ("GET", "GET /nowhere", 404, True, False),
        ("PUT", "PUT /items/{id}", 204, False, False),
        ("HEAD", "HEAD /items/{id}", 200, False, False),
        ("GET", "GET /broken", 500, True, True),
        ("GET", "GET /large", 200, False, False)]
# Turns 0 (start-up) and 4 (a Parse alone) give no span.
POSTGRES = {1: ("SELECT items", "SELECT name FROM items WHERE id = ?", None, 2),
            2: ("SELECT nowhere", "SELECT nothing FROM nowhere", "42P01", 0),
            3: ("INSERT log", "INSERT INTO log (who) VALUES ($1)", None, 1),
            5: ("UPDATE items", "UPDATE items SET name = $1", None, 3),
            6: ("UPDATE items", "UPDATE items SET name = $1", None, 4)}


def text_of(*path):
    try:
        with open(os.path.join(*path), errors="replace") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def json_lines(*path):
    """The JSON objects among the lines, and what else there is."""
    objects, others = [], []
    for line in text_of(*path).splitlines():
        try:
            objects.append(json.loads(line))
        except ValueError:
            others.append(line)
    return objects, others


def spans_of(folder):
    return read_spans(text_of(folder, "telemetry.jsonl").splitlines())


def http_turn(index):
    name, served, code, client_fails, server_fails = HTTP[index]
    return (name, code, client_fails), (served, code, server_fails)


def postgres_turn(index):
    name, query, error, rows = POSTGRES[index]
    return (name, query, error, rows), (name, query, error, rows)


def fingerprint(span):
    """The part of a span that the script fixes."""
    if span.is_database:
        failed = span.attributes.get("db.response.status_code")
        return span.name, span.text, failed if span.status == ERROR or failed else None, span.rows
    return span.name, span.http_status, span.status == ERROR


def compare(spans, pid, turns, turn_of, server_pids, services=(None, None), may_be_apart=False):
    """The client `pid` has exactly these turns, in order, each with the one server's span that is its child. Of a unix
    connection that is older than the agent the two may be apart, since nothing proves them to be of one exchange where the
    server ran before the client had left its call; then the server's span is a root, and there."""
    problems = []
    clients = sorted((s for s in spans if s.pid == pid and s.kind == CLIENT), key=lambda s: s.start)
    expected = [turn_of(turn) for turn in turns]
    if [fingerprint(s) for s in clients] != [client for client, _ in expected]:
        problems.append(f"client {pid}: expected {[c for c, _ in expected]}, got {[fingerprint(s) for s in clients]}")
        return problems
    for span, (_, server_expected) in zip(clients, expected):
        children = [s for s in spans if s.parent == span.span_id]
        if not children and may_be_apart and roots_like(spans, span, server_expected, server_pids):
            continue
        if len(children) != 1 or children[0].kind != SERVER or children[0].pid not in server_pids:
            problems.append(f"client {pid} {span.name}: expected one server span below it, got {children}")
        elif fingerprint(children[0]) != server_expected or children[0].trace_id != span.trace_id:
            problems.append(f"client {pid} {span.name}: expected {server_expected} below it, got {fingerprint(children[0])}")
        elif span.parent or not span.start <= children[0].start:
            problems.append(f"client {pid} {span.name}: has a parent, or begins after its server's span")
        else:
            for which, service in zip((span, children[0]), services):
                if service is not None and which.service != service:
                    problems.append(f"client {pid} {span.name}: service {which.service}, expected {service}")
    return problems


def roots_like(spans, client, expected, server_pids):
    return [s for s in spans if s.kind == SERVER and s.pid in server_pids and not s.parent and fingerprint(s) == expected
            and abs(s.start - client.start) < 100_000_000]


# Beginnings and ends of connections come in softirqs too, where a perf-attached program is skipped if it interrupts another;
# those of processes are attached so where tracefs has no numbers for them. The first transfer and /proc make up for a miss, and
# the next survey of the open connections. A thread whose end is missed leaves its slow request without zerotap.wait.*.
LIFECYCLE = ("tcp_state", "tcp_destroyed", "tcp_health_state", "tcp_health_destroyed", "process_exec", "process_fork", "process_exit",
             "process_exit_group", "wait_thread_exit")


def may_miss(program, version):
    """What is attached by BTF can be preempted from 7.0 on, and cannot be attached otherwise."""
    return program in LIFECYCLE and series_of(version) >= (7, 0)


def series_of(version):
    return tuple(int(n) for n in re.findall(r"\d+", version)[:2])


def may_be_refused(program, version, known):
    """Whether a table may say that a program does not load; else it gets a budget of nothing, which fails."""
    by_design = {"process_exit_group": (6, 13), "tier_b_exit": (5, 15),  # the parameter of the hook, helpers
                 "access_process_policies": (6, 3), "access_syscall_durations": (5, 19), "access_tcp_measures": (5, 19),
                 "access_thread_waits": (5, 14)}
    if program["why"] == "no such hook in this kernel":
        return True
    return series_of(version) < by_design.get(program["program"], (0, 0)) or known.get(program["program"], 0) is None


def agent_is_well(folder, version):
    """It ended in order, lost nothing, and its ledger adds up."""
    problems = []
    log = text_of(folder, "log")
    if text_of(folder, "status").strip() != "0":
        return [f"the agent ended with {text_of(folder, 'status').strip() or 'no status'}:\n{log[-1500:]}"]
    metrics = text_of(folder, "metrics.txt")
    losses = re.findall(r'^(zerotap_kernel_losses_total\{[^}]*reason="(?:ring_full|connection_map_full)"[^}]*\}) (\S+)$',
                        metrics, re.MULTILINE)
    if len(losses) < 2:
        problems.append(f"/metrics has no kernel losses:\n{metrics[:300]}")
    problems += [f"{name} {value}" for name, value in losses if float(value) != 0]
    missed = dict(re.findall(r"program (\S+): \d+ instructions verified, (\d+) recursion misses", log))
    if not any(name.startswith("tier_") for name in missed):
        problems.append("its log does not name the misses of its programs")
    problems += [f"program {name} missed {count} events" for name, count in missed.items()
                 if int(count) and not may_miss(name, version)]
    try:
        rows = json.loads(text_of(folder, "ledger.json"))["rows"]
    except ValueError:
        return [*problems, "no /ledger"]
    for row in rows:
        balance = sum(row["dropped"].values()) + row["emitted"] + row["filtered"] + row["sampled_out"] + row["in_flight"]
        if row["seen"] != balance or sum(row["dropped"].values()):
            problems.append(f"the ledger: {row}")
    return problems


def server_pid(results, name="web_server"):
    return json_lines(results, name)[0][0]["pid"]


COMPILERS = ("clang-14", "clang-19")


def programs_of(results, compiler=COMPILERS[0]):
    return [line for line in json_lines(results, "load", compiler)[0] if "program" in line]


def load(results, budgets, kernel):
    """Every program of both compilers' objects loads where it should, for no more than its budget and a fifth."""
    problems = []
    for compiler in COMPILERS:
        programs, others = json_lines(results, "load", compiler)
        if not programs or others:
            problems.append(f"{compiler}: load_programs: {others or text_of(results, 'load', 'log')}")
        problems += [f"{compiler}: {problem}" for problem in over_budget(programs, budgets.get(compiler, {}), kernel)]
    return problems


# Their values are only added to, atomically (bpf/lib/measure.h): there preemption does no harm.
ATOMIC_SUMS = ("syscall_durations", "tcp_measures")


def over_budget(lines, budgets, kernel):
    budget = budget_for(budgets, kernel)
    programs = [line for line in lines if "program" in line]
    # From 7.0 on a program can be preempted by another, or by itself, that uses the same scratch.
    problems = [f"the map {line['map']} is one for each CPU" for line in lines
                if line.get("per_cpu") and line["map"] not in ATOMIC_SUMS]
    for program in programs:
        name, wanted = program["program"], budget.get(program["program"], 0)
        if wanted is None:
            # A table of an older kernel says nothing of what this one has learnt.
            if program["loaded"] and ".".join(str(n) for n in series_of(kernel)) in budgets:
                problems.append(f"{name} loads, and the table says that it does not: --update-budgets")
        elif not program["loaded"]:
            problems.append(f"{name} is refused: {program['why'][-800:]}")
        elif program["instructions"] > wanted * GROWTH:
            problems.append(f"{name}: {program['instructions']} instructions processed, its budget is {wanted} and a fifth")
    return problems + [f"{name} is not in the object" for name in budget if name not in {p["program"] for p in programs}]


def budget_for(budgets, kernel):
    """The table of the kernel's series, or of the newest one before it."""
    series = series_of(kernel)
    older = [key for key in budgets if tuple(int(n) for n in key.split(".")) <= series]
    return budgets[max(older, key=lambda key: tuple(int(n) for n in key.split(".")))] if older else {}


def conformance(results, tier, version):
    folder = os.path.join(results, "conformance")
    status = text_of(folder, f"{tier}.status").strip()
    try:
        report = json.loads(text_of(folder, f"{tier}.json"))
    except ValueError:
        return [f"conformance ended with {status or 'no status'} and no report:\n{text_of(folder, f'{tier}.log')[-1500:]}"]
    missed = [program for program in report["programs"] if program["recursion_misses"]]
    problems = [f"{program['name']} missed {program['recursion_misses']} events" for program in missed
                if not may_miss(program["name"], version)]
    # Its row of counters adds all programs up; which may miss what is said above.
    excused = [row for row in report["rows"] if missed and not problems and row["variant"] == "counters"
               and re.fullmatch(r"\d+ recursion misses; ", row["detail"])]
    wrong = [row for row in report["rows"] if row["result"] not in ("ok", "blind", "absent") and row not in excused]
    problems += [f"{row['family']} {row['variant']}: {row['detail']}" for row in wrong]
    if not report["rows"] or (report["failed"] != len(wrong) + len(excused)) or (status != "0" and not wrong and not excused):
        problems.append(f"conformance ended with {status}, {report['failed']} failed:\n{text_of(folder, f'{tier}.log')[-1500:]}")
    return problems


def spans(results, version):
    """Old and new connections, TCP, IPv6 and AF_UNIX, both protocols, and processes that live 50 ms."""
    folder = os.path.join(results, "spans")
    problems = agent_is_well(folder, version)
    found = spans_of(folder)
    said, others = json_lines(folder, "said")
    if others or not said:
        problems.append(f"the peers: {others}")
    web, sql = {server_pid(results)}, {server_pid(results, "sql_server")}
    expected = 0
    conversations = [line for line in said if "talked" in line]
    if len(conversations) != 10:
        problems.append(f"{len(conversations)} of 10 conversations were done")
    for number, line in enumerate(conversations):
        first = 1 if number < 5 else 0  # the agent was not there for the first turn of the old ones
        http = line["talked"] == "http"
        turns = range(first, 7) if http else sorted(POSTGRES)
        service = "old_client" if number < 5 else "web_client" if http else "sql_client"
        problems += compare(found, line["pid"], turns, http_turn if http else postgres_turn, web if http else sql,
                            (service, "web_server" if http else "sql_server"), number < 5 and line["address"].startswith("unix:"))
        expected += 2 * len(list(turns))
    brief = [line["brief"] for line in said if "brief" in line]
    if len(brief) != 5:
        problems.append(f"{len(brief)} of 5 brief processes were run")
    for pid in brief:
        problems += compare(found, pid, [0], http_turn, web, ("brief_client", "web_server"))
        expected += 2
    if len(found) != expected:
        problems.append(f"{len(found)} spans, expected {expected}")
    return problems


def restart(results, version):
    """kill -9 under load: no byte is harmed, and from the restart on every request of the old connection has its spans."""
    folder = os.path.join(results, "restart")
    problems = agent_is_well(folder, version)
    load_lines, others = json_lines(folder, "load")
    said, more = json_lines(folder, "said")
    if text_of(folder, "load_status").strip() != "0" or not load_lines or others or more:
        return [*problems, f"the load's ends: {load_lines} {others} {more}"]
    load_line = load_lines[0]
    first, last, pid = load_line["marked"], load_line["loaded"], load_line["pid"]
    if not 0 < first < last:
        return [*problems, f"no load on both sides of the restart: {load_line}"]
    found = spans_of(folder)
    if not spans_of(os.path.join(results, "killed")):
        problems.append("the agent that was killed had sent no span")
    web = {server_pid(results)}
    for kind, pids in ((CLIENT, {pid}), (SERVER, web)):
        seen = {}
        for span in found:
            if span.kind == kind and span.pid in pids and span.path.startswith("/load/"):
                seen.setdefault(int(span.path[6:]), []).append(span)
        twice = [index for index, those in seen.items() if len(those) != 1]
        missing = [index for index in range(first, last) if index not in seen]
        foreign = [index for index, those in seen.items() if index >= last or any(s.http_status != 200 for s in those)]
        if twice or missing or foreign:
            problems.append(f"load of {first}..{last - 1}, kind {kind}: {len(missing)} missing {missing[:5]}, twice {twice[:5]}, "
                            f"foreign {foreign[:5]}")
    problems += linked(found, pid, web)
    for line in said:
        problems += compare(found, line["pid"], range(7), http_turn, web, ("web_client", "web_server"))
    return problems


def linked(found, pid, web):
    """Of the load, every client's span after the first has its server's below it."""
    children = {s.parent: s for s in found if s.kind == SERVER and s.pid in web}
    clients = sorted((s for s in found if s.kind == CLIENT and s.pid == pid), key=lambda s: s.start)
    wrong = [s.path for s in clients[1:] if s.span_id not in children or children[s.span_id].path != s.path]
    return [f"spans of the load without the server's below: {wrong[:5]}"] if wrong else []


def one_conversation(results, case, version, ignored=()):
    """An odd host makes no difference to a conversation."""
    folder = os.path.join(results, case)
    problems = agent_is_well(folder, version)
    if problems:
        return problems
    said, others = json_lines(folder, "said")
    found = [s for s in spans_of(folder) if s.service not in ignored]
    if others or len(said) != 1:
        return [f"the peers: {said} {others}"]
    problems = compare(found, said[0]["pid"], range(7), http_turn, {server_pid(results)}, ("web_client", "web_server"))
    return problems + ([f"{len(found)} spans, expected 14: {sorted(f'{s.service} {s.name}' for s in found)}"] if len(found) != 14 else [])


def says(results, case, *words):
    log = text_of(results, case, "log")
    return [f"its log does not say \"{word}\":\n{log[-1500:]}" for word in words if word not in log]


def refuses(results, case, *words):
    """It does not start, says why and what to do, and leaves with the code for that."""
    status = text_of(results, case, "status").strip()
    last = "\n".join(line for line in text_of(results, case, "log").splitlines() if " error " in line)
    problems = [] if status == "3" else [f"it ended with {status}, expected 3:\n{text_of(results, case, 'log')[-1500:]}"]
    return problems + [f"its error does not say \"{word}\": {last}" for word in words if word not in last]


def cgroup(results, case, version):
    """A server in a unit and one in a container are named by where their cgroups are."""
    folder = os.path.join(results, case)
    problems = agent_is_well(folder, version)
    said, others = json_lines(folder, "said")
    if others or len(said) != 2:
        return [*problems, f"the peers: {said} {others}"]
    found = spans_of(folder)
    servers = {s.pid for s in found if s.kind == SERVER}
    for line in said:
        problems += compare(found, line["pid"], range(7), http_turn, servers)
    places = {(s.resource.get("zerotap.systemd.unit"), s.resource.get("container.id")) for s in found if s.kind == SERVER}
    expected = {("shop.service", None), (None, "0123456789abcdef" * 4)}
    return problems + ([f"unit and container are {places}, expected {expected}"] if places != expected else [])


def watching(results, case="spans"):
    """(tier, attach form) that the agent's log names."""
    match = re.search(r"watches this host: tier (\S+) \(([^)]*)\)", text_of(results, case, "log"))
    return (match[1], match[2]) if match else (None, None)


# What a tier does not see, as the agent says it.
BLIND = {"a": ("io_uring: lengths and times without the bytes", "received without recvmsg (splice from a socket, TCP_ZEROCOPY_RECEIVE): nothing"),
         "b": ("io_uring: nothing, a gap in the stream",)}


def start_up_log(results, case="spans"):
    """What the tier cannot see is told at the start."""
    return says(results, case, *BLIND.get(watching(results, case)[0], ("tier",)), "not seen: ")


def odd(results, case, version):
    series = series_of(version)
    if case == "rings":
        rows = {row["variant"] for row in report_of(results, "rings").get("rows", ())}
        absent = {"threads_one_socket", "threads_busy", "time_order"} - rows
        several = re.findall(r"\d+ ring buffers", text_of(results, case, "log"))
        return ([f"the conformance has no row {name}" for name in sorted(absent)] + conformance(results, "rings", version) + one_conversation(results, case, version) +
                [f"its log speaks of {rings}" for rings in several])
    if case == "tracefs_none":
        wanted = ["(raw tracepoint)", "tracefs is not mounted and cannot be"] if series >= (6, 3) else ["(BTF tracepoint)"]
        if series >= (7, 0):
            # There events can be missed, and so spans: that is said, and what is not missed is right.
            missed = re.search(r"program tier_a_\w+: \d+ instructions verified, [1-9]", text_of(results, case, "log"))
            told = says(results, case, *wanted, "this kernel preempts such programs")
            return told + ([] if missed else one_conversation(results, case, version))
        return one_conversation(results, case, version) + says(results, case, *wanted)
    if case == "tracefs_detached":
        wanted = ["an instance of our own"] if series >= (6, 3) else []
        return one_conversation(results, case, version) + says(results, case, *wanted)
    if case == "beside":
        # The second agent sees the first one's health server being asked: that is a request like any other.
        return one_conversation(results, "beside", version, ("busybox", "wget", "zerotap")) + one_conversation(results, "second", version, ("busybox", "wget", "zerotap"))
    if case == "memlock_strict" and series < (5, 11):
        return refuses(results, case, "limit on locked memory", "CAP_SYS_RESOURCE", "LimitMEMLOCK")
    if case == "no_btf":
        return refuses(results, case, "BTF", "mount /sys", "capture.btf", "/boot/vmlinux-")
    if case == "btf_by_option":
        said = text_of(results, case, "doctor")
        told = [] if re.search(r"btf\s+/tmp/kernel\.btf \(capture\.btf\)", said) else [f"the doctor does not name the file:\n{said[:800]}"]
        told += [f"the doctor does not name \"{spot}\":\n{said[:2000]}" for spot in BLIND.get(watching(results, case)[0], ("tier",)) if spot not in said]
        if series >= (5, 11):  # before, the kernel does not tell its own
            told += refuses(results, "btf_other", "/tmp/other.btf", "another kernel")
        return one_conversation(results, case, version) + told + refuses(results, "btf_cut", "/tmp/cut.btf", "no BTF that can be read")
    if case == "lockdown_strict":
        return refuses(results, case, "locked down", "lockdown=integrity")
    if case.startswith("cgroup"):
        return cgroup(results, case, version)
    return one_conversation(results, case, version)


def report_of(results, tier):
    """What the conformance program wrote; nothing if it did not come so far."""
    try:
        return json.loads(text_of(results, "conformance", f"{tier}.json"))
    except ValueError:
        return {}


def tier_of(results):
    """The tier that conformance was run in by itself."""
    return report_of(results, "auto").get("tier")


def recursion_misses(results):
    """Events that the kernel skipped in all of a guest's runs, by program; what transfers are seen by is always there. Not where it
    may skip some, which the agent says (tracefs_none, from 7.0 on): that case is judged by that."""
    misses = {}
    for case in sorted(os.listdir(results)) if os.path.isdir(results) else ():
        log = text_of(results, case, "log")
        if "this kernel preempts such programs" in log:
            continue
        for name, count in re.findall(r"program (\S+): \d+ instructions verified, (\d+) recursion misses", log):
            misses[name] = misses.get(name, 0) + int(count)
    for tier in ("auto", "b"):
        for program in report_of(results, tier).get("programs", ()):
            misses[program["name"]] = misses.get(program["name"], 0) + program["recursion_misses"]
    return {name: count for name, count in misses.items() if count or name.startswith("tier_")}


def conformance_rows(results, tier):
    """How many rows of the conformance program are right; and by name those that are known to be out of sight, that this kernel
    cannot have, with the reason, and that are wrong."""
    report = report_of(results, tier)
    if "rows" not in report:
        return None
    told = {"tier": report["tier"], "ok": sum(row["result"] == "ok" for row in report["rows"]), "blind": {}, "absent": {}, "FAIL": {}}
    for row in report["rows"]:
        if row["result"] != "ok":
            why = "" if row["result"] == "blind" else row["detail"].removesuffix("; ")
            told[row["result"]].setdefault(row["variant"], {"families": [], "why": why})["families"].append(row["family"])
    return told
