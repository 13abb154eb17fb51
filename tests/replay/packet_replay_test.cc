// Captures of real servers (tests/data/packets/<scenario>.pcap, made with tcpdump) through the real pipeline, and what
// networks and captures do to packets:
//   exact       the spans are those of <scenario>.spans.json, byte for byte
//   duplicated  packets that come twice, at once or later, change nothing
//   recut       segments cut elsewhere, and cut so that they overlap, change nothing
//   reordered   packets that overtake each other give the same spans
//   lossy, short, joined late, one direction only: there may be fewer spans, never another one, and never a failed
//               request where it was the capture that failed
// Set ZEROTAP_UPDATE_GOLDEN=1 to write the .spans.json files anew; read the difference before committing it.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "agent/pcap/pcap_source.h"
#include "agent/pipeline/replay.h"
#include "tests/replay/claims.h"
#include "tests/support/packet_builder.h"

namespace zerotap {
namespace {

namespace fs = std::filesystem;
using testing::BuiltPacket;
using Packets = std::vector<BuiltPacket>;

Packets Load(const std::string& path) {
  Packets packets;
  auto file = PcapFile::Open(UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), path, {});
  EXPECT_TRUE(file) << file.error().message;
  RawPacket packet;
  while (file) {
    Result<bool> got = (*file)->Next(packet);
    EXPECT_TRUE(got) << got.error().message;
    if (!got || !*got) break;
    packets.push_back({packet.unix_ns, packet.link, std::string(AsText(packet.bytes)), packet.wire_length});
  }
  return packets;
}

Outcome Play(const Packets& packets) {
  Outcome outcome;
  std::unique_ptr<Replayer> replayer;
  PacketTracker tracker({}, [&replayer](ByteSpan record) { replayer->OnRecord(record); });
  auto created = Replayer::Create(
      RecordingHeader{.id_seed = 7, .realtime_minus_monotonic_ns = 0}, PipelineOptions{},
      [&outcome](std::vector<Span>&& spans) {
        std::move(spans.begin(), spans.end(), std::back_inserter(outcome.spans));
      },
      [&tracker](uint32_t tgid) {
        TracedProcess process;
        process.tgid = tgid;
        auto resource = std::make_shared<Resource>();
        resource->service_name = tracker.NameOf(tgid);
        resource->attributes.Add(semconv::kServiceName, resource->service_name);
        process.resource = std::move(resource);
        return std::optional(process);
      });
  EXPECT_TRUE(created) << created.error().message;
  replayer = std::move(*created);
  for (const BuiltPacket& packet : packets) {
    tracker.OnPacket(packet.raw());
    replayer->OnClock(tracker.now_ns());
  }
  tracker.Flush();
  replayer->Finish([&outcome](Pipeline& pipeline) {
    outcome.ledger = pipeline.ledger().Total();
    EXPECT_EQ(pipeline.stats().malformed_records, 0u);
  });
  // Exporting is not part of a replay: what came out is what is in flight for the ledger.
  EXPECT_EQ(outcome.ledger.in_flight(), outcome.spans.size());
  EXPECT_EQ(tracker.held_bytes(), 0u);
  SortByStart(outcome.spans);
  return outcome;
}

std::multiset<std::string> Claims(const Outcome& outcome) {
  std::multiset<std::string> claims;
  for (const Span& span : outcome.spans) claims.insert(Claim(span));
  return claims;
}

// Where in a packet of the committed captures the parts stand: all are IPv4.
struct Layout {
  size_t ip = 0;
  size_t tcp = 0;
  size_t payload = 0;
  size_t payload_size = 0;
};
Layout LayoutOf(const BuiltPacket& packet) {
  Layout layout;
  TcpSegment segment;
  EXPECT_EQ(DecodePacket(packet.raw(), segment), PacketVerdict::kTcp);
  EXPECT_EQ(segment.family, ZT_FAMILY_IPV4);
  layout.ip = packet.link == LinkLayer::kLinuxCooked2 ? 20 : 14;
  layout.tcp = layout.ip + (static_cast<size_t>(packet.bytes[layout.ip]) & 0xF) * 4;
  layout.payload = layout.tcp + (static_cast<uint8_t>(packet.bytes[layout.tcp + 12]) >> 4) * 4u;
  layout.payload_size = segment.payload.size();
  EXPECT_EQ(segment.length, segment.payload.size());
  return layout;
}

// The bytes [from, to) of the packet's payload as a packet of their own.
BuiltPacket Piece(const BuiltPacket& packet, const Layout& layout, size_t from, size_t to) {
  BuiltPacket piece = packet;
  piece.bytes = packet.bytes.substr(0, layout.payload) + packet.bytes.substr(layout.payload + from, to - from);
  piece.wire_length = static_cast<uint32_t>(piece.bytes.size());
  ByteReader sequence(AsBytes(packet.bytes).subspan(layout.tcp + 4));
  piece.bytes.replace(layout.tcp + 4, 4, testing::BigEndian(sequence.U32() + from, 4));
  piece.bytes.replace(layout.ip + 2, 2, testing::BigEndian(piece.bytes.size() - layout.ip, 2));
  if (to < layout.payload_size) {  // FIN and RST go with the last byte
    piece.bytes[layout.tcp + 13] = static_cast<char>(piece.bytes[layout.tcp + 13] & ~5);
  }
  return piece;
}

// Each segment in two, of which the second begins `overlap` bytes before the end of the first, with other bytes there.
Packets Recut(const Packets& packets, size_t at, size_t overlap) {
  Packets recut;
  for (const BuiltPacket& packet : packets) {
    const Layout layout = LayoutOf(packet);
    if (layout.payload_size < 2) {
      recut.push_back(packet);
      continue;
    }
    const size_t cut = 1 + at % (layout.payload_size - 1);
    recut.push_back(Piece(packet, layout, 0, cut));
    const size_t from = cut - std::min(cut, overlap);
    BuiltPacket rest = Piece(packet, layout, from, layout.payload_size);
    for (size_t i = from; i < cut; ++i) rest.bytes[layout.payload + i - from] ^= 0x55;
    recut.push_back(std::move(rest));
  }
  return recut;
}

class PacketReplay : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    packets_ = Load(GetParam());
    truth_ = Play(packets_);
    ASSERT_FALSE(truth_.spans.empty());
  }
  void ExpectNothingFalseFrom(const Packets& packets, const std::string& what) {
    Outcome outcome = Play(packets);
    ExpectNothingFalse(truth_, outcome, what, /*failures_too=*/true);
    EXPECT_LE(outcome.spans.size(), truth_.spans.size()) << what;
    fewer_ += outcome.spans.size() < truth_.spans.size() ? 1 : 0;
    some_ += outcome.spans.empty() ? 0 : 1;
  }
  Packets packets_;
  Outcome truth_;
  int fewer_ = 0;  // how many of the damaged captures hid something, and how many still showed something
  int some_ = 0;
};

