// Processes that are watched for less: what is counted, what is never made up, and how they come back.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>

#include "agent/pipeline/pipeline.h"
#include "agent/telemetry/semconv.h"
#include "tests/support/pipeline_fixture.h"
#include "tests/support/postgres_builders.h"
#include "tests/support/record_builder.h"

namespace zerotap {
namespace {

using testing::ConnectionEnd;
using testing::KeptControl;
using testing::MakeRecord;
using testing::Record;

constexpr uint64_t kMs = 1'000'000;
constexpr uint32_t kServer = 200;
constexpr std::string_view kResponse = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

std::string Request(std::string_view path) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: shop\r\n\r\n";
}

class PipelineHarmTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto created = Pipeline::Create({}, control_, [this](uint32_t tgid) {
      return std::optional(testing::NamedProcess(tgid, traced_));
    });
    ASSERT_TRUE(created) << created.error().message;
    pipeline_ = std::move(*created);
    server_.id = 2;
    server_.tgid = kServer;
    server_.tid = kServer + 1;
    server_.role = ZT_ROLE_SERVER;
  }
  void Feed(const Record& record) { pipeline_->HandleRecord(record.bytes()); }
  void Exchange(std::string_view path) {
    Feed(server_.Read(now_ += kMs, Request(path)));
    Feed(server_.Send(now_ += kMs, kResponse));
  }
  // What the kernel side leaves out of the records, and with which it begins again.
  void Skip(int requests) {
    server_.received += static_cast<uint64_t>(requests) * Request("/skipped").size();
    server_.sent += static_cast<uint64_t>(requests) * kResponse.size();
  }
  Record AfterSkip(Record record, uint8_t turns) {
    record.As<zt_data_event>().flags |= ZT_DATA_SKIPPED;
    record.As<zt_data_event>().turns_before = turns;
    return record;
  }
  // The telling record itself is one of the counted transfers.
  Record Telling(uint8_t turns) {
    Record record = MakeRecord<zt_data_event>(ZT_EVENT_DATA, now_ += kMs);
    auto& data = record.As<zt_data_event>();
    data.connection_id = server_.id;
    data.offset = server_.received;
    data.length = static_cast<uint32_t>(Request("/skipped").size());
    data.tgid = kServer;
    data.direction = ZT_DIRECTION_INGRESS;
    data.flags = ZT_DATA_SKIPPED;
    data.turns_before = turns;
    server_.received += data.length;
    server_.sent += kResponse.size();
    return record;
  }
  ConnectionEnd ClientOf(uint32_t tgid) {
    ConnectionEnd client = server_;
    client.id = 900;
    client.tgid = tgid;
    client.tid = tgid + 1;
    client.role = ZT_ROLE_CLIENT;
    return client;
  }
  void Exec(uint32_t tgid) {
    Record exec = MakeRecord<zt_process_exec_event>(ZT_EVENT_PROCESS_EXEC, now_ += kMs);
    exec.As<zt_process_exec_event>().tgid = tgid;
    Feed(exec);
  }
  void Fork(uint32_t parent, uint32_t child) {
    Record fork = MakeRecord<zt_process_fork_event>(ZT_EVENT_PROCESS_FORK, now_ += kMs);
    fork.As<zt_process_fork_event>().parent_tgid = parent;
    fork.As<zt_process_fork_event>().child_tgid = child;
    Feed(fork);
  }
  // Two ends of one AF_UNIX connection.
  void OpenUnix(const ConnectionEnd& end, const ConnectionEnd& other) {
    Record record = end.Opened(now_ += kMs);
    auto& opened = record.As<zt_connection_opened_event>();
    opened.family = ZT_FAMILY_UNIX;
    opened.socket_inode = end.id + 1000;
    opened.peer_inode = other.id + 1000;
    opened.first_out = opened.first_in = opened.local_port = opened.remote_port = 0;
    Feed(record);
  }
  std::vector<Span> SettledSpans() {
    pipeline_->Advance(now_ += 1000 * kMs);
    std::vector<Span> spans;
    pipeline_->TakeSpans(spans);
    return spans;
  }
  std::vector<std::string> Paths() {
    std::vector<Span> spans;
    pipeline_->TakeSpans(spans);
    std::vector<std::string> paths;
    for (const Span& span : spans) {
      pipeline_->ledger().Emitted(span.ledger_row);
      paths.emplace_back(span.attributes.FindText(semconv::kUrlPath));
      EXPECT_EQ(span.kind, SpanKind::kServer);
      EXPECT_NE(span.status, SpanStatus::kError);
    }
    return paths;
  }
  // `seen` requests were made so far, `paths` have spans: nothing is lost but what was skipped.
  void ExpectBackAfter(uint64_t seen, const std::vector<std::string>& paths) {
    EXPECT_EQ(Paths(), paths);
    Exchange("/x");
    Exchange("/y");
    EXPECT_EQ(Paths(), (std::vector<std::string>{"/x", "/y"}));
    EXPECT_EQ(Total().seen, seen + 2);
    EXPECT_EQ(Total().in_flight(), 0u);
    EXPECT_EQ(Harmed(), Total().dropped_total());
    EXPECT_EQ(Total().emitted + Harmed(), seen + 2);
    EXPECT_EQ(Untimed(), Harmed());
    EXPECT_EQ(Requests() + Untimed(), Total().seen);
  }
  uint64_t Requests() {  // by the RED metric
    std::vector<Metric> metrics;
    pipeline_->CollectMetrics(now_, metrics);
    uint64_t count = 0;
    for (const Metric& metric : metrics) {
      for (const auto& point : metric.histograms) count += point.count;
    }
    return count;
  }
  uint64_t Untimed() {  // by the metric of those that are in no histogram
    std::vector<Metric> metrics;
    pipeline_->CollectMetrics(now_, metrics);
    int64_t count = 0;
    for (const Metric& metric : metrics) {
      for (const auto& point : metric.numbers) count += std::get<int64_t>(point.value);
    }
    return static_cast<uint64_t>(count);
  }
  LedgerCounts Total() { return pipeline_->ledger().Total(); }
  uint64_t Harmed() { return Total().dropped[static_cast<size_t>(DropReason::kHarmBudget)]; }

  KeptControl control_;
  bool traced_ = true;
  std::unique_ptr<Pipeline> pipeline_;
  ConnectionEnd server_;
  uint64_t now_ = 0;
};

