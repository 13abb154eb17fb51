// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/* Processes as they begin, change their program and end. A process may be gone before user space
 * can look into /proc, so what names it travels with the event.
 *
 * Attached by BTF, or by perf where BTF-attached programs can be preempted, and skipped meanwhile. */
#include "bpf/lib/map_access.h"
#include "bpf/lib/maps.h"

static __always_inline int zt_on_exec(struct task_struct *task, const void *filename)
{
	struct zt_process_exec_event *event = zt_reserve(sizeof(*event));
	if (!event) {
		zt_count(ZT_COUNTER_RING_FULL);
		return 0;
	}
	event->header.time_ns = bpf_ktime_get_ns();
	event->header.size = sizeof(*event);
	event->header.kind = ZT_EVENT_PROCESS_EXEC;
	event->header.reserved = 0;
	event->cgroup_id = bpf_get_current_cgroup_id();
	event->start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	event->tgid = BPF_CORE_READ(task, tgid);
	event->parent_tgid = BPF_CORE_READ(task, real_parent, tgid);
	event->reserved = 0;
	BPF_CORE_READ_INTO(&event->comm, task, comm);
	__builtin_memset(event->filename, 0, sizeof(event->filename));
	bpf_probe_read_kernel_str(event->filename, sizeof(event->filename), filename);
	__builtin_memset(event->args, 0, sizeof(event->args));
	zt_u64 begin = BPF_CORE_READ(task, mm, arg_start);
	zt_u64 size = BPF_CORE_READ(task, mm, arg_end) - begin;
	zt_barrier_var(size);
	if (size > sizeof(event->args))
		size = sizeof(event->args);
	if (bpf_probe_read_user(event->args, size, (void *)begin)) {
		zt_count(ZT_COUNTER_PAYLOAD_FAULT);
		size = 0;
	}
	event->args_size = size;
	/* The reader has to look into /proc while there is something to see. */
	bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int process_exec(zt_u64 *arguments)
{
	struct linux_binprm *program = (struct linux_binprm *)arguments[2];
	return zt_on_exec((struct task_struct *)arguments[0], BPF_CORE_READ(program, filename));
}

SEC("tracepoint")
int process_exec_perf(struct trace_event_raw_sched_process_exec *record)
{
	return zt_on_exec((struct task_struct *)bpf_get_current_task(),
			  (void *)record + (record->__data_loc_filename & 0xffff));
}

static __always_inline int zt_on_fork(struct task_struct *parent, struct task_struct *child)
{
	zt_u32 tgid = BPF_CORE_READ(child, tgid);
	if (tgid != (zt_u32)BPF_CORE_READ(child, pid)) /* a thread */
		return 0;
	struct zt_process_fork_event *event = zt_reserve(sizeof(*event));
	if (!event) {
		zt_count(ZT_COUNTER_RING_FULL);
		return 0;
	}
	event->header.time_ns = bpf_ktime_get_ns();
	event->header.size = sizeof(*event);
	event->header.kind = ZT_EVENT_PROCESS_FORK;
	event->header.reserved = 0;
	event->parent_tgid = BPF_CORE_READ(parent, tgid);
	event->child_tgid = tgid;
	bpf_ringbuf_submit(event, zt_wakeup());
	return 0;
}

SEC("tp_btf/sched_process_fork")
int process_fork(zt_u64 *arguments)
{
	return zt_on_fork((struct task_struct *)arguments[0], (struct task_struct *)arguments[1]);
}

/* The record does not say whether it was a thread: a process is the newest of its parent's children. */
SEC("tracepoint")
int process_fork_perf(struct trace_event_raw_sched_process_fork *record)
{
	struct task_struct *parent = (struct task_struct *)bpf_get_current_task();
	void *newest = BPF_CORE_READ(parent, children.prev);
	struct task_struct *child = newest - bpf_core_field_offset(struct task_struct, sibling);
	if (BPF_CORE_READ(child, pid) != record->child_pid)
		return 0;
	return zt_on_fork(parent, child);
}

static __always_inline void zt_emit_exit(struct task_struct *task)
{
	zt_u32 tgid = BPF_CORE_READ(task, tgid);
	zt_forget_policy(tgid); /* the number may come again */
	struct zt_process_exit_event *event = zt_reserve(sizeof(*event));
	if (!event) {
		zt_count(ZT_COUNTER_RING_FULL);
		return;
	}
	event->header.time_ns = bpf_ktime_get_ns();
	event->header.size = sizeof(*event);
	event->header.kind = ZT_EVENT_PROCESS_EXIT;
	event->header.reserved = 0;
	event->tgid = tgid;
	event->exit_code = BPF_CORE_READ(task, group_leader, exit_code);
	bpf_ringbuf_submit(event, zt_wakeup());
}

/* Where the hook says whether it was the last thread. */
SEC("tp_btf/sched_process_exit")
int process_exit_group(zt_u64 *arguments)
{
	if (arguments[1] & 0xff)
		zt_emit_exit((struct task_struct *)arguments[0]);
	return 0;
}

/* Elsewhere several threads can see the count of the living at 0. */
static __always_inline int zt_on_exit_of_one(struct task_struct *task)
{
	if (BPF_CORE_READ(task, signal, live.counter))
		return 0;
	struct zt_exit_key key = {.start_ns = BPF_CORE_READ(task, group_leader, start_boottime),
				  .tgid = BPF_CORE_READ(task, tgid)};
	zt_u32 one = 1;
	if (bpf_map_update_elem(&exits, &key, &one, BPF_NOEXIST))
		return 0;
	zt_emit_exit(task);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int process_exit(zt_u64 *arguments)
{
	return zt_on_exit_of_one((struct task_struct *)arguments[0]);
}

SEC("tracepoint")
int process_exit_perf(void *record)
{
	return zt_on_exit_of_one((struct task_struct *)bpf_get_current_task());
}

SEC("syscall")
int access_process_policies(struct zt_map_request *request)
{
	zt_u32 tgid = (zt_u32)request->key;
	zt_u32 policy = request->policy;
	request->found = request->action == ZT_MAP_ERASE
			     ? !bpf_map_delete_elem(&process_policies, &tgid)
			     : !bpf_map_update_elem(&process_policies, &tgid, &policy, BPF_ANY);
	return 0;
}
