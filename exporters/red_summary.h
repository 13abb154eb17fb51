// Turns the request-duration histograms of successive collections, delta or cumulative, into rows
// of a RED table.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "agent/telemetry/metric.h"
#include "exporters/console_format.h"

namespace zerotap {

class RedSummary {
 public:
  // Adds what happened since the collection before. The first cumulative point of a series counts
  // in full.
  void Add(std::span<const Metric> metrics);

  // One row per service, operation and direction since the last Take.
  std::vector<RedRow> Take();

 private:
  // A bucket's bounds in seconds, and how many requests it got.
  using Buckets = std::map<std::pair<double, double>, uint64_t>;
  // What a cumulative series had at the last collection. Keys of `counts` are bucket numbers at
  // `scale`.
  struct Previous {
    uint64_t start_unix_ns = 0;
    int32_t scale = 0;
    double sum = 0;
    std::map<int64_t, uint64_t> counts;
    uint64_t generation = 0;
  };
  struct Row {
    uint64_t count = 0;
    uint64_t errors = 0;
    double sum = 0;
    // Of the requests, or of more than them: cumulative series say no extremes of an interval.
    double min = std::numeric_limits<double>::infinity();
    double max = 0;
    Buckets buckets;
  };
  // What the two kinds of points have in common.
  struct Point {
    const AttributeSet& attributes;
    uint64_t start_unix_ns;
    double sum;
    double min;
    double max;
  };
  // Resource, metric and attributes. The resource is held, so that its address is no other's.
  using SeriesKey = std::tuple<ResourcePtr, const MetricDescriptor*, std::string>;
  using RowKey = std::tuple<std::string, std::string, SpanKind>;

  void AddPoint(const Metric& metric, const Point& point, int32_t scale,
                std::map<int64_t, uint64_t> counts);
  static double Quantile(const Row& row, double quantile);

  std::map<RowKey, Row> rows_;
  std::map<SeriesKey, Previous> previous_;
  uint64_t generation_ = 0;
};

}  // namespace zerotap
