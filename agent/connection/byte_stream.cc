#include "agent/connection/byte_stream.h"

#include <algorithm>

namespace zerotap {
namespace {

constexpr size_t kMaxHeldRecords = 64;
constexpr size_t kMaxHeldBytes = 256 * 1024;
constexpr uint64_t kHoleWaitNs = 20'000'000;

Chunk ChunkOf(const zt_data_event& record, ByteSpan bytes, uint64_t offset) {
  Chunk chunk;
  chunk.bytes = bytes;
  chunk.offset = offset;
  chunk.start_ns = record.start_ns;
  chunk.end_ns = record.end_ns;
  chunk.tgid = record.tgid;
  chunk.tid = record.tid;
  chunk.blocking = (record.flags & ZT_DATA_NONBLOCKING) == 0;
  chunk.context_id = record.context_id;
  chunk.parent_context_id = record.parent_context_id;
  return chunk;
}

}  // namespace

void ByteStream::Deliver(const zt_data_event& record, ByteSpan head, ByteSpan tail,
                         StreamConsumer& consumer) {
  uint64_t offset = next_;
  next_ += record.length;
  if (!head.empty()) consumer.OnChunk(direction_, ChunkOf(record, head, offset));
  uint64_t skipped = record.length - head.size() - tail.size();
  if (skipped > 0) {
    Gap gap;
    gap.offset = offset + head.size();
    gap.length = skipped;
    gap.start_ns = record.start_ns;
    gap.end_ns = record.end_ns;
    gap.tgid = record.tgid;
    gap.tid = record.tid;
    consumer.OnGap(direction_, gap);
  }
  if (!tail.empty()) {
    consumer.OnChunk(direction_, ChunkOf(record, tail, offset + head.size() + skipped));
  }
}

void ByteStream::DeliverGap(uint64_t length, const zt_data_event& next_record,
                            StreamConsumer& consumer) {
  Gap gap;
  gap.offset = next_;
  gap.length = length;
  gap.start_ns = next_record.start_ns;
  gap.end_ns = next_record.start_ns;
  gap.tgid = next_record.tgid;
  gap.tid = next_record.tid;
  gap.lost = true;
  next_ += length;
  consumer.OnGap(direction_, gap);
}

void ByteStream::DeliverJump(const zt_data_event& next_record, StreamConsumer& consumer) {
  uint64_t length = next_record.offset - next_;
  consumer.OnJump(direction_, length);
  DeliverGap(length, next_record, consumer);
}

void ByteStream::Add(const zt_data_event& record, ByteSpan head, ByteSpan tail,
                     StreamConsumer& consumer) {
  if ((record.flags & ZT_DATA_PEEK) != 0 || record.length == 0) return;
  if (!started_) {
    started_ = true;
    next_ = record.offset;
  }
  if (record.lost_before > 0 && !held_.empty()) Flush(consumer);
  if (held_.empty() && record.offset == next_) {
    Deliver(record, head, tail, consumer);
    return;
  }
  if (record.offset + record.length <= next_) {
    ++late_records_;  // its place was already given up as a gap
    return;
  }
  if (record.lost_before > 0 && record.offset > next_) {
    DeliverJump(record, consumer);
    Deliver(record, head, tail, consumer);
    return;
  }
  Hold(record, head, tail);
  Settle(consumer);
  if (held_.size() >= kMaxHeldRecords || held_bytes_ >= kMaxHeldBytes) Flush(consumer);
}

void ByteStream::Hold(const zt_data_event& record, ByteSpan head, ByteSpan tail) {
  if (held_.empty()) held_since_ns_ = record.header.time_ns;
  Held held{record, {}};
  held.payload.reserve(head.size() + tail.size());
  held.payload.insert(held.payload.end(), head.begin(), head.end());
  held.payload.insert(held.payload.end(), tail.begin(), tail.end());
  held_bytes_ += held.payload.size();
  auto place = std::upper_bound(
      held_.begin(), held_.end(), held.claimed_end(),
      [](uint64_t end, const Held& other) { return end < other.claimed_end(); });
  held_.insert(place, std::move(held));
}

void ByteStream::Settle(StreamConsumer& consumer) {
  // Records in order of their claimed ends fill the stream from next_ on: after k of them the true end is
  // next_ + their lengths. Where that equals the k-th claimed end, these k are complete.
  while (!held_.empty()) {
    uint64_t end = next_;
    size_t complete = 0;
    for (size_t k = 0; k < held_.size() && complete == 0; ++k) {
      end += held_[k].record.length;
      if (end > held_[k].claimed_end()) break;  // more bytes than room: an overlap that cannot be
      if (end == held_[k].claimed_end()) complete = k + 1;
    }
    if (complete == 0) return;
    bool ambiguous = false;
    end = next_;
    for (size_t k = 0; k + 1 < complete; ++k) {
      end += held_[k].record.length;
      ambiguous |= end + held_[k + 1].record.length <= held_[k].claimed_end();
    }
    std::vector<Held> settled(std::make_move_iterator(held_.begin()),
                              std::make_move_iterator(held_.begin() + static_cast<long>(complete)));
    held_.erase(held_.begin(), held_.begin() + static_cast<long>(complete));
    if (ambiguous) {
      uint64_t total = 0;
      for (const Held& held : settled) total += held.record.length;
      DeliverGap(total, settled.back().record, consumer);
    }
    for (const Held& held : settled) {
      held_bytes_ -= held.payload.size();
      if (ambiguous) continue;
      ByteSpan payload(held.payload);
      Deliver(held.record, payload.first(held.record.head), payload.subspan(held.record.head),
              consumer);
    }
  }
}

void ByteStream::Flush(StreamConsumer& consumer) {
  std::vector<Held> all;
  all.swap(held_);
  held_bytes_ = 0;
  for (const Held& held : all) {
    if (held.claimed_end() <= next_) {
      ++late_records_;
      continue;
    }
    if (held.record.offset < next_) {
      DeliverGap(held.claimed_end() - next_, held.record, consumer);
      continue;
    }
    if (held.record.offset > next_) DeliverJump(held.record, consumer);
    ByteSpan payload(held.payload);
    Deliver(held.record, payload.first(held.record.head), payload.subspan(held.record.head),
            consumer);
  }
}

void ByteStream::Expire(uint64_t now_ns, bool force, StreamConsumer& consumer) {
  if (held_.empty()) return;
  if (force || now_ns > held_since_ns_ + kHoleWaitNs) Flush(consumer);
}

void ByteStream::LoseEnd(uint64_t length, uint64_t time_ns, StreamConsumer& consumer) {
  zt_data_event at{};
  at.start_ns = time_ns;
  DeliverGap(length, at, consumer);
}

size_t ByteStream::MemorySize() const { return held_.capacity() * sizeof(Held) + held_bytes_; }

}  // namespace zerotap
