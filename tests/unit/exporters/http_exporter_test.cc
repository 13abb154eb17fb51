#include <gtest/gtest.h>
#include <libdeflate.h>

#include <chrono>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "exporters/batcher.h"
#include "exporters/otlp/exporter.h"
#include "exporters/otlp/http_transport.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb.h"
#include "tests/support/fake_collector.h"
#include "tests/unit/exporters/builders.h"

namespace zerotap::otlp {
namespace {

using opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
using opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
using opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;
using std::chrono::milliseconds;
using namespace zerotap::testing;  // NOLINT: builders
using Clock = std::chrono::steady_clock;

struct Fixture {
  FakeCollector collector;
  std::shared_ptr<ExportStats> stats = std::make_shared<ExportStats>();
  SenderOptions options;
  HttpTransportOptions http;

  Fixture() {
    http.url = collector.url("/v1/traces");
    options.timeout = milliseconds(2000);
    options.retry.initial = milliseconds(10);
    options.retry.maximum = milliseconds(20);
    options.retry.give_up_after = milliseconds(2000);
    options.random = [] { return 0.5; };
  }
  std::unique_ptr<Sender> MakeSender() {
    auto transport = HttpTransport::Create(http);
    EXPECT_TRUE(transport.has_value());
    return std::make_unique<Sender>(options, std::move(*transport),
                                    std::make_shared<Reachability>(), stats);
  }
  std::unique_ptr<SpanExporter> MakeExporter(size_t max_request_bytes = kMaxRequestBytes) {
    return MakeSpanExporter(MakeSender(), http.format, InstrumentationScope{"zerotap", "1.2.3"},
                            max_request_bytes);
  }
  // Every item that did not get through has its reason.
  uint64_t Losses() const {
    uint64_t total = 0;
    for (const auto& [reason, count] : stats->Snapshot().losses) total += count;
    return total;
  }
  // Span ids of every request that was answered, in order of arrival.
  std::vector<std::set<std::string>> SpanIds() const {
    std::vector<std::set<std::string>> result;
    for (const FakeRequest& request : collector.requests()) {
      ExportTraceServiceRequest parsed;
      EXPECT_TRUE(parsed.ParseFromString(request.body));
      std::set<std::string> ids;
      for (const auto& resource_spans : parsed.resource_spans()) {
        for (const auto& span : resource_spans.scope_spans(0).spans()) ids.insert(span.span_id());
      }
      result.push_back(std::move(ids));
    }
    return result;
  }
};

void ExpectOutcome(const ExportOutcome& outcome, uint64_t exported, uint64_t rejected,
                   uint64_t failed) {
  EXPECT_EQ(outcome.exported, exported);
  EXPECT_EQ(outcome.rejected, rejected);
  EXPECT_EQ(outcome.failed, failed);
}

FakeReply PartialSuccess(int64_t rejected, const std::string& message) {
  ExportTraceServiceResponse response;
  response.mutable_partial_success()->set_rejected_spans(rejected);
  response.mutable_partial_success()->set_error_message(message);
  return FakeReply{200, response.SerializeAsString(), {{"Content-Type", "application/x-protobuf"}}};
}

TEST(HttpExporterTest, SendsOneRequestWithItsHeaders) {
  Fixture fixture;
  fixture.http.headers = {{"signoz-ingestion-key", "key"}};
  fixture.http.client.user_agent = "zerotap/1.2.3 OTel-OTLP-Exporter-Cpp/1.2.3";
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 100, MakeResource("cart"));

  ExpectOutcome(ExportAll(*exporter, spans), 100, 0, 0);

  auto requests = fixture.collector.requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].method, "POST");
  EXPECT_EQ(requests[0].path, "/v1/traces");
  EXPECT_EQ(requests[0].Header("content-type"), "application/x-protobuf");
  EXPECT_EQ(requests[0].Header("content-encoding"), "");
  EXPECT_EQ(requests[0].Header("signoz-ingestion-key"), "key");
  EXPECT_EQ(requests[0].Header("user-agent"), "zerotap/1.2.3 OTel-OTLP-Exporter-Cpp/1.2.3");
  EXPECT_EQ(fixture.SpanIds()[0].size(), 100u);
  EXPECT_EQ(fixture.stats->Snapshot().requests, 1u);
  EXPECT_EQ(fixture.stats->Snapshot().bytes_sent, requests[0].body.size());
}

