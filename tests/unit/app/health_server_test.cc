#include "agent/app/health_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "agent/base/unique_fd.h"

namespace zerotap {
namespace {

using ::testing::HasSubstr;

class HealthServerTest : public testing::Test {
 protected:
  void Start() {
    HealthCallbacks callbacks;
    callbacks.report = [this] {
      HealthReport report;
      report.live = live_;
      report.ready = ready_;
      report.reason = "the probes are not attached";
      return report;
    };
    callbacks.metrics = [] { return std::string("zerotap_requests_seen_total 3\n"); };
    callbacks.ledger = [this]() -> std::string {
      if (throwing_) throw std::runtime_error("boom");
      return "{\"rows\":[]}\n";
    };
    auto server = HealthServer::Start({"127.0.0.1", 0}, callbacks);
    ASSERT_TRUE(server.has_value()) << server.error().message;
    server_ = std::move(*server);
  }
  httplib::Result Get(const char* path) {
    httplib::Client client("127.0.0.1", server_->port());
    client.set_read_timeout(10);
    return client.Get(path);
  }
  UniqueFd Connect() {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server_->port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return fd;
  }

  std::atomic<bool> live_{true};
  std::atomic<bool> ready_{false};
  std::atomic<bool> throwing_{false};
  std::unique_ptr<HealthServer> server_;
};

TEST_F(HealthServerTest, LiveButNotReadySaysWhy) {
  Start();
  auto live = Get("/livez");
  ASSERT_TRUE(live);
  EXPECT_EQ(live->status, 200);
  EXPECT_EQ(live->body, "ok\n");
  auto ready = Get("/readyz");
  ASSERT_TRUE(ready);
  EXPECT_EQ(ready->status, 503);
  EXPECT_EQ(ready->body, "the probes are not attached\n");
}

TEST_F(HealthServerTest, ReadyOnceTheReportSaysSo) {
  Start();
  ready_ = true;
  EXPECT_EQ(Get("/readyz")->status, 200);
  live_ = false;
  EXPECT_EQ(Get("/livez")->status, 503);
}

TEST_F(HealthServerTest, MetricsAndLedgerHaveTheirTypes) {
  Start();
  auto metrics = Get("/metrics");
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->body, "zerotap_requests_seen_total 3\n");
  EXPECT_THAT(metrics->get_header_value("Content-Type"), HasSubstr("version=0.0.4"));
  auto ledger = Get("/ledger");
  ASSERT_TRUE(ledger);
  EXPECT_EQ(ledger->body, "{\"rows\":[]}\n");
  EXPECT_EQ(ledger->get_header_value("Content-Type"), "application/json");
}

TEST_F(HealthServerTest, OtherPathsAndMethodsAre404) {
  Start();
  auto other = Get("/");
  ASSERT_TRUE(other);
  EXPECT_EQ(other->status, 404);
  EXPECT_THAT(other->body, HasSubstr("/ledger"));
  httplib::Client client("127.0.0.1", server_->port());
  auto posted = client.Post("/metrics", std::string(100, 'x'), "text/plain");
  ASSERT_TRUE(posted);
  EXPECT_EQ(posted->status, 404);
}

TEST_F(HealthServerTest, ExceptionIsContained) {
  Start();
  throwing_ = true;
  auto ledger = Get("/ledger");
  ASSERT_TRUE(ledger);
  EXPECT_EQ(ledger->status, 500);
  throwing_ = false;
  EXPECT_EQ(Get("/ledger")->status, 200);
}

TEST_F(HealthServerTest, PortInUseIsAnErrorThatNamesIt) {
  Start();
  auto second = HealthServer::Start({"127.0.0.1", server_->port()}, {});
  ASSERT_FALSE(second.has_value());
  EXPECT_THAT(second.error().message,
              HasSubstr("cannot listen on 127.0.0.1:" + std::to_string(server_->port())));
  EXPECT_EQ(Get("/livez")->status, 200);
}

TEST_F(HealthServerTest, AddressThatIsNotOursIsAnError) {
  EXPECT_FALSE(HealthServer::Start({"192.0.2.1", 8686}, {}).has_value());
}

TEST_F(HealthServerTest, SilentClientsDoNotBlockItForLong) {
  Start();
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 8; ++i) silent.push_back(Connect());
  const auto begin = std::chrono::steady_clock::now();
  auto live = Get("/livez");
  ASSERT_TRUE(live);
  EXPECT_EQ(live->status, 200);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST_F(HealthServerTest, GarbageGetsNoCrash) {
  Start();
  for (const std::string& bytes :
       {std::string("\0\1\2\3\n\n", 6), std::string("GET\r\n\r\n"), std::string(20000, 'A'),
        std::string("GET /livez HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n")}) {
    UniqueFd fd = Connect();
    EXPECT_GT(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), 0);
  }
  EXPECT_EQ(Get("/livez")->status, 200);
}

TEST_F(HealthServerTest, StopsWhileClientsAreConnected) {
  Start();
  UniqueFd silent = Connect();
  const auto begin = std::chrono::steady_clock::now();
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(8));
}

}  // namespace
}  // namespace zerotap