TEST_F(PipelineHarmTest, EachRungHasItsPolicy) {
  Feed(server_.Opened(1));
  const std::pair<HarmRung, zt_process_policy> rungs[] = {
      {HarmRung::kHeads, ZT_PROCESS_HEADS},   {HarmRung::kMetrics, ZT_PROCESS_SHORT_HEADS},
      {HarmRung::kCounts, ZT_PROCESS_COUNT},  {HarmRung::kDetached, ZT_PROCESS_IGNORE},
      {HarmRung::kCounts, ZT_PROCESS_COUNT},  {HarmRung::kMetrics, ZT_PROCESS_SHORT_HEADS},
      {HarmRung::kHeads, ZT_PROCESS_HEADS},   {HarmRung::kFull, ZT_PROCESS_TRACE}};
  for (const auto& [rung, policy] : rungs) {
    pipeline_->SetHarmRung(kServer, rung);
    EXPECT_EQ(control_.policies[kServer], policy);
  }
}

TEST_F(PipelineHarmTest, WhoIsLeftOutByRulesStaysLeftOut) {
  traced_ = false;
  Feed(server_.Opened(1));
  pipeline_->SetHarmRung(kServer, HarmRung::kHeads);
  EXPECT_EQ(control_.policies[kServer], ZT_PROCESS_IGNORE);
}

TEST_F(PipelineHarmTest, HeadsStillGiveSpans) {
  Feed(server_.Opened(1));
  pipeline_->SetHarmRung(kServer, HarmRung::kHeads);
  Exchange("/a");
  EXPECT_EQ(Paths(), std::vector<std::string>{"/a"});
}