TEST(HttpExporterTest, NothingToSendIsNoRequest) {
  Fixture fixture;
  auto exporter = fixture.MakeExporter();
  ExpectOutcome(ExportAll(*exporter, {}), 0, 0, 0);
  EXPECT_TRUE(fixture.collector.requests().empty());
}

TEST(HttpExporterTest, GzipBodyDecodes) {
  Fixture fixture;
  fixture.options.gzip = true;
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 2000, MakeResource("cart"));
  for (int round = 0; round < 2; ++round) ExpectOutcome(ExportAll(*exporter, spans), 2000, 0, 0);

  for (const FakeRequest& request : fixture.collector.requests()) {
    EXPECT_EQ(request.Header("content-encoding"), "gzip");
    std::string plain(1 << 20, '\0');
    size_t size = 0;
    libdeflate_decompressor* decompressor = libdeflate_alloc_decompressor();
    EXPECT_EQ(libdeflate_gzip_decompress(decompressor, request.body.data(), request.body.size(),
                                         plain.data(), plain.size(), &size),
              LIBDEFLATE_SUCCESS);
    libdeflate_free_decompressor(decompressor);
    plain.resize(size);
    EXPECT_LT(request.body.size(), size / 4);
    ExportTraceServiceRequest parsed;
    ASSERT_TRUE(parsed.ParseFromString(plain));
    EXPECT_EQ(parsed.resource_spans(0).scope_spans(0).spans_size(), 2000);
  }
}

TEST(HttpExporterTest, SplitsALargeBatchAndKeepsTheConnection) {
  Fixture fixture;
  auto exporter = fixture.MakeExporter(10'000);
  auto spans = MakeSpans(1, 1000, MakeResource("cart"));
  ExpectOutcome(ExportAll(*exporter, spans), 1000, 0, 0);
  size_t total = 0;
  for (const auto& ids : fixture.SpanIds()) total += ids.size();
  EXPECT_EQ(total, 1000u);
  EXPECT_GT(fixture.collector.requests().size(), 5u);
  EXPECT_EQ(fixture.collector.connection_count(), 1u);
}

TEST(HttpExporterTest, RetriesTheSameSpansUntilTheyAreTaken) {
  for (int status : {429, 502, 503, 504}) {
    Fixture fixture;
    fixture.collector.Script({FakeReply{status}, FakeReply{status}});
    auto exporter = fixture.MakeExporter();
    auto spans = MakeSpans(1, 10, MakeResource("cart"));
    ExpectOutcome(ExportAll(*exporter, spans), 10, 0, 0);
    auto ids = fixture.SpanIds();
    ASSERT_EQ(ids.size(), 3u) << status;
    EXPECT_EQ(ids[0], ids[2]);
    EXPECT_EQ(ids[2].size(), 10u);
    EXPECT_EQ(fixture.stats->Snapshot().retries, 2u);
  }
}

TEST(HttpExporterTest, RetriesBrokenConnectionsAndSilence) {
  Fixture fixture;
  fixture.options.timeout = milliseconds(150);
  fixture.collector.Script({FakeReply{.behaviour = FakeBehaviour::kReset},
                            FakeReply{.behaviour = FakeBehaviour::kClose},
                            FakeReply{.behaviour = FakeBehaviour::kHang}});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 10, MakeResource("cart"));
  ExpectOutcome(ExportAll(*exporter, spans), 10, 0, 0);
  EXPECT_EQ(fixture.collector.requests().size(), 4u);
  EXPECT_FALSE(fixture.stats->Snapshot().last_error.empty());
}

TEST(HttpExporterTest, HonoursRetryAfterInSeconds) {
  Fixture fixture;
  fixture.collector.Script({FakeReply{429, "", {{"Retry-After", "1"}}}});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 1, MakeResource("cart"));
  ExpectOutcome(ExportAll(*exporter, spans), 1, 0, 0);
  auto requests = fixture.collector.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_GE(requests[1].received_at - requests[0].received_at, milliseconds(1000));
}

TEST(HttpExporterTest, HonoursRetryAfterAsDate) {
  Fixture fixture;
  std::time_t later = std::time(nullptr) + 2;
  std::tm parts{};
  gmtime_r(&later, &parts);
  char date[64];
  std::strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  fixture.options.retry.give_up_after = milliseconds(5000);
  fixture.collector.Script({FakeReply{503, "", {{"Retry-After", date}}}});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 1, MakeResource("cart"));
  ExpectOutcome(ExportAll(*exporter, spans), 1, 0, 0);
  auto requests = fixture.collector.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_GE(requests[1].received_at - requests[0].received_at, milliseconds(900));
}

