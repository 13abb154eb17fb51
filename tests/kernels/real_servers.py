"""Real servers in a guest: this host's own nginx, PostgreSQL and Node, packed with what they load, and the judgement of
what the agent said of them. The judges are nginx's access log, pg_stat_statements and what the clients counted."""

import collections
import glob
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "integration"))
import guest  # noqa: E402
import judge  # noqa: E402
import prepare  # noqa: E402
from harness import CLIENT, ERROR, SERVER  # noqa: E402
from test_postgres import shape  # noqa: E402

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Emulated servers of this size take their time to start.
OPTIONS = {"memory": 2560, "timeout": 540}
# What tests/kernels/guest/real.sh asks for: (method, path): status; twice where two clients do.
FILES = {("GET", f"/files/{number}.bin"): 200 if number <= 12 else 404 for number in range(1, 16)}
ITEMS = {**{("GET", f"/items/{number}"): 200 for number in (*range(101, 121), *range(301, 361))},
         **{("POST", f"/items/{number}"): 200 for number in range(201, 206)}}
NODE_CLIENT = {("GET", f"/items/{number}"): 200 for number in range(301, 361)}
# How often each of its statements was run, and its errors.
SHELLS, TRANSACTIONS = 2, 3 * 2 * 25
SETTINGS = """
listen_addresses = '127.0.0.1'
port = 5433
unix_socket_directories = '/tmp'
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.save = off
dynamic_shared_memory_type = mmap
fsync = off
autovacuum = off
jit = off
timezone = 'GMT'
log_timezone = 'GMT'
"""
# As their package.json and their script are called.
APP, NODE_CLIENT_NAME = "integration-apps", "real_client"
SERVICE_OF = {"shop": APP, "shell": "psql", "bench": "pgbench"}


def programs():
    """Name: path of each real program, None where it is not installed."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[4]))
    found = {name: shutil.which(name, path=PATH) for name in ("nginx", "node", "curl")}
    found["PostgreSQL"] = folders[-1] if folders else None
    return found


def versions():
    """For the record: "nginx 1.22.1, ..."."""
    def first(command, pattern):
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return re.search(pattern, result.stdout.decode())[1]
    found = programs()
    return (f"nginx {first([found['nginx'], '-v'], r'nginx/([0-9.]+)')}, PostgreSQL "
            f"{first([found['PostgreSQL'] + '/postgres', '--version'], r'([0-9][0-9.]+)')}, Node {first([found['node'], '--version'], r'v([0-9.]+)')}")


def initialize(programs_folder, folder):
    """A new cluster, made by this host's initdb, which does not run as root."""
    identity = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(os.path.dirname(folder), user.pw_uid, user.pw_gid)
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": os.path.dirname(folder)}
    subprocess.run([f"{programs_folder}/initdb", "-D", folder, "-A", "trust", "-U", "postgres", "-N", "--locale=C", "-E", "UTF8"], check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **identity)
    # Instead of what initdb writes, which is of this host: the guest has no time zones.
    with open(f"{folder}/postgresql.conf", "w") as file:
        file.write(SETTINGS)


def pack(image):
    """An initramfs that has them besides the usual."""
    prepare.prepare_node()
    found = programs()
    folder = found["PostgreSQL"]
    version = os.path.dirname(folder)
    with tempfile.TemporaryDirectory(prefix="zerotap-cluster.") as root:
        data = os.path.join(root, "data")
        initialize(folder, data)
        files = {"/data": data, "/t/node": prepare.NODE_FOLDER, version.replace("/lib/", "/share/"): version.replace("/lib/", "/share/"),
                 "/t/real.sh": os.path.join(HERE, "guest/real.sh"), "/t/real_client.js": os.path.join(HERE, "guest/real_client.js")}
        if os.path.isdir("/usr/share/nodejs"):  # Debian's own Node has modules of its library there
            files["/usr/share/nodejs"] = "/usr/share/nodejs"
        for name in ("nginx", "node", "curl"):
            files[f"/bin/{name}"] = found[name]
        for name in ("postgres", "psql", "pgbench", "pg_isready"):
            files[f"{folder}/{name}"] = os.path.join(folder, name)
        for path in glob.glob(f"{version}/lib/*.so"):
            if "llvmjit" not in path:
                files[path] = path
        guest.pack(image, files=files)


