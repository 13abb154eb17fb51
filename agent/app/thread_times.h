// Where the time of a thread went, from the kernel side's sums and from /proc; and as a record, so
// that a replay gets the same answers.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "agent/telemetry/thread_times.h"
#include "bpf/abi/wait.h"

namespace zerotap {

// What the kernel side says of the thread. Of a thread that is gone it must have the rest too.
using ReadThreadWaits = std::function<std::optional<zt_thread_waits>()>;

std::optional<ThreadTimes> MakeThreadTimes(const std::string& proc_root, uint32_t tgid,
                                           uint32_t tid, uint64_t now_ns,
                                           const ReadThreadWaits& read_waits);

}  // namespace zerotap