TEST(HttpExporterTest, GivesUpInTime) {
  Fixture fixture;
  fixture.options.retry.give_up_after = milliseconds(200);
  fixture.collector.Script({}, FakeReply{503});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 5, MakeResource("cart"));
  auto start = Clock::now();
  ExpectOutcome(ExportAll(*exporter, spans), 0, 0, 5);
  EXPECT_LT(Clock::now() - start, milliseconds(5000));
  EXPECT_GT(fixture.collector.requests().size(), 3u);
}

TEST(HttpExporterTest, OtherRefusalsAreNotRetried) {
  for (int status : {302, 400, 401, 403, 404, 413, 500, 501}) {
    Fixture fixture;
    fixture.collector.Script({}, FakeReply{status, "no", {{"Content-Type", "text/plain"}}});
    auto exporter = fixture.MakeExporter();
    auto spans = MakeSpans(1, 5, MakeResource("cart"));
    ExpectOutcome(ExportAll(*exporter, spans), 0, 5, 0);
    EXPECT_EQ(fixture.collector.requests().size(), 1u) << status;
    EXPECT_NE(fixture.stats->Snapshot().last_error.find(std::to_string(status)), std::string::npos);
  }
}

TEST(HttpExporterTest, SaysWhatToDoAboutABadKey) {
  Fixture fixture;
  // google.rpc.Status { 1: code, 2: message }, with a message that tries to colour the log.
  fixture.collector.Script({FakeReply{401,
                                      std::string("\x08\x10\x12\x0c"
                                                  "bad \x1b[31mkey"),
                                      {{"Content-Type", "application/x-protobuf"}}}});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 1, MakeResource("cart"));
  ExportAll(*exporter, spans);
  std::string error = fixture.stats->Snapshot().last_error;
  EXPECT_NE(error.find("401"), std::string::npos);
  EXPECT_NE(error.find("OTEL_EXPORTER_OTLP_HEADERS"), std::string::npos) << error;
  EXPECT_NE(error.find("bad \\x1b[31mkey"), std::string::npos) << error;
}

TEST(HttpExporterTest, PartialSuccessIsCountedAndNotRetried) {
  Fixture fixture;
  fixture.collector.Script({PartialSuccess(3, "too old")});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 10, MakeResource("cart"));
  ExpectOutcome(ExportAll(*exporter, spans), 7, 3, 0);
  EXPECT_EQ(fixture.collector.requests().size(), 1u);
  EXPECT_NE(fixture.stats->Snapshot().last_error.find("too old"), std::string::npos);
}

TEST(HttpExporterTest, PartialSuccessThatCannotBeIsBounded) {
  Fixture fixture;
  fixture.collector.Script(
      {PartialSuccess(1'000'000, "x"), PartialSuccess(-5, "x"), PartialSuccess(0, "warning")});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 10, MakeResource("cart"));
  ExpectOutcome(ExportAll(*exporter, spans), 0, 10, 0);
  ExpectOutcome(ExportAll(*exporter, spans), 10, 0, 0);
  ExpectOutcome(ExportAll(*exporter, spans), 10, 0, 0);
}

TEST(HttpExporterTest, SurvivesAnswersThatAreNotOtlp) {
  Fixture fixture;
  fixture.http.client.max_response_bytes = 100'000;
  fixture.collector.Script({FakeReply{200, "<html>It works!</html>"},
                            FakeReply{200, std::string("\x0a\xff\xff\xff\xff\x0f", 6)},
                            FakeReply{200, "{}", {{"Content-Type", "application/json"}}},
                            FakeReply{204}, FakeReply{.behaviour = FakeBehaviour::kEndless}});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 2, MakeResource("cart"));
  for (int i = 0; i < 5; ++i) ExpectOutcome(ExportAll(*exporter, spans), 2, 0, 0);
}

TEST(HttpExporterTest, AGrpcPortFailsAtOnceAndSaysSo) {
  Fixture fixture;
  fixture.collector.Script(
      {}, FakeReply{.body = std::string("\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0", 15),
                    .behaviour = FakeBehaviour::kRaw});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 2, MakeResource("cart"));
  ExpectOutcome(ExportAll(*exporter, spans), 0, 0, 2);
  EXPECT_EQ(fixture.collector.requests().size(), 1u);
  EXPECT_NE(fixture.stats->Snapshot().last_error.find("4318"), std::string::npos);
}

