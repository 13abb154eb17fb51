/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What both tiers do with a transfer once they know its socket: whose it is, where in the stream it
 * stands, whether it is wanted, and where in the program's memory the bytes are. */
#ifndef ZEROTAP_BPF_TRANSFER_H
#define ZEROTAP_BPF_TRANSFER_H

#include "bpf/lib/connection.h"
#include "bpf/lib/emit.h"
#include "bpf/lib/syscalls.h"

#define ZT_OWN_CHECKS 4

/* The state of the call's socket; null for what is not followed, and for what has none yet. */
static __always_inline struct zt_connection *zt_find(struct zt_call *call, struct socket *socket)
{
	struct sock *sk = call->sk;
	zt_u64 key = (zt_u64)sk;
	zt_u64 inode = zt_socket_inode(socket);
	struct zt_connection *connection = zt_lookup(key);
	if (connection) {
		zt_touch_state(connection);
		if (connection->flags & ZT_CONNECTION_PENDING) {
			/* Data in the SYN (TCP fast open) has no place in the stream yet. Else the
			 * hook at ESTABLISHED was missed. */
			if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_SYN_SENT)
				return 0;
		} else if (connection->inode == inode) {
			return connection;
		} else if (!connection->inode && BPF_CORE_READ(socket, file)) {
			connection->inode = inode;
			return connection;
		}
		zt_forget_former(key, bpf_ktime_get_ns(), connection->id);
	}
	/* Sockets without a file are the kernel's own (network file systems): the call that is
	 * running is not theirs. */
	if (!inode || !BPF_CORE_READ(socket, file))
		return 0;
	if (!zt_is_tcp(sk) && !zt_is_unix_stream(sk))
		return 0;
	call->unknown = 1;
	return 0;
}

/* Stream position of the transfer's first byte. TCP: from the sequence numbers, so both ends agree
 * and nothing that was missed can shift it. AF_UNIX: counted. */
static __always_inline void zt_place(struct zt_call *call, struct zt_connection *connection)
{
	zt_u64 expected = connection->next[call->direction & 1];
	bool peek = call->flags & ZT_DATA_PEEK;
	call->offset = expected;
	if (connection->family != AF_UNIX) {
		struct sock *sk = call->sk;
		zt_u64 end = call->direction == ZT_DIRECTION_EGRESS
				 ? zt_extend(expected, ZT_READ(struct tcp_sock, sk, write_seq),
					     connection->first_out)
				 : zt_extend(expected, ZT_READ(struct tcp_sock, sk, copied_seq),
					     connection->first_in);
		call->offset = peek ? end : end - call->length - call->behind;
		if (call->offset != expected) {
			/* The peer's FIN takes a sequence number of its own, consumed with the last
			 * bytes. */
			zt_u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
			bool finished = state != TCP_ESTABLISHED && state != TCP_FIN_WAIT1 &&
					state != TCP_FIN_WAIT2;
			if (call->direction == ZT_DIRECTION_INGRESS && finished &&
			    call->offset == expected + 1)
				call->offset = expected;
			else
				call->flags |= ZT_DATA_POSITION_ESTIMATED;
		}
	}
	if (peek)
		return;
	zt_u64 after = call->offset + call->length;
	/* When threads write one socket at once, the one that comes last claims less than one
	 * before it. */
	if (connection->family == AF_UNIX)
		__sync_fetch_and_add(&connection->next[call->direction & 1], call->length);
	else if ((__s64)(after - expected) > 0)
		connection->next[call->direction & 1] = after;
	__sync_fetch_and_add(&connection->bytes[call->direction & 1], call->length);
}

/*
 * A send's own end comes after its bytes have left: on one machine the peer may have read and
 * answered them by then. TCP remembers when the current flight began (rounded down to microseconds)
 * and when it last looked at the clock.
 */
static __always_inline void zt_time(struct zt_call *call, struct zt_connection *connection)
{
	call->start = call->now;
	call->end = call->now;
	if (call->direction == ZT_DIRECTION_EGRESS && connection->family != AF_UNIX) {
		zt_u64 start = ZT_READ(struct tcp_sock, call->sk, first_tx_mstamp) * 1000;
		zt_u64 end = ZT_READ(struct tcp_sock, call->sk, tcp_clock_cache);
		if (start < connection->last_event_ns)
			start = connection->last_event_ns;
		if (start && start < call->now)
			call->start = start;
		if (end >= call->start && end <= call->now)
			call->end = end;
	}
	connection->last_event_ns = call->now;
}

