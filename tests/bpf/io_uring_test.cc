// io_uring: tier A sees lengths, tier B nothing; in both, what follows stands at its right place in
// the stream.
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cstring>

#include "tests/bpf/capture_fixture.h"

namespace zerotap {
namespace {

// One submission at a time, waited for.
class SmallRing {
 public:
  SmallRing() {
    io_uring_params parameters{};
    fd_.Reset(static_cast<int>(::syscall(SYS_io_uring_setup, 4, &parameters)));
    if (!fd_) return;
    size_t size = parameters.sq_off.array + parameters.sq_entries * sizeof(uint32_t);
    size_t completion_size = parameters.cq_off.cqes + parameters.cq_entries * sizeof(io_uring_cqe);
    submission_ = Map(size, IORING_OFF_SQ_RING);
    completion_ = Map(completion_size, IORING_OFF_CQ_RING);
    entries_ = reinterpret_cast<io_uring_sqe*>(
        Map(parameters.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
    offsets_ = parameters;
  }
  explicit operator bool() const { return static_cast<bool>(fd_) && entries_ != nullptr; }

  int Run(uint8_t opcode, int fd, void* buffer, uint32_t size) {
    uint32_t& tail = *At(submission_, offsets_.sq_off.tail);
    uint32_t index = tail & *At(submission_, offsets_.sq_off.ring_mask);
    std::memset(&entries_[index], 0, sizeof(entries_[index]));
    entries_[index].opcode = opcode;
    entries_[index].fd = fd;
    entries_[index].addr = reinterpret_cast<uint64_t>(buffer);
    entries_[index].len = size;
    At(submission_, offsets_.sq_off.array)[index] = index;
    __atomic_store_n(&tail, tail + 1, __ATOMIC_RELEASE);
    if (::syscall(SYS_io_uring_enter, fd_.get(), 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0) < 0)
      return -errno;
    uint32_t& head = *At(completion_, offsets_.cq_off.head);
    auto* completions = reinterpret_cast<io_uring_cqe*>(completion_ + offsets_.cq_off.cqes);
    int result = completions[head & *At(completion_, offsets_.cq_off.ring_mask)].res;
    __atomic_store_n(&head, head + 1, __ATOMIC_RELEASE);
    return result;
  }

 private:
  char* Map(size_t size, off_t offset) {
    void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), offset);
    return address == MAP_FAILED ? nullptr
                                 : static_cast<char*>(address);  // for the test's lifetime
  }
  static uint32_t* At(char* base, uint32_t offset) {
    return reinterpret_cast<uint32_t*>(base + offset);
  }
  UniqueFd fd_;
  io_uring_params offsets_{};
  char* submission_ = nullptr;
  char* completion_ = nullptr;
  io_uring_sqe* entries_ = nullptr;
};

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
