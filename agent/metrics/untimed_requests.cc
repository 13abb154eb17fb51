#include "agent/metrics/untimed_requests.h"

#include <algorithm>

#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

constexpr MetricDescriptor kUntimed = {
    semconv::kRequestsUntimed, "{request}",
    "Requests that were counted and not measured (harm_budget): they are in no duration histogram"};

}  // namespace

void UntimedRequests::Add(const ResourcePtr& resource, std::string_view protocol,
                          std::string_view role, uint64_t count, uint64_t now_unix_ns) {
  if (!resource || count == 0) return;
  auto found = series_.find(Key(resource, protocol, role));
  if (found == series_.end()) {
    const bool too_many = series_.size() >= options_.max_series_per_metric;
    const ResourcePtr& counted = too_many ? gathered_.Of(*resource) : resource;
    found = series_.try_emplace(Key(counted, protocol, role)).first;
    Series& made = found->second;
    if (made.start_unix_ns == 0) {
      made.number = ++made_;
      made.start_unix_ns = last_collection_ != 0 ? last_collection_ : now_unix_ns;
    }
  }
  found->second.count += count;
  found->second.touched = true;
}

void UntimedRequests::Collect(uint64_t now_unix_ns, std::vector<Metric>& out) {
  const bool delta = options_.temporality == Temporality::kDelta;
  std::vector<std::map<Key, Series>::iterator> in_order;
  for (auto entry = series_.begin(); entry != series_.end();) {
    Series& series = entry->second;
    series.idle = series.touched ? 0 : series.idle + 1;
    if (series.idle >= std::max<uint32_t>(options_.idle_collections, 1)) {
      entry = series_.erase(entry);
    } else {
      in_order.push_back(entry++);
    }
  }
  std::sort(in_order.begin(), in_order.end(), [](const auto& a, const auto& b) {
    return a->second.number < b->second.number;
  });
  for (auto entry : in_order) {
    Series& series = entry->second;
    if (series.touched || !delta) {
      const auto& [resource, protocol, role] = entry->first;
      Metric& metric = out.emplace_back();
      metric.descriptor = &kUntimed;
      metric.resource = resource;
      metric.temporality = options_.temporality;
      NumberPoint& point = metric.numbers.emplace_back();
      point.attributes.Add(semconv::kNetworkProtocolName, protocol);
      point.attributes.Add(semconv::kRole, role);
      point.start_unix_ns = series.start_unix_ns;
      point.time_unix_ns = now_unix_ns;
      point.value = static_cast<int64_t>(series.count);
    }
    if (delta) {
      series.count = 0;
      series.start_unix_ns = now_unix_ns;
    }
    series.touched = false;
  }
  last_collection_ = now_unix_ns;
}

}  // namespace zerotap