/* Its time up to zt_begin is that of an ignored event. */
static __always_inline void zt_charge_sampled(struct zt_call *call)
{
	if (__builtin_expect(!zt_is_sampled(call->now), 1))
		return;
	zt_u64 took = bpf_ktime_get_ns() - call->now;
	if (took > ZT_COST_MOST_NS)
		took = ZT_COST_MOST_NS;
	zt_charge(call->tgid, took | 1);
}

static __always_inline void zt_take_verdict(struct zt_connection *connection)
{
	zt_u32 slot = zt_verdict_slot(connection->id);
	zt_u64 *stored = bpf_map_lookup_elem(&verdicts, &slot);
	union {
		zt_u64 word;
		struct zt_verdict verdict;
	} said;
	if (!stored)
		return;
	said.word = *(volatile zt_u64 *)stored;
	if (said.verdict.tag != zt_verdict_tag(connection->id))
		return;
	connection->mode = said.verdict.mode;
	connection->egress_budget_kib = said.verdict.egress_budget_kib;
	connection->ingress_budget_kib = said.verdict.ingress_budget_kib;
	connection->edge_bytes = said.verdict.edge_bytes;
}

/* Bits of zt_transfer's `what` beside the ZT_DATA_* flags. */
#define ZT_WHAT_OWN_PROCESS (1ull << 24)
#define ZT_WHAT_LIMIT_SHIFT 25 /* two bits: enum zt_limit */

/* Is this task's traffic looked at? Gives the bits to hand on. The first thing that any hook asks.
 */
static __always_inline bool zt_is_wanted(zt_u32 tgid, zt_u64 *what)
{
	zt_u32 policy = zt_policy(tgid);
	*what = policy == ZT_PROCESS_SELF ? ZT_WHAT_OWN_PROCESS : 0;
	if (policy > ZT_PROCESS_SELF)
		*what = (zt_u64)((policy - ZT_PROCESS_SELF) & 3) << ZT_WHAT_LIMIT_SHIFT;
	if (policy != ZT_PROCESS_IGNORE)
		return true;
	zt_count_ignored();
	return false;
}

static __always_inline zt_u32 zt_file_flags(struct socket *socket)
{
	struct file *file = ZT_READ(struct socket, socket, file);
	return ZT_READ(struct file, file, f_flags);
}

static __always_inline void zt_disown(struct zt_call *call, struct zt_connection *connection)
{
	connection->flags |= ZT_CONNECTION_OWN;
	connection->mode = ZT_VERDICT_IGNORE;
	zt_emit_closed((zt_u64)call->sk, bpf_ktime_get_ns(), 0);
}

/* The state of the transfer's connection; null if nobody wants a record of it, which is counted. */
static __always_inline struct zt_connection *zt_find_wanted(struct zt_call *call, bool own_process)
{
	struct sock *sk = call->sk;
	struct zt_connection *connection = zt_find(call, ZT_READ(struct sock, sk, sk_socket));
	if (!connection)
		return 0;
	if (own_process) {
		if (!(connection->flags & ZT_CONNECTION_OWN)) {
			zt_mark_own(sk, connection);
			zt_disown(call, connection);
		}
		return 0;
	}
	/* Rules may have changed since: what was left out by them comes back with a new verdict. */
	if (connection->mode == ZT_VERDICT_IGNORE && !(connection->flags & ZT_CONNECTION_OWN))
		zt_take_verdict(connection);
	if (connection->mode == ZT_VERDICT_IGNORE || (connection->flags & ZT_CONNECTION_CLOSED)) {
		if (!(call->flags & ZT_DATA_PEEK)) {
			__sync_fetch_and_add(&connection->bytes[call->direction & 1], call->length);
			if (connection->family == AF_UNIX)
				__sync_fetch_and_add(&connection->next[call->direction & 1],
						     call->length);
		}
		zt_count_ignored();
		return 0;
	}
	return connection;
}

#define ZT_TURNS_PER_RECORD 64

/* Of a process of whose requests nothing but the number is wanted: takes note of the transfer. The
 * number is told now and then, and with the next record. */
