"""Every PostgreSQL driver against a real server. The judge is the server itself: pg_stat_statements counts what ran, and
the spans of both sides must say the same, statement by statement, call by call, row by row."""

import collections
import os
import re
import signal
import unittest

import prepare
from harness import APPS, CLIENT, ERROR, PYTHON, SERVER, SYSTEM_PYTHON, Agent, Case, tail, wait_until
from servers import Postgres

CANARY = "literal-canary-4711"
TRANSACTION_WORDS = ("begin", "start transaction", "commit", "rollback", "savepoint", "release", "end", "abort")


def shape(text):
    """A statement without what the two normalizers write differently: literals, parameters, white space, lists."""
    text = re.sub(r"\$(\w*)\$.*?\$\1\$", "?", text, flags=re.DOTALL)
    text = re.sub(r"\$\d+", "?", text)
    text = re.sub(r"'(?:[^']|'')*'|\b\d+\b", "?", text)
    text = re.sub(r"\s+", " ", text).strip().rstrip(";").strip()
    text = re.sub(r"\s*([(),])\s*", r"\1", text).lower()
    return re.sub(r"(\([?,]+\))(,\1)+", r"\1", text)


class PostgresCase(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.postgres = Postgres(cls.workspace)
        cls.agent = Agent(cls.workspace)

    def run_client(self, name, command, database=None):
        """Runs a program to its end in a database of its own; gives (its pid, its database)."""
        database = database or f"of_{re.sub('[^a-z0-9]', '_', name)}"
        self.postgres.create_database(database)
        self.postgres.reset_statistics()
        process = self.workspace.start([str(c).replace("@DB", database) for c in command], name)
        wait_until(lambda: process.poll() is not None, f"{name} does not end", 60)
        with open(process.log_path) as file:
            self.assertEqual(process.returncode, 0, file.read())
        return process.pid, database

    def compare(self, pid, database, timeout=10, resumed=None):
        """Client spans, server spans and the server's own statistics agree; gives the client spans. `resumed` are statements
        whose portal was suspended and resumed, {text: how often it was executed}: one span an Execute, where the server counts
        one call and the rows of the last part."""
        ran = [(shape(text), calls, rows) for text, calls, rows in self.postgres.statistics(database)
               if "pg_stat_statements" not in text]
        calls, rows = collections.Counter(), collections.Counter()
        for text, count, row_count in ran:
            calls[text] += count
            rows[text] += row_count
        self.assertTrue(calls, "the server counted nothing")
        resumed = resumed or {}
        self.assertLessEqual(set(resumed), set(calls))
        calls.update({text: executions - 1 for text, executions in resumed.items()})
        of_client = lambda s: s.pid == pid and s.is_database and s.kind == CLIENT  # noqa: E731
        good = lambda s: s.status != ERROR  # noqa: E731
        clients = self.agent.expect(lambda s: of_client(s) and good(s), sum(calls.values()), timeout)
        seen_calls, seen_rows = collections.Counter(), collections.Counter()
        for span in clients:
            seen_calls[shape(span.text)] += 1
            seen_rows[shape(span.text)] += span.rows
        self.assertEqual(seen_calls, calls)
        for text in calls:
            if not text.startswith(TRANSACTION_WORDS) and text not in resumed:
                self.assertEqual(seen_rows[text], rows[text], f"rows of {text!r}")
        everything = self.agent.spans(of_client)
        servers = self.agent.expect(lambda s: s.kind == SERVER and s.is_database and s.attributes.get("db.namespace") == database
                                    and s.parent in {c.span_id for c in everything}, len(everything), settle=0)
        for client, server in self.assert_pairs(servers, everything):
            self.assertEqual((server.text, server.rows, server.status), (client.text, client.rows, client.status))
        self.assertEqual({s.service for s in servers}, {"postgresql"})
        for span in everything:
            self.assertEqual(span.attributes["db.system.name"], "postgresql")
            self.assertEqual(span.attributes["db.system"], "postgresql")
            self.assertEqual(span.attributes["db.namespace"], database)
            self.assertEqual(span.attributes["db.name"], database)
            self.assertNotIn(CANARY, span.raw)
            self.assertGreaterEqual(span.end, span.start)
        return everything

    def parts(self, spans):
        """Rows of each part of the statement that is fetched in parts."""
        return [s.rows for s in sorted(spans, key=lambda s: s.start) if s.text == "SELECT id FROM items"]

    def errors(self, spans):
        return sorted(s.attributes["db.response.status_code"] for s in spans if s.status == ERROR)


class Drivers(PostgresCase):
    def python_driver(self, driver, resumed=None):
        pid, database = self.run_client(driver, [PYTHON, f"{APPS}/python_driver.py", driver, "127.0.0.1",
                                                 self.postgres.port, "@DB"])
        return self.compare(pid, database, resumed=resumed)

    def test_psycopg2(self):
        spans = self.python_driver("psycopg2")
        self.assertEqual(self.errors(spans), ["42P01"])
        self.assertEqual(len([s for s in spans if s.name == "SELECT items" and s.text.startswith("SELECT id, name")]), 5)
        updated, = [s for s in spans if s.name == "UPDATE items"]
        begin = [s for s in spans if s.attributes.get("zerotap.db.transaction.id") ==
                 updated.attributes["zerotap.db.transaction.id"]]
        self.assertIn("UPDATE items", [s.name for s in begin])

    def test_psycopg3(self):
        spans = self.python_driver("psycopg3")
        self.assertIn("42P01", self.errors(spans))
        self.assertFalse([s for s in spans if "skipped" in s.text and s.status != ERROR])

    def test_asyncpg(self):
        spans = self.python_driver("asyncpg", {"select id from items": 4})
        self.assertEqual(self.errors(spans), ["42P01"])
        self.assertEqual(self.parts(spans), [30, 30, 30, 10])

    def test_pg8000(self):
        self.assertEqual(self.errors(self.python_driver("pg8000")), ["42P01"])

    def test_node_postgres(self):
        pid, database = self.run_client("node-postgres", prepare.node("driver.js", "127.0.0.1", self.postgres.port, "@DB"))
        spans = self.compare(pid, database)
        self.assertEqual(self.errors(spans), ["42P01", "42P01"])
        self.assertEqual(len([s for s in spans if s.text == "SELECT name FROM items WHERE price > $1"]), 4)

    def go_driver(self, driver):
        pid, database = self.run_client(driver, [prepare.GO_APPS, "driver", driver, self.postgres.dsn("@DB")])
        return self.compare(pid, database)

    def test_pgx(self):
        self.assertEqual(self.errors(self.go_driver("pgx")), ["42P01"])

    def test_lib_pq(self):
        self.assertEqual(self.errors(self.go_driver("pq")), ["42P01"])

    def test_pgjdbc(self):
        url = f"jdbc:postgresql://127.0.0.1:{self.postgres.port}/@DB"
        pid, database = self.run_client("pgjdbc", prepare.java("driver", url))
        spans = self.compare(pid, database, resumed={"select id from items": 4})
        self.assertEqual(self.errors(spans), ["42P01"])
        self.assertEqual(self.parts(spans), [30, 30, 30, 10])


class Programs(PostgresCase):
    def psql(self, sql, *options, host="127.0.0.1", name="psql"):
        pid, database = self.run_client(name, [f"{self.postgres.programs}/psql", "-X", "-q", "-h", host, "-p",
                                               self.postgres.port, "-U", "postgres", "-d", "@DB", *options, "-c", sql])
        return self.compare(pid, database)

    def test_psql_over_tcp(self):
        spans = self.psql("SELECT name FROM items WHERE price = 7; INSERT INTO log VALUES ('a', 'b'), ('c', 'd'); "
                          "UPDATE items SET price = 0 WHERE id > 90; DELETE FROM log", name="psql")
        self.assertEqual([(s.name, s.text, s.rows) for s in sorted(spans, key=lambda s: s.end)], [
            ("SELECT items", "SELECT name FROM items WHERE price = ?", 1),
            ("INSERT log", "INSERT INTO log VALUES (?, ?)", 2),
            ("UPDATE items", "UPDATE items SET price = ? WHERE id > ?", 10),
            ("DELETE log", "DELETE FROM log", 2)])
        self.assertEqual({s.attributes["zerotap.db.application_name"] for s in spans}, {"psql"})
        self.assertEqual({s.service for s in spans}, {"psql"})

    def test_psql_over_a_unix_socket(self):
        spans = self.psql("SELECT count(*) FROM items", host=self.postgres.socket_folder, name="psql_unix")
        self.assertEqual([(s.name, s.rows) for s in spans], [("SELECT items", 1)])

    def test_a_large_result_costs_no_span_more(self):
        spans = self.psql("SELECT repeat('x', 1000) FROM generate_series(1, 100000)", "-o", "/dev/null", name="large")
        self.assertEqual([s.rows for s in spans], [100000])

    def test_a_cancelled_statement(self):
        """The connection that asks for the end of another's statement has no statement of its own."""
        self.postgres.create_database("cancelled")
        client = self.workspace.start([f"{self.postgres.programs}/psql", "-X", "-h", "127.0.0.1", "-p", self.postgres.port, "-U",
                                       "postgres", "-d", "cancelled", "-c", f"SELECT pg_sleep(60), '{CANARY}'"], "psql")
        wait_until(lambda: self.postgres.query("SELECT 1 FROM pg_stat_activity WHERE datname = 'cancelled' AND "
                                               "wait_event = 'PgSleep'"), "the statement does not run")
        client.send_signal(signal.SIGINT)
        self.assertNotEqual(client.wait(10), 0)
        span, = self.agent.expect(lambda s: s.pid == client.pid, 1)
        server, = self.agent.expect(lambda s: s.parent == span.span_id, 1, settle=0)
        self.assert_pairs([server], [span])
        self.assertEqual(self.errors([span, server]), ["57014", "57014"])
        self.assertEqual(span.text, "SELECT pg_sleep(?), ?")

    def test_function_calls(self):
        """Large objects: libpq calls the server's functions, one message each, in a message of their own kind."""
        self.postgres.create_database("functions")
        program = self.workspace.file("functions.py")
        with open(program, "w") as file:
            file.write(f"""
import ctypes
pq = ctypes.CDLL("libpq.so.5")
pq.PQconnectdb.restype = pq.PQexec.restype = ctypes.c_void_p
connection = ctypes.c_void_p(pq.PQconnectdb(b"{self.postgres.dsn('functions')}"))
pq.PQexec(connection, b"BEGIN")
large = pq.lo_creat(connection, 0x60000)
handle = pq.lo_open(connection, large, 0x60000)
assert pq.lo_write(connection, handle, b"{CANARY}" * 4000, {len(CANARY)} * 4000) == {len(CANARY)} * 4000
assert pq.lo_lseek(connection, handle, 0, 0) == 0
assert pq.lo_read(connection, handle, ctypes.create_string_buffer(100000), 100000) == {len(CANARY)} * 4000
assert pq.lo_close(connection, handle) == 0
assert pq.lo_unlink(connection, large) == 1
pq.PQexec(connection, b"COMMIT")
""")
        client = self.workspace.start([SYSTEM_PYTHON, program], "functions")
        self.assertEqual(client.wait(20), 0, tail(client.log_path))
        # BEGIN, a query for the functions' numbers, seven calls, COMMIT.
        spans = self.agent.expect(lambda s: s.pid == client.pid, 10)
        servers = self.agent.expect(lambda s: s.parent in {c.span_id for c in spans}, 10, settle=0)
        self.assert_pairs(servers, spans)
        calls = [s for s in spans if not s.text]
        self.assertEqual([(s.status, s.attributes["db.namespace"]) for s in calls], [(0, "functions")] * 7)
        self.assertEqual(len({s.attributes["zerotap.db.transaction.id"] for s in calls}), 1)
        for span in spans + servers:
            self.assertNotIn(CANARY, span.raw)

    def test_replication_commands_are_one_statement_each(self):
        """A base backup sends several results for one command, and a standby's stream is copied both ways."""
        client = self.workspace.start([f"{self.postgres.programs}/pg_basebackup", "-h", "127.0.0.1", "-p", self.postgres.port,
                                       "-U", "postgres", "-D", self.workspace.file("backup"), "-X", "stream", "-c", "fast"],
                                      "pg_basebackup")
        self.assertEqual(client.wait(60), 0, tail(client.log_path))
        spans = self.agent.expect(lambda s: s.service == "pg_basebackup" and s.kind == CLIENT, 8)
        self.assertEqual(sorted(s.text.split()[0] for s in spans),
                         ["BASE_BACKUP", "CREATE_REPLICATION_SLOT", "IDENTIFY_SYSTEM", "IDENTIFY_SYSTEM", "SHOW", "SHOW", "SHOW",
                          "START_REPLICATION"])
        self.assertEqual({s.name for s in spans if s.name.isupper()},
                         {"BASE_BACKUP", "CREATE_REPLICATION_SLOT", "IDENTIFY_SYSTEM", "START_REPLICATION"})
        servers = self.agent.expect(lambda s: s.parent in {c.span_id for c in spans}, 8, settle=0)
        self.assert_pairs(servers, spans)
        backends = {s.pid for s in servers}
        self.assertEqual(len(self.agent.spans(lambda s: s.pid in backends)), 8)

    def pgbench(self, mode):
        name = f"pgbench_{mode}"
        pid, database = self.run_client(name, ["sh", "-c", " && ".join(
            f"{self.postgres.programs}/pgbench {options} -h 127.0.0.1 -p {self.postgres.port} -U postgres @DB"
            for options in ("-i -q -s 1", f"-n -c 4 -j 2 -t 150 -M {mode}"))])
        ran = {shape(text): calls for text, calls, _ in self.postgres.statistics(database)}
        # The server counts a prepared BEGIN or END only at its first execution; each transaction has one.
        ran.update({"begin": 601, "end": 600})
        transactions = [calls for text, calls in ran.items() if text.startswith("insert into pgbench_history")]
        self.assertEqual(transactions, [600])
        spans = self.agent.expect(lambda s: s.kind == CLIENT and s.service == "pgbench"
                                  and s.attributes.get("db.namespace") == database, sum(ran.values()), 20)
        seen = collections.Counter(shape(s.text) for s in spans)
        self.assertEqual(seen, collections.Counter(ran))
        ids = {s.span_id for s in spans}
        servers = self.agent.expect(lambda s: s.kind == SERVER and s.parent in ids, len(spans), settle=0)
        self.assert_pairs(servers, spans)
        for pid in {s.pid for s in spans}:
            total = self.agent.ledger_sum({pid}, "postgresql", "client")
            self.assertEqual(total["dropped"], 0)

    def test_pgbench_simple(self):
        self.pgbench("simple")

    def test_pgbench_extended(self):
        self.pgbench("extended")

    def test_pgbench_prepared(self):
        self.pgbench("prepared")


class Older(Case):
    """A connection and its prepared statement that are older than the agent."""

    def test_prepared_before_the_agent_came(self):
        postgres = Postgres(self.workspace)
        postgres.create_database("older")
        program = self.workspace.file("older.py")
        gate = self.workspace.file("gate")
        with open(program, "w") as file:
            file.write(f"""
import os, time, psycopg
c = psycopg.connect("{postgres.dsn('older')}", autocommit=True)
c.prepare_threshold = 0
def go():
    c.execute("SELECT name FROM items WHERE id = %s", (3,)).fetchall()
go()
open("{gate}.ready", "w").close()
while not os.path.exists("{gate}"):
    time.sleep(0.01)
for i in range(5):
    go()
c.execute("SELECT price FROM items WHERE id = 4").fetchall()
time.sleep(1)
""")
        process = self.workspace.start([PYTHON, program], "older")
        wait_until(lambda: os.path.exists(gate + ".ready"), "no connection")
        agent = Agent(self.workspace)
        open(gate, "w").close()
        spans, _ = self.expect_pairs(agent, process.pid, 6)
        spans.sort(key=lambda s: s.start)
        self.assertEqual([s.text for s in spans[:5]], [""] * 5)
        self.assertEqual([s.rows for s in spans], [1] * 6)
        self.assertEqual(spans[0].name, "SELECT")
        agent.stop()


class OlderInPieces(Case):
    """An older connection whose client sends each message of a batch in a write of its own, as node-postgres does."""

    def test_the_first_batch_that_is_seen_counts(self):
        postgres = Postgres(self.workspace)
        postgres.create_database("pieces")
        gate = self.workspace.file("pieces-gate")
        command = prepare.node("pieces.js", str(postgres.port), gate)
        process = self.workspace.start(command, "pieces")
        wait_until(lambda: os.path.exists(gate + ".ready"), "no connection")
        agent = Agent(self.workspace)
        open(gate, "w").close()
        spans, servers = self.expect_pairs(agent, process.pid, 3)
        self.assertEqual([s.text for s in spans + servers], ["SELECT name FROM items WHERE id = $1"] * 6)
        self.assertEqual([s.rows for s in spans], [1] * 3)
        agent.stop()


if __name__ == "__main__":
    prepare.prepare()
    unittest.main()