TEST_F(PipelineHarmTest, MetricsGoOnWithoutSpans) {
  Feed(server_.Opened(1));
  Exchange("/a");
  pipeline_->SetHarmRung(kServer, HarmRung::kMetrics);
  for (int i = 0; i < 5; ++i) Exchange("/b");
  EXPECT_EQ(Paths(), std::vector<std::string>{"/a"});
  EXPECT_EQ(Requests(), 6u);
  EXPECT_EQ(Untimed(), 0u);
  EXPECT_EQ(Total().seen, 6u);
  EXPECT_EQ(Harmed(), 5u);
  EXPECT_EQ(Total().in_flight(), 0u);
  pipeline_->SetHarmRung(kServer, HarmRung::kFull);
  Exchange("/c");
  EXPECT_EQ(Paths(), std::vector<std::string>{"/c"});
}

TEST_F(PipelineHarmTest, CountedRequestsAreInTheLedgerToTheUnit) {
  Feed(server_.Opened(1));
  Exchange("/a");
  pipeline_->SetHarmRung(kServer, HarmRung::kCounts);
  Skip(63);
  Feed(Telling(64));
  Skip(10);
  EXPECT_EQ(Total().seen, 65u) << "those that were told of";
  pipeline_->SetHarmRung(kServer, HarmRung::kHeads);
  Feed(AfterSkip(server_.Read(now_ += kMs, Request("/b")), 10));
  Feed(server_.Send(now_ += kMs, kResponse));
  Exchange("/c");
  ExpectBackAfter(77, {"/a", "/b", "/c"});
  EXPECT_EQ(Total().in_flight(), 0u);
  EXPECT_EQ(pipeline_->ledger().unseen_bytes(), 0u) << "it is known why";
}

TEST_F(PipelineHarmTest, ARequestWhoseAnswerWasSkippedIsDropped) {
  Feed(server_.Opened(1));
  Feed(server_.Read(now_ += kMs, Request("/cut")));
  pipeline_->SetHarmRung(kServer, HarmRung::kCounts);
  server_.sent += kResponse.size();
  Skip(3);
  pipeline_->SetHarmRung(kServer, HarmRung::kFull);
  Feed(AfterSkip(server_.Read(now_ += kMs, Request("/b")), 3));
  Feed(server_.Send(now_ += kMs, kResponse));
  ExpectBackAfter(5, {"/b"});
}

// The answer to one that was counted may come after the next request, here and for as long as it goes on like that.
TEST_F(PipelineHarmTest, AClientThatPipelinesIsNotPairedAnew) {
  Feed(server_.Opened(1));
  Feed(server_.Read(now_ += kMs, Request("/a") + Request("/b")));
  Feed(server_.Send(now_ += kMs, std::string(kResponse) + std::string(kResponse)));
  pipeline_->SetHarmRung(kServer, HarmRung::kCounts);
  server_.received += Request("/skipped").size();
  pipeline_->SetHarmRung(kServer, HarmRung::kFull);
  Feed(AfterSkip(server_.Read(now_ += kMs, Request("/c")), 1));
  for (int i = 0; i < 3; ++i) {
    Feed(server_.Send(now_ += kMs, kResponse));
    Feed(server_.Read(now_ += kMs, Request("/d")));
  }
  EXPECT_EQ(Paths(), (std::vector<std::string>{"/a", "/b"}));
  EXPECT_EQ(Total().seen, 7u);
  EXPECT_EQ(Harmed(), 5u);
  EXPECT_EQ(Total().in_flight(), 0u);
  EXPECT_EQ(Untimed(), 5u);
}

