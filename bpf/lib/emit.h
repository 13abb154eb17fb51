/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Data records: the bytes go from the program's buffer straight into the reserved place of the
 * ring. Reserving needs constant sizes, hence the size classes. There is no scratch buffer per CPU:
 * from kernel 7.0 on a program can be preempted by another that uses the same.
 */
#ifndef ZEROTAP_BPF_EMIT_H
#define ZEROTAP_BPF_EMIT_H

#include "bpf/lib/maps.h"

#define ZT_MAX_EDGE 128
#define ZT_MAX_SEGMENTS 16
/* Records that a transfer may fill before its last one: of ZT_PAYLOAD_HUGE, or from segments of
 * ZT_PAYLOAD_LARGE. */
#define ZT_MAX_FULL_RECORDS 3
#define ZT_MAX_FULL_GATHERED 7

/* How much less is wanted of a process: its policy, from ZT_PROCESS_SELF on. */
enum zt_limit {
	ZT_LIMIT_NONE = 0,
	ZT_LIMIT_HEADS = ZT_PROCESS_HEADS - ZT_PROCESS_SELF,
	ZT_LIMIT_SHORT_HEADS = ZT_PROCESS_SHORT_HEADS - ZT_PROCESS_SELF,
	ZT_LIMIT_COUNT = ZT_PROCESS_COUNT - ZT_PROCESS_SELF,
};

/* One transfer as a hook saw it; then, piece by piece, what a record says of it. */
struct zt_call {
	struct sock *sk;
	zt_u64 now;
	zt_u64 start;
	zt_u64 end;
	zt_u64 offset;
	zt_u64 buffer;	 /* in user memory: the bytes, or the iovec array that leads to them */
	zt_u32 segments; /* of the iovec array; 0: `buffer` is the bytes */
	zt_u32 length;
	zt_u32 tgid;
	zt_u32 tid;
	zt_u32 message_flags; /* MSG_* */
	zt_u32 behind;	      /* bytes that the same call moved after these */
	zt_u32 skip;	      /* piece: where in the transfer it begins */
	zt_u32 piece;	      /* its length */
	zt_u32 head;
	zt_u32 tail;
	zt_u32 left; /* of the head, for this and the next pieces */
	zt_u8 direction;
	zt_u8 flags;	     /* ZT_DATA_* */
	zt_u8 limit;	     /* enum zt_limit */
	zt_u8 empty_request : 1; /* asked for no byte, so getting none means nothing */
	zt_u8 unknown : 1;	 /* the socket has no state yet */
};

/*
 * Copies `size` bytes that begin `skip` bytes into the segments to `at` in the record's payload;
 * returns how many it got. There must be room for 2 * `half` bytes: the verifier knows a bound for
 * where a piece begins and one for its size, not that they add up to less.
 *
 * The loop's variables live in fields of the record that are filled later. What is loaded from
 * there has no known value, so the verifier finds each round equal to the one before; in registers
 * or on the stack it would follow every possible sum of sizes, and give up.
 */
static __always_inline zt_u32 zt_copy_segments(struct zt_data_event *record, zt_u32 at,
					       const zt_u32 half, const struct zt_call *call,
					       zt_u64 skip, zt_u32 size)
{
	volatile struct zt_data_event *scratch = record;
	void *payload = record + 1;
	scratch->offset = skip;
	scratch->length = 0;
	scratch->head = size;
	scratch->tail = call->segments;
	scratch->tgid = at;
	for (zt_u32 index = 0; index < ZT_MAX_SEGMENTS; index++) {
		struct user_iovec segment;
		if (index >= scratch->tail)
			return scratch->length;
		if (bpf_probe_read_user(&segment, sizeof(segment),
					(void *)(call->buffer + index * sizeof(segment))))
			break;
		zt_u64 unwanted = scratch->offset;
		if (unwanted >= segment.size) {
			scratch->offset = unwanted - segment.size;
			continue;
		}
		scratch->offset = 0;
		zt_u64 left = segment.size - unwanted;
		zt_u32 done = scratch->length;
		zt_u32 wanted = scratch->head - done;
		zt_u32 begin = scratch->tgid + done;
		zt_u32 part = left < wanted ? left : wanted;
		zt_barrier_var(begin);
		if (begin >= half)
			return done;
		zt_barrier_var(part);
		if (part > half)
			part = half;
		if (bpf_probe_read_user(payload + begin, part, (void *)(segment.base + unwanted)))
			break;
		done += part;
		scratch->length = done;
		if (scratch->length >= scratch->head)
			return scratch->length;
	}
	zt_count(scratch->tail > ZT_MAX_SEGMENTS ? ZT_COUNTER_IOVEC_TRUNCATED
						 : ZT_COUNTER_PAYLOAD_FAULT);
	return scratch->length;
}

