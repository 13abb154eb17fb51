// Every call that moves bytes through a stream socket, in both tiers: length, position, content,
// direction.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <functional>
#include <thread>
#include <tuple>

#include "tests/bpf/capture_fixture.h"

namespace zerotap {
namespace {

struct SendCall {
  const char* name;
  // Sends the pattern's `size` bytes from `position` on; returns how many went.
  std::function<ssize_t(int fd, uint64_t position, size_t size)> call;
  bool has_payload = true;
};
struct ReceiveCall {
  const char* name;
  std::function<ssize_t(int fd, size_t size)> call;
  bool has_payload = true;
};

// Three segments, an empty one among them.
std::vector<iovec> Cut(std::string& bytes) {
  size_t first = bytes.size() / 3;
  return {{bytes.data(), first}, {nullptr, 0}, {bytes.data() + first, bytes.size() - first}};
}

ssize_t SendMessages(int fd, uint64_t position, size_t size) {
  std::string bytes = Pattern(position, size);
  size_t cut = size / 4;
  iovec segments[3] = {
      {bytes.data(), cut}, {bytes.data() + cut, cut}, {bytes.data() + 2 * cut, size - 2 * cut}};
  mmsghdr messages[2] = {};
  messages[0].msg_hdr.msg_iov = segments;
  messages[0].msg_hdr.msg_iovlen = 2;
  messages[1].msg_hdr.msg_iov = segments + 2;
  messages[1].msg_hdr.msg_iovlen = 1;
  int count = ::sendmmsg(fd, messages, 2, 0);
  ssize_t sum = 0;
  for (int i = 0; i < count; ++i) sum += messages[i].msg_len;
  return sum;
}

ssize_t ReceiveMessages(int fd, size_t size) {
  std::string first(size / 2, '\0');
  std::string second(size - size / 2, '\0');
  iovec segments[2] = {{first.data(), first.size()}, {second.data(), second.size()}};
  mmsghdr messages[2] = {};
  for (int i = 0; i < 2; ++i) {
    messages[i].msg_hdr.msg_iov = &segments[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  int count = ::recvmmsg(fd, messages, 2, MSG_WAITFORONE, nullptr);
  ssize_t sum = 0;
  for (int i = 0; i < count; ++i) sum += messages[i].msg_len;
  return sum;
}

UniqueFd FileWithPattern(uint64_t position, size_t size) {
  UniqueFd file(static_cast<int>(::syscall(SYS_memfd_create, "zerotap-test", MFD_CLOEXEC)));
  std::string bytes = Pattern(position, size);
  EXPECT_EQ(::write(file.get(), bytes.data(), size), static_cast<ssize_t>(size));
  ::lseek(file.get(), 0, SEEK_SET);
  return file;
}

std::vector<SendCall> SendCalls() {
  std::vector<SendCall> calls;
  calls.push_back({"write", [](int fd, uint64_t position, size_t size) {
                     return ::write(fd, Pattern(position, size).data(), size);
                   }});
  calls.push_back({"sendto", [](int fd, uint64_t position, size_t size) {
                     return ::send(fd, Pattern(position, size).data(), size, MSG_NOSIGNAL);
                   }});
  calls.push_back({"writev", [](int fd, uint64_t position, size_t size) {
                     std::string bytes = Pattern(position, size);
                     auto segments = Cut(bytes);
                     return ::writev(fd, segments.data(), static_cast<int>(segments.size()));
                   }});
  calls.push_back({"pwritev2", [](int fd, uint64_t position, size_t size) {
                     std::string bytes = Pattern(position, size);
                     auto segments = Cut(bytes);
                     return ::pwritev2(fd, segments.data(), static_cast<int>(segments.size()), -1,
                                       0);
                   }});
  calls.push_back({"sendmsg", [](int fd, uint64_t position, size_t size) {
                     std::string bytes = Pattern(position, size);
                     auto segments = Cut(bytes);
                     msghdr message{};
                     message.msg_iov = segments.data();
                     message.msg_iovlen = segments.size();
                     return ::sendmsg(fd, &message, MSG_NOSIGNAL);
                   }});
  calls.push_back({"sendmsg of one segment", [](int fd, uint64_t position, size_t size) {
                     std::string bytes = Pattern(position, size);
                     iovec segment{bytes.data(), bytes.size()};
                     msghdr message{};
                     message.msg_iov = &segment;
                     message.msg_iovlen = 1;
                     return ::sendmsg(fd, &message, 0);
                   }});
  calls.push_back({"sendmmsg", SendMessages});
  calls.push_back({"sendfile",
                   [](int fd, uint64_t position, size_t size) {
                     UniqueFd file = FileWithPattern(position, size);
                     return ::sendfile(fd, file.get(), nullptr, size);
                   },
                   false});
  calls.push_back({"splice",
                   [](int fd, uint64_t position, size_t size) {
                     int pipe[2];
                     EXPECT_EQ(::pipe(pipe), 0);
                     UniqueFd out(pipe[0]);
                     UniqueFd in(pipe[1]);
                     EXPECT_EQ(::write(in.get(), Pattern(position, size).data(), size),
                               static_cast<ssize_t>(size));
                     return ::splice(out.get(), nullptr, fd, nullptr, size, 0);
                   },
                   false});
  return calls;
}

std::vector<ReceiveCall> ReceiveCalls() {
  std::vector<ReceiveCall> calls;
  calls.push_back({"read", [](int fd, size_t size) {
                     std::string bytes(size, '\0');
                     return ::read(fd, bytes.data(), size);
                   }});
  calls.push_back({"recvfrom", [](int fd, size_t size) {
                     std::string bytes(size, '\0');
                     return ::recv(fd, bytes.data(), size, 0);
                   }});
  calls.push_back({"readv", [](int fd, size_t size) {
                     std::string bytes(size, '\0');
                     auto segments = Cut(bytes);
                     return ::readv(fd, segments.data(), static_cast<int>(segments.size()));
                   }});
  calls.push_back({"preadv2", [](int fd, size_t size) {
                     std::string bytes(size, '\0');
                     auto segments = Cut(bytes);
                     return ::preadv2(fd, segments.data(), static_cast<int>(segments.size()), -1,
                                      0);
                   }});
  calls.push_back({"recvmsg", [](int fd, size_t size) {
                     std::string bytes(size, '\0');
                     auto segments = Cut(bytes);
                     msghdr message{};
                     message.msg_iov = segments.data();
                     message.msg_iovlen = segments.size();
                     return ::recvmsg(fd, &message, 0);
                   }});
  calls.push_back({"recvmmsg", ReceiveMessages});
  return calls;
}

class SocketCallsTest : public ::testing::TestWithParam<std::tuple<CaptureTier, Transport>> {
 protected:
  void SetUp() override {
    std::string reason;
    fixture_ = CaptureFixture::Create(std::get<0>(GetParam()), &reason);
    if (!fixture_) GTEST_SKIP() << reason;
  }
  Transport transport() const { return std::get<1>(GetParam()); }
  bool is_tier_a() const { return std::get<0>(GetParam()) == CaptureTier::kA; }
  std::unique_ptr<CaptureFixture> fixture_;
};

TEST_P(SocketCallsTest, EveryWayToSend) {
  for (const SendCall& send : SendCalls()) {
    SCOPED_TRACE(send.name);
    SocketPair pair = Connect(transport());
    uint64_t position = 0;
    // Sizes in every class, short enough for the budget of a run.
    for (size_t size : {1u, 100u, 300u, 1200u, 2000u}) {
      ASSERT_EQ(send.call(pair.client.get(), position, size), static_cast<ssize_t>(size));
      position += size;
    }
    const SeenConnection* connection = fixture_->Find(pair.client.get());
    ASSERT_NE(connection, nullptr);
    EXPECT_EQ(connection->opened.tgid, static_cast<uint32_t>(::getpid()));
    size_t captured = ExpectStream(*connection, ZT_DIRECTION_EGRESS, position);
    EXPECT_EQ(captured, send.has_payload ? position : 0u);
    for (const SeenData& seen : connection->In(ZT_DIRECTION_EGRESS)) {
      EXPECT_EQ(seen.event.flags, send.has_payload ? 0 : ZT_DATA_NO_PAYLOAD);
    }
  }
}

TEST_P(SocketCallsTest, EveryWayToReceive) {
  for (const ReceiveCall& receive : ReceiveCalls()) {
    SCOPED_TRACE(receive.name);
    SocketPair pair = Connect(transport());
    ASSERT_EQ(::write(pair.client.get(), Pattern(0, 3600).data(), 3600), 3600);
    size_t position = 0;
    for (size_t size : {1u, 100u, 300u, 1200u, 1999u}) {
      ASSERT_EQ(receive.call(pair.server.get(), size), static_cast<ssize_t>(size));
      position += size;
    }
    const SeenConnection* connection = fixture_->Find(pair.server.get());
    ASSERT_NE(connection, nullptr);
    EXPECT_EQ(ExpectStream(*connection, ZT_DIRECTION_INGRESS, position), position);
  }
}

std::string ParameterName(
    const ::testing::TestParamInfo<std::tuple<CaptureTier, Transport>>& info) {
  return std::string(std::get<0>(info.param) == CaptureTier::kA ? "TierA" : "TierB") +
         Name(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(All, SocketCallsTest,
                         ::testing::Combine(::testing::Values(CaptureTier::kA, CaptureTier::kB),
                                            ::testing::Values(Transport::kTcp4, Transport::kTcp6,
                                                              Transport::kUnix,
                                                              Transport::kUnixPair)),
                         ParameterName);

}  // namespace
}  // namespace zerotap