TEST_F(PipelineHarmTest, AnAnswerWhoseRequestWasCountedIsNotCountedAgain) {
  Feed(server_.Opened(1));
  Exchange("/a");
  pipeline_->SetHarmRung(kServer, HarmRung::kCounts);
  server_.received += Request("/skipped").size();
  pipeline_->SetHarmRung(kServer, HarmRung::kFull);
  Feed(AfterSkip(server_.Send(now_ += kMs, kResponse), 1));
  Exchange("/b");
  ExpectBackAfter(3, {"/a", "/b"});
}

// The end of a connection makes an answer of what came before it, unless something is missing.
TEST_F(PipelineHarmTest, AConnectionThatEndsWhileCountedGivesNoSpanOfItsLastRequest) {
  for (int way = 0; way < 3; ++way) {
    server_ = ConnectionEnd{.id = server_.id + 2, .tgid = kServer, .tid = kServer, .role = ZT_ROLE_SERVER};
    server_.client_port = static_cast<uint16_t>(server_.client_port + way);
    const LedgerCounts before = Total();
    Feed(server_.Opened(now_ += kMs));
    Feed(server_.Read(now_ += kMs, Request("/cut")));
    if (way == 1) {
      Record shutdown = MakeRecord<zt_connection_shutdown_event>(ZT_EVENT_CONNECTION_SHUTDOWN, now_ += kMs);
      shutdown.As<zt_connection_shutdown_event>().connection_id = server_.id;
      shutdown.As<zt_connection_shutdown_event>().direction = ZT_DIRECTION_EGRESS;
      shutdown.As<zt_connection_shutdown_event>().flags = ZT_DATA_SKIPPED;
      Feed(shutdown);
    }
    if (way == 2) pipeline_->SetHarmRung(kServer, HarmRung::kDetached);
    Record closed = server_.Closed(now_ += kMs);
    closed.As<zt_connection_closed_event>().flags = way == 2 ? 0 : ZT_DATA_SKIPPED;
    closed.As<zt_connection_closed_event>().turns_before = way == 0 ? 7 : 0;
    Feed(closed);
    EXPECT_TRUE(Paths().empty()) << way;
    EXPECT_EQ(Total().seen - before.seen, way == 0 ? 8u : 1u) << way;
    EXPECT_EQ(Total().dropped_total() - before.dropped_total(), Total().seen - before.seen) << way;
    EXPECT_EQ(Total().in_flight(), 0u) << way;
  }
}

// How long the rest of a body was that was skipped is not known.
TEST_F(PipelineHarmTest, ABodyThatWasCutBySkippingEndsNoExchange) {
  constexpr std::string_view kBegun = "HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n0123456789";
  for (const bool closes : {true, false}) {
    server_ = ConnectionEnd{
        .id = server_.id + 2, .tgid = kServer, .tid = kServer, .role = ZT_ROLE_SERVER};
    server_.client_port = static_cast<uint16_t>(server_.client_port + 1);
    const LedgerCounts before = Total();
    const uint64_t counted_before = Requests();
    Feed(server_.Opened(now_ += kMs));
    Feed(server_.Read(now_ += kMs, Request("/cut")));
    Feed(server_.Send(now_ += kMs, kBegun));
    pipeline_->SetHarmRung(kServer, HarmRung::kCounts);
    Skip(3);
    if (closes) {
      Record closed = server_.Closed(now_ += kMs);
      closed.As<zt_connection_closed_event>().flags = ZT_DATA_SKIPPED;
      closed.As<zt_connection_closed_event>().turns_before = 3;
      Feed(closed);
    } else {
      pipeline_->SetHarmRung(kServer, HarmRung::kFull);
      Feed(AfterSkip(server_.Read(now_ += kMs, Request("/b")), 3));
      Feed(server_.Send(now_ += kMs, kResponse));
      for (int i = 0; i < 9; ++i) Exchange("/b");
    }
    const std::vector<std::string> paths = Paths();
    EXPECT_EQ(std::count(paths.begin(), paths.end(), "/cut"), 0) << closes;
    EXPECT_EQ(paths.size(), closes ? 0u : 10u);
    EXPECT_EQ(Requests() - counted_before, paths.size()) << closes;
    EXPECT_EQ(Total().seen - before.seen, closes ? 4u : 14u) << closes;
    EXPECT_EQ(Total().in_flight(), 0u) << closes;
    EXPECT_EQ(Harmed(), Total().dropped_total()) << closes;
    pipeline_->SetHarmRung(kServer, HarmRung::kFull);
  }
}

