// Whether the agent comes near its limit of memory although each part keeps to its cap: caps are estimates, and heaps
// have holes. Says when to give something up, and how often that was.
#pragma once

#include <cstdint>

namespace zerotap {

struct MemoryLimits {
  uint64_t total_bytes = 0;       // 0: no limit
  uint64_t kernel_bytes = 0;      // of it the ring and the maps, at worst
  uint64_t connection_bytes = 0;  // of it the state of connections; 0: no limit
};

class MemoryWatch {
 public:
  explicit MemoryWatch(const MemoryLimits& limits) : limits_(limits) {}

  // With what the process holds for itself now; true: something must be given up.
  bool IsNear(uint64_t anonymous_bytes) {
    used_bytes_ = anonymous_bytes + limits_.kernel_bytes;
    if (limits_.total_bytes == 0 || used_bytes_ <= limits_.total_bytes / kParts * (kParts - 1)) return false;
    ++sheds_;
    return true;
  }
  // One message a minute says as much as one a second.
  bool MayLog(uint64_t now_ns) {
    if (logged_ns_ != 0 && now_ns < logged_ns_ + kLogEveryNs) return false;
    logged_ns_ = now_ns;
    return true;
  }

  const MemoryLimits& limits() const { return limits_; }
  uint64_t used_bytes() const { return used_bytes_; }
  uint64_t sheds() const { return sheds_; }

 private:
  static constexpr uint64_t kParts = 16;  // the last of them is what a second may bring
  static constexpr uint64_t kLogEveryNs = 60'000'000'000;

  MemoryLimits limits_;
  uint64_t used_bytes_ = 0;
  uint64_t sheds_ = 0;
  uint64_t logged_ns_ = 0;
};

}  // namespace zerotap
