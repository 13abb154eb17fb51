// Spans and a RED table on a terminal: what the agent shows when no collector is configured.
//
// Children end before their parents, so the spans of a trace are held back for a moment and printed
// as a tree, the parent first. The batcher must tick a few times a second and also when idle
// (SpanBatcherOptions::tick_when_idle).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/base/clock.h"
#include "agent/telemetry/exporter.h"
#include "exporters/console_format.h"
#include "exporters/console_output.h"
#include "exporters/red_summary.h"

namespace zerotap {

struct ConsoleOptions {
  uint64_t hold_ns = 300'000'000;  // for a parent that may still come
  size_t max_held_spans = 4096;
  size_t max_details_columns = 100;
  uint64_t summary_interval_ns = 10'000'000'000u;
  size_t max_summary_rows = 20;
  std::function<uint64_t()> monotonic_ns = MonotonicNs;
};

// A span that is held back counts as exported.
class ConsoleSpanExporter : public SpanExporter {
 public:
  ConsoleSpanExporter(std::shared_ptr<ConsoleOutput> output, ConsoleOptions options);
  // Prints what is still held.
  ~ConsoleSpanExporter() override;

  std::string_view name() const override { return "console"; }
  ExportOutcome Export(std::span<const Span> spans) override;
  void RequestStop() override { output_->RequestStop(); }

 private:
  struct TraceIdHash {
    size_t operator()(const TraceId& id) const { return id.low ^ id.high; }
  };
  struct HeldTrace {
    uint64_t held_since_ns = 0;
    bool has_root = false;
    std::vector<ConsoleLine> lines;
  };

  bool PrintDue(uint64_t now_ns, bool all);
  void AppendTrace(std::vector<ConsoleLine>& lines, std::string& out);
  void Remember(SpanId id, size_t depth);

  const std::shared_ptr<ConsoleOutput> output_;
  const ConsoleOptions options_;
  const ConsoleFormat format_;
  bool header_printed_ = false;
  size_t held_spans_ = 0;
  std::unordered_map<TraceId, HeldTrace, TraceIdHash> held_;
  std::unordered_map<uint64_t, size_t>
      printed_depths_;  // of recent spans, for children that end later
};

// Counts data points.
class ConsoleMetricExporter : public MetricExporter {
 public:
  ConsoleMetricExporter(std::shared_ptr<ConsoleOutput> output, ConsoleOptions options);

  std::string_view name() const override { return "console"; }
  ExportOutcome Export(std::span<const Metric> metrics) override;
  void RequestStop() override { output_->RequestStop(); }

 private:
  const std::shared_ptr<ConsoleOutput> output_;
  const ConsoleOptions options_;
  const ConsoleFormat format_;
  RedSummary summary_;
  uint64_t last_printed_ns_;
};

}  // namespace zerotap
