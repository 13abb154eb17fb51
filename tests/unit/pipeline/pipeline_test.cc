#include "agent/pipeline/pipeline.h"

#include <gtest/gtest.h>

#include <map>

#include "agent/telemetry/semconv.h"
#include "tests/support/pipeline_fixture.h"
#include "tests/support/record_builder.h"

namespace zerotap {
namespace {

using testing::ConnectionEnd;
using testing::KeptControl;
using testing::MakeRecord;
using testing::Record;

constexpr uint64_t kMs = 1'000'000;
constexpr std::string_view kRequest = "GET /cart/17 HTTP/1.1\r\nHost: shop\r\n\r\n";
constexpr std::string_view kResponse = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

class PipelineTest : public ::testing::Test {
 protected:
  void Start(PipelineOptions options = {}) {
    auto created = Pipeline::Create(options, control_, [this](uint32_t tgid) {
      ++resolved_;
      if (unknown_.contains(tgid)) return std::optional<TracedProcess>();
      return std::optional(testing::NamedProcess(tgid, !excluded_.contains(tgid)));
    });
    ASSERT_TRUE(created) << created.error().message;
    pipeline_ = std::move(*created);
  }
  void Feed(const Record& record) { pipeline_->HandleRecord(record.bytes()); }
  std::vector<Span> Spans() {
    std::vector<Span> spans;
    pipeline_->TakeSpans(spans);
    return spans;
  }
  ConnectionEnd Server(uint64_t id = 2) {
    ConnectionEnd end;
    end.id = id;
    end.tgid = 200;
    end.tid = 201;
    end.role = ZT_ROLE_SERVER;
    return end;
  }
  ConnectionEnd Client(uint64_t id = 1) {
    ConnectionEnd end;
    end.id = id;
    end.tgid = 100;
    end.tid = 101;
    return end;
  }

  KeptControl control_;
  std::map<uint32_t, bool> unknown_, excluded_;
  int resolved_ = 0;
  std::unique_ptr<Pipeline> pipeline_;
};

TEST_F(PipelineTest, ServerRequestBecomesASpanAndAMetric) {
  Start();
  pipeline_->SetWallOffset(1'000'000'000'000);
  ConnectionEnd server = Server();
  Feed(server.Opened(1 * kMs));
  Feed(server.Read(2 * kMs, kRequest));
  EXPECT_EQ(pipeline_->ledger().Total().in_flight(), 1u);
  Feed(server.Send(5 * kMs, kResponse));
  std::vector<Span> spans = Spans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].name, "GET /cart/{id}");
  EXPECT_EQ(spans[0].start_unix_ns, 1'000'000'000'000 + 2 * kMs);
  EXPECT_EQ(spans[0].end_unix_ns, 1'000'000'000'000 + 5 * kMs);
  EXPECT_EQ(spans[0].resource->service_name, "service-200");
  std::vector<Metric> metrics;
  pipeline_->CollectMetrics(10, metrics);
  ASSERT_EQ(metrics.size(), 1u);
  EXPECT_EQ(metrics[0].descriptor->name, semconv::kHttpServerRequestDuration);
  ASSERT_EQ(metrics[0].histograms.size(), 1u);
  EXPECT_EQ(metrics[0].histograms[0].count, 1u);
  EXPECT_NEAR(metrics[0].histograms[0].sum, 0.003, 1e-9);
}

TEST_F(PipelineTest, ATunnelsUrlIsItsAuthorityOnce) {
  Start();
  ConnectionEnd client = Client();
  Feed(client.Opened(1 * kMs));
  Feed(client.Send(2 * kMs, "CONNECT tunnel.example:443 HTTP/1.1\r\nHost: tunnel.example:443\r\n\r\n"));
  Feed(client.Read(3 * kMs, "HTTP/1.1 200 OK\r\n\r\n"));
  std::vector<Span> spans = Spans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].attributes.FindText(semconv::kUrlFull), "http://tunnel.example:443");
}

