// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * How the TCP connections of a process do: connects and how they end, round trips, retransmissions,
 * open connections. No hook runs for a packet: the kernel keeps these numbers in each socket, and
 * they are read when its state changes, when it goes, and by a walk over the open files now and then.
 *
 * Whose a socket is, is taken only from where it is certain: connect() and close() run in the
 * process, and the walk finds the descriptor. What a socket retransmitted before that counts too,
 * since the kernel's numbers are totals.
 */
#include "bpf/lib/map_access.h"
#include "bpf/lib/measure.h"
#include "bpf/lib/socket.h"

#define ECANCELED 125

/* Of the walk in hand, so that a socket that several descriptors lead to is met once. */
zt_u32 zt_survey = 0;

struct zt_tcp_socket {
	zt_u64 inode;	   /* tells the socket from a former one at its address */
	zt_u64 connect_ns; /* connecting since; 0: not */
	zt_u32 tgid;
	zt_u32 retransmits; /* of the socket's total, what has been counted */
	zt_u32 survey;	    /* the last walk that met it */
	zt_u32 reserved;
};

/* By address; tcp_destroy_sock comes before an address is used again, so that nothing needs to be
 * pushed out: what is forgotten of a live socket would be counted twice. Where that event was missed,
 * as it can be from kernel 7.0 on, the entry goes when the next socket is met there. Entries are allocated one
 * by one, as all hooks here run where the kernel allocates memory for sockets itself: never within
 * an allocation, under a run queue's lock or in an NMI. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, 1); /* BPF_F_NO_PREALLOC */
	__uint(max_entries, 65536);
	__type(key, zt_u64);
	__type(value, struct zt_tcp_socket);
} tcp_sockets SEC(".maps");

/* Not by CPU, unlike the measures of system calls: these come once or twice in a connection's life,
 * and hosts may have hundreds of CPUs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct zt_measure_key);
	__type(value, struct zt_measure);
} tcp_measures SEC(".maps");

static __always_inline void zt_tcp_add(zt_u32 tgid, zt_u16 what, zt_u16 error, zt_u64 value)
{
	struct zt_measure_key key = {.tgid = tgid, .what = what, .error = error};
	zt_measure_add(&tcp_measures, &key, value);
}

/* What is known of this socket; of a former one at its address nothing. A socket that its process has
 * closed, or not yet accepted, has no inode. */
static __always_inline struct zt_tcp_socket *zt_tcp_known(struct sock *sk, zt_u64 key)
{
	struct zt_tcp_socket *known = bpf_map_lookup_elem(&tcp_sockets, &key);
	if (!known)
		return 0;
	zt_u64 inode = zt_socket_inode(BPF_CORE_READ(sk, sk_socket));
	if (!inode || inode == known->inode)
		return known;
	bpf_map_delete_elem(&tcp_sockets, &key);
	return 0;
}

static __always_inline struct zt_tcp_socket *
zt_remember(zt_u64 key, const struct zt_tcp_socket *state, zt_u64 flags)
{
	bpf_map_update_elem(&tcp_sockets, &key, state, flags);
	struct zt_tcp_socket *known = bpf_map_lookup_elem(&tcp_sockets, &key);
	if (!known)
		zt_count(ZT_COUNTER_MEASURES_FULL);
	return known;
}

/* The running process, if it is one whose connections are counted; else 0. */
static __always_inline zt_u32 zt_tcp_owner(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return 0;
	zt_u32 tgid = bpf_get_current_pid_tgid() >> 32;
	zt_u32 policy = zt_policy(tgid);
	return policy == ZT_PROCESS_IGNORE || policy == ZT_PROCESS_SELF ? 0 : tgid;
}

static __always_inline bool zt_has_file(struct sock *sk)
{
	struct socket *socket = BPF_CORE_READ(sk, sk_socket);
	return socket && BPF_CORE_READ(socket, file);
}

static __always_inline void zt_count_retransmits(struct sock *sk, struct zt_tcp_socket *state)
{
	zt_u32 total = BPF_CORE_READ((struct tcp_sock *)sk, total_retrans);
	__s32 more = total - state->retransmits;
	state->retransmits = total;
	if (more > 0)
		zt_tcp_add(state->tgid, ZT_MEASURE_TCP_RETRANSMITS, 0, more);
}

static __always_inline void zt_sample_round_trip(struct sock *sk, zt_u32 tgid)
{
	zt_u64 microseconds = BPF_CORE_READ((struct tcp_sock *)sk, srtt_us) >> 3;
	if (microseconds)
		zt_tcp_add(tgid, ZT_MEASURE_TCP_ROUND_TRIP, 0, microseconds * 1000);
}

static __always_inline void zt_tcp_connecting(struct sock *sk, zt_u64 key)
{
	struct zt_tcp_socket *known = zt_tcp_known(sk, key);
	if (known) /* a socket may connect anew after it failed */
		zt_count_retransmits(sk, known);
	zt_u32 tgid = zt_has_file(sk) ? zt_tcp_owner() : 0;
	if (!tgid) {
		if (known)
			bpf_map_delete_elem(&tcp_sockets, &key);
		return;
	}
	struct zt_tcp_socket state = {
	    .inode = zt_socket_inode(BPF_CORE_READ(sk, sk_socket)),
	    .connect_ns = bpf_ktime_get_ns(),
	    .tgid = tgid,
	    .retransmits = BPF_CORE_READ((struct tcp_sock *)sk, total_retrans)};
	zt_remember(key, &state, BPF_ANY);
}

