// From the bytes of records to the batch that is handed over, steady traffic allocates nothing: the
// hot path runs hundreds of thousands of times a second. Spans that an exporter is done with come
// back for their memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "agent/pipeline/pipeline.h"
#include "agent/telemetry/semconv.h"
#include "tests/support/malloc_counter.h"
#include "tests/support/postgres_builders.h"
#include "tests/support/record_builder.h"

namespace zerotap {
namespace {

using testing::ConnectionEnd;
using testing::Record;

constexpr size_t kRounds = 600;

struct Conversation {
  std::string opening_asked, opening_answered;
  std::string asked, answered;
  size_t exchanges = 1;
};

Conversation Http() {
  Conversation http;
  http.asked =
      "GET /api/v1/items/1234?full=true&token=secret HTTP/1.1\r\nHost: "
      "shop.example:8080\r\nUser-Agent: wrk/4.2.0\r\n"
      "X-Forwarded-For: 203.0.113.9, 10.0.0.1\r\nX-Request-Id: "
      "0af7651916cd43dd8448eb211c80319c\r\n\r\n";
  http.answered =
      "HTTP/1.1 503 Service Unavailable\r\nServer: nginx\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
  return http;
}

Conversation HttpWithContext() {
  Conversation http = Http();
  http.asked.insert(
      http.asked.size() - 2,
      "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
      "tracestate: vendor=a value that is longer than what a string has room for in itself\r\n");
  return http;
}

Conversation Postgres() {
  using namespace postgres_test;  // NOLINT: the builders are the language of this function
  Conversation sql;
  sql.opening_asked = Startup(
      {{"user", "app"}, {"database", "shop"}, {"application_name", "a test of allocations"}});
  sql.opening_answered = AuthenticationOk() + Ready();
  sql.asked = Statement("SELECT a, b, c FROM a_table WHERE a = $1 AND b = 'a value' ORDER BY b",
                        {"value"}) +
              Sync() + Query("UPDATE a_table SET a = 17 WHERE b = 'another value'");
  sql.answered = Selected(3) + Ready() + Complete("UPDATE 1") + Ready();
  sql.exchanges = 2;
  return sql;
}

class Control final : public CaptureControl {
 public:
  void SetVerdict(uint64_t, const zt_verdict&) override {
    if (wasteful) wasted = std::string(100, 'x');
  }
  void SetProcessPolicy(uint32_t, zt_process_policy) override {}
  void ForgetProcess(uint32_t) override {}
  bool wasteful = false;
  std::string wasted;
};

struct Mode {
  bool spans;
  std::string sampler = "parentbased_always_on", argument = {};
};

class PipelineAllocationTest : public ::testing::Test {
 protected:
  void SetUp() override {
#if !ZEROTAP_COUNTS_MALLOC
    GTEST_SKIP() << "the sanitizer has its own malloc";
#endif
  }

  // The two ends of a connection on this host; an end without a process is not fed.
  struct Pair {
    ConnectionEnd client, server;
  };

  void Start(const Mode& mode) {
    PipelineOptions options;
    options.spans_enabled = mode.spans;
    options.sampler = mode.sampler;
    options.sampler_argument = mode.argument;
    auto resource = std::make_shared<Resource>();
    resource->service_name = "a service of some name";
    resource->attributes.Add(semconv::kServiceName, resource->service_name);
    auto created = Pipeline::Create(options, control_, [resource](uint32_t tgid) {
      TracedProcess process;
      process.tgid = tgid;
      process.resource = resource;
      return std::optional(process);
    });
    ASSERT_TRUE(created) << created.error().message;
    pipeline_ = std::move(*created);
    pipeline_->SetThreadReader([](uint32_t, uint32_t) { return std::optional(ThreadTimes{}); });
  }

  void Open(const Conversation& conversation, bool with_client, bool with_server, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      Pair pair;
      pair.client.id = 2 * i + 1;
      pair.server.id = 2 * i + 2;
      pair.client.role = ZT_ROLE_CLIENT;
      pair.server.role = ZT_ROLE_SERVER;
      pair.client.client_isn = pair.server.client_isn = static_cast<uint32_t>(1000 * i + 1);
      pair.client.tgid = pair.client.tid = with_client ? 100 : 0;
      pair.server.tgid = pair.server.tid = with_server ? 200 + static_cast<uint32_t>(i) : 0;
      pairs_.push_back(pair);
      if (with_client) Feed(pairs_.back().client.Opened(++now_));
      if (with_server) Feed(pairs_.back().server.Opened(++now_));
      if (!conversation.opening_asked.empty())
        Say(pairs_.back(), conversation.opening_asked, conversation.opening_answered);
    }
  }

  void Feed(const Record& record) { pipeline_->HandleRecord(record.bytes()); }

  void Say(Pair& pair, const std::string& asked, const std::string& answered) {
    std::vector<Record> records;  // making them allocates, and is not what is counted
    if (pair.client.tgid != 0) records.push_back(pair.client.Send(now_ += 1000, asked));
    if (pair.server.tgid != 0) records.push_back(pair.server.Read(now_ += 1000, asked));
    if (pair.server.tgid != 0) records.push_back(pair.server.Send(now_ += 1000, answered));
    if (pair.client.tgid != 0) records.push_back(pair.client.Read(now_ += 1000, answered));
    // The kernel tells of what two CPUs did in any order.
    if (server_first_) std::rotate(records.begin(), records.begin() + 1, records.begin() + 3);
    const size_t before = testing::g_mallocs;
    for (const Record& record : records) Feed(record);
    allocations_ += testing::g_mallocs - before;
  }

