// Rate, errors and duration of every request, before sampling: histograms by resource, metric and attributes.
//
// Hard cap of series per metric; what comes beyond goes to one overflow series per resource and metric (attribute
// otel.metric.overflow = true), and beyond a quarter of the cap to one per service, so counts stay exact. Recording into an existing series allocates nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "agent/telemetry/metric.h"

namespace zerotap {

struct RedOptions {
  Temporality temporality = Temporality::kCumulative;
  bool exponential = false;            // base2_exponential_bucket_histogram, at most 160 buckets
  size_t max_series_per_metric = 2000;  // per metric over all resources, overflow series not counted
  size_t exemplars_per_series = 2;      // latest sampled ones per collection interval
  // A series that got nothing for this many collections is forgotten (cumulative: it ends there; a later one starts anew).
  uint32_t idle_collections = 20;
};

class RedAggregator {
 public:
  explicit RedAggregator(RedOptions options);
  ~RedAggregator();

  // `attributes`: values are borrowed and string or int, keys are static (semconv.h), always given in the same order.
  // `descriptor` must be static. `exemplar`: null when not sampled.
  void Record(const ResourcePtr& resource, const MetricDescriptor& descriptor,
              std::span<const MetricAttribute> attributes, double value, uint64_t now_unix_ns,
              const Exemplar* exemplar);

  // What was counted elsewhere into the descriptor's bounds (bounds + 1 numbers); `descriptor.counted_elsewhere` is set.
  void RecordBuckets(const ResourcePtr& resource, const MetricDescriptor& descriptor,
                     std::span<const MetricAttribute> attributes, std::span<const uint64_t> counts,
                     double sum, uint64_t now_unix_ns);

  // Appends one Metric per (resource, descriptor) that has points to report. Delta: resets; cumulative: keeps.
  void Collect(uint64_t now_unix_ns, std::vector<Metric>& out);

  uint64_t overflowed() const;  // recordings that went to an overflow series
  size_t series() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace zerotap
