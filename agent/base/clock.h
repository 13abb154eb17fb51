// The only place that reads clocks; pure rooms take times as arguments.
#pragma once

#include <cstdint>
#include <ctime>

namespace zerotap {

inline uint64_t ReadClockNs(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}
inline uint64_t MonotonicNs() { return ReadClockNs(CLOCK_MONOTONIC); }
inline uint64_t RealtimeNs() { return ReadClockNs(CLOCK_REALTIME); }

// What must be added to a CLOCK_MONOTONIC time to get Unix time. Measured between two reads of the
// monotonic clock, so the error is at most half of what the reads took.
inline int64_t RealtimeMinusMonotonicNs() {
  uint64_t before = MonotonicNs();
  uint64_t wall = RealtimeNs();
  uint64_t after = MonotonicNs();
  return static_cast<int64_t>(wall - (before + (after - before) / 2));
}

}  // namespace zerotap
