/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* The life of a connection's state: made at ESTABLISHED or at the first byte seen, told of at the
 * first byte, ended. */
#ifndef ZEROTAP_BPF_CONNECTION_H
#define ZEROTAP_BPF_CONNECTION_H

#include "bpf/lib/maps.h"
#include "bpf/lib/socket.h"

static __always_inline zt_u64 zt_new_connection_id(zt_u64 now)
{
	return now << 8 | (bpf_get_smp_processor_id() & 0xff);
}

static __always_inline zt_u64 zt_pair(zt_u32 first, zt_u32 second)
{
	return (zt_u64)first << 32 | second;
}

static __always_inline void zt_initialize(struct zt_connection *connection, zt_u64 now,
					  zt_u64 inode)
{
	__builtin_memset(connection, 0, sizeof(*connection));
	connection->inode = inode;
	connection->id = zt_new_connection_id(now);
	connection->opened_ns = now;
	connection->run_direction = 2;
	connection->mode = ZT_VERDICT_DETECT;
	connection->edge_bytes = zt_detect_edge;
}

static __always_inline struct zt_connection *zt_lookup(zt_u64 key)
{
	return bpf_map_lookup_elem(&connections, &key);
}

/* Asks for all of the state's memory at once, rather than line by line as it is used. */
static __always_inline void zt_touch_state(struct zt_connection *connection)
{
	(void)*(volatile zt_u32 *)&connection->run_used;
	(void)*(volatile zt_u64 *)&connection->inode;
}

/* Two threads may see a socket for the first time at once: the first to insert wins, both use the
 * same state. */
static __always_inline void zt_insert(zt_u64 key, struct zt_connection *connection)
{
	bpf_map_update_elem(&connections, &key, connection, BPF_NOEXIST);
	if (!zt_lookup(key))
		zt_count(ZT_COUNTER_CONNECTION_MAP_FULL);
}

static __always_inline void zt_read_unix_path(char *to, struct unix_address *address)
{
	zt_u32 size = BPF_CORE_READ(address, len) - 2; /* without sun_family */
	zt_barrier_var(size);
	if (size > ZT_UNIX_PATH_SIZE)
		size = ZT_UNIX_PATH_SIZE;
	zt_barrier_var(size); /* clang 19 compares one copy and passes another */
	if (bpf_probe_read_kernel(to, size, &address->name[0].sun_path))
		return;
	if (size > 1 && !to[0])
		to[0] = '@';
}

static __always_inline void zt_read_addresses(struct zt_connection_opened_event *event,
					      struct sock *sk)
{
	zt_u16 remote_port = BPF_CORE_READ(sk, __sk_common.skc_dport);
	event->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	event->remote_port = __builtin_bswap16(remote_port);
	if (event->family == AF_INET6 && bpf_core_field_exists(struct sock_common, skc_v6_daddr)) {
		BPF_CORE_READ_INTO(&event->local_address, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&event->remote_address, sk, __sk_common.skc_v6_daddr);
		const zt_u32 *words = (const zt_u32 *)event->remote_address;
		if (words[0] || words[1] || words[2] != __builtin_bswap32(0xffff))
			return;
		/* An IPv4 client of a socket that takes both: on the wire it is IPv4. */
		__builtin_memset(event->local_address, 0, ZT_ADDRESS_SIZE);
		__builtin_memset(event->remote_address, 0, ZT_ADDRESS_SIZE);
		event->family = AF_INET;
	}
	BPF_CORE_READ_INTO((zt_u32 *)event->local_address, sk, __sk_common.skc_rcv_saddr);
	BPF_CORE_READ_INTO((zt_u32 *)event->remote_address, sk, __sk_common.skc_daddr);
}

/*
 * The functions that are needed rarely are global and take numbers only (5.10 accepts nothing
 * else): the verifier looks at each once, not once for every way that leads to it.
 *
 * `task_address` is 0 in softirq, where any task may be the running one.
 *
 * The room is reserved before the state says OPENED: whoever sees the flag gets a later place in
 * the ring, so no data overtakes this record. Two threads that send a connection's first bytes at
 * the same instant may both write one; they are equal.
 */
