"""Starts real servers, programs and the agent, and reads back what the agent saw.

Standard library only. Everything that is started here is ended here, by its own process id; nothing else is touched.
Spans are told apart by process id, so other programs of the host that talk meanwhile do not disturb a test.
"""

import atexit
import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
APPS = os.path.join(HERE, "apps")
BUILD = os.environ.get("ZEROTAP_BUILD", os.path.join(ROOT, "build", "release"))
CACHE = os.environ.get("ZEROTAP_TEST_CACHE", os.path.join(ROOT, "build", "integration"))
BINARY = os.environ.get("ZEROTAP_BINARY", os.path.join(BUILD, "zerotap"))
SYSTEM_PYTHON = "/usr/bin/python3"
PYTHON = os.path.join(CACHE, "venv", "bin", "python")  # with the PostgreSQL drivers
TIER = os.environ.get("ZEROTAP_TEST_TIER", "a")
RINGS = os.environ.get("ZEROTAP_TEST_RINGS", "auto")
SHARDS = int(os.environ.get("ZEROTAP_TEST_SHARDS", "0"))

SERVER, CLIENT = 2, 3  # Span.SpanKind of OTLP
ERROR = 2              # Status.StatusCode


# ---------------------------------------------------------------------------------------------- processes

class Workspace:
    """A temporary folder and the processes that run in it; close() ends them all."""

    def __init__(self, name):
        self.path = tempfile.mkdtemp(prefix=f"zerotap-{name}.")
        os.chmod(self.path, 0o755)
        self.processes = []
        self.closed = False
        atexit.register(self.close)  # also when the suite is ended by a signal

    def file(self, name):
        return os.path.join(self.path, name)

    def start(self, command, name=None, env=None, **options):
        """A process in its own group, its output in <name>.log of the workspace."""
        name = name or os.path.basename(str(command[0]))
        log_path = self.file(f"{name}.{len(self.processes)}.log")
        log = open(log_path, "wb")
        environment = clean_environment()
        environment.update(env or {})
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", log)
        options.setdefault("stderr", log)
        process = subprocess.Popen([str(c) for c in command], env=environment, start_new_session=True, **options)
        log.close()
        process.log_path = log_path
        process.label = name
        self.processes.append(process)
        return process

    def stop(self, process, sig=signal.SIGTERM, timeout=10):
        """Ends the process and what it forked; gives its exit status."""
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(sig)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()
        return status

    def close(self, keep=False):
        if self.closed:
            return
        self.closed = True
        atexit.unregister(self.close)
        for process in reversed(self.processes):
            self.stop(process)
        if keep:
            print(f"  kept {self.path}", flush=True)
        else:
            shutil.rmtree(self.path, ignore_errors=True)


def clean_environment():
    """This process's environment without what would steer an OpenTelemetry program."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "ZEROTAP_", "PG"))}
    environment["PYTHONUNBUFFERED"] = "1"
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return environment


def free_port():
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(condition, what, timeout=15.0, interval=0.02):
    """The first true value of condition(); fails with `what` after the timeout."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {timeout:.0f} s: {what}")
        time.sleep(interval)


def wait_for_listener(port, process=None, timeout=20.0):
    """Waits for a TCP listener without connecting to it: a connection would be one more thing that is traced."""
    wanted = f":{port:04X}"

    def listening():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"{process.label} ended with {process.returncode}:\n{tail(process.log_path)}")
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            with contextlib.suppress(FileNotFoundError), open(table) as file:
                for line in file:
                    fields = line.split()
                    if fields[3] == "0A" and fields[1].endswith(wanted):
                        return True
        return False
    wait_until(listening, f"no listener on port {port}", timeout)


def tail(path, lines=30):
    with contextlib.suppress(OSError), open(path, errors="replace") as file:
        return "".join(file.readlines()[-lines:])
    return ""


