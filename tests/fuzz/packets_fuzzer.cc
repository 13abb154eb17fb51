// LIBRARIES: zerotap_packets zerotap_pipeline
// Hostile packets: the input is read as a script of packets, half of them arbitrary bytes below any link layer, half of them
// segments of a few connections with arbitrary positions, flags, acknowledgments, times and cuts. Oracles: every record is
// well formed; each direction is told in order, each byte once, with what is missing said; nothing after the close; what
// waits is bounded; the pipeline's ledger balances.
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "agent/events/event.h"
#include "agent/packets/packet_tracker.h"
#include "agent/pipeline/replay.h"
#include "tests/support/packet_builder.h"

namespace zerotap {
namespace {

using testing::BuiltPacket;

constexpr size_t kMaxHeld = 20000;
constexpr size_t kMaxPacket = 4096;

class Script {
 public:
  Script(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool done() const { return position_ >= size_; }
  uint8_t Byte() { return done() ? 0 : data_[position_++]; }
  uint16_t Word() { return static_cast<uint16_t>(Byte() | (Byte() << 8)); }
  uint32_t Double() { return Word() | (uint32_t{Word()} << 16); }
  std::string_view Take(size_t count) {
    count = std::min(count, size_ - std::min(position_, size_));
    std::string_view taken(reinterpret_cast<const char*>(data_ + position_), count);
    position_ += count;
    return taken;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t position_ = 0;
};

// What the records of one end must keep to.
class Judge {
 public:
  void Look(ByteSpan bytes) {
    std::optional<Event> event = DecodeEvent(bytes);
    if (!event || event->header->time_ns < last_ns_) std::abort();
    last_ns_ = event->header->time_ns;
    if (event->opened != nullptr) {
      if (!ends_.emplace(event->opened->connection_id, End{}).second) std::abort();
      if (event->opened->tgid == 0) std::abort();
    } else if (event->data != nullptr) {
      LookAtData(*event->data);
    } else if (event->shutdown != nullptr) {
      Find(event->shutdown->connection_id).ended[event->shutdown->direction] = true;
    } else if (event->closed != nullptr) {
      Find(event->closed->connection_id).closed = true;
    } else {
      std::abort();  // packets know of no processes
    }
  }

 private:
  struct End {
    uint64_t next[2] = {0, 0};
    bool ended[2] = {false, false};
    bool closed = false;
  };
  End& Find(uint64_t id) {
    auto found = ends_.find(id);
    if (found == ends_.end() || found->second.closed) std::abort();
    return found->second;
  }
  void LookAtData(const zt_data_event& data) {
    End& end = Find(data.connection_id);
    if (end.ended[data.direction]) std::abort();
    if ((data.flags & ZT_DATA_EOF) != 0) {
      end.ended[data.direction] = true;
      return;
    }
    uint64_t& next = end.next[data.direction];
    const bool in_order = data.lost_before > 0 ? data.offset >= next : data.offset == next;
    if (data.length == 0 || !in_order || data.end_ns > last_ns_) std::abort();
    next = data.offset + data.length;
  }

  std::map<uint64_t, End> ends_;
  uint64_t last_ns_ = 0;
};

struct Side {
  uint32_t sequence = 0;
};

BuiltPacket NextPacket(Script& script, uint64_t now_ns, Side (&sides)[4][2]) {
  const uint8_t shape = script.Byte();
  if (shape % 4 == 0) {
    auto link = static_cast<LinkLayer>(script.Byte() % 5);
    BuiltPacket packet = testing::Packet(now_ns, link, std::string(script.Take(script.Byte())));
    packet.wire_length += script.Byte();
    return packet;
  }
  const uint8_t which = script.Byte();
  auto& flow = sides[which % 4];
  const bool from_client = (which & 0x10) != 0;
  Side& own = flow[from_client ? 0 : 1];
  Side& other = flow[from_client ? 1 : 0];
  testing::TcpFields tcp;
  const auto client_port = static_cast<uint16_t>(2000 + which % 4);
  tcp.source_port = from_client ? client_port : 80;
  tcp.destination_port = from_client ? 80 : client_port;
  tcp.flags = script.Byte() & 0x17;
  if ((shape & 0x10) == 0) tcp.flags = testing::kAck;  // mostly ordinary
  tcp.payload = script.Take((shape & 0x20) != 0 ? script.Byte() : script.Byte() % 16);
  int32_t off = 0;
  if ((shape & 0x40) != 0) off = static_cast<int8_t>(script.Byte());
  if ((shape & 0xC0) == 0xC0) off = static_cast<int32_t>(script.Double());
  tcp.sequence = own.sequence + static_cast<uint32_t>(off);
  tcp.acknowledgment = other.sequence + ((shape & 0x08) != 0 ? static_cast<uint32_t>(script.Byte()) : 0);
  if (off >= 0 && off < 256) {
    own.sequence = tcp.sequence + static_cast<uint32_t>(tcp.payload.size()) + ((tcp.flags & 3) != 0 ? 1 : 0);
  }
  const std::string client("\x7f\0\0\1", 4), server("\x7f\0\0\1", 4);
  BuiltPacket packet = testing::Packet(now_ns, LinkLayer::kRaw,
                                       testing::Ipv4Bytes(client, server, testing::TcpBytes(tcp)));
  return (shape & 0x04) != 0 ? packet.Snapped(script.Byte()) : packet;
}

void Run(const uint8_t* data, size_t size) {
  Script script(data, size);
  PacketOptions options;
  options.ends = static_cast<EndChoice>(script.Byte() % 4);
  options.max_connections = 3;
  options.max_held_bytes = kMaxHeld;
  options.max_addresses = 4;
  options.connection.max_held_bytes = kMaxHeld / 2;
  options.connection.max_held_pieces = 16;
  size_t spans_seen = 0;
  uint64_t in_flight = 0;
  auto replayer = Replayer::Create({}, PipelineOptions{}, [&](std::vector<Span>&& spans) {
    for (const Span& span : spans) {
      if (!span.trace_id.valid() || span.end_unix_ns < span.start_unix_ns) std::abort();
    }
    spans_seen += spans.size();
  });
  if (!replayer) std::abort();
  Judge judge;
  PacketTracker tracker(options, [&](ByteSpan record) {
    judge.Look(record);
    (*replayer)->OnRecord(record);
  });
  Side sides[4][2] = {{{1000}, {9000}}, {{0xFFFFFFF0}, {0xFFFFFF00}}, {{5}, {5}}, {{0x7FFFFFF0}, {0}}};
  uint64_t now_ns = 1'000'000'000;
  while (!script.done()) {
    const uint8_t step = script.Byte();
    now_ns += step < 250 ? step * uint64_t{1000} : step * uint64_t{1'000'000'00};
    BuiltPacket packet = NextPacket(script, step == 249 ? now_ns / 2 : now_ns, sides);
    if (packet.bytes.size() > kMaxPacket) std::abort();
    tracker.OnPacket(packet.raw());
    if (tracker.live_connections() > options.max_connections) std::abort();
    if (tracker.held_bytes() > kMaxHeld + kMaxPacket) std::abort();
    (*replayer)->OnClock(tracker.now_ns());
  }
  tracker.Flush();
  if (tracker.held_bytes() != 0) std::abort();
  (*replayer)->Finish([&](Pipeline& pipeline) {
    in_flight = pipeline.ledger().Total().in_flight();
    if (pipeline.stats().malformed_records != 0 || pipeline.stats().spans_held != 0) std::abort();
  });
  if (in_flight != spans_seen) std::abort();  // spans that came out are nobody's to export here
}

}  // namespace
}  // namespace zerotap

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  zerotap::Run(data, size);
  return 0;
}
