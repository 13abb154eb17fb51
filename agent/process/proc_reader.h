// Reads a process's facts from /proc below a root directory.
//
// The process may vanish between any two reads; then what was read so far is what is known. All
// files are read through one descriptor of /proc/PID, so facts of two processes that had the same
// pid never mix. Sizes are bounded; of the environment only what naming needs is kept, and never
// variables that hold credentials.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "agent/base/unique_fd.h"
#include "agent/process/process.h"

namespace zerotap {

class ProcReader {
 public:
  // `root` holds proc/ and etc/. `boot_unix_ns` is the Unix time of the boot; 0 = take it from
  // proc/stat, which has it in whole seconds.
  explicit ProcReader(std::string root = "/", uint64_t boot_unix_ns = 0);

  // Empty when there is no such process.
  std::optional<ProcessFacts> Read(uint32_t pid);
  // The cheap part: when the process started (CLOCK_BOOTTIME), 0 when there is none.
  uint64_t ReadStartBootNs(uint32_t pid) const;

  // <root>/proc/PID/<name>, for what must be opened by path: exe, root.
  std::string PathOf(uint32_t pid, std::string_view name) const;
  const std::string& root() const { return root_; }
  uint64_t boot_unix_ns() const { return boot_unix_ns_; }
  // One clock tick: start times of the same process differ by less.
  uint64_t tick_ns() const { return tick_ns_; }

 private:
  UniqueFd OpenProcess(uint32_t pid) const;
  bool ParseStat(std::string_view text, ProcessFacts& facts) const;
  void ReadOwner(int process, bool in_container, ProcessFacts& facts);
  std::string HostUserName(uint32_t uid);

  std::string root_;
  uint64_t boot_unix_ns_ = 0;
  uint64_t tick_ns_ = 10'000'000;
  std::string passwd_;  // <root>/etc/passwd as of passwd_modified_
  timespec passwd_modified_{};
};

// Whether an environment variable is kept.
bool IsWantedVariable(std::string_view name);

// The path that stands for the process among the lines of /proc/PID/cgroup: v2's unless that is the
// root, else the longest of v1's. " (deleted)" is removed.
std::string ChooseCgroupPath(std::string_view cgroup_file);

// Splits NUL-separated arguments within the bounds of ProcessFacts::arguments: a long argument (a
// Java class path) is cut so that those after it are kept.
std::vector<std::string> SplitArguments(std::string_view bytes);

// "/usr/bin/foo (deleted)" -> "/usr/bin/foo", "/memfd:foo (deleted)" -> "/memfd:foo".
std::string_view WithoutDeletedMark(std::string_view path);

}  // namespace zerotap
