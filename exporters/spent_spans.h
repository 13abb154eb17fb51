// Spans that exporters are done with, on their way back to who makes them: their memory is used
// again instead of being freed on one thread and asked for on another. What there is no room for is
// freed, and so are giants.
#pragma once

#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

#include "agent/telemetry/span.h"

namespace zerotap {

class SpentSpans {
 public:
  explicit SpentSpans(size_t max_spans = 4096) : max_spans_(max_spans) {}

  // Any thread.
  void Put(std::vector<Span>& spans) {
    for (Span& span : spans) span.Reset();
    std::lock_guard lock(mutex_);
    for (Span& span : spans) {
      if (spans_.size() >= max_spans_) break;
      if (span.MemorySize() > Span::kMaxSpareBytes) continue;
      spans_.push_back(std::move(span));
    }
  }
  // All there are; `out` is empty before.
  void Take(std::vector<Span>& out) {
    std::lock_guard lock(mutex_);
    out.swap(spans_);
  }

 private:
  const size_t max_spans_;
  std::mutex mutex_;
  std::vector<Span> spans_;
};

}  // namespace zerotap
