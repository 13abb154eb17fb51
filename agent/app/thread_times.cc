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

}  // namespace

std::optional<ThreadTimes> MakeThreadTimes(const std::string& proc_root, uint32_t tgid,
                                           uint32_t tid, uint64_t now_ns,
                                           const std::optional<zt_thread_waits>& waits) {
  ThreadTimes times;
  times.at_ns = now_ns;
  // A number that was another thread's: this one has not waited yet.
  const bool mine = waits && waits->tgid == tgid;
  if (mine) {
    times.since_ns = waits->since_ns;
    for (size_t i = 0; i < times.waits_ns.size(); ++i) times.waits_ns[i] = waits->waits_ns[i];
  }
  if (mine && waits->ended != 0) {
    times.on_cpu_ns = waits->on_cpu_ns;
    times.cpu_queue_ns = waits->cpu_queue_ns;
  } else if (!ReadSchedule(proc_root, tgid, tid, times)) {
    return std::nullopt;
  }
  // Clamped: of a thread that was just woken the kernel has not counted it yet.
  if (mine) times.cpu_queue_ns -= std::min(times.cpu_queue_ns, waits->slept_in_queue_ns);
  return times;
}

}  // namespace zerotap
