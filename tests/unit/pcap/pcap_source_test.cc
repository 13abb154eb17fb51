// Files as tcpdump and others write them, and files that are not what they claim.
#include "agent/pcap/pcap_source.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/events/event.h"
#include "tests/support/packet_builder.h"

namespace zerotap {
namespace {

using namespace testing;

constexpr uint32_t kMicroseconds = 0xA1B2C3D4, kNanoseconds = 0xA1B23C4D;
constexpr uint64_t kTime = 1'700'000'000'123'456'789;

std::string Number(uint64_t value, int width, bool swapped = false) {
  std::string text(reinterpret_cast<const char*>(&value), static_cast<size_t>(width));
  if (swapped) std::reverse(text.begin(), text.end());
  return text;
}

std::string PcapText(uint32_t magic, uint32_t link_type, const std::vector<BuiltPacket>& packets,
                     bool swapped = false) {
  auto number = [swapped](uint64_t value, int width) { return Number(value, width, swapped); };
  std::string text = number(magic, 4) + number(2, 2) + number(4, 2) + number(0, 8) +
                     number(262144, 4) + number(link_type, 4);
  for (const BuiltPacket& packet : packets) {
    const uint64_t rest = packet.unix_ns % 1'000'000'000;
    text += number(packet.unix_ns / 1'000'000'000, 4) +
            number(magic == kNanoseconds ? rest : rest / 1000, 4) +
            number(packet.bytes.size(), 4) + number(packet.wire_length, 4) + packet.bytes;
  }
  return text;
}

std::string Block(uint32_t type, std::string body) {
  body.resize((body.size() + 3) & ~size_t{3});
  const auto size = body.size() + 12;
  return Number(type, 4) + Number(size, 4) + body + Number(size, 4);
}

std::string PcapngText(uint16_t link_type, const std::vector<BuiltPacket>& packets, uint8_t resolution) {
  std::string text = Block(0x0A0D0D0A, Number(0x1A2B3C4D, 4) + Number(1, 2) + Number(0, 2) + Number(~0ull, 8));
  text += Block(1, Number(link_type, 2) + Number(0, 2) + Number(262144, 4) + Number(9, 2) +
                       Number(1, 2) + Number(resolution, 4) + Number(0, 4));
  text += Block(5, std::string(20, '\0'));  // statistics, which are none of ours
  for (const BuiltPacket& packet : packets) {
    const uint64_t time = resolution == 9 ? packet.unix_ns : packet.unix_ns / 1000;
    text += Block(6, Number(0, 4) + Number(time >> 32, 4) + Number(time & 0xFFFFFFFF, 4) +
                         Number(packet.bytes.size(), 4) + Number(packet.wire_length, 4) + packet.bytes);
  }
  return text;
}

UniqueFd FileWith(std::string_view text) {
  UniqueFd fd(::memfd_create("capture", MFD_CLOEXEC));
  EXPECT_EQ(::write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

struct Outcome {
  std::vector<uint64_t> times;
  std::vector<std::string> packets;
  std::string error;
};

Outcome ReadAll(std::string_view text, size_t already_read = 8) {
  Outcome outcome;
  already_read = std::min(already_read, text.size());
  auto file = PcapFile::Open(FileWith(text.substr(already_read)), "it", text.substr(0, already_read));
  if (!file) {
    outcome.error = file.error().message;
    return outcome;
  }
  while (true) {
    RawPacket packet;
    Result<bool> got = (*file)->Next(packet);
    if (!got) outcome.error = got.error().message;
    if (!got || !*got) return outcome;
    outcome.times.push_back(packet.unix_ns);
    outcome.packets.emplace_back(AsText(packet.bytes));
  }
}

std::vector<BuiltPacket> TwoPackets() {
  PacketScript script;
  std::vector<BuiltPacket> packets = {script.Client("one"), script.Client("two")};
  packets[0].unix_ns = kTime;
  packets[1].unix_ns = kTime + 1'000'000'001;
  return packets;
}

void ExpectTwo(const Outcome& outcome, uint64_t unit) {
  EXPECT_EQ(outcome.error, "");
  ASSERT_EQ(outcome.times.size(), 2u);
  EXPECT_EQ(outcome.times[0], kTime / unit * unit);
  EXPECT_EQ(outcome.times[1], (kTime + 1'000'000'001) / unit * unit);
  EXPECT_EQ(outcome.packets[0], TwoPackets()[0].bytes);
  EXPECT_EQ(outcome.packets[1], TwoPackets()[1].bytes);
}

TEST(Pcap, MicrosecondsAndNanosecondsInBothByteOrders) {
  for (bool swapped : {false, true}) {
    ExpectTwo(ReadAll(PcapText(kMicroseconds, 101, TwoPackets(), swapped)), 1000);
    ExpectTwo(ReadAll(PcapText(kNanoseconds, 101, TwoPackets(), swapped)), 1);
  }
}

TEST(Pcap, NextGeneration) {
  ExpectTwo(ReadAll(PcapngText(101, TwoPackets(), 6)), 1000);
  ExpectTwo(ReadAll(PcapngText(101, TwoPackets(), 9)), 1);
}

TEST(Pcap, WhateverWasReadToLookAtIt) {
  const std::string text = PcapText(kNanoseconds, 101, TwoPackets());
  for (size_t size : {size_t{0}, size_t{1}, size_t{4}, size_t{8}, size_t{100}, text.size()}) {
    ExpectTwo(ReadAll(text, size), 1);
  }
}

TEST(Pcap, MagicNumbers) {
  EXPECT_TRUE(PcapFile::HasMagic(AsBytes(PcapText(kMicroseconds, 1, {}))));
  EXPECT_TRUE(PcapFile::HasMagic(AsBytes(PcapText(kNanoseconds, 1, {}, true))));
  EXPECT_TRUE(PcapFile::HasMagic(AsBytes(PcapngText(1, {}, 6))));
  EXPECT_FALSE(PcapFile::HasMagic(AsBytes("ZTREC\0\0\1")));
  EXPECT_FALSE(PcapFile::HasMagic(AsBytes("\xd4\xc3\xb2")));
  EXPECT_FALSE(PcapFile::HasMagic({}));
}

TEST(Pcap, EveryLinkTypeThatIsRead) {
  for (uint32_t type : {0u, 1u, 101u, 108u, 113u, 228u, 229u, 276u}) {
    EXPECT_EQ(ReadAll(PcapText(kMicroseconds, type, {})).error, "") << type;
  }
}

TEST(Pcap, OtherLinkTypesAreNamed) {
  const std::string error = ReadAll(PcapText(kMicroseconds, 105, {})).error;  // wireless
  EXPECT_NE(error.find("IEEE802_11"), std::string::npos) << error;
  EXPECT_NE(error.find("Ethernet"), std::string::npos) << error;
}

TEST(Pcap, CutAnywhere) {
  for (const std::string& text : {PcapText(kMicroseconds, 101, TwoPackets()), PcapngText(101, TwoPackets(), 9)}) {
    std::vector<size_t> whole_sizes;
    for (size_t size = 4; size < text.size(); ++size) {
      Outcome outcome = ReadAll(text.substr(0, size));
      const std::vector<BuiltPacket> whole = TwoPackets();
      ASSERT_LE(outcome.packets.size(), 2u);
      for (size_t i = 0; i < outcome.packets.size(); ++i) ASSERT_EQ(outcome.packets[i], whole[i].bytes);
      // Only what ends between two packets looks like a whole file.
      if (!outcome.error.empty()) {
        EXPECT_EQ(outcome.error.substr(0, 3), "it:") << outcome.error;
      } else {
        whole_sizes.push_back(size);
      }
    }
    EXPECT_LE(whole_sizes.size(), 5u);
    EXPECT_NE(ReadAll(text.substr(0, text.size() - 1)).error, "");
    EXPECT_EQ(ReadAll(text.substr(0, text.size() - 1)).packets.size(), 1u);
  }
}

TEST(Pcap, NoCapture) {
  EXPECT_NE(ReadAll("this is no capture at all, just some text").error, "");
  EXPECT_NE(ReadAll("").error, "");
}

TEST(Pcap, TimesThatCannotBe) {
  std::vector<BuiltPacket> packets = TwoPackets();
  std::string text = PcapngText(101, packets, 6);
  // The high half of the first packet's time: 100 million years from now.
  const size_t at = text.find(Number(6, 4) + text.substr(text.size() - 4), 28);
  ASSERT_NE(at, std::string::npos);
  text.replace(at + 12, 4, Number(0x7FFFFFFF, 4));
  Outcome outcome = ReadAll(text);
  ASSERT_EQ(outcome.times.size(), 2u);
  EXPECT_LE(outcome.times[0], (uint64_t{1} << 33) * 1'000'000'000 + 999'999'999);
}

TEST(PcapSource, FilesThatFollowEachOtherAreOneCapture) {
  PacketScript script;
  std::vector<BuiltPacket> packets = {script.Syn(), script.SynAck(), script.Client("ask"), script.Server("answer")};
  PacketOptions options;
  options.ends = EndChoice::kServer;
  PcapSource source(options);
  std::string text;
  auto handler = [&text](ByteSpan bytes) {
    std::optional<Event> event = DecodeEvent(bytes);
    ASSERT_TRUE(event);
    text += event->opened != nullptr ? "opened" : event->data != nullptr ? " " + std::string(AsText(event->head)) : " ?";
  };
  EXPECT_TRUE(source.ended());
  for (size_t i = 0; i < packets.size(); i += 3) {
    std::vector<BuiltPacket> part(packets.begin() + static_cast<long>(i),
                                  packets.begin() + static_cast<long>(std::min(i + 3, packets.size())));
    auto file = PcapFile::Open(FileWith(PcapText(kNanoseconds, 101, part)), "part", {});
    ASSERT_TRUE(file);
    source.Read(std::move(*file));
    while (!source.ended()) ASSERT_TRUE(source.Drain(0, handler));
  }
  EXPECT_EQ(source.Finish(handler), 0u);
  EXPECT_EQ(text, "opened ask answer");
  EXPECT_EQ(source.tracker().stats().packets, 4u);
}

TEST(PcapSource, DamageEndsTheFileWithAnError) {
  const std::string text = PcapText(kNanoseconds, 101, TwoPackets());
  PcapSource source({});
  auto file = PcapFile::Open(FileWith(text.substr(0, text.size() - 1)), "damaged", {});
  ASSERT_TRUE(file);
  source.Read(std::move(*file));
  std::string error;
  while (!source.ended()) {
    Result<size_t> got = source.Drain(0, [](ByteSpan) {});
    if (!got) error = got.error().message;
  }
  EXPECT_NE(error.find("damaged"), std::string::npos);
  EXPECT_EQ(source.tracker().stats().packets, 1u);
}

}  // namespace
}  // namespace zerotap
