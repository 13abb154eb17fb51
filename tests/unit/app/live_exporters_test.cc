#include "agent/app/live_exporters.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/support/fake_collector.h"

namespace zerotap {
namespace {

using testing::FakeCollector;
using namespace std::chrono_literals;

Config ExportingTo(const FakeCollector& collector) {
  Config config;
  config.exports.traces = {"otlp"};
  config.exports.metrics = {"none"};
  config.exports.otlp.endpoint = collector.url();
  config.exports.flush_interval_ns = 10'000'000;
  return config;
}

class LiveExportersTest : public ::testing::Test {
 protected:
  LiveExportersTest() : row_(ledger_.RowFor("shop", 1, "http", Role::kServer)) {}

  std::vector<Span> Spans(size_t count) {
    auto resource = std::make_shared<Resource>();
    resource->service_name = "shop";
    std::vector<Span> spans(count);
    for (Span& span : spans) {
      span.name = "GET";
      span.resource = resource;
      span.ledger_row = row_;
      ledger_.Seen(row_);
    }
    return spans;
  }
  static Status Replace(LiveExporters& exporters, const Config& config,
                        std::chrono::milliseconds patience = 5s) {
    auto next = exporters.Prepare(config);
    if (!next) return tl::unexpected<Error>(next.error());
    exporters.Replace(std::move(*next), patience);
    return {};
  }
  template <typename Condition>
  static bool WaitFor(const Condition& condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }

