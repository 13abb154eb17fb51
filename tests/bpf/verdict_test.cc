// How much of a stream is captured: budgets of runs, edges, verdicts, transfers larger than a
// record, a full ring.
#include <sys/socket.h>
#include <sys/uio.h>

#include "tests/bpf/capture_fixture.h"

namespace zerotap {
namespace {

class VerdictTest : public ::testing::TestWithParam<CaptureTier> {
 protected:
  void SetUp() override { Start(CaptureFixture::OwnProcessSeen()); }
  void Start(const CaptureOptions& options) {
    fixture_.reset();
    std::string reason;
    fixture_ = CaptureFixture::Create(GetParam(), &reason, options);
    if (!fixture_) {
      GTEST_SKIP() << reason;
      return;
    }
    pair_ = Connect(Transport::kUnixPair);
    for (int fd : {pair_.client.get(), pair_.server.get()}) {
      int room = 4 << 20;
      ::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
    }
  }
  void Send(size_t size) {
    ASSERT_EQ(::write(pair_.client.get(), Pattern(position_, size).data(), size),
              static_cast<ssize_t>(size));
    position_ += size;
  }
  void SendSegments(size_t size, size_t count) {
    std::string bytes = Pattern(position_, size);
    std::vector<iovec> segments;
    for (size_t i = 0; i < count; ++i) {
      size_t begin = size * i / count;
      segments.push_back({bytes.data() + begin, size * (i + 1) / count - begin});
    }
    ASSERT_EQ(::writev(pair_.client.get(), segments.data(), static_cast<int>(count)),
              static_cast<ssize_t>(size));
    position_ += size;
  }
  void Answer(size_t size) {
    std::string bytes = Pattern(0, size);
    ASSERT_EQ(::write(pair_.server.get(), bytes.data(), size), static_cast<ssize_t>(size));
    ASSERT_EQ(::recv(pair_.client.get(), bytes.data(), size, MSG_WAITALL),
              static_cast<ssize_t>(size));
  }
  std::vector<SeenData> Sent() {
    const SeenConnection* connection = fixture_->Find(pair_.client.get());
    EXPECT_NE(connection, nullptr);
    if (connection == nullptr) return {};
    ExpectStream(*connection, ZT_DIRECTION_EGRESS, position_);
    return connection->In(ZT_DIRECTION_EGRESS);
  }
  void SetVerdict(zt_verdict_mode mode, uint8_t budget_kib, uint8_t edge) {
    const SeenConnection* connection = fixture_->Find(pair_.client.get());
    ASSERT_NE(connection, nullptr);
    zt_verdict verdict{};
    verdict.mode = static_cast<zt_u8>(mode);
    verdict.egress_budget_kib = budget_kib;
    verdict.ingress_budget_kib = budget_kib;
    verdict.edge_bytes = edge;
    fixture_->capture().SetVerdict(connection->opened.connection_id, verdict);
  }
  std::unique_ptr<CaptureFixture> fixture_;
  SocketPair pair_;
  uint64_t position_ = 0;
};

TEST_P(VerdictTest, UndecidedGivesTheHeadOfARunAndTheEdgesOfTheRest) {
  Send(3000);
  Send(3000);
  Send(3000);
  Send(100);
  Answer(10);
  Send(2000);
  std::vector<SeenData> sent = Sent();
  ASSERT_EQ(sent.size(), 5u);
  EXPECT_EQ(sent[0].event.head, 3000u);
  EXPECT_EQ(sent[0].event.tail, 0u);
  EXPECT_EQ(sent[1].event.head, 1096u);
  EXPECT_EQ(sent[1].event.tail, 64u);
  EXPECT_EQ(sent[2].event.head, 64u);
  EXPECT_EQ(sent[2].event.tail, 64u);
  EXPECT_EQ(sent[3].event.head, 64u);
  EXPECT_EQ(sent[3].event.tail, 36u);
  EXPECT_EQ(sent[4].event.head, 2000u) << "the direction flipped: a new run";
}

TEST_P(VerdictTest, HeadsWithAnotherBudgetAndNoEdges) {
  Send(10);
  SetVerdict(ZT_VERDICT_HEADS, 1, 0);
  Send(1500);
  Send(1500);
  std::vector<SeenData> sent = Sent();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(sent[1].event.head, 1014u) << "the run's first ten bytes count";
  EXPECT_EQ(sent[1].event.tail, 0u);
  EXPECT_EQ(sent[2].event.length, 1500u);
  EXPECT_EQ(sent[2].event.head + sent[2].event.tail, 0u);
}

TEST_P(VerdictTest, IgnoredIsSilentAndCounted) {
  Send(10);
  SetVerdict(ZT_VERDICT_IGNORE, 0, 0);
  uint64_t before = fixture_->capture().ReadCounters().kernel[ZT_COUNTER_IGNORED_EVENTS];
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(::write(pair_.client.get(), "x", 1), 1);
  }
  EXPECT_EQ(Sent().size(), 1u);
  EXPECT_GE(fixture_->capture().ReadCounters().kernel[ZT_COUNTER_IGNORED_EVENTS], before + 10);
}

TEST_P(VerdictTest, WhatWasIgnoredComesBackWithAnotherVerdict) {
  Send(10);
  SetVerdict(ZT_VERDICT_IGNORE, 0, 0);
  for (int i = 0; i < 5; ++i) Send(100);
  const SeenConnection* connection = fixture_->Find(pair_.client.get());
  ASSERT_NE(connection, nullptr);
  ASSERT_EQ(connection->In(ZT_DIRECTION_EGRESS).size(), 1u);
  SetVerdict(ZT_VERDICT_DETECT, 0, 64);
  Send(300);
  connection = fixture_->Find(pair_.client.get());
  std::vector<SeenData> sent = connection->In(ZT_DIRECTION_EGRESS);
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[1].event.offset, 510u) << "what passed meanwhile is counted";
  EXPECT_EQ(sent[1].event.length, 300u);
  EXPECT_EQ(sent[1].payload.size(), 300u);
}

