/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * The ring-buffer records that the kernel side writes and agent/events reads. Compiled as C (BPF) and as C++.
 *
 * Rules: kind numbers are explicit and never reused; padding is explicit; sizes are asserted below; every record starts
 * with zt_event_header whose `size` is the whole record, so a reader can skip what it does not know.
 * All times are CLOCK_MONOTONIC nanoseconds. All integers are in host byte order, ports included; addresses are in
 * network byte order (IPv4 in the first four bytes, the rest zero).
 */
#ifndef ZEROTAP_BPF_ABI_EVENT_H
#define ZEROTAP_BPF_ABI_EVENT_H

#ifdef __BPF__
typedef unsigned char zt_u8;
typedef unsigned short zt_u16;
typedef unsigned int zt_u32;
typedef unsigned long long zt_u64;
#else
#include <stdint.h>
typedef uint8_t zt_u8;
typedef uint16_t zt_u16;
typedef uint32_t zt_u32;
typedef uint64_t zt_u64;
#endif

#ifdef __cplusplus
#define ZT_STATIC_ASSERT(condition, message) static_assert(condition, message)
#else
#define ZT_STATIC_ASSERT(condition, message) _Static_assert(condition, message)
#endif

#define ZT_COMM_SIZE 16
#define ZT_ADDRESS_SIZE 16
#define ZT_UNIX_PATH_SIZE 108
#define ZT_EXEC_FILENAME_SIZE 256
#define ZT_EXEC_ARGS_SIZE 1024
/* Payload room of the data record size classes; a transfer above the largest is split into several records. */
#define ZT_PAYLOAD_TINY 64
#define ZT_PAYLOAD_SMALL 256
#define ZT_PAYLOAD_MEDIUM 1024
#define ZT_PAYLOAD_LARGE 4096
#define ZT_PAYLOAD_HUGE 16384

enum zt_event_kind {
	ZT_EVENT_CONNECTION_OPENED = 1,
	ZT_EVENT_DATA = 2,
	ZT_EVENT_CONNECTION_SHUTDOWN = 3,
	ZT_EVENT_CONNECTION_CLOSED = 4,
	ZT_EVENT_PROCESS_EXEC = 5,
	ZT_EVENT_PROCESS_FORK = 6,
	ZT_EVENT_PROCESS_EXIT = 7,
};

enum zt_direction {
	ZT_DIRECTION_EGRESS = 0, /* this end sent the bytes */
	ZT_DIRECTION_INGRESS = 1, /* this end read the bytes */
};

enum zt_role {
	ZT_ROLE_UNKNOWN = 0,
	ZT_ROLE_CLIENT = 1, /* this end connected */
	ZT_ROLE_SERVER = 2, /* this end accepted */
};

enum zt_socket_family {
	ZT_FAMILY_UNIX = 1,
	ZT_FAMILY_IPV4 = 2,
	ZT_FAMILY_IPV6 = 10,
};

struct zt_event_header {
	zt_u64 time_ns; /* when the hook ran */
	zt_u32 size; /* of the whole record, header included */
	zt_u16 kind; /* enum zt_event_kind */
	zt_u16 reserved;
};
ZT_STATIC_ASSERT(sizeof(struct zt_event_header) == 16, "zt_event_header");

/* zt_connection_opened_event.flags */
#define ZT_OPENED_MIDSTREAM 0x01 /* existed before it was first seen: bytes passed unseen */
#define ZT_OPENED_POSITIONS_EXACT 0x02 /* offsets count from the connection's true first byte */

/* The first record of a connection. Identity is the socket: dup, fork and fd passing do not make a new connection. */
struct zt_connection_opened_event {
	struct zt_event_header header;
	zt_u64 connection_id; /* unique while this kernel runs */
	zt_u64 socket_inode;
	zt_u64 peer_inode; /* AF_UNIX: the other end's socket inode, else 0 */
	zt_u64 cgroup_id;
	zt_u32 netns;
	zt_u32 tgid; /* of the task that was running; 0 when it was a softirq */
	zt_u32 tid;
	zt_u32 first_out; /* TCP: sequence number of the first payload byte this end sends */
	zt_u32 first_in; /* TCP: the same for the peer; (first_out, first_in) swapped is the other end */
	zt_u16 local_port;
	zt_u16 remote_port;
	zt_u8 family; /* enum zt_socket_family */
	zt_u8 role; /* enum zt_role */
	zt_u8 flags; /* ZT_OPENED_* */
	zt_u8 reserved[5];
	zt_u8 local_address[ZT_ADDRESS_SIZE];
	zt_u8 remote_address[ZT_ADDRESS_SIZE];
	char comm[ZT_COMM_SIZE];
	char unix_path[ZT_UNIX_PATH_SIZE]; /* AF_UNIX: the listening path, abstract names start with '@' */
	zt_u8 reserved_end[4];
};
ZT_STATIC_ASSERT(sizeof(struct zt_connection_opened_event) == 240, "zt_connection_opened_event");

