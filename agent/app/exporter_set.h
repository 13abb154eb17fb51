// All exporters of the configuration, each behind its own queue and thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "agent/app/config.h"
#include "agent/app/self_metrics.h"
#include "agent/base/result.h"
#include "agent/pipeline/ledger.h"
#include "agent/telemetry/metric.h"
#include "agent/telemetry/span.h"
#include "exporters/batcher.h"
#include "exporters/factory.h"

namespace zerotap {

// The settings of one signal as the exporters take them.
OtlpOptions OtlpOptionsOf(const ExportConfig& exports, Signal signal);

class ExporterSet {
 public:
  // What becomes of a span at the first exporter of export.traces is what the ledger says of it.
  // `ledger` must outlive the set.
  static Result<std::unique_ptr<ExporterSet>> Create(const Config& config, Ledger& ledger);

  // From one thread; never wait.
  void PushSpans(std::vector<Span>&& spans);
  void PushMetrics(std::vector<Metric>&& metrics);

  // What waits goes to `next`, and so does later, from other threads, what Shutdown stops before a
  // receiver can have it: from each exporter of spans to the one in its place, if it has its name.
  void HandOver(const std::shared_ptr<ExporterSet>& next);

  // All exporters at the same time; what is not out by the deadline has failed. Afterwards nothing
  // may be pushed.
  void Shutdown(std::chrono::steady_clock::time_point deadline);

  // Any thread.
  std::vector<ExporterCounts> Counts() const;

 private:
  struct Named {
    std::string exporter;
    std::string signal;
    std::shared_ptr<ExportStats> stats;
  };
  ExporterSet() = default;

  std::vector<std::unique_ptr<SpanBatcher>> spans_;
  std::vector<std::unique_ptr<MetricBatcher>> metrics_;
  std::vector<Named> named_;  // first those of spans_, in their order
};

}  // namespace zerotap