static __always_inline void zt_record_lost(struct zt_connection *connection)
{
	zt_count(ZT_COUNTER_RING_FULL);
	__sync_fetch_and_add(&connection->lost, 1);
	__sync_fetch_and_add(&connection->lost_total, 1);
}

static __always_inline void zt_fill(struct zt_data_event *event, const struct zt_call *call,
				    struct zt_connection *connection, zt_u32 head, zt_u32 tail,
				    zt_u8 flags)
{
	event->header.time_ns = call->now;
	event->header.size = sizeof(*event) + head + tail;
	event->header.kind = ZT_EVENT_DATA;
	event->header.reserved = 0;
	event->connection_id = connection->id;
	event->offset = call->offset + call->skip;
	event->start_ns = call->start;
	event->end_ns = call->end;
	event->context_id = 0;
	event->parent_context_id = 0;
	event->length = call->piece;
	event->head = head;
	event->tail = tail;
	event->tgid = call->tgid;
	event->tid = call->tid;
	event->lost_before = connection->lost;
	if (event->lost_before)
		connection->lost = 0;
	event->direction = call->direction;
	event->flags = flags;
	event->turns_before = 0;
	__builtin_memset(event->reserved, 0, sizeof(event->reserved));
	if (__builtin_expect(connection->flags & ZT_CONNECTION_SKIPPED, 0)) {
		event->flags |= ZT_DATA_SKIPPED;
		event->turns_before = connection->turns;
		connection->flags &= ~ZT_CONNECTION_SKIPPED;
		connection->turns = 0;
	}
	zt_count(ZT_COUNTER_DATA_EVENTS);
}

/*
 * Asks for the memory of a record before anything is written there: one store for each cache line, which the reader on another
 * CPU had last. What is done until the record is given over hides how long they take to come; else the ring's locked exchange
 * waits for them.
 */
static __always_inline void zt_touch(void *record, const zt_u32 size)
{
#pragma unroll
	for (zt_u32 at = 64; at < size && at <= 320; at += 64)
		*(volatile zt_u64 *)(record + at - 8) = 0;
}

static __always_inline void zt_emit_bare(const struct zt_call *call,
					 struct zt_connection *connection)
{
	struct zt_data_event *event = zt_reserve(sizeof(*event));
	if (!event) {
		zt_record_lost(connection);
		return;
	}
	zt_fill(event, call, connection, 0, 0, call->flags);
	bpf_ringbuf_submit(event, zt_wakeup_at(call->now));
}

static __always_inline void zt_emit_plain(const struct zt_call *call,
					  struct zt_connection *connection, const zt_u32 room,
					  const bool with_tail)
{
	struct zt_data_event *event =
	    zt_reserve(sizeof(*event) + room + (with_tail ? ZT_MAX_EDGE : 0));
	if (!event) {
		zt_record_lost(connection);
		return;
	}
	zt_touch(event, sizeof(*event) + room);
	void *payload = event + 1;
	void *from = (void *)(call->buffer + call->skip);
	zt_u8 flags = call->flags;
	zt_u32 tail = with_tail ? call->tail : 0;
	zt_u32 head = call->head;
	zt_barrier_var(head);
	if (head > room)
		head = room;
	bool fault = bpf_probe_read_user(payload, head, from);
	if (with_tail && !fault) {
		from += call->piece - tail;
		zt_barrier_var(tail);
		if (tail > ZT_MAX_EDGE)
			tail = ZT_MAX_EDGE;
		fault = bpf_probe_read_user(payload + head, tail, from);
	}
	if (fault) {
		zt_count(ZT_COUNTER_PAYLOAD_FAULT);
		head = 0;
		tail = 0;
		flags |= ZT_DATA_NO_PAYLOAD;
	}
	zt_fill(event, call, connection, head, tail, flags);
	bpf_ringbuf_submit(event, zt_wakeup_at(call->now));
}