// A connection that is kept busy: pairing comes back without a pause, as soon as it is certain.
TEST_F(PipelineTest, ALostRecordCostsAConnectionOnlyAFewOfItsRequests) {
  constexpr uint64_t kRequests = 60;
  for (const bool lost_request : {false, true}) {
    Start();
    ConnectionEnd server = Server();
    uint64_t now = kMs;
    Feed(server.Opened(now));
    for (uint64_t i = 0; i < kRequests; ++i) {
      Record request = server.Read(now += 20 * kMs, kRequest);
      Record response = server.Send(now += kMs, kResponse);
      const bool damaged = i == 10;
      if (damaged && lost_request) response.As<zt_data_event>().lost_before = 1;
      if (i == 11 && !lost_request) request.As<zt_data_event>().lost_before = 1;
      if (!damaged || !lost_request) Feed(request);
      if (!damaged || lost_request) Feed(response);
      pipeline_->Advance(now);
    }
    pipeline_->Advance(now + 1000 * kMs);
    const LedgerCounts counts = pipeline_->ledger().Total();
    EXPECT_EQ(Spans().size(), kRequests - 4);
    EXPECT_EQ(counts.seen, lost_request ? kRequests - 1 : kRequests);
    EXPECT_EQ(counts.dropped_total(), lost_request ? 3u : 4u);
  }
}

TEST_F(PipelineTest, AttributesBeyondTheLimitAreLeftOutAndCounted) {
  Start();
  Feed(Server().Opened(1 * kMs));
  Feed(Server().Read(2 * kMs, kRequest));
  Feed(Server().Send(5 * kMs, kResponse));
  const Span whole = Spans().at(0);
  EXPECT_EQ(whole.dropped_attributes, 0u);
  PipelineOptions options;
  options.attribute_count_limit = 3;
  Start(options);
  Feed(Server().Opened(1 * kMs));
  Feed(Server().Read(2 * kMs, kRequest));
  Feed(Server().Send(5 * kMs, kResponse));
  const Span cut = Spans().at(0);
  ASSERT_EQ(cut.attributes.size(), 3u);
  EXPECT_EQ(cut.dropped_attributes, whole.attributes.size() - 3);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(cut.attributes[i].key, whole.attributes[i].key);
}

TEST_F(PipelineTest, BothEndsOfOneConnectionAreOneTrace) {
  Start();
  ConnectionEnd client = Client(), server = Server();
  Feed(client.Opened(1));
  Feed(server.Opened(2));
  Feed(client.Send(10, kRequest));
  Feed(server.Read(20, kRequest));
  Feed(server.Send(30, kResponse));
  Feed(client.Read(40, kResponse));
  std::vector<Span> spans = Spans();
  ASSERT_EQ(spans.size(), 2u);
  const Span& inner = spans[0].kind == SpanKind::kServer ? spans[0] : spans[1];
  const Span& outer = spans[0].kind == SpanKind::kServer ? spans[1] : spans[0];
  EXPECT_EQ(inner.trace_id, outer.trace_id);
  EXPECT_EQ(inner.parent_span_id, outer.span_id);
  EXPECT_EQ(inner.flags, 0x301u);
  EXPECT_FALSE(outer.parent_span_id.valid());
  EXPECT_EQ(outer.attributes.FindText(semconv::kUrlFull), "http://shop/cart/17");
}

TEST_F(PipelineTest, TheServersRecordsMayComeFirst) {
  Start();
  ConnectionEnd client = Client(), server = Server();
  Feed(client.Opened(1));
  Feed(server.Opened(2));
  Feed(server.Read(20, kRequest));
  Feed(server.Send(30, kResponse));
  EXPECT_TRUE(Spans().empty());
  EXPECT_EQ(pipeline_->stats().spans_held, 1u);
  Feed(client.Send(19, kRequest));
  Feed(client.Read(40, kResponse));
  std::vector<Span> spans = Spans();
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0].trace_id, spans[1].trace_id);
}

TEST_F(PipelineTest, SecondRequestOfAKeepAliveConnectionIsItsOwnTrace) {
  Start();
  ConnectionEnd server = Server();
  Feed(server.Opened(1));
  for (int i = 0; i < 2; ++i) {
    Feed(server.Read(10, kRequest));
    Feed(server.Send(20, kResponse));
  }
  std::vector<Span> spans = Spans();
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_NE(spans[0].trace_id, spans[1].trace_id);
  EXPECT_NE(spans[0].span_id, spans[1].span_id);
}

