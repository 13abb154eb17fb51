// One captured packet and the TCP segment in it. Link layers are peeled off, addresses and ports
// read; nothing is kept.
#pragma once

#include <array>
#include <cstdint>

#include "agent/base/bytes.h"
#include "bpf/abi/event.h"

namespace zerotap {

enum class LinkLayer : uint8_t {
  kEthernet,      // VLAN tags (802.1Q, 802.1ad) are passed over
  kLinuxCooked,   // tcpdump -i any before libpcap 1.10
  kLinuxCooked2,  // tcpdump -i any since
  kLoopback,      // address family in the byte order of the capturing host (NULL) or of the network
                  // (LOOP)
  kRaw,           // starts with the IP header
};

struct RawPacket {
  uint64_t unix_ns = 0;
  LinkLayer link = LinkLayer::kEthernet;
  ByteSpan bytes;            // as captured
  uint32_t wire_length = 0;  // before a snap length cut it
};

struct PacketAddress {
  std::array<uint8_t, ZT_ADDRESS_SIZE> bytes{};  // IPv4 in the first four
  uint16_t port = 0;

  bool operator==(const PacketAddress&) const = default;
  auto operator<=>(const PacketAddress&) const = default;
};

// Which way the capturing host saw it go; only cooked captures say.
enum class PacketPath : uint8_t { kUnknown, kIncoming, kOutgoing };

struct TcpSegment {
  uint64_t unix_ns = 0;
  uint8_t family = 0;  // enum zt_socket_family
  PacketAddress source;
  PacketAddress destination;
  PacketPath path = PacketPath::kUnknown;
  uint32_t sequence = 0;
  uint32_t acknowledgment = 0;
  bool syn = false;
  bool ack = false;
  bool fin = false;
  bool rst = false;
  ByteSpan payload;     // what was captured of it, borrowed
  uint32_t length = 0;  // of the payload on the wire
};

enum class PacketVerdict : uint8_t {
  kTcp,
  kOther,      // another protocol, or a link type that carries none of IP
  kFragment,   // a piece of an IP datagram; these are not put together
  kTruncated,  // the snap length cut its headers
  kMalformed,  // its lengths contradict each other
};

// Fills `segment` for kTcp only.
PacketVerdict DecodePacket(const RawPacket& packet, TcpSegment& segment);

}  // namespace zerotap
