// Why a request took long: where the time of the one thread that served it went.
//
// Fast requests cost a queue entry: a thread is looked at for the first time when its request has
// been open for some milliseconds, and a second time when a slow one ends. Attributes are given
// only for a request that one thread served from its beginning to its end
// (ContextCorrelator::ServingThread) and when nearly all of it lies between the readings.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "agent/protocols/exchange.h"
#include "agent/telemetry/attributes.h"
#include "agent/telemetry/thread_times.h"
#include "agent/traces/context_correlator.h"

namespace zerotap {

struct WaitOptions {
  uint64_t threshold_ns = 1'000'000'000;  // requests that take as long say why
  // By service (glob over service.name); the first that matches counts.
  std::vector<std::pair<std::string, uint64_t>> by_service;
};

class WaitTracker {
 public:
  // `correlator` must outlive the tracker; without `read` nothing is ever done.
  WaitTracker(const WaitOptions& options, const ContextCorrelator& correlator);
  void SetReader(ReadThreadTimes read) { read_ = std::move(read); }

  void Begin(WorkId work, uint64_t start_ns);
  void Advance(uint64_t now_ns);
  // Before the correlator's End. Adds zerotap.wait.* where they are certain.
  void End(WorkId work, uint64_t start_ns, uint64_t end_ns, std::string_view service,
           AttributeSet& attributes);
  // Requests that were not looked at because too many others were.
  uint64_t unwatched() const { return unwatched_; }
  // A request that gives no span.
  void Drop(WorkId work) {
    if (!watched_.empty()) watched_.erase(work);
  }

 private:
  uint64_t ThresholdOf(std::string_view service) const;

  const WaitOptions options_;
  const ContextCorrelator& correlator_;
  ReadThreadTimes read_;
  std::deque<std::pair<uint64_t, WorkId>> young_;  // begun lately, oldest first
  std::unordered_map<WorkId, ThreadTimes> watched_;
  uint64_t unwatched_ = 0;
};

}  // namespace zerotap
