#include "agent/metrics/untimed_requests.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

ResourcePtr Service(const std::string& name, uint32_t pid) {
  auto resource = std::make_shared<Resource>();
  resource->service_name = name;
  resource->pid = pid;
  resource->attributes.Add(semconv::kServiceName, resource->service_name);
  resource->attributes.Add(semconv::kProcessPid, int64_t{pid});
  return resource;
}

// "shop 7 http server" -> count; pid 0 stands for all processes of the service.
std::map<std::string, int64_t> Collected(UntimedRequests& requests, uint64_t now_unix_ns,
                                         std::vector<uint64_t>* starts = nullptr) {
  std::vector<Metric> metrics;
  requests.Collect(now_unix_ns, metrics);
  std::map<std::string, int64_t> found;
  for (const Metric& metric : metrics) {
    EXPECT_EQ(metric.descriptor->name, "zerotap.requests.untimed");
    EXPECT_TRUE(metric.descriptor->monotonic);
    for (const NumberPoint& point : metric.numbers) {
      EXPECT_EQ(point.time_unix_ns, now_unix_ns);
      if (starts != nullptr) starts->push_back(point.start_unix_ns);
      found[metric.resource->service_name + " " + std::to_string(metric.resource->pid) + " " +
            std::string(point.attributes.FindText(semconv::kNetworkProtocolName)) + " " +
            std::string(point.attributes.FindText(semconv::kRole))] +=
          std::get<int64_t>(point.value);
    }
  }
  return found;
}

using Counts = std::map<std::string, int64_t>;

TEST(UntimedRequestsTest, AreCountedByResourceProtocolAndRole) {
  UntimedRequests requests({});
  const ResourcePtr shop = Service("shop", 7);
  requests.Add(shop, "http", "server", 64, 10);
  requests.Add(shop, "http", "server", 1, 11);
  requests.Add(shop, "http", "client", 2, 12);
  requests.Add(Service("shop", 8), "postgresql", "client", 3, 13);
  requests.Add(nullptr, "http", "server", 5, 14);
  EXPECT_EQ(Collected(requests, 100), (Counts{{"shop 7 http server", 65},
                                              {"shop 7 http client", 2},
                                              {"shop 8 postgresql client", 3}}));
}

TEST(UntimedRequestsTest, TemporalityIsThatOfTheHistograms) {
  for (const Temporality temporality : {Temporality::kCumulative, Temporality::kDelta}) {
    const bool delta = temporality == Temporality::kDelta;
    RedOptions options;
    options.temporality = temporality;
    UntimedRequests requests(options);
    const ResourcePtr shop = Service("shop", 7);
    std::vector<uint64_t> starts;
    requests.Add(shop, "http", "server", 5, 10);
    EXPECT_EQ(Collected(requests, 100, &starts), (Counts{{"shop 7 http server", 5}}));
    requests.Add(shop, "http", "server", 2, 110);
    EXPECT_EQ(Collected(requests, 200, &starts), (Counts{{"shop 7 http server", delta ? 2 : 7}}));
    EXPECT_EQ(Collected(requests, 300, &starts).size(), delta ? 0u : 1u);
    EXPECT_EQ(starts, delta ? (std::vector<uint64_t>{10, 100}) : (std::vector<uint64_t>{10, 10, 10}));
  }
}

TEST(UntimedRequestsTest, QuietSeriesEndAndBeginAnew) {
  RedOptions options;
  options.idle_collections = 2;
  UntimedRequests requests(options);
  const ResourcePtr shop = Service("shop", 7);
  requests.Add(shop, "http", "server", 5, 10);
  EXPECT_EQ(Collected(requests, 100).size(), 1u);
  EXPECT_EQ(Collected(requests, 200).size(), 1u);
  EXPECT_EQ(Collected(requests, 300).size(), 0u);
  std::vector<uint64_t> starts;
  requests.Add(shop, "http", "server", 1, 310);
  EXPECT_EQ(Collected(requests, 400, &starts), (Counts{{"shop 7 http server", 1}}));
  EXPECT_EQ(starts, std::vector<uint64_t>{300});
}

TEST(UntimedRequestsTest, BeyondTheCapProcessesOfAServiceShareASeries) {
  RedOptions options;
  options.max_series_per_metric = 2;
  UntimedRequests requests(options);
  for (uint32_t pid = 1; pid <= 5; ++pid) requests.Add(Service("shop", pid), "http", "server", pid, 1);
  EXPECT_EQ(Collected(requests, 100), (Counts{{"shop 1 http server", 1},
                                              {"shop 2 http server", 2},
                                              {"shop 0 http server", 12}}));
}

}  // namespace
}  // namespace zerotap
