// What changes while the pipeline runs: its rules, and what it learns of programs that have spans of their own.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "agent/pipeline/pipeline.h"
#include "agent/telemetry/semconv.h"
#include "tests/support/pipeline_fixture.h"
#include "tests/support/record_builder.h"

namespace zerotap {
namespace {

using testing::ConnectionEnd;
using testing::KeptControl;
using testing::Record;

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kSecond = 1000 * kMs;
constexpr std::string_view kResponse = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

class PipelineChangeTest : public ::testing::Test {
 protected:
  PipelineChangeTest() { Start({}); }
  void Start(const PipelineOptions& options) {
    options_ = options;
    auto created = Pipeline::Create(options, control_, [this](uint32_t tgid) {
      if (unknown_.contains(tgid)) return std::optional<TracedProcess>();
      return std::optional(testing::NamedProcess(tgid, !excluded_.contains(tgid),
                                                 renamed_ ? "renamed-" : "service-"));
    });
    ASSERT_TRUE(created) << created.error().message;
    pipeline_ = std::move(*created);
  }
  void Change(bool processes = false) {
    Status status = pipeline_->Reconfigure(options_, processes);
    ASSERT_TRUE(status) << status.error().message;
  }
  void Feed(const Record& record) { pipeline_->HandleRecord(record.bytes()); }
  std::vector<Span> Spans() {
    std::vector<Span> spans;
    pipeline_->TakeSpans(spans);
    return spans;
  }
  // The spans that are there once nobody waits for another end any more.
  std::vector<Span> SettledSpans() {
    now_ns_ += kSecond;
    pipeline_->Advance(now_ns_);
    return Spans();
  }
  uint64_t Now() { return now_ns_ += kMs; }
  LedgerCounts Counts() { return pipeline_->ledger().Total(); }
  uint64_t Filtered(FilterReason reason) {
    return Counts().filtered_by[static_cast<size_t>(reason)];
  }
  void ExpectAccounted() { EXPECT_EQ(Counts().in_flight(), 0u); }

  static ConnectionEnd End(uint64_t id, uint32_t tgid, uint8_t role, uint16_t client_port = 40000,
                           uint16_t server_port = 80) {
    ConnectionEnd end;
    end.id = id;
    end.tgid = tgid;
    end.tid = tgid + 1;
    end.role = role;
    end.client_port = client_port;
    end.server_port = server_port;
    end.client_isn = client_port;
    end.server_isn = server_port + 100000u;
    return end;
  }
  void Ask(ConnectionEnd& client, std::string_view request) { Feed(client.Send(Now(), request)); }
  void Serve(ConnectionEnd& server, std::string_view request,
             std::string_view response = kResponse) {
    Feed(server.Read(Now(), request));
    Feed(server.Send(Now(), response));
  }
  static std::string Get(std::string_view path, std::string_view headers = "") {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: shop\r\n" + std::string(headers) +
           "\r\n";
  }
  static std::string Export(std::string_view path,
                            std::string_view type = "application/x-protobuf") {
    return "POST " + std::string(path) + " HTTP/1.1\r\nHost: c\r\nContent-Type: " +
           std::string(type) + "\r\nContent-Length: 4\r\n\r\nabcd";
  }
  // One export call of `tgid` and its answer.
  void ExportFrom(uint32_t tgid, std::string_view path,
                  std::string_view answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") {
    ++next_id_;
    ConnectionEnd out = End(next_id_, tgid, ZT_ROLE_CLIENT, static_cast<uint16_t>(next_id_), 4318);
    Feed(out.Opened(Now()));
    Ask(out, Export(path));
    Feed(out.Read(Now(), answer));
    Feed(out.Closed(Now()));
  }

  KeptControl control_;
  PipelineOptions options_;
  std::set<uint32_t> excluded_;
  std::set<uint32_t> unknown_;
  bool renamed_ = false;
  uint64_t now_ns_ = kSecond;
  uint64_t next_id_ = 50000;
  std::unique_ptr<Pipeline> pipeline_;
};

TEST_F(PipelineChangeTest, ARequestInFlightSurvivesAChange) {
  ConnectionEnd server = End(2, 200, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  Feed(server.Read(Now(), Get("/cart/17", "X-Tenant: a\r\n")));
  options_.routes.patterns = {"/cart/{number}"};
  options_.parser.request_headers = {"x-tenant"};
  options_.sampler = "parentbased_always_on";
  renamed_ = true;
  Change(true);
  Feed(server.Send(Now(), kResponse));
  std::vector<Span> spans = SettledSpans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].name, "GET /cart/{number}");
  EXPECT_EQ(spans[0].resource->service_name, "renamed-200");