  // What the agent does every few milliseconds, with an exporter that is done by the next time.
  void HandOver() {
    const size_t before = testing::g_mallocs;
    pipeline_->Advance(now_);
    for (Span& span : exported_) span.Reset();
    pipeline_->Recycle(exported_);
    pipeline_->TakeSpans(exported_);
    allocations_ += testing::g_mallocs - before;
    spans_ += exported_.size();
  }

  void Rounds(const Conversation& conversation) {
    for (size_t round = 0; round < kRounds; ++round) {
      for (Pair& pair : pairs_) Say(pair, conversation.asked, conversation.answered);
      if (round % 8 == 7) HandOver();
      now_ += 10'000'000;
    }
    HandOver();
  }

  // Allocations of steady traffic, after as much of it that may grow buffers.
  size_t Allocations(const Mode& mode, const Conversation& conversation, bool with_client,
                     bool with_server) {
    Start(mode);
    Open(conversation, with_client, with_server, 4);
    for (int i = 0; i < 3; ++i) Rounds(conversation);
    const uint64_t seen = pipeline_->ledger().Total().seen;
    spans_ = allocations_ = 0;
    Rounds(conversation);
    expected_ =
        kRounds * pairs_.size() * conversation.exchanges * (with_client && with_server ? 2 : 1);
    EXPECT_EQ(pipeline_->ledger().Total().seen - seen, expected_);
    EXPECT_EQ(pipeline_->ledger().Total().dropped_total(), 0u);
    return allocations_;
  }

  Control control_;
  std::unique_ptr<Pipeline> pipeline_;
  std::vector<Pair> pairs_;
  std::vector<Span> exported_;
  uint64_t now_ = 1'000'000'000;
  size_t allocations_ = 0, spans_ = 0, expected_ = 0;
  bool server_first_ = false;
};

TEST_F(PipelineAllocationTest, HttpServerWithSpans) {
  EXPECT_EQ(Allocations({true}, Http(), false, true), 0u);
  EXPECT_EQ(spans_, expected_);
}
TEST_F(PipelineAllocationTest, HttpServerWithMetricsOnly) {
  EXPECT_EQ(Allocations({false}, Http(), false, true), 0u);
  EXPECT_EQ(spans_, 0u);
}
TEST_F(PipelineAllocationTest, HttpClientWithSpans) {
  EXPECT_EQ(Allocations({true}, Http(), true, false), 0u);
  EXPECT_EQ(spans_, expected_);
}
TEST_F(PipelineAllocationTest, HttpClientWithMetricsOnly) {
  EXPECT_EQ(Allocations({false}, Http(), true, false), 0u);
}
TEST_F(PipelineAllocationTest, HttpBothEndsWithSpans) {
  EXPECT_EQ(Allocations({true}, Http(), true, true), 0u);
  EXPECT_EQ(spans_, expected_);
}
TEST_F(PipelineAllocationTest, HttpBothEndsWithSpansThatWaitForTheirParent) {
  server_first_ = true;
  EXPECT_EQ(Allocations({true}, Http(), true, true), 0u);
  EXPECT_EQ(spans_, expected_);
}
TEST_F(PipelineAllocationTest, HttpBothEndsSampled) {
  EXPECT_EQ(Allocations({true, "parentbased_traceidratio", "0.1"}, Http(), true, true), 0u);
  EXPECT_LT(spans_, expected_ / 5);
  EXPECT_GT(spans_, expected_ / 20);
}
TEST_F(PipelineAllocationTest, HttpServerWithACarriedContext) {
  EXPECT_EQ(Allocations({true}, HttpWithContext(), false, true), 0u);
  EXPECT_EQ(spans_, expected_);
}
TEST_F(PipelineAllocationTest, PostgresServerWithSpans) {
  EXPECT_EQ(Allocations({true}, Postgres(), false, true), 0u);
  EXPECT_EQ(spans_, expected_);
}
TEST_F(PipelineAllocationTest, PostgresServerWithMetricsOnly) {
  EXPECT_EQ(Allocations({false}, Postgres(), false, true), 0u);
}
TEST_F(PipelineAllocationTest, PostgresClientWithSpans) {
  EXPECT_EQ(Allocations({true}, Postgres(), true, false), 0u);
  EXPECT_EQ(spans_, expected_);
}
TEST_F(PipelineAllocationTest, PostgresClientWithMetricsOnly) {
  EXPECT_EQ(Allocations({false}, Postgres(), true, false), 0u);
}
TEST_F(PipelineAllocationTest, PostgresBothEndsWithSpans) {
  EXPECT_EQ(Allocations({true}, Postgres(), true, true), 0u);
  EXPECT_EQ(spans_, expected_);
}

// The count is of the whole way: what is allocated anywhere on it is seen.
TEST_F(PipelineAllocationTest, AnAllocationPutInIsSeen) {
  ASSERT_EQ(Allocations({true}, Http(), false, true), 0u);
  control_.wasteful = true;
  allocations_ = 0;
  for (size_t round = 0; round < 64; ++round) {
    control_.wasted = {};
    Say(pairs_.front(), Http().asked, Http().answered);
  }
  EXPECT_GT(allocations_, 0u);
}

}  // namespace
}  // namespace zerotap
