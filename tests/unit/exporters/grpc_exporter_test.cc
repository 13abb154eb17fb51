// OTLP/gRPC against a server that answers by a script.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <thread>

#include "exporters/otlp/exporter.h"
#include "exporters/otlp/grpc_transport.h"
#include "exporters/otlp/gzip.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb.h"
#include "tests/support/fake_collector.h"
#include "tests/support/fake_grpc_server.h"
#include "tests/unit/exporters/builders.h"

namespace zerotap::otlp {
namespace {

using opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
using opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;
using std::chrono::milliseconds;
using ::testing::HasSubstr;
using namespace zerotap::testing;  // NOLINT: builders
using Clock = std::chrono::steady_clock;

constexpr char kPath[] = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
// google.rpc.Status { code: 8, details: [Any { RetryInfo { retry_delay: 0.4 s } }] }, base64
// without padding, as most servers send it.
constexpr char kRetryIn400Ms[] =
    "CAgaNAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIICgYQgIjevgE";

struct Fixture {
  FakeGrpcServer server;
  std::shared_ptr<ExportStats> stats = std::make_shared<ExportStats>();
  SenderOptions options;
  GrpcTransportOptions grpc;

  Fixture() {
    grpc.url = "http://" + server.authority() + kPath;
    grpc.client.proxy = kNoProxy;
    options.timeout = milliseconds(2000);
    options.retry.initial = milliseconds(10);
    options.retry.maximum = milliseconds(20);
    options.retry.give_up_after = milliseconds(3000);
    options.random = [] { return 0.5; };
  }
  std::unique_ptr<SpanExporter> MakeExporter(size_t max_request_bytes = kMaxRequestBytes) {
    auto transport = GrpcTransport::Create(grpc);
    EXPECT_TRUE(transport.has_value());
    return MakeSpanExporter(std::make_unique<Sender>(options, std::move(*transport),
                                                     std::make_shared<Reachability>(), stats),
                            BodyFormat::kProtobuf, InstrumentationScope{"zerotap", "1.2.3"},
                            max_request_bytes);
  }
  uint64_t Losses(const std::string& reason) const {
    const auto losses = stats->Snapshot().losses;
    const auto found = losses.find(reason);
    return found == losses.end() ? 0 : found->second;
  }
};

void ExpectOutcome(const ExportOutcome& outcome, uint64_t exported, uint64_t rejected,
                   uint64_t failed) {
  EXPECT_EQ(outcome.exported, exported);
  EXPECT_EQ(outcome.rejected, rejected);
  EXPECT_EQ(outcome.failed, failed);
}

GrpcReply Code(int code, const std::string& message = "",
               GrpcBehaviour behaviour = GrpcBehaviour::kTrailersOnly) {
  GrpcReply reply;
  reply.code = code;
  reply.message = message;
  reply.behaviour = behaviour;
  return reply;
}

GrpcReply Partial(int64_t rejected, const std::string& message, bool compressed) {
  ExportTraceServiceResponse response;
  response.mutable_partial_success()->set_rejected_spans(rejected);
  response.mutable_partial_success()->set_error_message(message);
  std::string bytes = response.SerializeAsString();
  GrpcReply reply;
  if (compressed) {
    GzipCompressor gzip;
    bytes = gzip.Compress(bytes);
    reply.headers.emplace_back("grpc-encoding", "gzip");
  }
  reply.body = GrpcFrame(bytes, compressed);
  return reply;
}

size_t SpansOf(std::string_view message) {
  ExportTraceServiceRequest parsed;
  EXPECT_TRUE(parsed.ParseFromString(std::string(message)));
  size_t count = 0;
  for (const auto& resource : parsed.resource_spans()) {
    count += static_cast<size_t>(resource.scope_spans(0).spans_size());
  }
  return count;
}

TEST(GrpcExporterTest, ACallHasItsHeaderFieldsAndFrame) {
  Fixture fixture;
  fixture.grpc.headers = {{"SigNoz-Ingestion-Key", "key"}};
  fixture.grpc.client.user_agent = "zerotap/1.2.3 OTel-OTLP-Exporter-Cpp/1.2.3";
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 100, MakeResource("cart"));

  ExpectOutcome(ExportAll(*exporter, spans), 100, 0, 0);

