// Where telemetry leaves. One batch at a time: Export is never called concurrently on one exporter, may block up to
// its own timeout, and must return soon after RequestStop.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "agent/telemetry/metric.h"
#include "agent/telemetry/span.h"

namespace zerotap {

// What became of items, the first of them first.
struct ExportOutcome {
  uint64_t exported = 0;
  uint64_t rejected = 0;  // the receiver said so (partial success, non-retryable status)
  uint64_t failed = 0;    // given up after retries, time-out or stop
  uint64_t unsent = 0;    // stopped while the receiver could not have taken them
};

class SpanExporter {
 public:
  virtual ~SpanExporter() = default;
  virtual std::string_view name() const = 0;
  // Of the first spans, at least one: the sum of the outcome is how many are done. What fits into
  // no single request is a matter of several calls, so that each span gets the fate of its own
  // request. Of a partial success the receiver says only how many it rejected.
  virtual ExportOutcome Export(std::span<const Span> spans) = 0;
  // From another thread: give up waiting and retrying.
  virtual void RequestStop() = 0;
};

class MetricExporter {
 public:
  virtual ~MetricExporter() = default;
  virtual std::string_view name() const = 0;
  // All of them; in data points.
  virtual ExportOutcome Export(std::span<const Metric> metrics) = 0;
  virtual void RequestStop() = 0;
};

}  // namespace zerotap