static __always_inline void zt_emit_gathered(const struct zt_call *call,
					     struct zt_connection *connection, const zt_u32 room,
					     const bool with_tail)
{
	const zt_u32 half = room + ZT_MAX_EDGE;
	struct zt_data_event *event = zt_reserve(sizeof(*event) + 2 * half);
	if (!event) {
		zt_record_lost(connection);
		return;
	}
	zt_u8 flags = call->flags;
	zt_u32 tail = with_tail ? call->tail : 0;
	zt_u32 head = zt_copy_segments(event, 0, half, call, call->skip, call->head);
	if (!head)
		flags |= ZT_DATA_NO_PAYLOAD;
	/* The last bytes are of use only whole. */
	if (with_tail && tail &&
	    zt_copy_segments(event, head, half, call, call->skip + call->piece - tail, tail) !=
		tail)
		tail = 0;
	zt_fill(event, call, connection, head, tail, flags);
	bpf_ringbuf_submit(event, zt_wakeup_at(call->now));
}

#define ZT_FEW_SEGMENTS 4

/* The usual gathering call: a few segments of which everything is wanted. All of the array is read
 * at once, into where the header will be. */
static __always_inline void zt_emit_few(const struct zt_call *call,
					struct zt_connection *connection, const zt_u32 room)
{
	struct zt_data_event *event = zt_reserve(sizeof(*event) + 2 * room);
	if (!event) {
		zt_record_lost(connection);
		return;
	}
	zt_touch(event, sizeof(*event) + room);
	_Static_assert(sizeof(*event) >= ZT_FEW_SEGMENTS * sizeof(struct user_iovec), "the header's room");
	volatile struct user_iovec *segments = (volatile struct user_iovec *)event;
	void *payload = event + 1;
	zt_u8 flags = call->flags;
	zt_u32 done = 0;
	zt_u32 size = call->segments * sizeof(struct user_iovec);
	zt_barrier_var(size);
	if (size > ZT_FEW_SEGMENTS * sizeof(struct user_iovec))
		size = ZT_FEW_SEGMENTS * sizeof(struct user_iovec);
	bool fault = bpf_probe_read_user(event, size, (void *)call->buffer);
	for (zt_u32 index = 0; index < ZT_FEW_SEGMENTS; index++) {
		zt_u32 begin = done;
		zt_u64 left = call->head - done;
		zt_u64 part = segments[index].size;
		if (fault || index >= call->segments || !left)
			break;
		if (part > left)
			part = left;
		zt_barrier_var(begin);
		if (begin >= room)
			break;
		zt_barrier_var(part);
		if (part > room)
			part = room;
		fault = bpf_probe_read_user(payload + begin, part, (void *)segments[index].base);
		if (!fault)
			done = begin + part;
	}
	if (done < call->head) {
		zt_count(ZT_COUNTER_PAYLOAD_FAULT);
		if (!done)
			flags |= ZT_DATA_NO_PAYLOAD;
	}
	zt_fill(event, call, connection, done, 0, flags);
	bpf_ringbuf_submit(event, zt_wakeup_at(call->now));
}

static __noinline int zt_emit_few_segments(const struct zt_call *call,
					   struct zt_connection *connection)
{
	zt_emit_few(call, connection, ZT_PAYLOAD_MEDIUM);
	return 0;
}

