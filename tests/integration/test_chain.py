"""Requests through several real programs: one span per hop, each the child of the hop before wherever that is certain."""

import collections
import os
import unittest

import harness
import prepare
from harness import APPS, CLIENT, ERROR, PYTHON, SERVER, SYSTEM_PYTHON, Agent, Case, Client, free_port, run, wait_for_listener
from servers import Nginx, Postgres

REQUESTS = int(os.environ.get("ZEROTAP_TEST_REQUESTS", "3000"))


class ChainCase(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.postgres = Postgres(cls.workspace)
        cls.postgres.create_database("chain")

    @classmethod
    def load(cls, port, path, count, connections=16):
        process = cls.workspace.start([SYSTEM_PYTHON, os.path.join(APPS, "load.py"), "127.0.0.1", port, path, count,
                                       connections], "load")
        if process.wait(120) != 0:
            raise AssertionError(open(process.log_path).read())
        return process

    def calls(self, text):
        return sum(calls for query, calls, _ in self.postgres.statistics("chain") if text in query)

    def assert_ledger(self, agent, pids, protocol, role, count):
        total = agent.ledger_sum(pids, protocol, role)
        self.assertEqual((total["seen"], total["emitted"], total["dropped"], total["in_flight"]), (count, count, 0, 0))

    def queries(self, agent, database_clients, count):
        """The queries of the application's process, each with its server span."""
        spans = agent.expect(lambda s: s.pid in database_clients and s.kind == CLIENT and s.is_database
                             and s.name == "SELECT items", count, settle=0)
        ids = {s.span_id for s in spans}
        servers = agent.expect(lambda s: s.kind == SERVER and s.is_database and s.parent in ids, count, settle=0)
        self.assert_pairs(servers, spans)
        return spans


class Node(ChainCase):
    def test_nginx_node_postgres(self):
        self.nginx_node_postgres()

    def test_nginx_node_postgres_in_shards(self):
        for shards in (2, 4):
            with self.subTest(f"{shards} shards"):
                self.nginx_node_postgres({"pipeline": {"shards": shards}})

    def nginx_node_postgres(self, settings=None):
        port = free_port()
        node = self.workspace.start(prepare.node("server.js", port, "127.0.0.1", self.postgres.port, "chain"), "node")
        wait_for_listener(port, node)
        nginx = Nginx(self.workspace, f"""location / {{ proxy_pass http://127.0.0.1:{port}; }}""", workers=2)
        kept = Nginx(self.workspace, """location / { proxy_pass http://app; proxy_http_version 1.1;
                                                     proxy_set_header Connection ""; }""",
                     f"upstream app {{ server 127.0.0.1:{port}; keepalive 16; }}", workers=2)
        agent = Agent(self.workspace, settings)
        for proxy in (kept, nginx):
            # A connection an upstream request costs ports: the one without keep-alive gets fewer.
            count = REQUESTS if proxy is kept else min(REQUESTS, 3000)
            with self.subTest("keep-alive" if proxy is kept else "a connection a request"):
                self.postgres.reset_statistics()
                before = len(agent.spans(lambda s: s.pid == node.pid and s.kind == SERVER))
                before_queries = len(agent.spans(lambda s: s.pid == node.pid and s.name == "SELECT items"))
                load = self.load(proxy.port, "/items/7", count)
                self.assertEqual(len(proxy.logged()), count)
                self.assertEqual(self.calls("FROM items WHERE id"), count)
                pids = set(proxy.pids)
                clients = agent.expect(lambda s: s.pid == load.pid, count, 60)
                front = agent.expect(lambda s: s.pid in pids and s.kind == SERVER, count, settle=0)
                back = agent.expect(lambda s: s.pid in pids and s.kind == CLIENT, count, settle=0)
                app = agent.expect(lambda s: s.pid == node.pid and s.kind == SERVER, before + count, settle=0)[before:]
                self.assert_pairs(front, clients)
                self.assert_pairs(app, back)
                # nginx and Node serve many requests on one thread: what caused a call is not certain, so no parent is named.
                self.assertEqual({s.parent for s in back}, {""})
                queries = self.queries(agent, {node.pid}, before_queries + count)
                self.assertEqual({s.parent for s in queries}, {""})
                self.assertEqual({s.name for s in front + app}, {"GET /items/{id}"})
                self.assertEqual({s.service for s in front}, {"nginx"})
                self.assert_ledger(agent, {load.pid}, "http", "client", count)
                self.assert_ledger(agent, pids, "http", "server", count)
                self.assert_ledger(agent, pids, "http", "client", count)
        if settings:
            metrics = dict(line.rsplit(" ", 1) for line in agent.get("/metrics").splitlines() if not line.startswith("#"))
            self.assertEqual(int(metrics["zerotap_pipeline_shards"]), settings["pipeline"]["shards"])
            self.assertGreater(int(metrics["zerotap_pipeline_shared_records_total"]), 0)
        agent.stop()

    def test_wrk_against_what_nginx_logged(self):
        nginx = Nginx(self.workspace, "location / { return 200 ok; }", workers=1)
        agent = Agent(self.workspace, {"targets": {"exclude": [{"executable": "*/wrk"}]}})
        output = run(["wrk", "-t1", "-c8", "-d2s", f"http://127.0.0.1:{nginx.port}/"])
        self.assertIn("requests in", output)
        count = len(nginx.logged())
        self.assertGreater(count, 1000)
        agent.expect(lambda s: s.pid in nginx.pids, count, 60)
        self.assertEqual(agent.spans(lambda s: s.service == "wrk"), [])
        self.assert_ledger(agent, set(nginx.pids), "http", "server", count)
        agent.stop()


class Threads(ChainCase):
    """One blocking thread a request: what it asks for meanwhile belongs to that request."""

    def test_queries_are_children_of_the_request(self):
        self.queries_are_children_of_the_request()

    def test_queries_are_children_of_the_request_in_two_shards(self):
        self.queries_are_children_of_the_request({"pipeline": {"shards": 2}})

    def queries_are_children_of_the_request(self, settings=None):
        app, port = self.start_app("threaded_app.py", self.postgres.dsn("chain"), python=PYTHON)
        agent = Agent(self.workspace, settings)
        self.postgres.reset_statistics()
        load = self.load(port, "/orders/7", 400, 8)
        clients = agent.expect(lambda s: s.pid == load.pid, 400)
        servers = agent.expect(lambda s: s.pid == app.pid and s.kind == SERVER, 400, settle=0)
        self.assert_pairs(servers, clients)
        queries = agent.expect(lambda s: s.pid == app.pid and s.is_database and s.kind == CLIENT
                               and s.name in ("SELECT items", "INSERT log"), 800, settle=0)
        self.assertEqual(self.calls("INSERT INTO log"), 400)
        by_id = {s.span_id: s for s in servers}
        children = collections.defaultdict(list)
        for query in queries:
            self.assertIn(query.parent, by_id, query)
            parent = by_id[query.parent]
            self.assertEqual(query.trace_id, parent.trace_id)
            self.assertLessEqual(parent.start, query.start)
            self.assertLessEqual(query.end, parent.end)
            self.assertEqual(query.flags & 0x300, 0x100)  # the parent is in the same process
            children[query.parent].append(query.name)
        self.assertEqual({tuple(sorted(c)) for c in children.values()}, {("INSERT log", "SELECT items")})
        backends = agent.expect(lambda s: s.kind == SERVER and s.is_database and s.parent in {q.span_id for q in queries},
                                800, settle=0)
        self.assert_pairs(backends, queries)
        agent.stop()

    def test_http_to_http(self):
        last, last_port = self.start_app("threaded_app.py", "unused", python=PYTHON)
        middle, middle_port = self.start_app("threaded_app.py", "unused", f"127.0.0.1:{last_port}", python=PYTHON)
        first, first_port = self.start_app("threaded_app.py", "unused", f"127.0.0.1:{middle_port}", python=PYTHON)
        agent = Agent(self.workspace)
        load = self.load(first_port, "/relay", 200, 4)
        clients = agent.expect(lambda s: s.pid == load.pid, 200)
        first_servers = agent.expect(lambda s: s.pid == first.pid and s.kind == SERVER, 200, settle=0)
        first_clients = agent.expect(lambda s: s.pid == first.pid and s.kind == CLIENT, 200, settle=0)
        middle_servers = agent.expect(lambda s: s.pid == middle.pid and s.kind == SERVER, 200, settle=0)
        self.assert_pairs(first_servers, clients)
        self.assert_pairs(middle_servers, first_clients)
        by_id = {s.span_id: s for s in first_servers}
        for span in first_clients:
            self.assert_child(span, by_id.pop(span.parent))
        # One trace a request, three programs deep (the second hop answers /plain itself).
        for span in middle_servers:
            trace = [s for s in clients + first_servers + first_clients + middle_servers if s.trace_id == span.trace_id]
            self.assertEqual(len(trace), 4)
        agent.stop()


class Rings(Threads):
    """The same with more ring buffers than two CPUs have by themselves."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addClassCleanup(setattr, harness, "RINGS", harness.RINGS)
        harness.RINGS = "4"


class Uncertain(ChainCase):
    """Where many requests share a thread no parent is better than a wrong one."""

    def check(self, process, port, load_path, count, queries):
        agent = Agent(self.workspace)
        load = self.load(port, load_path, count, 16)
        clients = agent.expect(lambda s: s.pid == load.pid, count, 20)
        servers = agent.expect(lambda s: s.pid == process.pid and s.kind == SERVER, count, settle=0)
        self.assert_pairs(servers, clients)
        found = self.queries(agent, {process.pid}, queries)
        agent.stop()
        return servers, found

    def test_asyncio(self):
        app, port = self.start_app("async_app.py", "chain", self.postgres.port, python=PYTHON)
        _, queries = self.check(app, port, "/items/3", 300, 300)
        self.assertEqual({q.parent for q in queries}, {""})

    def test_go(self):
        port = free_port()
        app = self.workspace.start([prepare.GO_APPS, "server", port, self.postgres.dsn("chain")], "go-apps")
        wait_for_listener(port, app)
        servers, queries = self.check(app, port, "/items/3", 300, 300)
        self.assertEqual({q.parent for q in queries}, {""})
        self.assertEqual({s.service for s in servers}, {"apps"})  # of the module path in the binary

    def test_java(self):
        port = free_port()
        url = f"jdbc:postgresql://127.0.0.1:{self.postgres.port}/chain"
        app = self.workspace.start(prepare.java("server", port, url), "java")
        wait_for_listener(port, app)
        servers, queries = self.check(app, port, "/items/3", 300, 300)
        by_id = {s.span_id: s for s in servers}
        for query in queries:  # a pool of threads: a parent may be named, and then it must be the right one
            if query.parent:
                parent = by_id[query.parent]
                self.assertTrue(parent.start <= query.start and query.end <= parent.end, f"{query}\n{parent}")

    def test_go_client(self):
        server, port = self.start_app("http_server.py")
        agent = Agent(self.workspace)
        client = self.workspace.start([prepare.GO_APPS, "get", f"http://127.0.0.1:{port}/ok", 50], "go-apps")
        self.assertEqual(client.wait(20), 0)
        clients = agent.expect(lambda s: s.pid == client.pid, 50)
        servers = agent.expect(lambda s: s.pid == server.pid, 50, settle=0)
        self.assert_pairs(servers, clients)
        agent.stop()


if __name__ == "__main__":
    prepare.prepare()
    unittest.main()
