// OTLP as JSON, one request a line: what the collector's otlpjsonfile receiver reads, and people
// with jq.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "agent/telemetry/exporter.h"
#include "exporters/export_stats.h"
#include "exporters/file_output.h"
#include "exporters/log_limiter.h"
#include "exporters/otlp/json.h"
#include "exporters/otlp/request_builder.h"

namespace zerotap {

class FileSpanExporter : public SpanExporter {
 public:
  FileSpanExporter(std::shared_ptr<FileOutput> output, otlp::InstrumentationScope scope,
                   std::shared_ptr<ExportStats> stats);

  // A line's worth: what is written stays in the CPU's caches, and its memory is used again.
  static constexpr size_t kMaxSpansALine = 256;

  std::string_view name() const override { return "file"; }
  ExportOutcome Export(std::span<const Span> spans) override;
  void RequestStop() override {}  // a write is short

 private:
  const std::shared_ptr<FileOutput> output_;
  otlp::JsonTraceEncoder encoder_;
  std::string line_;  // kept for its memory
  const std::shared_ptr<ExportStats> stats_;
  LogLimiter limiter_;
};

// Counts data points.
class FileMetricExporter : public MetricExporter {
 public:
  FileMetricExporter(std::shared_ptr<FileOutput> output, otlp::InstrumentationScope scope,
                     std::shared_ptr<ExportStats> stats);

  std::string_view name() const override { return "file"; }
  ExportOutcome Export(std::span<const Metric> metrics) override;
  void RequestStop() override {}

 private:
  const std::shared_ptr<FileOutput> output_;
  const otlp::InstrumentationScope scope_;
  const std::shared_ptr<ExportStats> stats_;
  LogLimiter limiter_;
};

}  // namespace zerotap
