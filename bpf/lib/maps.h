/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Everything the programs share: state, maps, settings. Weak, so that the objects that include this
 * are linked into one. */
#ifndef ZEROTAP_BPF_MAPS_H
#define ZEROTAP_BPF_MAPS_H

#include "bpf/abi/control.h"
#include "bpf/abi/event.h"
#include "bpf/lib/kernel.h"

/* Settings, written by user space before load. */
const volatile zt_u32 zt_detect_budget __weak =
    4096; /* bytes of each run while nobody has decided yet */
const volatile zt_u32 zt_detect_edge __weak = 64;
const volatile zt_u32 zt_ring_bytes __weak = 16 << 20; /* of each ring */
/* Which CPUs share a ring: CPU >> shift & mask is its number. A mask of 0: there is one for all. */
const volatile zt_u32 zt_ring_mask __weak = 0;
const volatile zt_u32 zt_ring_shift __weak = 0;

/* Set once everything is attached and the sockets that existed before are known: a unix socket first
 * seen later than that is a new one. Transfers are told of from then on, so that the hooks of both
 * directions begin at the same instant: a request whose response fell between the attachments of the
 * two would leave its connection one response short for good. */
zt_u32 zt_seeded __weak = 0;

/* Always 0, which the verifier cannot know: see zt_forget_values. */
zt_u64 zt_zero __weak = 0;

enum zt_connection_flags {
	ZT_CONNECTION_PENDING = 0x01, /* connecting: SYN sent, no sequence numbers yet */
	ZT_CONNECTION_OPENED = 0x02,  /* user space was told of it */
	ZT_CONNECTION_CLOSED = 0x04,  /* and of its end */
	ZT_CONNECTION_OWN = 0x08,     /* one end is zerotap's: never reported */
	ZT_CONNECTION_MIDSTREAM = 0x10,
	ZT_CONNECTION_EXACT = 0x20, /* positions count from the true first byte */
	ZT_CONNECTION_SKIPPED = 0x40, /* transfers were counted only since the last record */
};

/*
 * One end of a connection. The key is the address of the kernel's struct sock; another inode behind
 * the same address is another socket. Updated without a lock by all who use the socket: everything
 * here tolerates a lost update, except the byte counts, which are atomic.
 *
 * What each transfer uses comes first: the kernel keeps 56 bytes before the value, so that `id` ends
 * a cache line and the next one reaches to `edge_bytes`. The size makes an element three lines.
 */
struct zt_connection {
	zt_u64 id;
	zt_u64 inode; /* 0 until an accepted socket has got its file */
	zt_u64 next[2];	 /* by direction: stream position that the next byte should have */
	zt_u64 bytes[2]; /* by direction: counted */
	zt_u64 last_event_ns;
	zt_u32 first_out;
	zt_u32 first_in;
	zt_u8 flags; /* enum zt_connection_flags */
	zt_u8 family;
	zt_u8 role;
	zt_u8 run_direction; /* 2 = no run yet */
	zt_u8 mode;	     /* enum zt_verdict_mode */
	zt_u8 egress_budget_kib;
	zt_u8 ingress_budget_kib;
	zt_u8 edge_bytes;

	zt_u32 run_used; /* bytes of the current run that were captured */
	zt_u32 lost;	 /* records that found the ring full since the last one that did not */
	zt_u32 lost_total;
	zt_u8 own_checks; /* how often zerotap's own connections were looked through */
	zt_u8 turns;	  /* how often the client began to speak since the last record */
	zt_u16 error; /* sk_err at the end; reading it takes it out of the socket */
	zt_u64 opened_ns;
	zt_u64 mmsg_array; /* tier A: where in which message array this thread stands */
	zt_u32 mmsg_tid;
	zt_u32 mmsg_index;
	zt_u32 mmsg_length;
	zt_u32 tgid; /* of who connected; 0 = unknown */
	zt_u64 spare[2];
};
ZT_STATIC_ASSERT(sizeof(struct zt_connection) == 136, "zt_connection");
ZT_STATIC_ASSERT(__builtin_offsetof(struct zt_connection, run_used) == 72, "zt_connection");

/* A TCP port in a network namespace on which zerotap itself listens. */
struct zt_own_port {
	zt_u32 netns;
	zt_u32 port;
};

/* A process that exited, so that the several hooks of one exit count once. */
struct zt_exit_key {
	zt_u64 start_ns;
	zt_u64 tgid;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} events __weak SEC(".maps");

/* Where there are several: `events` is the first. Made only then, and filled before anything is attached. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, zt_u32);
	__array(
	    values, struct {
		    __uint(type, BPF_MAP_TYPE_RINGBUF);
		    __uint(max_entries, 4096);
	    });
} event_rings __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, zt_u64);
	__type(value, struct zt_connection);
} connections __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ZT_VERDICT_SLOTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, zt_u32);
	__type(value, zt_u64); /* struct zt_verdict, read and written whole */
} verdicts __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, 1); /* BPF_F_NO_PREALLOC */
	__type(key, zt_u32);
	__type(value, zt_u32); /* enum zt_process_policy */
} process_policies __weak SEC(".maps");