TEST_F(PipelineHarmTest, AStatementThatWasCutBySkippingIsDropped) {
  using namespace postgres_test;  // NOLINT(google-build-using-namespace)
  const auto ask = [this](const std::string& sql) {
    Feed(server_.Read(now_ += kMs, Query(sql)));
    Feed(server_.Send(now_ += kMs,
                      RowDescription() + Rows(1) + postgres_test::Complete("SELECT 1") + Ready()));
  };
  server_.server_port = 5432;
  Feed(server_.Opened(now_ += kMs));
  Feed(server_.Read(now_ += kMs, Startup({{"user", "app"}, {"database", "shop"}})));
  Feed(server_.Send(now_ += kMs, AuthenticationOk() + BackendKeyData() + Ready()));
  Feed(server_.Read(now_ += kMs, Query("SELECT 'cut'")));
  const std::string rows = RowDescription() + Rows(2, std::string(500, 'r'));
  Feed(server_.Send(now_ += kMs, rows.substr(0, rows.size() - 300)));
  pipeline_->SetHarmRung(kServer, HarmRung::kCounts);
  Skip(3);
  pipeline_->SetHarmRung(kServer, HarmRung::kFull);
  // The kernel side comes back in the middle of a message, too.
  Feed(AfterSkip(server_.Read(now_ += kMs, Query("SELECT 'half of it'").substr(9)), 3));
  Feed(server_.Send(now_ += kMs, rows.substr(40) + postgres_test::Complete("SELECT 2") + Ready()));
  for (int i = 0; i < 10; ++i) ask("SELECT " + std::to_string(i));
  std::vector<Span> spans;
  pipeline_->TakeSpans(spans);
  EXPECT_EQ(spans.size(), 9u) << "the first one ends a message that was skipped";
  // Cut once more, and over.
  Feed(server_.Read(now_ += kMs, Query("SELECT 'cut'")));
  Feed(server_.Send(now_ += kMs, rows.substr(0, rows.size() - 300)));
  pipeline_->SetHarmRung(kServer, HarmRung::kCounts);
  Skip(3);
  Record closed = server_.Closed(now_ += kMs);
  closed.As<zt_connection_closed_event>().flags = ZT_DATA_SKIPPED;
  closed.As<zt_connection_closed_event>().turns_before = 3;
  Feed(closed);
  pipeline_->TakeSpans(spans);
  for (const Span& span : spans) {
    pipeline_->ledger().Emitted(span.ledger_row);
    EXPECT_EQ(span.attributes.FindText(semconv::kDbQueryText), "SELECT ?");
    EXPECT_EQ(span.end_unix_ns - span.start_unix_ns, kMs);
    EXPECT_NE(span.status, SpanStatus::kError);
  }
  EXPECT_EQ(Total().in_flight(), 0u);
  EXPECT_EQ(Harmed(), Total().dropped_total());
}

TEST_F(PipelineHarmTest, DetachedEndsWhatIsInFlightAndComesBackAsALateJoin) {
  Feed(server_.Opened(1));
  Exchange("/a");
  Feed(server_.Read(now_ += kMs, Request("/cut")));
  pipeline_->SetHarmRung(kServer, HarmRung::kDetached);
  EXPECT_EQ(Total().in_flight(), 1u) << "the span that waits for its export";
  EXPECT_EQ(Harmed(), 1u);
  // What was on its way in the ring then.
  Feed(server_.Send(now_ += kMs, kResponse));
  Exchange("/late");
  EXPECT_EQ(Paths(), std::vector<std::string>{"/a"});
  EXPECT_FALSE(control_.verdicts.contains(server_.id) &&
               control_.verdicts[server_.id].mode == ZT_VERDICT_IGNORE);
  Skip(1000);
  pipeline_->SetHarmRung(kServer, HarmRung::kCounts);
  pipeline_->SetHarmRung(kServer, HarmRung::kFull);
  Exchange("/b");
  Exchange("/c");
  EXPECT_EQ(Paths(), (std::vector<std::string>{"/b", "/c"}));
  EXPECT_EQ(Total().seen, 4u);
  EXPECT_EQ(Total().in_flight(), 0u);
}

