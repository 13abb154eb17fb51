#include "exporters/red_summary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>
#include <variant>

#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

constexpr size_t kMaxRows = 2000;  // later ones go to one row
constexpr int64_t kZeroBucket = std::numeric_limits<int64_t>::min();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::optional<SpanKind> KindOf(std::string_view metric_name) {
  if (metric_name == semconv::kHttpServerRequestDuration) return SpanKind::kServer;
  if (metric_name == semconv::kHttpClientRequestDuration) return SpanKind::kClient;
  if (metric_name == semconv::kDbClientOperationDuration) return SpanKind::kClient;
  return std::nullopt;
}

std::string OperationOf(const AttributeSet& attributes) {
  if (attributes.Has(semconv::kOverflow)) return "(all others)";
  std::string_view summary = attributes.FindText(semconv::kDbQuerySummary);
  if (!summary.empty()) return std::string(summary);
  std::string_view system = attributes.FindText(semconv::kDbSystemName);
  if (!system.empty()) return std::string(system);
  std::string operation(attributes.FindText(semconv::kHttpRequestMethod));
  std::string_view target = attributes.FindText(semconv::kHttpRoute);
  if (target.empty()) target = attributes.FindText(semconv::kServerAddress);
  if (!target.empty()) operation.append(" ").append(target);
  return operation;
}

// Differs where the attributes do: lengths and types are part of it.
std::string TextOf(const AttributeSet& attributes) {
  std::string text;
  const auto add = [&text](char type, std::string_view value) {
    text.append(std::to_string(value.size())).append(1, type).append(value);
  };
  for (size_t i = 0; i < attributes.size(); ++i) {
    const Attribute attribute = attributes[i];
    add('k', attribute.key);
    if (const auto* value = std::get_if<std::string_view>(&attribute.value)) add('t', *value);
    if (const auto* value = std::get_if<int64_t>(&attribute.value)) add('i', std::to_string(*value));
    if (const auto* value = std::get_if<bool>(&attribute.value)) add('b', *value ? "1" : "0");
    if (const auto* value = std::get_if<double>(&attribute.value)) {
      add('d', std::string_view(reinterpret_cast<const char*>(value), sizeof(*value)));
    }
    if (const auto* values = std::get_if<std::vector<std::string_view>>(&attribute.value)) {
      for (std::string_view value : *values) add('l', value);
    }
  }
  return text;
}

// Bounds in seconds of one bucket of a histogram. Exponential bucket i is (base^i, base^(i+1)],
// base = 2^(2^-scale).
std::pair<double, double> BoundsOf(const MetricDescriptor& descriptor, int32_t scale,
                                   int64_t bucket) {
  if (bucket == kZeroBucket) return {0, 0};
  if (descriptor.type == MetricType::kExponentialHistogram) {
    double step = std::ldexp(1.0, -scale);
    return {std::exp2(static_cast<double>(bucket) * step),
            std::exp2(static_cast<double>(bucket + 1) * step)};
  }
  auto index = static_cast<size_t>(bucket);
  double lower = index == 0 ? 0 : descriptor.bounds[index - 1];
  double upper = index < descriptor.bounds.size() ? descriptor.bounds[index] : kInfinity;
  return {lower, upper};
}

}  // namespace

void RedSummary::Add(std::span<const Metric> metrics) {
  ++generation_;
  for (const Metric& metric : metrics) {
    if (metric.descriptor == nullptr || !KindOf(metric.descriptor->name)) continue;
    if (metric.descriptor->type == MetricType::kHistogram) {
      for (const HistogramPoint& point : metric.histograms) {
        if (point.bucket_counts.size() != metric.descriptor->bounds.size() + 1) continue;
        std::map<int64_t, uint64_t> counts;
        for (size_t i = 0; i < point.bucket_counts.size(); ++i) {
          if (point.bucket_counts[i] > 0) counts[static_cast<int64_t>(i)] = point.bucket_counts[i];
        }
        const double max = point.has_extremes ? point.max : kInfinity;
        AddPoint(metric, {point.attributes, point.start_unix_ns, point.sum, point.min, max}, 0,
                 std::move(counts));
      }
    } else if (metric.descriptor->type == MetricType::kExponentialHistogram) {
      for (const ExponentialHistogramPoint& point : metric.exponential_histograms) {
        std::map<int64_t, uint64_t> counts;
        if (point.zero_count > 0) counts[kZeroBucket] = point.zero_count;
        for (size_t i = 0; i < point.positive_counts.size(); ++i) {
          if (point.positive_counts[i] == 0) continue;
          counts[static_cast<int64_t>(point.positive_offset) + static_cast<int64_t>(i)] =
              point.positive_counts[i];
        }
        AddPoint(metric, {point.attributes, point.start_unix_ns, point.sum, point.min, point.max},
                 point.scale, std::move(counts));
      }
    }
  }
  // Series that ended must not be remembered for ever.
  for (auto entry = previous_.begin(); entry != previous_.end();) {
    entry = entry->second.generation == generation_ ? std::next(entry) : previous_.erase(entry);
  }
}