/* The usual case: everything is wanted. Small records keep the ring's memory in the caches. */
static __noinline int zt_emit_whole(const struct zt_call *call, struct zt_connection *connection)
{
	if (call->head <= ZT_PAYLOAD_SMALL)
		zt_emit_plain(call, connection, ZT_PAYLOAD_SMALL, false);
	else if (call->head <= ZT_PAYLOAD_MEDIUM)
		zt_emit_plain(call, connection, ZT_PAYLOAD_MEDIUM, false);
	else if (call->head <= ZT_PAYLOAD_LARGE)
		zt_emit_plain(call, connection, ZT_PAYLOAD_LARGE, false);
	else
		zt_emit_plain(call, connection, ZT_PAYLOAD_HUGE, false);
	return 0;
}

static __noinline int zt_emit_edges(const struct zt_call *call, struct zt_connection *connection)
{
	if (call->head <= ZT_PAYLOAD_SMALL)
		zt_emit_plain(call, connection, ZT_PAYLOAD_SMALL, true);
	else if (call->head <= ZT_PAYLOAD_LARGE)
		zt_emit_plain(call, connection, ZT_PAYLOAD_LARGE, true);
	else
		zt_emit_plain(call, connection, ZT_PAYLOAD_HUGE, true);
	return 0;
}

static __noinline int zt_emit_segments(const struct zt_call *call, struct zt_connection *connection)
{
	if (call->head <= ZT_PAYLOAD_SMALL)
		zt_emit_gathered(call, connection, ZT_PAYLOAD_SMALL, true);
	else if (call->head <= ZT_PAYLOAD_MEDIUM)
		zt_emit_gathered(call, connection, ZT_PAYLOAD_MEDIUM, true);
	else
		zt_emit_gathered(call, connection, ZT_PAYLOAD_LARGE, true);
	return 0;
}

/* Makes the verifier forget what it knows of a piece's values, so that it need not follow every
 * combination of them: to each comes a 0 of which it does not know that it is one. Each in the width
 * that it was written in: a wider load would have to wait until the stores are through. */
static __always_inline void zt_forget_values(struct zt_call *call)
{
	zt_u32 zero = *(volatile zt_u32 *)&zt_zero;
	*(volatile zt_u64 *)&call->buffer += zero;
	*(volatile zt_u32 *)&call->segments += zero;
	*(volatile zt_u32 *)&call->length += zero;
	*(volatile zt_u32 *)&call->skip += zero;
	*(volatile zt_u32 *)&call->piece += zero;
	*(volatile zt_u32 *)&call->head += zero;
	*(volatile zt_u32 *)&call->tail += zero;
	*(volatile zt_u32 *)&call->left += zero;
	*(volatile zt_u8 *)&call->flags += zero;
}

/* The records before the last of a transfer of which more is wanted than one record holds; the last
 * is left to the caller. */
static __noinline int zt_emit_full_pieces(struct zt_call *call, struct zt_connection *connection)
{
	for (zt_u32 count = 0; count < ZT_MAX_FULL_RECORDS; count++) {
		zt_forget_values(call);
		if (call->left <= ZT_PAYLOAD_HUGE)
			break;
		zt_emit_plain(call, connection, ZT_PAYLOAD_HUGE, false);
		call->skip += ZT_PAYLOAD_HUGE;
		call->left -= ZT_PAYLOAD_HUGE;
	}
	return 0;
}

static __noinline int zt_emit_full_segments(struct zt_call *call, struct zt_connection *connection)
{
	for (zt_u32 count = 0; count < ZT_MAX_FULL_GATHERED; count++) {
		zt_forget_values(call);
		if (call->left <= ZT_PAYLOAD_LARGE)
			break;
		zt_emit_gathered(call, connection, ZT_PAYLOAD_LARGE, false);
		call->skip += ZT_PAYLOAD_LARGE;
		call->left -= ZT_PAYLOAD_LARGE;
	}
	return 0;
}

/* How many bytes of this transfer's start may be captured, by the verdict and by what its run has
 * used up. */