def stat_of(pid):
    """The fields of /proc/PID/stat behind the command's name: the state first, then the parent."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def _children():
    """{process: its children}, by who each names as its parent: /proc/PID/task/TID/children leaves some out when another ends
    meanwhile (proc(5))."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                found.setdefault(int(stat_of(name)[1]), []).append(int(name))
    return found


def children_of(pid):
    return sorted(_children().get(pid, []))


def tree_of(roots):
    """These processes and all that they forked, at one look."""
    children, found, queue = _children(), set(), list(roots)
    while queue:
        pid = queue.pop()
        found.add(pid)
        queue += children.get(pid, [])
    return found


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


def rss_anon_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"RssAnon:\s+(\d+)", file.read()).group(1))


# ---------------------------------------------------------------------------------------------- telemetry

def value_of(any_value):
    """An OTLP AnyValue in JSON as a Python value."""
    if "stringValue" in any_value:
        return any_value["stringValue"]
    if "intValue" in any_value:
        return int(any_value["intValue"])
    if "doubleValue" in any_value:
        return float(any_value["doubleValue"])
    if "boolValue" in any_value:
        return bool(any_value["boolValue"])
    if "arrayValue" in any_value:
        return [value_of(v) for v in any_value["arrayValue"].get("values", [])]
    return None


def attributes_of(node):
    return {a["key"]: value_of(a["value"]) for a in node.get("attributes", [])}


@dataclasses.dataclass
class Span:
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent: str
    start: int
    end: int
    status: int
    flags: int
    trace_state: str
    attributes: dict
    keys: list
    resource: dict
    raw: str

    @property
    def pid(self):
        return self.resource.get("process.pid")

    @property
    def service(self):
        return self.resource.get("service.name")

    @property
    def seconds(self):
        return (self.end - self.start) / 1e9

    @property
    def is_http(self):
        return "http.request.method" in self.attributes

    @property
    def is_database(self):
        return "db.system.name" in self.attributes

    @property
    def http_status(self):
        return self.attributes.get("http.response.status_code")

    @property
    def path(self):
        """url.path of a server span, the path of url.full of a client span."""
        if "url.path" in self.attributes:
            return self.attributes["url.path"]
        full = self.attributes.get("url.full", "")
        rest = full.split("://", 1)[-1]
        return "/" + rest.split("/", 1)[1].split("?", 1)[0] if "/" in rest else "/"

    @property
    def text(self):
        return self.attributes.get("db.query.text", "")

    @property
    def rows(self):
        return self.attributes.get("db.response.returned_rows", self.attributes.get("zerotap.db.affected_rows", 0))

    def __repr__(self):
        kind = {SERVER: "SERVER", CLIENT: "CLIENT"}.get(self.kind, self.kind)
        return (f"<{kind} {self.name!r} {self.service}[{self.pid}] id={self.span_id} parent={self.parent or '-'} "
                f"trace={self.trace_id[:8]} status={self.status} {self.attributes}>")


def read_spans(lines):
    """Spans of OTLP JSON lines."""
    spans = []
    for line in lines:
        for resource_spans in json.loads(line).get("resourceSpans", []):
            resource = attributes_of(resource_spans.get("resource", {}))
            for scope in resource_spans.get("scopeSpans", []):
                for s in scope.get("spans", []):
                    spans.append(Span(
                        s["name"], s["kind"], s["traceId"], s["spanId"], s.get("parentSpanId", ""),
                        int(s["startTimeUnixNano"]), int(s["endTimeUnixNano"]), s.get("status", {}).get("code", 0),
                        s.get("flags", 0), s.get("traceState", ""), attributes_of(s),
                        [a["key"] for a in s.get("attributes", [])], resource, json.dumps(s, sort_keys=True)))
    return spans


def read_metrics(lines):
    """(resource attributes, metric) pairs of OTLP JSON lines, oldest first."""
    for line in lines:
        for resource_metrics in json.loads(line).get("resourceMetrics", []):
            resource = attributes_of(resource_metrics.get("resource", {}))
            for scope in resource_metrics.get("scopeMetrics", []):
                for metric in scope.get("metrics", []):
                    yield resource, metric


