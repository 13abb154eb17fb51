#include "agent/capture/cost_reader.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

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

double SocketCallNs() {
  constexpr int kRuns = 24;
  constexpr int kPairsPerRun = 32;
  int fds[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return 0;
  const UniqueFd first(fds[0]);
  const UniqueFd second(fds[1]);
  uint64_t best = ~uint64_t{0};
  char byte = 0;
  for (int run = 0; run < kRuns; ++run) {
    const uint64_t begin = MonotonicNs();
    for (int i = 0; i < kPairsPerRun; ++i) {
      if (::send(first.get(), &byte, 1, MSG_DONTWAIT) != 1) return 0;
      if (::recv(second.get(), &byte, 1, MSG_DONTWAIT) != 1) return 0;
    }
    best = std::min(best, MonotonicNs() - begin);
  }
  return static_cast<double>(best) / (2 * kPairsPerRun);
}

}  // namespace zerotap