static __always_inline void zt_tcp_connected(struct sock *sk, zt_u64 key, int state)
{
	struct zt_tcp_socket *known = zt_tcp_known(sk, key);
	if (!known || !known->connect_ns)
		return;
	zt_u64 duration = bpf_ktime_get_ns() - known->connect_ns;
	zt_u32 error = 0;
	known->connect_ns = 0;
	if (state == TCP_CLOSE) {
		error = BPF_CORE_READ(sk, sk_err);
		if (!error) /* no answer and no time-out: this end gave up */
			error = ECANCELED;
	}
	zt_tcp_add(known->tgid, ZT_MEASURE_TCP_CONNECT, error, duration);
}

/* This end closes: in the process, or while it ends. */
static __always_inline void zt_tcp_closing(struct sock *sk, zt_u64 key)
{
	struct zt_tcp_socket *known = zt_tcp_known(sk, key);
	if (!known) {
		struct zt_tcp_socket state = {
		    .inode = zt_socket_inode(BPF_CORE_READ(sk, sk_socket)), .tgid = zt_tcp_owner()};
		if (!state.tgid || !zt_has_file(sk))
			return;
		known = zt_remember(key, &state, BPF_ANY);
		if (!known)
			return;
	}
	zt_sample_round_trip(sk, known->tgid);
}

SEC("tp_btf/inet_sock_set_state")
int tcp_health_state(zt_u64 *arguments)
{
	int previous = (int)arguments[1];
	int state = (int)arguments[2];
	bool open = previous == TCP_ESTABLISHED || previous == TCP_CLOSE_WAIT;
	bool closing = open && (state == TCP_FIN_WAIT1 || state == TCP_LAST_ACK);
	bool ending = open && state == TCP_CLOSE;
	if (state != TCP_SYN_SENT && previous != TCP_SYN_SENT && !closing && !ending)
		return 0; /* most changes */
	struct sock *sk = (struct sock *)zt_argument(arguments, 0);
	zt_u64 key = (zt_u64)sk;
	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	if (state == TCP_SYN_SENT)
		zt_tcp_connecting(sk, key);
	else if (previous == TCP_SYN_SENT)
		zt_tcp_connected(sk, key, state);
	/* With unread bytes, or without waiting: a reset by the peer or a time-out leaves its error. */
	else if (closing || !BPF_CORE_READ(sk, sk_err))
		zt_tcp_closing(sk, key);
	else
		zt_tcp_known(sk, key); /* while it has its inode: it is destroyed without */
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int tcp_health_destroyed(zt_u64 *arguments)
{
	struct sock *sk = (struct sock *)zt_argument(arguments, 0);
	zt_u64 key = (zt_u64)sk;
	struct zt_tcp_socket *known = bpf_map_lookup_elem(&tcp_sockets, &key);
	if (known) {
		zt_count_retransmits(sk, known);
		bpf_map_delete_elem(&tcp_sockets, &key);
	} else if (BPF_CORE_READ((struct tcp_sock *)sk, total_retrans)) {
		/* Reset by its peer, or left out: the running task says nothing of whose it was. */
		zt_count(ZT_COUNTER_TCP_OWNER_UNKNOWN);
	}
	return 0;
}

/* Every open connection of every process in every network namespace. */
SEC("iter/task_file")
int survey_sockets(struct bpf_iter__task_file *context)
{
	struct task_struct *task = context->task;
	struct file *file = context->file;
	struct socket *socket = task && file ? zt_socket_of_file(file) : 0;
	if (!socket)
		return 0;
	struct sock *sk = BPF_CORE_READ(socket, sk);
	if (!sk || !zt_is_tcp(sk))
		return 0;
	zt_u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT)
		return 0;
	zt_u32 tgid = BPF_CORE_READ(task, tgid);
	zt_u32 policy = zt_policy(tgid);
	if (policy == ZT_PROCESS_IGNORE || policy == ZT_PROCESS_SELF)
		return 0;
	zt_u64 key = (zt_u64)sk;
	struct zt_tcp_socket *known = zt_tcp_known(sk, key);
	if (!known) {
		struct zt_tcp_socket found = {.inode = zt_socket_inode(socket), .tgid = tgid};
		known = zt_remember(key, &found, BPF_NOEXIST);
		if (!known)
			return 0;
	}
	if (known->survey == zt_survey)
		return 0;
	known->survey = zt_survey;
	zt_count_retransmits(sk, known);
	zt_sample_round_trip(sk, known->tgid);
	zt_tcp_add(known->tgid, ZT_MEASURE_TCP_OPEN, 0, 1);
	return 0;
}

SEC("syscall")
int access_tcp_measures(struct zt_map_request *request)
{
	return zt_access_measure(&tcp_measures, request);
}
