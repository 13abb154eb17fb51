#include "agent/packets/packet_events.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace zerotap {
namespace {

template <typename T>
T NewRecord(uint16_t kind, uint64_t now_ns) {
  T record{};
  record.header.time_ns = now_ns;
  record.header.size = sizeof(T);
  record.header.kind = kind;
  return record;
}

template <typename T>
void Hand(const T& record, const RecordHandler& handler) {
  alignas(8) T copy = record;
  handler({reinterpret_cast<const std::byte*>(&copy), sizeof(copy)});
}

}  // namespace

void ConnectionWriter::Opened(uint64_t now_ns) {
  for (int side = 0; side < 2; ++side) {
    const ConnectionEnds::End& own = ends_.ends[side];
    const ConnectionEnds::End& other = ends_.ends[1 - side];
    if (!own.told) continue;
    auto event = NewRecord<zt_connection_opened_event>(ZT_EVENT_CONNECTION_OPENED, now_ns);
    event.connection_id = own.connection_id;
    event.tgid = own.tgid;
    event.first_out = own.first_sequence;
    event.first_in = other.first_sequence;
    event.local_port = own.address.port;
    event.remote_port = other.address.port;
    event.family = ends_.family;
    event.role = own.role;
    event.flags = ends_.from_start ? ZT_OPENED_POSITIONS_EXACT : ZT_OPENED_MIDSTREAM;
    std::copy(own.address.bytes.begin(), own.address.bytes.end(), event.local_address);
    std::copy(other.address.bytes.begin(), other.address.bytes.end(), event.remote_address);
    Hand(event, handler_);
  }
}

void ConnectionWriter::Data(int side, const StreamPiece& piece, bool lost_before, uint64_t now_ns) {
  auto event = NewRecord<zt_data_event>(ZT_EVENT_DATA, now_ns);
  event.offset = piece.offset;
  event.length = piece.length;
  event.head = static_cast<zt_u32>(piece.bytes.size());
  event.lost_before = lost_before ? 1 : 0;
  event.flags = ZT_DATA_NONBLOCKING;  // no thread is known to wait for it
  const ConnectionEnds::End& sender = ends_.ends[side];
  const ConnectionEnds::End& receiver = ends_.ends[1 - side];
  if (sender.told) {
    event.start_ns = event.end_ns = piece.unix_ns;
    event.direction = ZT_DIRECTION_EGRESS;
    WriteData(sender, event, piece.bytes);
  }
  if (receiver.told) {
    event.start_ns = event.end_ns = now_ns;
    event.direction = ZT_DIRECTION_INGRESS;
    WriteData(receiver, event, piece.bytes);
  }
}

void ConnectionWriter::WriteData(const ConnectionEnds::End& end, zt_data_event event,
                                 ByteSpan bytes) {
  event.connection_id = end.connection_id;
  event.tgid = end.tgid;
  event.header.size = static_cast<zt_u32>(sizeof(event) + bytes.size());
  std::vector<uint64_t> storage((event.header.size + 7u) / 8u);
  auto* record = reinterpret_cast<std::byte*>(storage.data());
  std::memcpy(record, &event, sizeof(event));
  if (!bytes.empty()) std::memcpy(record + sizeof(event), bytes.data(), bytes.size());
  handler_({record, event.header.size});
}

void ConnectionWriter::Ended(int side, uint64_t now_ns) {
  const ConnectionEnds::End& sender = ends_.ends[side];
  const ConnectionEnds::End& receiver = ends_.ends[1 - side];
  if (sender.told) {
    auto event = NewRecord<zt_connection_shutdown_event>(ZT_EVENT_CONNECTION_SHUTDOWN, now_ns);
    event.connection_id = sender.connection_id;
    event.direction = ZT_DIRECTION_EGRESS;
    Hand(event, handler_);
  }
  if (receiver.told) {
    auto event = NewRecord<zt_data_event>(ZT_EVENT_DATA, now_ns);
    event.start_ns = event.end_ns = now_ns;
    event.direction = ZT_DIRECTION_INGRESS;
    event.flags = ZT_DATA_NONBLOCKING | ZT_DATA_EOF;
    WriteData(receiver, event, {});
  }
}

void ConnectionWriter::Closed(int reset_by, bool lost_tail, uint64_t now_ns) {
  for (int side = 0; side < 2; ++side) {
    if (!ends_.ends[side].told) continue;
    auto event = NewRecord<zt_connection_closed_event>(ZT_EVENT_CONNECTION_CLOSED, now_ns);
    event.connection_id = ends_.ends[side].connection_id;
    event.error = reset_by >= 0 && reset_by != side ? ECONNRESET : 0;
    if (lost_tail) {
      event.lost_events = UINT32_MAX;
      event.bytes_sent = event.bytes_received = UINT64_MAX;
    }
    Hand(event, handler_);
  }
}

}  // namespace zerotap