TEST_F(PipelineTest, RecognisedTrafficGetsABudgetAndTheRestIsIgnored) {
  Start();
  ConnectionEnd server = Server(2), other = Server(3);
  other.client_port = 40001;
  Feed(server.Opened(1));
  Feed(server.Read(10, kRequest));
  EXPECT_EQ(control_.verdicts[2].mode, ZT_VERDICT_HEADS);
  EXPECT_EQ(control_.verdicts[2].tag, zt_verdict_tag(2));
  EXPECT_GT(control_.verdicts[2].ingress_budget_kib, 0);
  Feed(other.Opened(1));
  for (int i = 0; i < 4; ++i) {
    Feed(other.Read(10, "*1\r\n$4\r\nPING\r\n"));
    Feed(other.Send(11, "+PONG\r\n"));
  }
  EXPECT_EQ(control_.verdicts[3].mode, ZT_VERDICT_IGNORE);
  EXPECT_EQ(pipeline_->ledger().Total().seen, 1u);  // the HTTP one
}

TEST_F(PipelineTest, AnIgnoreVerdictThatWasLostIsRepeated) {
  Start();
  ConnectionEnd other = Server(3);
  Feed(other.Opened(1));
  for (int i = 0; i < 300; ++i) Feed(other.Read(10, i % 2 ? "abcdef" : "ghijkl"));
  for (int i = 0; i < 4; ++i) {
    Feed(other.Read(10, "xyz"));
    Feed(other.Send(10, "xyz"));
  }
  int before = control_.verdicts_set;
  for (int i = 0; i < 200; ++i) Feed(other.Read(10, "abcdef"));
  EXPECT_GE(control_.verdicts_set, before + 3);
}

TEST_F(PipelineTest, ExcludedProcessesAreToldToTheKernel) {
  excluded_[200] = true;
  Start();
  ConnectionEnd server = Server();
  Feed(server.Opened(1));
  Feed(server.Read(10, kRequest));
  Feed(server.Send(20, kResponse));
  EXPECT_TRUE(Spans().empty());
  EXPECT_EQ(control_.policies[200], ZT_PROCESS_IGNORE);
  EXPECT_EQ(pipeline_->ledger().Total().seen, 0u);
}

TEST_F(PipelineTest, WhatWasDecidedOfANumberDoesNotBindItsNextOwner) {
  excluded_[200] = true;
  Start();
  ConnectionEnd server = Server();
  Feed(server.Opened(1));
  Feed(server.Read(10, kRequest));
  ASSERT_EQ(control_.policies.count(200), 1u);
  Record fork = MakeRecord<zt_process_fork_event>(ZT_EVENT_PROCESS_FORK, 20);
  fork.As<zt_process_fork_event>().child_tgid = 200;
  Feed(fork);
  EXPECT_EQ(control_.policies.count(200), 0u);

  control_.policies[300] = ZT_PROCESS_IGNORE;  // by others than the pipeline
  fork.As<zt_process_fork_event>().child_tgid = 300;
  Feed(fork);
  EXPECT_EQ(control_.policies.count(300), 0u);
}

TEST_F(PipelineTest, ClientsOfOwnPortsAreLeftOut) {
  PipelineOptions options;
  options.own_ports = {80};
  Start(options);
  ConnectionEnd client = Client();
  Feed(client.Opened(1));
  Feed(client.Send(10, kRequest));
  Feed(client.Read(20, kResponse));
  EXPECT_TRUE(Spans().empty());
  EXPECT_EQ(pipeline_->ledger().Total().seen, 0u);
}

TEST_F(PipelineTest, PortRulesDecideWhatIsTraced) {
  PipelineOptions options;
  options.include_ports = {8080};
  Start(options);
  ConnectionEnd server = Server();
  Feed(server.Opened(1));
  Feed(server.Read(10, kRequest));
  Feed(server.Send(20, kResponse));
  EXPECT_TRUE(Spans().empty());
}

TEST_F(PipelineTest, SampledOutIsCountedAndMeasured) {
  PipelineOptions options;
  options.sampler = "always_off";
  Start(options);
  ConnectionEnd server = Server();
  Feed(server.Opened(1));
  Feed(server.Read(10, kRequest));
  Feed(server.Send(20, kResponse));
  EXPECT_TRUE(Spans().empty());
  LedgerCounts total = pipeline_->ledger().Total();
  EXPECT_EQ(total.seen, 1u);
  EXPECT_EQ(total.sampled_out, 1u);
  std::vector<Metric> metrics;
  pipeline_->CollectMetrics(10, metrics);
  ASSERT_EQ(metrics.size(), 1u);
  EXPECT_TRUE(metrics[0].histograms[0].exemplars.empty());
}

