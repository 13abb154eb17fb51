// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * The bytes of sockets, by two ways of which user space loads one (docs/kernel-support.md tells
 * which goes where).
 *
 * Tier A, kernel >= 6.3: the tracepoints sock_send_length and sock_recv_length run after each send
 * and receive of a socket, whatever call it was, and for nothing else. Attached directly, which
 * costs less than half, where the kernel does not preempt such programs: from 7.0 on it does, and
 * they miss events (commits f7d327654b88, a46023d5616e). There perf-attached, by tracefs.
 *
 * Tier B, kernel >= 5.10: the exit of every system call, then from the file descriptor to the
 * socket.
 */
#define ZT_DIRECT_READS
#include "bpf/lib/transfer.h"

#define ZT_MAX_MESSAGES 16
#define ZT_MAX_COUNTED_MESSAGES 1024 /* UIO_MAXIOV: the kernel takes no more */
/* Of receives: what comes so is aside of the stream. What is sent with MSG_OOB has its place in it. */
#define ZT_IGNORED_MESSAGE_FLAGS (MSG_OOB | MSG_ERRQUEUE)

static __always_inline int zt_on_length(zt_u64 sk, int result, zt_u32 message_flags,
					zt_u8 direction)
{
	if (result < 0 ||
	    (direction == ZT_DIRECTION_INGRESS && (message_flags & ZT_IGNORED_MESSAGE_FLAGS)))
		return 0;
	zt_u64 what;
	struct task_struct *task = bpf_get_current_task_btf();
	if (!zt_is_wanted(task->tgid, &what) || (task->flags & PF_KTHREAD))
		return 0;
	zt_u8 flags =
	    direction == ZT_DIRECTION_INGRESS && (message_flags & MSG_PEEK) ? ZT_DATA_PEEK : 0;
	zt_transfer_of(task, sk, what | zt_what(ZT_CALL_OTHER, direction, flags, message_flags), result);
	return 0;
}

/* Attached to both tracepoints, so that the verifier has to look at it only once. The cookie is the
 * direction. */
SEC("tracepoint")
int tier_a_length(struct trace_event_raw_sock_msg_length *record)
{
	if (record->family != AF_UNIX && record->protocol != IPPROTO_TCP)
		return 0;
	return zt_on_length((zt_u64)record->sk, record->ret, record->flags,
			    bpf_get_attach_cookie(record));
}

