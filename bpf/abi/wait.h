/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What threads wait for: sums that the kernel side keeps by thread and user space reads when a request takes long. */
#ifndef ZEROTAP_BPF_ABI_WAIT_H
#define ZEROTAP_BPF_ABI_WAIT_H

#include "bpf/abi/event.h"

enum zt_wait_kind {
	ZT_WAIT_OTHER = 0,
	ZT_WAIT_FUTEX = 1, /* another thread of the program */
	ZT_WAIT_DISK = 2, /* files and what holds them */
	ZT_WAIT_SOCKET = 3,
	ZT_WAIT_POLL = 4, /* one of several descriptors, or a time-out */
	ZT_WAIT_SLEEP = 5,
	ZT_WAIT_PIPE = 6,
	ZT_WAIT_CHILD = 7, /* another process to end */
	ZT_WAIT_KINDS = 8,
	ZT_WAIT_BY_FILE = 8, /* in zt_wait_of_syscall: what the first argument's descriptor leads to tells */
};

/* Shorter waits are left out: of most wake-ups nothing but a few fields is read. */
#define ZT_WAIT_LEAST_NS 20000ull
/* Threads that ran for less leave no word when they end, unless they have waited. */
#define ZT_WAIT_LEAST_RUN_NS 10000000ull
#define ZT_WAIT_SYSCALLS 1024

/* Value of the `thread_waits` hash (key: thread). */
struct zt_thread_waits {
	zt_u64 since_ns; /* when this entry was made: another value, another thread or what was forgotten */
	zt_u64 started_ns; /* the thread's start */
	zt_u64 on_cpu_ns; /* once it has ended */
	zt_u64 cpu_queue_ns; /* likewise; has slept_in_queue_ns in it, as /proc/PID/schedstat has */
	zt_u64 slept_in_queue_ns; /* sleep that the kernel counts as waiting for a CPU, once it has come to one again: */
	zt_u64 slept_last_ns; /* of these the last, */
	zt_u64 queue_before_last_ns; /* and its sum until then */
	zt_u64 waits_ns[ZT_WAIT_KINDS];
	zt_u32 tgid;
	zt_u32 ended;
};
ZT_STATIC_ASSERT(sizeof(struct zt_thread_waits) == 128, "zt_thread_waits");

#endif