TEST_F(PipelineHarmTest, AConnectionThatIsFirstSeenInTheLastRecordsOfADetachedProcessWaits) {
  Feed(server_.Opened(1));
  pipeline_->SetHarmRung(kServer, HarmRung::kDetached);
  ConnectionEnd other = server_;
  other.id = 9;
  other.client_port = 41000;
  Feed(other.Opened(now_ += kMs));
  Feed(other.Read(now_ += kMs, Request("/cut")));
  Feed(other.Closed(now_ += kMs));
  EXPECT_TRUE(Paths().empty());
  EXPECT_EQ(Total().in_flight(), 0u);
}

TEST_F(PipelineHarmTest, OtherProcessesAreNotTouched) {
  ConnectionEnd other = server_;
  other.id = 9;
  other.tgid = 300;
  other.client_port = 41000;
  Feed(server_.Opened(1));
  Feed(other.Opened(1));
  Feed(other.Read(now_ += kMs, Request("/other")));
  pipeline_->SetHarmRung(kServer, HarmRung::kDetached);
  Feed(other.Send(now_ += kMs, kResponse));
  EXPECT_EQ(Paths(), std::vector<std::string>{"/other"});
  EXPECT_EQ(control_.policies[300], ZT_PROCESS_TRACE);
}

TEST_F(PipelineHarmTest, ANewProgramOfTheProcessIsWatchedInFull) {
  Feed(server_.Opened(1));
  Exchange("/a");
  pipeline_->SetHarmRung(kServer, HarmRung::kDetached);
  Exec(kServer);
  Exchange("/b");
  EXPECT_EQ(Paths(), (std::vector<std::string>{"/a", "/b"}));
  EXPECT_EQ(control_.policies[kServer], ZT_PROCESS_TRACE);
}

// The kernel side counts the bytes of a unix connection from where it first looked at it.
TEST_F(PipelineHarmTest, AUnixConnectionFromATimeUnwatchedNamesNoParentByItsPosition) {
  for (const bool by_rules : {false, true}) {
    server_.id += 2;
    server_.sent = server_.received = 0;
    ConnectionEnd client = ClientOf(300);
    client.id += server_.id;
    pipeline_->SetHarmRung(kServer, HarmRung::kFull);
    Feed(ConnectionEnd{.id = 700 + server_.id, .tgid = kServer}.Opened(now_ += kMs));
    if (by_rules) {
      traced_ = false;
      ASSERT_TRUE(pipeline_->Reconfigure({}, /*processes_changed=*/true));
      traced_ = true;
      ASSERT_TRUE(pipeline_->Reconfigure({}, /*processes_changed=*/true));
    } else {
      pipeline_->SetHarmRung(kServer, HarmRung::kDetached);
    }
    OpenUnix(client, server_);
    Feed(client.Send(now_ += kMs, Request("/one")));
    Feed(client.Read(now_ += kMs, kResponse));
    now_ += 100 * kMs;
    pipeline_->SetHarmRung(kServer, HarmRung::kFull);
    OpenUnix(server_, client);
    Exchange("/two");
    const std::vector<Span> spans = SettledSpans();
    ASSERT_EQ(spans.size(), 2u) << by_rules;
    EXPECT_EQ(spans[0].parent_span_id.value, 0u) << by_rules;
    EXPECT_EQ(spans[1].parent_span_id.value, 0u) << by_rules;
    Fork(1, kServer);  // somebody else now
  }
}

