/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Durations counted into the buckets of a process. The additions are atomic although values may be
 * per CPU: from kernel 7.0 on one program may be preempted by another that counts into the same. */
#ifndef ZEROTAP_BPF_MEASURE_H
#define ZEROTAP_BPF_MEASURE_H

#include "bpf/abi/measure.h"
#include "bpf/lib/maps.h"

static const zt_u64 zt_measure_bounds[32] = {ZT_MEASURE_BOUNDS};

/* The number of bounds that are below `value`: 5 comparisons. */
static __always_inline zt_u32 zt_measure_bucket(zt_u64 value)
{
	zt_u32 bucket = 0;
#pragma unroll
	for (zt_u32 step = 16; step; step >>= 1) {
		zt_u32 probe = bucket + step;
		if (probe <= ZT_MEASURE_BOUND_COUNT && value > zt_measure_bounds[(probe - 1) & 31])
			bucket = probe;
	}
	return bucket;
}

static __always_inline void zt_measure_add(void *map, const struct zt_measure_key *key,
					   zt_u64 value)
{
	struct zt_measure *measure = bpf_map_lookup_elem(map, key);
	if (!measure) {
		struct zt_measure empty = {};
		bpf_map_update_elem(map, key, &empty, BPF_NOEXIST);
		measure = bpf_map_lookup_elem(map, key);
		if (!measure) {
			zt_count(ZT_COUNTER_MEASURES_FULL);
			return;
		}
	}
	zt_u32 bucket = zt_measure_bucket(value);
	zt_barrier_var(bucket);
	if (bucket >= ZT_MEASURE_BUCKETS)
		return;
	__sync_fetch_and_add(&measure->counts[bucket], 1);
	__sync_fetch_and_add(&measure->sum, value);
}

#endif