def merge(base, extra):
    """`base` with the keys of `extra` put over it, nested dictionaries key by key."""
    result = dict(base)
    for key, value in (extra or {}).items():
        result[key] = merge(result[key], value) if isinstance(value, dict) and isinstance(result.get(key), dict) else value
    return result


class Agent:
    """One run of `zerotap run`, exporting OTLP JSON lines to a file."""

    def __init__(self, workspace, config=None, tier=None, arguments=(), env=None, wait=True):
        self.workspace = workspace
        self.health_port = free_port()
        self.number = len(workspace.processes)
        self.output = workspace.file(f"telemetry.{self.number}.jsonl")
        self.config_path = workspace.file(f"zerotap.{self.number}.yaml")
        settings = merge({
            "capture": {"tier": tier or TIER, "rings": RINGS},
            "pipeline": {"shards": SHARDS},
            "export": {"traces": ["file"], "metrics": ["file"], "flush_interval": "100ms", "file": {"path": self.output}},
            "metrics": {"interval": "500ms"},
            "health": {"address": f"127.0.0.1:{self.health_port}"},
            "harm_budget": "off",  # tests count requests to the unit however busy a server is
        }, config)
        with open(self.config_path, "w") as file:
            json.dump(settings, file, indent=1)  # JSON is YAML
        self._offset, self._lines, self._spans = 0, [], []
        self.process = workspace.start([BINARY, "run", "--config", self.config_path, *arguments], "zerotap", env=env)
        if wait:
            self.wait_ready()

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return tail(self.process.log_path, 200)

    def get(self, path, timeout=5):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}{path}", timeout=timeout) as answer:
            return answer.read().decode()

    def wait_ready(self, timeout=20):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"the agent ended with {self.process.returncode}:\n{self.log()}")
            try:
                return self.get("/readyz") is not None
            except (urllib.error.URLError, OSError):
                return False
        wait_until(ready, "the agent is not ready:\n" + self.log(), timeout, 0.05)

    def _read(self):
        """Takes in the whole lines that the file has grown by."""
        with contextlib.suppress(FileNotFoundError), open(self.output, "rb") as file:
            file.seek(self._offset)
            data = file.read()
            end = data.rfind(b"\n") + 1
            self._offset += end
            lines = [line for line in data[:end].split(b"\n") if line]
            self._lines += lines
            self._spans += read_spans(lines)

    def spans(self, where=lambda span: True):
        self._read()
        return [s for s in self._spans if where(s)]

    def metrics(self):
        self._read()
        return list(read_metrics(self._lines))

    def expect(self, where, count, timeout=5.0, settle=0.5):
        """Waits for `count` spans, then a little longer for one too many; fails unless there are exactly `count`."""
        deadline = time.monotonic() + timeout
        while len(self.spans(where)) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(settle)
        found = self.spans(where)
        if len(found) != count:
            some = "\n  ".join(repr(s) for s in found[:40])
            raise AssertionError(f"expected {count} spans, got {len(found)}:\n  {some}\nledger: {self.ledger_text()}\n"
                                 f"{self.log()}")
        return found

    def ledger_text(self):
        try:
            return self.get("/ledger")[:6000]
        except (urllib.error.URLError, OSError) as error:
            return f"(no ledger: {error})"

    def ledger(self, pids=None):
        """Rows of /ledger, of these processes only when given; every row is checked for balance."""
        rows = json.loads(self.get("/ledger"))["rows"]
        for row in rows:
            dropped = sum(row["dropped"].values())
            balance = row["emitted"] + row["filtered"] + row["sampled_out"] + dropped + row["in_flight"]
            if row["seen"] != balance:
                raise AssertionError(f"the ledger does not balance: {row}")
        return [r for r in rows if pids is None or r["pid"] in pids]

    def ledger_sum(self, pids, protocol, role):
        total = {"seen": 0, "emitted": 0, "filtered": 0, "sampled_out": 0, "in_flight": 0, "dropped": 0}
        for row in self.ledger(pids):
            if row["protocol"] == protocol and row["role"] == role:
                for key in total:
                    total[key] += sum(row[key].values()) if key == "dropped" else row[key]
        return total

    def stop(self, sig=signal.SIGTERM, timeout=20):
        status = self.workspace.stop(self.process, sig, timeout)
        self._read()
        return status