  Serve(server, Get("/cart/18", "X-Tenant: b\r\n"));
  spans = SettledSpans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_TRUE(spans[0].attributes.Has("http.request.header.x-tenant"));
  EXPECT_EQ(Counts().seen, 2u);
}

TEST_F(PipelineChangeTest, TheLimitOfAttributesIsTaken) {
  ConnectionEnd server = End(2, 200, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  options_.attribute_count_limit = 3;
  Change();
  Serve(server, Get("/cart/17"));
  std::vector<Span> spans = SettledSpans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].attributes.size(), 3u);
}

TEST_F(PipelineChangeTest, KnownMethodsAreTaken) {
  ConnectionEnd server = End(2, 200, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  for (const bool known : {false, true, false}) {
    options_.known_methods.clear();
    if (known) options_.known_methods.push_back("PURGE");
    Change();
    Serve(server, "PURGE /cart HTTP/1.1\r\nHost: shop\r\n\r\n");
    std::vector<Span> spans = SettledSpans();
    ASSERT_EQ(spans.size(), 1u);
    EXPECT_EQ(spans[0].name, known ? "PURGE /cart" : "HTTP /cart");
  }
}

TEST_F(PipelineChangeTest, CapturedHeadersOfARequestInFlightOutliveTheirList) {
  options_.parser.request_headers = {"x-tenant-with-a-name-that-is-long-enough"};
  Change();
  ConnectionEnd server = End(2, 200, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  Feed(server.Read(Now(), Get("/", "X-Tenant-With-A-Name-That-Is-Long-Enough: a\r\n")));
  for (int i = 0; i < 3; ++i) {
    options_.parser.request_headers = {"another-list-" + std::to_string(i)};
    Change();
  }
  Feed(server.Send(Now(), kResponse));
  std::vector<Span> spans = SettledSpans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_TRUE(
      spans[0].attributes.Has("http.request.header.x-tenant-with-a-name-that-is-long-enough"));
}

TEST_F(PipelineChangeTest, LimitsOfAttributesChangeForWhatEndsFromNowOn) {
  ConnectionEnd server = End(2, 200, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  Feed(server.Read(Now(), Get("/a")));
  options_.attribute_count_limit = 3;
  Change();
  Feed(server.Send(Now(), kResponse));
  const std::vector<Span> spans = SettledSpans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].attributes.size(), 3u);
  EXPECT_GT(spans[0].dropped_attributes, 0u);
}

TEST_F(PipelineChangeTest, SamplingAndRedactionChangeForWhatEndsFromNowOn) {
  ConnectionEnd server = End(2, 200, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  Serve(server, Get("/a?voucher=1"));
  std::vector<Span> spans = SettledSpans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].attributes.FindText("url.query"), "voucher=1");
  options_.redaction.extra_query_keys = {"voucher"};
  Change();
  Serve(server, Get("/a?voucher=1"));
  spans = SettledSpans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].attributes.FindText("url.query"), "voucher=REDACTED");
  options_.sampler = "always_off";
  Change();
  Serve(server, Get("/a"));
  EXPECT_TRUE(SettledSpans().empty());
  EXPECT_EQ(Counts().sampled_out, 1u);
}

