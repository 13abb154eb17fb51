// Processes of which less is wanted, and what the hooks say they cost.
#include <sys/socket.h>

#include "tests/bpf/capture_fixture.h"

namespace zerotap {
namespace {

class LimitTest : public ::testing::TestWithParam<CaptureTier> {
 protected:
  void SetUp() override {
    std::string reason;
    fixture_ = CaptureFixture::Create(GetParam(), &reason);
    if (!fixture_) {
      GTEST_SKIP() << reason;
      return;
    }
    pair_ = Connect(Transport::kTcp4);
  }
  void Limit(zt_process_policy policy) {
    fixture_->capture().SetProcessPolicy(static_cast<uint32_t>(::getpid()), policy);
  }
  void Move(int from, int to, size_t size) {
    std::string bytes(size, 'x');
    ASSERT_EQ(::send(from, bytes.data(), size, 0), static_cast<ssize_t>(size));
    ASSERT_EQ(::recv(to, bytes.data(), size, MSG_WAITALL), static_cast<ssize_t>(size));
  }
  void Ask(size_t size = 10) { Move(pair_.client.get(), pair_.server.get(), size); }
  void Answer(size_t size = 10) { Move(pair_.server.get(), pair_.client.get(), size); }
  void Decide() {
    for (int fd : {pair_.client.get(), pair_.server.get()}) {
      const SeenConnection* connection = fixture_->Find(fd);
      ASSERT_NE(connection, nullptr);
      zt_verdict verdict{};
      verdict.mode = ZT_VERDICT_HEADS;
      verdict.egress_budget_kib = 4;
      verdict.ingress_budget_kib = 4;
      verdict.edge_bytes = 32;
      fixture_->capture().SetVerdict(connection->opened.connection_id, verdict);
    }
  }
  const SeenConnection& End(int fd) {
    const SeenConnection* connection = fixture_->Find(fd);
    EXPECT_NE(connection, nullptr);
    static const SeenConnection kNone;
    return connection != nullptr ? *connection : kNone;
  }
  const SeenConnection& Client() { return End(pair_.client.get()); }
  const SeenConnection& Server() { return End(pair_.server.get()); }

  std::unique_ptr<CaptureFixture> fixture_;
  SocketPair pair_;
};

TEST_P(LimitTest, HeadsAreCutToTheLimitOfTheProcess) {
  const std::pair<zt_process_policy, uint32_t> limits[] = {{ZT_PROCESS_TRACE, 3000},
                                                           {ZT_PROCESS_HEADS, ZT_HEADS_BUDGET},
                                                           {ZT_PROCESS_SHORT_HEADS, ZT_SHORT_HEADS_BUDGET}};
  Ask();
  Answer();
  Decide();
  for (const auto& [policy, head] : limits) {
    Limit(policy);
    Ask(3000);
    Answer();
    const std::vector<SeenData> sent = Client().In(ZT_DIRECTION_EGRESS);
    ASSERT_FALSE(sent.empty());
    EXPECT_EQ(sent.back().event.head, head);
    EXPECT_EQ(sent.back().event.tail, head == 3000 ? 0u : 32u) << "the edge of what is beyond";
    EXPECT_EQ(sent.back().event.length, 3000u);
    EXPECT_EQ(sent.back().event.flags & ZT_DATA_SKIPPED, 0);
  }
}

TEST_P(LimitTest, CountedRequestsAreToldWithTheNextRecord) {
  Ask();
  Answer();
  Decide();
  Limit(ZT_PROCESS_COUNT);
  const size_t before = Client().data.size() + Server().data.size();
  for (int i = 0; i < 20; ++i) {
    Ask();
    Ask();  // the same request goes on
    Answer();
  }
  EXPECT_EQ(Client().data.size() + Server().data.size(), before) << "no record";
  Limit(ZT_PROCESS_TRACE);
  Ask();
  Answer();
  for (const SeenConnection* end : {&Client(), &Server()}) {
    const zt_direction asks = end == &Client() ? ZT_DIRECTION_EGRESS : ZT_DIRECTION_INGRESS;
    const std::vector<SeenData> asked = end->In(asks);
    ASSERT_EQ(asked.size(), 2u);
    EXPECT_NE(asked[1].event.flags & ZT_DATA_SKIPPED, 0);
    EXPECT_EQ(asked[1].event.turns_before, 20u);
    EXPECT_EQ(asked[1].event.head, 10u);
    EXPECT_EQ(asked[1].event.offset, 10u + 20 * 20) << "where it stands is known";
    EXPECT_EQ(end->data.back().event.flags & ZT_DATA_SKIPPED, 0) << "told once";
    EXPECT_EQ(end->data.back().event.turns_before, 0);
  }
}

TEST_P(LimitTest, ManyCountedRequestsAreToldNowAndThenAndTheRestAtTheClose) {
  Ask();
  Answer();
  Decide();
  const size_t before = Server().data.size();
  Limit(ZT_PROCESS_COUNT);
  constexpr uint32_t kRequests = 1000;
  for (uint32_t i = 0; i < kRequests; ++i) {
    Ask();
    Answer();
  }
  const SocketName name = NameOf(pair_.server.get());
  const std::vector<SeenData> data = Server().data;
  ASSERT_GT(data.size(), before);
  EXPECT_LE(data.size() - before, kRequests / 32);
  uint32_t told = 0;
  for (size_t i = before; i < data.size(); ++i) {
    EXPECT_NE(data[i].event.flags & ZT_DATA_SKIPPED, 0);
    EXPECT_EQ(data[i].event.head + data[i].event.tail, 0u);
    told += data[i].event.turns_before;
  }
  pair_.client.Reset();
  pair_.server.Reset();
  const SeenConnection* ended = fixture_->Find(name);
  ASSERT_NE(ended, nullptr);
  ASSERT_EQ(ended->closed.size(), 1u);
  EXPECT_NE(ended->closed[0].flags & ZT_DATA_SKIPPED, 0);
  EXPECT_EQ(told + ended->closed[0].turns_before, kRequests);
  for (const auto& shutdown : ended->shutdowns) EXPECT_NE(shutdown.flags & ZT_DATA_SKIPPED, 0);
}

TEST_P(LimitTest, AnEndIsToldWhileRequestsAreCounted) {
  Ask();
  Decide();
  Answer();
  Limit(ZT_PROCESS_COUNT);
  Ask();
  ASSERT_EQ(::shutdown(pair_.client.get(), SHUT_WR), 0);
  char byte = 0;
  ASSERT_EQ(::recv(pair_.server.get(), &byte, 1, 0), 0);
  const std::vector<SeenData> data = Server().data;
  ASSERT_FALSE(data.empty());
  EXPECT_EQ(data.back().event.flags & (ZT_DATA_EOF | ZT_DATA_SKIPPED), ZT_DATA_EOF | ZT_DATA_SKIPPED);
  EXPECT_EQ(data.back().event.turns_before, 1u);
}

TEST_P(LimitTest, WhatIsNotRecognisedYetIsCapturedForIt) {
  Limit(ZT_PROCESS_COUNT);
  Ask(3000);
  const std::vector<SeenData> sent = Client().In(ZT_DIRECTION_EGRESS);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].event.head, ZT_SHORT_HEADS_BUDGET);
}