/* zt_data_event.flags */
#define ZT_DATA_PEEK 0x01 /* MSG_PEEK: the position does not advance */
#define ZT_DATA_EOF 0x02 /* a read returned 0: the peer will send no more */
#define ZT_DATA_NONBLOCKING 0x04 /* O_NONBLOCK on the file or MSG_DONTWAIT */
#define ZT_DATA_NO_PAYLOAD 0x08 /* sendfile, splice, io_uring: the bytes cannot be read here */
#define ZT_DATA_POSITION_ESTIMATED 0x10 /* offset may be wrong (concurrent writers) */
#define ZT_DATA_CONTINUES 0x20 /* a further record of the same call follows */
#define ZT_DATA_SKIPPED 0x40 /* transfers before this one were counted only (ZT_PROCESS_COUNT) */

/*
 * `length` bytes moved at stream position `offset`. The payload holds the first `head` and then the last `tail` of them
 * (head + tail <= length); what lies between was counted, not captured.
 */
struct zt_data_event {
	struct zt_event_header header;
	zt_u64 connection_id;
	zt_u64 offset; /* position of the first byte in this direction's stream */
	zt_u64 start_ns; /* send: when the first byte left; receive: hook time */
	zt_u64 end_ns; /* send: when the last byte left; receive: hook time */
	zt_u64 context_id; /* runtime task (goroutine, asyncio task); 0 = unknown */
	zt_u64 parent_context_id;
	zt_u32 length;
	zt_u32 head;
	zt_u32 tail;
	zt_u32 tgid;
	zt_u32 tid;
	zt_u32 lost_before; /* records of this connection that found the ring full since the last one that did not */
	zt_u8 direction; /* enum zt_direction */
	zt_u8 flags; /* ZT_DATA_* */
	zt_u8 turns_before; /* SKIPPED: how often the client began to speak in what was skipped */
	zt_u8 reserved[5];
};
ZT_STATIC_ASSERT(sizeof(struct zt_data_event) == 96, "zt_data_event");

/* One side said it will send no more: egress = this end (FIN sent), ingress = the peer (FIN received by the kernel). */
struct zt_connection_shutdown_event {
	struct zt_event_header header;
	zt_u64 connection_id;
	zt_u8 direction;
	zt_u8 flags; /* ZT_DATA_SKIPPED */
	zt_u8 reserved[6];
};
ZT_STATIC_ASSERT(sizeof(struct zt_connection_shutdown_event) == 32, "zt_connection_shutdown_event");

struct zt_connection_closed_event {
	struct zt_event_header header;
	zt_u64 connection_id;
	zt_u64 bytes_sent; /* counted by the hooks, ignored traffic included */
	zt_u64 bytes_received;
	zt_u32 lost_events;
	zt_u16 error; /* sk_err: ECONNRESET, ETIMEDOUT ...; 0 = orderly */
	zt_u8 flags; /* ZT_DATA_SKIPPED, with its turns: since the last data record */
	zt_u8 turns_before;
};
ZT_STATIC_ASSERT(sizeof(struct zt_connection_closed_event) == 48, "zt_connection_closed_event");

struct zt_process_exec_event {
	struct zt_event_header header;
	zt_u64 cgroup_id;
	zt_u64 start_ns; /* task start, CLOCK_BOOTTIME nanoseconds, as /proc/PID/stat field 22 has it in ticks */
	zt_u32 tgid;
	zt_u32 parent_tgid;
	zt_u32 args_size; /* bytes used of args: NUL-separated argv */
	zt_u32 reserved;
	char comm[ZT_COMM_SIZE];
	char filename[ZT_EXEC_FILENAME_SIZE];
	char args[ZT_EXEC_ARGS_SIZE];
};
ZT_STATIC_ASSERT(sizeof(struct zt_process_exec_event) == 48 + 16 + 256 + 1024, "zt_process_exec_event");

struct zt_process_fork_event {
	struct zt_event_header header;
	zt_u32 parent_tgid;
	zt_u32 child_tgid;
};
ZT_STATIC_ASSERT(sizeof(struct zt_process_fork_event) == 24, "zt_process_fork_event");

struct zt_process_exit_event {
	struct zt_event_header header;
	zt_u32 tgid;
	zt_u32 exit_code; /* as wait(2) reports it */
};
ZT_STATIC_ASSERT(sizeof(struct zt_process_exit_event) == 24, "zt_process_exit_event");

#endif