TEST_F(PipelineChangeTest, AnExcludedProcessIsFilteredAndComesBack) {
  ConnectionEnd server = End(2, 200, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  Serve(server, Get("/a"));
  Feed(server.Read(Now(), Get("/in-flight")));
  excluded_ = {200};
  Change(true);
  EXPECT_EQ(control_.policies[200], ZT_PROCESS_IGNORE);
  EXPECT_EQ(Filtered(FilterReason::kRules), 1u) << "the request in flight";
  Feed(server.Send(Now(), kResponse));
  Serve(server, Get("/unseen"));
  EXPECT_EQ(SettledSpans().size(), 1u) << "what ended before";

  excluded_.clear();
  Change(true);
  EXPECT_FALSE(control_.policies.contains(200));
  EXPECT_EQ(control_.verdicts[2].mode, ZT_VERDICT_DETECT);
  for (int i = 0; i < 3; ++i) Serve(server, Get("/again"));
  EXPECT_EQ(SettledSpans().size(), 3u);
  EXPECT_EQ(Counts().seen, 5u);
}

TEST_F(PipelineChangeTest, AConnectionThatWasAcceptedByAnExcludedProcessIsJoinedInItsMiddle) {
  excluded_ = {200};
  ConnectionEnd known = End(2, 200, ZT_ROLE_SERVER);
  Feed(known.Opened(Now()));
  ConnectionEnd late = End(3, 0, ZT_ROLE_SERVER, 40001);  // accepted: nobody's yet
  Feed(late.Opened(Now()));
  late.tgid = 200;
  late.received = 120;  // passed while nobody looked
  late.sent = 300;
  excluded_.clear();
  Change(true);
  Serve(late, Get("/a"));
  Serve(late, Get("/b"));
  EXPECT_EQ(SettledSpans().size(), 2u);
}

TEST_F(PipelineChangeTest, PortsThatAreLeftOutComeBack) {
  ConnectionEnd server = End(2, 200, ZT_ROLE_SERVER);
  ConnectionEnd other = End(3, 200, ZT_ROLE_SERVER, 40001, 81);
  Feed(server.Opened(Now()));
  Feed(other.Opened(Now()));
  options_.exclude_ports = {80};
  Change();
  EXPECT_EQ(control_.verdicts[2].mode, ZT_VERDICT_IGNORE);
  Serve(server, Get("/a"));
  Serve(other, Get("/b"));
  EXPECT_EQ(SettledSpans().size(), 1u);
  options_.exclude_ports.clear();
  Change();
  Serve(server, Get("/c"));
  Serve(other, Get("/d"));
  EXPECT_EQ(SettledSpans().size(), 2u);
}

TEST_F(PipelineChangeTest, TrafficThatIsNoProtocolStaysIgnored) {
  ConnectionEnd server = End(2, 200, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  for (int i = 0; i < 20; ++i) {
    Feed(server.Read(Now(), "\x01\x02 nothing that is known\n"));
    Feed(server.Send(Now(), "\x03\x04 nor this\n"));
  }
  ASSERT_EQ(control_.verdicts[2].mode, ZT_VERDICT_IGNORE);
  Change(true);
  EXPECT_EQ(control_.verdicts[2].mode, ZT_VERDICT_IGNORE);
}

TEST_F(PipelineChangeTest, ABadChangeChangesNothing) {
  options_.exclude_ports = {80};
  options_.routes.patterns = {"no slash {"};
  EXPECT_FALSE(pipeline_->Reconfigure(options_, true));
  ConnectionEnd server = End(2, 200, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  Serve(server, Get("/a"));
  EXPECT_EQ(SettledSpans().size(), 1u);
}

// ---- Programs with spans of their own ---------------------------------------------------------

TEST_F(PipelineChangeTest, ExportCallsAreNoRequests) {
  for (const char* path : {"/v1/traces", "/v1/metrics", "/v1/logs", "/otlp/v1/traces?x=1"}) {
    ExportFrom(100, path);
  }
  EXPECT_TRUE(SettledSpans().empty());
  EXPECT_EQ(Filtered(FilterReason::kOtlpExport), 4u);
  std::vector<Metric> metrics;
  pipeline_->CollectMetrics(1, metrics);
  EXPECT_TRUE(metrics.empty());
  ExpectAccounted();
}

TEST_F(PipelineChangeTest, WhatOnlyLooksLikeAnExportIsARequest) {
  ConnectionEnd client = End(1, 100, ZT_ROLE_CLIENT);
  Feed(client.Opened(Now()));
  const std::string requests[] = {
      Get("/v1/traces"), Export("/v1/traces/7"), Export("/v1/traces", "text/plain"),
      Export("/v1/traces", "application/jsonl"), Export("/x?y=/v1/traces")};
  for (const std::string& request : requests) {
    Ask(client, request);
    Feed(client.Read(Now(), kResponse));
  }
  EXPECT_EQ(SettledSpans().size(), std::size(requests));
  ConnectionEnd server = End(2, 100, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  Serve(server, Get("/a"));
  EXPECT_EQ(SettledSpans().size(), 1u);
}

TEST_F(PipelineChangeTest, AProcessThatExportsSpansGetsNoneOfOursButItsMetrics) {
  ConnectionEnd server = End(2, 100, ZT_ROLE_SERVER);
  ConnectionEnd other = End(3, 300, ZT_ROLE_SERVER, 40009);
  Feed(server.Opened(Now()));
  Feed(other.Opened(Now()));
  Serve(server, Get("/before"));
  ExportFrom(100, "/v1/traces");
  Serve(server, Get("/after"));
  Serve(other, Get("/other"));
  EXPECT_EQ(SettledSpans().size(), 2u);
  EXPECT_EQ(Filtered(FilterReason::kOwnSpans), 1u);
  std::vector<Metric> metrics;
  pipeline_->CollectMetrics(1, metrics);
  uint64_t counted = 0;
  for (const Metric& metric : metrics) {
    if (metric.resource->pid != 100) continue;
    for (const auto& point : metric.histograms) counted += point.count;
  }
  EXPECT_EQ(counted, 2u);
  std::vector<SelfExporter> told = pipeline_->TakeSelfExporters();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].tgid, 100u);
  EXPECT_EQ(told[0].service, "service-100");
  EXPECT_EQ(told[0].signal, OtlpExport::kTraces);
  ExportFrom(100, "/v1/traces");
  EXPECT_TRUE(pipeline_->TakeSelfExporters().empty()) << "told once";
}

TEST_F(PipelineChangeTest, AProcessThatExportsMetricsGetsNoneOfOursButItsSpans) {
  ExportFrom(100, "/v1/metrics");
  ConnectionEnd server = End(2, 100, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  Serve(server, Get("/a"));
  EXPECT_EQ(SettledSpans().size(), 1u);
  std::vector<Metric> metrics;
  pipeline_->CollectMetrics(1, metrics);
  EXPECT_TRUE(metrics.empty());
}

// Rules that leave out who is gone unseen come and go.
TEST_F(PipelineChangeTest, AnUnknownProcessIsLeftOutAndTakenInAsTheRulesSay) {
  unknown_ = {100};
  ConnectionEnd server = End(2, 100, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  Serve(server, Get("/traced"));
  std::vector<Span> spans = SettledSpans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].resource->service_name, "unknown_service");
  Feed(server.Read(Now(), Get("/in-flight")));

  unknown_.clear();
  excluded_ = {100};
  Change(true);
  EXPECT_EQ(control_.policies[100], ZT_PROCESS_IGNORE);
  Feed(server.Send(Now(), kResponse));
  EXPECT_TRUE(SettledSpans().empty());
  EXPECT_EQ(Filtered(FilterReason::kRules), 1u);
  EXPECT_EQ(Counts().seen, 2u);

  unknown_ = {100};
  excluded_.clear();
  Change(true);
  EXPECT_FALSE(control_.policies.contains(100)) << "no longer ignored by the kernel side";
  ConnectionEnd next = End(3, 100, ZT_ROLE_SERVER, 40009);
  Feed(next.Opened(Now()));
  Serve(next, Get("/traced-again"));
  spans = SettledSpans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].resource->service_name, "unknown_service");
  EXPECT_EQ(Counts().seen, 3u);
}

