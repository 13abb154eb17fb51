#include "agent/app/service_measures.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <map>
#include <utility>

#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

constexpr uint32_t kShop = 10, kOther = 20, kUnknown = 30;

MeasureDelta Delta(uint32_t tgid, uint16_t what, uint16_t error, size_t bucket, uint64_t count,
                   uint64_t sum) {
  MeasureDelta delta;
  delta.key = {tgid, what, error};
  delta.counts[bucket] = count;
  delta.sum = sum;
  return delta;
}

class ServiceMeasuresTest : public testing::Test {
 protected:
  ServiceMeasuresTest()
      : measures_(
            {},
            {[this](std::vector<MeasureDelta>& out) { out = std::exchange(pending_, {}); },
             [this] { pending_.insert(pending_.end(), surveyed_.begin(), surveyed_.end()); },
             [this](uint32_t tgid) { forgotten_.push_back(tgid); }},
            [](uint32_t tgid) -> std::optional<TracedProcess> {
              if (tgid == kUnknown) return std::nullopt;
              auto resource = std::make_shared<Resource>();
              resource->service_name = tgid == kShop ? "shop" : "other";
              static ResourcePtr shop = resource;
              return TracedProcess{tgid, tgid == kShop, tgid == kShop ? shop : resource};
            },
            [this](uint32_t tgid) { left_out_.push_back(tgid); }) {}

  std::vector<MeasureDelta> pending_, surveyed_;
  std::vector<uint32_t> forgotten_, left_out_;
  ServiceMeasures measures_;
};

TEST_F(ServiceMeasuresTest, CallsBecomeHistogramsOfTheServiceByNameAndError) {
  pending_ = {Delta(kShop, SYS_read, 0, 0, 4, 2000), Delta(kShop, SYS_read, 11, 3, 2, 15000)};
  measures_.Take(100);
  pending_ = {Delta(kShop, SYS_read, 0, 22, 1, 30'000'000'000)};
  measures_.Take(200);
  std::vector<Metric> metrics;
  measures_.Collect(300, metrics);
  ASSERT_EQ(metrics.size(), 1u);
  EXPECT_EQ(metrics[0].descriptor->name, semconv::kSyscallDuration);
  EXPECT_EQ(metrics[0].resource->service_name, "shop");
  ASSERT_EQ(metrics[0].histograms.size(), 2u);
  const HistogramPoint& good = metrics[0].histograms[0];
  EXPECT_EQ(good.attributes.FindText(semconv::kSyscallName), "read");
  EXPECT_FALSE(good.attributes.Has(semconv::kErrorType));
  EXPECT_EQ(good.count, 5u);
  EXPECT_DOUBLE_EQ(good.sum, 30.000002);
  EXPECT_EQ(good.bucket_counts.size(), metrics[0].descriptor->bounds.size() + 1);
  EXPECT_EQ(good.bucket_counts.front(), 4u);
  EXPECT_EQ(good.bucket_counts.back(), 1u);
  const HistogramPoint& bad = metrics[0].histograms[1];
  EXPECT_EQ(bad.attributes.FindText(semconv::kErrorType), "EAGAIN");
  EXPECT_EQ(bad.count, 2u);
  EXPECT_DOUBLE_EQ(metrics[0].descriptor->bounds[0], 1e-6);
  EXPECT_DOUBLE_EQ(metrics[0].descriptor->bounds.back(), 10);
}

TEST_F(ServiceMeasuresTest, NumbersOfConnections) {
  pending_ = {Delta(kShop, ZT_MEASURE_TCP_CONNECT, 111, 2, 5, 20'000),
              Delta(kShop, ZT_MEASURE_TCP_RETRANSMITS, 0, 0, 1, 17)};
  measures_.Take(100);
  surveyed_ = {Delta(kShop, ZT_MEASURE_TCP_OPEN, 0, 0, 4, 4),
               Delta(kShop, ZT_MEASURE_TCP_ROUND_TRIP, 0, 1, 4, 6'000)};
  const auto collect = [this](uint64_t now) {
    std::vector<Metric> metrics;
    measures_.Collect(now, metrics);
    std::map<std::string_view, Metric> found;
    for (Metric& metric : metrics) found[metric.descriptor->name] = std::move(metric);
    return found;
  };
  auto first = collect(200);
  ASSERT_EQ(first.size(), 4u);
  EXPECT_EQ(first[semconv::kTcpConnectDuration].histograms.at(0).count, 5u);
  EXPECT_EQ(
      first[semconv::kTcpConnectDuration].histograms[0].attributes.FindText(semconv::kErrorType),
      "ECONNREFUSED");
  EXPECT_DOUBLE_EQ(first[semconv::kTcpRoundTrip].histograms.at(0).sum, 6e-6);
  EXPECT_EQ(std::get<int64_t>(first[semconv::kTcpRetransmits].numbers.at(0).value), 17);
  EXPECT_EQ(std::get<int64_t>(first[semconv::kTcpConnections].numbers.at(0).value), 4);
  pending_ = {Delta(kShop, ZT_MEASURE_TCP_RETRANSMITS, 0, 0, 1, 3)};
  auto second = collect(300);
  EXPECT_EQ(std::get<int64_t>(second[semconv::kTcpRetransmits].numbers.at(0).value), 20);
  EXPECT_EQ(std::get<int64_t>(second[semconv::kTcpConnections].numbers.at(0).value), 4)
      << "of each survey by itself";
  surveyed_.clear();
  EXPECT_EQ(std::get<int64_t>(collect(400)[semconv::kTcpConnections].numbers.at(0).value), 0);
  EXPECT_FALSE(collect(500).contains(semconv::kTcpConnections)) << "none is said once";
}

TEST_F(ServiceMeasuresTest, WhoIsNotTracedGivesNothingAndIsToldToTheKernel) {
  pending_ = {Delta(kOther, SYS_read, 0, 0, 4, 2000), Delta(kUnknown, SYS_read, 0, 0, 4, 2000)};
  measures_.Take(100);
  std::vector<Metric> metrics;
  measures_.Collect(300, metrics);
  EXPECT_TRUE(metrics.empty());
  EXPECT_EQ(left_out_, std::vector<uint32_t>{kOther});
  EXPECT_EQ(forgotten_, (std::vector<uint32_t>{kOther, kUnknown}));
}

TEST_F(ServiceMeasuresTest, AnEndedProcessIsForgotten) {
  measures_.OnExit(kShop);
  EXPECT_EQ(forgotten_, std::vector<uint32_t>{kShop});
}

}  // namespace
}  // namespace zerotap
