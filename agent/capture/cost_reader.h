// What the hooks cost each process, from the samples that they leave in the mapped array `costs`; and what a call takes,
// to be compared with and without the hooks.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "agent/capture/bpf_capture.h"
#include "bpf/abi/control.h"

namespace zerotap {

class CostReader {
 public:
  // `costs`: ZT_COST_SLOTS places, mapped for reading and writing; must outlive the reader.
  explicit CostReader(zt_cost* costs) : costs_(costs) {}

  // What was added since the last call; one entry a process. Gives free the places of processes that had no event for
  // kIdleTurns calls.
  void Take(std::vector<ProcessCost>& out);

  static constexpr uint8_t kIdleTurns = 10;

 private:
  struct Seen {
    uint64_t handled = 0;
    uint64_t handled_ns = 0;
    uint64_t ignored = 0;
    uint8_t idle_turns = 0;
  };
  zt_cost* const costs_;
  std::array<Seen, ZT_COST_SLOTS> seen_{};
};

// Nanoseconds of a send or receive of one byte by this process: the best of several short runs, so that other work of the
// machine does not count. 0 when there is no socket to be had.
double SocketCallNs();

}  // namespace zerotap