void RedSummary::AddPoint(const Metric& metric, const Point& point, int32_t scale,
                          std::map<int64_t, uint64_t> counts) {
  std::map<int64_t, uint64_t> before;
  double sum_before = 0;
  if (metric.temporality == Temporality::kCumulative) {
    Previous& previous = previous_[SeriesKey(metric.resource, metric.descriptor, TextOf(point.attributes))];
    if (previous.start_unix_ns == point.start_unix_ns && previous.scale >= scale) {
      // A histogram that grew lowers its scale; a bucket number halves with each step.
      int32_t shift = std::min(previous.scale - scale, 62);
      for (const auto& [bucket, count] : previous.counts) {
        before[bucket == kZeroBucket ? bucket : bucket >> shift] += count;
      }
      sum_before = previous.sum;
    }
    previous.start_unix_ns = point.start_unix_ns;
    previous.sum = point.sum;
    previous.scale = scale;
    previous.counts = counts;
    previous.generation = generation_;
  }

  std::string service = metric.resource == nullptr ? "" : metric.resource->service_name;
  RowKey key(std::move(service), OperationOf(point.attributes), *KindOf(metric.descriptor->name));
  if (rows_.size() >= kMaxRows && rows_.find(key) == rows_.end()) {
    key = RowKey("", "(all others)", SpanKind::kInternal);
  }
  bool error = point.attributes.Has(semconv::kErrorType);
  Row* row = nullptr;
  for (const auto& [bucket, count] : counts) {
    auto earlier = before.find(bucket);
    uint64_t old = earlier == before.end() ? 0 : earlier->second;
    if (count <= old) continue;
    if (row == nullptr) row = &rows_[key];
    row->count += count - old;
    if (error) row->errors += count - old;
    row->buckets[BoundsOf(*metric.descriptor, scale, bucket)] += count - old;
  }
  if (row == nullptr) return;
  row->sum += std::max(point.sum - sum_before, 0.0);
  row->min = std::min(row->min, point.min);
  row->max = std::max(row->max, point.max);
}

// Linear between the bounds of the bucket that the quantile falls into, as far as it was used: the
// first bucket of request durations alone holds all that take less than 5 ms.
double RedSummary::Quantile(const Row& row, double quantile) {
  const double rank = quantile * static_cast<double>(row.count);
  double below = 0;
  double last = 0;
  for (const auto& [bounds, in_bucket] : row.buckets) {
    const auto here = static_cast<double>(in_bucket);
    const double lower = std::max(bounds.first, std::min(row.min, bounds.second));
    last = std::max(lower, std::min(bounds.second, row.max));
    if (last == kInfinity) last = lower;  // how far the last bucket reaches is not known
    if (below + here >= rank) return lower + (last - lower) * (rank - below) / here;
    below += here;
  }
  return last;
}

std::vector<RedRow> RedSummary::Take() {
  std::vector<RedRow> result;
  for (const auto& [key, row] : rows_) {
    RedRow out;
    out.service = std::get<0>(key);
    out.operation = std::get<1>(key);
    out.kind = std::get<2>(key);
    out.count = row.count;
    out.errors = row.errors;
    out.mean_seconds = row.sum / static_cast<double>(row.count);
    out.p95_seconds = Quantile(row, 0.95);
    result.push_back(std::move(out));
  }
  rows_.clear();
  return result;
}

}  // namespace zerotap
