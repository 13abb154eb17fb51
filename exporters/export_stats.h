// What one exporter did since the start, for the agent's own metrics. Written by the threads that
// export and enqueue, read by any. Items are spans or data points.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace zerotap {

struct ExportStatsSnapshot {
  uint64_t queued = 0;     // waiting now
  uint64_t in_flight = 0;  // being exported now
  uint64_t exported = 0;
  uint64_t rejected = 0;
  uint64_t failed = 0;
  uint64_t dropped = 0;  // pushed out of a full queue by newer ones
  uint64_t requests = 0;
  uint64_t retries = 0;
  uint64_t bytes_sent = 0;  // bodies, after compression
  std::string last_error;   // empty when there was none
  // Of rejected and failed, how many for which reason: "http_400", "partial_success", "timeout" ...
  std::map<std::string, uint64_t, std::less<>> losses;
};

class ExportStats {
 public:
  static constexpr size_t kMaxReasons = 32;

  std::atomic<uint64_t> queued{0};
  std::atomic<uint64_t> in_flight{0};
  std::atomic<uint64_t> exported{0};
  std::atomic<uint64_t> rejected{0};
  std::atomic<uint64_t> failed{0};
  std::atomic<uint64_t> dropped{0};
  std::atomic<uint64_t> requests{0};
  std::atomic<uint64_t> retries{0};
  std::atomic<uint64_t> bytes_sent{0};

  // Whoever makes an item rejected or failed says why.
  void CountLoss(std::string_view reason, uint64_t items) {
    std::lock_guard lock(mutex_);
    auto found = losses_.find(reason);
    if (found == losses_.end()) {
      // Reasons hold status codes, which come from others.
      if (losses_.size() >= kMaxReasons) reason = "other";
      found = losses_.try_emplace(std::string(reason), 0).first;
    }
    found->second += items;
  }

  void SetLastError(std::string message) {
    std::lock_guard lock(mutex_);
    last_error_ = std::move(message);
  }

  ExportStatsSnapshot Snapshot() const {
    ExportStatsSnapshot result;
    result.queued = queued.load(std::memory_order_relaxed);
    result.in_flight = in_flight.load(std::memory_order_relaxed);
    result.exported = exported.load(std::memory_order_relaxed);
    result.rejected = rejected.load(std::memory_order_relaxed);
    result.failed = failed.load(std::memory_order_relaxed);
    result.dropped = dropped.load(std::memory_order_relaxed);
    result.requests = requests.load(std::memory_order_relaxed);
    result.retries = retries.load(std::memory_order_relaxed);
    result.bytes_sent = bytes_sent.load(std::memory_order_relaxed);
    std::lock_guard lock(mutex_);
    result.last_error = last_error_;
    result.losses = losses_;
    return result;
  }

 private:
  mutable std::mutex mutex_;
  std::string last_error_;
  std::map<std::string, uint64_t, std::less<>> losses_;
};

}  // namespace zerotap