  auto requests = fixture.server.requests();
  ASSERT_EQ(requests.size(), 1u);
  auto& headers = requests[0].headers;
  EXPECT_EQ(headers[":method"], "POST");
  EXPECT_EQ(headers[":scheme"], "http");
  EXPECT_EQ(headers[":path"], kPath);
  EXPECT_EQ(headers[":authority"], fixture.server.authority());
  EXPECT_EQ(headers["content-type"], "application/grpc");
  EXPECT_EQ(headers["te"], "trailers");
  EXPECT_EQ(headers["grpc-timeout"], "2000m");
  EXPECT_EQ(headers["signoz-ingestion-key"], "key");
  EXPECT_EQ(headers["user-agent"], "zerotap/1.2.3 OTel-OTLP-Exporter-Cpp/1.2.3");
  EXPECT_EQ(headers.count("grpc-encoding"), 0u);
  std::string_view body = requests[0].body;
  ASSERT_GT(body.size(), 5u);
  EXPECT_EQ(body, GrpcFrame(body.substr(5)));
  EXPECT_EQ(SpansOf(body.substr(5)), 100u);
}

TEST(GrpcExporterTest, GzipFrameDecodes) {
  Fixture fixture;
  fixture.options.gzip = true;
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 2000, MakeResource("cart"));
  for (int round = 0; round < 3; ++round) ExpectOutcome(ExportAll(*exporter, spans), 2000, 0, 0);
  auto requests = fixture.server.requests();
  ASSERT_EQ(requests.size(), 3u);
  for (auto& request : requests) {
    EXPECT_EQ(request.headers["grpc-encoding"], "gzip");
    std::string_view body = request.body;
    EXPECT_EQ(body, GrpcFrame(body.substr(5), true));
    auto message = Gunzip(body.substr(5), 1 << 20);
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(SpansOf(*message), 2000u);
  }
}

TEST(GrpcExporterTest, RetriesTheCodesThatMayBeRetriedAndNoOthers) {
  for (int code = 1; code <= 17; ++code) {
    const bool retryable =
        code == 1 || code == 4 || code == 10 || code == 11 || code == 14 || code == 15;
    for (GrpcBehaviour behaviour : {GrpcBehaviour::kTrailersOnly, GrpcBehaviour::kAnswer}) {
      Fixture fixture;
      fixture.server.Script({Code(code, "no%20way", behaviour), Code(code, "", behaviour)});
      auto exporter = fixture.MakeExporter();
      auto spans = MakeSpans(1, 5, MakeResource("cart"));
      const ExportOutcome outcome = ExportAll(*exporter, spans);
      SCOPED_TRACE(code);
      if (retryable) {
        ExpectOutcome(outcome, 5, 0, 0);
        EXPECT_EQ(fixture.server.requests().size(), 3u);
        EXPECT_EQ(fixture.stats->Snapshot().retries, 2u);
      } else {
        ExpectOutcome(outcome, 0, 5, 0);
        EXPECT_EQ(fixture.server.requests().size(), 1u);
        EXPECT_THAT(fixture.stats->Snapshot().last_error, HasSubstr("no way"));
        uint64_t losses = 0;
        for (const auto& [reason, count] : fixture.stats->Snapshot().losses) losses += count;
        EXPECT_EQ(losses, 5u);
      }
    }
  }
}

TEST(GrpcExporterTest, ExhaustedIsRetriedWhenTheServerSaysWhen) {
  for (GrpcBehaviour behaviour : {GrpcBehaviour::kTrailersOnly, GrpcBehaviour::kAnswer}) {
    Fixture fixture;
    GrpcReply busy = Code(8, "quota", behaviour);
    busy.trailers = {{"grpc-status-details-bin", kRetryIn400Ms}};
    fixture.server.Script({busy});
    auto exporter = fixture.MakeExporter();
    auto spans = MakeSpans(1, 5, MakeResource("cart"));
    ExpectOutcome(ExportAll(*exporter, spans), 5, 0, 0);
    auto requests = fixture.server.requests();
    ASSERT_EQ(requests.size(), 2u);
    EXPECT_GE(requests[1].received_at - requests[0].received_at, milliseconds(400));
  }
}

TEST(GrpcExporterTest, ASilenceThatIsTooLongForOneRequestHoldsForTheNext) {
  Fixture fixture;
  fixture.options.retry.give_up_after = milliseconds(200);
  GrpcReply busy = Code(14);
  busy.trailers = {{"grpc-status-details-bin", kRetryIn400Ms}};
  fixture.server.Script({busy});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 5, MakeResource("cart"));
  ExpectOutcome(ExportAll(*exporter, spans), 0, 0, 5);
  EXPECT_EQ(fixture.Losses("grpc_UNAVAILABLE"), 5u);
  ExpectOutcome(ExportAll(*exporter, spans), 5, 0, 0);
  auto requests = fixture.server.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_GE(requests[1].received_at - requests[0].received_at, milliseconds(400));
}