TEST_P(VerdictTest, EverythingInOnePieceOrMany) {
  Send(10);
  SetVerdict(ZT_VERDICT_ALL, 0, 16);
  Send(256);
  Send(257);
  Send(4096);
  Send(5000);
  Send(16384);
  Send(16385);
  Send(60000);
  std::vector<SeenData> sent = Sent();
  uint64_t captured = 0;
  size_t calls = 0;
  for (const SeenData& seen : sent) {
    captured += seen.payload.size();
    if (!(seen.event.flags & ZT_DATA_CONTINUES)) ++calls;
  }
  EXPECT_EQ(captured, position_);
  EXPECT_EQ(calls, 8u);
  EXPECT_EQ(sent.size(), 7u + 1u + 4u) << "16385 bytes are two records, 60000 four";
}

TEST_P(VerdictTest, ATransferBeyondAllRecordsKeepsItsTail) {
  Send(10);
  SetVerdict(ZT_VERDICT_ALL, 0, 16);
  Send(100000);
  std::vector<SeenData> sent = Sent();
  ASSERT_EQ(sent.size(), 1u + 4u);
  EXPECT_EQ(sent.back().event.length, 100000u - 3 * 16384u);
  EXPECT_EQ(sent.back().event.head, 16384u);
  EXPECT_EQ(sent.back().event.tail, 16u);
}

TEST_P(VerdictTest, SegmentsOfEverySize) {
  Send(10);
  SetVerdict(ZT_VERDICT_ALL, 0, 32);
  for (size_t size : {40u, 300u, 1024u, 4000u, 4097u, 9000u, 30000u}) {
    for (size_t count : {2u, 3u, 7u, 16u}) SendSegments(size, count);
  }
  uint64_t captured = 0;
  for (const SeenData& seen : Sent()) captured += seen.payload.size();
  EXPECT_EQ(captured, position_);
}

TEST_P(VerdictTest, SegmentsWithEdges) {
  for (int i = 0; i < 6; ++i) SendSegments(3000, 5);
  std::vector<SeenData> sent = Sent();
  ASSERT_EQ(sent.size(), 6u);
  EXPECT_EQ(sent[1].event.head, 1096u);
  for (size_t i = 1; i < 6; ++i) EXPECT_EQ(sent[i].event.tail, 64u);
  for (size_t i = 2; i < 6; ++i) EXPECT_EQ(sent[i].event.head, 64u);
}

TEST_P(VerdictTest, MoreSegmentsThanAreWalked) {
  uint64_t before = fixture_->capture().ReadCounters().kernel[ZT_COUNTER_IOVEC_TRUNCATED];
  SendSegments(2000, 20);
  std::vector<SeenData> sent = Sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].event.length, 2000u);
  EXPECT_EQ(sent[0].event.head, 1600u) << "the bytes of the first 16 segments";
  EXPECT_GT(fixture_->capture().ReadCounters().kernel[ZT_COUNTER_IOVEC_TRUNCATED], before);
}

TEST_P(VerdictTest, AFullRingIsCountedOnTheConnection) {
  CaptureOptions options = CaptureFixture::OwnProcessSeen();
  options.ring_bytes = 64 << 10;
  Start(options);
  if (!fixture_) return;
  fixture_->Collect();
  Send(1);
  fixture_->Collect();
  constexpr int kRounds = 600;
  for (int i = 0; i < kRounds; ++i) Send(200);
  fixture_->Collect();
  Send(1);
  const SeenConnection* connection = fixture_->Find(pair_.client.get());
  ASSERT_NE(connection, nullptr);
  const SeenData& last = connection->data.back();
  EXPECT_EQ(last.event.offset, position_ - 1) << "positions move on";
  EXPECT_EQ(connection->data.size() + last.event.lost_before, kRounds + 2u);
  CaptureCounters counters = fixture_->capture().ReadCounters();
  EXPECT_GE(counters.kernel[ZT_COUNTER_RING_FULL], last.event.lost_before);
  EXPECT_GT(last.event.lost_before, 0u);
  EXPECT_EQ(counters.ring_bytes, options.ring_bytes);
}

TEST_P(VerdictTest, DiscardedBytesGiveTheLengthAlone) {
  // With MSG_TRUNC, TCP throws the bytes away instead of copying them.
  SocketPair tcp = Connect(Transport::kTcp4);
  ASSERT_EQ(::send(tcp.client.get(), Pattern(0, 50).data(), 50, 0), 50);
  ASSERT_EQ(::recv(tcp.server.get(), nullptr, 50, MSG_TRUNC), 50);
  const SeenConnection* server = fixture_->Find(tcp.server.get());
  ASSERT_NE(server, nullptr);
  ASSERT_EQ(server->data.size(), 1u);
  EXPECT_EQ(server->data[0].event.flags, ZT_DATA_NO_PAYLOAD);
  EXPECT_EQ(server->data[0].event.length, 50u);
  EXPECT_TRUE(server->data[0].payload.empty());
}

std::string TierName(const ::testing::TestParamInfo<CaptureTier>& info) {
  return info.param == CaptureTier::kA ? "TierA" : "TierB";
}
INSTANTIATE_TEST_SUITE_P(All, VerdictTest, ::testing::Values(CaptureTier::kA, CaptureTier::kB),
                         TierName);

}  // namespace
}  // namespace zerotap
