// Takes what the kernel side has counted by process since it was last asked.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "agent/capture/map_access.h"

namespace zerotap {

// Counted since the last call.
struct MeasureDelta {
  zt_measure_key key{};
  uint64_t sum = 0;
  std::array<uint64_t, ZT_MEASURE_BUCKETS> counts{};
};

// Over one hash of struct zt_measure, per CPU or not. Single-threaded.
class MeasureReader {
 public:
  explicit MeasureReader(const MapAccess& map) : map_(map) {}

  // Appends what changed. Entries of processes that ended before the call are read a last time and
  // taken out of the map.
  void Take(std::vector<MeasureDelta>& out);
  // The process is gone, or its numbers are not wanted.
  void Forget(uint32_t tgid) { forgotten_.insert(tgid); }

  size_t entries() const { return last_.size(); }

 private:
  struct Last {
    uint64_t sum = 0;
    std::array<uint32_t, ZT_MEASURE_BUCKETS> counts{};
    uint32_t unchanged = 0;  // times in a row
  };
  bool Update(uint64_t key, const zt_measure& total, std::vector<MeasureDelta>& out);

  MapAccess map_;
  std::unordered_map<uint64_t, Last> last_;
  std::unordered_set<uint32_t> forgotten_;
};

}  // namespace zerotap