TEST_F(PipelineTest, SampledOutWhileHeldIsCounted) {
  PipelineOptions options;
  options.sampler = "always_off";
  Start(options);
  ConnectionEnd client = Client(), server = Server();
  Feed(client.Opened(1));
  Feed(server.Opened(2));
  Feed(server.Read(20, kRequest));
  Feed(server.Send(30, kResponse));
  Feed(client.Send(19, kRequest));
  Feed(client.Read(40, kResponse));
  EXPECT_TRUE(Spans().empty());
  EXPECT_EQ(pipeline_->ledger().Total().sampled_out, 2u);
}

TEST_F(PipelineTest, UnfinishedRequestsAreAccountedAtTheEnd) {
  Start();
  ConnectionEnd server = Server();
  Feed(server.Opened(1));
  Feed(server.Read(10, kRequest));
  pipeline_->Finish(100);
  LedgerCounts total = pipeline_->ledger().Total();
  EXPECT_EQ(total.dropped[static_cast<size_t>(DropReason::kShutdown)], 1u);
  EXPECT_EQ(total.in_flight(), 0u);
}

TEST_F(PipelineTest, AResetConnectionGivesASpanWithItsCause) {
  Start();
  ConnectionEnd server = Server();
  Feed(server.Opened(1));
  Feed(server.Read(10, kRequest));
  Feed(server.Closed(20, ECONNRESET));
  std::vector<Span> spans = Spans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].attributes.FindText(semconv::kErrorType), "connection_reset");
  EXPECT_FALSE(spans[0].attributes.Has(semconv::kHttpResponseStatusCode));
}

TEST_F(PipelineTest, AnAnswerLostJustBeforeTheCloseIsNoFailure) {
  Start();
  ConnectionEnd server = Server();
  Feed(server.Opened(1));
  Feed(server.Read(10, kRequest));
  Record closed = server.Closed(20);
  closed.As<zt_connection_closed_event>().bytes_received = kRequest.size();
  closed.As<zt_connection_closed_event>().bytes_sent = kResponse.size();
  closed.As<zt_connection_closed_event>().lost_events = 1;
  Feed(closed);
  EXPECT_TRUE(Spans().empty());
  EXPECT_EQ(pipeline_->ledger().Total().dropped_total(), 1u);
}

TEST_F(PipelineTest, BytesThatPassedUnseenAreCounted) {
  Start();
  ConnectionEnd server = Server();
  Feed(server.Opened(1));
  Feed(server.Read(10, kRequest));
  Feed(server.Send(20, kResponse));
  server.received += 500;
  Feed(server.Read(30, kRequest));
  pipeline_->Advance(100 * kMs);
  EXPECT_EQ(pipeline_->ledger().unseen_bytes(), 500u);
  Feed(server.Send(110 * kMs, kResponse));
  pipeline_->Advance(200 * kMs);
  EXPECT_EQ(pipeline_->ledger().unseen_bytes(), 500u);
}

TEST_F(PipelineTest, LostRecordsAreNotCountedAsUnseen) {
  Start();
  ConnectionEnd server = Server();
  Feed(server.Opened(1));
  Feed(server.Read(10, kRequest));
  // The record that was lost was one of the other direction than the one that says so.
  server.received += 500;
  Record sent = server.Send(20, kResponse);
  sent.As<zt_data_event>().lost_before = 1;
  Feed(sent);
  Feed(server.Read(30, kRequest));
  pipeline_->Advance(100 * kMs);
  EXPECT_EQ(pipeline_->ledger().unseen_bytes(), 0u);
  Feed(server.Send(110 * kMs, kResponse));
  server.received += 70;
  Feed(server.Read(120 * kMs, kRequest));
  pipeline_->Advance(200 * kMs);
  EXPECT_EQ(pipeline_->ledger().unseen_bytes(), 70u);
}

