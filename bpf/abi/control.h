/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What user space tells the kernel side: read-only settings (set before load) and one verdict per connection. */
#ifndef ZEROTAP_BPF_ABI_CONTROL_H
#define ZEROTAP_BPF_ABI_CONTROL_H

#include "bpf/abi/event.h"

enum zt_verdict_mode {
	ZT_VERDICT_DETECT = 0, /* nobody has decided yet: heads with the default budget */
	ZT_VERDICT_IGNORE = 1, /* no data records; bytes are counted for the closed record */
	ZT_VERDICT_HEADS = 2, /* the first `budget` bytes of each run, then only the edges of each call */
	ZT_VERDICT_ALL = 3, /* every byte */
};

/*
 * Slot of the mmap-able `verdicts` array: index = zt_verdict_slot(connection_id). The kernel takes the slot over into the
 * connection's own state when the tag matches, so a later collision does no harm. Written as one aligned 8-byte store.
 *
 * A *run* is all the bytes one side sends until the direction flips. Beyond the budget each call still gives a record
 * with its length and times, carrying its first and last `edge_bytes`.
 */
struct zt_verdict {
	zt_u32 tag; /* zt_verdict_tag(connection_id), never 0 */
	zt_u8 mode; /* enum zt_verdict_mode */
	zt_u8 egress_budget_kib; /* per run */
	zt_u8 ingress_budget_kib;
	zt_u8 edge_bytes; /* 0..128 at each end */
};
ZT_STATIC_ASSERT(sizeof(struct zt_verdict) == 8, "zt_verdict");

#define ZT_VERDICT_SLOTS 65536u

static inline zt_u64 zt_verdict_mix(zt_u64 connection_id)
{
	return connection_id * 0x9E3779B97F4A7C15ull;
}

static inline zt_u32 zt_verdict_slot(zt_u64 connection_id)
{
	return (zt_u32)(zt_verdict_mix(connection_id) >> 48);
}

static inline zt_u32 zt_verdict_tag(zt_u64 connection_id)
{
	return (zt_u32)(zt_verdict_mix(connection_id) >> 8) | 1u;
}

/* Value of the `process_policies` hash (key: tgid). */
enum zt_process_policy {
	ZT_PROCESS_TRACE = 1,
	ZT_PROCESS_IGNORE = 2,
	ZT_PROCESS_SELF = 3, /* zerotap itself: its connections are left out on both ends */
	/* Traced for less, each for less than the one before. */
	ZT_PROCESS_HEADS = 4, /* of a run at most ZT_HEADS_BUDGET bytes */
	ZT_PROCESS_SHORT_HEADS = 5, /* at most ZT_SHORT_HEADS_BUDGET */
	ZT_PROCESS_COUNT = 6, /* no records once the protocol is known: how often the client speaks is counted */
};
#define ZT_HEADS_BUDGET 2048u
#define ZT_SHORT_HEADS_BUDGET 512u


/*
 * Beside the hash, the mmap-able array `policy_slots` holds a policy at zt_policy_slot(tgid), as
 * one word: a hit spares the hooks a lookup. Processes may push each other out of a slot.
 */
#define ZT_POLICY_SLOTS 4096u

static inline zt_u32 zt_policy_slot(zt_u32 tgid)
{
	return tgid % ZT_POLICY_SLOTS;
}

static inline zt_u64 zt_policy_word(zt_u32 tgid, zt_u32 policy)
{
	return (zt_u64)tgid << 32 | policy;
}

/*
 * What the hooks cost a process: one in ZT_COST_SAMPLING of its events, told apart by what became of
 * it. A place of the mmap-able array `costs` is taken by the kernel side for a process that has none
 * (tgid 0), and given free by user space; the numbers only grow, whoever has it.
 */
#define ZT_COST_SLOTS 4096u
#define ZT_COST_SAMPLING 64u
#define ZT_COST_MOST_NS 20000u /* a longer one was interrupted */

struct zt_cost {
	zt_u32 tgid;
	zt_u32 reserved;
	zt_u64 handled; /* events that were looked at closely: captured or counted */
	zt_u64 handled_ns; /* what they took from there on */
	zt_u64 ignored;
};
ZT_STATIC_ASSERT(sizeof(struct zt_cost) == 32, "zt_cost");

/* The two places that may be a process's. */
static inline zt_u32 zt_cost_slot(zt_u32 tgid, zt_u32 which)
{
	return which ? tgid * 0x9E3779B1u >> 20 : tgid % ZT_COST_SLOTS;
}

/* Every ZT_COST_SAMPLING-th on average, whatever the steps in which `number` grows. */
static inline zt_u32 zt_is_sampled(zt_u64 number)
{
	return number * 0x9E3779B97F4A7C15ull >> 58 == 0;
}

/* Reasons for which the kernel side loses or leaves out something; index of the per-CPU `counters` array. */
enum zt_counter {
	ZT_COUNTER_DATA_EVENTS = 0, /* records written */
	ZT_COUNTER_RING_FULL = 1, /* a record found no room */
	ZT_COUNTER_CONNECTION_MAP_FULL = 2,
	ZT_COUNTER_PAYLOAD_FAULT = 3, /* user memory could not be read */
	ZT_COUNTER_NO_PAYLOAD = 4, /* sendfile, splice, io_uring */
	ZT_COUNTER_IGNORED_EVENTS = 5, /* on ignored connections and processes */
	ZT_COUNTER_UNKNOWN_CALL = 6, /* socket I/O by a call that is not understood */
	ZT_COUNTER_IOVEC_TRUNCATED = 7, /* more segments than are walked */
	ZT_COUNTER_COMPAT_CALL = 8, /* 32-bit callers: length only */
	ZT_COUNTER_UNSEEN_CALL = 9, /* calls that may have moved bytes of sockets without a record: io_uring_enter in tier B */
	ZT_COUNTER_MEASURES_FULL = 10, /* a process, call and error too many to count durations of */
	ZT_COUNTER_SYSCALL_START_UNKNOWN = 11, /* calls that were not measured: begun before the hooks were there */
	ZT_COUNTER_TCP_OWNER_UNKNOWN = 12, /* connections with retransmissions whose process was never certain, or is left out */
	ZT_COUNTER_COSTS_FULL = 13, /* sampled events of processes for which there was no place in `costs` */
	ZT_COUNTER_COUNT = 14,
};

/* What one CPU counted: two cache lines of its own. */
struct zt_counters {
	zt_u64 value[16]; /* index: enum zt_counter */
};
ZT_STATIC_ASSERT(ZT_COUNTER_COUNT <= 16, "zt_counters");

#endif