// Descriptors stay open.
TEST_F(PipelineHarmTest, SoItIsForItsNextProgramAndForItsForks) {
  constexpr uint32_t kChild = 250;
  const std::vector<std::function<void()>> ways = {
      [&] { Exec(kServer); },
      [&] { Exec(kServer), Exec(kServer); },
      [&] { Fork(kServer, kChild), server_.tgid = kChild; },
      [&] { Fork(kServer, kChild), Exec(kChild), server_.tgid = kChild; },
      [&] { Fork(1, kServer); },  // the number's next owner
      [&] {  // as above, and its fork was not told of
        Record exit = MakeRecord<zt_process_exit_event>(ZT_EVENT_PROCESS_EXIT, now_ += kMs);
        exit.As<zt_process_exit_event>().tgid = kServer;
        Feed(exit);
        pipeline_->Advance(now_ += 20'000 * kMs);
      }};
  for (const bool by_rules : {false, true}) {
    for (size_t way = 0; way < ways.size(); ++way) {
      SCOPED_TRACE(std::to_string(way) + (by_rules ? " by rules" : ""));
      server_.id += 2;
      server_.tgid = kServer;
      server_.sent = server_.received = 0;
      ConnectionEnd client = ClientOf(300);
      client.id += server_.id;
      traced_ = !by_rules;
      Feed(ConnectionEnd{.id = 700 + server_.id, .tgid = kServer}.Opened(now_ += kMs));
      traced_ = true;
      if (!by_rules) pipeline_->SetHarmRung(kServer, HarmRung::kDetached);
      const bool ends_long_before = way == 5;
      if (ends_long_before) Exec(kServer), ways[way]();
      OpenUnix(client, server_);
      Feed(client.Send(now_ += kMs, Request("/one")));
      Feed(client.Read(now_ += kMs, kResponse));
      now_ += 100 * kMs;
      if (!ends_long_before) ways[way]();
      OpenUnix(server_, client);
      Exchange("/two");
      const std::vector<Span> spans = SettledSpans();
      ASSERT_EQ(spans.size(), 2u);
      const bool exact = way >= 4;
      EXPECT_EQ(spans[1].parent_span_id.value, exact ? spans[0].span_id.value : 0u);
      Fork(1, kServer);
      Fork(1, kChild);
    }
  }
}

TEST_F(PipelineHarmTest, WhatHasNoSpanIsNobodysParent) {
  ConnectionEnd client = ClientOf(300);
  Feed(client.Opened(now_ += kMs));
  Feed(server_.Opened(now_ += kMs));
  pipeline_->SetHarmRung(300, HarmRung::kMetrics);
  Feed(client.Send(now_ += kMs, Request("/a")));
  Feed(server_.Read(now_ += kMs, Request("/a")));
  Feed(server_.Send(now_ += kMs, kResponse));
  // Its rung is of no account any more: who caused what was settled when it began.
  pipeline_->SetHarmRung(300, HarmRung::kFull);
  Feed(client.Read(now_ += kMs, kResponse));
  const std::vector<Span> spans = SettledSpans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].kind, SpanKind::kServer);
  EXPECT_EQ(spans[0].parent_span_id.value, 0u);
  EXPECT_EQ(Harmed(), 1u);
  EXPECT_EQ(Total().filtered(), 0u);
}

TEST_F(PipelineHarmTest, WhatSomebodyNamedAsItsParentStillGetsItsSpan) {
  ConnectionEnd client = ClientOf(300);
  Feed(client.Opened(now_ += kMs));
  Feed(server_.Opened(now_ += kMs));
  Feed(client.Send(now_ += kMs, Request("/a")));
  Feed(server_.Read(now_ += kMs, Request("/a")));
  Feed(server_.Send(now_ += kMs, kResponse));
  pipeline_->SetHarmRung(300, HarmRung::kMetrics);
  Feed(client.Read(now_ += kMs, kResponse));
  const std::vector<Span> spans = SettledSpans();
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0].parent_span_id.value, spans[1].span_id.value);
}

