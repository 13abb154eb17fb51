/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What user space asks of a map by a program, where bpf(2) would hide events: bpf/lib/map_access.h. */
#ifndef ZEROTAP_BPF_ABI_MAP_ACCESS_H
#define ZEROTAP_BPF_ABI_MAP_ACCESS_H

#include "bpf/abi/event.h"
#include "bpf/abi/measure.h"
#include "bpf/abi/wait.h"

enum zt_map_action {
	ZT_MAP_READ = 1,
	ZT_MAP_WRITE = 2,
	ZT_MAP_ERASE = 3,
};

/* The context of such a program, and its answer. */
struct zt_map_request {
	zt_u64 key;
	zt_u32 action; /* enum zt_map_action */
	zt_u32 found; /* answer: 1 = the key was there, or is now */
	union {
		struct zt_measure measure; /* answer: of all CPUs, added up */
		struct zt_thread_waits waits; /* answer */
		zt_u32 policy; /* to write */
	};
};
ZT_STATIC_ASSERT(sizeof(struct zt_map_request) == 144, "zt_map_request");

#endif
