#include "agent/http/client.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/support/fake_collector.h"

namespace zerotap {
namespace {

using std::chrono::milliseconds;
using testing::FakeBehaviour;
using testing::FakeCollector;
using testing::FakeReply;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLong{5000};

std::unique_ptr<HttpClient> MakeClient(HttpClientOptions options = {}) {
  auto client = HttpClient::Create(std::move(options));
  EXPECT_TRUE(client.has_value());
  return std::move(*client);
}

// A port of this host on which nobody listens.
uint16_t UnusedPort() { return FakeCollector().port(); }

TEST(HttpClientTest, SendsBodyAndHeadersAndReadsTheAnswer) {
  FakeCollector collector;
  collector.Script({FakeReply{202, "thanks", {{"Retry-After", "7"}, {"X-Twice", "a"}}}});
  HttpClientOptions options;
  options.user_agent = "zerotap/1.2";
  auto client = MakeClient(options);
  std::string body("\0\x01 body", 7);

  HttpResult result =
      client->Post(collector.url("/v1/traces?x=1"),
                   {{"Content-Type", "application/x-protobuf"}, {"X-Empty", ""}}, body, kLong);

  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->status, 202);
  EXPECT_EQ(result->body, "thanks");
  EXPECT_EQ(result->Header("retry-after"), "7");
  EXPECT_EQ(result->Header("absent"), "");
  EXPECT_FALSE(result->body_truncated);
  auto requests = collector.requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].method, "POST");
  EXPECT_EQ(requests[0].path, "/v1/traces?x=1");
  EXPECT_EQ(requests[0].body, body);
  EXPECT_EQ(requests[0].Header("content-type"), "application/x-protobuf");
  EXPECT_EQ(requests[0].Header("user-agent"), "zerotap/1.2");
  EXPECT_EQ(requests[0].Header("expect"), "");
}

TEST(HttpClientTest, KeepsTheConnection) {
  FakeCollector collector;
  auto client = MakeClient();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(client->Post(collector.url("/"), {}, "x", kLong));
  EXPECT_EQ(collector.connection_count(), 1u);
  EXPECT_EQ(client->connections_opened(), 1u);
}

TEST(HttpClientTest, OpensANewConnectionWhenTheKeptOneWasClosed) {
  FakeCollector collector;
  collector.Script({FakeReply{200, "", {{"Connection", "close"}}}});
  auto client = MakeClient();
  ASSERT_TRUE(client->Post(collector.url("/"), {}, "x", kLong));
  ASSERT_TRUE(client->Post(collector.url("/"), {}, "x", kLong));
  EXPECT_EQ(client->connections_opened(), 2u);
}

TEST(HttpClientTest, SendsALargeBodyInOnePiece) {
  FakeCollector collector;
  auto client = MakeClient();
  std::string body(5 << 20, 'b');
  ASSERT_TRUE(client->Post(collector.url("/"), {}, body, kLong));
  EXPECT_EQ(collector.requests()[0].body.size(), body.size());
}

TEST(HttpClientTest, RefusedConnectionCanBeRetried) {
  auto client = MakeClient();
  HttpResult result =
      client->Post("http://127.0.0.1:" + std::to_string(UnusedPort()) + "/", {}, "x", kLong);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().failure, HttpFailure::kConnect);
  EXPECT_TRUE(result.error().retryable());
  EXPECT_FALSE(result.error().message.empty());
}

TEST(HttpClientTest, SilenceEndsByTimeout) {
  FakeCollector collector;
  collector.Script({}, FakeReply{.behaviour = FakeBehaviour::kHang});
  auto client = MakeClient();
  auto start = Clock::now();
  HttpResult result = client->Post(collector.url("/"), {}, "x", milliseconds(200));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().failure, HttpFailure::kTimeout);
  EXPECT_TRUE(result.error().retryable());
  EXPECT_LT(Clock::now() - start, milliseconds(10000));
}

TEST(HttpClientTest, ResetAndCloseCanBeRetried) {
  FakeCollector collector;
  collector.Script({FakeReply{.behaviour = FakeBehaviour::kReset},
                    FakeReply{.behaviour = FakeBehaviour::kClose}});
  auto client = MakeClient();
  for (HttpFailure failure : {HttpFailure::kConnection, HttpFailure::kNoAnswer}) {
    HttpResult result = client->Post(collector.url("/"), {}, "x", kLong);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().failure, failure) << result.error().message;
    EXPECT_TRUE(result.error().retryable());
  }
}