TEST_F(PipelineHarmTest, CountsReachedFromDetachedCount) {
  Feed(server_.Opened(now_ += kMs));
  Exchange("/a");
  pipeline_->SetHarmRung(kServer, HarmRung::kDetached);
  pipeline_->SetHarmRung(kServer, HarmRung::kCounts);
  ASSERT_TRUE(control_.verdicts.contains(server_.id));
  EXPECT_EQ(control_.verdicts[server_.id].mode, ZT_VERDICT_DETECT)
      << "the kernel side counts what the protocol is known of";
  EXPECT_GT(control_.verdicts[server_.id].edge_bytes, 0);
  Exchange("/b");
  EXPECT_EQ(control_.verdicts[server_.id].mode, ZT_VERDICT_HEADS);
  const uint64_t seen = Total().seen;
  Skip(63);
  Feed(Telling(64));
  EXPECT_EQ(Total().seen, seen + 64);
}

TEST_F(PipelineHarmTest, AConnectionOfTwoProcessesGoesOnForTheOther) {
  Feed(server_.Opened(now_ += kMs));
  Exchange("/a");
  pipeline_->SetHarmRung(kServer, HarmRung::kDetached);
  server_.tgid = 300;
  Exchange("/b");
  Exchange("/c");
  EXPECT_EQ(Paths(), (std::vector<std::string>{"/a", "/b", "/c"}));
  server_.tgid = kServer;
  Exchange("/late");
  EXPECT_TRUE(Paths().empty());
  pipeline_->SetHarmRung(300, HarmRung::kDetached);
  server_.tgid = 300;
  Exchange("/late");
  EXPECT_TRUE(Paths().empty());
  pipeline_->SetHarmRung(kServer, HarmRung::kFull);
  server_.tgid = kServer;
  Exchange("/d");
  EXPECT_EQ(Paths(), std::vector<std::string>{"/d"});
  EXPECT_EQ(Total().in_flight(), 0u);
}

TEST_F(PipelineHarmTest, AConnectionOutlivesTheDetachedProcess) {
  for (const bool number_is_taken : {false, true}) {
    server_.id += 2;
    server_.client_port = static_cast<uint16_t>(server_.client_port + 1);
    Feed(server_.Opened(now_ += kMs));
    pipeline_->SetHarmRung(kServer, HarmRung::kDetached);
    if (number_is_taken) {
      Fork(1, kServer);
    } else {
      pipeline_->ForgetProcess(kServer);
      pipeline_->Advance(now_ += 20'000 * kMs);
    }
    Exchange("/a");
    EXPECT_EQ(Paths(), std::vector<std::string>{"/a"}) << number_is_taken;
  }
}

TEST_F(PipelineHarmTest, RulesLeaveOutWhatIsSuspendedToo) {
  Feed(server_.Opened(now_ += kMs));
  Exchange("/a");
  pipeline_->SetHarmRung(kServer, HarmRung::kDetached);
  PipelineOptions without;
  without.exclude_ports = {80};
  ASSERT_TRUE(pipeline_->Reconfigure(without, /*processes_changed=*/false));
  EXPECT_EQ(control_.verdicts[server_.id].mode, ZT_VERDICT_IGNORE);
  pipeline_->SetHarmRung(kServer, HarmRung::kFull);
  Exchange("/b");
  EXPECT_EQ(Paths(), std::vector<std::string>{"/a"});
  pipeline_->SetHarmRung(kServer, HarmRung::kDetached);
  ASSERT_TRUE(pipeline_->Reconfigure({}, /*processes_changed=*/false));
  Exchange("/late");
  EXPECT_TRUE(Paths().empty()) << "its process is still detached";
  pipeline_->SetHarmRung(kServer, HarmRung::kFull);
  Exchange("/c");
  EXPECT_EQ(Paths(), std::vector<std::string>{"/c"});
}

}  // namespace
}  // namespace zerotap
