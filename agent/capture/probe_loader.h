// Loads the BPF object with the programs that this kernel can run, and attaches them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/unique_fd.h"
#include "agent/capture/bpf_capture.h"

struct bpf_link;
struct bpf_program;
struct zerotap_bpf;

namespace zerotap {

struct SkeletonDeleter {
  void operator()(zerotap_bpf* skeleton) const;
};
struct LinkDeleter {
  void operator()(bpf_link* link) const;
};
using SkeletonPtr = std::unique_ptr<zerotap_bpf, SkeletonDeleter>;
using LinkPtr = std::unique_ptr<bpf_link, LinkDeleter>;

// A program that is attached to a tracepoint by the tracepoint's number. It gets `cookie` (0: none) to
// tell its attachments apart.
struct Attachment {
  std::string program;
  uint64_t event_id = 0;
  uint64_t cookie = 0;
};

// What is loaded besides the capture itself.
struct FeaturePlan {
  std::vector<std::string> programs;
  std::vector<Attachment> links;
  std::vector<std::string> remarks;
  bool syscalls = false;
  bool syscalls_raw = false;
  bool tcp = false;
  bool waits = false;
};

// Links go before the skeleton that they point into.
struct LoadedProbes {
  SkeletonPtr skeleton;
  std::vector<LinkPtr> links;
  std::vector<Attachment> attachments;
  FeaturePlan features;
  CaptureReport report;
  size_t ring_bytes = 0;  // of all rings
  std::vector<UniqueFd> further_rings;  // beside the skeleton's, in the order of their CPUs
};

// Loads, but attaches nothing yet: the caller fills the maps first.
Result<LoadedProbes> LoadProbes(const CaptureOptions& options);
Status AttachProbes(LoadedProbes& probes);
// Tells the kernel side of the sockets that exist already. After AttachProbes.
Status SeedSockets(LoadedProbes& probes);

// Walks with an iterator program that gives no output, to the end.
Status WalkWith(bpf_program* program, const char* what);

// Smallest power of two that is at least `bytes` and a whole number of pages.
size_t RoundUpRingBytes(size_t bytes);

// Which CPUs share a ring: CPU >> shift & (count - 1) is its number.
struct RingPlan {
  uint32_t count = 1;
  uint32_t shift = 0;
};
// `wanted` 0: by the number of CPUs. `numbers` is one more than the highest number that a CPU has: with holes there are more
// numbers than CPUs. `total_bytes` is what they share, of RoundUpRingBytes.
RingPlan PlanRings(uint32_t wanted, size_t cpus, size_t numbers, size_t total_bytes);
// The same for this host.
RingPlan PlanRings(const CaptureOptions& options);

}  // namespace zerotap
