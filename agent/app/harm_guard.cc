#include "agent/app/harm_guard.h"

#include <time.h>

#include <algorithm>
#include <utility>

#include "agent/base/log.h"

namespace zerotap {
namespace {

constexpr uint64_t kMinuteNs = 60'000'000'000;
// The CPU time of a process is read for so long after its last sample: an interval without one counts with what the process
// computed in it.
constexpr uint64_t kReadingKeepNs = HarmLadder::kKeepIdleNs;

HarmOptions OptionsOf(double budget) {
  HarmOptions options;
  options.budget = budget;
  return options;
}

}  // namespace

std::optional<uint64_t> ProcessCpuNs(uint32_t tgid) {
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(static_cast<pid_t>(tgid), &clock) != 0) return std::nullopt;
  if (::clock_gettime(clock, &time) != 0) return std::nullopt;
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

HarmGuard::HarmGuard(double budget, HarmHooks hooks, Pipeline& pipeline)
    : hooks_(std::move(hooks)), pipeline_(pipeline), budget_(budget), ladder_(OptionsOf(budget)) {}

void HarmGuard::Tick(uint64_t now_ns) {
  now_ns_ = now_ns;
  if (!hooks_.take) return;
  if (now_ns >= minute_ns_ + kMinuteNs) {
    minute_ns_ = now_ns;
    lines_ = 0;
    if (unsaid_ > 0) spdlog::info("harm budget: {} more changes were not logged", unsaid_);
    unsaid_ = 0;
  }
  // Also when nobody is limited: places of ended processes are given free.
  costs_.clear();
  hooks_.take(costs_);
  if (budget_ <= 0) return;
  TakeFigures();
  std::vector<HarmChange> changes;
  std::vector<HarmExcess> excesses;
  ladder_.Advance(now_ns, figures_, changes, excesses);
  Apply(changes);
  for (const HarmExcess& excess : excesses) {
    ++counts_.excesses;
    if (!MayLog()) continue;
    spdlog::warn(
        "harm budget: {} costs {:.1f} % of its CPU time, more than the {:.1f} % of harm_budget, though nothing of it is "
        "watched: it makes more socket calls than that allows",
        NameOf(excess.tgid), 100 * excess.share, 100 * budget_);
  }
}

void HarmGuard::TakeFigures() {
  figures_.clear();
  quiet_.clear();
  for (const ProcessCost& cost : costs_) {
    const std::optional<uint64_t> cpu_ns = ReadCpu(cost.tgid);
    if (!cpu_ns) {
      Forget(cost.tgid);
      continue;
    }
    const CpuReading before = std::exchange(readings_[cost.tgid], CpuReading{*cpu_ns, now_ns_, now_ns_});
    if (before.at_ns == 0) continue;  // its cost belongs to no known CPU time
    const bool traced = IsTraced(cost.tgid);
    const bool detached = !traced || ladder_.rung(cost.tgid) == HarmRung::kDetached;
    HarmFigures figures;
    figures.tgid = cost.tgid;
    figures.events = cost.handled + cost.ignored;
    figures.cost_ns = static_cast<double>(cost.handled_ns) +
                      static_cast<double>(cost.handled) * hooks_.prices.ignored_ns +
                      static_cast<double>(cost.ignored) *
                          (detached ? hooks_.prices.detached_ns : hooks_.prices.ignored_ns);
    figures.cpu_ns = static_cast<double>(*cpu_ns - std::min(*cpu_ns, before.cpu_ns));
    figures.may_change = traced;
    figures_.push_back(figures);
  }
  std::erase_if(readings_, [this](const auto& reading) {
    return now_ns_ - reading.second.sample_ns > kReadingKeepNs;
  });
  for (const auto& [tgid, reading] : readings_) {
    if (reading.at_ns != now_ns_) quiet_.push_back(tgid);
  }
  for (const uint32_t tgid : quiet_) TakeQuiet(tgid);
}

// Had no sample in this interval, but computed.
void HarmGuard::TakeQuiet(uint32_t tgid) {
  const std::optional<uint64_t> cpu_ns = ReadCpu(tgid);
  if (!cpu_ns) {
    Forget(tgid);
    return;
  }
  CpuReading& reading = readings_[tgid];
  HarmFigures figures;
  figures.tgid = tgid;
  figures.cpu_ns = static_cast<double>(*cpu_ns - std::min(*cpu_ns, reading.cpu_ns));
  figures.may_change = IsTraced(tgid);
  figures_.push_back(figures);
  reading.cpu_ns = *cpu_ns;
  reading.at_ns = now_ns_;
}

// One that was not met yet is asked for when something is to be done about it.
bool HarmGuard::IsTraced(uint32_t tgid) const {
  const TracedProcess* process = pipeline_.FindProcess(tgid);
  return process == nullptr || process->traced;
}

std::optional<uint64_t> HarmGuard::ReadCpu(uint32_t tgid) const {
  return hooks_.cpu_ns ? hooks_.cpu_ns(tgid) : ProcessCpuNs(tgid);
}

void HarmGuard::Apply(const std::vector<HarmChange>& changes) {
  for (const HarmChange& change : changes) {
    pipeline_.SetHarmRung(change.tgid, change.to);
    // Who is left out by rules, which may be known only now, is not watched anyway: that is no step.
    if (!IsTraced(change.tgid)) continue;
    const bool down = change.to > change.from;
    ++(down ? counts_.steps_down : counts_.steps_up)[static_cast<size_t>(change.to)];
    if (!MayLog()) continue;
    if (down) {
      spdlog::warn("harm budget: {} costs {:.1f} % of its CPU time, budget {:.1f} %: from {} down to {}",
                   NameOf(change.tgid), 100 * change.share, 100 * budget_, HarmRungName(change.from),
                   HarmRungName(change.to));
    } else {
      spdlog::info("harm budget: {} goes up from {} to {}, which is meant to cost {:.1f} % of its CPU time",
                   NameOf(change.tgid), HarmRungName(change.from), HarmRungName(change.to),
                   100 * change.share);
    }
  }
}

void HarmGuard::SetBudget(double budget) {
  budget_ = budget;
  std::vector<HarmChange> changes;
  ladder_.SetBudget(budget, changes);
  Apply(changes);
  readings_.clear();
}

void HarmGuard::Forget(uint32_t tgid) {
  ladder_.Forget(tgid);
  readings_.erase(tgid);
}

std::string HarmGuard::NameOf(uint32_t tgid) const {
  const TracedProcess* process = pipeline_.FindProcess(tgid);
  const bool named = process != nullptr && process->resource != nullptr;
  return (named ? process->resource->service_name : std::string("a process")) + " (pid " +
         std::to_string(tgid) + ")";
}

bool HarmGuard::MayLog() {
  if (lines_ >= kLinesPerMinute) {
    ++unsaid_;
    return false;
  }
  ++lines_;
  return true;
}

HarmCounts HarmGuard::Counts() const {
  HarmCounts counts = counts_;
  for (const HarmState& state : ladder_.Limited()) {
    if (!IsTraced(state.tgid)) continue;
    const TracedProcess* process = pipeline_.FindProcess(state.tgid);
    LimitedProcess limited{state.tgid, {}, state.rung, state.share};
    if (process != nullptr && process->resource) limited.service = process->resource->service_name;
    counts.limited.push_back(std::move(limited));
  }
  return counts;
}

}  // namespace zerotap
