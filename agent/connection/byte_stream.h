// One direction of a connection: turns data records into contiguous chunks and explicit gaps, in stream order.
//
// Records normally arrive in order and pass straight through, borrowed. A record that leaves a hole is kept (copied) for a
// short while: with several writers on one socket the ring order and the claimed positions may both be off. A claimed end
// is never below the true end and lengths are exact, so the records that fill a region tell their order unless two fit
// in each other's place; then the region becomes a gap rather than a guess.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "agent/protocols/protocol.h"
#include "bpf/abi/event.h"

namespace zerotap {

class StreamConsumer {
 public:
  virtual ~StreamConsumer() = default;
  virtual void OnChunk(Direction direction, const Chunk& chunk) = 0;
  virtual void OnGap(Direction direction, const Gap& gap) = 0;
  // The stream's position jumped by so many bytes, of which there is no record. Comes before their gap.
  virtual void OnJump(Direction direction, uint64_t bytes) = 0;
};

class ByteStream {
 public:
  explicit ByteStream(Direction direction) : direction_(direction) {}

  // The stream was seen from its first byte: what is missing before the first record is a gap.
  void StartAtZero() { started_ = true; }

  // `head` and `tail` are the captured ends of the record's bytes, borrowed for the call.
  void Add(const zt_data_event& record, ByteSpan head, ByteSpan tail, StreamConsumer& consumer);

  // Gives up on holes that are older than the waiting time; `force` gives up on all.
  void Expire(uint64_t now_ns, bool force, StreamConsumer& consumer);

  // The last `length` bytes of the stream were lost: no record will come to show the hole.
  void LoseEnd(uint64_t length, uint64_t time_ns, StreamConsumer& consumer);

  bool waiting() const { return holding_ != nullptr; }
  uint64_t position() const { return next_; }
  uint64_t late_records() const { return late_records_; }
  size_t MemorySize() const;

 private:
  struct Held {
    zt_data_event record;
    std::vector<std::byte> payload;  // head, then tail
    uint64_t claimed_end() const { return record.offset + record.length; }
  };

  // What waits behind a hole.
  struct Holding {
    std::vector<Held> records;  // sorted by claimed end
    size_t bytes = 0;
    uint64_t since_ns = 0;
  };

  void Deliver(const zt_data_event& record, ByteSpan head, ByteSpan tail, StreamConsumer& consumer);
  void DeliverGap(uint64_t length, const zt_data_event& next_record, StreamConsumer& consumer);
  // The next record stands further on than it should.
  void DeliverJump(const zt_data_event& next_record, StreamConsumer& consumer);
  void Hold(const zt_data_event& record, ByteSpan head, ByteSpan tail);
  // Delivers the longest run of held records that certainly continues the stream.
  void Settle(StreamConsumer& consumer);
  void Flush(StreamConsumer& consumer);

  uint64_t next_ = 0;
  std::unique_ptr<Holding> holding_;  // null: nothing waits
  uint32_t late_records_ = 0;
  Direction direction_;
  bool started_ = false;
};

}  // namespace zerotap