static __always_inline int zt_on_length_arguments(zt_u64 *arguments, zt_u8 direction)
{
	struct sock *sk = (struct sock *)arguments[0];
	if (zt_family(sk) != AF_UNIX && ZT_READ(struct sock, sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	return zt_on_length((zt_u64)sk, (int)arguments[1], (int)arguments[2], direction);
}

SEC("raw_tp/sock_send_length")
int tier_a_send(zt_u64 *arguments)
{
	return zt_on_length_arguments(arguments, ZT_DIRECTION_EGRESS);
}

SEC("raw_tp/sock_recv_length")
int tier_a_receive(zt_u64 *arguments)
{
	return zt_on_length_arguments(arguments, ZT_DIRECTION_INGRESS);
}

/* The messages of one sendmmsg or recvmmsg. The position in the stream is known for the end of the
 * last. */
__noinline int zt_on_messages(zt_u64 sk, zt_u64 what, zt_u64 array, zt_u64 count)
{
	struct user_mmsghdr64 *messages = (struct user_mmsghdr64 *)array;
	struct {
		zt_u64 count;
		zt_u64 behind;
	} left = {.count = count};
	for (zt_u32 index = 0; index < ZT_MAX_COUNTED_MESSAGES && index < left.count; index++) {
		zt_u32 length = 0;
		bpf_probe_read_user(&length, sizeof(length), &messages[index].length);
		left.behind += length;
	}
	bpf_probe_read_kernel(&left, sizeof(left), &left); /* see zt_forget_values */
	for (zt_u32 index = 0; index < ZT_MAX_MESSAGES && index < left.count; index++) {
		zt_u32 length = 0;
		bpf_probe_read_user(&length, sizeof(length), &messages[index].length);
		left.behind -= length;
		if (length || (what >> 8 & 1) == ZT_DIRECTION_INGRESS)
			zt_hand_over(sk, what, length | left.behind << 32,
				     (zt_u64)&messages[index], 0);
	}
	if (left.count > ZT_MAX_MESSAGES) {
		zt_count(ZT_COUNTER_IOVEC_TRUNCATED);
		/* The others together. */
		zt_transfer(sk, (what & ~0xfull) | ZT_CALL_OTHER, left.behind, 0, 0);
	}
	return 0;
}

#define ZT_UNTIL(object, field)                                                                    \
	(__builtin_offsetof(typeof(object), field) + sizeof((object).field))

/* What one TCP_ZEROCOPY_RECEIVE gave: whole pages, mapped, and behind them a rest that was copied.
 * `value` and `size` are where the kernel has put its answer. */
__noinline int zt_on_zerocopy(zt_u64 sk, zt_u64 what, zt_u64 value, zt_u64 size)
{
	struct user_zerocopy_receive got = {};
	zt_u32 answered = 0;
	bool fault = bpf_probe_read_user(&answered, sizeof(answered), (void *)size) ||
		     bpf_probe_read_user(&got, ZT_UNTIL(got, mapped), (void *)value);
	/* What is behind the answer is none of the kernel's. */
	if (!fault && answered >= ZT_UNTIL(got, copied))
		fault = bpf_probe_read_user(&got, ZT_UNTIL(got, copied), (void *)value);
	if (fault) {
		zt_count(ZT_COUNTER_PAYLOAD_FAULT);
		return 0;
	}
	if (got.copied < 0)
		got.copied = 0;
	if (got.mapped)
		zt_hand_over(sk, what, got.mapped | (zt_u64)got.copied << 32, got.mapped_at,
			     got.mapped);
	if (got.copied)
		zt_hand_over(sk, what, got.copied, got.copied_to, got.copied);
	return 0;
}

/* The kind of a getsockopt; of the one that moves bytes the structure and its size become the
 * arguments 1 and 2. */
static __always_inline zt_u32 zt_use_option(struct zt_syscall *syscall, zt_u32 level, zt_u32 option,
					    zt_u64 value, zt_u64 size)
{
	if (level != IPPROTO_TCP || option != TCP_ZEROCOPY_RECEIVE)
		return ZT_CALL_OTHER;
	syscall->argument[1] = value;
	syscall->argument[2] = size;
	return ZT_CALL_OPTION | ZT_CALL_INGRESS;
}

/*
 * A 32-bit caller: other numbers, other registers, other structures. The descriptor is the first
 * argument, or the first of those that socketcall points to. Of such a call the length is told; the
 * structure of TCP_ZEROCOPY_RECEIVE is the same, so of that one everything.
 */
static __always_inline zt_u32 zt_use_compat_call(zt_u32 entry, struct pt_regs *registers,
						 struct zt_syscall *syscall, zt_u32 *message_flags)
{
#if defined(__TARGET_ARCH_x86)
	zt_u32 arguments[4] = {};
	zt_u64 first = registers->bx;
	if (!(entry & ~ZT_CALL_NATIVE))
		return 0; /* what has this number for 64-bit callers */
	if ((entry & ~ZT_CALL_NATIVE) == (ZT_CALL_COMPAT_SEND | ZT_CALL_COMPAT_RECEIVE)) {
		zt_u32 call = first;
		zt_u64 array = registers->cx & 0xffffffff;
		/* send, sendto, sendmsg; recv, recvfrom, recvmsg; getsockopt */
		bool sends = call == 9 || call == 11 || call == 16;
		if (!sends && call != 10 && call != 12 && call != 17 && call != 15)
			return 0;
		entry = sends ? ZT_CALL_COMPAT_SEND : ZT_CALL_COMPAT_RECEIVE;
		bpf_probe_read_user(arguments, sizeof(arguments), (void *)array);
		first = arguments[0];
		if (call == 15) {
			syscall->argument[0] = first;
			bpf_probe_read_user(arguments, sizeof(arguments[0]),
					    (void *)(array + sizeof(arguments)));
			return zt_use_option(syscall, arguments[1], arguments[2], arguments[3],
					     arguments[0]);
		}
		*message_flags = call >= 16 ? arguments[2] : arguments[3];
	} else if (syscall->number == NR_COMPAT_GETSOCKOPT) {
		syscall->argument[0] = first;
		/* Of the registers the kernel takes the lower halves, whatever a 64-bit caller has
		 * in the others. */
		return zt_use_option(syscall, registers->cx, registers->dx, (zt_u32)registers->si,
				     (zt_u32)registers->di);
	} else if (syscall->number == NR_COMPAT_RECVFROM) {
		*message_flags = syscall->argument[1]; /* esi */
	} else if (syscall->number == NR_COMPAT_RECVMSG) {
		*message_flags = syscall->argument[2]; /* edx */
	}
	syscall->argument[0] = first;
	zt_count(ZT_COUNTER_COMPAT_CALL);
	return entry & ZT_CALL_COMPAT_RECEIVE ? ZT_CALL_COMPAT | ZT_CALL_INGRESS : ZT_CALL_COMPAT;
#else
	return 0;
#endif
}

static __always_inline int zt_on_exit(struct pt_regs *registers, long result)
{
	if (result < 0 || result > 0x7fffffff)
		return 0;
	struct zt_syscall syscall;
	zt_read_syscall(&syscall, registers);
	zt_u32 entry = zt_call_entry(syscall.number);
	if (!entry && syscall.number != NR_IO_URING_ENTER)
		return 0;
	zt_u64 what;
	if (!zt_is_wanted(bpf_get_current_pid_tgid() >> 32, &what))
		return 0;
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	zt_u32 kind = entry & ZT_CALL_NATIVE;
	zt_u32 message_flags = 0;
	if (BPF_CORE_READ(task, thread_info.ZT_COMPAT_FIELD) & ZT_COMPAT_BITS)
		kind = zt_use_compat_call(entry, registers, &syscall, &message_flags);
	else if (kind == (ZT_CALL_OPTION | ZT_CALL_INGRESS))
		kind = zt_use_option(&syscall, syscall.argument[1], syscall.argument[2],
				     syscall.argument[3], zt_fifth_argument(registers));
	else
		message_flags = zt_call_flags(kind, &syscall);
	if (!entry && result)
		zt_count(ZT_COUNTER_UNSEEN_CALL);
	if (!kind || (!result && !(kind & ZT_CALL_INGRESS)))
		return 0;
	if ((kind & ZT_CALL_INGRESS) && (message_flags & ZT_IGNORED_MESSAGE_FLAGS))
		return 0;
	zt_u8 direction = kind & ZT_CALL_INGRESS ? ZT_DIRECTION_INGRESS : ZT_DIRECTION_EGRESS;
	struct file *file = 0;
	struct socket *socket = zt_socket_of(task, syscall.argument[0], &file);
	if ((kind & 0xf) == ZT_CALL_SPLICE) {
		direction = ZT_DIRECTION_INGRESS;
		if (!socket) {
			direction = ZT_DIRECTION_EGRESS;
			socket = zt_socket_of(task, syscall.argument[2], &file);
		}
	}
	if (!socket)
		return 0;
	struct sock *sk = BPF_CORE_READ(socket, sk);
	zt_u16 family = zt_family(sk);
	if (family != AF_UNIX && family != AF_INET && family != AF_INET6)
		return 0;
	zt_u8 flags = 0;
	if ((message_flags & MSG_PEEK) && direction == ZT_DIRECTION_INGRESS)
		flags |= ZT_DATA_PEEK;
	if (BPF_CORE_READ(file, f_flags) & O_NONBLOCK)
		message_flags |= MSG_DONTWAIT;
	if ((kind & 0xf) == ZT_CALL_OPTION)
		return zt_on_zerocopy((zt_u64)sk,
				      what | zt_what(ZT_CALL_BYTES, direction, flags, MSG_DONTWAIT),
				      syscall.argument[1], syscall.argument[2]);
	if ((kind & 0xf) != ZT_CALL_MESSAGES) {
		zt_hand_over((zt_u64)sk, what | zt_what(kind, direction, flags, message_flags),
			     result, syscall.argument[1], syscall.argument[2]);
		return 0;
	}
	return zt_on_messages((zt_u64)sk,
			      what | zt_what(ZT_CALL_MESSAGE, direction, flags, message_flags),
			      syscall.argument[1], result);
}

SEC("tp_btf/sys_exit")
int tier_b_exit_btf(zt_u64 *arguments)
{
	return zt_on_exit((struct pt_regs *)arguments[0], (long)arguments[1]);
}

/* From kernel 7.2 on the BTF form loses events; the helper that finds the registers is older than
 * that. */
SEC("tracepoint")
int tier_b_exit(struct trace_event_raw_sys_exit *record)
{
	struct task_struct *task = bpf_get_current_task_btf();
	return zt_on_exit((struct pt_regs *)bpf_task_pt_regs(task), record->ret);
}

char zt_license[] SEC("license") = "Dual MIT/GPL";