  Ledger ledger_;
  uint32_t row_;
};

TEST_F(LiveExportersTest, EverySpanHasAFateWhileReceiversChange) {
  FakeCollector first;
  FakeCollector second;
  auto created = LiveExporters::Create(ExportingTo(first), ledger_);
  ASSERT_TRUE(created) << created.error().message;
  LiveExporters& exporters = **created;
  std::atomic<bool> done{false};
  std::thread pusher([&] {
    for (int i = 0; i < 200; ++i) {
      exporters.PushSpans(Spans(5));
      std::this_thread::sleep_for(1ms);
    }
    done = true;
  });
  int turns = 0;
  while (!done) {
    ASSERT_TRUE(Replace(exporters, ExportingTo(++turns % 2 == 0 ? first : second)));
    std::this_thread::sleep_for(20ms);
  }
  pusher.join();
  exporters.Shutdown(std::chrono::steady_clock::now() + 5s);
  EXPECT_GT(turns, 3);
  EXPECT_EQ(ledger_.Total().seen, 1000u);
  EXPECT_EQ(ledger_.Total().emitted, 1000u);
  EXPECT_FALSE(first.requests().empty());
  EXPECT_FALSE(second.requests().empty());
  uint64_t exported = 0;
  for (const ExporterCounts& counts : exporters.Counts()) {
    exported += counts.exported;
    EXPECT_EQ(counts.queued, 0u);
  }
  EXPECT_EQ(exported, 1000u);
}

TEST_F(LiveExportersTest, CountsOfFormerOnesStay) {
  FakeCollector collector;
  auto created = LiveExporters::Create(ExportingTo(collector), ledger_);
  ASSERT_TRUE(created);
  (*created)->PushSpans(Spans(7));
  ASSERT_TRUE(WaitFor([&] { return ledger_.Total().emitted == 7; }));
  Config none = ExportingTo(collector);
  none.exports.traces = {"none"};
  ASSERT_TRUE(Replace(**created, none));
  bool found = false;
  for (const ExporterCounts& counts : (*created)->Counts()) {
    if (counts.exporter != "otlp" || counts.signal != "traces") continue;
    found = true;
    EXPECT_EQ(counts.exported, 7u);
  }
  EXPECT_TRUE(found);
  (*created)->Shutdown(std::chrono::steady_clock::now() + 5s);
}

TEST_F(LiveExportersTest, ReasonsOfLossesAddUp) {
  FakeCollector collector;
  testing::FakeReply refusal;
  refusal.status = 400;
  collector.Script({}, refusal);
  auto created = LiveExporters::Create(ExportingTo(collector), ledger_);
  ASSERT_TRUE(created);
  for (const uint64_t lost : {3u, 6u, 9u}) {
    (*created)->PushSpans(Spans(3));
    ASSERT_TRUE(WaitFor([&] { return ledger_.Total().dropped_total() == lost; }));
    uint64_t counted = 0;
    for (const ExporterCounts& counts : (*created)->Counts()) {
      const auto found = counts.losses.find("http_400");
      if (found != counts.losses.end()) counted += found->second;
    }
    EXPECT_EQ(counted, lost);
    ASSERT_TRUE(Replace(**created, ExportingTo(collector)));
  }
  (*created)->Shutdown(std::chrono::steady_clock::now() + 5s);
}

// The spans of a wrong endpoint: those that wait and those that are tried again and again.
TEST_F(LiveExportersTest, ACorrectedEndpointGetsWhatWaited) {
  testing::FakeReply busy;
  busy.status = 503;
  FakeCollector wrong;
  wrong.Script({}, busy);
  Config refused = ExportingTo(FakeCollector());  // nobody listens there any more
  for (const Config& first : {refused, ExportingTo(wrong)}) {
    const uint64_t emitted = ledger_.Total().emitted;
    FakeCollector right;
    auto created = LiveExporters::Create(first, ledger_);
    ASSERT_TRUE(created);
    (*created)->PushSpans(Spans(3));
    ASSERT_TRUE(WaitFor([&] {
      uint64_t retries = 0;
      for (const ExporterCounts& counts : (*created)->Counts()) retries += counts.retries;
      return retries > 0;
    }));
    (*created)->PushSpans(Spans(4));
    ASSERT_TRUE(Replace(**created, ExportingTo(right), 200ms));
    EXPECT_TRUE(WaitFor([&] { return ledger_.Total().emitted == emitted + 7; }));
    (*created)->Shutdown(std::chrono::steady_clock::now() + 5s);
    EXPECT_EQ(ledger_.Total().dropped_total(), 0u);
    uint64_t exported = 0;
    for (const ExporterCounts& counts : (*created)->Counts()) {
      exported += counts.exported;
      EXPECT_EQ(counts.queued + counts.failed, 0u);
    }
    EXPECT_EQ(exported, 7u);
  }
}

// One collection of two points.
std::vector<Metric> Collection() {
  static constexpr MetricDescriptor kThings{"shop.things", "1", "Things"};
  auto resource = std::make_shared<Resource>();
  resource->service_name = "shop";
  std::vector<Metric> metrics(1);
  metrics[0].descriptor = &kThings;
  metrics[0].resource = resource;
  NumberPoint point;
  point.value = int64_t{1};
  metrics[0].numbers = {point, point};
  return metrics;
}

TEST_F(LiveExportersTest, ACorrectedEndpointGetsThePointsThatWaited) {
  testing::FakeReply busy;
  busy.status = 503;
  FakeCollector wrong;
  wrong.Script({}, busy);
  FakeCollector right;
  Config first = ExportingTo(wrong);
  Config second = ExportingTo(right);
  first.exports.metrics = second.exports.metrics = {"otlp"};
  auto created = LiveExporters::Create(first, ledger_);
  ASSERT_TRUE(created);
  LiveExporters& exporters = **created;
  auto sum = [&](uint64_t ExporterCounts::*field) {
    uint64_t result = 0;
    for (const ExporterCounts& counts : exporters.Counts()) result += counts.*field;
    return result;
  };
  exporters.PushMetrics(Collection());
  ASSERT_TRUE(WaitFor([&] { return sum(&ExporterCounts::retries) > 0; }));
  for (int i = 0; i < 3; ++i) exporters.PushMetrics(Collection());
  ASSERT_TRUE(Replace(exporters, second, 200ms));
  exporters.PushMetrics(Collection());
  EXPECT_TRUE(WaitFor([&] { return sum(&ExporterCounts::exported) == 10; }));
  exporters.Shutdown(std::chrono::steady_clock::now() + 5s);
  EXPECT_EQ(sum(&ExporterCounts::exported), 10u);
  EXPECT_EQ(sum(&ExporterCounts::failed) + sum(&ExporterCounts::dropped) +
                sum(&ExporterCounts::queued),
            0u);
  EXPECT_EQ(right.requests().size(), 5u);
}

TEST_F(LiveExportersTest, PointsOfAnExporterThatIsGoneAreCountedAsStopped) {
  testing::FakeReply busy;
  busy.status = 503;
  FakeCollector wrong;
  wrong.Script({}, busy);
  Config first = ExportingTo(wrong);
  first.exports.metrics = {"otlp"};
  auto created = LiveExporters::Create(first, ledger_);
  ASSERT_TRUE(created);
  for (int i = 0; i < 3; ++i) (*created)->PushMetrics(Collection());
  ASSERT_TRUE(Replace(**created, ExportingTo(wrong), 200ms));  // without metrics
  EXPECT_TRUE(WaitFor([&] {
    for (const ExporterCounts& counts : (*created)->Counts()) {
      auto stopped = counts.losses.find("stopped");
      if (stopped != counts.losses.end() && stopped->second == 6 && counts.failed == 6) return true;
    }
    return false;
  }));
  (*created)->Shutdown(std::chrono::steady_clock::now() + 5s);
}

// Nobody can say whether the receiver took them.
TEST_F(LiveExportersTest, WhatAFormerReceiverMayHaveIsNotSentAgain) {
  testing::FakeReply silent;
  silent.behaviour = testing::FakeBehaviour::kHang;
  FakeCollector first;
  first.Script({}, silent);
  FakeCollector second;
  auto created = LiveExporters::Create(ExportingTo(first), ledger_);
  ASSERT_TRUE(created);
  (*created)->PushSpans(Spans(3));
  ASSERT_TRUE(first.WaitForRequests(1));
  ASSERT_TRUE(Replace(**created, ExportingTo(second), 200ms));
  EXPECT_TRUE(WaitFor([&] { return ledger_.Total().dropped_total() == 3; }));
  (*created)->Shutdown(std::chrono::steady_clock::now() + 5s);
  EXPECT_TRUE(second.requests().empty());
}

TEST_F(LiveExportersTest, WhatCannotBeMadeLeavesTheFormerInForce) {
  FakeCollector collector;
  auto created = LiveExporters::Create(ExportingTo(collector), ledger_);
  ASSERT_TRUE(created);
  Config wrong = ExportingTo(collector);
  wrong.exports.otlp.certificate = "/nonexistent/authority.pem";
  EXPECT_FALSE(Replace(**created, wrong));
  (*created)->PushSpans(Spans(3));
  EXPECT_TRUE(WaitFor([&] { return ledger_.Total().emitted == 3; }));
  (*created)->Shutdown(std::chrono::steady_clock::now() + 5s);
}

}  // namespace
}  // namespace zerotap