TEST(HttpClientTest, BytesThatAreNotHttpAreNotRetried) {
  FakeCollector collector;
  // What a gRPC port answers: an HTTP/2 SETTINGS frame.
  collector.Script({}, FakeReply{.body = std::string("\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0", 15),
                                 .behaviour = FakeBehaviour::kRaw});
  auto client = MakeClient();
  HttpResult result = client->Post(collector.url("/"), {}, "x", kLong);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().failure, HttpFailure::kProtocol) << result.error().message;
  EXPECT_FALSE(result.error().retryable());
}

TEST(HttpClientTest, ReadsNoMoreThanTheCap) {
  FakeCollector collector;
  collector.Script({FakeReply{.behaviour = FakeBehaviour::kEndless}});
  HttpClientOptions options;
  options.max_response_bytes = 100'000;
  auto client = MakeClient(options);
  HttpResult result = client->Post(collector.url("/"), {}, "x", kLong);
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->status, 200);
  EXPECT_TRUE(result->body_truncated);
  EXPECT_EQ(result->body.size(), 100'000u);
  EXPECT_TRUE(client->Post(collector.url("/"), {}, "x", kLong)) << "usable afterwards";
}

TEST(HttpClientTest, BoundsTheHeadersItKeeps) {
  FakeCollector collector;
  FakeReply reply;
  for (int i = 0; i < 200; ++i) reply.headers.emplace_back("X-" + std::to_string(i), "v");
  collector.Script({reply});
  auto client = MakeClient();
  HttpResult result = client->Post(collector.url("/"), {}, "x", kLong);
  ASSERT_TRUE(result.has_value());
  EXPECT_LE(result->headers.size(), 64u);
}

TEST(HttpClientTest, StopFromAnotherThreadAbortsTheTransfer) {
  FakeCollector collector;
  collector.Script({}, FakeReply{.behaviour = FakeBehaviour::kHang});
  auto client = MakeClient();
  Clock::time_point stopped_at;
  std::thread stopper([&] {
    collector.WaitForRequests(1);
    stopped_at = Clock::now();
    client->RequestStop();
  });
  HttpResult result = client->Post(collector.url("/"), {}, "x", milliseconds(20000));
  auto returned_at = Clock::now();
  stopper.join();
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().failure, HttpFailure::kStopped);
  EXPECT_FALSE(result.error().retryable());
  EXPECT_LT(returned_at - stopped_at, milliseconds(5000)) << "not after 20 s";

  result = client->Post(collector.url("/"), {}, "x", kLong);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().failure, HttpFailure::kStopped);
  EXPECT_EQ(collector.requests().size(), 1u);
}

TEST(HttpClientTest, DoesNotFollowRedirects) {
  FakeCollector collector;
  collector.Script({FakeReply{307, "", {{"Location", collector.url("/elsewhere")}}}});
  auto client = MakeClient();
  HttpResult result = client->Post(collector.url("/"), {{"key", "secret"}}, "x", kLong);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->status, 307);
  EXPECT_EQ(collector.requests().size(), 1u);
}

TEST(HttpClientTest, SpeaksHttpOnly) {
  auto client = MakeClient();
  HttpResult result = client->Post("file:///etc/hostname", {}, "x", kLong);
  ASSERT_FALSE(result.has_value());
  EXPECT_FALSE(result.error().retryable());
}

TEST(HttpClientTest, RefusesHeadersThatWouldSplitTheRequest) {
  FakeCollector collector;
  auto client = MakeClient();
  HttpResult result = client->Post(collector.url("/"), {{"key", "a\r\nX: b"}}, "x", kLong);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().failure, HttpFailure::kRequest);
  EXPECT_TRUE(collector.requests().empty());
  EXPECT_TRUE(IsValidHeader("signoz-ingestion-key", "abc def"));
  EXPECT_FALSE(IsValidHeader("", "v"));
  EXPECT_FALSE(IsValidHeader("a b", "v"));
  EXPECT_FALSE(IsValidHeader("a:", "v"));
}

