#include "exporters/file_exporter.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "exporters/otlp/encoder.h"
#include "exporters/otlp/json.h"
#include "exporters/otlp/wire_buffer.h"

namespace zerotap {
namespace {

ExportOutcome WriteRequest(FileOutput& output, const std::string& line, uint64_t items,
                           std::string_view what, ExportStats& stats, LogLimiter& limiter) {
  stats.requests.fetch_add(1, std::memory_order_relaxed);
  Status status = output.WriteLine(line);
  if (status) {
    stats.bytes_sent.fetch_add(line.size() + 1, std::memory_order_relaxed);
    return ExportOutcome{items, 0, 0};
  }
  stats.SetLastError(status.error().message);
  stats.CountLoss("write", items);
  if (limiter.Allow("write", MonotonicNs())) {
    spdlog::warn("{}; {} {} are lost, and more until that is mended", status.error().message, items,
                 what);
  }
  return ExportOutcome{0, 0, items};
}

}  // namespace

FileSpanExporter::FileSpanExporter(std::shared_ptr<FileOutput> output,
                                   otlp::InstrumentationScope scope,
                                   std::shared_ptr<ExportStats> stats)
    : output_(std::move(output)),
      encoder_(std::move(scope), std::numeric_limits<size_t>::max()),
      stats_(std::move(stats)) {}

ExportOutcome FileSpanExporter::Export(std::span<const Span> spans) {
  if (spans.empty()) return {};
  spans = spans.first(std::min(spans.size(), kMaxSpansALine));
  encoder_.Encode(spans, line_);
  const ExportOutcome outcome =
      WriteRequest(*output_, line_, spans.size(), "spans", *stats_, limiter_);
  otlp::Relax(line_);
  return outcome;
}

FileMetricExporter::FileMetricExporter(std::shared_ptr<FileOutput> output,
                                       otlp::InstrumentationScope scope,
                                       std::shared_ptr<ExportStats> stats)
    : output_(std::move(output)), scope_(std::move(scope)), stats_(std::move(stats)) {}

ExportOutcome FileMetricExporter::Export(std::span<const Metric> metrics) {
  uint64_t points = otlp::CountPoints(metrics);
  if (points == 0) return {};
  return WriteRequest(*output_, otlp::EncodeMetricsJson(metrics, scope_), points, "data points",
                      *stats_, limiter_);
}

}  // namespace zerotap
