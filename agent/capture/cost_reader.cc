#include "agent/capture/cost_reader.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "agent/base/clock.h"
#include "agent/base/unique_fd.h"

namespace zerotap {

void CostReader::Take(std::vector<ProcessCost>& out) {
  for (size_t i = 0; i < seen_.size(); ++i) {
    zt_cost& cost = costs_[i];
    const uint32_t tgid = __atomic_load_n(&cost.tgid, __ATOMIC_RELAXED);
    if (tgid == 0) continue;
    Seen now;
    now.handled = __atomic_load_n(&cost.handled, __ATOMIC_RELAXED);
    now.handled_ns = __atomic_load_n(&cost.handled_ns, __ATOMIC_RELAXED);
    now.ignored = __atomic_load_n(&cost.ignored, __ATOMIC_RELAXED);
    Seen& before = seen_[i];
    if (now.handled == before.handled && now.ignored == before.ignored) {
      if (++before.idle_turns < kIdleTurns) continue;
      before.idle_turns = 0;
      __atomic_store_n(&cost.tgid, 0, __ATOMIC_RELEASE);
      continue;
    }
    ProcessCost delta;
    delta.tgid = tgid;
    delta.handled = (now.handled - before.handled) * ZT_COST_SAMPLING;
    delta.handled_ns = (now.handled_ns - before.handled_ns) * ZT_COST_SAMPLING;
    delta.ignored = (now.ignored - before.ignored) * ZT_COST_SAMPLING;
    before = now;
    // Two CPUs that met a process at once may have taken both of its places.
    auto same = std::find_if(out.begin(), out.end(),
                             [tgid](const ProcessCost& other) { return other.tgid == tgid; });
    if (same == out.end()) {
      out.push_back(delta);
    } else {
      same->handled += delta.handled;
      same->handled_ns += delta.handled_ns;
      same->ignored += delta.ignored;
    }
  }
}

namespace {

// A dependent chain of shifts, which neither the compiler nor the processor can shorten.
uint64_t WorkNs() {
  constexpr int kSteps = 6000;
  static std::atomic<uint64_t> result;
  const uint64_t begin = MonotonicNs();
  uint64_t value = begin | 1;
  for (int i = 0; i < kSteps; ++i) {
    value ^= value << 13;
    value ^= value >> 7;
    value ^= value << 17;
  }
  result.store(value, std::memory_order_relaxed);
  return MonotonicNs() - begin;
}

}  // namespace

CallTimes MeasureSocketCall() {
  constexpr int kRuns = 24;
  constexpr int kCallsPerRun = 64;
  int fds[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return {};
  const UniqueFd first(fds[0]);
  const UniqueFd second(fds[1]);
  char byte = 0;
  if (::send(first.get(), &byte, 1, MSG_DONTWAIT) != 1) return {};
  uint64_t calls = ~uint64_t{0};
  uint64_t work = ~uint64_t{0};
  for (int run = 0; run < kRuns; ++run) {
    const uint64_t begin = MonotonicNs();
    for (int i = 0; i < kCallsPerRun; ++i) {
      if (::recv(second.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) != 1) return {};
    }
    calls = std::min(calls, MonotonicNs() - begin);
    work = std::min(work, WorkNs());
  }
  return {static_cast<double>(calls) / kCallsPerRun, static_cast<double>(work)};
}

double AddedNs(const CallTimes& before, const CallTimes& now) {
  if (before.call_ns == 0 || now.call_ns == 0) return kLeastEventNs;  // not measured
  const double pace = before.work_ns > 0 ? now.work_ns / before.work_ns : 1;
  return std::max(kLeastEventNs, now.call_ns - before.call_ns * pace);
}

}  // namespace zerotap