TEST_P(PacketReplay, GivesExactlyTheKnownSpans) {
  ExpectGolden(GetParam(), Json(truth_.spans));
}

TEST_P(PacketReplay, IsTheSameWithEveryPacketTwice) {
  Packets twice;
  for (const BuiltPacket& packet : packets_) twice.insert(twice.end(), 2, packet);
  EXPECT_EQ(Json(Play(twice).spans), Json(truth_.spans));
}

TEST_P(PacketReplay, IsTheSameWithPacketsThatComeAgainLater) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    Packets again;
    for (size_t i = 0; i < packets_.size(); ++i) {
      again.push_back(packets_[i]);
      if (random() % 4 == 0) again.push_back(packets_[i - std::min<size_t>(i, random() % 30)]);
    }
    ASSERT_EQ(Json(Play(again).spans), Json(truth_.spans)) << "seed " << seed;
  }
}

TEST_P(PacketReplay, IsTheSameHoweverItIsCut) {
  const std::string whole = Json(truth_.spans);
  for (size_t at : {0u, 1u, 2u, 3u, 5u, 8u, 13u, 21u, 34u, 55u, 89u, 144u, 233u, 377u}) {
    for (size_t overlap : {0u, 1u, 7u, 100u}) {
      ASSERT_EQ(Json(Play(Recut(packets_, at, overlap)).spans), whole) << at << ", overlap " << overlap;
    }
  }
}

