/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * What the kernel side counts by process instead of telling each case: histograms of durations in hash maps,
 * those of system calls per CPU. User space reads them every few seconds and takes the difference; the counts may wrap around.
 */
#ifndef ZEROTAP_BPF_ABI_MEASURE_H
#define ZEROTAP_BPF_ABI_MEASURE_H

#include "bpf/abi/event.h"

/* Upper bounds of the buckets in nanoseconds, inclusive: 1, 2, 5 in each decade from 1 us to 10 s. */
#define ZT_MEASURE_BOUNDS                                                                          \
	1000ull, 2000ull, 5000ull, 10000ull, 20000ull, 50000ull, 100000ull, 200000ull, 500000ull,  \
	    1000000ull, 2000000ull, 5000000ull, 10000000ull, 20000000ull, 50000000ull,             \
	    100000000ull, 200000000ull, 500000000ull, 1000000000ull, 2000000000ull, 5000000000ull, \
	    10000000000ull
#define ZT_MEASURE_BOUND_COUNT 22
#define ZT_MEASURE_BUCKETS 23 /* the last: above all bounds */

/* zt_measure_key.what below this is the number of a system call. */
#define ZT_MEASURE_SYSCALLS 1024

enum zt_measure_what {
	ZT_MEASURE_TCP_CONNECT = 1024, /* from connect() to its outcome */
	ZT_MEASURE_TCP_ROUND_TRIP = 1025, /* smoothed, of a connection that closes or is met by a walk */
	ZT_MEASURE_TCP_RETRANSMITS = 1026, /* segments; the sum alone means something */
	ZT_MEASURE_TCP_OPEN = 1027, /* one for each connection that a walk meets */
};

struct zt_measure_key {
	zt_u32 tgid;
	zt_u16 what;
	zt_u16 error; /* errno; 0 = none */
};
ZT_STATIC_ASSERT(sizeof(struct zt_measure_key) == 8, "zt_measure_key");

struct zt_measure {
	zt_u64 sum; /* nanoseconds, if it is a duration */
	zt_u32 counts[ZT_MEASURE_BUCKETS];
	zt_u32 reserved;
};
ZT_STATIC_ASSERT(sizeof(struct zt_measure) == 104, "zt_measure");

#endif
