#include "agent/packets/tcp_stream.h"

#include <algorithm>

namespace zerotap {

int64_t TcpStream::PositionOf(uint32_t sequence) const {
  const uint32_t here = first_ + static_cast<uint32_t>(next_);
  return static_cast<int64_t>(next_) + static_cast<int32_t>(sequence - here);
}

void TcpStream::Add(const StreamPiece& piece) {
  uint64_t end = piece.offset + piece.length;
  if (end_) end = std::min(end, *end_);
  uint64_t from = std::max(piece.offset, next_);
  uint64_t fresh = 0;
  // The first copy of a byte counts, so only the holes between what is held are filled.
  auto other = held_.upper_bound(from);
  if (other != held_.begin()) {
    auto before = std::prev(other);
    from = std::max(from, before->first + before->second.length);
  }
  while (from < end) {
    const uint64_t to = other == held_.end() ? end : std::min(end, other->first);
    if (to > from) {
      Keep(piece, from, to);
      fresh += to - from;
    }
    if (other == held_.end()) break;
    from = std::max(from, other->first + other->second.length);
    ++other;
  }
  repeated_bytes_ += piece.length - fresh;
}

void TcpStream::Keep(const StreamPiece& piece, uint64_t from, uint64_t to) {
  Held held;
  held.length = static_cast<uint32_t>(to - from);
  held.unix_ns = piece.unix_ns;
  held.needs = piece.needs;
  const size_t skip = static_cast<size_t>(from - piece.offset);
  if (skip < piece.bytes.size()) {
    ByteSpan kept =
        piece.bytes.subspan(skip, std::min<size_t>(held.length, piece.bytes.size() - skip));
    held.bytes.assign(kept.begin(), kept.end());
  }
  held_bytes_ += held.bytes.size();
  held_.emplace(from, std::move(held));
}

void TcpStream::SetEnd(uint64_t offset, uint64_t needs, uint64_t unix_ns) {
  if (end_ || offset < next_) return;
  // One that lies before bytes that came is another packet's mistake.
  if (!held_.empty() && std::prev(held_.end())->first >= offset) return;
  end_ = offset;
  end_needs_ = needs;
  end_unix_ns_ = unix_ns;
}

std::optional<StreamPiece> TcpStream::Front() const {
  if (held_.empty() || held_.begin()->first != next_) return std::nullopt;
  const Held& held = held_.begin()->second;
  return StreamPiece{next_, held.length, held.bytes, held.unix_ns, held.needs};
}

void TcpStream::Pop() {
  auto front = held_.begin();
  next_ = front->first + front->second.length;
  held_bytes_ -= front->second.bytes.size();
  held_.erase(front);
}

uint64_t TcpStream::WaitingOffset() const { return held_.empty() ? *end_ : held_.begin()->first; }

uint64_t TcpStream::WaitingSince() const {
  return held_.empty() ? end_unix_ns_ : held_.begin()->second.unix_ns;
}

uint64_t TcpStream::WaitingNeeds() const {
  return held_.empty() ? end_needs_ : held_.begin()->second.needs;
}

void TcpStream::SkipTo(uint64_t offset) {
  if (offset <= next_) return;
  next_ = offset;
  lost_before_ = true;
}

}  // namespace zerotap
