#include "agent/capture/measure_reader.h"

#include <bpf/bpf.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

namespace zerotap {
namespace {

// After so many readings without change it is asked whether the process still lives: its exit
// record may have been lost.
constexpr uint32_t kAskAfterUnchanged = 12;

zt_measure_key KeyOf(uint64_t packed) {
  zt_measure_key key;
  static_assert(sizeof(key) == sizeof(packed));
  std::memcpy(&key, &packed, sizeof(key));
  return key;
}

}  // namespace

bool MeasureReader::Update(uint64_t key, const zt_measure& total, std::vector<MeasureDelta>& out) {
  Last now;
  now.sum = total.sum;
  std::copy_n(total.counts, now.counts.size(), now.counts.begin());
  Last& last = last_[key];
  MeasureDelta delta;
  delta.key = KeyOf(key);
  bool changed = false;
  for (size_t i = 0; i < now.counts.size(); ++i) {
    // Modulo 2^32, as the kernel counts.
    delta.counts[i] = static_cast<uint32_t>(now.counts[i] - last.counts[i]);
    changed = changed || delta.counts[i] != 0;
  }
  // The kernel adds to the sum after the count: what was read in between comes with the next.
  delta.sum = now.sum - last.sum;
  changed = changed || delta.sum != 0;
  now.unchanged = changed ? 0 : last.unchanged + 1;
  last = now;
  if (changed) out.push_back(delta);
  return changed;
}

void MeasureReader::Take(std::vector<MeasureDelta>& out) {
  if (map_.map() < 0) return;
  const std::unordered_set<uint32_t> gone = std::move(forgotten_);
  forgotten_.clear();
  // Keys first: entries that are made or deleted on the way would lead a walk astray.
  std::vector<uint64_t> keys;
  uint64_t key = 0;
  const uint64_t limit = 1u << 20;
  for (const uint64_t* previous = nullptr;
       keys.size() < limit && bpf_map_get_next_key(map_.map(), previous, &key) == 0;
       previous = &key) {
    keys.push_back(key);
  }
  for (uint64_t each : keys) {
    const std::optional<zt_measure> total = map_.ReadMeasure(each);
    if (!total) continue;
    Update(each, *total, out);
    const uint32_t tgid = KeyOf(each).tgid;
    const bool idle = last_[each].unchanged >= kAskAfterUnchanged;
    if (!gone.contains(tgid)) {
      if (!idle) continue;
      last_[each].unchanged = 0;
      if (::kill(static_cast<pid_t>(tgid), 0) == 0 || errno != ESRCH) continue;
    }
    map_.EraseMeasure(each);
    last_.erase(each);
  }
}

}  // namespace zerotap
