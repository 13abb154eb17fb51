"""What the benchmark loads: real programs, each with a load generator that counts for itself.

A workload starts its programs in a workspace of its own; saturate() loads them as much as they take, at_rate() at a fixed rate.
"""

import os
import subprocess
import time

import harness
import loads
import prepare
from servers import Nginx, Postgres

FRACTION_OF_SATURATION = 0.7  # of the slower side: the fixed rate
CONNECTIONS = 32
RECOGNITION_SECONDS = 0.2


class Workload:
    name = title = None
    unit = "req"
    rated = True                      # can be loaded at a fixed rate
    protocol = None                   # of which the agent must have counted each request; None: it must have none
    verdict = "ignore"                # what the agent decides about its connections
    load_programs = ("bench_load",)   # left out of tracing
    warm_up = 0.3                     # seconds
    least_seconds = 0.0               # a load takes at least these, whatever it was asked for

    def __init__(self):
        self.workspace = harness.Workspace(f"bench-{self.name}")
        self.roots = []   # processes whose trees are the application
        self.port = None

    def close(self):
        self.workspace.close()

    def exchange(self, seconds, rate=0, **options):
        return loads.exchange(self.workspace, self.port, seconds, rate, **options)

    def saturate(self, seconds):
        return self.exchange(seconds)

    def at_rate(self, rate, seconds):
        return self.exchange(seconds, rate)

    def attached(self):
        """Called when the watcher is there (or would be), before anything is counted."""

    def begin_count(self):
        """From here on the judge counts."""

    def checks(self, seen, requests):
        """[{what, agent, judge}] for {pid: requests seen} by protocol and the load generator's own count."""
        if self.protocol is None:
            tree = self.tree()
            counted = sum(n for counts in seen.values() for pid, n in counts.items() if pid in tree)
            return [{"what": "requests of a protocol that is not known", "agent": counted, "judge": 0}]
        return [{"what": f"{self.protocol} requests, against the load generator",
                 "agent": self.seen_by_servers(seen), "judge": requests}]

    def seen_by_servers(self, seen):
        tree = self.tree()
        return sum(n for pid, n in seen.get(self.protocol, {}).items() if pid in tree)

    def tree(self):
        return harness.tree_of(self.roots)


class NginxWorkload(Workload):
    protocol, verdict = "http", "heads"
    location = "location / { return 200 ok; }"
    path = "/"
    headers = ""
    connections = CONNECTIONS
    options = {}
    http = ""
    workers = 1

    def __init__(self):
        super().__init__()
        os.mkdir(self.workspace.file("files"), 0o755)
        for name, size in (("1k", 1024), ("1m", 1 << 20)):
            with open(self.workspace.file(f"files/{name}"), "wb") as file:
                file.write(b"x" * size)
            os.chmod(self.workspace.file(f"files/{name}"), 0o644)
        location = self.location.replace("@FILES", self.workspace.file("files"))
        self.nginx = Nginx(self.workspace, f"access_log off; {location}", http=self.http, workers=self.workers,
                           connections=15000)
        self.roots, self.port = [self.nginx.process.pid], self.nginx.port
        self.requests = [loads.request_file(self.workspace, f"GET {self.path} HTTP/1.1\r\nHost: bench\r\n{self.headers}\r\n")]

    def exchange(self, seconds, rate=0, **options):
        return super().exchange(seconds, rate, requests=self.requests, connections=self.connections, **self.options)


class Nginx200(NginxWorkload):
    name, title = "nginx-200", "nginx, return 200"


class Nginx200Wrk(Nginx200):
    """The same by the generator that most know. What it still waits for when its time is over it does not count, so nginx's own counter judges."""
    name, title = "nginx-200-wrk", "nginx, return 200, by wrk"
    location = "location / { return 200 ok; } location = /status { stub_status; }"
    load_programs = ("wrk",)
    rated = False
    least_seconds = 1.0

    def saturate(self, seconds):
        return loads.wrk(self.port, self.workers * self.connections, max(1, round(seconds)), threads=self.workers)

    def begin_count(self):
        self.handled = self._handled()

    def checks(self, seen, requests):
        # The look at the counter is a request itself; the one before the load came before the agent's count.
        return [{"what": "http requests, against nginx's counter", "agent": self.seen_by_servers(seen),
                 "judge": self._handled() - self.handled - 1}]

    def _handled(self):
        return int(harness.http_get(f"http://127.0.0.1:{self.port}/status")[1].split()[9])


class Nginx200Cpus(Nginx200Wrk):
    """As nginx is installed (worker_processes auto), and so is the load: nginx, agent and load share all CPUs, none of which waits for another."""
    name, title = "nginx-200-cpus", "nginx, return 200, a worker for each CPU, by wrk"
    workers = len(os.sched_getaffinity(0))