TEST_F(PipelineChangeTest, ExportsThatNobodyTakesSilenceNobody) {
  ExportFrom(100, "/v1/traces", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  ConnectionEnd server = End(2, 100, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  Serve(server, Get("/a"));
  EXPECT_EQ(SettledSpans().size(), 1u);
}

TEST_F(PipelineChangeTest, WhoPassesExportsOnIsWatchedLikeAnyOther) {
  ExportFrom(100, "/v1/traces");  // before it was seen to receive one
  ConnectionEnd server = End(2, 100, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  Serve(server, Export("/v1/traces"));
  ExportFrom(100, "/v1/traces");
  Serve(server, Get("/a"));
  EXPECT_EQ(SettledSpans().size(), 1u);
  EXPECT_EQ(Filtered(FilterReason::kOtlpExport), 3u);
  EXPECT_EQ(Filtered(FilterReason::kOwnSpans), 0u);
}

TEST_F(PipelineChangeTest, AnExportThatAProgramRefusedMakesItNoRelay) {
  ConnectionEnd server = End(2, 100, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  Serve(server, Export("/v1/traces"), "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  ExportFrom(100, "/v1/traces");  // might be that one passed on
  Serve(server, Get("/a"));
  EXPECT_EQ(Filtered(FilterReason::kOwnSpans), 0u);
  now_ns_ += 10'000'000'000;
  ExportFrom(100, "/v1/traces");
  Serve(server, Get("/b"));
  EXPECT_EQ(SettledSpans().size(), 1u);
  EXPECT_EQ(Filtered(FilterReason::kOwnSpans), 1u);
}

TEST_F(PipelineChangeTest, AnExportIsPassedOnBeforeItIsAnswered) {
  ConnectionEnd in = End(2, 100, ZT_ROLE_SERVER);
  ConnectionEnd server = End(3, 100, ZT_ROLE_SERVER, 40009);
  Feed(in.Opened(Now()));
  Feed(server.Opened(Now()));
  Feed(in.Read(Now(), Export("/v1/traces")));
  ExportFrom(100, "/v1/traces");
  Serve(server, Get("/meanwhile"));
  Feed(in.Send(Now(), kResponse));
  EXPECT_EQ(SettledSpans().size(), 1u);
  EXPECT_TRUE(pipeline_->TakeSelfExporters().empty());
}

TEST_F(PipelineChangeTest, AnotherProgramOfTheSamePidStartsAnew) {
  ExportFrom(100, "/v1/traces");
  Record exec = testing::MakeRecord<zt_process_exec_event>(ZT_EVENT_PROCESS_EXEC, Now());
  exec.As<zt_process_exec_event>().tgid = 100;
  Feed(exec);
  ConnectionEnd server = End(2, 100, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  Serve(server, Get("/a"));
  EXPECT_EQ(SettledSpans().size(), 1u);
}

TEST_F(PipelineChangeTest, WhatAnInstrumentedProgramCallsHangsOnItsOwnSpan) {
  ExportFrom(100, "/v1/traces");
  ConnectionEnd client = End(1, 100, ZT_ROLE_CLIENT);
  ConnectionEnd server = End(2, 200, ZT_ROLE_SERVER);
  Feed(client.Opened(Now()));
  Feed(server.Opened(Now()));
  const std::string request =
      Get("/next", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n");
  Ask(client, request);
  Serve(server, request);
  Feed(client.Read(Now(), kResponse));
  std::vector<Span> spans = SettledSpans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].resource->pid, 200u);
  EXPECT_EQ(spans[0].parent_span_id.value, 0xb7ad6b7169203331u);
  EXPECT_EQ(spans[0].trace_id.high, 0x0af7651916cd43ddu);
}

TEST_F(PipelineChangeTest, ATraceGoesOnThroughAnInstrumentedProgram) {
  ExportFrom(150, "/v1/traces");
  ConnectionEnd client = End(1, 100, ZT_ROLE_CLIENT);
  ConnectionEnd middle_in = End(2, 150, ZT_ROLE_SERVER);
  ConnectionEnd middle_out = End(3, 150, ZT_ROLE_CLIENT, 40010, 90);
  ConnectionEnd last = End(4, 200, ZT_ROLE_SERVER, 40010, 90);
  for (ConnectionEnd* end : {&client, &middle_in, &middle_out, &last}) Feed(end->Opened(Now()));
  Ask(client, Get("/a"));
  Feed(middle_in.Read(Now(), Get("/a")));
  Ask(middle_out, Get("/b"));  // by the thread that serves, without a context
  Serve(last, Get("/b"));
  Feed(middle_out.Read(Now(), kResponse));
  Feed(middle_in.Send(Now(), kResponse));
  Feed(client.Read(Now(), kResponse));
  std::map<uint32_t, Span> spans;
  for (Span& span : SettledSpans()) spans[span.resource->pid] = std::move(span);
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[200].trace_id, spans[100].trace_id);
  EXPECT_EQ(spans[200].parent_span_id, spans[100].span_id);
  EXPECT_EQ(Filtered(FilterReason::kOwnSpans), 2u);
}

TEST_F(PipelineChangeTest, SwitchedOffEverybodyIsWatchedAlike) {
  PipelineOptions options;
  options.exclude_otel_instrumented = false;
  Start(options);
  ExportFrom(100, "/v1/traces");
  ConnectionEnd server = End(2, 100, ZT_ROLE_SERVER);
  Feed(server.Opened(Now()));
  Serve(server, Get("/a"));
  EXPECT_EQ(SettledSpans().size(), 2u);
  EXPECT_TRUE(pipeline_->TakeSelfExporters().empty());
}

}  // namespace
}  // namespace zerotap
