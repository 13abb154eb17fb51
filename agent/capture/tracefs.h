// The tracefs file system, which gives tracepoints the numbers that perf_event_open wants.
#pragma once

#include <string>
#include <string_view>

#include "agent/base/result.h"
#include "agent/base/unique_fd.h"

namespace zerotap {

// Open on the mounted tracefs, or on an instance of our own that is mounted nowhere and goes with
// the descriptor: nothing on the host changes.
class Tracefs {
 public:
  static Result<Tracefs> Open();

  // True when the host has none mounted where tools look for it.
  bool detached() const { return detached_; }
  // The number of a tracepoint, for example ("sock", "sock_send_length").
  Result<uint64_t> EventId(std::string_view group, std::string_view name) const;

 private:
  Tracefs(UniqueFd root, bool detached) : root_(std::move(root)), detached_(detached) {}
  UniqueFd root_;
  bool detached_;
};

}  // namespace zerotap
