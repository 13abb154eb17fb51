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

// A socket call of this process and work that no hook sees, measured in turn: what changes in both is the machine's pace.
struct CallTimes {
  double call_ns = 0;  // a look (MSG_PEEK) at one byte, which allocates nothing; 0 when there is no socket to be had
  double work_ns = 0;  // a fixed amount of arithmetic
};

// The best of several short runs, so that other work of the machine does not count; about 1 ms.
CallTimes MeasureSocketCall();

// What a call takes more than before, at today's pace. Not less than kLeastEventNs: entering a program and leaving it.
double AddedNs(const CallTimes& before, const CallTimes& now);

constexpr double kLeastEventNs = 20;

}  // namespace zerotap
