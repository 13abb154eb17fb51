// The batch of spans to hand over next, and the memory of former ones that came back.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>
#include <vector>

#include "agent/telemetry/span.h"

namespace zerotap {

class FinishedSpans {
 public:
  // An empty one at the end.
  Span& Append() {
    if (spare_.empty()) return spans_.emplace_back();
    Span& span = spans_.emplace_back(std::move(spare_.back()));
    spare_.pop_back();
    least_spare_ = std::min(least_spare_, spare_.size());
    return span;
  }
  void Append(Span&& span) { spans_.push_back(std::move(span)); }
  // The last one is not to be handed over yet.
  Span TakeBack() {
    Span span = std::move(spans_.back());
    spans_.pop_back();
    return span;
  }

  // Appends all of them to `out`.
  void Take(std::vector<Span>& out) {
    if (out.empty()) {
      out.swap(spans_);
      return;
    }
    out.insert(out.end(), std::make_move_iterator(spans_.begin()),
               std::make_move_iterator(spans_.end()));
    spans_.clear();
  }
  // Keeps the memory of spent spans, which are empty, for the next ones, as far as there is use for
  // it.
  void Recycle(std::vector<Span>& spent) {
    for (Span& span : spent) {
      if (spare_.size() >= kMaxSpare) break;
      if (span.MemorySize() > Span::kMaxSpareBytes) continue;
      spare_.push_back(std::move(span));
    }
    spent.clear();
  }
  // Gives back what was not used since the last call.
  void GiveBackUnused() {
    spare_.resize(spare_.size() - std::min(least_spare_, spare_.size()));
    least_spare_ = spare_.size();
  }
  size_t spare() const { return spare_.size(); }

 private:
  static constexpr size_t kMaxSpare = 4096;  // as much as a busy second's
  std::vector<Span> spans_;
  std::vector<Span> spare_;  // empty
  size_t least_spare_ = 0;   // since the last GiveBackUnused
};

}  // namespace zerotap
