// Between the kernel side's samples, the ladder and the pipeline: what each process costs is taken every second, set against its
// CPU time, and what follows is put in force, logged and counted. Of the pipeline's thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/capture/bpf_capture.h"
#include "agent/harm/harm_ladder.h"
#include "agent/pipeline/pipeline.h"

namespace zerotap {

struct HarmHooks {
  std::function<void(std::vector<ProcessCost>&)> take;  // none: nobody is limited
  EventPrices prices;
  std::function<std::optional<uint64_t>(uint32_t tgid)> cpu_ns = nullptr;  // empty: the process is gone
};

// A process that is watched for less.
struct LimitedProcess {
  uint32_t pid = 0;
  std::string service;
  HarmRung rung = HarmRung::kFull;
  double share = 0;  // of its CPU time, in the latest seconds
};

struct HarmCounts {
  std::array<uint64_t, kHarmRungs> steps_down{};  // by the rung that was taken
  std::array<uint64_t, kHarmRungs> steps_up{};
  uint64_t excesses = 0;  // processes that cost more than the budget at the lowest rung
  std::vector<LimitedProcess> limited;
};

class HarmGuard {
 public:
  HarmGuard(double budget, HarmHooks hooks, Pipeline& pipeline);

  // Once a second or so.
  void Tick(uint64_t now_ns);
  void SetBudget(double budget);
  // The process ended or runs another program.
  void Forget(uint32_t tgid);

  HarmCounts Counts() const;

  static constexpr uint32_t kLinesPerMinute = 20;

 private:
  void TakeFigures();
  void TakeQuiet(uint32_t tgid);
  bool IsTraced(uint32_t tgid) const;
  std::optional<uint64_t> ReadCpu(uint32_t tgid) const;
  void Apply(const std::vector<HarmChange>& changes);
  std::string NameOf(uint32_t tgid) const;
  bool MayLog();

  const HarmHooks hooks_;
  Pipeline& pipeline_;
  double budget_;
  HarmLadder ladder_;
  struct CpuReading {
    uint64_t cpu_ns = 0;
    uint64_t at_ns = 0;
    uint64_t sample_ns = 0;  // the latest tick that had a sample of it
  };
  std::unordered_map<uint32_t, CpuReading> readings_;
  std::vector<ProcessCost> costs_;
  std::vector<HarmFigures> figures_;
  std::vector<uint32_t> quiet_;
  HarmCounts counts_;
  uint64_t now_ns_ = 0;
  uint64_t minute_ns_ = 0;
  uint32_t lines_ = 0;
  uint64_t unsaid_ = 0;  // lines of the last minute that were not written
};

// CPU time of all threads of a process, user and system.
std::optional<uint64_t> ProcessCpuNs(uint32_t tgid);

}  // namespace zerotap
