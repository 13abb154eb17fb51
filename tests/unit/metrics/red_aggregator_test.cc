#include "agent/metrics/red_aggregator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <new>
#include <numeric>

#include "agent/metrics/gathered_resources.h"
#include "agent/telemetry/semconv.h"

namespace {
std::atomic<uint64_t> allocations{0};
}  // namespace

// Counts what Record allocates.
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace zerotap {
namespace {

constexpr double kBounds[] = {0.1, 0.5, 1};
constexpr MetricDescriptor kServer{"http.server.request.duration", "s", "", MetricType::kHistogram, true, kBounds};
constexpr MetricDescriptor kClient{"http.client.request.duration", "s", "", MetricType::kHistogram, true, kBounds};

ResourcePtr MakeResource(std::string name) {
  auto resource = std::make_shared<Resource>();
  resource->service_name = std::move(name);
  return resource;
}

class RedAggregatorTest : public testing::Test {
 protected:
  void Use(RedOptions options) { red_ = std::make_unique<RedAggregator>(options); }
  void Record(double value, std::string_view route = "/a", uint64_t now = 0, const Exemplar* exemplar = nullptr) {
    MetricAttribute attributes[] = {{semconv::kHttpRoute, route}, {semconv::kHttpResponseStatusCode, int64_t{200}}};
    red_->Record(resource_, kServer, attributes, value, now == 0 ? ++now_ : now, exemplar);
  }
  std::vector<Metric> Collect(uint64_t now) {
    std::vector<Metric> out;
    red_->Collect(now, out);
    return out;
  }
  // The only point of the only metric.
  HistogramPoint CollectOne(uint64_t now) {
    std::vector<Metric> metrics = Collect(now);
    EXPECT_EQ(metrics.size(), 1u);
    if (metrics.size() != 1 || metrics[0].histograms.size() != 1) {
      ADD_FAILURE() << "not one point";
      return {};
    }
    return metrics[0].histograms[0];
  }

  std::unique_ptr<RedAggregator> red_ = std::make_unique<RedAggregator>(RedOptions{});
  ResourcePtr resource_ = MakeResource("shop");
  uint64_t now_ = 1000;
};

TEST_F(RedAggregatorTest, BucketBoundsAreInclusiveAbove) {
  for (double value : {0.0, 0.1, 0.100001, 0.5, 1.0, 1.5}) Record(value);
  HistogramPoint point = CollectOne(2000);
  EXPECT_EQ(point.bucket_counts, (std::vector<uint64_t>{2, 2, 1, 1}));
  EXPECT_EQ(point.count, 6u);
  EXPECT_DOUBLE_EQ(point.sum, 3.200001);
  EXPECT_EQ(point.min, 0.0);
  EXPECT_EQ(point.max, 1.5);
  EXPECT_EQ(point.attributes.FindText(semconv::kHttpRoute), "/a");
}

TEST_F(RedAggregatorTest, OneMetricPerResourceAndDescriptorOnePointPerAttributes) {
  ResourcePtr other = MakeResource("cart");
  Record(1, "/a");
  Record(1, "/b");
  MetricAttribute attributes[] = {{semconv::kHttpRoute, std::string_view("/a")}};
  red_->Record(other, kServer, attributes, 1, ++now_, nullptr);
  red_->Record(other, kClient, attributes, 1, ++now_, nullptr);
  std::vector<Metric> metrics = Collect(2000);
  ASSERT_EQ(metrics.size(), 3u);
  EXPECT_EQ(metrics[0].resource, resource_);
  EXPECT_EQ(metrics[0].descriptor, &kServer);
  EXPECT_EQ(metrics[0].histograms.size(), 2u);
  EXPECT_EQ(metrics[1].resource, other);
  EXPECT_EQ(metrics[2].descriptor, &kClient);
  EXPECT_EQ(metrics[0].temporality, Temporality::kCumulative);
}

TEST_F(RedAggregatorTest, AttributesThatDifferInTypeKeyOrValueAreOtherSeries) {
  auto record = [this](MetricAttribute attribute) {
    red_->Record(resource_, kServer, std::span<const MetricAttribute>(&attribute, 1), 1, ++now_, nullptr);
  };
  record({"a", std::string_view("1")});
  record({"a", int64_t{1}});
  record({"b", int64_t{1}});
  record({"a", int64_t{2}});
  record({"a", std::string_view("")});
  red_->Record(resource_, kServer, {}, 1, ++now_, nullptr);
  EXPECT_EQ(red_->series(), 6u);
  std::string same_key = "a";  // the same text at another address
  record({same_key, int64_t{1}});
  EXPECT_EQ(red_->series(), 6u);
}

TEST_F(RedAggregatorTest, CumulativeKeepsCountingFromItsStart) {
  Record(0.2, "/a", 1000);
  HistogramPoint first = CollectOne(2000);
  Record(0.7, "/a", 2500);
  HistogramPoint second = CollectOne(3000);
  EXPECT_EQ(first.start_unix_ns, 1000u);
  EXPECT_EQ(first.time_unix_ns, 2000u);
  EXPECT_EQ(second.start_unix_ns, 1000u);
  EXPECT_EQ(second.time_unix_ns, 3000u);
  EXPECT_EQ(second.count, 2u);
  EXPECT_EQ(second.min, 0.2);
  EXPECT_EQ(second.max, 0.7);
  EXPECT_EQ(CollectOne(4000).count, 2u) << "reported while nothing comes";
}

TEST_F(RedAggregatorTest, ALateCumulativeSeriesStartsWithItsInterval) {
  Record(1, "/a", 1000);
  Collect(2000);
  Record(1, "/b", 2500);
  std::vector<Metric> metrics = Collect(3000);
  EXPECT_EQ(metrics[0].histograms[1].start_unix_ns, 2000u);
}

TEST_F(RedAggregatorTest, DeltaReportsOnlyWhatCameInTheInterval) {
  Use({.temporality = Temporality::kDelta});
  Record(0.2, "/a", 1000);
  HistogramPoint first = CollectOne(2000);
  EXPECT_EQ(first.start_unix_ns, 1000u);
  EXPECT_EQ(first.count, 1u);
  EXPECT_TRUE(Collect(3000).empty()) << "nothing came";
  Record(0.7, "/a", 3500);
  HistogramPoint third = CollectOne(4000);
  EXPECT_EQ(third.start_unix_ns, 3000u);
  EXPECT_EQ(third.count, 1u);
  EXPECT_EQ(third.min, 0.7);
  EXPECT_EQ(third.max, 0.7);
  EXPECT_EQ(third.bucket_counts, (std::vector<uint64_t>{0, 0, 1, 0}));
}

TEST_F(RedAggregatorTest, BeyondTheCapEverythingIsCountedInOneOverflowSeries) {
  Use({.max_series_per_metric = 3});
  for (int i = 0; i < 10; ++i) Record(1, "/" + std::to_string(i));
  Record(1, "/0");
  EXPECT_EQ(red_->overflowed(), 7u);
  EXPECT_EQ(red_->series(), 4u);
  std::vector<Metric> metrics = Collect(5000);
  ASSERT_EQ(metrics[0].histograms.size(), 4u);
  const HistogramPoint& overflow = metrics[0].histograms[3];
  EXPECT_EQ(overflow.count, 7u);
  ASSERT_EQ(overflow.attributes.size(), 1u);
  EXPECT_EQ(overflow.attributes[0].key, semconv::kOverflow);
  EXPECT_EQ(std::get<bool>(overflow.attributes[0].value), true);
  uint64_t total = 0;
  for (const HistogramPoint& point : metrics[0].histograms) total += point.count;
  EXPECT_EQ(total, 11u) << "no request is lost";
}

TEST_F(RedAggregatorTest, TheCapHoldsOverAllResourcesAndPerMetric) {
  Use({.max_series_per_metric = 2});
  for (int i = 0; i < 5; ++i) {
    ResourcePtr resource = MakeResource(std::to_string(i));
    red_->Record(resource, kServer, {}, 1, ++now_, nullptr);
    red_->Record(resource, kClient, {}, 1, ++now_, nullptr);
  }
  EXPECT_EQ(red_->overflowed(), 6u);
  EXPECT_EQ(red_->series(), 10u) << "two and three overflow series of each metric";
}

TEST_F(RedAggregatorTest, ManyShortProcessesAreCountedByServiceThenTogether) {
  Use({.max_series_per_metric = 8});
  for (int i = 0; i < 10'000; ++i) {
    red_->Record(MakeResource("service-" + std::to_string(i % 5)), kServer, {}, 1, ++now_, nullptr);
  }
  EXPECT_EQ(red_->series(), 8u + 2u + 2u + 1u) << "of processes, their overflow, of services, of all others";
  uint64_t total = 0;
  std::map<std::string, uint64_t> gathered;
  for (const Metric& metric : Collect(20'000)) {
    for (const HistogramPoint& point : metric.histograms) {
      total += point.count;
      if (point.count > 1) gathered[metric.resource->service_name] += point.count;
    }
  }
  EXPECT_EQ(total, 10'000u) << "no request is lost";
  ASSERT_EQ(gathered.size(), 3u);
  EXPECT_TRUE(gathered.contains(std::string(GatheredResources::kOtherServices)));
  // Processes that are gone make room again.
  for (uint64_t now = 30'000; now < 60'000; now += 1000) Collect(now);
  EXPECT_EQ(red_->series(), 0u);
  Record(1, "/a", 70'000);
  EXPECT_EQ(Collect(71'000)[0].resource, resource_);
}

TEST_F(RedAggregatorTest, ResourcesThatAreGatheredSayWhatHoldsForAll) {
  GatheredResources gathered(1);
  Resource one;
  one.service_name = "shop";
  one.pid = 7;
  one.attributes.Add(semconv::kServiceName, "shop");
  one.attributes.Add(semconv::kHostName, "host");
  one.attributes.Add(semconv::kProcessPid, int64_t{7});
  const ResourcePtr shop = gathered.Of(one);
  EXPECT_EQ(shop->pid, 0u);
  EXPECT_EQ(shop->attributes.FindText(semconv::kServiceName), "shop");
  EXPECT_EQ(shop->attributes.FindText(semconv::kHostName), "host");
  EXPECT_FALSE(shop->attributes.Has(semconv::kProcessPid));
  EXPECT_EQ(gathered.Of(one), shop);
  EXPECT_EQ(gathered.Of(*MakeResource("other")), gathered.Of(*MakeResource("another")));
  EXPECT_EQ(gathered.size(), 1u);
}

TEST_F(RedAggregatorTest, IdleSeriesAreForgottenAndMakeRoom) {
  Use({.max_series_per_metric = 2, .idle_collections = 3});
  std::weak_ptr<const Resource> resource;
  {
    ResourcePtr gone = MakeResource("gone");
    resource = gone;
    red_->Record(gone, kServer, {}, 1, 1000, nullptr);
  }
  Record(1, "/a", 1000);
  uint64_t now = 2000;
  for (int i = 0; i < 3; ++i, now += 1000) {
    Record(1, "/a", now - 500);
    EXPECT_EQ(Collect(now).size(), 2u);
  }
  Record(1, "/a", now - 500);
  EXPECT_EQ(Collect(now).size(), 1u) << "nothing for three collections";
  EXPECT_TRUE(resource.expired());
  Record(1, "/b", now + 500);
  EXPECT_EQ(red_->overflowed(), 0u);
  std::vector<Metric> metrics = Collect(now + 1000);
  ASSERT_EQ(metrics[0].histograms.size(), 2u);
  EXPECT_EQ(metrics[0].histograms[0].count, 5u);
  EXPECT_EQ(metrics[0].histograms[1].start_unix_ns, now);
}

TEST_F(RedAggregatorTest, AForgottenCumulativeSeriesStartsAnewAfterItsEnd) {
  Use({.idle_collections = 1});
  Record(1, "/a", 1000);
  HistogramPoint first = CollectOne(2000);
  EXPECT_TRUE(Collect(3000).empty());
  Record(1, "/a", 3500);
  HistogramPoint again = CollectOne(4000);
  EXPECT_EQ(again.count, 1u);
  EXPECT_GE(again.start_unix_ns, first.time_unix_ns);
  EXPECT_LT(again.start_unix_ns, 3500u);
}

TEST_F(RedAggregatorTest, LatestExemplarsOfTheInterval) {
  for (uint64_t i = 1; i <= 5; ++i) {
    Exemplar exemplar{i, static_cast<double>(i), {i, i}, {i}};
    Record(1, "/a", 0, &exemplar);
  }
  Record(1);
  HistogramPoint point = CollectOne(5000);
  ASSERT_EQ(point.exemplars.size(), 2u);
  EXPECT_EQ(point.exemplars[0].time_unix_ns + point.exemplars[1].time_unix_ns, 9u) << "the fourth and fifth";
  EXPECT_TRUE(CollectOne(6000).exemplars.empty());
}

TEST_F(RedAggregatorTest, ExponentialHistogramsOnRequest) {
  Use({.temporality = Temporality::kDelta, .exponential = true});
  for (double value : {0.0, 0.001, 0.25, 0.5, 1.0}) Record(value);
  std::vector<Metric> metrics = Collect(2000);
  ASSERT_EQ(metrics.size(), 1u);
  EXPECT_TRUE(metrics[0].histograms.empty());
  ASSERT_EQ(metrics[0].exponential_histograms.size(), 1u);
  const ExponentialHistogramPoint& point = metrics[0].exponential_histograms[0];
  EXPECT_EQ(point.count, 5u);
  EXPECT_EQ(point.zero_count, 1u);
  EXPECT_EQ(point.min, 0.0);
  EXPECT_EQ(point.max, 1.0);
  EXPECT_DOUBLE_EQ(point.sum, 1.751);
  EXPECT_LE(point.positive_counts.size(), 160u);
  EXPECT_EQ(std::accumulate(point.positive_counts.begin(), point.positive_counts.end(), uint64_t{0}), 4u);
  Record(1.0);
  metrics = Collect(3000);
  EXPECT_EQ(metrics[0].exponential_histograms[0].scale, 20) << "delta starts anew";
  EXPECT_EQ(metrics[0].exponential_histograms[0].positive_counts, std::vector<uint64_t>{1});
}

TEST_F(RedAggregatorTest, ImpossibleDurationsAreCountedWithoutPoisoningTheSum) {
  Record(std::nan(""));
  Record(-1);
  Record(std::numeric_limits<double>::infinity());
  HistogramPoint point = CollectOne(2000);
  EXPECT_EQ(point.count, 3u);
  EXPECT_TRUE(std::isfinite(point.sum));
  EXPECT_EQ(point.min, 0.0);
}

TEST_F(RedAggregatorTest, RecordingIntoAKnownSeriesAllocatesNothing) {
  for (bool exponential : {false, true}) {
    Use({.exponential = exponential, .max_series_per_metric = 50});
    Exemplar exemplar{1, 1, {1, 1}, {1}};
    std::vector<std::string> routes;
    for (int i = 0; i < 60; ++i) routes.push_back("/some/long/route/number/" + std::to_string(i));
    auto all = [&] {
      for (size_t i = 0; i < routes.size(); ++i) Record(1e-6 * static_cast<double>(i * i * i), routes[i], 0, &exemplar);
    };
    all();
    uint64_t before = allocations;
    all();
    all();
    EXPECT_EQ(allocations, before);
    EXPECT_EQ(red_->overflowed(), 30u);
  }
}

TEST_F(RedAggregatorTest, ThousandsOfSeriesStayApart) {
  std::vector<std::string> routes;
  for (int i = 0; i < 2000; ++i) routes.push_back("/r" + std::to_string(i));
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < routes.size(); ++i) Record(static_cast<double>(i), routes[i]);
  }
  std::vector<Metric> metrics = Collect(10000);
  ASSERT_EQ(metrics[0].histograms.size(), 2000u);
  for (size_t i = 0; i < routes.size(); ++i) {
    const HistogramPoint& point = metrics[0].histograms[i];
    EXPECT_EQ(point.attributes.FindText(semconv::kHttpRoute), routes[i]);
    EXPECT_EQ(point.count, 3u);
    EXPECT_EQ(point.min, static_cast<double>(i));
    EXPECT_EQ(point.max, static_cast<double>(i));
  }
}

TEST_F(RedAggregatorTest, BucketsCountedElsewhereAreAddedUpAndHaveNoExtremes) {
  static constexpr MetricDescriptor kCounted{"counted", "s", "", MetricType::kHistogram, true, kBounds, true};
  RedOptions options;
  options.exponential = true;  // does not apply to them
  Use(options);
  const MetricAttribute attributes[] = {{semconv::kErrorType, std::string_view("EIO")}};
  const uint64_t first[] = {3, 0, 1, 2};
  const uint64_t second[] = {0, 5, 0, 0};
  red_->RecordBuckets(resource_, kCounted, attributes, first, 4.5, 10);
  red_->RecordBuckets(resource_, kCounted, attributes, second, 1.25, 20);
  HistogramPoint point = CollectOne(30);
  EXPECT_EQ(point.bucket_counts, (std::vector<uint64_t>{3, 5, 1, 2}));
  EXPECT_EQ(point.count, 11u);
  EXPECT_DOUBLE_EQ(point.sum, 5.75);
  EXPECT_FALSE(point.has_extremes);
  EXPECT_EQ(point.attributes.FindText(semconv::kErrorType), "EIO");
}

}  // namespace
}  // namespace zerotap
