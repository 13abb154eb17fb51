// Entries of the kernel side's maps, read and changed without hiding events from it.
//
// bpf(2) keeps perf-attached programs from running on its CPU while it works on an entry; where the
// kernel preempts itself, that can last. A program that does the same for us does not
// (bpf/lib/map_access.h); where the kernel has no such programs, bpf(2) does it.
#pragma once

#include <cstdint>
#include <optional>

#include "bpf/abi/map_access.h"

namespace zerotap {

// Of one map. Borrows both descriptors.
class MapAccess {
 public:
  MapAccess() = default;  // of none: nothing is ever found
  // `program` below 0: by bpf(2).
  MapAccess(int map, int program, bool per_cpu = false)
      : map_(map), program_(program), per_cpu_(per_cpu) {}

  int map() const { return map_; }

  // Of a hash of struct zt_measure: the sum over the CPUs where it is per CPU.
  std::optional<zt_measure> ReadMeasure(uint64_t key) const;
  std::optional<zt_thread_waits> ReadWaits(uint32_t tid) const;
  void WritePolicy(uint32_t tgid, uint32_t policy) const;
  void EraseMeasure(uint64_t key) const;
  void ErasePolicy(uint32_t tgid) const;

 private:
  // False: no program answers, so bpf(2) must.
  bool Ask(zt_map_request& request) const;

  int map_ = -1;
  int program_ = -1;
  bool per_cpu_ = false;
};

}  // namespace zerotap
