// The ring buffers of the kernel side, read as one source in the order of time.
//
// With one ring its order is the order. With several, each for one CPU or a few, records are merged
// by the times of their hooks, so that no record comes before one that its cause wrote, whatever
// rings the two are in: docs/adr/0012 has the argument. Hooks that ran at the same instant on two
// CPUs have no order, as with one ring. Knows neither clock nor kernel: both are arguments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "agent/base/bytes.h"

namespace zerotap {

// A ring as the kernel shows it (kernel/bpf/ringbuf.c). Borrowed.
struct RingMemory {
  uint64_t* consumed = nullptr;        // written here, so that the room is free again
  const uint64_t* produced = nullptr;  // written by the kernel side
  const std::byte* data = nullptr;
  size_t size = 0;                     // a power of two
};

class EventRings {
 public:
  using Handler = std::function<void(ByteSpan)>;

  // A record whose time is later than the reader's clock less this is left for the next Take: the
  // two sides' clocks are the same one, read in two ways.
  static constexpr uint64_t kClockSlackNs = 50'000;

  void Add(const RingMemory& memory);
  size_t count() const { return rings_.size(); }

  // Hands out what is there, at most `max_records`; gives their number. `now_ns` is
  // CLOCK_MONOTONIC, read before the call; one ring needs none.
  size_t Take(uint64_t now_ns, size_t max_records, const Handler& handler);

  // Any thread.
  uint64_t used_bytes() const;
  // With a size that cannot be.
  uint64_t malformed_records() const;

 private:
  struct Ring {
    RingMemory memory;
    uint64_t position = 0;    // of the next record
    uint64_t told = 0;        // the position that the kernel side knows
    uint64_t limit = 0;       // what was written at the latest look
    uint64_t looked_ns = 0;   // when that was
    uint64_t horizon_ns = 0;  // what is at `position` or behind it was written later than this
    bool ready = false;       // the next record is complete
    uint64_t head_ns = 0;     // its time
  };

  size_t TakeInTurn(Ring& ring, size_t max_records, const Handler& handler);
  size_t TakeMerged(uint64_t now_ns, size_t max_records, const Handler& handler);
  void Look(Ring& ring, uint64_t now_ns);
  // Looks at the next record below the limit. Gives until which time the other rings may go on:
  // what follows from a record that is not complete, or from one behind it, must wait for it.
  uint64_t FindHead(Ring& ring);
  bool HandOut(Ring& ring, const Handler& handler);
  void MoveOn(Ring& ring, uint64_t space);
  void TellKernel(Ring& ring);
  // The record of that length, in one piece: one that goes on at the ring's beginning is copied.
  const std::byte* RecordAt(const RingMemory& memory, uint64_t position, size_t length);

  std::vector<Ring> rings_;
  std::vector<std::byte> joined_;
  uint64_t malformed_records_ = 0;
};

}  // namespace zerotap
