#include "agent/packets/packet.h"

#include <algorithm>

namespace zerotap {
namespace {

constexpr uint16_t kEtherIpv4 = 0x0800;
constexpr uint16_t kEtherIpv6 = 0x86DD;
constexpr uint16_t kEtherVlan = 0x8100;
constexpr uint16_t kEtherServiceVlan = 0x88A8;
constexpr uint16_t kEtherOldServiceVlan = 0x9100;
constexpr int kMaxVlanTags = 4;
constexpr uint8_t kProtocolTcp = 6;
constexpr int kMaxExtensionHeaders = 16;
// Address families of the loopback link type: AF_INET is 2 everywhere, AF_INET6 differs between
// systems.
constexpr uint32_t kFamilyInet = 2;
constexpr std::array<uint32_t, 4> kFamiliesInet6 = {10, 24, 28, 30};
constexpr uint16_t kCookedOutgoing = 4;
constexpr uint16_t kCookedToUs = 0;

PacketPath PathOf(uint16_t cooked_type) {
  if (cooked_type == kCookedOutgoing) return PacketPath::kOutgoing;
  return cooked_type == kCookedToUs ? PacketPath::kIncoming : PacketPath::kUnknown;
}

constexpr uint32_t Swapped(uint32_t value) {
  return value >> 24 | (value >> 8 & 0xFF00) | (value << 8 & 0xFF0000) | value << 24;
}

// Reads headers and keeps count of what is left of the packet as it was on the wire.
class Peeler {
 public:
  Peeler(const RawPacket& packet, TcpSegment& segment)
      : reader_(packet.bytes), wire_(packet.wire_length), segment_(segment) {}

  PacketVerdict Run(LinkLayer link) {
    switch (link) {
      case LinkLayer::kEthernet:
        reader_.Bytes(12);
        return EtherType(reader_.U16());
      case LinkLayer::kLinuxCooked:
        segment_.path = PathOf(reader_.U16());
        reader_.Bytes(12);
        return EtherType(reader_.U16());
      case LinkLayer::kLinuxCooked2: {
        uint16_t type = reader_.U16();
        reader_.Bytes(8);  // reserved, interface, hardware type
        segment_.path = PathOf(reader_.U8());
        reader_.Bytes(9);
        return EtherType(type);
      }
      case LinkLayer::kLoopback:
        return Loopback();
      case LinkLayer::kRaw:
        return Ip();
    }
    return PacketVerdict::kOther;
  }

 private:
  PacketVerdict EtherType(uint16_t type) {
    for (int tags = 0; tags < kMaxVlanTags; ++tags) {
      if (type != kEtherVlan && type != kEtherServiceVlan && type != kEtherOldServiceVlan) break;
      reader_.Bytes(2);
      type = reader_.U16();
    }
    if (!reader_.ok()) return PacketVerdict::kTruncated;
    if (type == kEtherIpv4) return Ipv4();
    return type == kEtherIpv6 ? Ipv6() : PacketVerdict::kOther;
  }

  PacketVerdict Loopback() {
    uint32_t family = reader_.U32();
    if (!reader_.ok()) return PacketVerdict::kTruncated;
    if ((family & 0xFFFF) == 0) family = Swapped(family);
    if (family == kFamilyInet) return Ipv4();
    bool six =
        std::find(kFamiliesInet6.begin(), kFamiliesInet6.end(), family) != kFamiliesInet6.end();
    return six ? Ipv6() : PacketVerdict::kOther;
  }

  PacketVerdict Ip() {
    ByteReader ahead = reader_;
    uint8_t version = ahead.U8() >> 4;
    if (!ahead.ok()) return PacketVerdict::kTruncated;
    if (version == 4) return Ipv4();
    return version == 6 ? Ipv6() : PacketVerdict::kOther;
  }

  // Bytes of the packet on the wire that come after what was read.
  uint64_t Left() const { return wire_ > reader_.position() ? wire_ - reader_.position() : 0; }

  PacketVerdict Ipv4() {
    const uint64_t on_wire = Left();
    uint8_t first = reader_.U8();
    reader_.U8();
    uint64_t total = reader_.U16();
    reader_.U16();
    uint16_t fragment = reader_.U16();
    reader_.U8();
    uint8_t protocol = reader_.U8();
    reader_.U16();
    Address(segment_.source, 4);
    Address(segment_.destination, 4);
    if (!reader_.ok()) return PacketVerdict::kTruncated;
    const uint64_t header = (first & 0xFu) * 4u;
    if (first >> 4 != 4 || header < 20) return PacketVerdict::kMalformed;
    // Segmentation left to the network card makes packets longer than the field can say.
    if (total == 0) total = on_wire;
    if (total < header || total > on_wire) return PacketVerdict::kMalformed;
    if ((fragment & 0x3FFF) != 0) return PacketVerdict::kFragment;
    if (protocol != kProtocolTcp) return PacketVerdict::kOther;
    reader_.Bytes(header - 20);
    segment_.family = ZT_FAMILY_IPV4;
    return Tcp(total - header);
  }

