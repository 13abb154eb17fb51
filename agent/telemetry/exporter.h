// Where telemetry leaves. One batch at a time: Export is never called concurrently on one exporter, may block up to
// its own timeout, and must return soon after RequestStop.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "agent/telemetry/metric.h"
#include "agent/telemetry/span.h"

namespace zerotap {

// What became of a batch, in items: exported + rejected + failed = batch size.
struct ExportOutcome {
  uint64_t exported = 0;
  uint64_t rejected = 0;  // the receiver said so (partial success, non-retryable status)
  uint64_t failed = 0;    // given up after retries, time-out or stop
};

class SpanExporter {
 public:
  virtual ~SpanExporter() = default;
  virtual std::string_view name() const = 0;
  virtual ExportOutcome Export(std::span<const Span> spans) = 0;
  // From another thread: give up waiting and retrying.
  virtual void RequestStop() = 0;
};

class MetricExporter {
 public:
  virtual ~MetricExporter() = default;
  virtual std::string_view name() const = 0;
  virtual ExportOutcome Export(std::span<const Metric> metrics) = 0;
  virtual void RequestStop() = 0;
};

}  // namespace zerotap
