"""tcpdump beside the live agent: a replay of the capture gives the very spans that the agent gave, but for who the processes
are and for what it takes from the wire to the program."""

import collections
import json
import shutil
import subprocess
import unittest

import packets
import prepare
from harness import APPS, BINARY, CLIENT, PYTHON, SERVER, Agent, Case, Client, clean_environment, read_spans, wait_until
from servers import Postgres
from test_agent import zerotap

# A host that runs a whole suite lets programs wait for a CPU between the packet and the call that reads it.
MAX_APART = 0.25
USUALLY_APART = 0.003


def replay(path, *arguments):
    status, output, errors = zerotap("replay", *arguments, path)
    if status != 0:
        raise AssertionError(errors)
    return read_spans(output.encode().splitlines()), errors


def claim(span):
    """All that a span says but ids and times."""
    return (span.kind, span.name, span.status, json.dumps(span.attributes, sort_keys=True))


class PacketsCase(Case):
    def assert_same(self, live, replayed):
        """Span for span the same: what they say, how they hang together, and when, as far as the capture point allows."""
        self.assertEqual(collections.Counter(map(claim, replayed)), collections.Counter(map(claim, live)))
        order = lambda s: (claim(s), s.start, s.end)  # noqa: E731
        live, replayed = sorted(live, key=order), sorted(replayed, key=order)
        apart = []
        for ours, theirs in zip(replayed, live):
            apart += [abs(ours.start - theirs.start) / 1e9, abs(ours.end - theirs.end) / 1e9,
                      abs(ours.seconds - theirs.seconds)]
        self.assertLess(max(apart), MAX_APART)
        self.assertLess(sorted(apart)[len(apart) // 2], USUALLY_APART)
        clients = [s for s in replayed if s.kind == CLIENT]
        self.assert_pairs([s for s in replayed if s.kind == SERVER], clients)
        for span in replayed:
            self.assertNotIn("process.pid", span.resource)
            self.assertEqual(span.resource["telemetry.distro.name"], "zerotap")


class Http(PacketsCase):
    REQUESTS = (("GET", "/ok?color=red", "User-Agent: probe/1.0\r\n", ""), ("GET", "/chunked", "", ""), ("GET", "/hints", "", ""),
                ("HEAD", "/head", "", ""), ("GET", "/unmodified", "", ""), ("GET", "/status/204", "", ""),
                ("GET", "/status/404", "", ""), ("GET", "/status/503", "", ""),
                ("POST", "/ok", "Content-Length: 9000\r\n", "b" * 9000),
                ("POST", "/ok", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX: y\r\n\r\n"),
                ("PUT", "/ok", "Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"), ("GET", "/sendfile", "", ""),
                ("GET", "/headers/8", "", ""), ("GET", "/users/4711/orders", "", ""), ("GET", "/sleep/0.05", "", ""))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server, cls.port = cls.start_app("http_server.py")
        agent = Agent(cls.workspace)
        port = f"tcp port {cls.port}"
        dumps = {"lo": packets.Tcpdump(cls.workspace, "lo", port, arguments=["--time-stamp-precision=nano"]),
                 "micro": packets.Tcpdump(cls.workspace, "micro", port),
                 "any": packets.Tcpdump(cls.workspace, "any", port, "any"),
                 "any1": packets.Tcpdump(cls.workspace, "any1", port, "any", ["-y", "LINUX_SLL"]),
                 "short": packets.Tcpdump(cls.workspace, "short", port, arguments=["-s", "96"])}
        client = Client(cls.workspace)
        n = client.connect(["127.0.0.1", cls.port])
        for method, target, headers, body in cls.REQUESTS:
            client.exchange(n, method, target, headers, body)
        client.send(n, "".join(f"GET /status/{c}?n={i} HTTP/1.1\r\nHost: a\r\n\r\n"
                               for i, c in enumerate([200, 404, 500, 201, 204] * 4)))
        for _ in range(20):
            client.receive(n)
        client.close(n)
        for how in ("now", "head", "body", "reset"):
            n = client.connect(["127.0.0.1", cls.port])
            try:
                client.exchange(n, "GET", f"/cut/{how}")
            except AssertionError:
                pass  # what is cut is no answer
            client.close(n)
        pids = {cls.server.pid, client.pid}
        cls.live = agent.expect(lambda s: s.pid in pids, 2 * (len(cls.REQUESTS) + 20 + 4))
        agent.stop()
        cls.captures = {name: dump.stop() for name, dump in dumps.items()}
        cls.link, cls.frames = packets.read_pcap(cls.captures["lo"])

    def test_loopback_interface(self):
        spans, errors = replay(self.captures["lo"])
        self.assert_same(self.live, spans)
        self.assertEqual({s.service for s in spans}, {"127.0.0.1", f"127.0.0.1:{self.port}"})
        self.assertEqual(errors, "")

    def test_microseconds(self):
        self.assert_same(self.live, replay(self.captures["micro"])[0])

    def test_cooked_captures_of_all_interfaces(self):
        self.assertEqual(packets.read_pcap(self.captures["any"])[0], packets.LINUX_COOKED2)
        self.assert_same(self.live, replay(self.captures["any"])[0])
        self.assertEqual(packets.read_pcap(self.captures["any1"])[0], packets.LINUX_COOKED)
        self.assert_same(self.live, replay(self.captures["any1"])[0])

    def test_other_forms_of_the_same_packets(self):
        """Byte for byte the same output, whatever the packets are wrapped in."""
        self.assertEqual(self.link, packets.ETHERNET)
        expected = sorted(s.raw for s in replay(self.captures["lo"])[0])

        def written(name, write, link, frames, *arguments):
            return write(self.workspace.file(name), link, frames, *arguments)
        tags = ((0x88A8, 7), (0x8100, 12))
        forms = [written("ng.pcapng", packets.write_pcapng, packets.ETHERNET, self.frames),
                 written("big.pcap", packets.write_pcap, packets.ETHERNET, self.frames, packets.NANOSECONDS, ">")]
        for name, link in (("null", packets.NULL), ("raw", packets.RAW), ("cooked", packets.LINUX_COOKED),
                           ("cooked2", packets.LINUX_COOKED2)):
            forms.append(written(name + ".pcap", packets.write_pcap, link, packets.relinked(self.frames, link)))
        for count in (1, 2):
            forms.append(written(f"vlan{count}.pcap", packets.write_pcap, packets.ETHERNET,
                                 packets.relinked(self.frames, packets.ETHERNET, tags[-count:])))
        for path in forms:
            with self.subTest(path):
                spans, errors = replay(path)
                self.assertEqual(errors, "")
                self.assertEqual([claim(s) for s in spans], [claim(s) for s in replay(self.captures["lo"])[0]])
                self.assertEqual([(s.start, s.end) for s in spans], [(s.start, s.end) for s in replay(self.captures["lo"])[0]])
        # Ids come from the packets, so the same frames have the same ones.
        for path in forms[:2]:
            self.assertEqual(sorted(s.raw for s in replay(path)[0]), expected)

    def test_cut_into_files_and_read_from_a_pipe(self):
        expected = sorted(s.raw for s in replay(self.captures["lo"])[0])
        third = len(self.frames) // 3
        parts = [packets.write_pcap(self.workspace.file(f"part{i}.pcap"), self.link, self.frames[i * third:(i + 1) * third])
                 for i in range(2)]
        parts.append(packets.write_pcap(self.workspace.file("part2.pcap"), self.link, self.frames[2 * third:]))
        status, output, errors = zerotap("replay", *parts)
        self.assertEqual((status, errors), (0, ""))
        self.assertEqual(sorted(s.raw for s in read_spans(output.encode().splitlines())), expected)
        process = self.workspace.start(["/bin/sh", "-c", f"cat {self.captures['lo']} | {BINARY} replay -"], "pipe")
        self.assertEqual(process.wait(20), 0)
        with open(process.log_path, "rb") as file:
            self.assertEqual(sorted(s.raw for s in read_spans(file.read().splitlines())), expected)

    def test_ends(self):
        for ends, kinds in (("client", {CLIENT}), ("server", {SERVER}), ("both", {CLIENT, SERVER})):
            spans, _ = replay(self.captures["lo"], "--ends", ends)
            self.assertEqual({s.kind for s in spans}, kinds)
            self.assertEqual(len(spans), len(self.live) // (3 - len(kinds)))

    def test_a_short_snap_length_hides_and_invents_nothing(self):
        spans, errors = replay(self.captures["short"])
        self.assertIn("snap length", errors)
        said = {(s.kind, s.attributes.get("http.request.method"), s.path, s.http_status) for s in self.live}
        self.assertLessEqual({(s.kind, s.attributes.get("http.request.method"), s.path, s.http_status)
                              for s in spans if "_" not in s.attributes.get("error.type", "")}, said)

    def test_metrics(self):
        status, output, _ = zerotap("replay", "--metrics", self.captures["lo"])
        self.assertEqual(status, 0)
        last = json.loads(output.splitlines()[-1])
        points = [p for r in last["resourceMetrics"] for scope in r["scopeMetrics"] for m in scope["metrics"]
                  for p in m["histogram"]["dataPoints"] if m["name"] == "http.server.request.duration"]
        self.assertEqual(sum(int(p["count"]) for p in points), len(self.live) // 2)

    def test_files_that_are_not_whole(self):
        """What was read is told, then what is wrong, then the exit status says so."""
        with open(self.captures["lo"], "rb") as file:
            data = file.read()
        cut = self.workspace.file("cut.pcap")
        with open(cut, "wb") as file:
            file.write(data[:-7])
        status, output, errors = zerotap("replay", cut)
        self.assertEqual(status, 1)
        self.assertIn("cut.pcap", errors)
        self.assertIn("truncated", errors)
        self.assertGreater(len(read_spans(output.encode().splitlines())), len(self.live) - 4)
        text = self.workspace.file("text.pcap")
        with open(text, "w") as file:
            file.write("no capture\n" * 10)
        status, output, errors = zerotap("replay", text, self.captures["lo"], self.workspace.file("nowhere.pcap"))
        self.assertEqual(status, 1)
        self.assertIn("text.pcap is neither", errors)
        self.assertIn("nowhere.pcap", errors)
        self.assertEqual(len(read_spans(output.encode().splitlines())), len(self.live))
        wireless = packets.write_pcap(self.workspace.file("wireless.pcap"), 105, [])
        status, _, errors = zerotap("replay", wireless)
        self.assertEqual(status, 1)
        self.assertIn("IEEE802_11", errors)

    def test_no_root_is_needed(self):
        path = self.captures["lo"]
        program = self.workspace.file("zerotap-copy")  # where any user may read it
        shutil.copy(BINARY, program)
        with open(path, "rb") as file:
            result = subprocess.run([program, "replay", "-"], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    env=clean_environment(), user="nobody", group="nogroup", extra_groups=[], cwd="/", timeout=20)
        self.assertEqual(result.returncode, 0, result.stderr)
        output = result.stdout.decode()
        self.assertEqual(len(read_spans(output.encode().splitlines())), len(self.live))


class Database(PacketsCase):
    """Simple and extended queries, pipelines, COPY and cursors, as drivers send them."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.postgres = Postgres(cls.workspace)

    def compare(self, name, *command):
        database = "of_" + name
        self.postgres.create_database(database)
        agent = Agent(self.workspace)
        dump = packets.Tcpdump(self.workspace, name, f"tcp port {self.postgres.port}", arguments=["--time-stamp-precision=nano"])
        process = self.workspace.start([str(c).replace("@DB", database) for c in command], name)
        wait_until(lambda: process.poll() is not None, f"{name} does not end", 60)
        with open(process.log_path) as file:
            self.assertEqual(process.returncode, 0, file.read())
        of_database = lambda s: s.attributes.get("db.namespace") == database  # noqa: E731
        clients = lambda s: of_database(s) and s.pid == process.pid and s.kind == CLIENT  # noqa: E731
        wait_until(lambda: agent.spans(clients), "no span")
        wait_until(lambda: len(agent.spans(clients)) * 2 == len(agent.spans(of_database)), "spans of one end only")
        agent.stop()
        live = agent.spans(of_database)
        self.assertGreater(len(live), 20)
        self.assert_same(live, replay(dump.stop())[0])

    def test_psycopg2(self):
        self.compare("psycopg2", PYTHON, f"{APPS}/python_driver.py", "psycopg2", "127.0.0.1", self.postgres.port, "@DB")

    def test_psycopg3(self):
        self.compare("psycopg3", PYTHON, f"{APPS}/python_driver.py", "psycopg3", "127.0.0.1", self.postgres.port, "@DB")

    def test_asyncpg_over_ipv6(self):
        self.compare("asyncpg", PYTHON, f"{APPS}/python_driver.py", "asyncpg", "::1", self.postgres.port, "@DB")

    def test_pgx(self):
        self.compare("pgx", prepare.GO_APPS, "driver", "pgx", f"host=127.0.0.1 port={self.postgres.port} dbname=@DB user=postgres")


if __name__ == "__main__":
    unittest.main()