static __always_inline zt_u32 zt_head_allowance(const struct zt_call *call,
						struct zt_connection *connection)
{
	if (connection->mode == ZT_VERDICT_ALL && !call->limit)
		return call->length;
	if (connection->run_direction != call->direction) {
		connection->run_direction = call->direction;
		connection->run_used = 0;
	}
	zt_u32 budget = zt_detect_budget;
	if (connection->mode == ZT_VERDICT_HEADS)
		budget = (call->direction == ZT_DIRECTION_EGRESS ? connection->egress_budget_kib
								 : connection->ingress_budget_kib) *
			 1024;
	if (__builtin_expect(call->limit, 0)) {
		zt_u32 most = call->limit == ZT_LIMIT_HEADS ? ZT_HEADS_BUDGET : ZT_SHORT_HEADS_BUDGET;
		if (budget > most || connection->mode == ZT_VERDICT_ALL)
			budget = most;
		if (call->limit == ZT_LIMIT_COUNT && connection->mode != ZT_VERDICT_DETECT)
			budget = 0;
	}
	zt_u32 used = connection->run_used;
	zt_u32 left = budget > used ? budget - used : 0;
	zt_u32 head = call->length < left ? call->length : left;
	connection->run_used = used + head;
	return head;
}

/* Tells user space of one transfer, in as many records as it takes. */
static __always_inline void zt_emit_data(struct zt_call *call, struct zt_connection *connection)
{
	const zt_u32 room = call->segments ? ZT_PAYLOAD_LARGE : ZT_PAYLOAD_HUGE;
	const zt_u32 most =
	    room * ((call->segments ? ZT_MAX_FULL_GATHERED : ZT_MAX_FULL_RECORDS) + 1);
	zt_u32 edge = connection->edge_bytes;
	if (edge > ZT_MAX_EDGE)
		edge = ZT_MAX_EDGE;
	if (call->limit == ZT_LIMIT_COUNT && connection->mode != ZT_VERDICT_DETECT)
		edge = 0; /* the record tells how many were counted */
	call->skip = 0;
	call->head = 0;
	call->tail = 0;
	/* What is only looked at comes again when it is read; an end is no part of a run. */
	if (call->length && !(call->flags & ZT_DATA_PEEK)) {
		zt_u32 head = zt_head_allowance(call, connection);
		if (call->flags & ZT_DATA_NO_PAYLOAD) {
			zt_count(ZT_COUNTER_NO_PAYLOAD);
		} else {
			if (head > most)
				head = most;
			if (!head)
				head = call->length < edge ? call->length : edge;
			zt_u32 tail = call->length - head;
			call->tail = tail < edge ? tail : edge;
			call->head = head;
		}
	}
	if (!(call->head | call->tail)) {
		call->piece = call->length;
		zt_emit_bare(call, connection);
		return;
	}
	if (call->head > room) {
		zt_u32 tail = call->tail;
		call->left = call->head;
		call->piece = room;
		call->head = room;
		call->tail = 0;
		call->flags |= ZT_DATA_CONTINUES;
		if (call->segments)
			zt_emit_full_segments(call, connection);
		else
			zt_emit_full_pieces(call, connection);
		call->flags &= ~ZT_DATA_CONTINUES;
		call->head = call->left;
		call->tail = tail;
	}
	call->piece = call->length - call->skip;
	zt_forget_values(call);
	bool whole = !(call->tail | call->skip);
	/* The most usual are in here: a call of another function costs as much as what it does. */
	if (whole && !call->segments && call->head <= ZT_PAYLOAD_TINY)
		zt_emit_plain(call, connection, ZT_PAYLOAD_TINY, false);
	else if (whole && !call->segments && call->head <= ZT_PAYLOAD_SMALL)
		zt_emit_plain(call, connection, ZT_PAYLOAD_SMALL, false);
	else if (whole && call->segments - 1 < ZT_FEW_SEGMENTS && call->head <= ZT_PAYLOAD_SMALL)
		zt_emit_few(call, connection, ZT_PAYLOAD_SMALL);
	else if (whole && call->segments - 1 < ZT_FEW_SEGMENTS && call->head <= ZT_PAYLOAD_MEDIUM)
		zt_emit_few_segments(call, connection);
	else if (call->segments)
		zt_emit_segments(call, connection);
	else if (call->tail)
		zt_emit_edges(call, connection);
	else
		zt_emit_whole(call, connection);
}

#endif