TEST_P(LimitTest, CostsAreThoseOfTheProcess) {
  constexpr int kPairs = 10'000;  // 4 transfers each
  const auto cost = [this] {
    std::vector<ProcessCost> costs;
    fixture_->capture().TakeCosts(costs);
    for (const ProcessCost& one : costs) {
      if (one.tgid == static_cast<uint32_t>(::getpid())) return one;
    }
    return ProcessCost{};
  };
  const auto work = [this] {
    for (int i = 0; i < kPairs; ++i) {
      Ask();
      Answer();
      if (i % 1000 == 0) fixture_->Collect();
    }
  };
  const auto expect_near = [](uint64_t sampled, uint64_t events) {
    // One in 64: a few hundred samples.
    EXPECT_GT(sampled, events * 7 / 10);
    EXPECT_LT(sampled, events * 13 / 10);
  };
  Ask();
  Answer();
  Decide();
  Limit(ZT_PROCESS_TRACE);
  cost();
  work();
  const ProcessCost captured = cost();
  expect_near(captured.handled, 4 * kPairs);
  EXPECT_EQ(captured.ignored, 0u);
  const double captured_ns = static_cast<double>(captured.handled_ns) / static_cast<double>(captured.handled);
  EXPECT_GT(captured_ns, 10);
  EXPECT_LE(captured_ns, ZT_COST_MOST_NS);

  Limit(ZT_PROCESS_COUNT);
  work();
  const ProcessCost counted = cost();
  expect_near(counted.handled, 4 * kPairs);
  EXPECT_LT(counted.handled_ns, captured.handled_ns);

  Limit(ZT_PROCESS_IGNORE);
  work();
  const ProcessCost ignored = cost();
  EXPECT_EQ(ignored.handled, 0u);
  expect_near(ignored.ignored, 4 * kPairs);
  EXPECT_EQ(cost().ignored, 0u) << "each is taken once";
}

std::string TierName(const ::testing::TestParamInfo<CaptureTier>& info) {
  return info.param == CaptureTier::kA ? "TierA" : "TierB";
}

INSTANTIATE_TEST_SUITE_P(All, LimitTest, ::testing::Values(CaptureTier::kA, CaptureTier::kB),
                         TierName);

}  // namespace
}  // namespace zerotap