static __always_inline bool zt_is_counted_only(struct zt_call *call,
					       struct zt_connection *connection)
{
	if (__builtin_expect(call->limit != ZT_LIMIT_COUNT, 1))
		return false;
	zt_u8 asks = connection->role == ZT_ROLE_SERVER ? ZT_DIRECTION_INGRESS : ZT_DIRECTION_EGRESS;
	if (connection->mode == ZT_VERDICT_DETECT || !call->length)
		return false;
	connection->last_event_ns = call->now;
	connection->flags |= ZT_CONNECTION_SKIPPED;
	if (!(call->flags & ZT_DATA_PEEK) && connection->run_direction != call->direction) {
		connection->run_direction = call->direction;
		connection->run_used = 0;
		if (call->direction == asks && connection->turns < 255) /* a full ring takes no record */
			connection->turns++;
	}
	return connection->turns < ZT_TURNS_PER_RECORD;
}

/* Fills in the transfer's position and times. False: after all nobody wants a record. */
static __always_inline bool zt_begin(struct zt_call *call, struct zt_connection *connection)
{
	struct sock *sk = call->sk;
	/* Asked before the clock: whoever finds it told of gets a later time than the record that told
	 * of it, by which several rings are put in order. */
	bool told = *(volatile zt_u8 *)&connection->flags & ZT_CONNECTION_OPENED;
	call->now = bpf_ktime_get_ns();
	zt_place(call, connection);
	if (!zt_seeded) {
		connection->flags |= ZT_CONNECTION_MIDSTREAM;
		return false;
	}
	zt_take_verdict(connection);
	if (connection->own_checks < ZT_OWN_CHECKS) {
		connection->own_checks++;
		if (zt_peer_is_own(sk, connection)) {
			zt_disown(call, connection);
			return false;
		}
	}
	if (connection->mode == ZT_VERDICT_IGNORE) {
		zt_count_ignored();
		return false;
	}
	if (zt_is_counted_only(call, connection)) {
		zt_charge_sampled(call);
		return false;
	}
	if (!told &&
	    !zt_emit_opened((zt_u64)sk, bpf_get_current_task(), bpf_get_current_cgroup_id())) {
		__sync_fetch_and_add(&connection->lost, 1);
		__sync_fetch_and_add(&connection->lost_total, 1);
		return false;
	}
	zt_time(call, connection);
	/* A receive comes with its file's O_NONBLOCK among its flags, a send does not. */
	if ((call->message_flags & MSG_DONTWAIT) ||
	    (call->direction == ZT_DIRECTION_EGRESS &&
	     (zt_file_flags(ZT_READ(struct sock, sk, sk_socket)) & O_NONBLOCK)))
		call->flags |= ZT_DATA_NONBLOCKING;
	return true;
}

static __always_inline void zt_use_segments(struct zt_call *call, zt_u64 array, zt_u64 count)
{
	struct user_iovec first;
	call->buffer = array;
	call->segments = count > 1024 ? 1024 : count;
	if (count == 1 && !bpf_probe_read_user(&first, sizeof(first), (void *)array)) {
		call->buffer = first.base;
		call->segments = 0;
		call->empty_request = !first.size;
	} else if (!count) {
		call->empty_request = 1;
	}
}

static __always_inline void zt_use_message(struct zt_call *call, zt_u64 message)
{
	struct user_msghdr64 header;
	if (bpf_probe_read_user(&header, sizeof(header), (void *)message)) {
		zt_count(ZT_COUNTER_PAYLOAD_FAULT);
		call->flags |= ZT_DATA_NO_PAYLOAD;
		return;
	}
	zt_use_segments(call, header.segments, header.segment_count);
}

enum zt_call_kind {
	ZT_CALL_OTHER = 0,
	ZT_CALL_BYTES,	  /* (fd, buffer, size, flags) */
	ZT_CALL_SEGMENTS, /* (fd, iovec, count) */
	ZT_CALL_MESSAGE,  /* (fd, msghdr, flags) */
	ZT_CALL_MESSAGES, /* (fd, mmsghdr, count, flags) */
	ZT_CALL_SENDFILE, /* (out, in, offset, count) */
	ZT_CALL_SPLICE,	  /* (in, offset, out, offset) */
	ZT_CALL_COMPAT,	  /* a 32-bit caller's */
	ZT_CALL_OPTION,	  /* (fd, level, option, value, size): TCP_ZEROCOPY_RECEIVE alone moves bytes */
};
#define ZT_CALL_INGRESS 0x10
#define ZT_CALL_HAS_FLAGS 0x20
#define ZT_CALL_NATIVE 0x3f
/* What the number is to a 32-bit caller; both: socketcall. */
#define ZT_CALL_COMPAT_SEND 0x40
#define ZT_CALL_COMPAT_RECEIVE 0x80

