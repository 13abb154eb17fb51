#include "agent/traces/wait_tracker.h"

#include <algorithm>

#include "agent/base/glob.h"
#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

constexpr uint64_t kWatchAfterNs = 5'000'000;
constexpr size_t kMaxYoung = 16384;
constexpr size_t kMaxWatched = 4096;
// Of what is not between the two readings nothing is known: at most this part of the request.
constexpr uint64_t kUnseenPart = 10;

constexpr std::string_view kWaitKeys[] = {
    semconv::kWaitOther, semconv::kWaitFutex, semconv::kWaitDisk, semconv::kWaitSocket,
    semconv::kWaitPoll,  semconv::kWaitSleep, semconv::kWaitPipe, semconv::kWaitChild};
static_assert(std::size(kWaitKeys) == static_cast<size_t>(WaitKind::kCount));

}  // namespace

WaitTracker::WaitTracker(const WaitOptions& options, const ContextCorrelator& correlator)
    : options_(options), correlator_(correlator) {}

uint64_t WaitTracker::ThresholdOf(std::string_view service) const {
  for (const auto& [pattern, threshold_ns] : options_.by_service) {
    if (MatchesGlob(pattern, service)) return threshold_ns;
  }
  return options_.threshold_ns;
}

void WaitTracker::Begin(WorkId work, uint64_t start_ns) {
  if (!read_) return;
  if (young_.size() >= kMaxYoung) {
    ++unwatched_;
    return;
  }
  young_.emplace_back(start_ns, work);
}

void WaitTracker::Advance(uint64_t now_ns) {
  while (!young_.empty() && young_.front().first + kWatchAfterNs <= now_ns) {
    const WorkId work = young_.front().second;
    young_.pop_front();
    const std::optional<ServingThread> thread = correlator_.ServedBy(work);
    if (!thread) continue;
    if (watched_.size() >= kMaxWatched) {
      ++unwatched_;
      continue;
    }
    if (std::optional<ThreadTimes> times = read_(thread->tgid, thread->tid)) {
      watched_.emplace(work, *times);
    }
  }
}

void WaitTracker::End(WorkId work, uint64_t start_ns, uint64_t end_ns, std::string_view service,
                      AttributeSet& attributes) {
  if (watched_.empty()) return;
  const auto found = watched_.find(work);
  if (found == watched_.end()) return;
  const ThreadTimes first = found->second;
  watched_.erase(found);
  const uint64_t duration = end_ns > start_ns ? end_ns - start_ns : 0;
  if (duration < ThresholdOf(service) || first.at_ns >= end_ns) return;
  const uint64_t unseen = first.at_ns > start_ns ? first.at_ns - start_ns : 0;
  if (unseen > duration / kUnseenPart) return;
  const std::optional<ServingThread> thread = correlator_.ServedBy(work);
  if (!thread) return;
  const std::optional<ThreadTimes> last = read_(thread->tgid, thread->tid);
  // Sums that began anew in between say nothing of the request.
  if (!last || (first.since_ns != 0 && last->since_ns != first.since_ns) ||
      last->on_cpu_ns < first.on_cpu_ns || last->cpu_queue_ns < first.cpu_queue_ns) {
    return;
  }
  const uint64_t window = end_ns - first.at_ns;
  uint64_t rest = window;
  uint64_t most = 0;
  std::string_view cause;
  const auto add = [&](std::string_view key, uint64_t value) {
    // The second reading is a little later than the end.
    value = std::min(value, rest);
    rest -= value;
    if (value > most) {
      most = value;
      cause = key.substr(semconv::kWaitPrefix.size());
    }
    if (value > 0) attributes.Add(key, static_cast<double>(value) * 1e-9);
  };
  for (size_t i = 1; i < first.waits_ns.size(); ++i) {
    add(kWaitKeys[i], last->waits_ns[i] - first.waits_ns[i]);
  }
  add(kWaitKeys[0], last->waits_ns[0] - first.waits_ns[0]);
  add(semconv::kWaitOnCpu, last->on_cpu_ns - first.on_cpu_ns);
  add(semconv::kWaitCpuQueue, last->cpu_queue_ns - first.cpu_queue_ns);
  // Waits below the kernel side's least, and what the readings are off by.
  add(semconv::kWaitUnknown, rest);
  if (!cause.empty()) attributes.Add(semconv::kWaitCause, cause);
}

}  // namespace zerotap
