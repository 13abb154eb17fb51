// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * What no program that captures transfers can do without, each step by itself: bpf_cost floor loads
 * this with one more of them each time. No decision, no state, no position: the floor of what a
 * captured event costs.
 */
#define ZT_DIRECT_READS
#include "bpf/lib/kernel.h"
#include "bpf/lib/syscalls.h"
#include "tests/bpf/floor.h"

const volatile __u32 floor_steps = 0;
__u64 floor_sum = 0; /* whatever was read, so that it is read */

struct floor_state {
	__u64 words[19]; /* as large as that of a connection */
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct floor_state);
} floor_connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} floor_events SEC(".maps");

struct floor_record {
	__u64 header[12]; /* as large as that of a transfer */
	__u8 payload[256];
};

static __always_inline int floor_run(__u64 sk)
{
	struct zt_syscall syscall = {};
	__u64 sum = 0;
	__u64 now = 0;
	if (floor_steps & FLOOR_TASK) {
		struct task_struct *task = bpf_get_current_task_btf();
		sum += task->tgid;
		if (floor_steps & FLOOR_REGISTERS) {
			zt_read_syscall(&syscall, (struct pt_regs *)bpf_task_pt_regs(task));
			sum += syscall.argument[1];
		}
	}
	if (floor_steps & FLOOR_STATE) {
		struct floor_state *state = bpf_map_lookup_elem(&floor_connections, &sk);
		if (!state) {
			struct floor_state empty = {};
			bpf_map_update_elem(&floor_connections, &sk, &empty, BPF_ANY);
			return 0;
		}
		state->words[0]++;
	}
	if (floor_steps & FLOOR_CLOCK)
		now = bpf_ktime_get_ns();
	if (floor_steps & FLOOR_RECORD) {
		struct floor_record *record =
		    bpf_ringbuf_reserve(&floor_events, sizeof(*record), 0);
		if (!record)
			return 0;
		if (floor_steps & FLOOR_HEADER) {
#pragma unroll
			for (int i = 0; i < 12; i++)
				record->header[i] = now + sum;
		}
		if (floor_steps & FLOOR_PAYLOAD)
			bpf_probe_read_user(record->payload, sizeof(record->payload),
					    (void *)syscall.argument[1]);
		bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	}
	floor_sum = sum + now;
	return 0;
}

SEC("raw_tp/sock_send_length")
int floor_send(__u64 *arguments)
{
	return floor_run(arguments[0]);
}

SEC("raw_tp/sock_recv_length")
int floor_receive(__u64 *arguments)
{
	return floor_run(arguments[0]);
}

char floor_license[] SEC("license") = "Dual MIT/GPL";