  PacketVerdict Ipv6() {
    uint8_t version = reader_.U8() >> 4;
    reader_.Bytes(3);
    uint64_t payload = reader_.U16();
    uint8_t next = reader_.U8();
    reader_.U8();
    Address(segment_.source, 16);
    Address(segment_.destination, 16);
    if (!reader_.ok()) return PacketVerdict::kTruncated;
    if (version != 6) return PacketVerdict::kMalformed;
    if (payload == 0) payload = Left();  // a jumbogram, or segmentation left to the card
    if (payload > Left()) return PacketVerdict::kMalformed;
    segment_.family = ZT_FAMILY_IPV6;
    for (int headers = 0; headers < kMaxExtensionHeaders && next != kProtocolTcp; ++headers) {
      uint64_t size = 0;
      PacketVerdict verdict = Extension(next, size);
      if (verdict != PacketVerdict::kTcp) return verdict;
      if (size > payload) return PacketVerdict::kMalformed;
      payload -= size;
    }
    return next == kProtocolTcp ? Tcp(payload) : PacketVerdict::kOther;
  }

  // One extension header; kTcp means: go on, `type` is what follows.
  PacketVerdict Extension(uint8_t& type, uint64_t& size) {
    constexpr uint8_t kHopByHop = 0, kRouting = 43, kFragmentHeader = 44, kAuthentication = 51,
                      kDestination = 60;
    const uint8_t current = type;
    if (current != kHopByHop && current != kRouting && current != kFragmentHeader &&
        current != kAuthentication && current != kDestination) {
      return PacketVerdict::kOther;
    }
    type = reader_.U8();
    uint8_t length = reader_.U8();
    if (current == kFragmentHeader) {
      uint16_t fragment = reader_.U16();
      reader_.U32();
      size = 8;
      if (reader_.ok() && (fragment & 0xFFF9) != 0) return PacketVerdict::kFragment;
    } else {
      size = current == kAuthentication ? (length + 2u) * 4u : (length + 1u) * 8u;
      reader_.Bytes(size - 2);
    }
    return reader_.ok() ? PacketVerdict::kTcp : PacketVerdict::kTruncated;
  }

  PacketVerdict Tcp(uint64_t datagram) {
    segment_.source.port = reader_.U16();
    segment_.destination.port = reader_.U16();
    segment_.sequence = reader_.U32();
    segment_.acknowledgment = reader_.U32();
    uint8_t header = static_cast<uint8_t>(reader_.U8() >> 4) * 4;
    uint8_t flags = reader_.U8();
    reader_.Bytes(6);
    if (!reader_.ok()) return PacketVerdict::kTruncated;
    if (header < 20 || header > datagram) return PacketVerdict::kMalformed;
    segment_.fin = (flags & 0x01) != 0;
    segment_.syn = (flags & 0x02) != 0;
    segment_.rst = (flags & 0x04) != 0;
    segment_.ack = (flags & 0x10) != 0;
    segment_.length = static_cast<uint32_t>(datagram - header);
    // Options that were cut off matter as little as the payload behind them: it is all missing
    // then.
    const size_t options = header - 20u;
    if (reader_.remaining() > options) {
      reader_.Bytes(options);
      segment_.payload = reader_.Bytes(std::min<size_t>(reader_.remaining(), segment_.length));
    }
    return PacketVerdict::kTcp;
  }

  void Address(PacketAddress& address, size_t size) {
    ByteSpan bytes = reader_.Bytes(size);
    for (size_t i = 0; i < bytes.size(); ++i) address.bytes[i] = std::to_integer<uint8_t>(bytes[i]);
  }

  ByteReader reader_;
  const uint64_t wire_;
  TcpSegment& segment_;
};

}  // namespace

PacketVerdict DecodePacket(const RawPacket& packet, TcpSegment& segment) {
  segment = TcpSegment{};
  segment.unix_ns = packet.unix_ns;
  return Peeler(packet, segment).Run(packet.link);
}

}  // namespace zerotap