TEST(HttpClientTest, MissingCertificateFilesFailAtOnceAndAreNamed) {
  HttpClientOptions options;
  options.ca_file = "/nonexistent/ca.pem";
  auto client = HttpClient::Create(options);
  ASSERT_FALSE(client.has_value());
  EXPECT_NE(client.error().message.find("/nonexistent/ca.pem"), std::string::npos);

  HttpClientOptions lonely;
  lonely.client_certificate_file = "/etc/hostname";
  EXPECT_FALSE(HttpClient::Create(lonely).has_value());
}

TEST(HttpClientTest, UsesTheProxyOfTheEnvironment) {
  FakeCollector proxy;
  setenv("http_proxy", proxy.url().c_str(), 1);
  auto client = MakeClient();
  HttpResult result = client->Post("http://collector.invalid:4318/v1/traces", {}, "x", kLong);
  unsetenv("http_proxy");
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(proxy.requests()[0].path, "http://collector.invalid:4318/v1/traces");
}

// Variables of the environment for the length of a test.
class ProxyTest : public ::testing::Test {
 protected:
  void SetUp() override { Clear(); }
  void TearDown() override { Clear(); }
  static void Clear() {
    for (const char* name : {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy",
                             "ALL_PROXY", "no_proxy", "NO_PROXY"}) {
      unsetenv(name);
    }
  }
  // The paths that the proxy and the target were asked for.
  std::pair<std::string, std::string> Ask(const std::string& proxy_option) {
    HttpClientOptions options;
    options.proxy = proxy_option;
    auto client = MakeClient(options);
    const size_t before = target_.requests().size();
    const size_t before_proxy = proxy_.requests().size();
    EXPECT_TRUE(client->Post(target_.url("/t"), {}, "x", kLong).has_value());
    return {proxy_.requests().size() > before_proxy ? proxy_.requests().back().path : "",
            target_.requests().size() > before ? target_.requests().back().path : ""};
  }

  FakeCollector proxy_;
  FakeCollector target_;
};

TEST_F(ProxyTest, ByOption) {
  EXPECT_EQ(Ask(""), std::pair(std::string(), std::string("/t")));
  EXPECT_EQ(Ask(proxy_.url()), std::pair(target_.url("/t"), std::string()));
}

TEST_F(ProxyTest, ByEitherSpellingOfTheVariable) {
  for (const char* name : {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"}) {
    Clear();
    setenv(name, proxy_.url().c_str(), 1);
    EXPECT_EQ(Ask(""), std::pair(target_.url("/t"), std::string())) << name;
    EXPECT_EQ(Ask(std::string(kNoProxy)), std::pair(std::string(), std::string("/t"))) << name;
  }
  for (const char* name : {"https_proxy", "HTTPS_PROXY"}) {
    Clear();
    setenv(name, proxy_.url().c_str(), 1);
    EXPECT_EQ(Ask(""), std::pair(std::string(), std::string("/t"))) << name;
  }
}

TEST_F(ProxyTest, NotForHostsThatAreLeftOut) {
  for (const char* name : {"no_proxy", "NO_PROXY"}) {
    Clear();
    setenv(name, "example.com,127.0.0.1", 1);
    setenv("http_proxy", proxy_.url().c_str(), 1);
    EXPECT_EQ(Ask(""), std::pair(std::string(), std::string("/t"))) << name;
    EXPECT_EQ(Ask(proxy_.url()), std::pair(std::string(), std::string("/t"))) << name;
  }
}

TEST(HttpClientTest, TrailersAreKeptApart) {
  FakeCollector collector;
  collector.Script(
      {FakeReply{.body = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Where: head\r\n\r\n"
                         "2\r\nok\r\n0\r\nX-Where: tail\r\n\r\n",
                 .behaviour = FakeBehaviour::kRaw}});
  auto client = MakeClient();
  HttpResult result = client->Post(collector.url(), {}, "x", kLong);
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->body, "ok");
  EXPECT_EQ(result->Header("x-where"), "head");
  EXPECT_EQ(result->Trailer("x-where"), "tail");
}

}  // namespace
}  // namespace zerotap
