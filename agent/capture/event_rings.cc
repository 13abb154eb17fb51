#include "agent/capture/event_rings.h"

#include <linux/bpf.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "bpf/abi/event.h"

namespace zerotap {
namespace {

constexpr uint64_t kForever = std::numeric_limits<uint64_t>::max();

uint64_t Load(const uint64_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

// What the kernel keeps before a record: its length and two flags.
uint32_t LengthWord(const RingMemory& memory, uint64_t position) {
  const std::byte* header = memory.data + (position & (memory.size - 1));
  return __atomic_load_n(reinterpret_cast<const uint32_t*>(header), __ATOMIC_ACQUIRE);
}

uint32_t LengthOf(uint32_t word) { return word & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT); }

uint64_t SpaceOf(uint32_t word) {
  return (uint64_t{LengthOf(word)} + BPF_RINGBUF_HDR_SZ + 7) & ~uint64_t{7};
}

// Records come from the caches of the CPUs that wrote them: the next is fetched while this one is
// handled.
void PrefetchAfter(const std::byte* record, size_t size) {
  constexpr size_t kCacheLine = 64;
  constexpr size_t kLines = 5;  // a data record and a short message
  const std::byte* next = record + ((size + BPF_RINGBUF_HDR_SZ + 7) & ~size_t{7});
  for (size_t line = 0; line < kLines; ++line) __builtin_prefetch(next + line * kCacheLine);
}

}  // namespace

// Headers never go over the end: all sizes are multiples of theirs.
const std::byte* EventRings::RecordAt(const RingMemory& memory, uint64_t position, size_t length) {
  const size_t begin = (position + BPF_RINGBUF_HDR_SZ) & (memory.size - 1);
  if (begin + length <= memory.size) return memory.data + begin;
  const size_t first = memory.size - begin;
  joined_.resize(length);
  std::memcpy(joined_.data(), memory.data + begin, first);
  std::memcpy(joined_.data() + first, memory.data, length - first);
  return joined_.data();
}

void EventRings::Add(const RingMemory& memory) {
  Ring ring;
  ring.memory = memory;
  ring.position = Load(memory.consumed);
  ring.limit = ring.position;
  ring.told = ring.position;
  rings_.push_back(ring);
}

// Moves on behind the record at the front, which is complete. False when there was none in it.
bool EventRings::HandOut(Ring& ring, const Handler& handler) {
  const uint32_t word = LengthWord(ring.memory, ring.position);
  const size_t room = LengthOf(word);
  const std::byte* record = RecordAt(ring.memory, ring.position, room);
  bool handed_out = false;
  if ((word & BPF_RINGBUF_DISCARD_BIT) == 0) {
    zt_event_header header{};
    if (room >= sizeof(header)) std::memcpy(&header, record, sizeof(header));
    // The room in the ring is one of a few sizes; the record says how much of it is its own.
    if (header.size < sizeof(header) || header.size > room) {
      __atomic_fetch_add(&malformed_records_, 1, __ATOMIC_RELAXED);
    } else {
      PrefetchAfter(record, room);
      handler(ByteSpan(record, header.size));
      handed_out = true;
    }
  }
  MoveOn(ring, SpaceOf(word));
  return handed_out;
}

// Each hook reads how far we are: that word would go to and fro between the CPUs for each record. What is withheld is little
// beside the ring.
void EventRings::MoveOn(Ring& ring, uint64_t space) {
  constexpr uint64_t kMostWithheld = 4096;
  ring.position += space;
  if (ring.position - ring.told >= std::min<uint64_t>(kMostWithheld, ring.memory.size / 16)) TellKernel(ring);
}

void EventRings::TellKernel(Ring& ring) {
  if (ring.told == ring.position) return;
  ring.told = ring.position;
  __atomic_store_n(ring.memory.consumed, ring.position, __ATOMIC_RELEASE);
}

size_t EventRings::TakeInTurn(Ring& ring, size_t max_records, const Handler& handler) {
  size_t taken = 0;
  for (ring.limit = Load(ring.memory.produced); ring.position < ring.limit;
       ring.limit = Load(ring.memory.produced)) {
    while (ring.position < ring.limit) {
      if ((LengthWord(ring.memory, ring.position) & BPF_RINGBUF_BUSY_BIT) != 0) return taken;
      if (HandOut(ring, handler) && ++taken >= max_records) return taken;
    }
  }
  return taken;
}

void EventRings::Look(Ring& ring, uint64_t now_ns) {
  // All of the latest look is taken: what is there now was written after it.
  if (ring.position >= ring.limit) ring.horizon_ns = std::max(ring.horizon_ns, ring.looked_ns);
  ring.looked_ns = now_ns;
  ring.limit = Load(ring.memory.produced);
}

uint64_t EventRings::FindHead(Ring& ring) {
  ring.ready = false;
  while (ring.position < ring.limit) {
    const uint32_t word = LengthWord(ring.memory, ring.position);
    if ((word & BPF_RINGBUF_BUSY_BIT) != 0) return ring.horizon_ns;
    if ((word & BPF_RINGBUF_DISCARD_BIT) == 0) {
      zt_event_header header{};
      if (LengthOf(word) >= sizeof(header)) {
        std::memcpy(&header, RecordAt(ring.memory, ring.position, sizeof(header)), sizeof(header));
      }
      ring.ready = true;
      ring.head_ns = header.time_ns;
      return kForever;
    }
    MoveOn(ring, SpaceOf(word));
  }
  return kForever;
}

size_t EventRings::Take(uint64_t now_ns, size_t max_records, const Handler& handler) {
  const size_t taken = rings_.size() == 1 ? TakeInTurn(rings_.front(), max_records, handler)
                                          : TakeMerged(now_ns, max_records, handler);
  for (Ring& ring : rings_) TellKernel(ring);
  return taken;
}

size_t EventRings::TakeMerged(uint64_t now_ns, size_t max_records, const Handler& handler) {
  uint64_t until_ns = now_ns > kClockSlackNs ? now_ns - kClockSlackNs : 0;
  for (Ring& ring : rings_) Look(ring, until_ns);
  for (Ring& ring : rings_) until_ns = std::min(until_ns, FindHead(ring));
  size_t taken = 0;
  while (taken < max_records) {
    Ring* first = nullptr;
    uint64_t next_ns = kForever;  // of the ring that follows
    for (Ring& ring : rings_) {
      if (!ring.ready) continue;
      if (first == nullptr || ring.head_ns < first->head_ns) {
        if (first != nullptr) next_ns = std::min(next_ns, first->head_ns);
        first = &ring;
      } else {
        next_ns = std::min(next_ns, ring.head_ns);
      }
    }
    if (first == nullptr || first->head_ns > until_ns) break;
    while (taken < max_records && first->ready && first->head_ns <= std::min(next_ns, until_ns)) {
      first->horizon_ns = std::max(first->horizon_ns, first->head_ns);
      taken += HandOut(*first, handler) ? 1 : 0;
      until_ns = std::min(until_ns, FindHead(*first));
    }
  }
  return taken;
}

uint64_t EventRings::used_bytes() const {
  uint64_t sum = 0;
  for (const Ring& ring : rings_) {
    const uint64_t consumed = Load(ring.memory.consumed);
    const uint64_t produced = Load(ring.memory.produced);
    sum += produced > consumed ? produced - consumed : 0;
  }
  return sum;
}

uint64_t EventRings::malformed_records() const {
  return __atomic_load_n(&malformed_records_, __ATOMIC_RELAXED);
}

}  // namespace zerotap
