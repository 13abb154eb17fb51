// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * What each thread has waited for, summed up by kind.
 *
 * One hook, when a thread is woken: how long it slept follows from what the scheduler keeps of it
 * anyway (when it last came to a CPU, how long it ran there, when it was queued again), so nothing
 * has to be remembered when it falls asleep, and of a short sleep only a few fields are read. The
 * system call that it is in stands in its saved registers. BTF-attached: it runs with interrupts off
 * and the run queue locked, so it is neither preempted nor interrupted by itself.
 */
#include "bpf/abi/wait.h"
#include "bpf/lib/map_access.h"
#include "bpf/lib/maps.h"
#include "bpf/lib/syscalls.h"

#define ZT_THREAD_SIZE 16384 /* of kernels that are too old for bpf_task_pt_regs */
#define S_IFIFO 0010000
#define S_IFDIR 0040000
#define S_IFBLK 0060000
#define S_IFREG 0100000

/* enum zt_wait_kind by number. */
const volatile zt_u8 zt_wait_of_syscall[ZT_WAIT_SYSCALLS] = {};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, zt_u32);
	__type(value, struct zt_thread_waits);
} thread_waits SEC(".maps");

enum bpf_func_id___regs { BPF_FUNC_task_pt_regs___regs = 175 };

static __always_inline void zt_registers_of(struct task_struct *task, struct zt_syscall *call)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id___regs, BPF_FUNC_task_pt_regs___regs)) {
		zt_read_syscall(call, (struct pt_regs *)bpf_task_pt_regs(task));
		return;
	}
	zt_u64 top = (zt_u64)BPF_CORE_READ(task, stack) + ZT_THREAD_SIZE;
	struct pt_regs *regs = (struct pt_regs *)(top - bpf_core_type_size(struct pt_regs));
#if defined(__TARGET_ARCH_x86)
	call->number = BPF_CORE_READ(regs, orig_ax);
	call->argument[0] = BPF_CORE_READ(regs, di);
#else
	call->number = (zt_u32)BPF_CORE_READ(regs, syscallno);
	call->argument[0] = BPF_CORE_READ(regs, orig_x0);
#endif
}

/* `task` is a pointer that the verifier knows, so that what it leads to is loaded without a call. */
static __always_inline zt_u32 zt_wait_on_descriptor(struct task_struct *task, zt_u32 descriptor)
{
	struct fdtable *table = task->files->fdt;
	struct file **files = table->fd;
	struct file *file = 0;
	if (descriptor >= table->max_fds ||
	    bpf_probe_read_kernel(&file, sizeof(file), files + descriptor) || !file)
		return ZT_WAIT_OTHER;
	switch (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) {
	case S_IFSOCK:
		return ZT_WAIT_SOCKET;
	case S_IFREG:
	case S_IFDIR:
	case S_IFBLK:
		return ZT_WAIT_DISK;
	case S_IFIFO:
		return ZT_WAIT_PIPE;
	}
	return ZT_WAIT_OTHER;
}

static __always_inline zt_u32 zt_wait_kind(struct task_struct *task)
{
	zt_u32 kind = ZT_WAIT_OTHER;
	struct zt_syscall call = {};
	if (!(task->thread_info.ZT_COMPAT_FIELD & ZT_COMPAT_BITS)) {
		zt_registers_of(task, &call);
		zt_u32 number = (zt_u32)call.number;
		zt_barrier_var(number);
		if (number < ZT_WAIT_SYSCALLS) /* else a page fault, or an interrupt */
			kind = zt_wait_of_syscall[number];
		if (kind == ZT_WAIT_BY_FILE)
			kind = zt_wait_on_descriptor(task, (zt_u32)call.argument[0]);
	}
	if (kind == ZT_WAIT_OTHER && BPF_CORE_READ_BITFIELD(task, in_iowait))
		kind = ZT_WAIT_DISK;
	return kind;
}