/* A table, not a switch: one load, and the verifier does not follow each kind on its own. */
#define ZT_MAX_CALL_NUMBER 512
const volatile zt_u8 zt_call_kinds[ZT_MAX_CALL_NUMBER] __weak = {
    [NR_READ] = ZT_CALL_BYTES | ZT_CALL_INGRESS,
    [NR_WRITE] = ZT_CALL_BYTES,
    [NR_RECVFROM] = ZT_CALL_BYTES | ZT_CALL_INGRESS | ZT_CALL_HAS_FLAGS,
    [NR_SENDTO] = ZT_CALL_BYTES | ZT_CALL_HAS_FLAGS,
    [NR_READV] = ZT_CALL_SEGMENTS | ZT_CALL_INGRESS,
    [NR_PREADV2] = ZT_CALL_SEGMENTS | ZT_CALL_INGRESS,
    [NR_WRITEV] = ZT_CALL_SEGMENTS,
    [NR_PWRITEV2] = ZT_CALL_SEGMENTS,
    [NR_RECVMSG] = ZT_CALL_MESSAGE | ZT_CALL_INGRESS | ZT_CALL_HAS_FLAGS,
    [NR_SENDMSG] = ZT_CALL_MESSAGE | ZT_CALL_HAS_FLAGS,
    [NR_RECVMMSG] = ZT_CALL_MESSAGES | ZT_CALL_INGRESS | ZT_CALL_HAS_FLAGS,
    [NR_SENDMMSG] = ZT_CALL_MESSAGES | ZT_CALL_HAS_FLAGS,
    [NR_SENDFILE] = ZT_CALL_SENDFILE,
    [NR_SPLICE] = ZT_CALL_SPLICE,
    [NR_GETSOCKOPT] = ZT_CALL_OPTION | ZT_CALL_INGRESS,
#if defined(__TARGET_ARCH_x86)
    [NR_COMPAT_READ] = ZT_CALL_COMPAT_RECEIVE,
    [NR_COMPAT_WRITE] = ZT_CALL_COMPAT_SEND,
    [NR_COMPAT_SOCKETCALL] = ZT_CALL_COMPAT_RECEIVE | ZT_CALL_COMPAT_SEND,
    [NR_COMPAT_READV] = ZT_CALL_COMPAT_RECEIVE,
    [NR_COMPAT_WRITEV] = ZT_CALL_COMPAT_SEND,
    [NR_COMPAT_SENDFILE] = ZT_CALL_COMPAT_SEND,
    [NR_COMPAT_SENDFILE64] = ZT_CALL_COMPAT_SEND,
    [NR_COMPAT_GETSOCKOPT] = ZT_CALL_COMPAT_RECEIVE,
    [NR_COMPAT_SENDTO] = ZT_CALL_COMPAT_SEND,
    [NR_COMPAT_SENDMSG] = ZT_CALL_COMPAT_SEND,
    [NR_COMPAT_RECVFROM] = ZT_CALL_COMPAT_RECEIVE,
    [NR_COMPAT_RECVMSG] = ZT_CALL_COMPAT_RECEIVE,
#endif
};

static __always_inline zt_u32 zt_call_entry(zt_u64 number)
{
	return number < ZT_MAX_CALL_NUMBER ? zt_call_kinds[number] : 0;
}

static __always_inline zt_u32 zt_call_kind(zt_u64 number)
{
	return zt_call_entry(number) & ZT_CALL_NATIVE;
}

static __always_inline zt_u32 zt_call_flags(zt_u32 kind, const struct zt_syscall *syscall)
{
	if (!(kind & ZT_CALL_HAS_FLAGS))
		return 0;
	return (kind & 0xf) == ZT_CALL_MESSAGE ? syscall->argument[2] : syscall->argument[3];
}

/* Tier A sees each message of sendmmsg and recvmmsg without its index: it is the next of the same
 * array while the length that the kernel wrote to the one before is the one that was seen. */
static __always_inline void zt_use_next_message(struct zt_call *call,
						struct zt_connection *connection, zt_u64 array,
						zt_u64 count)
{
	zt_u32 index = 0;
	if (connection->mmsg_array == array && connection->mmsg_tid == call->tid) {
		struct user_mmsghdr64 *before =
		    (void *)(array + connection->mmsg_index * sizeof(*before));
		zt_u32 length = 0;
		if (!bpf_probe_read_user(&length, sizeof(length), &before->length) &&
		    length == connection->mmsg_length)
			index = connection->mmsg_index + 1;
	}
	if (index >= count) /* the array of the call before, used again */
		index = 0;
	connection->mmsg_array = array;
	connection->mmsg_tid = call->tid;
	connection->mmsg_index = index;
	connection->mmsg_length = call->length;
	zt_use_message(call, array + index * sizeof(struct user_mmsghdr64));
}

