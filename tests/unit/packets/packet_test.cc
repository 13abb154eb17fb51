#include "agent/packets/packet.h"

#include <gtest/gtest.h>

#include "tests/support/packet_builder.h"

namespace zerotap {
namespace {

using namespace testing;

const std::string kFour1("\x0a\0\0\1", 4), kFour2("\x0a\0\0\2", 4);
const std::string kSix1("\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
const std::string kSix2("\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2", 16);
const std::string kMacs(12, '\x02');

std::string Segment(std::string_view payload = "hello") {
  TcpFields tcp;
  tcp.sequence = 0x01020304;
  tcp.acknowledgment = 0xFFFEFDFC;
  tcp.payload = payload;
  return TcpBytes(tcp);
}
std::string Datagram(std::string_view payload = "hello") {
  return Ipv4Bytes(kFour1, kFour2, Segment(payload));
}

void ExpectHello(const BuiltPacket& packet, uint8_t family = ZT_FAMILY_IPV4) {
  TcpSegment segment;
  ASSERT_EQ(DecodePacket(packet.raw(), segment), PacketVerdict::kTcp);
  EXPECT_EQ(segment.unix_ns, packet.unix_ns);
  EXPECT_EQ(segment.family, family);
  const std::string& source = family == ZT_FAMILY_IPV4 ? kFour1 : kSix1;
  const std::string& destination = family == ZT_FAMILY_IPV4 ? kFour2 : kSix2;
  EXPECT_EQ(std::memcmp(segment.source.bytes.data(), source.data(), source.size()), 0);
  EXPECT_EQ(std::memcmp(segment.destination.bytes.data(), destination.data(), destination.size()), 0);
  EXPECT_EQ(segment.source.port, 40000);
  EXPECT_EQ(segment.destination.port, 80);
  EXPECT_EQ(segment.sequence, 0x01020304u);
  EXPECT_EQ(segment.acknowledgment, 0xFFFEFDFCu);
  EXPECT_EQ(AsText(segment.payload), "hello");
  EXPECT_EQ(segment.length, 5u);
  EXPECT_TRUE(segment.ack);
  EXPECT_FALSE(segment.syn || segment.fin || segment.rst);
}

PacketVerdict VerdictOf(const BuiltPacket& packet) {
  TcpSegment segment;
  return DecodePacket(packet.raw(), segment);
}

TEST(Packet, BelowEveryLinkLayer) {
  const std::string ip = Datagram();
  ExpectHello(Packet(7, LinkLayer::kEthernet, kMacs + "\x08" + std::string(1, '\0') + ip));
  ExpectHello(Packet(7, LinkLayer::kRaw, ip));
  const std::string cooked = std::string(13, '\0') + '\6' + BigEndian(0x0800, 2);
  ExpectHello(Packet(7, LinkLayer::kLinuxCooked, cooked + ip));
  ExpectHello(Packet(7, LinkLayer::kLinuxCooked2, BigEndian(0x0800, 2) + std::string(18, '\0') + ip));
  ExpectHello(Packet(7, LinkLayer::kLoopback, std::string("\2\0\0\0", 4) + ip));
  ExpectHello(Packet(7, LinkLayer::kLoopback, std::string("\0\0\0\2", 4) + ip));
}

TEST(Packet, SixBelowEveryLinkLayer) {
  const std::string ip = Ipv6Bytes(kSix1, kSix2, Segment());
  ExpectHello(Packet(7, LinkLayer::kEthernet, kMacs + BigEndian(0x86DD, 2) + ip), ZT_FAMILY_IPV6);
  ExpectHello(Packet(7, LinkLayer::kRaw, ip), ZT_FAMILY_IPV6);
  ExpectHello(Packet(7, LinkLayer::kLinuxCooked2, BigEndian(0x86DD, 2) + std::string(18, '\0') + ip),
              ZT_FAMILY_IPV6);
  for (char family : {10, 24, 28, 30}) {
    ExpectHello(Packet(7, LinkLayer::kLoopback, std::string({family, 0, 0, 0}) + ip), ZT_FAMILY_IPV6);
  }
}

TEST(Packet, CookedCapturesSayWhichWay) {
  TcpSegment segment;
  auto path = [&](LinkLayer link, char type) {
    std::string header = link == LinkLayer::kLinuxCooked
                             ? std::string({0, type}) + std::string(12, '\0') + BigEndian(0x0800, 2)
                             : BigEndian(0x0800, 2) + std::string(8, '\0') + type + std::string(9, '\0');
    EXPECT_EQ(DecodePacket(Packet(1, link, header + Datagram()).raw(), segment), PacketVerdict::kTcp);
    return segment.path;
  };
  for (LinkLayer link : {LinkLayer::kLinuxCooked, LinkLayer::kLinuxCooked2}) {
    EXPECT_EQ(path(link, 0), PacketPath::kIncoming);
    EXPECT_EQ(path(link, 3), PacketPath::kUnknown);
    EXPECT_EQ(path(link, 4), PacketPath::kOutgoing);
  }
}

TEST(Packet, VlanTags) {
  const std::string tag = BigEndian(0x8100, 2) + BigEndian(5, 2);
  const std::string service = BigEndian(0x88A8, 2) + BigEndian(9, 2);
  const std::string rest = BigEndian(0x0800, 2) + Datagram();
  ExpectHello(Packet(7, LinkLayer::kEthernet, kMacs + tag + rest));
  ExpectHello(Packet(7, LinkLayer::kEthernet, kMacs + service + tag + rest));
  ExpectHello(Packet(7, LinkLayer::kLinuxCooked, std::string(14, '\0') + tag + rest));
  EXPECT_EQ(VerdictOf(Packet(7, LinkLayer::kEthernet, kMacs + tag + tag + tag + tag + tag + rest)),
            PacketVerdict::kOther);
}

TEST(Packet, PaddingOfShortFramesIsNoPayload) {
  TcpSegment segment;
  const std::string frame = kMacs + BigEndian(0x0800, 2) + Datagram("") + std::string(6, '\0');
  ASSERT_EQ(DecodePacket(Packet(7, LinkLayer::kEthernet, frame).raw(), segment), PacketVerdict::kTcp);
  EXPECT_EQ(segment.length, 0u);
  EXPECT_TRUE(segment.payload.empty());
}

TEST(Packet, OptionsAreNoPayload) {
  TcpFields tcp;
  tcp.options = std::string(12, '\1');
  tcp.payload = "data";
  TcpSegment segment;
  const BuiltPacket packet = Packet(7, LinkLayer::kRaw, Ipv4Bytes(kFour1, kFour2, TcpBytes(tcp)));
  ASSERT_EQ(DecodePacket(packet.raw(), segment), PacketVerdict::kTcp);
  EXPECT_EQ(AsText(segment.payload), "data");
  EXPECT_EQ(segment.length, 4u);
}

TEST(Packet, LengthLeftToTheNetworkCard) {
  std::string four = Datagram();
  four[2] = four[3] = '\0';
  ExpectHello(Packet(7, LinkLayer::kRaw, four));
  std::string six = Ipv6Bytes(kSix1, kSix2, Segment());
  six[4] = six[5] = '\0';
  ExpectHello(Packet(7, LinkLayer::kRaw, six), ZT_FAMILY_IPV6);
}

TEST(Packet, SnapLengthKeepsTheTrueLength) {
  TcpSegment segment;
  const BuiltPacket whole = Packet(7, LinkLayer::kRaw, Datagram("hello world"));
  const BuiltPacket cut = whole.Snapped(45);
  ASSERT_EQ(DecodePacket(cut.raw(), segment), PacketVerdict::kTcp);
  EXPECT_EQ(AsText(segment.payload), "hello");
  EXPECT_EQ(segment.length, 11u);
  ASSERT_EQ(DecodePacket(whole.Snapped(40).raw(), segment), PacketVerdict::kTcp);
  EXPECT_EQ(segment.length, 11u);
  EXPECT_TRUE(segment.payload.empty());
  for (size_t size = 0; size < 40; ++size) {
    EXPECT_EQ(VerdictOf(whole.Snapped(size)), PacketVerdict::kTruncated) << size;
  }
}

TEST(Packet, ExtensionHeaders) {
  const std::string segment = Segment();
  const std::string hop("\x3c\0\0\0\0\0\0\0", 8);               // then destination options
  const std::string destination("\x2b\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);  // then routing
  const std::string routing("\x33\0\0\0\0\0\0\0", 8);           // then authentication
  const std::string authentication("\x2c\1\0\0\0\0\0\0\0\0\0\0", 12);  // then fragment
  const std::string atomic("\6\0\0\0\0\0\0\0", 8);
  ExpectHello(Packet(7, LinkLayer::kRaw,
                     Ipv6Bytes(kSix1, kSix2, segment,
                               hop + destination + routing + authentication + atomic, 0)),
              ZT_FAMILY_IPV6);
  const std::string first("\6\0\0\1\0\0\0\0", 8), second("\6\0\0\x40\0\0\0\0", 8);
  for (const std::string& fragment : {first, second}) {
    EXPECT_EQ(VerdictOf(Packet(7, LinkLayer::kRaw, Ipv6Bytes(kSix1, kSix2, segment, fragment, 44))),
              PacketVerdict::kFragment);
  }
  EXPECT_EQ(VerdictOf(Packet(7, LinkLayer::kRaw, Ipv6Bytes(kSix1, kSix2, segment, "", 17))),
            PacketVerdict::kOther);
  // One that claims to be longer than the packet.
  const std::string endless("\6\xff\0\0\0\0\0\0", 8);
  EXPECT_EQ(VerdictOf(Packet(7, LinkLayer::kRaw, Ipv6Bytes(kSix1, kSix2, segment, endless, 0))),
            PacketVerdict::kTruncated);
}

TEST(Packet, Fragments) {
  for (uint16_t fragment : {0x2000, 0x2010, 0x0010}) {
    EXPECT_EQ(VerdictOf(Packet(7, LinkLayer::kRaw, Ipv4Bytes(kFour1, kFour2, Segment(), fragment))),
              PacketVerdict::kFragment);
  }
}

TEST(Packet, OtherProtocols) {
  EXPECT_EQ(VerdictOf(Packet(7, LinkLayer::kRaw, Ipv4Bytes(kFour1, kFour2, Segment(), 0, 17))),
            PacketVerdict::kOther);
  EXPECT_EQ(VerdictOf(Packet(7, LinkLayer::kEthernet, kMacs + BigEndian(0x0806, 2) + std::string(28, '\0'))),
            PacketVerdict::kOther);
  EXPECT_EQ(VerdictOf(Packet(7, LinkLayer::kRaw, std::string(60, '\x50'))), PacketVerdict::kOther);
  EXPECT_EQ(VerdictOf(Packet(7, LinkLayer::kLoopback, std::string("\7\0\0\0", 4) + Datagram())),
            PacketVerdict::kOther);
}

TEST(Packet, Malformed) {
  std::string short_header = Datagram();
  short_header[0] = '\x44';
  std::string longer_than_wire = Datagram();
  longer_than_wire[2] = '\1';
  std::string tcp_beyond = Datagram();
  tcp_beyond[32] = '\xf0';
  std::string tcp_short = Datagram();
  tcp_short[32] = '\x40';
  for (const std::string& bytes : {short_header, longer_than_wire, tcp_beyond, tcp_short}) {
    EXPECT_EQ(VerdictOf(Packet(7, LinkLayer::kRaw, bytes)), PacketVerdict::kMalformed);
  }
}

}  // namespace
}  // namespace zerotap