TEST(HttpExporterTest, ACollectorThatComesBackGetsTheSpans) {
  Fixture fixture;
  uint16_t port = FakeCollector().port();
  fixture.http.url = "http://127.0.0.1:" + std::to_string(port) + "/v1/traces";
  fixture.options.retry.give_up_after = milliseconds(10'000);
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 2, MakeResource("cart"));
  ExportOutcome outcome;
  std::thread exporting([&] { outcome = ExportAll(*exporter, spans); });
  while (fixture.stats->Snapshot().retries < 3) std::this_thread::sleep_for(milliseconds(1));
  FakeCollector late(port);
  exporting.join();
  ExpectOutcome(outcome, 2, 0, 0);
  EXPECT_EQ(late.requests().size(), 1u);
}

TEST(HttpExporterTest, StopEndsARetryAndATransfer) {
  for (bool hang : {false, true}) {
    Fixture fixture;
    fixture.options.timeout = milliseconds(20'000);
    FakeReply reply{503, "", {{"Retry-After", "20"}}};
    if (hang) reply = FakeReply{.behaviour = FakeBehaviour::kHang};
    fixture.options.retry.give_up_after = milliseconds(60'000);
    fixture.collector.Script({}, reply);
    auto exporter = fixture.MakeExporter(1000);
    auto spans = MakeSpans(1, 50, MakeResource("cart"));
    Clock::time_point stopped_at;
    std::thread stopper([&] {
      fixture.collector.WaitForRequests(1);
      std::this_thread::sleep_for(milliseconds(500));
      stopped_at = Clock::now();
      exporter->RequestStop();
    });
    ExportOutcome outcome = ExportAll(*exporter, spans);
    auto returned_at = Clock::now();
    stopper.join();
    // What is not answered may have been taken, what is asked for again was not.
    EXPECT_EQ(outcome.failed + outcome.unsent, 50u);
    EXPECT_EQ(outcome.failed > 0, hang);
    EXPECT_LT(returned_at - stopped_at, milliseconds(5000)) << "not after 20 s";
    EXPECT_EQ(fixture.collector.requests().size(), 1u);
  }
}

TEST(HttpExporterTest, MetricsCountPoints) {
  Fixture fixture;
  fixture.options.signal = "metrics";
  fixture.collector.Script({PartialSuccess(2, "cardinality")});
  auto exporter = MakeMetricExporter(fixture.MakeSender(), BodyFormat::kProtobuf, {"zerotap", ""});
  Metric metric;
  metric.descriptor = &kServerDuration;
  metric.resource = MakeResource("cart");
  for (int i = 0; i < 5; ++i) metric.histograms.push_back(MakeHistogramPoint({1, 0, 0, 0, 0}));
  ExpectOutcome(exporter->Export({&metric, 1}), 3, 2, 0);
  ExpectOutcome(exporter->Export({}), 0, 0, 0);
  auto requests = fixture.collector.requests();
  ASSERT_EQ(requests.size(), 1u);
  ExportMetricsServiceRequest parsed;
  ASSERT_TRUE(parsed.ParseFromString(requests[0].body));
  EXPECT_EQ(parsed.resource_metrics(0).scope_metrics(0).metrics(0).histogram().data_points_size(),
            5);
}

TEST(HttpExporterTest, JsonBodiesAndAnswers) {
  Fixture fixture;
  fixture.http.format = BodyFormat::kJson;
  const FakeReply partial{200,
                          R"({"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}})",
                          {{"Content-Type", "application/json"}}};
  fixture.collector.Script(
      {partial, FakeReply{200, "{}", {{"Content-Type", "application/json"}}},
       FakeReply{
           400, R"({"code":3,"message":"bad \u0041"})", {{"Content-Type", "application/json"}}},
       FakeReply{200, "{", {{"Content-Type", "application/json"}}}});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 10, MakeResource("cart"));
  ExpectOutcome(ExportAll(*exporter, spans), 7, 3, 0);
  EXPECT_NE(fixture.stats->Snapshot().last_error.find("too old"), std::string::npos);
  ExpectOutcome(ExportAll(*exporter, spans), 10, 0, 0);
  ExpectOutcome(ExportAll(*exporter, spans), 0, 10, 0);
  EXPECT_NE(fixture.stats->Snapshot().last_error.find("bad A"), std::string::npos);
  ExpectOutcome(ExportAll(*exporter, spans), 10, 0, 0);
  auto requests = fixture.collector.requests();
  ASSERT_EQ(requests.size(), 4u);
  EXPECT_EQ(requests[0].Header("content-type"), "application/json");
  auto parsed = nlohmann::json::parse(requests[0].body);
  EXPECT_EQ(parsed["resourceSpans"][0]["scopeSpans"][0]["spans"].size(), 10u);
  const auto losses = fixture.stats->Snapshot().losses;
  EXPECT_EQ(losses.at("partial_success"), 3u);
  EXPECT_EQ(losses.at("http_400"), 10u);
}