/* The thread's sums, made if need be; another thread may have had the number before. */
static __always_inline struct zt_thread_waits *zt_waits_of(struct task_struct *task)
{
	zt_u32 tid = task->pid;
	zt_u64 started = task->start_boottime;
	struct zt_thread_waits *known = bpf_map_lookup_elem(&thread_waits, &tid);
	if (known && known->started_ns == started && !known->ended)
		return known;
	struct zt_thread_waits empty = {
	    .since_ns = bpf_ktime_get_ns(), .started_ns = started, .tgid = task->tgid};
	bpf_map_update_elem(&thread_waits, &tid, &empty, BPF_ANY);
	return bpf_map_lookup_elem(&thread_waits, &tid);
}

/*
 * How much later than `queued` a thread was really woken. From 6.12 on a thread that falls asleep can stay in the run queue for a
 * while (delayed dequeue); if it is moved to another CPU there, last_queued is set to that time and stays, so the kernel
 * takes the rest of the sleep for waiting for a CPU (run_delay, too). The queue's clock was read for this wake-up. Not
 * seen is what lies between two moves in one sleep: no more than it was in the queue.
 */
static __always_inline zt_u64 zt_slept_in_queue(struct task_struct *task, zt_u64 queued)
{
	if (!bpf_core_field_exists(struct sched_entity, sched_delayed) ||
	    !bpf_core_field_exists(struct sched_entity, cfs_rq))
		return 0;
	zt_u64 clock = task->se.cfs_rq->rq->clock;
	return clock > queued ? clock - queued : 0;
}

SEC("tp_btf/sched_wakeup")
int wait_wakeup(zt_u64 *arguments)
{
	struct task_struct *task = (struct task_struct *)arguments[0];
	zt_u64 queued = task->sched_info.last_queued;
	zt_u64 arrived = task->sched_info.last_arrival;
	if (queued <= arrived)
		return 0;
	/* Before it slept it ran. */
	zt_u64 slept_in_queue = zt_slept_in_queue(task, queued);
	zt_u64 away = queued + slept_in_queue - arrived;
	if (away < ZT_WAIT_LEAST_NS)
		return 0;
	zt_u64 ran = task->se.sum_exec_runtime - task->se.prev_sum_exec_runtime;
	if (ran >= away || away - ran < ZT_WAIT_LEAST_NS || (task->flags & PF_KTHREAD))
		return 0;
	zt_u32 policy = zt_policy(task->tgid);
	if (policy == ZT_PROCESS_IGNORE || policy == ZT_PROCESS_SELF)
		return 0;
	struct zt_thread_waits *waits = zt_waits_of(task);
	zt_u32 kind = zt_wait_kind(task);
	zt_barrier_var(kind);
	if (waits && kind < ZT_WAIT_KINDS) {
		__sync_fetch_and_add(&waits->waits_ns[kind], away - ran);
		if (slept_in_queue) {
			waits->slept_in_queue_ns += slept_in_queue;
			waits->slept_last_ns = slept_in_queue;
			waits->queue_before_last_ns = task->sched_info.run_delay;
		}
	}
	return 0;
}

/* A thread that answers and ends at once is gone before user space can ask /proc about it. */
SEC("tp_btf/sched_process_exit")
int wait_thread_exit(zt_u64 *arguments)
{
	struct task_struct *task = (struct task_struct *)arguments[0];
	zt_u32 tid = task->pid;
	struct zt_thread_waits *waits = bpf_map_lookup_elem(&thread_waits, &tid);
	if (!waits || waits->started_ns != task->start_boottime) {
		if (task->se.sum_exec_runtime < ZT_WAIT_LEAST_RUN_NS || (task->flags & PF_KTHREAD))
			return 0;
		zt_u32 policy = zt_policy(task->tgid);
		if (policy == ZT_PROCESS_IGNORE || policy == ZT_PROCESS_SELF)
			return 0;
		waits = zt_waits_of(task);
		if (!waits)
			return 0;
	}
	waits->on_cpu_ns = task->se.sum_exec_runtime;
	waits->cpu_queue_ns = task->sched_info.run_delay;
	waits->ended = 1;
	return 0;
}

SEC("syscall")
int access_thread_waits(struct zt_map_request *request)
{
	zt_u32 tid = (zt_u32)request->key;
	struct zt_thread_waits *waits = bpf_map_lookup_elem(&thread_waits, &tid);
	request->found = waits != 0;
	if (waits)
		request->waits = *waits;
	return 0;
}