TEST(GrpcExporterTest, TooLargeMessagesAreSplit) {
  for (const char* words : {"grpc: received message larger than max (90000 vs. 65536)",
                            "gRPC message exceeds maximum size 65536: 90000"}) {
    Fixture fixture;
    fixture.server.Script({Code(8, words)});
    auto exporter = fixture.MakeExporter();
    std::vector<Span> spans;
    auto resource = MakeResource("cart");
    for (uint64_t id = 1; id <= 1000; ++id) spans.push_back(MakeHttpServerSpan(id, resource));
    ExpectOutcome(ExportAll(*exporter, spans), 1000, 0, 0);
    auto requests = fixture.server.requests();
    ASSERT_GE(requests.size(), 3u);
    size_t total = 0;
    for (size_t i = 1; i < requests.size(); ++i) {
      EXPECT_LE(requests[i].body.size(), requests[0].body.size() / 2 + 5);
      total += SpansOf(std::string_view(requests[i].body).substr(5));
    }
    EXPECT_EQ(total, 1000u);
  }
}

TEST(GrpcExporterTest, AServerThatTakesNoSizeGetsFewRequests) {
  Fixture fixture;
  fixture.server.Script({}, Code(8, "received message larger than max"));
  auto exporter = fixture.MakeExporter();
  std::vector<Span> spans;
  auto resource = MakeResource("cart");
  for (uint64_t id = 1; id <= 1000; ++id) spans.push_back(MakeHttpServerSpan(id, resource));
  ExpectOutcome(ExportAll(*exporter, spans), 0, 1000, 0);
  EXPECT_EQ(fixture.Losses("grpc_RESOURCE_EXHAUSTED"), 1000u);
  EXPECT_LE(fixture.server.requests().size(), 20u);
}

TEST(GrpcExporterTest, PartialSuccessIsCountedAndNotRetried) {
  for (bool compressed : {false, true}) {
    Fixture fixture;
    fixture.server.Script({Partial(3, "too old", compressed)});
    auto exporter = fixture.MakeExporter();
    auto spans = MakeSpans(1, 10, MakeResource("cart"));
    ExpectOutcome(ExportAll(*exporter, spans), 7, 3, 0);
    EXPECT_EQ(fixture.server.requests().size(), 1u);
    EXPECT_EQ(fixture.Losses("partial_success"), 3u);
    EXPECT_THAT(fixture.stats->Snapshot().last_error, HasSubstr("too old"));
  }
}

TEST(GrpcExporterTest, RetriesBrokenConnectionsStreamsAndSilence) {
  for (GrpcBehaviour behaviour : {GrpcBehaviour::kReset, GrpcBehaviour::kResetStream,
                                  GrpcBehaviour::kHang, GrpcBehaviour::kCutTrailers}) {
    Fixture fixture;
    fixture.options.timeout = milliseconds(300);
    GrpcReply reply;
    reply.behaviour = behaviour;
    reply.body = GrpcFrame("");
    fixture.server.Script({reply});
    auto exporter = fixture.MakeExporter();
    auto spans = MakeSpans(1, 10, MakeResource("cart"));
    SCOPED_TRACE(static_cast<int>(behaviour));
    ExpectOutcome(ExportAll(*exporter, spans), 10, 0, 0);
    EXPECT_EQ(fixture.server.requests().size(), 2u);
    EXPECT_FALSE(fixture.stats->Snapshot().last_error.empty());
  }
}

TEST(GrpcExporterTest, AnAnswerWithoutStatusIsUnknownAndNotRepeated) {
  Fixture fixture;
  GrpcReply reply;
  reply.behaviour = GrpcBehaviour::kNoTrailers;
  reply.body = GrpcFrame("");
  fixture.server.Script({}, reply);
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 10, MakeResource("cart"));
  ExpectOutcome(ExportAll(*exporter, spans), 0, 10, 0);
  EXPECT_EQ(fixture.server.requests().size(), 1u);
  EXPECT_EQ(fixture.Losses("grpc_UNKNOWN"), 10u);
}

