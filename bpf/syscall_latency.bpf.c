// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * How long system calls take, by process, number and error; loaded only when asked for, since any
 * listener puts every system call of the host on the kernel's slow path.
 *
 * Attached to sys_enter_X and sys_exit_X of the chosen calls, which leave the others alone but for
 * that path; from kernel 7.2 on to raw_syscalls, because there the former lose events. A call counts
 * when both its ends were seen: what a thread was in before the hooks were there is left out.
 */
#include "bpf/lib/map_access.h"
#include "bpf/lib/measure.h"
#include "bpf/lib/syscalls.h"

/* A bit for each number. */
const volatile zt_u64 zt_syscalls_wanted[ZT_MEASURE_SYSCALLS / 64] = {};
/* raw_syscalls also tell of 32-bit calls, whose numbers mean something else. */
const volatile zt_u32 zt_syscalls_raw = 0;

/* As the format files of syscalls/ and raw_syscalls/ lay it out. The number is an int in the one, a
 * long in the other; a program that reads more than an event has is refused by it. */
struct zt_syscall_record {
	zt_u64 event;
	zt_u32 number;
	zt_u32 upper;
	__s64 result; /* at the exit */
};

struct zt_syscall_start {
	zt_u64 start_ns; /* 0: not inside */
	zt_u64 number;
};

/* By thread. What was left behind by a thread that ended cannot pass for another's: each enter
 * overwrites it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, zt_u32);
	__type(value, struct zt_syscall_start);
} syscall_starts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct zt_measure_key);
	__type(value, struct zt_measure);
} syscall_durations SEC(".maps");

static __always_inline bool zt_is_wanted_syscall(zt_u32 number)
{
	zt_u32 word = number / 64;
	zt_barrier_var(word); /* or the compiler asks for bits, of which the verifier learns nothing */
	if (word >= ZT_MEASURE_SYSCALLS / 64)
		return false;
	if (!(zt_syscalls_wanted[word] >> (number % 64) & 1))
		return false;
	if (!zt_syscalls_raw)
		return true;
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	return !(BPF_CORE_READ(task, thread_info.ZT_COMPAT_FIELD) & ZT_COMPAT_BITS);
}

static __always_inline bool zt_is_measured(zt_u32 tgid)
{
	zt_u32 policy = zt_policy(tgid);
	return policy != ZT_PROCESS_IGNORE && policy != ZT_PROCESS_SELF;
}

SEC("tracepoint")
int syscall_enter(struct zt_syscall_record *record)
{
	zt_u32 number = record->number;
	if (!zt_is_wanted_syscall(number))
		return 0;
	zt_u64 both = bpf_get_current_pid_tgid();
	zt_u32 tid = (zt_u32)both;
	if (!zt_is_measured(both >> 32))
		return 0;
	struct zt_syscall_start *known = bpf_map_lookup_elem(&syscall_starts, &tid);
	if (known) {
		known->number = number;
		known->start_ns = bpf_ktime_get_ns();
		return 0;
	}
	struct zt_syscall_start start = {.number = number, .start_ns = bpf_ktime_get_ns()};
	bpf_map_update_elem(&syscall_starts, &tid, &start, BPF_ANY);
	return 0;
}

SEC("tracepoint")
int syscall_exit(struct zt_syscall_record *record)
{
	zt_u32 number = record->number;
	if (!zt_is_wanted_syscall(number))
		return 0;
	zt_u64 now = bpf_ktime_get_ns();
	zt_u64 both = bpf_get_current_pid_tgid();
	zt_u32 tid = (zt_u32)both;
	struct zt_syscall_start *start = bpf_map_lookup_elem(&syscall_starts, &tid);
	if (!start || !start->start_ns || start->number != number) {
		if (zt_is_measured(both >> 32))
			zt_count(ZT_COUNTER_SYSCALL_START_UNKNOWN);
		return 0;
	}
	zt_u64 began = start->start_ns;
	start->start_ns = 0;
	__s64 result = record->result;
	struct zt_measure_key key = {.tgid = both >> 32, .what = number};
	if (result < 0 && result > -4096)
		key.error = -result;
	zt_measure_add(&syscall_durations, &key, now - began);
	return 0;
}

SEC("syscall")
int access_syscall_durations(struct zt_map_request *request)
{
	return zt_access_measures(&syscall_durations, request);
}
