"""HTTP/1.x between real sockets: every framing, every system call, every way to share a socket; exact spans."""

import os
import statistics
import time
import unittest

from harness import APPS, CLIENT, ERROR, SERVER, SYSTEM_PYTHON, Agent, Case, Client, free_port, run, wait_for_listener

BIG = 8 * 1024 * 1024


class HttpCase(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server, cls.port = cls.start_app("http_server.py")
        cls.agent = Agent(cls.workspace)

    def client(self):
        client = Client(self.workspace)
        return client, client.connect(["127.0.0.1", self.port])

    def pairs_of(self, client, count, server_pids=None):
        """The `count` client spans of a client program, each with its server span; sorted by start."""
        pids = server_pids or {self.server.pid}
        clients = self.agent.expect(lambda s: s.pid == client.pid, count)
        ids = {c.span_id for c in clients}
        servers = self.agent.expect(lambda s: s.pid in pids and s.parent in ids, count, settle=0)
        for span in clients:
            self.assertEqual(span.kind, CLIENT)
            self.assertEqual(span.parent, "")
        for span in servers:
            self.assertEqual(span.kind, SERVER)
        return sorted(self.assert_pairs(servers, clients), key=lambda pair: pair[0].start)


class Framing(HttpCase):
    def test_attributes_of_a_plain_request(self):
        client, n = self.client()
        client.exchange(n, "GET", "/status/200?color=red", "User-Agent: probe/1.0\r\n")
        (span, server), = self.pairs_of(client, 1)
        self.assertEqual(span.name, "GET")
        self.assertEqual(span.attributes["url.full"], "http://example.test/status/200?color=red")
        self.assertEqual(span.attributes["server.address"], "example.test")
        self.assertEqual(span.attributes["network.peer.address"], "127.0.0.1")
        self.assertEqual(span.attributes["network.peer.port"], self.port)
        self.assertEqual(span.http_status, 200)
        self.assertEqual(span.status, 0)
        self.assertNotIn("error.type", span.attributes)
        self.assertEqual(server.name, "GET /status/{id}")
        self.assertEqual(server.attributes["http.route"], "/status/{id}")
        self.assertEqual(server.attributes["url.path"], "/status/200")
        self.assertEqual(server.attributes["url.query"], "color=red")
        self.assertEqual(server.attributes["url.scheme"], "http")
        self.assertEqual(server.attributes["user_agent.original"], "probe/1.0")
        self.assertEqual(server.attributes["client.address"], "127.0.0.1")
        self.assertEqual(server.attributes["network.protocol.version"], "1.1")
        self.assertLess(server.keys.index("client.address"), server.keys.index("server.address"))
        self.assertEqual(server.resource["service.name"], "http_server")
        self.assertEqual(span.resource["service.name"], "tcp_client")
        self.assertEqual((span.flags & 0x300, server.flags & 0x300), (0x100, 0x300))

    def test_status_codes(self):
        client, n = self.client()
        codes = [200, 201, 204, 304, 404, 500, 503]
        for code in codes:
            self.assertEqual(client.exchange(n, "GET", f"/status/{code}")[0], [code])
        pairs = self.pairs_of(client, len(codes))
        self.assertEqual([c.http_status for c, _ in pairs], codes)
        self.assertEqual([s.http_status for _, s in pairs], codes)
        self.assertEqual([c.status == ERROR for c, _ in pairs], [code >= 400 for code in codes])
        self.assertEqual([s.status == ERROR for _, s in pairs], [code >= 500 for code in codes])
        for span in (span for pair in pairs for span in pair):
            error = str(span.http_status) if span.status == ERROR else None
            self.assertEqual(span.attributes.get("error.type"), error)

    def test_bodies_of_every_framing(self):
        client, n = self.client()
        cases = [("GET", "/chunked", "", "", [[200], 19]),
                 ("GET", "/hints", "", "", [[103, 200], 2]),
                 ("HEAD", "/head", "", "", [[200], 0]),
                 ("GET", "/unmodified", "", "", [[304], 0]),
                 ("GET", "/status/204", "", "", [[204], 0]),
                 ("GET", "/ok/sendfile", "", "", [[200], 2]),
                 ("POST", "/ok/length", "Content-Length: 70000\r\n", "b" * 70000, [[200], 2]),
                 ("POST", "/ok/chunks", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
                  [[200], 2]),
                 ("PUT", "/ok/expect", "Expect: 100-continue\r\nContent-Length: 5\r\n", "hello", [[100, 200], 2]),
                 ("GET", "/sendfile", "", "", [[200], BIG]),
                 ("GET", "/splice", "", "", [[200], BIG]),
                 ("GET", "/big", "", "", [[200], BIG]),
                 ("GET", "/headers/32", "", "", [[200], 2]),
                 ("DELETE", "/ok/last", "", "", [[200], 2])]
        for method, target, headers, body, answer in cases:
            self.assertEqual(client.exchange(n, method, target, headers, body), answer)
        pairs = self.pairs_of(client, len(cases))
        for (method, target, _, _, answer), (span, server) in zip(cases, pairs):
            with self.subTest(target):
                for s in (span, server):
                    self.assertEqual((s.attributes["http.request.method"], s.path, s.http_status),
                                     (method, target, answer[0][-1]))
                    self.assertNotIn("error.type", s.attributes)
                # The server is at work within the time that its client waits.
                self.assertLessEqual(span.start, server.start)
                if answer[1] < BIG:
                    self.assertLessEqual(server.start, server.end)

    def test_body_sizes_of_what_is_not_copied(self):
        client, n = self.client()
        for target in ("/sendfile", "/splice", "/big"):
            client.exchange(n, "GET", target)
        client.exchange(n, "POST", "/ok", f"Content-Length: {BIG}\r\n", "x" * BIG)
        pairs = self.pairs_of(client, 4)
        for span in (s for pair in pairs[:3] for s in pair):
            self.assertEqual(span.attributes.get("http.response.body.size"), BIG, span)
        for span in pairs[3]:
            self.assertEqual(span.attributes.get("http.request.body.size"), BIG, span)

    def test_close_delimited_body_lasts_to_its_end(self):
        client, n = self.client()
        self.assertEqual(client.exchange(n, "GET", "/close"), [[200], 10000])
        (span, server), = self.pairs_of(client, 1)
        for s in (span, server):
            self.assertEqual(s.http_status, 200)
            self.assertNotIn("error.type", s.attributes)
            self.assertGreaterEqual(s.seconds, 0.02)  # the server sleeps between the halves of the body

    def test_pipelining(self):
        client, n = self.client()
        codes = [200, 404, 500, 201, 503, 200, 404, 204, 200, 500] * 3
        client.send(n, "".join(f"GET /status/{c}?n={i} HTTP/1.1\r\nHost: example.test\r\n\r\n"
                               for i, c in enumerate(codes)))
        for code in codes:
            self.assertEqual(client.receive(n)[0], [code])
        clients = self.agent.expect(lambda s: s.pid == client.pid, len(codes))
        servers = self.agent.spans(lambda s: s.pid == self.server.pid and s.parent in {c.span_id for c in clients})
        for span, server in self.assert_pairs(servers, clients):
            number = int(server.attributes["url.query"].split("=")[1])
            self.assertEqual(server.http_status, codes[number])
            self.assertEqual(span.http_status, codes[number])
            self.assertTrue(span.attributes["url.full"].endswith(f"?n={number}"))

    def test_heads_cut_at_any_byte(self):
        client, n = self.client()
        self.assertEqual(client.exchange(n, "POST", "/ok/bytes", "Content-Length: 3\r\n", "abc", "bytes", "small")[0], [200])
        self.assertEqual(client.exchange(n, "GET", "/by/bytes", "", "", "bytes")[0], [200])
        long_headers = "".join(f"X-Header-{i}: {'v' * 1000}\r\n" for i in range(32))
        self.assertEqual(client.exchange(n, "GET", "/ok/long", long_headers, "", "halves")[0], [200])
        pairs = self.pairs_of(client, 3)
        self.assertEqual([s.path for _, s in pairs], ["/ok/bytes", "/by/bytes", "/ok/long"])

    def test_other_method_tokens(self):
        client, n = self.client()
        client.exchange(n, "PROPFIND", "/ok/dav")
        client.exchange(n, "X-Own-Method", "/ok/own")
        client.exchange(n, "GET", "http://absolute.test/ok/absolute")
        pairs = self.pairs_of(client, 3)
        for (span, server), method in zip(pairs, ("PROPFIND", "X-Own-Method")):
            self.assertEqual(span.name, "HTTP")
            self.assertEqual(server.attributes["http.request.method"], "_OTHER")
            self.assertEqual(server.attributes["http.request.method_original"], method)
        self.assertEqual(pairs[2][1].attributes["server.address"], "absolute.test")
        self.assertEqual(pairs[2][1].path, "/ok/absolute")

    def test_upgrade_and_tunnel_end_the_parsing(self):
        for method, target, headers, status in (("GET", "/upgrade", "Connection: Upgrade\r\nUpgrade: websocket\r\n", 101),
                                                ("CONNECT", "example.test:443", "", 200)):
            with self.subTest(method):
                client, n = self.client()
                self.assertEqual(client.exchange(n, method, target, headers)[0], [status])
                inside = "GET /inside HTTP/1.1\r\nHost: x\r\n\r\n"
                for _ in range(3):
                    client.send(n, inside)
                    self.assertEqual(client.raw(n, len(inside)), inside)
                client.close(n)
                (span, server), = self.pairs_of(client, 1)
                self.assertEqual((span.http_status, server.http_status), (status, status))
                url, path = ("http://example.test/upgrade", "/upgrade") if method == "GET" else ("http://example.test:443", None)
                self.assertEqual((span.attributes["url.full"], server.attributes.get("url.path")), (url, path))

    def test_response_before_the_request_is_complete(self):
        client, n = self.client()
        client.send(n, "POST /early HTTP/1.1\r\nHost: example.test\r\nContent-Length: 1000\r\n\r\n" + "a" * 10)
        self.assertEqual(client.receive(n), [[200], 5])
        client.send(n, "a" * 990)
        self.assertEqual(client.exchange(n, "GET", "/ok/after")[0], [200])
        pairs = self.pairs_of(client, 2)
        self.assertEqual([s.path for _, s in pairs], ["/early", "/ok/after"])
        self.assertEqual([c.http_status for c, _ in pairs], [200, 200])

    def test_cut_connections_invent_no_status(self):
        for how, statuses in (("now", {None}), ("head", {None, 200}), ("body", {200}), ("reset", {None})):
            with self.subTest(how):
                client, n = self.client()
                try:
                    client.exchange(n, "GET", f"/cut/{how}")
                except AssertionError:
                    pass  # the reset
                client.close(n)
                (span, server), = self.pairs_of(client, 1)
                for s in (span, server):
                    self.assertIn(s.http_status, statuses, s)
                    self.assertIn("error.type", s.attributes, s)
                    self.assertEqual(s.status, ERROR, s)

    def test_span_is_emitted_at_its_end_not_at_the_next_activity(self):
        client, n = self.client()
        client.exchange(n, "GET", "/ok/once")
        self.pairs_of(client, 1)  # while the connection stays open and silent

    def test_secrets_never_leave(self):
        client, n = self.client()
        secret = "s3cr3t-canary"
        client.exchange(n, "GET", f"/ok?X-Amz-Signature={secret}&sig={secret}",
                        f"Authorization: Bearer {secret}\r\nCookie: a={secret}\r\nProxy-Authorization: {secret}\r\n",
                        "")
        client.exchange(n, "POST", "/ok", f"Content-Length: {len(secret)}\r\n", secret)
        self.pairs_of(client, 2)
        with open(self.agent.output) as file:
            self.assertNotIn(secret, file.read())


class SystemCalls(HttpCase):
    def test_sending(self):
        kinds = ["write", "writev", "sendmsg", "sendto", "sendmmsg", "sendfile", "splice", "bytes"]
        client, n = self.client()
        for how in kinds:
            self.assertEqual(client.exchange(n, "POST", f"/by/{how}", "Content-Length: 500\r\n", "q" * 500, how),
                             [[200], 3000])
        pairs = self.pairs_of(client, len(kinds))
        self.assertEqual([(c.path, s.path, c.http_status, s.http_status) for c, s in pairs],
                         [(f"/by/{how}", f"/by/{how}", 200, 200) for how in kinds])

    def test_receiving(self):
        kinds = ["read", "small", "peek", "recvmsg", "readv", "recvmmsg"]
        client, n = self.client()
        for how in kinds:
            client.exchange(n, "POST", f"/ok/{how}", f"X-Read-By: {how}\r\nContent-Length: 500\r\n", "q" * 500, "halves", how)
            client.exchange(n, "GET", f"/ok/{how}/2", "", "", "halves", how)
        pairs = self.pairs_of(client, 2 * len(kinds))
        self.assertEqual([s.path for _, s in pairs], [f"/ok/{how}{end}" for how in kinds for end in ("", "/2")])
        self.assertEqual({s.http_status for pair in pairs for s in pair}, {200})


class Sharing(Case):
    """Sockets that more than one process or thread holds."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.agent = Agent(cls.workspace)

    def requests(self, mode, connections=6, each=5):
        server, port = self.start_app("http_server.py", mode)
        clients = []
        for _ in range(connections):
            client = Client(self.workspace)
            n = client.connect(["::1" if mode == "ipv6" else "127.0.0.1", port])
            for i in range(each):
                self.assertEqual(client.exchange(n, "GET", f"/pid?i={i}")[0], [200])
            clients.append(client)
        pids = {c.pid for c in clients}
        spans = self.agent.expect(lambda s: s.pid in pids, connections * each)
        servers = self.agent.expect(lambda s: s.parent in {c.span_id for c in spans}, connections * each, settle=0)
        self.assert_pairs(servers, spans)
        return server, servers

    def test_threads(self):
        server, spans = self.requests("threads")
        self.assertEqual({s.pid for s in spans}, {server.pid})

    def test_prefork(self):
        from harness import children_of
        server, spans = self.requests("prefork", connections=4)
        self.assertLessEqual({s.pid for s in spans}, {server.pid, *children_of(server.pid)})

    def test_fork_per_connection(self):
        server, spans = self.requests("fork")
        self.assertEqual(len({s.pid for s in spans}), 6)
        self.assertNotIn(server.pid, {s.pid for s in spans})

    def test_socket_handed_on_in_the_middle_of_a_request(self):
        from harness import children_of
        server, spans = self.requests("pass")
        worker, = children_of(server.pid)
        # The first request of a connection is read by both; the others by the worker alone.
        self.assertLessEqual({s.pid for s in spans}, {server.pid, worker})
        self.assertEqual({s.pid for s in spans if s.attributes["url.query"] != "i=0"}, {worker})

    def test_one_thread_reads_another_writes(self):
        server, spans = self.requests("split")
        self.assertEqual({s.pid for s in spans}, {server.pid})

    def test_ipv6(self):
        _, spans = self.requests("ipv6")
        self.assertEqual({s.attributes["client.address"] for s in spans}, {"::1"})

    def test_unix_socket(self):
        path = self.workspace.file("http.sock")
        server, _ = self.start_app("http_server.py", f"unix:{path}")
        client = Client(self.workspace)
        n = client.connect(path)
        for _ in range(5):
            client.exchange(n, "GET", "/ok")
        clients = self.agent.expect(lambda s: s.pid == client.pid, 5)
        servers = self.agent.expect(lambda s: s.pid == server.pid, 5, settle=0)
        self.assert_pairs(servers, clients)

    def test_duplicated_descriptor_and_many_connections_at_once(self):
        server, port = self.start_app("http_server.py")
        load = self.workspace.start([SYSTEM_PYTHON, os.path.join(APPS, "load.py"), "127.0.0.1", port, "/ok", 3000, 50], "load")
        self.assertEqual(load.wait(60), 0)
        clients = self.agent.expect(lambda s: s.pid == load.pid, 3000)
        servers = self.agent.expect(lambda s: s.pid == server.pid, 3000, settle=0)
        self.assert_pairs(servers, clients)
        total = self.agent.ledger_sum({server.pid}, "http", "server")
        self.assertEqual((total["seen"], total["emitted"], total["dropped"]), (3000, 3000, 0))


class Lifetime(Case):
    """Processes that are gone at once, connections that were there before."""

    def test_connections_older_than_the_agent(self):
        server, port = self.start_app("http_server.py")
        clients = []
        for requests_before in (0, 1, 3):
            client = Client(self.workspace)
            n = client.connect(["127.0.0.1", port])
            for _ in range(requests_before):
                client.exchange(n, "GET", "/ok/before")
            clients.append((client, n))
        agent = Agent(self.workspace)
        for client, n in clients:
            for i in range(4):
                client.exchange(n, "GET", f"/ok/after?i={i}")
        pids = {c.pid for c, _ in clients}
        spans = agent.expect(lambda s: s.pid in pids, 12)
        servers = agent.expect(lambda s: s.pid == server.pid, 12, settle=0)
        self.assertEqual({s.kind for s in spans}, {CLIENT})
        self.assertEqual({s.kind for s in servers}, {SERVER})
        self.assert_pairs(servers, spans)
        self.assertEqual({s.path for s in servers}, {"/ok/after"})
        agent.stop()

    def test_processes_that_live_for_milliseconds(self):
        server = self.workspace.start([SYSTEM_PYTHON, "-m", "http.server", "--bind", "127.0.0.1", "--directory",
                                       self.workspace.path, port := free_port()], "python")
        wait_for_listener(port, server)
        agent = Agent(self.workspace)
        pids = []
        for i in range(10):
            curl = self.workspace.start(["curl", "-s", "-o", "/dev/null", f"http://localhost:{port}/?i={i}"], "curl")
            self.assertEqual(curl.wait(20), 0)
            pids.append(curl.pid)
        spans = agent.expect(lambda s: s.pid in pids, 10)
        servers = agent.expect(lambda s: s.pid == server.pid, 10, settle=0)
        self.assertEqual({s.pid for s in spans}, set(pids))
        self.assertEqual({(s.service, s.name, s.kind) for s in spans}, {("curl", "GET", CLIENT)})
        self.assertEqual({s.attributes["server.address"] for s in spans}, {"localhost"})
        self.assertEqual({(s.service, s.kind) for s in servers}, {("http.server", SERVER)})
        self.assert_pairs(servers, spans)
        agent.stop()

    def test_a_stop_flushes_what_ended(self):
        server, port = self.start_app("http_server.py")
        agent = Agent(self.workspace, {"export": {"flush_interval": "30s"}})
        client = Client(self.workspace)
        n = client.connect(["127.0.0.1", port])
        for _ in range(20):
            client.exchange(n, "GET", "/ok")
        time.sleep(0.3)
        self.assertEqual(agent.stop(), 0)
        self.assertEqual(len(agent.spans(lambda s: s.pid == server.pid)), 20)
        self.assertEqual(len(agent.spans(lambda s: s.pid == client.pid)), 20)


class Context(HttpCase):
    """traceparent that programs send themselves."""
    TRACE = "0af7651916cd43dd8448eb211c80319c"
    PARENT = "b7ad6b7169203331"

    def test_context_in_the_request_is_the_parent(self):
        client, n = self.client()
        client.exchange(n, "GET", "/ok", f"traceparent: 00-{self.TRACE}-{self.PARENT}-01\r\ntracestate: vendor=1\r\n")
        span, = self.agent.expect(lambda s: s.pid == client.pid, 1)
        server, = self.agent.expect(lambda s: s.pid == self.server.pid and s.trace_id == self.TRACE, 1, settle=0)
        self.assertEqual((span.trace_id, span.parent), (self.TRACE, self.PARENT))
        self.assert_child(server, span)
        self.assertEqual(span.trace_state, "vendor=1")

    def test_broken_context_is_ignored(self):
        client, n = self.client()
        broken = ["00-0-0-01", f"ff-{self.TRACE}-{self.PARENT}-01", f"00-{'0' * 32}-{self.PARENT}-01",
                  f"00-{self.TRACE}-{'0' * 16}-01", f"00-{self.TRACE.upper()}-{self.PARENT}-01", "x" * 5000]
        for value in broken:
            client.exchange(n, "GET", "/ok", f"traceparent: {value}\r\n")
        pairs = self.pairs_of(client, len(broken))
        self.assertNotIn(self.TRACE, {c.trace_id for c, _ in pairs})

    def test_unsampled_parent(self):
        client, n = self.client()
        client.exchange(n, "GET", "/ok", f"traceparent: 00-{self.TRACE[::-1]}-{self.PARENT}-00\r\n")
        client.exchange(n, "GET", "/ok/next")
        span, = self.agent.expect(lambda s: s.pid == client.pid, 1)
        self.assertEqual(span.path, "/ok/next")
        total = self.agent.ledger_sum({client.pid}, "http", "client")
        self.assertEqual((total["seen"], total["emitted"], total["sampled_out"]), (2, 1, 1))

    def test_other_propagators_are_attributes(self):
        client, n = self.client()
        client.exchange(n, "GET", "/ok", f"X-B3-TraceId: {self.TRACE}\r\nX-B3-SpanId: {self.PARENT}\r\nX-Request-ID: r-1\r\n")
        (_, server), = self.pairs_of(client, 1)
        self.assertEqual(server.attributes["zerotap.b3.trace_id"], self.TRACE)
        self.assertEqual(server.attributes["zerotap.request_id"], "r-1")

    def test_client_address_behind_a_proxy(self):
        client, n = self.client()
        client.exchange(n, "GET", "/ok/1", "X-Forwarded-For: 203.0.113.7, 10.0.0.1\r\n")
        client.exchange(n, "GET", "/ok/2", "Forwarded: for=\"[2001:db8::1]:4711\";proto=https\r\n")
        pairs = self.pairs_of(client, 2)
        self.assertEqual([s.attributes["client.address"] for _, s in pairs], ["203.0.113.7", "2001:db8::1"])


class Truth(HttpCase):
    def test_durations_are_what_the_client_saw(self):
        client, n = self.client()
        for seconds in ("0.02", "0.05"):
            request = f"GET /sleep/{seconds} HTTP/1.1\r\nHost: x\r\n\r\n"
            times = client.timed(n, request, 15)
            self.assertEqual(len(times), 15)
            spans = self.agent.expect(lambda s: s.pid == client.pid and s.path == f"/sleep/{seconds}", 15)
            spans.sort(key=lambda s: s.start)
            # The program's own clock runs around the system calls, so the span may be shorter, by what Python does there.
            differences = [t - s.seconds for t, s in zip(times, spans)]
            limit = max(0.01 * statistics.median(times), 100e-6)
            self.assertLessEqual(abs(statistics.median(differences)), limit, differences)
            servers = self.agent.spans(lambda s: s.pid == self.server.pid and s.path == f"/sleep/{seconds}")
            self.assertGreaterEqual(min(s.seconds for s in servers), float(seconds))
            for span, server in self.assert_pairs(servers, spans):
                self.assertLessEqual(span.start, server.start)

    def test_routes_stay_few(self):
        client, n = self.client()
        for i in range(300):
            client.exchange(n, "GET", f"/users/{i}/orders/{i:08x}-aaaa-4bbb-8ccc-{i:012x}")
        servers = self.agent.expect(lambda s: s.pid == self.server.pid and s.path.startswith("/users/"), 300)
        self.assertEqual({s.name for s in servers}, {"GET /users/{id}/orders/{uuid}"})


if __name__ == "__main__":
    unittest.main()