TEST(GrpcExporterTest, HttpStatusesStandForCodes) {
  const std::pair<int, const char*> cases[] = {{400, "grpc_INTERNAL"},
                                               {401, "grpc_UNAUTHENTICATED"},
                                               {403, "grpc_PERMISSION_DENIED"},
                                               {404, "grpc_UNIMPLEMENTED"},
                                               {413, "grpc_RESOURCE_EXHAUSTED"},
                                               {302, "grpc_UNKNOWN"},
                                               {500, "grpc_UNKNOWN"}};
  for (const auto& [http_status, reason] : cases) {
    Fixture fixture;
    GrpcReply reply = Code(-1);
    reply.http_status = http_status;
    reply.content_type = "text/html";
    reply.headers = {{"location", "http://" + fixture.server.authority() + "/elsewhere"}};
    fixture.server.Script({}, reply);
    auto exporter = fixture.MakeExporter();
    auto spans = MakeSpans(1, 2, MakeResource("cart"));
    ExpectOutcome(ExportAll(*exporter, spans), 0, 2, 0);
    EXPECT_EQ(fixture.server.requests().size(), 1u) << http_status;
    EXPECT_EQ(fixture.Losses(reason), 2u) << http_status;
  }
  for (int http_status : {429, 502, 503, 504}) {
    Fixture fixture;
    GrpcReply reply = Code(-1);
    reply.http_status = http_status;
    fixture.server.Script({reply});
    auto exporter = fixture.MakeExporter();
    auto spans = MakeSpans(1, 2, MakeResource("cart"));
    ExpectOutcome(ExportAll(*exporter, spans), 2, 0, 0);
    EXPECT_EQ(fixture.server.requests().size(), 2u) << http_status;
  }
}

TEST(GrpcExporterTest, SurvivesAnswersThatAreNotOtlp) {
  Fixture fixture;
  fixture.grpc.client.max_response_bytes = 100'000;
  GrpcReply garbage;
  garbage.body = GrpcFrame("\x0a\xff\xff\xff\xff\x0f");
  GrpcReply short_frame;
  short_frame.body = std::string("\0\0\0\1\0abc", 8);
  GrpcReply not_gzip;
  not_gzip.body = GrpcFrame("not gzip, and longer than eighteen bytes", true);
  not_gzip.headers = {{"grpc-encoding", "gzip"}};
  fixture.server.Script({garbage, short_frame, not_gzip});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 2, MakeResource("cart"));
  for (int i = 0; i < 3; ++i) ExpectOutcome(ExportAll(*exporter, spans), 2, 0, 0);
  EXPECT_EQ(fixture.server.requests().size(), 3u);
}

TEST(GrpcExporterTest, AnEndlessAnswerIsCutAndNotRepeated) {
  Fixture fixture;
  fixture.grpc.client.max_response_bytes = 100'000;
  GrpcReply endless;
  endless.behaviour = GrpcBehaviour::kEndless;
  fixture.server.Script({endless});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 2, MakeResource("cart"));
  ExpectOutcome(ExportAll(*exporter, spans), 0, 2, 0);
  EXPECT_EQ(fixture.server.requests().size(), 1u);
}

TEST(GrpcExporterTest, AnHttp1ServerFailsAndTheLogSaysWhatToDo) {
  FakeCollector collector;
  Fixture fixture;
  fixture.options.retry.give_up_after = milliseconds(100);
  fixture.grpc.url = collector.url(kPath);
  collector.Script({}, FakeReply{.body = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
                                 .behaviour = FakeBehaviour::kRaw});
  auto exporter = fixture.MakeExporter();
  auto spans = MakeSpans(1, 2, MakeResource("cart"));
  ExpectOutcome(ExportAll(*exporter, spans), 0, 0, 2);
  EXPECT_THAT(fixture.stats->Snapshot().last_error, HasSubstr("4317"));
}

TEST(GrpcExporterTest, StopEndsARetryAndATransfer) {
  for (bool hang : {false, true}) {
    Fixture fixture;
    fixture.options.timeout = milliseconds(20'000);
    fixture.options.retry.initial = milliseconds(20'000);
    fixture.options.retry.maximum = milliseconds(20'000);
    fixture.options.retry.give_up_after = milliseconds(60'000);
    GrpcReply reply = Code(14);
    if (hang) reply.behaviour = GrpcBehaviour::kHang;
    fixture.server.Script({}, reply);
    auto exporter = fixture.MakeExporter();
    auto spans = MakeSpans(1, 50, MakeResource("cart"));
    Clock::time_point stopped_at;
    std::thread stopper([&] {
      fixture.server.WaitForRequests(1);
      std::this_thread::sleep_for(milliseconds(500));
      stopped_at = Clock::now();
      exporter->RequestStop();
    });
    ExportOutcome outcome = ExportAll(*exporter, spans);
    auto returned_at = Clock::now();
    stopper.join();
    ExpectOutcome(outcome, 0, 0, hang ? 50 : 0);
    EXPECT_EQ(outcome.unsent, hang ? 0u : 50u);
    EXPECT_EQ(fixture.Losses("stopped"), hang ? 50u : 0u);
    EXPECT_LT(returned_at - stopped_at, milliseconds(5000)) << "not after 20 s";
    EXPECT_EQ(fixture.server.requests().size(), 1u);
  }
}

}  // namespace
}  // namespace zerotap::otlp
