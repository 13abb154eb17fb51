// Requests that were counted and not measured, since their process is watched for less: they are in
// no duration histogram, so a service's number of requests is the count there and this counter
// together. By resource, protocol and role; capped as the histograms are.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <tuple>
#include <vector>

#include "agent/metrics/gathered_resources.h"
#include "agent/metrics/red_aggregator.h"
#include "agent/telemetry/metric.h"

namespace zerotap {

class UntimedRequests {
 public:
  explicit UntimedRequests(const RedOptions& options)
      : options_(options), gathered_(options.max_series_per_metric) {}

  // `protocol` and `role` must be static.
  void Add(const ResourcePtr& resource, std::string_view protocol, std::string_view role,
           uint64_t count, uint64_t now_unix_ns);

  // As RedAggregator's.
  void Collect(uint64_t now_unix_ns, std::vector<Metric>& out);

 private:
  using Key = std::tuple<ResourcePtr, std::string_view, std::string_view>;
  struct Series {
    uint64_t number = 0;  // by which they are told: of two runs over one recording the same
    uint64_t count = 0;
    uint64_t start_unix_ns = 0;
    uint32_t idle = 0;  // collections without a new one
    bool touched = false;
  };

  const RedOptions options_;
  GatheredResources gathered_;
  std::map<Key, Series> series_;
  uint64_t made_ = 0;  // series
  uint64_t last_collection_ = 0;
};

}  // namespace zerotap