TEST(HttpExporterTest, JsonRequestsOfBothSignalsAreSplit) {
  Fixture fixture;
  fixture.http.format = BodyFormat::kJson;
  auto exporter = fixture.MakeExporter(10'000);
  auto spans = MakeSpans(1, 200, MakeResource("cart"));
  ExpectOutcome(ExportAll(*exporter, spans), 200, 0, 0);
  auto metric_exporter =
      MakeMetricExporter(fixture.MakeSender(), BodyFormat::kJson, {"zerotap", ""}, 10'000);
  Metric metric;
  metric.descriptor = &kServerDuration;
  metric.resource = MakeResource("cart");
  for (int i = 0; i < 100; ++i) metric.histograms.push_back(MakeHistogramPoint({1, 0, 0, 0, 0}));
  ExpectOutcome(metric_exporter->Export({&metric, 1}), 100, 0, 0);
  size_t span_count = 0;
  size_t point_count = 0;
  for (const FakeRequest& request : fixture.collector.requests()) {
    EXPECT_LE(request.body.size(), 10'000u);
    auto parsed = nlohmann::json::parse(request.body);
    if (parsed.contains("resourceSpans")) {
      span_count += parsed["resourceSpans"][0]["scopeSpans"][0]["spans"].size();
    } else {
      auto& list = parsed["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
      EXPECT_EQ(list[0]["histogram"]["aggregationTemporality"], 2);
      point_count += list[0]["histogram"]["dataPoints"].size();
    }
  }
  EXPECT_EQ(span_count, 200u);
  EXPECT_EQ(point_count, 100u);
  EXPECT_GE(fixture.collector.requests().size(), 8u);
}

// Of a batch that goes in several requests, each span is told of with its own request.
TEST(HttpExporterTest, WhatBecomesOfASpanIsWhatBecameOfItsRequest) {
  for (BodyFormat format : {BodyFormat::kProtobuf, BodyFormat::kJson}) {
    Fixture fixture;
    fixture.http.format = format;
    fixture.collector.Script({FakeReply{200}, FakeReply{400}});
    std::map<uint32_t, SpanFate> fates;
    SpanBatcher batcher(fixture.MakeExporter(10'000), {}, fixture.stats,
                        [&](std::span<const Span> spans, SpanFate fate) {
                          for (const Span& span : spans) fates[span.ledger_row] = fate;
                        });
    auto spans = MakeSpans(1, 400, MakeResource("cart"));
    spans[20].name = std::string(20'000, 'x');
    const uint32_t too_large = spans[20].ledger_row;
    batcher.Push(std::move(spans));
    batcher.Shutdown(Clock::now() + milliseconds(5000));
    ASSERT_EQ(fates.size(), 400u);
    std::vector<SpanFate> in_order;
    for (const auto& [row, fate] : fates) {
      EXPECT_EQ(fate == SpanFate::kFailed, row == too_large) << row;
      if (row != too_large && (in_order.empty() || in_order.back() != fate)) {
        in_order.push_back(fate);
      }
    }
    EXPECT_EQ(in_order, (std::vector<SpanFate>{SpanFate::kExported, SpanFate::kRejected,
                                               SpanFate::kExported}));
  }
}

TEST(HttpExporterTest, ARequestThatIsTooLargeGoesInHalves) {
  for (BodyFormat format : {BodyFormat::kProtobuf, BodyFormat::kJson}) {
    Fixture fixture;
    fixture.http.format = format;
    fixture.collector.Script({FakeReply{413}, FakeReply{413}});
    auto exporter = fixture.MakeExporter();
    std::vector<Span> spans;
    auto resource = MakeResource("cart");
    for (uint64_t id = 1; id <= 2000; ++id) spans.push_back(MakeHttpServerSpan(id, resource));
    ExpectOutcome(ExportAll(*exporter, spans), 2000, 0, 0);
    EXPECT_EQ(fixture.Losses(), 0u);
    auto requests = fixture.collector.requests();
    ASSERT_GE(requests.size(), 6u);
    for (size_t i = 2; i < requests.size(); ++i) {
      EXPECT_LE(requests[i].body.size(), requests[0].body.size() / 4);
    }
    ExpectOutcome(ExportAll(*exporter, spans), 2000, 0, 0);
    EXPECT_LE(fixture.collector.requests().back().body.size(), requests[0].body.size() / 4)
        << "what the receiver takes is remembered";
  }
}

TEST(HttpExporterTest, AReceiverThatTakesNoSizeGetsFewRequests) {
  Fixture fixture;
  fixture.collector.Script({}, FakeReply{413});
  auto exporter = fixture.MakeExporter();
  std::vector<Span> spans;
  auto resource = MakeResource("cart");
  for (uint64_t id = 1; id <= 1000; ++id) spans.push_back(MakeHttpServerSpan(id, resource));
  ExpectOutcome(ExportAll(*exporter, spans), 0, 1000, 0);
  EXPECT_EQ(fixture.stats->Snapshot().losses.at("http_413"), 1000u);
  EXPECT_LE(fixture.collector.requests().size(), 20u);
}

TEST(HttpExporterTest, ASpanThatNoRequestCanHoldIsLeftOutAndCounted) {
  for (BodyFormat format : {BodyFormat::kProtobuf, BodyFormat::kJson}) {
    Fixture fixture;
    fixture.http.format = format;
    auto exporter = fixture.MakeExporter(10'000);
    auto spans = MakeSpans(1, 3, MakeResource("cart"));
    spans[1].name = std::string(20'000, 'x');
    ExpectOutcome(ExportAll(*exporter, spans), 2, 0, 1);
    EXPECT_EQ(fixture.stats->Snapshot().losses.at("too_large"), 1u);
  }
}

TEST(HttpExporterTest, ALongSilenceHoldsForTheNextRequestToo) {
  Fixture fixture;
  fixture.options.retry.give_up_after = milliseconds(300);
  fixture.collector.Script({FakeReply{429, "", {{"Retry-After", "1"}}}});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 2, MakeResource("cart"));
  ExpectOutcome(ExportAll(*exporter, spans), 0, 0, 2);
  ExpectOutcome(ExportAll(*exporter, spans), 2, 0, 0);
  auto requests = fixture.collector.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_GE(requests[1].received_at - requests[0].received_at, milliseconds(1000));
  EXPECT_EQ(fixture.stats->Snapshot().losses.at("http_429"), 2u);
}

TEST(HttpExporterTest, RedirectsAreNotFollowedSoKeysStay) {
  FakeCollector elsewhere;
  for (int status : {301, 302, 307, 308}) {
    Fixture fixture;
    fixture.http.headers = {{"signoz-ingestion-key", "key"}};
    fixture.collector.Script({}, FakeReply{status, "", {{"Location", elsewhere.url("/x")}}});
    auto exporter = fixture.MakeExporter();
    auto spans = MakeSpans(1, 2, MakeResource("cart"));
    ExpectOutcome(ExportAll(*exporter, spans), 0, 2, 0);
    EXPECT_EQ(fixture.collector.requests().size(), 1u);
  }
  EXPECT_TRUE(elsewhere.requests().empty());
}

TEST(HttpExporterTest, HeadersThatWouldSplitTheRequestAreRefusedWithoutShowingTheValue) {
  Fixture fixture;
  fixture.http.headers = {{"key", "secret\r\nX-Evil: 1"}};
  auto transport = HttpTransport::Create(fixture.http);
  ASSERT_FALSE(transport.has_value());
  EXPECT_NE(transport.error().message.find("key"), std::string::npos);
  EXPECT_EQ(transport.error().message.find("secret"), std::string::npos);
}

TEST(ReachabilityTest, EveryChangeIsNewsOnce) {
  Reachability reachability;
  EXPECT_FALSE(reachability.MarkReachable("http://c"));
  EXPECT_TRUE(reachability.MarkUnreachable("http://c"));
  EXPECT_FALSE(reachability.MarkUnreachable("http://c"));
  EXPECT_TRUE(reachability.MarkReachable("http://c"));
  EXPECT_FALSE(reachability.MarkReachable("http://c"));
}

}  // namespace
}  // namespace zerotap::otlp
