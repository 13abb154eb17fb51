#include "agent/capture/map_access.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <vector>

namespace zerotap {

bool MapAccess::Ask(zt_map_request& request) const {
  if (program_ < 0) return false;
  LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &request, .ctx_size_in = sizeof(request));
  return bpf_prog_test_run_opts(program_, &options) == 0;
}

std::optional<zt_measure> MapAccess::ReadMeasure(uint64_t key) const {
  zt_map_request request{};
  request.key = key;
  request.action = ZT_MAP_READ;
  if (Ask(request)) return request.found != 0 ? std::optional(request.measure) : std::nullopt;
  const int cpus = per_cpu_ ? libbpf_num_possible_cpus() : 1;
  if (map_ < 0 || cpus < 1) return std::nullopt;
  std::vector<zt_measure> per_cpu(static_cast<size_t>(cpus));
  if (bpf_map_lookup_elem(map_, &key, per_cpu.data()) != 0) return std::nullopt;
  zt_measure sum{};
  for (const zt_measure& one : per_cpu) {
    sum.sum += one.sum;
    for (size_t i = 0; i < ZT_MEASURE_BUCKETS; ++i) sum.counts[i] += one.counts[i];
  }
  return sum;
}

std::optional<zt_thread_waits> MapAccess::ReadWaits(uint32_t tid) const {
  zt_map_request request{};
  request.key = tid;
  request.action = ZT_MAP_READ;
  if (Ask(request)) return request.found != 0 ? std::optional(request.waits) : std::nullopt;
  zt_thread_waits waits{};
  if (map_ < 0 || bpf_map_lookup_elem(map_, &tid, &waits) != 0) return std::nullopt;
  return waits;
}

void MapAccess::WritePolicy(uint32_t tgid, uint32_t policy) const {
  zt_map_request request{};
  request.key = tgid;
  request.action = ZT_MAP_WRITE;
  request.policy = policy;
  if (!Ask(request)) bpf_map_update_elem(map_, &tgid, &policy, BPF_ANY);
}

void MapAccess::EraseMeasure(uint64_t key) const {
  zt_map_request request{};
  request.key = key;
  request.action = ZT_MAP_ERASE;
  if (!Ask(request)) bpf_map_delete_elem(map_, &key);
}

void MapAccess::ErasePolicy(uint32_t tgid) const {
  zt_map_request request{};
  request.key = tgid;
  request.action = ZT_MAP_ERASE;
  if (!Ask(request)) bpf_map_delete_elem(map_, &tgid);
}

}  // namespace zerotap