/* The same by slot, to be had without a call; whoever is not in his slot is looked up above. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ZT_POLICY_SLOTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, zt_u32);
	__type(value, zt_u64); /* zt_policy_word() */
} policy_slots __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ZT_COST_SLOTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, zt_u32);
	__type(value, struct zt_cost);
} costs __weak SEC(".maps");

/* Connections of which zerotap holds one end, as the other end sees them: (its first_out << 32 |
 * its first_in) for TCP, (its inode << 32 | the peer's inode) for AF_UNIX. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, zt_u64);
	__type(value, zt_u32);
} own_connections __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct zt_own_port);
	__type(value, zt_u32);
} own_ports __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct zt_exit_key);
	__type(value, zt_u32);
} exits __weak SEC(".maps");

/* A line for each CPU, which user space reads in its own memory: a lookup by bpf(2) keeps all perf-attached programs from
 * running on its CPU, and a kernel that preempts anywhere may stop it right there. One entry for each possible CPU, set
 * before load. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, zt_u32);
	__type(value, struct zt_counters);
} counters __weak SEC(".maps");

static __always_inline void zt_count(zt_u32 counter)
{
	zt_u32 cpu = bpf_get_smp_processor_id();
	struct zt_counters *line = bpf_map_lookup_elem(&counters, &cpu);
	if (line && counter < ZT_COUNTER_COUNT)
		line->value[counter]++; /* this CPU's own */
}

static __always_inline struct zt_cost *zt_cost_at(zt_u32 tgid, zt_u32 which)
{
	zt_u32 slot = zt_cost_slot(tgid, which);
	return bpf_map_lookup_elem(&costs, &slot);
}

/* One sampled event of a process; 0 nanoseconds: an ignored one. */
__weak __noinline int zt_charge(zt_u64 process, zt_u64 handled_ns)
{
	zt_u32 tgid = process;
	struct zt_cost *cost = zt_cost_at(tgid, 0);
	struct zt_cost *other = zt_cost_at(tgid, 1);
	if (!cost || !other || !tgid)
		return 0;
	if (cost->tgid != tgid) {
		/* Either is its own, or else a free one. */
		if (other->tgid == tgid || cost->tgid)
			cost = other;
		if (cost->tgid && cost->tgid != tgid) {
			zt_count(ZT_COUNTER_COSTS_FULL);
			return 0;
		}
		cost->tgid = tgid;
	}
	if (handled_ns) {
		__sync_fetch_and_add(&cost->handled, 1);
		__sync_fetch_and_add(&cost->handled_ns, handled_ns);
	} else {
		__sync_fetch_and_add(&cost->ignored, 1);
	}
	return 0;
}

static __always_inline void zt_count_ignored(void)
{
	zt_u32 cpu = bpf_get_smp_processor_id();
	struct zt_counters *line = bpf_map_lookup_elem(&counters, &cpu);
	if (line && __builtin_expect(zt_is_sampled(++line->value[ZT_COUNTER_IGNORED_EVENTS]), 0))
		zt_charge(bpf_get_current_pid_tgid() >> 32, 0);
}

static __always_inline zt_u32 zt_policy(zt_u32 tgid)
{
	zt_u32 slot = zt_policy_slot(tgid);
	zt_u64 *stored = bpf_map_lookup_elem(&policy_slots, &slot);
	if (stored) {
		zt_u64 word = *(volatile zt_u64 *)stored;
		if (word >> 32 == tgid)
			return (zt_u32)word;
	}
	zt_u32 *policy = bpf_map_lookup_elem(&process_policies, &tgid);
	return policy ? *policy : 0;
}

static __always_inline void zt_forget_policy(zt_u32 tgid)
{
	zt_u32 slot = zt_policy_slot(tgid);
	bpf_map_delete_elem(&process_policies, &tgid);
	zt_u64 *stored = bpf_map_lookup_elem(&policy_slots, &slot);
	if (stored && *stored >> 32 == tgid)
		*stored = 0;
}

/* The ring of this CPU. The mask is known at load, so the kernel leaves out the way that is not taken. */
static __always_inline void *zt_ring(void)
{
	if (!zt_ring_mask)
		return &events;
	zt_u32 index = bpf_get_smp_processor_id() >> zt_ring_shift & zt_ring_mask;
	return bpf_map_lookup_elem(&event_rings, &index);
}

/* `size` must be a constant. */
static __always_inline void *zt_reserve(zt_u64 size)
{
	void *ring = zt_ring();
	return ring ? bpf_ringbuf_reserve(ring, size, 0) : 0;
}

/* Waking the reader for each record would cost more than the record: it comes by itself every few
 * milliseconds, and is called only when the ring fills up. */
static __always_inline zt_u64 zt_wakeup(void)
{
	void *ring = zt_ring();
	return ring && bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) > zt_ring_bytes / 4
		   ? BPF_RB_FORCE_WAKEUP
		   : BPF_RB_NO_WAKEUP;
}

/* For the records of transfers: even to ask costs something, and of the many that fill a ring any
 * few will do. Every sixteenth microsecond asks. */
static __always_inline zt_u64 zt_wakeup_at(zt_u64 now)
{
	return (now >> 10 & 15) == 0 ? zt_wakeup() : BPF_RB_NO_WAKEUP;
}

#endif