TEST_F(PipelineTest, TheEndsOfAUnixConnectionDifferByWhatWasUnseen) {
  Start();
  ConnectionEnd client = Client(), server = Server();
  for (ConnectionEnd* end : {&client, &server}) {
    Record opened = end->Opened(1);
    auto& event = opened.As<zt_connection_opened_event>();
    event.family = ZT_FAMILY_UNIX;
    event.socket_inode = end->id + 1000;
    event.peer_inode = (end == &client ? server.id : client.id) + 1000;
    event.first_out = event.first_in = event.local_port = event.remote_port = 0;
    Feed(opened);
  }
  Feed(client.Send(10, kRequest));
  Feed(server.Read(20, kRequest));
  Feed(client.Send(30, "0123456789"));  // read by nobody that was seen
  Record end = server.Read(40, "");
  end.As<zt_data_event>().flags = ZT_DATA_EOF;
  Feed(end);
  EXPECT_EQ(pipeline_->ledger().unseen_bytes(), 10u);
  Feed(end);  // many programs read the end twice
  EXPECT_EQ(pipeline_->ledger().unseen_bytes(), 10u);
}

TEST_F(PipelineTest, ASlowRequestSaysWhyIfItsReaderAnswered) {
  Start();
  uint64_t now_ns = 6 * kMs;
  pipeline_->SetThreadReader([&now_ns](uint32_t, uint32_t) -> std::optional<ThreadTimes> {
    ThreadTimes times;
    times.at_ns = now_ns;
    times.on_cpu_ns = now_ns;
    return times;
  });
  ConnectionEnd server = Server();
  Feed(server.Opened(1));
  for (const bool same_thread : {true, false}) {
    Feed(server.Read(now_ns - 6 * kMs + 10, kRequest));
    pipeline_->Advance(now_ns);
    now_ns += 2000 * kMs;
    Record answer = server.Send(now_ns, kResponse);
    if (!same_thread) ++answer.As<zt_data_event>().tid;
    Feed(answer);
    std::vector<Span> spans = Spans();
    ASSERT_EQ(spans.size(), 1u);
    EXPECT_EQ(spans[0].attributes.FindText(semconv::kWaitCause), same_thread ? "on_cpu" : "");
    now_ns += 10 * kMs;
  }
}

TEST_F(PipelineTest, AProcessThatCannotBeResolvedStillGetsItsSpan) {
  unknown_[200] = true;
  Start();
  ConnectionEnd server = Server();
  Feed(server.Opened(1));
  Feed(server.Read(10, kRequest));
  Feed(server.Send(20, kResponse));
  std::vector<Span> spans = Spans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].resource->service_name, "unknown_service");
}

TEST_F(PipelineTest, ProcessesAreResolvedOnceAndAgainAfterExec) {
  Start();
  ConnectionEnd server = Server();
  Feed(server.Opened(1));
  Feed(server.Read(10, kRequest));
  Feed(server.Send(20, kResponse));
  EXPECT_EQ(resolved_, 1);
  Record exec = MakeRecord<zt_process_exec_event>(ZT_EVENT_PROCESS_EXEC, 30);
  exec.As<zt_process_exec_event>().tgid = 200;
  Feed(exec);
  Feed(server.Read(40, kRequest));
  Feed(server.Send(50, kResponse));
  EXPECT_EQ(resolved_, 2);
}

TEST_F(PipelineTest, ConnectionsAreBounded) {
  PipelineOptions options;
  options.max_connections = 10;
  Start(options);
  for (uint64_t i = 0; i < 100; ++i) {
    ConnectionEnd server = Server(1000 + i);
    server.client_isn = static_cast<uint32_t>(i + 1);
    Feed(server.Opened(i + 1));
    Feed(server.Read(i + 1, kRequest));
  }
  EXPECT_EQ(pipeline_->stats().live_connections, 10u);
  LedgerCounts total = pipeline_->ledger().Total();
  EXPECT_EQ(total.dropped[static_cast<size_t>(DropReason::kEvicted)], 90u);
  EXPECT_EQ(total.in_flight(), 10u);
}