TEST_P(PacketReplay, IsTheSameWhenPacketsOvertakeEachOther) {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    std::mt19937 random(seed);
    Packets shuffled = packets_;
    // Those that came within a millisecond of each other, up to eight places apart.
    for (size_t i = 0; i < shuffled.size(); ++i) {
      const size_t other = i + random() % 8;
      if (random() % 3 != 0 || other >= shuffled.size()) continue;
      if (std::max(shuffled[i].unix_ns, shuffled[other].unix_ns) -
              std::min(shuffled[i].unix_ns, shuffled[other].unix_ns) < 1'000'000) {
        std::swap(shuffled[i], shuffled[other]);
      }
    }
    Outcome outcome = Play(shuffled);
    ASSERT_EQ(Claims(outcome), Claims(truth_)) << "seed " << seed;
    for (size_t i = 0; i < outcome.spans.size(); ++i) {
      const auto apart = static_cast<int64_t>(outcome.spans[i].start_unix_ns - truth_.spans[i].start_unix_ns);
      ASSERT_LT(std::abs(apart), 10'000'000);
    }
  }
}

TEST_P(PacketReplay, NeverInventsWhenPacketsAreMissing) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    Packets kept;
    for (const BuiltPacket& packet : packets_) {
      if (random() % (seed % 3 == 0 ? 3 : 10) != 0) kept.push_back(packet);
    }
    ExpectNothingFalseFrom(kept, "seed " + std::to_string(seed));
  }
  EXPECT_GT(fewer_, 30);
  EXPECT_GT(some_, 20);
}

TEST_P(PacketReplay, NeverInventsWhenOnePacketIsMissing) {
  for (size_t missing = 0; missing < packets_.size(); ++missing) {
    Packets kept = packets_;
    kept.erase(kept.begin() + static_cast<long>(missing));
    ExpectNothingFalseFrom(kept, "without packet " + std::to_string(missing));
  }
  EXPECT_GT(fewer_, 0);
  EXPECT_EQ(some_, static_cast<int>(packets_.size()));
}

TEST_P(PacketReplay, NeverInventsWhenTheBeginningIsMissing) {
  for (size_t skip = 1; skip < packets_.size(); ++skip) {
    ExpectNothingFalseFrom(Packets(packets_.begin() + static_cast<long>(skip), packets_.end()),
                           "skipped " + std::to_string(skip));
  }
  EXPECT_GT(some_, 0);
}

TEST_P(PacketReplay, NeverInventsWhenTheEndIsMissing) {
  for (size_t size = 1; size < packets_.size(); ++size) {
    ExpectNothingFalseFrom(Packets(packets_.begin(), packets_.begin() + static_cast<long>(size)),
                           "ended after " + std::to_string(size));
  }
  EXPECT_GT(some_, 0);
}

TEST_P(PacketReplay, NeverInventsWithAShortSnapLength) {
  for (size_t size : {34u, 54u, 66u, 70u, 80u, 96u, 128u, 160u, 200u, 256u, 512u, 1024u}) {
    Packets snapped;
    for (const BuiltPacket& packet : packets_) snapped.push_back(packet.Snapped(size));
    ExpectNothingFalseFrom(snapped, "snap length " + std::to_string(size));
  }
  EXPECT_GT(fewer_, 0);
  EXPECT_GT(some_, 0);
}

TEST_P(PacketReplay, NeverInventsFromOneDirection) {
  TcpSegment first;
  ASSERT_EQ(DecodePacket(packets_[0].raw(), first), PacketVerdict::kTcp);
  ASSERT_TRUE(first.syn && !first.ack);
  for (bool client : {true, false}) {
    Packets kept;
    for (const BuiltPacket& packet : packets_) {
      TcpSegment segment;
      ASSERT_EQ(DecodePacket(packet.raw(), segment), PacketVerdict::kTcp);
      if ((segment.destination.port == first.destination.port) == client) kept.push_back(packet);
    }
    ASSERT_FALSE(kept.empty());
    EXPECT_EQ(Play(kept).spans.size(), 0u) << "client " << client;
  }
}

INSTANTIATE_TEST_SUITE_P(Captures, PacketReplay, ::testing::ValuesIn(Scenarios(".pcap")), [](const auto& capture) {
  return fs::path(capture.param).stem().string();
});

}  // namespace
}  // namespace zerotap
