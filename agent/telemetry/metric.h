// Metrics as OTLP has them (opentelemetry-proto metrics/v1/metrics.proto), reduced to the kinds we emit.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "agent/telemetry/attributes.h"
#include "agent/telemetry/resource.h"
#include "agent/telemetry/trace_context.h"

namespace zerotap {

enum class Temporality : uint8_t { kDelta = 1, kCumulative = 2 };
enum class MetricType : uint8_t { kSum, kGauge, kHistogram, kExponentialHistogram };

// What a metric is; static data of whoever defines it.
struct MetricDescriptor {
  std::string_view name;
  std::string_view unit;
  std::string_view description;
  MetricType type = MetricType::kSum;
  bool monotonic = true;                 // sums
  std::span<const double> bounds = {};   // explicit histograms: upper bounds, inclusive
  // Counted into these bounds by the kernel side: explicit whatever the configuration says, least and greatest unknown.
  bool counted_elsewhere = false;
};

struct Exemplar {
  uint64_t time_unix_ns = 0;
  double value = 0;
  TraceId trace_id;
  SpanId span_id;
};

struct NumberPoint {
  AttributeSet attributes;
  uint64_t start_unix_ns = 0;
  uint64_t time_unix_ns = 0;
  std::variant<int64_t, double> value;
};

struct HistogramPoint {
  AttributeSet attributes;
  uint64_t start_unix_ns = 0;
  uint64_t time_unix_ns = 0;
  uint64_t count = 0;
  double sum = 0;
  bool has_extremes = true;  // else min and max are unknown and are left out
  double min = 0;
  double max = 0;
  std::vector<uint64_t> bucket_counts;  // bounds + 1
  std::vector<Exemplar> exemplars;
};

struct ExponentialHistogramPoint {
  AttributeSet attributes;
  uint64_t start_unix_ns = 0;
  uint64_t time_unix_ns = 0;
  uint64_t count = 0;
  double sum = 0;
  double min = 0;
  double max = 0;
  int32_t scale = 0;
  uint64_t zero_count = 0;
  int32_t positive_offset = 0;
  std::vector<uint64_t> positive_counts;
  std::vector<Exemplar> exemplars;
};

// All points of one metric of one resource.
struct Metric {
  const MetricDescriptor* descriptor = nullptr;  // static storage
  ResourcePtr resource;
  Temporality temporality = Temporality::kCumulative;  // sums and histograms
  std::vector<NumberPoint> numbers;
  std::vector<HistogramPoint> histograms;
  std::vector<ExponentialHistogramPoint> exponential_histograms;
};

}  // namespace zerotap
