// io_uring: tier A sees lengths, tier B nothing; in both, what follows stands at its right place in
// the stream.
#include "tests/bpf/capture_fixture.h"
#include "tests/bpf/small_ring.h"

namespace zerotap {
namespace {

class IoUringTest : public ::testing::TestWithParam<CaptureTier> {};

TEST_P(IoUringTest, LengthsWithoutBytesAndRightPlaces) {
  SmallRing ring;
  if (!ring) GTEST_SKIP() << "no io_uring here";
  std::string reason;
  auto fixture = CaptureFixture::Create(GetParam(), &reason);
  if (!fixture) GTEST_SKIP() << reason;
  SocketPair pair = Connect(Transport::kTcp4);
  std::string bytes = Pattern(0, 1000);
  ASSERT_EQ(::write(pair.client.get(), bytes.data(), 100), 100);
  ASSERT_EQ(ring.Run(IORING_OP_SEND, pair.client.get(), bytes.data() + 100, 200), 200);
  ASSERT_EQ(ring.Run(IORING_OP_WRITE, pair.client.get(), bytes.data() + 300, 300), 300);
  ASSERT_EQ(::write(pair.client.get(), bytes.data() + 600, 50), 50);
  ASSERT_EQ(ring.Run(IORING_OP_RECV, pair.server.get(), bytes.data(), 400), 400);
  std::string rest(1000, '\0');
  ASSERT_EQ(::read(pair.server.get(), rest.data(), rest.size()), 250);

  const SeenConnection* client = fixture->Find(pair.client.get());
  const SeenConnection* server = fixture->Find(pair.server.get());
  ASSERT_TRUE(client != nullptr && server != nullptr);
  for (const SeenConnection* end : {client, server}) {
    for (const SeenData& seen : end->data) {
      if (seen.payload.empty()) {
        EXPECT_NE(seen.event.flags & ZT_DATA_NO_PAYLOAD, 0);
      } else {
        EXPECT_EQ(seen.payload, Pattern(seen.event.offset, seen.event.length));
      }
    }
  }
  if (GetParam() == CaptureTier::kA) {
    ASSERT_EQ(client->data.size(), 4u);
    EXPECT_EQ(client->data[1].event.length, 200u);
    EXPECT_EQ(client->data[2].event.length, 300u);
    ASSERT_EQ(server->data.size(), 2u);
    EXPECT_EQ(server->data[0].event.length, 400u);
    ExpectStream(*client, ZT_DIRECTION_EGRESS, 650);
    ExpectStream(*server, ZT_DIRECTION_INGRESS, 650);
  } else {
    ASSERT_EQ(client->data.size(), 2u);
    EXPECT_EQ(client->data[1].event.flags & ZT_DATA_POSITION_ESTIMATED, ZT_DATA_POSITION_ESTIMATED);
  }
  EXPECT_EQ(client->data.back().event.offset, 600u);
  EXPECT_EQ(server->data.back().event.offset, 400u);
}

std::string TierName(const ::testing::TestParamInfo<CaptureTier>& info) {
  return info.param == CaptureTier::kA ? "TierA" : "TierB";
}
INSTANTIATE_TEST_SUITE_P(All, IoUringTest, ::testing::Values(CaptureTier::kA, CaptureTier::kB),
                         TierName);

}  // namespace
}  // namespace zerotap