def judge_all(results, version):
    """(case, what is wrong) for each."""
    folder = os.path.join(results, "real")
    said = judge.text_of(folder, "curl").split(), judge.json_lines(folder, "node_client")
    pids = [int(pid) for pid in judge.text_of(folder, "curl.pids").split()]
    problems = judge.agent_is_well(folder, version)
    spans = judge.spans_of(folder)
    yield "real agent", problems + judge.start_up_log(results, "real")
    yield "real clients", clients_are_done(folder, said, pids)
    if len(pids) != 3 or not said[1][0]:
        return
    yield "real http", http(folder, spans, pids, said[1][0][0]["pid"])
    yield "real sql", sql(folder, spans)
    known = [s for s in spans if (s.is_http or s.is_database) and s.service in {"nginx", "curl", NODE_CLIENT_NAME, "postgresql", *SERVICE_OF.values()}]
    yield "real nothing else", [f"{span}" for span in spans if span not in known]


def clients_are_done(folder, said, pids):
    """What they were told is what was to be: else nothing is proven of the agent."""
    statuses, (node_said, others) = said
    expected = collections.Counter(str(status) for status in FILES.values())
    wanted = collections.Counter({key: 2 * count for key, count in expected.items()})
    wanted.update({"200": 25})
    problems = []
    if collections.Counter(statuses) != wanted or len(pids) != 3:
        problems.append(f"curl was told {collections.Counter(statuses)}, expected {wanted}: {judge.text_of(folder, 'curl.log')}")
    if others or [line["statuses"] for line in node_said] != [{"200": len(NODE_CLIENT)}]:
        problems.append(f"the Node client: {node_said} {others}")
    if judge.text_of(folder, "pgbench").count("number of transactions actually processed: 50/50") != 3:
        problems.append(f"pgbench: {judge.text_of(folder, 'pgbench')}")
    refused = [line for line in judge.text_of(folder, "psql").splitlines() if "ERROR" in line]
    if len(refused) != SHELLS:
        problems.append(f"psql: {judge.text_of(folder, 'psql')[-500:]}")
    return problems


def counted(spans):
    return collections.Counter((s.attributes.get("http.request.method"), s.path, s.http_status) for s in spans)


def difference(what, seen, true, may_lack=0):
    """Nothing, or what is seen and not true and what is true and not seen."""
    return [] if not seen - true and sum((true - seen).values()) <= may_lack else [f"{what}: missing {dict(list((true - seen).items())[:8])}, invented {dict(list((seen - true).items())[:8])}"]


def http(folder, spans, curl_pids, node_client):
    """Each request is one span of its client, one of nginx below it, and behind nginx one each of nginx and Node."""
    lines = [line.split() for line in judge.text_of(folder, "access.log").splitlines()]
    logged = collections.Counter((method, path, int(status)) for status, method, path, _ in lines)
    passed_on = collections.Counter((method, path, int(upstream)) for _, method, path, upstream in lines if upstream != "-")
    asked = collections.Counter({(*key, status): 2 for key, status in FILES.items()})
    asked.update({(*key, status): 1 for key, status in ITEMS.items()})
    problems = difference("the access log", logged, asked)
    of = [s for s in spans if s.is_http]
    front = [s for s in of if s.service == "nginx" and s.kind == SERVER]
    back = [s for s in of if s.service == "nginx" and s.kind == CLIENT]
    app = [s for s in of if s.service == APP and s.kind == SERVER]
    clients = [s for s in of if s.kind == CLIENT and s.service in ("curl", NODE_CLIENT_NAME)]
    for what, seen, true in (("nginx's requests", front, logged), ("requests of nginx", back, passed_on), ("Node's requests", app, passed_on),
                             ("the clients' requests", clients, asked)):
        problems += difference(what, counted(seen), true)
    for pids, service, count in ((curl_pids, "curl", 2 * len(FILES) + len(ITEMS) - len(NODE_CLIENT)), ([node_client], NODE_CLIENT_NAME, len(NODE_CLIENT))):
        found = [s for s in clients if s.pid in pids]
        if len(found) != count or {s.service for s in found} != {service}:
            problems.append(f"{len(found)} requests of {service}, expected {count}")
    problems += paired("nginx below its client", front, clients) + paired("Node below nginx", app, back)
    by_id = {s.span_id: s for s in spans}
    for span in back:
        # Where the cause is not certain none is named; one that is named must be the true one.
        cause = by_id.get(span.parent)
        if span.parent and (cause not in front or cause.path != span.path):
            problems.append(f"{span} is below {cause}")
    return problems


