/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Maps by request of user space. bpf(2) marks the CPU busy while it reads or changes an entry, and
 * perf-attached programs do not run on a busy CPU: on a kernel that preempts itself whoever stops
 * the reader right there passes unseen for as long as the reader waits. A program that user space
 * runs for itself marks nothing.
 */
#ifndef ZEROTAP_BPF_MAP_ACCESS_H
#define ZEROTAP_BPF_MAP_ACCESS_H

#include "bpf/abi/map_access.h"
#include "bpf/lib/maps.h"

const volatile zt_u32 zt_possible_cpus __weak = 1;

static __always_inline int zt_access_measure(void *map, struct zt_map_request *request)
{
	zt_u64 key = request->key;
	if (request->action == ZT_MAP_ERASE) {
		request->found = !bpf_map_delete_elem(map, &key);
		return 0;
	}
	struct zt_measure *measure = bpf_map_lookup_elem(map, &key);
	request->found = !!measure;
	if (measure)
		request->measure = *measure;
	return 0;
}

/* Of a per-CPU map: the sum over all CPUs; the counts wrap around as they do in each. */
static __always_inline int zt_access_measures(void *map, struct zt_map_request *request)
{
	zt_u64 key = request->key;
	if (request->action == ZT_MAP_ERASE) {
		request->found = !bpf_map_delete_elem(map, &key);
		return 0;
	}
	struct zt_measure sum = {};
	request->found = 0;
	for (zt_u32 cpu = 0; cpu < zt_possible_cpus; cpu++) {
		struct zt_measure *measure = bpf_map_lookup_percpu_elem(map, &key, cpu);
		if (!measure)
			return 0;
		sum.sum += measure->sum;
#pragma unroll
		for (zt_u32 i = 0; i < ZT_MEASURE_BUCKETS; i++)
			sum.counts[i] += measure->counts[i];
	}
	request->measure = sum;
	request->found = 1;
	return 0;
}

#endif