TEST_F(PipelineTest, ConnectionsAreGivenUpUntilTheirStateFits) {
  Start();
  std::vector<ConnectionEnd> servers;
  for (uint64_t i = 0; i < 100; ++i) {
    ConnectionEnd server = Server(1000 + i);
    server.client_isn = static_cast<uint32_t>(i + 1);
    Feed(server.Opened(i + 1));
    Feed(server.Read(i + 1, kRequest));
    servers.push_back(server);
  }
  const size_t all = pipeline_->MemorySize();
  EXPECT_EQ(pipeline_->LimitMemory(all), 0u);
  const size_t given_up = pipeline_->LimitMemory(all / 2);
  EXPECT_GE(given_up, 40u);
  EXPECT_LE(given_up, 60u);
  EXPECT_LE(pipeline_->MemorySize(), all / 2);
  EXPECT_EQ(pipeline_->stats().live_connections, 100 - given_up);
  EXPECT_EQ(pipeline_->stats().connections_evicted, given_up);
  LedgerCounts total = pipeline_->ledger().Total();
  EXPECT_EQ(total.dropped[static_cast<size_t>(DropReason::kMemoryLimit)], given_up);
  EXPECT_EQ(total.in_flight(), 100 - given_up);
  // Those that were quiet for longest went; the last one still gets its answer.
  Feed(servers.front().Send(200, kResponse));
  EXPECT_EQ(pipeline_->ledger().Total().in_flight(), 100 - given_up);
  Feed(servers.back().Send(200, kResponse));
  pipeline_->Advance(1'000'000'000);
  EXPECT_EQ(Spans().size(), 1u);
}

TEST_F(PipelineTest, AConnectionThatHoldsMuchGoesBeforeManyThatHoldLittle) {
  Start();
  ConnectionEnd first = Server(1000);
  Feed(first.Opened(1));
  Feed(first.Read(1, kRequest));
  ConnectionEnd large = Server(2000);
  large.client_isn = 77;
  Feed(large.Opened(2));
  const std::string head = "GET / HTTP/1.1\r\nX-Long: " + std::string(30'000, 'x');  // a head that goes on
  Feed(large.Read(2, head));
  const size_t all = pipeline_->MemorySize();
  EXPECT_GT(all, head.size());
  EXPECT_EQ(pipeline_->LimitMemory(all - 1), 1u);
  Feed(first.Send(20, kResponse));
  EXPECT_EQ(Spans().size(), 1u);
}

TEST_F(PipelineTest, DataWithoutItsOpenedRecordIsStillParsed) {
  Start();
  ConnectionEnd server = Server();
  Feed(server.Read(10, kRequest));
  Feed(server.Send(20, kResponse));
  EXPECT_EQ(Spans().size(), 1u);
}

TEST_F(PipelineTest, MalformedRecordsAreCounted) {
  Start();
  Feed(MakeRecord<zt_event_header>(77, 1));
  EXPECT_EQ(pipeline_->stats().malformed_records, 1u);
}

TEST_F(PipelineTest, BadSamplerStopsTheStart) {
  PipelineOptions options;
  options.sampler = "sometimes";
  auto created = Pipeline::Create(options, control_, [](uint32_t) { return std::nullopt; });
  ASSERT_FALSE(created);
  EXPECT_NE(created.error().message.find("sometimes"), std::string::npos);
}

TEST_F(PipelineTest, SqlLiteralsDoNotLeave) {
  Start();
  ConnectionEnd client = Client();
  client.server_port = 5432;
  Feed(client.Opened(1));
  std::string startup("\0\0\0 \0\3\0\0user\0bob\0database\0shop\0\0", 0x20);
  Feed(client.Send(10, startup));
  Feed(client.Read(20, std::string("R\0\0\0\x08\0\0\0\0Z\0\0\0\5I", 15)));
  std::string sql = "SELECT name FROM items WHERE id = 424242 AND owner = 'SECRET'";
  std::string query = "Q";
  auto length = static_cast<uint32_t>(sql.size() + 5);
  for (int shift = 24; shift >= 0; shift -= 8) query.push_back(static_cast<char>(length >> shift));
  query += sql;
  query.push_back('\0');
  Feed(client.Send(30, query));
  Feed(client.Read(40, std::string("C\0\0\0\x0dSELECT 1\0Z\0\0\0\5I", 20)));
  std::vector<Span> spans = Spans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].name, "SELECT items");
  EXPECT_EQ(spans[0].attributes.FindText(semconv::kDbQueryText),
            "SELECT name FROM items WHERE id = ? AND owner = ?");
  EXPECT_EQ(spans[0].attributes.FindText(semconv::kDbNamespace), "shop");
}

}  // namespace
}  // namespace zerotap