def paired(what, servers, clients):
    """Each server's span is the child of one client's of the same request, and of no other."""
    by_id = {s.span_id: s for s in clients}
    wrong = [s for s in servers if s.parent not in by_id or by_id[s.parent].trace_id != s.trace_id
             or (by_id[s.parent].path, by_id[s.parent].http_status, by_id[s.parent].text, by_id[s.parent].rows) != (s.path, s.http_status, s.text, s.rows)]
    twice = len(servers) - len({s.parent for s in servers})
    return [f"{what}: {len(wrong)} of {len(servers)} have no or a wrong parent, {twice} share theirs: {wrong[:3]}"] if wrong or twice else []


def sql(folder, spans):
    """Statement by statement what PostgreSQL itself counted, on both ends."""
    statements, others = judge.json_lines(folder, "statements")
    if others or not statements:
        return [f"the statements: {others}"]
    problems = []
    of = [s for s in spans if s.is_database]
    servers = [s for s in of if s.kind == SERVER]
    for database, service in SERVICE_OF.items():
        calls, rows = collections.Counter(), collections.Counter()
        for line in statements:
            if line["database"] == database:
                calls[shape(line["query"])] += line["calls"]
                rows[shape(line["query"])] += line["rows"]
        clients = [s for s in of if s.kind == CLIENT and s.service == service]
        good = [s for s in clients if s.status != ERROR]
        errors = [s.attributes.get("db.response.status_code") for s in clients if s.status == ERROR]
        seen, seen_rows = collections.Counter(shape(s.text) for s in good), collections.Counter()
        for span in good:
            seen_rows[shape(span.text)] += span.rows
        # Of the connection that is older than the agent the first batch of messages may be a part of one: no span.
        older = 1 if service == APP else 0
        problems += difference(f"statements of {service}", seen, calls, older)
        problems += difference(f"rows of {service}", +seen_rows, +rows, older)
        expected = {"shop": len(ITEMS), "shell": 5 * SHELLS, "bench": 2 * TRANSACTIONS}[database]
        if sum(calls.values()) != expected:
            problems.append(f"PostgreSQL counted {sum(calls.values())} statements of {service}, expected {expected}")
        if errors != (["42P01"] * SHELLS if database == "shell" else []):
            problems.append(f"errors of {service}: {errors}")
        below = [s for s in servers if s.parent in {c.span_id for c in clients}]
        if not len(clients) - older <= len(below) <= len(clients):
            problems.append(f"{len(below)} spans of PostgreSQL below the {len(clients)} of {service}")
        problems += paired(f"PostgreSQL below {service}", below, clients)
    known = {s.span_id for s in of if s.kind == CLIENT}
    alone = [s for s in servers if s.parent not in known]
    if {s.service for s in servers} != {"postgresql"} or len(alone) > 1 or any(s.attributes.get("db.namespace") for s in alone):
        problems.append(f"{len(servers)} spans of {({s.service for s in servers})}, of {len(of)}, without a parent: {alone}")
    return problems


def numbers(results):
    """For the record: spans that were right."""
    spans = judge.spans_of(os.path.join(results, "real"))
    return {"http": sum(s.is_http for s in spans), "sql": sum(s.is_database for s in spans)}
