// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * Connections as TCP's states show them, and the sockets that existed before.
 *
 * BTF-attached: these hooks also run in softirq, where a perf-attached program is skipped if it
 * interrupted another one. A state change that is missed all the same does no harm: the first
 * transfer makes the state, another inode ends it.
 */
#include "bpf/lib/connection.h"

/* In connect(): the last moment at which the running task is the socket's owner for certain. */
static __always_inline void zt_on_connect(struct sock *sk, zt_u64 key)
{
	zt_u64 now = bpf_ktime_get_ns();
	if (zt_lookup(key))
		zt_forget(key, now, 0);
	struct socket *socket = BPF_CORE_READ(sk, sk_socket);
	if (!socket || !BPF_CORE_READ(socket, file)) /* the kernel's own */
		return;
	zt_u32 tgid = bpf_get_current_pid_tgid() >> 32;
	zt_u32 policy = zt_policy(tgid);
	if (policy == ZT_PROCESS_IGNORE)
		return;
	struct zt_connection connection;
	zt_initialize(&connection, now, zt_socket_inode(socket));
	connection.family = zt_family(sk);
	connection.role = ZT_ROLE_CLIENT;
	connection.tgid = tgid;
	connection.flags = ZT_CONNECTION_PENDING | ZT_CONNECTION_EXACT;
	if (policy == ZT_PROCESS_SELF) {
		connection.flags |= ZT_CONNECTION_OWN;
		connection.mode = ZT_VERDICT_IGNORE;
	}
	zt_insert(key, &connection);
}

/* The client's end, with the socket's lock held. */
static __always_inline void zt_on_connected(struct sock *sk, zt_u64 key)
{
	struct zt_connection *connection = zt_lookup(key);
	if (!connection || !(connection->flags & ZT_CONNECTION_PENDING))
		return; /* of a process that is left out, or connecting since before */
	struct zt_sequence sequence;
	zt_read_sequence(sk, false, &sequence);
	connection->first_out = sequence.first_out;
	connection->first_in = sequence.first_in;
	connection->opened_ns = bpf_ktime_get_ns();
	connection->flags &= ~ZT_CONNECTION_PENDING;
	zt_u16 remote_port = BPF_CORE_READ(sk, __sk_common.skc_dport);
	struct zt_own_port port = {.netns = zt_netns(sk), .port = __builtin_bswap16(remote_port)};
	if (connection->flags & ZT_CONNECTION_OWN) {
		zt_mark_own(sk, connection);
	} else if (bpf_map_lookup_elem(&own_ports, &port) && zt_is_looped(sk)) {
		connection->flags |= ZT_CONNECTION_OWN;
		connection->mode = ZT_VERDICT_IGNORE;
	} else if (zt_seeded) {
		/* Before its first byte can arrive: the other end, if it is on this host, must find
		 * this one known. Any task may be the running one. */
		zt_emit_opened(key, 0, 0);
	}
}

/* The server's end: a child of the listening socket that nobody has accepted yet. Which process
 * will is unknown. */
static __always_inline void zt_on_child(struct sock *sk, zt_u64 key)
{
	struct zt_sequence sequence;
	zt_read_sequence(sk, true, &sequence);
	zt_u64 now = bpf_ktime_get_ns();
	struct zt_connection *previous = zt_lookup(key);
	if (previous) {
		/* With TCP fast open the first bytes came before this state. */
		if (previous->first_out == sequence.first_out &&
		    previous->first_in == sequence.first_in)
			return;
		zt_forget(key, now, 0);
	}
	struct zt_connection connection;
	zt_initialize(&connection, now, 0);
	connection.family = zt_family(sk);
	connection.role = ZT_ROLE_SERVER;
	connection.flags = ZT_CONNECTION_EXACT;
	connection.first_out = sequence.first_out;
	connection.first_in = sequence.first_in;
	struct zt_own_port port = {.netns = zt_netns(sk),
				   .port = BPF_CORE_READ(sk, __sk_common.skc_num)};
	zt_u64 pair = zt_pair(sequence.first_out, sequence.first_in);
	/* On loopback: another address may have the same port for somebody else. */
	if (bpf_map_lookup_elem(&own_ports, &port) && zt_is_looped(sk)) {
		zt_mark_own(sk, &connection);
	} else if (bpf_map_lookup_elem(&own_connections, &pair)) {
		connection.flags |= ZT_CONNECTION_OWN;
		connection.mode = ZT_VERDICT_IGNORE;
	}
	zt_insert(key, &connection);
	if (zt_seeded && !(connection.flags & ZT_CONNECTION_OWN))
		zt_emit_opened(key, 0, 0);
}

static __always_inline void zt_on_listen(struct sock *sk, bool listening)
{
	struct zt_own_port port = {.netns = zt_netns(sk),
				   .port = BPF_CORE_READ(sk, __sk_common.skc_num)};
	zt_u32 one = 1;
	if (listening && zt_policy(bpf_get_current_pid_tgid() >> 32) == ZT_PROCESS_SELF)
		bpf_map_update_elem(&own_ports, &port, &one, BPF_ANY);
	else if (!listening && zt_policy(bpf_get_current_pid_tgid() >> 32) == ZT_PROCESS_SELF)
		bpf_map_delete_elem(&own_ports, &port);
}