/* Reading nothing means that the peer is done, if anything was asked for. */
static __always_inline bool zt_is_end(struct zt_call *call)
{
	struct sock *sk = call->sk;
	return call->direction == ZT_DIRECTION_INGRESS && !call->empty_request &&
	       !(call->flags & ZT_DATA_PEEK) && (BPF_CORE_READ(sk, sk_shutdown) & RCV_SHUTDOWN);
}

/* The socket behind a descriptor of this task. Read without its locks: see zt_socket_of_file. */
static __always_inline struct socket *zt_socket_of(struct task_struct *task, zt_u32 descriptor,
						   struct file **file)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	if (descriptor >= BPF_CORE_READ(table, max_fds))
		return 0;
	struct file **files = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(file, sizeof(*file), files + descriptor) || !*file)
		return 0;
	return zt_socket_of_file(*file);
}

/*
 * Work that io_uring left behind runs when the thread leaves some other system call, whose registers
 * are not of this transfer. Only threads that use io_uring are asked.
 */
static __always_inline bool zt_registers_are_foreign(struct task_struct *task, struct sock *sk,
						     zt_u32 descriptor)
{
	if (!bpf_core_field_exists(struct task_struct, io_uring) || !task->io_uring)
		return false;
	struct file *file = 0;
	struct socket *socket = zt_socket_of(task, descriptor, &file);
	return !socket || BPF_CORE_READ(socket, sk) != sk;
}

/* Of which call the transfer is a part, by the registers that its task came into the kernel with.
 * `task` must be a pointer that the verifier knows. */
static __always_inline zt_u32 zt_use_registers(struct zt_call *call, struct task_struct *task,
					       struct zt_syscall *syscall)
{
	zt_read_syscall(syscall, (struct pt_regs *)bpf_task_pt_regs(task));
	zt_u32 kind = zt_call_kind(syscall->number);
	if (kind != ZT_CALL_OTHER) {
		if ((task->flags & PF_IO_WORKER) ||
		    zt_registers_are_foreign(task, call->sk, syscall->argument[0])) {
			kind = ZT_CALL_OTHER; /* the registers are of no call, or of another */
		} else if (task->thread_info.ZT_COMPAT_FIELD & ZT_COMPAT_BITS) {
			kind = ZT_CALL_OTHER;
			zt_count(ZT_COUNTER_COMPAT_CALL);
		} else if (!(kind & ZT_CALL_INGRESS) != (call->direction == ZT_DIRECTION_EGRESS)) {
			kind = ZT_CALL_OTHER;
			zt_count(ZT_COUNTER_UNKNOWN_CALL);
		}
	} else if (!(task->flags & PF_IO_WORKER) &&
		   (task->thread_info.ZT_COMPAT_FIELD & ZT_COMPAT_BITS)) {
		zt_count(ZT_COUNTER_COMPAT_CALL);
	}
	if (call->direction == ZT_DIRECTION_EGRESS)
		call->message_flags = zt_call_flags(kind, syscall);
	return kind & 0xf;
}

static __always_inline void zt_take_call(struct zt_call *call, zt_u64 socket_address, zt_u64 what,
					 zt_u64 sizes)
{
	__builtin_memset(call, 0, sizeof(*call));
	call->sk = (struct sock *)socket_address;
	call->direction = (what >> 8) & 1;
	call->flags = what >> 16;
	call->message_flags = what >> 32;
	call->limit = what >> ZT_WHAT_LIMIT_SHIFT & 3;
	call->length = sizes;
	call->behind = sizes >> 32;
}

/* A transfer that is wanted, of a connection that is known. `address`, `count`: where its bytes are,
 * as `kind` has it. */