__weak __noinline int zt_emit_opened(zt_u64 key, zt_u64 task_address, zt_u64 cgroup_id)
{
	struct sock *sk = (struct sock *)key;
	struct task_struct *task = (struct task_struct *)task_address;
	struct zt_connection *connection = zt_lookup(key);
	if (!connection)
		return 0;
	struct zt_connection_opened_event *event = zt_reserve(sizeof(*event));
	if (!event) {
		zt_count(ZT_COUNTER_RING_FULL);
		return 0;
	}
	connection->flags |= ZT_CONNECTION_OPENED;
	__builtin_memset(event, 0, sizeof(*event));
	event->header.time_ns = connection->opened_ns;
	event->header.size = sizeof(*event);
	event->header.kind = ZT_EVENT_CONNECTION_OPENED;
	event->connection_id = connection->id;
	event->socket_inode = connection->inode;
	event->cgroup_id = cgroup_id;
	event->netns = zt_netns(sk);
	if (task) {
		event->tgid = BPF_CORE_READ(task, tgid);
		event->tid = BPF_CORE_READ(task, pid);
		BPF_CORE_READ_INTO(&event->comm, task, comm);
	} else {
		event->tgid = connection->tgid;
	}
	event->family = connection->family;
	event->role = connection->role;
	if (connection->flags & ZT_CONNECTION_MIDSTREAM)
		event->flags |= ZT_OPENED_MIDSTREAM;
	if (connection->flags & ZT_CONNECTION_EXACT)
		event->flags |= ZT_OPENED_POSITIONS_EXACT;
	if (connection->family == AF_UNIX) {
		struct unix_address *address = 0;
		struct sock *peer = zt_unix_peer(sk);
		zt_unix_role(sk, &address);
		if (peer)
			event->peer_inode = zt_socket_inode(BPF_CORE_READ(peer, sk_socket));
		if (address)
			zt_read_unix_path(event->unix_path, address);
	} else {
		event->first_out = connection->first_out;
		event->first_in = connection->first_in;
		zt_read_addresses(event, sk);
	}
	bpf_ringbuf_submit(event, zt_wakeup());
	return 1;
}

static __always_inline zt_u8 zt_skipped(const struct zt_connection *connection)
{
	return connection->flags & ZT_CONNECTION_SKIPPED ? ZT_DATA_SKIPPED : 0;
}

static __always_inline bool zt_is_told(struct zt_connection *connection)
{
	return (connection->flags & (ZT_CONNECTION_OPENED | ZT_CONNECTION_CLOSED)) ==
	       ZT_CONNECTION_OPENED;
}

__weak __noinline int zt_emit_closed(zt_u64 key, zt_u64 now, zt_u64 error)
{
	struct zt_connection *connection = zt_lookup(key);
	if (!connection || !zt_is_told(connection))
		return 0;
	if (!error)
		error = connection->error;
	connection->flags |= ZT_CONNECTION_CLOSED;
	struct zt_connection_closed_event *event = zt_reserve(sizeof(*event));
	if (!event) {
		zt_count(ZT_COUNTER_RING_FULL);
		return 0;
	}
	event->header.time_ns = now;
	event->header.size = sizeof(*event);
	event->header.kind = ZT_EVENT_CONNECTION_CLOSED;
	event->header.reserved = 0;
	event->connection_id = connection->id;
	event->bytes_sent = connection->bytes[ZT_DIRECTION_EGRESS];
	event->bytes_received = connection->bytes[ZT_DIRECTION_INGRESS];
	event->lost_events = connection->lost_total;
	event->error = error;
	event->flags = zt_skipped(connection);
	event->turns_before = connection->turns;
	connection->turns = 0;
	bpf_ringbuf_submit(event, zt_wakeup());
	return 1;
}

/* The state's end: told of, if its beginning was. */
__weak __noinline int zt_forget(zt_u64 key, zt_u64 now, zt_u64 error)
{
	zt_emit_closed(key, now, error);
	bpf_map_delete_elem(&connections, &key);
	return 0;
}

/* The same of a socket whose address another socket has now. Who was stopped after he found the old
 * state must not take away the new one that somebody else has made since. */
__weak __noinline int zt_forget_former(zt_u64 key, zt_u64 now, zt_u64 id)
{
	struct zt_connection *connection = zt_lookup(key);
	if (!connection || connection->id != id)
		return 0;
	zt_emit_closed(key, now, 0);
	bpf_map_delete_elem(&connections, &key);
	return 0;
}

