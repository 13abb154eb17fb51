/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What can be read off a struct sock by address: identity, sequence numbers, who is at the other
 * end. */
#ifndef ZEROTAP_BPF_SOCKET_H
#define ZEROTAP_BPF_SOCKET_H

#include "bpf/lib/kernel.h"
#include "bpf/lib/maps.h"

/* The socket of an open file, or none. Read without its locks: that the socket points back at the
 * file shows that the file was not closed in between. */
static __always_inline struct socket *zt_socket_of_file(struct file *file)
{
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	struct socket *socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, file) == file ? socket : 0;
}

static __always_inline zt_u64 zt_socket_inode(struct socket *socket)
{
	return socket ? ZT_READ(struct socket_alloc, socket, vfs_inode.i_ino) : 0;
}

static __always_inline zt_u16 zt_family(struct sock *sk)
{
	return ZT_READ(struct sock, sk, __sk_common.skc_family);
}

static __always_inline bool zt_is_tcp(struct sock *sk)
{
	zt_u16 family = zt_family(sk);
	return (family == AF_INET || family == AF_INET6) &&
	       BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP &&
	       BPF_CORE_READ(sk, sk_type) == SOCK_STREAM;
}

static __always_inline bool zt_is_unix_stream(struct sock *sk)
{
	return zt_family(sk) == AF_UNIX && BPF_CORE_READ(sk, sk_type) == SOCK_STREAM;
}

static __always_inline zt_u32 zt_netns(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

/* A child of a listening socket remembers the interface its SYN came in on (tcp_v4_syn_recv_sock,
 * tcp_v6_syn_recv_sock) in a field that is 0 on a socket that connected. It can be read at any age
 * of the connection. */
static __always_inline bool zt_is_passive(struct sock *sk)
{
	if (BPF_CORE_READ((struct inet_sock *)sk, mc_index))
		return true;
	if (!bpf_core_field_exists(struct inet_sock, pinet6) || zt_family(sk) != AF_INET6)
		return false;
	struct ipv6_pinfo *pinet6 = BPF_CORE_READ((struct inet_sock *)sk, pinet6);
	return pinet6 && BPF_CORE_READ(pinet6, mcast_oif);
}

/* Does the connection lead back to an address of the same network namespace for certain? */
static __always_inline bool zt_is_looped(struct sock *sk)
{
	zt_u32 here = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
	zt_u32 there = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	if (zt_family(sk) == AF_INET6 && bpf_core_field_exists(struct sock_common, skc_v6_daddr)) {
		zt_u64 local[2], remote[2];
		bpf_core_read(local, sizeof(local), &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(remote, sizeof(remote), &sk->__sk_common.skc_v6_daddr);
		return local[0] == remote[0] && local[1] == remote[1];
	}
	return here == there ||
	       (there & __builtin_bswap32(0xff000000)) == __builtin_bswap32(0x7f000000);
}

struct zt_sequence {
	zt_u32 first_out; /* of the first payload byte this end sends */
	zt_u32 first_in;
};

/* The client's bytes_acked counts its SYN, the server's does not. */
static __always_inline void zt_read_sequence(struct sock *sk, bool passive,
					     struct zt_sequence *sequence)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	zt_u32 unacknowledged = BPF_CORE_READ(tcp, snd_una);
	zt_u32 acknowledged = (zt_u32)BPF_CORE_READ(tcp, bytes_acked);
	sequence->first_out = unacknowledged - acknowledged + (passive ? 0 : 1);
	sequence->first_in =
	    BPF_CORE_READ(tcp, rcv_nxt) - (zt_u32)BPF_CORE_READ(tcp, bytes_received);
}

/* The same without the socket's lock: two reads in a row must agree. The peer's FIN takes a
 * sequence number and is counted as received, so it does no harm. */
static __always_inline bool zt_read_sequence_unlocked(struct sock *sk, bool passive,
						      struct zt_sequence *sequence)
{
	struct zt_sequence again;
	for (int attempt = 0; attempt < 8; attempt++) {
		zt_read_sequence(sk, passive, sequence);
		zt_read_sequence(sk, passive, &again);
		if (sequence->first_out == again.first_out && sequence->first_in == again.first_in)
			return true;
	}
	return false;
}

/* The 64-bit position behind 32-bit `sequence`, given one that is less than 2 GiB away. */
static __always_inline zt_u64 zt_extend(zt_u64 near, zt_u32 sequence, zt_u32 first)
{
	return near + (__s64)(__s32)(sequence - first - (zt_u32)near);
}

static __always_inline struct sock *zt_unix_peer(struct sock *sk)
{
	return BPF_CORE_READ((struct unix_sock *)sk, peer);
}

/* By which of the two has the listening socket's address: an accepted socket shares it with the
 * listener. */
static __always_inline zt_u8 zt_unix_role(struct sock *sk, struct unix_address **address)
{
	struct sock *peer = zt_unix_peer(sk);
	struct unix_address *here = BPF_CORE_READ((struct unix_sock *)sk, addr);
	struct unix_address *there =
	    peer ? BPF_CORE_READ((struct unix_sock *)peer, addr) : (void *)0;
	zt_u8 role = ZT_ROLE_UNKNOWN;
	if (here && there) {
		/* A client that bound a name too: an accepted socket's address has more than one
		 * owner. */
		int owners_here = BPF_CORE_READ(here, refcnt.refs.counter);
		int owners_there = BPF_CORE_READ(there, refcnt.refs.counter);
		if (owners_here > 1 && owners_there <= 1)
			role = ZT_ROLE_SERVER;
		else if (owners_there > 1 && owners_here <= 1)
			role = ZT_ROLE_CLIENT;
	} else if (here) {
		role = ZT_ROLE_SERVER;
	} else if (there) {
		role = ZT_ROLE_CLIENT;
	}
	*address = role == ZT_ROLE_CLIENT ? there : here;
	return role;
}

#endif