static __always_inline void zt_handle(struct zt_call *call, struct zt_connection *connection,
				      zt_u32 kind, zt_u64 address, zt_u64 count)
{
	if (!zt_begin(call, connection))
		return;
	switch (kind) {
	case ZT_CALL_BYTES:
		call->buffer = address;
		call->empty_request = !count;
		break;
	case ZT_CALL_SEGMENTS:
		zt_use_segments(call, address, count);
		break;
	case ZT_CALL_MESSAGE:
		zt_use_message(call, address);
		break;
	case ZT_CALL_MESSAGES:
		zt_use_next_message(call, connection, address, count);
		break;
	default:
		call->flags |= ZT_DATA_NO_PAYLOAD;
	}
	if (!call->length) {
		if (!zt_is_end(call))
			return;
		call->flags |= ZT_DATA_EOF;
		call->flags &= ~ZT_DATA_NO_PAYLOAD;
	} else if (call->direction == ZT_DIRECTION_INGRESS && (call->message_flags & MSG_TRUNC) &&
		   connection->family != AF_UNIX) {
		call->flags |= ZT_DATA_NO_PAYLOAD; /* TCP threw the bytes away */
	}
	zt_emit_data(call, connection);
	zt_charge_sampled(call);
}

/*
 * One transfer of a system call (tier B). A global function of numbers, so that it is verified once,
 * whatever its callers know of the values. `what`: kind | direction << 8 | ZT_DATA_* << 16 |
 * ZT_WHAT_* | MSG_* << 32. `sizes`: length | bytes of the same call behind them << 32. 1: the
 * socket has no state yet.
 */
__noinline int zt_transfer(zt_u64 socket_address, zt_u64 what, zt_u64 sizes, zt_u64 address,
			   zt_u64 count)
{
	struct zt_call call;
	zt_take_call(&call, socket_address, what, sizes);
	struct zt_connection *connection = zt_find_wanted(&call, what & ZT_WHAT_OWN_PROCESS);
	if (!connection)
		return call.unknown;
	zt_u64 ids = bpf_get_current_pid_tgid();
	call.tgid = ids >> 32;
	call.tid = (zt_u32)ids;
	zt_handle(&call, connection, what & 0xf, address, count);
	return 0;
}

/* Makes the state of a socket that no hook has seen before this transfer. */
static __always_inline void zt_make_state(zt_u64 socket_address, zt_u64 what, zt_u64 sizes)
{
	struct sock *sk = (struct sock *)socket_address;
	zt_u64 inode = zt_socket_inode(BPF_CORE_READ(sk, sk_socket));
	bool peek = what >> 16 & ZT_DATA_PEEK;
	zt_create(socket_address, inode, bpf_ktime_get_ns(), what >> 8 & 1,
		  peek ? 0 : (zt_u32)sizes + (sizes >> 32));
}

/* In a frame of its own, so that its callers' are not larger by it. */
__noinline int zt_meet(zt_u64 socket_address, zt_u64 what, zt_u64 sizes)
{
	zt_make_state(socket_address, what, sizes);
	return 0;
}

/* The state is made out here and not inside zt_transfer: kernels before 6.16 allow the frames of all
 * functions that call each other 512 bytes together. */
static __always_inline void zt_hand_over(zt_u64 sk, zt_u64 what, zt_u64 sizes, zt_u64 address,
					 zt_u64 count)
{
	if (!zt_transfer(sk, what, sizes, address, count))
		return;
	zt_meet(sk, what, sizes);
	zt_transfer(sk, what, sizes, address, count);
}

static __always_inline zt_u64 zt_what(zt_u32 kind, zt_u8 direction, zt_u8 flags,
				      zt_u32 message_flags)
{
	return (kind & 0xf) | (zt_u64)direction << 8 | (zt_u64)flags << 16 |
	       (zt_u64)message_flags << 32;
}

/* One transfer that a hook inside the call tells of (tier A). The registers are asked once it is
 * known that anybody wants to hear of it. All in one function: a call and its return cost more than
 * most of what is done here. */
static __always_inline void zt_transfer_of(struct task_struct *task, zt_u64 socket_address,
					   zt_u64 what, zt_u32 length)
{
	struct zt_call call;
	zt_take_call(&call, socket_address, what, length);
	struct zt_connection *connection = zt_find_wanted(&call, what & ZT_WHAT_OWN_PROCESS);
	if (!connection && call.unknown) {
		zt_make_state(socket_address, what, length);
		connection = zt_find_wanted(&call, what & ZT_WHAT_OWN_PROCESS);
	}
	if (!connection)
		return;
	struct zt_syscall syscall;
	zt_u32 kind = zt_use_registers(&call, task, &syscall);
	call.tgid = task->tgid;
	call.tid = task->pid;
	/* An empty message counts among the others of its call. */
	if (!call.length && call.direction == ZT_DIRECTION_EGRESS && kind != ZT_CALL_MESSAGES)
		return;
	zt_handle(&call, connection, kind, syscall.argument[1], syscall.argument[2]);
}

#endif
