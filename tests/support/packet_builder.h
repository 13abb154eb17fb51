// Builds packets for tests: a scripted TCP connection as a capture shows it, below any link layer.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "agent/packets/packet.h"

namespace zerotap::testing {

struct BuiltPacket {
  uint64_t unix_ns = 0;
  LinkLayer link = LinkLayer::kRaw;
  std::string bytes;
  uint32_t wire_length = 0;

  RawPacket raw() const& { return {unix_ns, link, AsBytes(bytes), wire_length}; }
  // As a snap length of `size` leaves it.
  BuiltPacket Snapped(size_t size) const {
    BuiltPacket cut = *this;
    cut.bytes.resize(std::min(size, bytes.size()));
    return cut;
  }
};

inline std::string BigEndian(uint64_t value, int width) {
  std::string text;
  for (int shift = (width - 1) * 8; shift >= 0; shift -= 8) {
    text.push_back(static_cast<char>(value >> shift & 0xFF));
  }
  return text;
}

enum TcpFlags : uint8_t { kFin = 1, kSyn = 2, kRst = 4, kAck = 16 };

struct TcpFields {
  uint16_t source_port = 40000;
  uint16_t destination_port = 80;
  uint32_t sequence = 0;
  uint32_t acknowledgment = 0;
  uint8_t flags = kAck;
  std::string_view payload;
  std::string options;  // a multiple of four bytes
};

inline std::string TcpBytes(const TcpFields& tcp) {
  return BigEndian(tcp.source_port, 2) + BigEndian(tcp.destination_port, 2) +
         BigEndian(tcp.sequence, 4) + BigEndian(tcp.acknowledgment, 4) +
         BigEndian((20 + tcp.options.size()) / 4 * 16, 1) + BigEndian(tcp.flags, 1) +
         BigEndian(65535, 2) + BigEndian(0, 4) + tcp.options + std::string(tcp.payload);
}

inline std::string Ipv4Bytes(std::string_view source, std::string_view destination,
                             std::string_view body, uint16_t fragment = 0x4000, uint8_t protocol = 6) {
  return BigEndian(0x4500, 2) + BigEndian(20 + body.size(), 2) + BigEndian(0, 2) +
         BigEndian(fragment, 2) + BigEndian(64, 1) + BigEndian(protocol, 1) + BigEndian(0, 2) +
         std::string(source) + std::string(destination) + std::string(body);
}

// `extensions` stand between the header and `body`; `next` is the type of the first of them, or of the body.
inline std::string Ipv6Bytes(std::string_view source, std::string_view destination,
                             std::string_view body, std::string_view extensions = {},
                             uint8_t next = 6) {
  return BigEndian(0x60000000, 4) + BigEndian(body.size() + extensions.size(), 2) +
         BigEndian(next, 1) + BigEndian(64, 1) + std::string(source) + std::string(destination) +
         std::string(extensions) + std::string(body);
}

inline BuiltPacket Packet(uint64_t unix_ns, LinkLayer link, std::string bytes) {
  BuiltPacket packet{unix_ns, link, std::move(bytes), 0};
  packet.wire_length = static_cast<uint32_t>(packet.bytes.size());
  return packet;
}

// A connection between 10.0.0.1 (client) and 10.0.0.2 (server). Each call makes the next packet; the two sides'
// sequence numbers go on by themselves.
class PacketScript {
 public:
  uint64_t now_ns = 1'000'000'000;
  uint16_t client_port = 40000;
  uint16_t server_port = 80;
  std::string client_address = std::string("\x0a\0\0\1", 4);
  std::string server_address = std::string("\x0a\0\0\2", 4);
  uint32_t client_sequence = 1000;  // of the next byte
  uint32_t server_sequence = 9000;

  BuiltPacket Syn() {
    BuiltPacket packet = From(true, kSyn, {}, client_sequence);
    ++client_sequence;
    return packet;
  }
  BuiltPacket SynAck() {
    BuiltPacket packet = From(false, kSyn | kAck, {}, server_sequence);
    ++server_sequence;
    return packet;
  }
  BuiltPacket Client(std::string_view payload, uint8_t flags = kAck) {
    BuiltPacket packet = From(true, flags, payload, client_sequence);
    client_sequence += static_cast<uint32_t>(payload.size()) + ((flags & kFin) != 0 ? 1 : 0);
    return packet;
  }
  BuiltPacket Server(std::string_view payload, uint8_t flags = kAck) {
    BuiltPacket packet = From(false, flags, payload, server_sequence);
    server_sequence += static_cast<uint32_t>(payload.size()) + ((flags & kFin) != 0 ? 1 : 0);
    return packet;
  }
  // Any packet, with this sequence number.
  BuiltPacket From(bool client, uint8_t flags, std::string_view payload, uint32_t sequence) {
    TcpFields tcp;
    tcp.source_port = client ? client_port : server_port;
    tcp.destination_port = client ? server_port : client_port;
    tcp.sequence = sequence;
    tcp.acknowledgment = (flags & kAck) == 0 ? 0 : client ? server_sequence : client_sequence;
    tcp.flags = flags;
    tcp.payload = payload;
    now_ns += 1000;
    return Packet(now_ns, LinkLayer::kRaw,
                  Ipv4Bytes(client ? client_address : server_address,
                            client ? server_address : client_address, TcpBytes(tcp)));
  }
};

}  // namespace zerotap::testing
