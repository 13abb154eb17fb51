// What receivers answer, in any form and condition.
#include "exporters/otlp/response.h"

#include <gtest/gtest.h>

#include "exporters/otlp/endpoint.h"
#include "exporters/otlp/grpc_status.h"
#include "exporters/otlp/gzip.h"

namespace zerotap::otlp {
namespace {

using std::chrono::milliseconds;

TEST(ResponseTest, JsonIntegersMayBeTextOrNumbers) {
  for (const char* body : {R"({"partialSuccess":{"rejectedSpans":"7","errorMessage":"m"}})",
                           R"({"partialSuccess":{"rejectedSpans":7,"errorMessage":"m"}})",
                           R"({"partialSuccess":{"rejectedDataPoints":"7","errorMessage":"m"}})"}) {
    auto response = ReadJsonResponse(body);
    ASSERT_TRUE(response.has_value()) << body;
    EXPECT_EQ(response->rejected, 7u);
    EXPECT_EQ(response->message, "m");
  }
}

TEST(ResponseTest, OddJsonIsNoPartialSuccess) {
  for (const char* body : {"{}", R"({"partialSuccess":null})", R"({"partialSuccess":[]})",
                           R"({"partialSuccess":{"rejectedSpans":"-7","errorMessage":5}})",
                           R"({"partialSuccess":{"rejectedSpans":"many"}})",
                           R"({"partialSuccess":{"rejectedSpans":{}}})"}) {
    auto response = ReadJsonResponse(body);
    ASSERT_TRUE(response.has_value()) << body;
    EXPECT_EQ(response->rejected, 0u) << body;
    EXPECT_EQ(response->message, "") << body;
  }
  for (const char* body : {"", "[]", "7", "{", "\xff"}) {
    EXPECT_FALSE(ReadJsonResponse(body).has_value()) << body;
  }
}

TEST(ResponseTest, EveryCutOfAStatusIsReadWithoutHarm) {
  const std::string whole = *DecodeBase64(
      "CAgSBWFnYWluGjQKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SCAoGEICI3r4B");
  const RpcStatus status = ReadProtobufStatus(whole);
  EXPECT_EQ(status.message, "again");
  EXPECT_EQ(status.retry_delay, milliseconds(400));
  for (size_t size = 0; size < whole.size(); ++size) {
    const RpcStatus cut = ReadProtobufStatus(std::string_view(whole).substr(0, size));
    EXPECT_TRUE(cut.message.empty() || cut.message == "again") << size;
    EXPECT_FALSE(cut.retry_delay.has_value()) << size;
  }
}

HttpResponse Answer(HttpHeaders headers, HttpHeaders trailers, int status = 200) {
  HttpResponse response;
  response.status = status;
  response.headers = std::move(headers);
  response.trailers = std::move(trailers);
  return response;
}

TEST(GrpcStatusTest, TrailersWinOverHeaderFields) {
  const GrpcStatus status = ReadGrpcStatus(
      Answer({{"grpc-status", "0"}}, {{"grpc-status", "14"}, {"grpc-message", "go%20away%"}}));
  EXPECT_EQ(status.code, kGrpcUnavailable);
  EXPECT_EQ(status.message, "go away%");
  EXPECT_TRUE(status.from_server);
  EXPECT_EQ(ReadGrpcStatus(Answer({{"grpc-status", "5"}}, {})).code, 5);
}

TEST(GrpcStatusTest, AStatusThatIsNoNumberIsNone) {
  for (const char* text : {"", "x", "1x", "-1", "99999999999999"}) {
    const GrpcStatus status = ReadGrpcStatus(Answer({}, {{"grpc-status", text}}));
    EXPECT_EQ(status.code, kGrpcUnknown) << text;
    EXPECT_FALSE(status.from_server);
  }
  EXPECT_EQ(ReadGrpcStatus(Answer({}, {}, 503)).code, kGrpcUnavailable);
}

TEST(GrpcStatusTest, DetailsThatCannotBeReadAreNoDelay) {
  for (const char* text : {"", "!", "A", "////"}) {
    const GrpcStatus status =
        ReadGrpcStatus(Answer({}, {{"grpc-status", "8"}, {"grpc-status-details-bin", text}}));
    EXPECT_FALSE(status.retry_delay.has_value()) << text;
    EXPECT_FALSE(IsRetryable(status)) << text;
  }
}

TEST(GrpcStatusTest, NamesOfCodes) {
  EXPECT_EQ(GrpcCodeName(14), "UNAVAILABLE");
  EXPECT_EQ(GrpcCodeName(16), "UNAUTHENTICATED");
  EXPECT_EQ(GrpcCodeName(17), "CODE_17");
}

TEST(GrpcStatusTest, Base64OfBothAlphabetsAndPaddings) {
  EXPECT_EQ(DecodeBase64("aGk="), "hi");
  EXPECT_EQ(DecodeBase64("aGk"), "hi");
  EXPECT_EQ(DecodeBase64("-_-_"), DecodeBase64("+/+/"));
  EXPECT_FALSE(DecodeBase64("a b").has_value());
}

TEST(GzipTest, NoMoreThanIsAllowed) {
  GzipCompressor gzip;
  const std::string text(100'000, 'x');
  const std::string compressed(gzip.Compress(text));
  EXPECT_EQ(Gunzip(compressed, 100'000), text);
  EXPECT_FALSE(Gunzip(compressed, 99'999).has_value());
  EXPECT_FALSE(Gunzip(compressed.substr(0, compressed.size() / 2), 100'000).has_value());
  std::string lies = compressed;  // about how long it is
  lies[lies.size() - 4] = 1;
  EXPECT_FALSE(Gunzip(lies, 1 << 20).has_value());
}

TEST(EndpointTest, GrpcCalls) {
  const auto url = [](std::string_view base, std::string_view own, bool insecure) {
    auto result = GrpcCallUrl(base, own, insecure, "metrics");
    return result.has_value() ? *result : "error: " + result.error().message;
  };
  const std::string path = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
  EXPECT_EQ(url("", "", false), "http://localhost:4317" + path);
  EXPECT_EQ(url("https://a:1", "", true), "https://a:1" + path);
  EXPECT_EQ(url("http://a:1", "http://b:2/", false), "http://b:2" + path);
  EXPECT_EQ(url("http://a:1/v1/traces?x", "", false), "http://a:1" + path);
  EXPECT_EQ(url("a:1", "", false), "https://a:1" + path);
  EXPECT_EQ(url("a:1", "", true), "http://a:1" + path);
  EXPECT_EQ(url("[::1]:4317", "", true), "http://[::1]:4317" + path);
  EXPECT_NE(url("grpc://a:1", "", true).find("error"), std::string::npos);
  EXPECT_NE(url(":4317", "", true).find("names no host"), std::string::npos);
}

}  // namespace
}  // namespace zerotap::otlp