# ---------------------------------------------------------------------------------------------- test base

class Case(unittest.TestCase):
    """A test class with one workspace; servers and agents started through it end with it."""
    keep = False
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.workspace = Workspace(cls.__name__)

    @classmethod
    def tearDownClass(cls):
        cls.workspace.close(keep=Case.keep)

    @classmethod
    def start_app(cls, name, *arguments, python=SYSTEM_PYTHON, env=None, port=True):
        """apps/<name>.py with a free port as its first argument; gives (process, port)."""
        number = free_port() if port else None
        command = [python, os.path.join(APPS, name), *([number] if port else []), *arguments]
        process = cls.workspace.start(command, name, env=env)
        if port:
            wait_for_listener(number, process)
        return process, number

    def assert_child(self, child, parent):
        """`child` is the other end's span of the very same exchange."""
        self.assertEqual(child.trace_id, parent.trace_id, f"\n{child}\n{parent}")
        self.assertEqual(child.parent, parent.span_id, f"\n{child}\n{parent}")

    def expect_pairs(self, agent, pid, count):
        """So many client spans of a process, each with the server span of the other end; gives both."""
        clients = agent.expect(lambda s: s.pid == pid and s.kind == CLIENT, count)
        ids = {s.span_id for s in clients}
        servers = agent.expect(lambda s: s.kind == SERVER and s.parent in ids, count, settle=0)
        self.assert_pairs(servers, clients)
        return clients, servers

    def assert_pairs(self, servers, clients):
        """Every server span is the child of exactly one client span and the other way round; gives the pairs."""
        by_id = {c.span_id: c for c in clients}
        self.assertEqual(len(by_id), len(clients), "span ids are not unique")
        pairs = []
        for server in servers:
            self.assertIn(server.parent, by_id, f"no client span is the parent of {server}")
            client = by_id.pop(server.parent)
            self.assert_child(server, client)
            pairs.append((client, server))
        self.assertFalse(by_id, f"client spans without a server span: {list(by_id.values())[:5]}")
        return pairs


def http_get(url, headers=None, timeout=10):
    request = urllib.request.Request(url, headers=headers or {})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return answer.status, answer.read()


def run(command, **options):
    """Runs a program to its end; fails with its output unless it succeeds."""
    options.setdefault("timeout", 120)
    environment = clean_environment()
    environment.update(options.pop("env", {}))
    result = subprocess.run([str(c) for c in command], env=environment, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if result.returncode != 0:
        raise AssertionError(f"{command} ended with {result.returncode}:\n{result.stdout.decode(errors='replace')}\n"
                             f"{result.stderr.decode(errors='replace')}")
    return result.stdout.decode()


class Client:
    """Drives apps/tcp_client.py, a process of its own, one operation at a time."""

    def __init__(self, workspace):
        self.process = workspace.start([SYSTEM_PYTHON, os.path.join(APPS, "tcp_client.py")], "tcp_client",
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @property
    def pid(self):
        return self.process.pid

    def _call(self, *operation):
        self.process.stdin.write((json.dumps(operation) + "\n").encode())
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise AssertionError(f"{operation[0]}: {answer['error']}")
        return answer["ok"]

    def __getattr__(self, name):
        return lambda *arguments: self._call(name, *arguments)

    def exchange(self, connection, method, target, headers="", body="", send_by="send", receive_by="recv"):
        """One request and its response; gives [[statuses], body length]."""
        self.send(connection, f"{method} {target} HTTP/1.1\r\nHost: example.test\r\n{headers}\r\n{body}", send_by)
        return self.receive(connection, method, receive_by)