/* FIN_WAIT2 to CLOSE is what remains visible of TIME_WAIT. */
static __always_inline void zt_on_closing(struct sock *sk, zt_u64 key, int previous, int state)
{
	struct zt_connection *connection = zt_lookup(key);
	if (!connection)
		return;
	zt_u64 now = bpf_ktime_get_ns();
	zt_u32 error = BPF_CORE_READ(sk, sk_err);
	if (state == TCP_FIN_WAIT1 || state == TCP_LAST_ACK)
		zt_emit_shutdown(connection, now, ZT_DIRECTION_EGRESS);
	if (state == TCP_CLOSE_WAIT || state == TCP_CLOSING ||
	    (state == TCP_CLOSE && previous == TCP_FIN_WAIT2 && !error &&
	     (BPF_CORE_READ(sk, sk_shutdown) & RCV_SHUTDOWN)))
		zt_emit_shutdown(connection, now, ZT_DIRECTION_INGRESS);
	if (state != TCP_CLOSE)
		return;
	if (connection->flags & ZT_CONNECTION_PENDING) {
		bpf_map_delete_elem(&connections, &key);
		return;
	}
	struct zt_connection *ended = zt_lookup(key);
	if (ended && error)
		ended->error = error;
	/* What arrived before the end, a reset included, can still be read: then the end is told of when the socket
	 * goes. */
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	__s32 unread = BPF_CORE_READ(tcp, rcv_nxt) - BPF_CORE_READ(tcp, copied_seq);
	if (unread <= 0)
		zt_emit_closed(key, now, error);
}

SEC("tp_btf/inet_sock_set_state")
int tcp_state(zt_u64 *arguments)
{
	struct sock *sk = (struct sock *)zt_argument(arguments, 0);
	int previous = (int)arguments[1];
	int state = (int)arguments[2];
	zt_u64 key = (zt_u64)sk;
	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	/* A child starts as a copy of the listening socket: LISTEN to SYN_RECV is not the
	 * listener's end. */
	if (state == TCP_LISTEN || (previous == TCP_LISTEN && state == TCP_CLOSE))
		zt_on_listen(sk, state == TCP_LISTEN);
	else if (state == TCP_SYN_SENT)
		zt_on_connect(sk, key);
	else if (state == TCP_ESTABLISHED && previous == TCP_SYN_SENT)
		zt_on_connected(sk, key);
	else if (state == TCP_ESTABLISHED && previous == TCP_SYN_RECV)
		zt_on_child(sk, key);
	else if (state != TCP_ESTABLISHED && state != TCP_SYN_RECV)
		zt_on_closing(sk, key, previous, state);
	return 0;
}

/* The address may be another socket's from here on. */
SEC("tp_btf/tcp_destroy_sock")
int tcp_destroyed(zt_u64 *arguments)
{
	struct sock *sk = (struct sock *)zt_argument(arguments, 0);
	zt_u64 key = (zt_u64)sk;
	if (zt_lookup(key))
		zt_forget(key, bpf_ktime_get_ns(), BPF_CORE_READ(sk, sk_err));
	return 0;
}

/* Run once at the start: every socket of every process in every namespace. */
SEC("iter/task_file")
int seed_sockets(struct bpf_iter__task_file *context)
{
	struct task_struct *task = context->task;
	struct file *file = context->file;
	struct socket *socket = task && file ? zt_socket_of_file(file) : 0;
	if (!socket)
		return 0;
	struct sock *sk = BPF_CORE_READ(socket, sk);
	if (!sk)
		return 0;
	bool tcp = zt_is_tcp(sk);
	if (!tcp && !zt_is_unix_stream(sk))
		return 0;
	zt_u32 policy = zt_policy(BPF_CORE_READ(task, tgid));
	zt_u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (tcp && state == TCP_LISTEN && policy == ZT_PROCESS_SELF) {
		struct zt_own_port port = {.netns = zt_netns(sk),
					   .port = BPF_CORE_READ(sk, __sk_common.skc_num)};
		zt_u32 one = 1;
		bpf_map_update_elem(&own_ports, &port, &one, BPF_ANY);
	}
	/* AF_UNIX uses the same word for connected. */
	if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT && state != TCP_FIN_WAIT1 &&
	    state != TCP_FIN_WAIT2)
		return 0;
	if (policy == ZT_PROCESS_IGNORE)
		return 0;
	zt_u64 key = (zt_u64)sk;
	if (zt_lookup(key))
		return 0;
	zt_create(key, zt_socket_inode(socket), bpf_ktime_get_ns(), 2, 0);
	struct zt_connection *connection = zt_lookup(key);
	if (!connection)
		return 0;
	if (policy == ZT_PROCESS_SELF)
		zt_mark_own(sk, connection);
	else
		zt_emit_opened(key, (zt_u64)BPF_CORE_READ(task, group_leader), 0);
	return 0;
}
