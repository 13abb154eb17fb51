#include "agent/connection/byte_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace zerotap {
namespace {

// What came out, as text: chunks verbatim, gaps as <n> (lost: <n!>).
class Transcript : public StreamConsumer {
 public:
  void OnChunk(Direction, const Chunk& chunk) override {
    EXPECT_EQ(chunk.offset, position);
    position += chunk.bytes.size();
    text += AsText(chunk.bytes);
  }
  void OnGap(Direction, const Gap& gap) override {
    EXPECT_EQ(gap.offset, position);
    position += gap.length;
    text += "<" + std::to_string(gap.length) + (gap.lost ? "!>" : ">");
  }
  void OnJump(Direction, uint64_t bytes) override { jumped += bytes; }
  uint64_t position = 0;
  uint64_t jumped = 0;
  std::string text;
};

struct Feeder {
  ByteStream stream{Direction::kEgress};
  Transcript out;
  uint64_t time = 1;

  Feeder() { stream.StartAtZero(); }
  void Add(uint64_t offset, std::string_view text, uint32_t tid = 1, uint32_t lost = 0,
           uint8_t flags = 0) {
    zt_data_event record{};
    record.header.time_ns = time++;
    record.offset = offset;
    record.length = static_cast<uint32_t>(text.size());
    record.head = record.length;
    record.tid = tid;
    record.lost_before = lost;
    record.flags = flags;
    stream.Add(record, AsBytes(text), {}, out);
  }
  void AddEdges(uint64_t offset, uint32_t length, std::string_view head, std::string_view tail) {
    zt_data_event record{};
    record.offset = offset;
    record.length = length;
    record.head = static_cast<uint32_t>(head.size());
    record.tail = static_cast<uint32_t>(tail.size());
    stream.Add(record, AsBytes(head), AsBytes(tail), out);
  }
};

TEST(ByteStream, PassesContiguousRecordsThrough) {
  Feeder f;
  f.Add(0, "abc");
  f.Add(3, "de");
  EXPECT_EQ(f.out.text, "abcde");
}

TEST(ByteStream, ShowsWhatWasNotCapturedAsAGap) {
  Feeder f;
  f.AddEdges(0, 100, "abc", "yz");
  f.Add(100, "next");
  EXPECT_EQ(f.out.text, "abc<95>yznext");
}

TEST(ByteStream, PeekDoesNotAdvance) {
  Feeder f;
  f.Add(0, "abc", 1, 0, ZT_DATA_PEEK);
  f.Add(0, "abc");
  EXPECT_EQ(f.out.text, "abc");
}

TEST(ByteStream, ReordersRecordsOfSeveralThreads) {
  Feeder f;
  f.Add(0, "a");
  f.Add(3, "de", 2);
  EXPECT_EQ(f.out.text, "a");
  f.Add(1, "bc", 3);
  EXPECT_EQ(f.out.text, "abcde");
  EXPECT_FALSE(f.stream.waiting());
}

TEST(ByteStream, MovesAClaimThatIsTooHighIntoItsHole) {
  // True order: "aaaa" at 0, "bb" at 4. The first writer read the position after the second had written.
  Feeder f;
  f.Add(2, "aaaa", 1);
  f.Add(4, "bb", 2);
  // Both claim to end at 6: either could be first, so neither is believed.
  EXPECT_EQ(f.out.text, "<6!>");
}

TEST(ByteStream, SettlesAnUnambiguousOverlap) {
  // True: "aa" [0,2), "bb" [2,4), "cc" [4,6); a claims [2,4) (read after b), b [2,4)?? b claims its own end 4.
  Feeder f;
  f.Add(0, "aa", 1);
  f.Add(4, "cc", 3);
  f.Add(2, "bb", 2);
  EXPECT_EQ(f.out.text, "aabbcc");
}

TEST(ByteStream, DeclaresALossAtOnceWhenTheKernelSaysSo) {
  Feeder f;
  f.Add(0, "a");
  f.Add(11, "b", 1, 2);
  EXPECT_EQ(f.out.text, "a<10!>b");
}

TEST(ByteStream, GivesUpOnAHoleAfterAWhile) {
  Feeder f;
  f.Add(0, "a");
  f.Add(5, "b");
  f.stream.Expire(f.time + 1'000'000, false, f.out);
  EXPECT_EQ(f.out.text, "a");
  f.stream.Expire(f.time + 1'000'000'000, false, f.out);
  EXPECT_EQ(f.out.text, "a<4!>b");
  f.Add(1, "late");
  EXPECT_EQ(f.stream.late_records(), 1u);
  f.Add(6, "c");
  EXPECT_EQ(f.out.text, "a<4!>bc");
}

TEST(ByteStream, SaysByHowMuchThePositionJumped) {
  Feeder f;
  f.Add(0, "abc");
  f.Add(10, "k");
  EXPECT_EQ(f.out.jumped, 0u);  // another writer may fill the hole
  f.stream.Expire(f.time, true, f.out);
  EXPECT_EQ(f.out.text, "abc<7!>k");
  EXPECT_EQ(f.out.jumped, 7u);
  // Two writers whose order is not known, bytes that were counted and not captured: nothing jumped.
  f.AddEdges(11, 50, "l", "z");
  f.Add(61, "12");
  EXPECT_EQ(f.out.jumped, 7u);
}

TEST(ByteStream, HeldBytesAreBounded) {
  Feeder f;
  std::string big(16384, 'x');
  for (int i = 0; i < 100; ++i) f.Add(10 + static_cast<uint64_t>(i) * big.size(), big);
  EXPECT_LE(f.stream.MemorySize(), 1024u * 1024u);
  EXPECT_EQ(f.out.text.substr(0, 5), "<10!>");
}

TEST(ByteStream, AnyArrivalOrderOfExactClaimsGivesTheStream) {
  std::vector<std::pair<uint64_t, std::string>> pieces = {
      {0, "ab"}, {2, "cde"}, {5, "f"}, {6, "ghij"}};
  std::sort(pieces.begin(), pieces.end());
  do {
    Feeder f;
    for (const auto& [offset, text] : pieces) f.Add(offset, text);
    EXPECT_EQ(f.out.text, "abcdefghij");
  } while (std::next_permutation(pieces.begin(), pieces.end()));
}

}  // namespace
}  // namespace zerotap
