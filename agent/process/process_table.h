// Who is behind a pid: learned from the kernel's exec, fork and exit records and from /proc.
//
// /proc is read when a process begins, as long as there are not too many of them, and else when it
// is first asked for. For those that are gone by then, what their exec record said, or what was
// known of the process that forked them, is the answer. Bounded: the least recently used entries go
// first, and entries of ended processes after a while. Single-threaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "agent/base/result.h"
#include "agent/process/binary_cache.h"
#include "agent/process/command_name.h"
#include "agent/process/container_id.h"
#include "agent/process/container_names.h"
#include "agent/process/proc_reader.h"
#include "agent/process/process.h"
#include "agent/process/resource_builder.h"
#include "agent/process/service_name.h"
#include "agent/process/target_selector.h"

namespace zerotap {

// The fields of a zt_process_exec_event. Texts are borrowed for the call; they end at their first
// NUL, `arguments` excepted, which is argv with a NUL after each.
struct ProcessExec {
  uint32_t tgid = 0;
  uint32_t parent_tgid = 0;
  uint64_t cgroup_id = 0;
  uint64_t start_boot_ns = 0;  // CLOCK_BOOTTIME
  std::string_view comm;
  std::string_view filename;
  std::string_view arguments;
};

struct ProcessTableOptions {
  std::string root = "/";     // holds proc/, etc/, sys/, var/
  uint64_t boot_unix_ns = 0;  // 0 = from proc/stat, to the second
  size_t capacity = 8192;
  uint64_t keep_exited_ns = 30'000'000'000u;
  // Processes that are looked at as soon as they begin: the short ones are gone when their first
  // connection is seen, and their environment with them. Above this rate it waits until they are
  // asked for.
  uint32_t early_reads_per_second = 100;
  ResourceOptions resource;
  std::optional<HostFacts> host;  // empty = read below root
  TargetOptions targets;
  std::vector<ServiceNameRule> service_names;
};

struct ProcessDescription {
  ProcessFacts facts;
  BinaryFacts binary;
  ServiceName service;
  std::string container;  // its name, else its id
  std::string systemd_unit;
  std::string left_out_by;  // empty: traced
  ResourcePtr resource;     // null when it is left out
};

struct ProcessTableStats {
  uint64_t resolved_live = 0;   // from /proc
  uint64_t resolved_early = 0;  // from /proc, when the process began
  uint64_t resolved_gone = 0;   // from the exec record or the parent
  uint64_t unresolved = 0;      // gone and unknown
  uint64_t pids_reused = 0;
  uint64_t evicted = 0;
  size_t entries = 0;
};

class ProcessTable {
 public:
  // Fails on a bad rule.
  static Result<std::unique_ptr<ProcessTable>> Create(const ProcessTableOptions& options);

  // Times are CLOCK_MONOTONIC nanoseconds. OnExec and OnFork return whether an identity was given
  // out for this pid before: it no longer holds, so whoever kept it must ask again.
  bool OnExec(const ProcessExec& exec, uint64_t now_ns);
  bool OnFork(uint32_t parent_tgid, uint32_t child_tgid, uint64_t now_ns);
  void OnExit(uint32_t tgid, uint64_t now_ns);
  // Drops what ended long enough ago; the other calls do so too.
  void Advance(uint64_t now_ns);

  // Empty when the process is gone and nothing is known of it, unless the rules leave such processes
  // out: then it says that.
  std::optional<ProcessIdentity> Resolve(uint32_t tgid, uint64_t now_ns);

  // Other rules and resource settings; the rest of `options` is left as it was. Identities that were given out before
  // no longer hold: whoever kept one must ask again. Nothing changes when a rule is bad.
  Status Reconfigure(const ProcessTableOptions& options);

  // For people: what Resolve bases its answer on.
  std::optional<ProcessDescription> Describe(uint32_t tgid);

  ProcessTableStats stats() const;

 private:
  using NameRules = std::vector<std::pair<ProcessMatcher, std::string>>;
  static Result<NameRules> CompileNames(const std::vector<ServiceNameRule>& rules);

  struct Entry {
    uint32_t parent = 0;
    uint64_t start_boot_ns = 0;  // 0 = unknown
    uint64_t forked_ns = 0;
    uint64_t executed_ns = 0;
    uint64_t exited_ns = 0;                     // 0 = lives, as far as is known
    std::shared_ptr<const ProcessFacts> facts;  // own, or inherited by fork; null = never seen
    std::optional<ProcessIdentity> identity;
    bool given_out = false;       // the identity
    ResourcePtr former_resource;  // as of the rules before
    std::list<uint32_t>::iterator order;
  };

  ProcessTable(const ProcessTableOptions& options, TargetSelector selector, NameRules names);

  Entry& Touch(uint32_t tgid);
  void Clear(Entry& entry);
  void ForgetOldestExited();
  bool IsStillTheSame(uint32_t tgid, const Entry& entry) const;
  bool IsSameStart(uint64_t a, uint64_t b) const;
  bool MayReadEarly(uint64_t now_ns);
  std::string ExecutableBefore(const ProcessExec& exec, uint64_t now_ns);
  std::optional<ProcessFacts> FactsOfGone(const Entry& entry, int depth);
  CommandName CommandOf(const ProcessFacts& facts, const BinaryFacts& binary,
                        const RootDirectory& files, int depth);
  ProcessDescription DescribeFacts(const ProcessFacts& facts, uint32_t files_of);
  ProcessIdentity Identify(const ProcessFacts& facts, uint32_t files_of);

  ProcReader reader_;
  size_t capacity_;
  uint64_t keep_exited_ns_;
  CgroupPaths cgroups_;
  ContainerNames container_names_;
  BinaryCache binaries_;
  ResourceBuilder resources_;
  TargetSelector selector_;
  NameRules service_names_;
  std::unordered_map<uint32_t, Entry> entries_;
  std::list<uint32_t> order_;                         // least recently used first
  std::deque<std::pair<uint32_t, uint64_t>> exited_;  // pid and time, oldest first
  uint32_t early_reads_per_second_;
  double early_reads_left_;
  uint64_t early_reads_counted_ns_ = 0;
  ProcessTableStats stats_;
};

}  // namespace zerotap
