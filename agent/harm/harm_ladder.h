// Keeps what zerotap costs each process below a share of the process's own CPU time: who costs more is watched for less, one rung
// at a time, and for more again when that would fit.
//
// What a higher rung would cost is known from when the process stood there: nanoseconds per event of its own, times the
// events that it has now. A way up that did not last makes the next one wait twice as long. Pure: figures and times come
// in, changes come out.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace zerotap {

enum class HarmRung : uint8_t {
  kFull,
  kHeads,     // a smaller budget of each run
  kMetrics,   // smaller still, and no spans
  kCounts,    // no payload: requests are counted
  kDetached,  // the hooks leave at once
  kCount,
};
constexpr size_t kHarmRungs = static_cast<size_t>(HarmRung::kCount);
std::string_view HarmRungName(HarmRung rung);  // stable

struct HarmOptions {
  double budget = 0.05;  // of a process's CPU time; 0: nobody is limited
  // Below this in a window nothing is decided: figures are too rough.
  uint64_t min_events = 4096;
  // Of one CPU. Of a process that computes little even a large share is next to nothing: less than this is no harm, whatever
  // the process has besides.
  double min_cpu = 0.01;
  uint64_t first_wait_ns = 10'000'000'000;    // before a way up
  uint64_t longest_wait_ns = 640'000'000'000;
  uint64_t lasting_ns = 120'000'000'000;  // a way up that is undone sooner was in vain, however short the wait for it
  double headroom = 0.7;  // of the budget or of min_cpu: a way up must promise less
};

// One process in the interval since the last Advance.
struct HarmFigures {
  uint32_t tgid = 0;
  uint64_t events = 0;
  double cost_ns = 0;
  double cpu_ns = 0;  // of the process, the cost included
  // False: left out by rules. It has no rung (full, at once); all that can be is to say that it is still too much.
  bool may_change = true;
};

struct HarmChange {
  uint32_t tgid = 0;
  HarmRung from = HarmRung::kFull;
  HarmRung to = HarmRung::kFull;
  double share = 0;  // of its CPU time; going down: what it was; going up: what it is meant to be
};

// Costs more than the budget at the lowest rung. Told once a process.
struct HarmExcess {
  uint32_t tgid = 0;
  double share = 0;
};

struct HarmState {
  uint32_t tgid = 0;
  HarmRung rung = HarmRung::kFull;
  double share = 0;  // of the latest window
};

class HarmLadder {
 public:
  explicit HarmLadder(const HarmOptions& options) : options_(options) {}

  // 0 takes everyone up to the top at once.
  void SetBudget(double budget, std::vector<HarmChange>& changes);

  // Processes that are not among the figures had no event, and computed nothing that counts.
  void Advance(uint64_t now_ns, std::span<const HarmFigures> figures,
               std::vector<HarmChange>& changes, std::vector<HarmExcess>& excesses);

  // The process ended, or became another program: its rung is full.
  void Forget(uint32_t tgid) { processes_.erase(tgid); }

  HarmRung rung(uint32_t tgid) const;
  std::vector<HarmState> Limited() const;  // who is below full
  size_t size() const { return processes_.size(); }

  static constexpr size_t kWindow = 4;  // intervals
  // Who is at the top and had no event for so long is forgotten, unless its way up may yet turn out to be in vain.
  static constexpr uint64_t kKeepIdleNs = 60'000'000'000;

 private:
  struct Interval {
    double events = 0;
    double cost_ns = 0;
    double cpu_ns = 0;
    double wall_ns = 0;
  };
  struct Process {
    HarmRung rung = HarmRung::kFull;
    bool settling = false;  // the interval in which the rung changed belongs to neither
    bool may_change = true;
    bool told = false;      // of its excess
    bool seen = false;      // among the figures of this call
    std::array<Interval, kWindow> intervals{};
    size_t filled = 0;      // intervals since the last change
    std::array<double, kHarmRungs> event_ns{};  // what an event took at that rung, 0 = unknown
    uint64_t changed_ns = 0;
    uint64_t up_ns = 0;     // the latest way up since it fell, 0 = none
    uint64_t active_ns = 0;
    uint64_t wait_ns = 0;   // before the next way up
    double share = 0;
  };

  void Add(Process& process, const Interval& interval);
  static Interval Sum(const Process& process);
  void Decide(uint64_t now_ns, uint32_t tgid, Process& process, std::vector<HarmChange>& changes,
              std::vector<HarmExcess>& excesses);
  void StepDown(uint64_t now_ns, uint32_t tgid, Process& process, std::vector<HarmChange>& changes);
  void MaybeStepUp(uint64_t now_ns, uint32_t tgid, Process& process, const Interval& sum,
                   std::vector<HarmChange>& changes);
  bool HasLasted(uint64_t now_ns, const Process& process) const;
  void MaybeShortenWait(uint64_t now_ns, Process& process) const;
  void Change(uint64_t now_ns, Process& process, HarmRung to);

  HarmOptions options_;
  std::unordered_map<uint32_t, Process> processes_;
  uint64_t now_ns_ = 0;  // of the latest Advance
};

}  // namespace zerotap