static __always_inline void zt_emit_shutdown(struct zt_connection *connection, zt_u64 now,
					     zt_u8 direction)
{
	if (!zt_is_told(connection))
		return;
	struct zt_connection_shutdown_event *event =
	    zt_reserve(sizeof(*event));
	if (!event) {
		zt_count(ZT_COUNTER_RING_FULL);
		__sync_fetch_and_add(&connection->lost, 1);
		__sync_fetch_and_add(&connection->lost_total, 1);
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->header.time_ns = now;
	event->header.size = sizeof(*event);
	event->header.kind = ZT_EVENT_CONNECTION_SHUTDOWN;
	event->connection_id = connection->id;
	event->direction = direction;
	event->flags = zt_skipped(connection);
	bpf_ringbuf_submit(event, zt_wakeup());
}

/* Under this key the other end finds the connection in own_connections. */
static __always_inline zt_u64 zt_pair_seen_here(struct sock *sk, struct zt_connection *connection)
{
	if (connection->family != AF_UNIX)
		return zt_pair(connection->first_out, connection->first_in);
	struct sock *peer = zt_unix_peer(sk);
	zt_u64 inode = peer ? zt_socket_inode(BPF_CORE_READ(peer, sk_socket)) : 0;
	return zt_pair(connection->inode, inode);
}

static __always_inline void zt_mark_own(struct sock *sk, struct zt_connection *connection)
{
	zt_u64 here = zt_pair_seen_here(sk, connection);
	zt_u64 there = here << 32 | here >> 32;
	zt_u32 one = 1;
	bpf_map_update_elem(&own_connections, &there, &one, BPF_ANY);
	connection->flags |= ZT_CONNECTION_OWN;
	connection->mode = ZT_VERDICT_IGNORE;
}

/* Is zerotap at the other end? A unix socket knows the process of its peer; TCP is known by the
 * pair of first sequence numbers, which zerotap's end has left behind (translation of addresses on
 * the way does not change them). */
static __always_inline bool zt_peer_is_own(struct sock *sk, struct zt_connection *connection)
{
	if (connection->family == AF_UNIX) {
		struct pid *peer = BPF_CORE_READ(sk, sk_peer_pid);
		if (peer && zt_policy(BPF_CORE_READ(peer, numbers[0].nr)) == ZT_PROCESS_SELF)
			return true;
	}
	zt_u64 pair = zt_pair_seen_here(sk, connection);
	return bpf_map_lookup_elem(&own_connections, &pair);
}

/*
 * State for a socket that no hook has seen before. `direction` and `length` are all of the call in
 * hand (2 and 0 if none): if nothing but it has passed, the connection is seen from its start.
 */
__weak __noinline int zt_create(zt_u64 key, zt_u64 inode, zt_u64 now, zt_u64 direction,
				zt_u64 length)
{
	struct sock *sk = (struct sock *)key;
	struct zt_connection connection;
	zt_initialize(&connection, now, inode);
	connection.family = zt_family(sk);
	if (connection.family == AF_UNIX) {
		struct unix_address *address;
		connection.role = zt_unix_role(sk, &address);
		connection.flags =
		    zt_seeded && direction != 2 ? ZT_CONNECTION_EXACT : ZT_CONNECTION_MIDSTREAM;
	} else {
		struct tcp_sock *tcp = (struct tcp_sock *)sk;
		struct zt_sequence sequence;
		bool passive = zt_is_passive(sk);
		if (!zt_read_sequence_unlocked(sk, passive, &sequence))
			return 0;
		connection.role = passive ? ZT_ROLE_SERVER : ZT_ROLE_CLIENT;
		connection.first_out = sequence.first_out;
		connection.first_in = sequence.first_in;
		zt_u64 sent = zt_extend(BPF_CORE_READ(tcp, bytes_acked),
					BPF_CORE_READ(tcp, write_seq), sequence.first_out);
		zt_u64 read = zt_extend(BPF_CORE_READ(tcp, bytes_received),
					BPF_CORE_READ(tcp, copied_seq), sequence.first_in);
		if (direction == ZT_DIRECTION_EGRESS)
			sent -= length;
		else
			read -= length;
		connection.next[ZT_DIRECTION_EGRESS] = sent;
		connection.next[ZT_DIRECTION_INGRESS] = read;
		connection.flags = ZT_CONNECTION_EXACT;
		if (sent || read)
			connection.flags |= ZT_CONNECTION_MIDSTREAM;
	}
	zt_insert(key, &connection);
	return 0;
}

#endif