class Nginx1k(NginxWorkload):
    name, title, path = "nginx-1k", "nginx, file of 1 KiB, sendfile", "/1k"
    location = "location / { root @FILES; sendfile on; }"


class Nginx1m(Nginx1k):
    name, title, path = "nginx-1m", "nginx, file of 1 MiB, sendfile", "/1m"
    connections = 8


class ConnectionPerRequest(NginxWorkload):
    name, title = "nginx-close", "nginx, connection per request"
    headers = "Connection: close\r\n"
    options = {"connection_per_request": True}


class Connections(NginxWorkload):
    """Also what the memory and the start of the agent are measured with."""
    name, title = "connections", "nginx, 10,000 idle and 1,000 busy connections"
    http = "keepalive_timeout 1h; client_header_timeout 1h;"
    connections = 1000
    processes, each = 200, 50

    def __init__(self):
        super().__init__()
        self.idle = self.workspace.start([loads.BENCH_PEER, "idle", self.port, self.processes, self.each, self.requests[0]],
                                         "idle", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._expect(b"ready\n")

    def _expect(self, word):
        line = self.idle.stdout.readline()
        if line != word:
            raise AssertionError(f"the idle connections ended: {harness.tail(self.idle.log_path)}")

    def attached(self):
        """Each of them speaks once, so that it is known what it carries."""
        self.idle.stdin.write(b"\n")
        self.idle.stdin.flush()
        self._expect(b"done\n")


class Redis(Workload):
    protocol = None
    load_programs = ("bench_load", "redis-benchmark")
    pipeline = 1

    def __init__(self):
        super().__init__()
        self.port = harness.free_port()
        self.server = self.workspace.start(["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "",
                                            "--appendonly", "no"], "redis-server", cwd=self.workspace.path)
        harness.wait_for_listener(self.port, self.server)
        self.roots = [self.server.pid]
        loads.redis(self.port, "set", 1, 1)
        self.requests = [loads.request_file(self.workspace, "*2\r\n$3\r\nGET\r\n$16\r\nkey:__rand_int__\r\n")]
        self.per_second = 50000.0

    def saturate(self, seconds):
        """redis-benchmark takes a number of requests: as many as the last time would have filled the time."""
        load = loads.redis(self.port, "get", max(1000, int(self.per_second * seconds)), self.pipeline)
        self.per_second = load["per_second"]
        return load

    def at_rate(self, rate, seconds):
        return self.exchange(seconds, rate, requests=self.requests, connections=CONNECTIONS, response_bytes=len("$3\r\nVXK\r\n"))


class Redis1(Redis):
    name, title = "redis-1", "Redis, GET"


class Redis16(Redis):
    name, title, pipeline, rated = "redis-16", "Redis, GET, pipeline of 16", 16, False


class PostgresWorkload(Workload):
    protocol, verdict = "postgresql", "heads"

    def __init__(self):
        super().__init__()
        self.postgres = Postgres(self.workspace)
        self.roots, self.port = [self.postgres.process.pid], self.postgres.port
        self.postgres.create_database("bench")

    def begin_count(self):
        self.postgres.reset_statistics()

    def checks(self, seen, requests):
        """Each session is a process of its own, and gone by now: all of PostgreSQL counts."""
        ran = sum(calls for text, calls, _ in self.postgres.statistics("bench"))
        return [{"what": "statements, against pg_stat_statements", "agent": sum(seen.get("postgresql", {}).values()),
                 "judge": ran}]


class Pgbench(PostgresWorkload):
    unit = "tx"
    load_programs = ("bench_load", "pgbench")
    least_seconds = 1.0  # pgbench counts whole ones
    mode = None

    def __init__(self):
        super().__init__()
        loads.run_pgbench(self.postgres, ["-i", "-q", "-s", "1"])

    def saturate(self, seconds):
        return loads.pgbench(self.workspace, self.postgres, self.mode, seconds)

    def at_rate(self, rate, seconds):
        return loads.pgbench(self.workspace, self.postgres, self.mode, seconds, rate)


class PgbenchSimple(Pgbench):
    name, title, mode = "pgbench-simple", "pgbench, select only, simple", "simple"


class PgbenchExtended(Pgbench):
    name, title, mode = "pgbench-extended", "pgbench, select only, extended", "extended"


class PgbenchPrepared(Pgbench):
    name, title, mode = "pgbench-prepared", "pgbench, select only, prepared", "prepared"


class ResultSet(PostgresWorkload):
    """A second or more asks for 1 GB, less for as much less."""
    name, title, unit, rated = "postgres-1gb", "PostgreSQL, result set of 1 GB", "MB", False
    warm_up = 0.05

    def saturate(self, seconds):
        rows = int(1_000_000 * min(1.0, seconds))
        return loads.result_set(self.workspace, self.port, "bench", rows, 1000)


class Service(Workload):
    """An HTTP service with PostgreSQL behind: both are the application."""
    protocol, verdict = "http", "heads"
    connections = 16
    warm_up = 2.0

    def __init__(self):
        super().__init__()
        self.postgres = Postgres(self.workspace)
        self.postgres.create_database("bench")
        self.port = harness.free_port()
        self.server = self.workspace.start(self.command(), self.name)
        harness.wait_for_listener(self.port, self.server, 30)
        self.roots = [self.server.pid, self.postgres.process.pid]
        self.requests = [loads.request_file(self.workspace, f"GET /items/{n} HTTP/1.1\r\nHost: bench\r\n\r\n")
                         for n in range(1, 21)]

    def exchange(self, seconds, rate=0, **options):
        return super().exchange(seconds, rate, requests=self.requests, connections=self.connections)

    def attached(self):
        """The connections between service and database are older than the watcher: what they carry shows with what comes next."""
        self.exchange(RECOGNITION_SECONDS)

    def begin_count(self):
        self.postgres.reset_statistics()

    def checks(self, seen, requests):
        tree = self.tree()
        behind = sum(n for pid, n in seen.get("postgresql", {}).items() if pid in tree)
        ran = sum(calls for _, calls, _ in self.postgres.statistics("bench"))
        return [*super().checks(seen, requests),
                {"what": "statements behind it, against pg_stat_statements", "agent": behind, "judge": ran}]


class Node(Service):
    name, title = "node", "Node, Express, PostgreSQL"

    def command(self):
        return ["node", os.path.join(prepare.EXPRESS_FOLDER, "server.js"), self.port, self.postgres.port, "bench"]


class Python(Service):
    name, title = "python", "Python, FastAPI, uvicorn, PostgreSQL"

    def command(self):
        return [harness.PYTHON, os.path.join(harness.APPS, "async_app.py"), self.port, "bench", self.postgres.port]


class Go(Service):
    name, title = "go", "Go, net/http, PostgreSQL"

    def command(self):
        return [prepare.GO_APPS, "server", self.port, self.postgres.dsn("bench")]


class Java(Service):
    name, title = "java", "Java, HttpServer, PostgreSQL"
    warm_up = 6.0  # until the compiler has done its work

    def command(self):
        return ["java", "-Dsun.net.httpserver.nodelay=true", "-cp", f"{prepare.JAVA_CLASSES}:{prepare.JDBC}", "Apps", "server",
                self.port, f"jdbc:postgresql://127.0.0.1:{self.postgres.port}/bench"]


class Echo(Workload):
    size = None
    connections = CONNECTIONS

    def __init__(self):
        super().__init__()
        self.port = harness.free_port()
        self.server = self.workspace.start([loads.BENCH_PEER, "echo", self.port], "echo")
        harness.wait_for_listener(self.port, self.server)
        self.roots = [self.server.pid]
        self.requests = [loads.request_file(self.workspace, "e" * self.size)]

    def exchange(self, seconds, rate=0, **options):
        return super().exchange(seconds, rate, requests=self.requests, connections=self.connections, response_bytes=self.size)


class Echo64(Echo):
    name, title, size = "echo-64", "TCP echo, 64 B", 64


class Echo64k(Echo):
    name, title, size, connections = "echo-64k", "TCP echo, 64 KiB", 65536, 8


class Compile(Workload):
    """A busy program without sockets."""
    name, title, unit, rated = "compile", "compiling, no sockets", "file", False
    warm_up = 0.05

    def __init__(self):
        super().__init__()
        self.source = self.workspace.file("many.cc")
        with open(self.source, "w") as file:
            file.write("\n".join(f"int f{n}(int a, int b) {{ int s = 0; for (int i = a; i < b; ++i) s += i % {n + 2}; return s; }}"
                                 for n in range(60)))

    def saturate(self, seconds):
        count, user, system, began = 0, 0.0, 0.0, time.monotonic()
        while count == 0 or time.monotonic() - began < seconds:
            process = subprocess.Popen(["g++", "-O2", "-c", self.source, "-o", os.devnull], env=harness.clean_environment())
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if status != 0:
                raise AssertionError("g++ failed")
            count, user, system = count + 1, user + used.ru_utime * 1e6, system + used.ru_stime * 1e6
        return {"requests": count, "per_second": count / (time.monotonic() - began), "errors": 0, "user_us": user,
                "system_us": system}


WORKLOADS = {w.name: w for w in (
    Nginx200Cpus, Nginx200Wrk, Nginx200, Nginx1k, Nginx1m, ConnectionPerRequest, Connections, Redis1, Redis16, PgbenchSimple, PgbenchExtended,
    PgbenchPrepared, ResultSet, Node, Python, Go, Java, Echo64, Echo64k, Compile)}
