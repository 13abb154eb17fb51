#include "agent/app/thread_times.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "agent/base/unique_fd.h"

namespace zerotap {
namespace {

static_assert(static_cast<size_t>(WaitKind::kCount) == ZT_WAIT_KINDS);
static_assert(static_cast<int>(WaitKind::kFutex) == ZT_WAIT_FUTEX);
static_assert(static_cast<int>(WaitKind::kDisk) == ZT_WAIT_DISK);
static_assert(static_cast<int>(WaitKind::kSocket) == ZT_WAIT_SOCKET);
static_assert(static_cast<int>(WaitKind::kPoll) == ZT_WAIT_POLL);
static_assert(static_cast<int>(WaitKind::kSleep) == ZT_WAIT_SLEEP);
static_assert(static_cast<int>(WaitKind::kPipe) == ZT_WAIT_PIPE);
static_assert(static_cast<int>(WaitKind::kChild) == ZT_WAIT_CHILD);

// schedstat: nanoseconds on a CPU, nanoseconds waiting for one, time slices.
bool ReadSchedule(const std::string& proc_root, uint32_t tgid, uint32_t tid, ThreadTimes& times) {
  const std::string path =
      proc_root + "/" + std::to_string(tgid) + "/task/" + std::to_string(tid) + "/schedstat";
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[128] = {};
  if (!file || ::read(file.get(), text, sizeof(text) - 1) <= 0) return false;
  char* rest = nullptr;
  times.on_cpu_ns = std::strtoull(text, &rest, 10);
  times.cpu_queue_ns = std::strtoull(rest, nullptr, 10);
  return true;
}

// What of `queue_ns`, the kernel's account, was sleep: the last one not before it is in there.
uint64_t SleptInQueue(const zt_thread_waits& waits, uint64_t queue_ns) {
  uint64_t slept = waits.slept_in_queue_ns;
  if (queue_ns <= waits.queue_before_last_ns) slept -= std::min(slept, waits.slept_last_ns);
  return std::min(slept, queue_ns);
}

}  // namespace

std::optional<ThreadTimes> MakeThreadTimes(const std::string& proc_root, uint32_t tgid,
                                           uint32_t tid, uint64_t now_ns,
                                           const ReadThreadWaits& read_waits) {
  ThreadTimes times;
  times.at_ns = now_ns;
  // In this order: a sleep that ends in between is known to be one before the kernel counts it.
  const bool alive = ReadSchedule(proc_root, tgid, tid, times);
  const std::optional<zt_thread_waits> waits = read_waits();
  // A number that was another thread's: this one has not waited yet.
  const bool mine = waits && waits->tgid == tgid;
  const bool ended = mine && waits->ended != 0;
  if (!alive && !ended) return std::nullopt;
  if (!mine) return times;
  times.since_ns = waits->since_ns;
  for (size_t i = 0; i < times.waits_ns.size(); ++i) times.waits_ns[i] = waits->waits_ns[i];
  if (ended) {
    times.on_cpu_ns = waits->on_cpu_ns;
    times.cpu_queue_ns = waits->cpu_queue_ns;
  }
  times.cpu_queue_ns -= SleptInQueue(*waits, times.cpu_queue_ns);
  return times;
}

}  // namespace zerotap
