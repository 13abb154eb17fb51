/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * The kernel's types, only the fields that are read here. Offsets are relocated at load time from
 * the running kernel's BTF, so order, size and neighbours do not matter; names and nesting do.
 */
#ifndef ZEROTAP_BPF_KERNEL_H
#define ZEROTAP_BPF_KERNEL_H

typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0

/* include/uapi/linux/bpf.h */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_MMAPABLE = 1 << 10,
};
enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
};

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define O_NONBLOCK 04000
#define MSG_OOB 0x1
#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_ERRQUEUE 0x2000
#define RCV_SHUTDOWN 1
#define TCP_ZEROCOPY_RECEIVE 35
#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000
#define TS_COMPAT 0x0002 /* x86: thread_info.status */
#define TIF_32BIT 22	 /* arm64: thread_info.flags */

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long bx, cx, r10, r8, dx, si, di, orig_ax, ax;
};
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	__u64 regs[31];
	__u64 orig_x0;
	__s32 syscallno;
};
#else
#error "unknown target architecture"
#endif

struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
};
typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
};

struct inode {
	__u16 i_mode;
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
	void *private_data;
	unsigned int f_flags;
};

struct sock;
struct socket {
	__s16 type;
	struct file *file;
	struct sock *sk;
};

/* What sockfs allocates: the inode lives beside the socket. */
struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct upid {
	int nr;
};
struct pid {
	struct upid numbers[1];
};

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	__u16 sk_type;
	__u16 sk_protocol;
	__u8 sk_shutdown;
	int sk_err;
	struct pid *sk_peer_pid;
};

struct ipv6_pinfo {
	int mcast_oif;
};

struct inet_sock {
	struct sock sk;
	struct ipv6_pinfo *pinet6;
	int mc_index;
};

struct tcp_sock {
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u32 snd_una;
	__u32 write_seq;
	__u64 bytes_received;
	__u64 bytes_acked;
	__u32 srtt_us; /* smoothed, eight times its value */
	__u32 total_retrans;
	__u64 tcp_clock_cache;
	__u64 first_tx_mstamp;
};

typedef struct {
	int counter;
} atomic_t;
typedef struct refcount_struct {
	atomic_t refs;
} refcount_t;

struct sockaddr_un {
	unsigned short sun_family;
	char sun_path[108];
};
struct unix_address {
	refcount_t refcnt;
	int len;
	struct sockaddr_un name[1];
};
struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
	struct sock *peer;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct {
	struct fdtable *fdt;
};

struct mm_struct {
	unsigned long arg_start, arg_end;
};

struct signal_struct {
	atomic_t live;
};

struct thread_info {
	unsigned long flags;
	__u32 status;
};

struct rq {
	__u64 clock; /* what sched_info is counted by */
};

struct cfs_rq {
	struct rq *rq; /* with group scheduling, as sched_entity.cfs_rq */
};

struct sched_info {
	unsigned long long run_delay;	 /* sum: runnable, without a CPU */
	unsigned long long last_arrival; /* at a CPU */
	unsigned long long last_queued;	 /* 0 unless it waits for one */
};
struct sched_entity {
	__u64 sum_exec_runtime;
	__u64 prev_sum_exec_runtime; /* at the last arrival */
	unsigned char sched_delayed; /* since 6.12 */
	struct cfs_rq *cfs_rq;
};

struct list_head {
	struct list_head *next, *prev;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	void *stack;
	struct sched_entity se;
	struct sched_info sched_info;
	unsigned in_iowait : 1;
	struct mm_struct *mm;
	int exit_code;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct list_head children;
	struct list_head sibling;
	struct task_struct *group_leader;
	__u64 start_boottime;
	char comm[16];
	struct files_struct *files;
	struct signal_struct *signal;
	void *io_uring; /* since 5.11 */
};

struct linux_binprm {
	const char *filename;
};

struct bpf_iter_meta;
struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

struct trace_event_raw_sock_msg_length {
	void *sk;
	__u16 family;
	__u16 protocol;
	int ret;
	int flags;
};

struct trace_event_raw_sched_process_exec {
	__u32 __data_loc_filename;
};

struct trace_event_raw_sched_process_fork {
	int child_pid;
};

struct trace_event_raw_sys_exit {
	long id;
	long ret;
};

#pragma clang attribute pop

/* What user space lays out; same on every 64-bit architecture. */
struct user_iovec {
	__u64 base;
	__u64 size;
};
struct user_msghdr64 {
	__u64 name;
	__u32 name_size;
	__u32 padding;
	__u64 segments;
	__u64 segment_count;
	__u64 control;
	__u64 control_size;
	__u32 flags;
	__u32 padding_end;
};
struct user_mmsghdr64 {
	struct user_msghdr64 header;
	__u32 length;
	__u32 padding;
};
/* Kernels before 5.11 end it at `copied_to`. */
struct user_zerocopy_receive {
	__u64 mapped_at;
	__u32 mapped;
	__u32 skip_hint;
	__u32 queued;
	__s32 error;
	__u64 copied_to;
	__s32 copied;
	__u32 flags;
};

/* Keeps the compiler from proving a bound in a register that the verifier does not watch. */
#define zt_barrier_var(variable) asm volatile("" : "+r"(variable))

/*
 * A field of a kernel object known by address. With bpf_rdonly_cast (kernel >= 6.2) it is one load,
 * which gives 0 where the address is bad; without, a call of a helper. For what is read at each
 * transfer: one file may ask for it (ZT_DIRECT_READS), since libbpf 1.1's linker cannot join two
 * objects that both refer to a kernel function.
 */
#ifdef ZT_DIRECT_READS
extern void *bpf_rdonly_cast(const void *address, __u32 type) __ksym __weak;
#define ZT_CAN_CAST (bpf_rdonly_cast != 0)
#define ZT_CAST(type, address) ((type *)bpf_rdonly_cast(address, bpf_core_type_id_kernel(type)))
#else
#define ZT_CAN_CAST 0
#define ZT_CAST(type, address) (address)
#endif
#define ZT_READ(type, address, field)                                                              \
	({                                                                                         \
		typeof(((type *)0)->field) value_;                                                 \
		type *object_ = (type *)(address);                                                 \
		if (ZT_CAN_CAST) {                                                                 \
			value_ = ZT_CAST(type, object_)->field;                                    \
			zt_barrier_var(value_); /* or the compiler makes one load of the two */    \
		} else {                                                                           \
			typeof(value_) copy_;                                                      \
			bpf_core_read(&copy_, sizeof(copy_), &object_->field);                     \
			value_ = copy_;                                                            \
		}                                                                                  \
		value_;                                                                            \
	})

/* An argument of a BTF-attached program as a plain number: what the verifier knows as a pointer is
 * not accepted where a number is wanted, and everything here reads by address. */
static __always_inline __u64 zt_argument(__u64 *arguments, int index)
{
	__u64 value = 0;
	bpf_probe_read_kernel(&value, sizeof(value), &arguments[index]);
	return value;
}

#endif
