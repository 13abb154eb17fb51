// Compares what the agent told of a connection with what was done to it.
#pragma once

#include <string>
#include <vector>

#include "tests/bpf/conformance/link.h"
#include "tests/bpf/conformance/witness.h"

namespace zerotap::conformance {

struct Findings {
  std::vector<std::string> problems;
  uint64_t transfers = 0;  // that were told of as they should be
  uint64_t bytes = 0;
  uint64_t unseen_bytes = 0;  // passed by and were not told of, as expected

  void Problem(std::string text);
  // The problems of several comparisons, first ones first, in one line.
  std::string Text() const;
};

// Both ends: who they are, each transfer in order, and time across the two.
void JudgeLink(const Link& link, const Witness& witness, Findings& findings);
// After both ends were closed: TCP says so once, with the right totals. False while it has not yet.
bool JudgeClosed(const Link& link, const Witness& witness, Findings& findings);

// What the agent should count as unseen: on TCP what a stream's position jumped by, on AF_UNIX what
// the two ends differ by once the end was read.
uint64_t RightUnseenBytes(const Link& link);

// Many threads wrote `records` of `size` bytes each to one socket, each filled with the writer's
// own pattern (stream = base + thread, position = 0): nothing is lost, doubled or mixed.
struct Crowd {
  uint64_t base = 0;
  int threads = 0;
  int records = 0;  // by each thread
  size_t size = 0;
};
void JudgeCrowd(const Link& link, const Crowd& crowd, const Witness& witness, Findings& findings);

}  // namespace zerotap::conformance
