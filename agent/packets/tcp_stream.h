// One direction of a TCP connection as packets show it: what came is put in order of sequence
// numbers, of bytes that came twice the first copy counts, and what never comes is skipped when the
// connection says so.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "agent/base/bytes.h"

namespace zerotap {

// Payload at a position of the stream. Fewer bytes than `length` when a snap length cut the packet.
struct StreamPiece {
  uint64_t offset = 0;
  uint32_t length = 0;
  ByteSpan bytes;
  uint64_t unix_ns = 0;  // of the packet
  uint64_t needs = 0;    // what its sender had received from the other side by then
};

class TcpStream {
 public:
  // Positions count from this sequence number.
  void Start(uint32_t first_sequence) { first_ = first_sequence; }
  uint32_t first_sequence() const { return first_; }

  // The position of a sequence number near to where the stream stands; negative: before its start.
  int64_t PositionOf(uint32_t sequence) const;

  // What of the piece is new is kept (copied). Counts bytes that came again.
  void Add(const StreamPiece& piece);
  // The sender says that nothing comes after this position.
  void SetEnd(uint64_t offset, uint64_t needs, uint64_t unix_ns);
  void Acknowledge(uint64_t position) {
    if (position > acknowledged_) acknowledged_ = position;
  }

  // The next piece in order, if it is there; borrowed until Pop.
  std::optional<StreamPiece> Front() const;
  void Pop();
  // The first piece or the end that is waiting: how long, and from where on something is missing.
  bool waiting() const { return !held_.empty() || (end_ && !ended_); }
  uint64_t WaitingOffset() const;
  uint64_t WaitingSince() const;
  uint64_t WaitingNeeds() const;
  bool end_ready() const { return end_ && !ended_ && held_.empty() && *end_ <= next_; }
  uint64_t end_needs() const { return end_needs_; }
  uint64_t end_unix_ns() const { return end_unix_ns_; }
  void TakeEnd() { ended_ = true; }
  bool ended() const { return ended_; }
  bool knows_end() const { return end_.has_value(); }

  // Gives up on everything before `offset`.
  void SkipTo(uint64_t offset);
  // An in-order piece that was handed on without being kept.
  void Advance(uint32_t length) { next_ += length; }

  // Bytes are missing right before the current position and nobody was told yet.
  bool lost_before() const { return lost_before_; }
  void LossTold() { lost_before_ = false; }

  uint64_t next() const { return next_; }
  // As an acknowledgment number counts: the end takes one.
  uint64_t position() const { return next_ + (ended_ ? 1 : 0); }
  uint64_t acknowledged() const { return acknowledged_; }
  size_t held_pieces() const { return held_.size(); }
  size_t held_bytes() const { return held_bytes_; }
  uint64_t repeated_bytes() const { return repeated_bytes_; }

 private:
  struct Held {
    uint32_t length = 0;
    std::vector<std::byte> bytes;
    uint64_t unix_ns = 0;
    uint64_t needs = 0;
  };
  void Keep(const StreamPiece& piece, uint64_t from, uint64_t to);

  uint32_t first_ = 0;
  uint64_t next_ = 0;
  uint64_t acknowledged_ = 0;
  std::map<uint64_t, Held> held_;  // by offset; they do not overlap
  size_t held_bytes_ = 0;
  uint64_t repeated_bytes_ = 0;
  std::optional<uint64_t> end_;
  uint64_t end_needs_ = 0;
  uint64_t end_unix_ns_ = 0;
  bool ended_ = false;
  bool lost_before_ = false;
};

}  // namespace zerotap
