// Where the time of a thread went since it began: sums, of which two readings give a request's share.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>

namespace zerotap {

enum class WaitKind : uint8_t { kOther, kFutex, kDisk, kSocket, kPoll, kSleep, kPipe, kChild, kCount };

struct ThreadTimes {
  uint64_t at_ns = 0;     // CLOCK_MONOTONIC, when it was read
  uint64_t since_ns = 0;  // when `waits_ns` began; 0: it has not waited yet
  uint64_t on_cpu_ns = 0;
  uint64_t cpu_queue_ns = 0;  // runnable, without a CPU
  std::array<uint64_t, static_cast<size_t>(WaitKind::kCount)> waits_ns{};  // by WaitKind
};

// Empty when nothing is known of the thread. May ask the kernel.
using ReadThreadTimes = std::function<std::optional<ThreadTimes>(uint32_t tgid, uint32_t tid)>;

}  // namespace zerotap
