#include "agent/app/service_measures.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

constexpr uint32_t kShop = 10, kOther = 20, kUnknown = 30;

MeasureDelta Delta(uint32_t tgid, uint16_t what, uint16_t error, size_t bucket, uint64_t count,
                   uint64_t sum_ns) {
  MeasureDelta delta;
  delta.key = {tgid, what, error};
  delta.counts[bucket] = count;
  delta.sum_ns = sum_ns;
  return delta;
}

class ServiceMeasuresTest : public testing::Test {
 protected:
  ServiceMeasuresTest()
      : measures_(
            {},
            {[this](std::vector<MeasureDelta>& out) { out = std::move(pending_); },
             [this](uint32_t tgid) { forgotten_.push_back(tgid); }},
            [](uint32_t tgid) -> std::optional<TracedProcess> {
              if (tgid == kUnknown) return std::nullopt;
              auto resource = std::make_shared<Resource>();
              resource->service_name = tgid == kShop ? "shop" : "other";
              static ResourcePtr shop = resource;
              return TracedProcess{tgid, tgid == kShop, tgid == kShop ? shop : resource};
            },
            [this](uint32_t tgid) { left_out_.push_back(tgid); }) {}

  std::vector<MeasureDelta> pending_;
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
