// What this kernel and this process's rights allow, without watching anything: for zerotap doctor.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/capture/bpf_capture.h"

namespace zerotap {

struct KernelFacts {
  std::string release;  // "6.1.0-18-amd64"
  std::string machine;
  bool is_5_10 = false;        // or later
  std::string btf;             // the file that the kernel's types are read from, empty: none
  std::string why_no_btf;
  std::string tracefs;         // where the numbers of tracepoints come from, empty: nowhere
  std::string lockdown;        // none, integrity, confidentiality; empty: cannot be told
  uint64_t memlock_bytes = 0;  // ~0: no limit
  bool charges_memlock = false;  // before 5.11: BPF maps count as locked memory
  bool in_initial_pid_namespace = true;
  std::vector<std::pair<std::string, bool>> capabilities;  // name, effective

  bool Has(const std::string& capability) const;
};
// `btf`: as in CaptureOptions.
KernelFacts ReadKernelFacts(const std::string& btf);

struct TierCheck {
  CaptureTier tier = CaptureTier::kA;
  bool works = false;
  std::string why_not;
  CaptureReport report;  // when it works
};
// Loads and attaches the programs of one tier, with the smallest buffers, and takes them away at once. No
// record of any process is read.
TierCheck TryTier(CaptureTier tier, const CaptureOptions& options);

// The kernel side knows process numbers of the initial namespace only.
bool InInitialPidNamespace();

}  // namespace zerotap
