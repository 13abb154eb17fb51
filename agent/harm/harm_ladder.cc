#include "agent/harm/harm_ladder.h"

#include <algorithm>

namespace zerotap {
namespace {

HarmRung Below(HarmRung rung) { return static_cast<HarmRung>(static_cast<uint8_t>(rung) + 1); }
HarmRung Above(HarmRung rung) { return static_cast<HarmRung>(static_cast<uint8_t>(rung) - 1); }

constexpr uint64_t kFirstIntervalNs = 1'000'000'000;

}  // namespace

std::string_view HarmRungName(HarmRung rung) {
  switch (rung) {
    case HarmRung::kFull:
      return "full";
    case HarmRung::kHeads:
      return "heads";
    case HarmRung::kMetrics:
      return "metrics";
    case HarmRung::kCounts:
      return "counts";
    case HarmRung::kDetached:
      return "detached";
    case HarmRung::kCount:
      break;
  }
  return "unknown";
}

void HarmLadder::SetBudget(double budget, std::vector<HarmChange>& changes) {
  options_.budget = budget;
  if (budget > 0) {
    for (auto& [tgid, process] : processes_) {
      process.told = false;
      process.wait_ns = options_.first_wait_ns;
    }
    return;
  }
  for (const auto& [tgid, process] : processes_) {
    if (process.rung != HarmRung::kFull) changes.push_back({tgid, process.rung, HarmRung::kFull, 0});
  }
  processes_.clear();
}

void HarmLadder::Advance(uint64_t now_ns, std::span<const HarmFigures> figures,
                         std::vector<HarmChange>& changes, std::vector<HarmExcess>& excesses) {
  const uint64_t interval_ns = now_ns_ == 0 ? kFirstIntervalNs : now_ns - std::min(now_ns, now_ns_);
  now_ns_ = now_ns;
  if (options_.budget <= 0) return;
  const double wall_ns = static_cast<double>(interval_ns);
  for (const HarmFigures& one : figures) {
    auto [found, added] = processes_.try_emplace(one.tgid);
    Process& process = found->second;
    if (added) process.wait_ns = options_.first_wait_ns;
    process.seen = true;
    if (added || one.events > 0) process.active_ns = now_ns;
    process.may_change = one.may_change;
    Add(process, {static_cast<double>(one.events), one.cost_ns, one.cpu_ns, wall_ns});
  }
  for (auto entry = processes_.begin(); entry != processes_.end();) {
    auto& [tgid, process] = *entry;
    if (!process.seen) Add(process, {0, 0, 0, wall_ns});
    process.seen = false;
    Decide(now_ns, tgid, process, changes, excesses);
    const bool idle = process.rung == HarmRung::kFull && now_ns - process.active_ns > kKeepIdleNs &&
                      (process.up_ns == 0 || HasLasted(now_ns, process));
    entry = idle ? processes_.erase(entry) : std::next(entry);
  }
}

void HarmLadder::Add(Process& process, const Interval& interval) {
  if (process.settling) {
    process.settling = false;
    return;
  }
  process.intervals[process.filled++ % kWindow] = interval;
}

HarmLadder::Interval HarmLadder::Sum(const Process& process) {
  Interval sum;
  for (size_t i = 0; i < std::min(process.filled, kWindow); ++i) {
    sum.events += process.intervals[i].events;
    sum.cost_ns += process.intervals[i].cost_ns;
    sum.cpu_ns += process.intervals[i].cpu_ns;
    sum.wall_ns += process.intervals[i].wall_ns;
  }
  return sum;
}

void HarmLadder::Decide(uint64_t now_ns, uint32_t tgid, Process& process,
                        std::vector<HarmChange>& changes, std::vector<HarmExcess>& excesses) {
  if (!process.may_change && process.rung != HarmRung::kFull) {
    changes.push_back({tgid, process.rung, HarmRung::kFull, 0});
    Change(now_ns, process, HarmRung::kFull);
    process.up_ns = 0;
  }
  const Interval sum = Sum(process);
  // The cost is a part of the CPU time: where the sums say otherwise one of them is rough.
  process.share = sum.cpu_ns > 0 ? std::min(1.0, sum.cost_ns / sum.cpu_ns) : 0;
  const bool certain = static_cast<uint64_t>(sum.events) >= options_.min_events && sum.cpu_ns > 0;
  if (certain) process.event_ns[static_cast<size_t>(process.rung)] = sum.cost_ns / sum.events;
  const bool matters = certain && sum.cost_ns >= options_.min_cpu * sum.wall_ns;
  if (process.filled >= 2 && matters && process.share > options_.budget) {
    if (process.may_change && process.rung != HarmRung::kDetached) {
      StepDown(now_ns, tgid, process, changes);
    } else if (!process.told) {
      process.told = true;
      excesses.push_back({tgid, process.share});
    }
    return;
  }
  if (process.rung != HarmRung::kFull) MaybeStepUp(now_ns, tgid, process, sum, changes);
}

void HarmLadder::StepDown(uint64_t now_ns, uint32_t tgid, Process& process,
                          std::vector<HarmChange>& changes) {
  if (process.up_ns != 0) {
    const uint64_t lasted_ns = now_ns - process.up_ns;
    // So soon after a way up: what was foreseen of the rung was wrong, or the load comes and goes.
    if (lasted_ns < std::max(2 * process.wait_ns, options_.lasting_ns)) {
      process.wait_ns = std::min(2 * process.wait_ns, options_.longest_wait_ns);
    } else {
      MaybeShortenWait(now_ns, process);
    }
    process.up_ns = 0;  // the rungs that it falls further say nothing more of that way up
  }
  changes.push_back({tgid, process.rung, Below(process.rung), process.share});
  Change(now_ns, process, Below(process.rung));
}

void HarmLadder::MaybeStepUp(uint64_t now_ns, uint32_t tgid, Process& process, const Interval& sum,
                             std::vector<HarmChange>& changes) {
  const HarmRung next = Above(process.rung);
  const uint64_t stood_ns = now_ns - process.changed_ns;
  if (process.filled < kWindow || stood_ns < process.wait_ns) return;
  double& event_ns = process.event_ns[static_cast<size_t>(next)];
  const double cost_ns = sum.events * event_ns;
  const double others_ns = std::max(0.0, sum.cpu_ns - sum.cost_ns);
  const double share = cost_ns > 0 ? cost_ns / (others_ns + cost_ns) : 0;
  if (cost_ns > options_.headroom * options_.min_cpu * sum.wall_ns &&
      share > options_.headroom * options_.budget) {
    // Its events may have become cheaper: what was known of them is not believed for ever.
    if (stood_ns >= options_.longest_wait_ns) {
      event_ns /= 2;
      process.changed_ns = now_ns;
    }
    return;
  }
  MaybeShortenWait(now_ns, process);
  process.up_ns = now_ns;
  changes.push_back({tgid, process.rung, next, share});
  Change(now_ns, process, next);
}

bool HarmLadder::HasLasted(uint64_t now_ns, const Process& process) const {
  return now_ns - process.up_ns > std::max(4 * process.wait_ns, options_.lasting_ns);
}

// A way up that lasted for long is no sign of flapping.
void HarmLadder::MaybeShortenWait(uint64_t now_ns, Process& process) const {
  if (process.up_ns == 0 || !HasLasted(now_ns, process)) return;
  process.wait_ns = std::max(process.wait_ns / 2, options_.first_wait_ns);
}

void HarmLadder::Change(uint64_t now_ns, Process& process, HarmRung to) {
  process.rung = to;
  process.changed_ns = now_ns;
  process.filled = 0;
  process.settling = true;
}

HarmRung HarmLadder::rung(uint32_t tgid) const {
  auto found = processes_.find(tgid);
  return found == processes_.end() ? HarmRung::kFull : found->second.rung;
}

std::vector<HarmState> HarmLadder::Limited() const {
  std::vector<HarmState> states;
  for (const auto& [tgid, process] : processes_) {
    if (process.rung != HarmRung::kFull) states.push_back({tgid, process.rung, process.share});
  }
  std::sort(states.begin(), states.end(),
            [](const HarmState& a, const HarmState& b) { return a.tgid < b.tgid; });
  return states;
}

}  // namespace zerotap
