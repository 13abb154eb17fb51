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
  if (record.lost_before > 0 && waiting()) Flush(consumer);
  if (!waiting() && record.offset == next_) {
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
  if (!waiting()) return;
  if (holding_->records.size() >= kMaxHeldRecords || holding_->bytes >= kMaxHeldBytes) {
    Flush(consumer);
  }
}

void ByteStream::Hold(const zt_data_event& record, ByteSpan head, ByteSpan tail) {
  if (!waiting()) {
    holding_ = std::make_unique<Holding>();
    holding_->since_ns = record.header.time_ns;
  }
  Held held{record, {}};
  held.payload.reserve(head.size() + tail.size());
  held.payload.insert(held.payload.end(), head.begin(), head.end());
  held.payload.insert(held.payload.end(), tail.begin(), tail.end());
  holding_->bytes += held.payload.size();
  std::vector<Held>& records = holding_->records;
  auto place = std::upper_bound(
      records.begin(), records.end(), held.claimed_end(),
      [](uint64_t end, const Held& other) { return end < other.claimed_end(); });
  records.insert(place, std::move(held));
}

void ByteStream::Settle(StreamConsumer& consumer) {
  // Records in order of their claimed ends fill the stream from next_ on: after k of them the true end is
  // next_ + their lengths. Where that equals the k-th claimed end, these k are complete.
  while (waiting()) {
    std::vector<Held>& records = holding_->records;
    uint64_t end = next_;
    size_t complete = 0;
    for (size_t k = 0; k < records.size() && complete == 0; ++k) {
      end += records[k].record.length;
      if (end > records[k].claimed_end()) break;  // more bytes than room: an overlap that cannot be
      if (end == records[k].claimed_end()) complete = k + 1;
    }
    if (complete == 0) return;
    bool ambiguous = false;
    end = next_;
    for (size_t k = 0; k + 1 < complete; ++k) {
      end += records[k].record.length;
      ambiguous |= end + records[k + 1].record.length <= records[k].claimed_end();
    }
    const auto settled_end = records.begin() + static_cast<long>(complete);
    std::vector<Held> settled(std::make_move_iterator(records.begin()),
                              std::make_move_iterator(settled_end));
    records.erase(records.begin(), settled_end);
    for (const Held& held : settled) holding_->bytes -= held.payload.size();
    if (records.empty()) holding_.reset();
    if (ambiguous) {
      uint64_t total = 0;
      for (const Held& held : settled) total += held.record.length;
      DeliverGap(total, settled.back().record, consumer);
      continue;
    }
    for (const Held& held : settled) {
      ByteSpan payload(held.payload);
      Deliver(held.record, payload.first(held.record.head), payload.subspan(held.record.head),
              consumer);
    }
  }
}

void ByteStream::Flush(StreamConsumer& consumer) {
  const std::unique_ptr<Holding> all = std::move(holding_);
  for (const Held& held : all->records) {
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
  if (!waiting()) return;
  if (force || now_ns > holding_->since_ns + kHoleWaitNs) Flush(consumer);
}

void ByteStream::LoseEnd(uint64_t length, uint64_t time_ns, StreamConsumer& consumer) {
  zt_data_event at{};
  at.start_ns = time_ns;
  DeliverGap(length, at, consumer);
}

size_t ByteStream::MemorySize() const {
  if (!waiting()) return 0;
  return sizeof(Holding) + holding_->records.capacity() * sizeof(Held) + holding_->bytes;
}

}  // namespace zerotap
