// Who is connected to whom, since when, and how it ends; in both tiers.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "agent/events/event.h"
#include "tests/bpf/capture_fixture.h"

namespace zerotap {
namespace {

class ConnectionTest : public ::testing::TestWithParam<CaptureTier> {
 protected:
  void SetUp() override { Start(CaptureFixture::OwnProcessSeen()); }
  void Start(const CaptureOptions& options) {
    fixture_.reset();
    std::string reason;
    fixture_ = CaptureFixture::Create(GetParam(), &reason, options);
    if (!fixture_) GTEST_SKIP() << reason;
  }
  // One byte each way, so that both ends are known.
  void Exchange(const SocketPair& pair) {
    SendPattern(pair.client.get(), 0, 10);
    Receive(pair.server.get(), 10);
    SendPattern(pair.server.get(), 0, 20);
    Receive(pair.client.get(), 20);
  }
  static void SendPattern(int fd, uint64_t position, size_t size) {
    ASSERT_EQ(::send(fd, Pattern(position, size).data(), size, MSG_NOSIGNAL),
              static_cast<ssize_t>(size));
  }
  static ssize_t Receive(int fd, size_t size, int flags = 0) {
    std::string bytes(size, '\0');
    return ::recv(fd, bytes.data(), size, flags);
  }
  std::unique_ptr<CaptureFixture> fixture_;
};

TEST_P(ConnectionTest, BothEndsOfTcpHaveTheSamePair) {
  for (Transport transport : {Transport::kTcp4, Transport::kTcp6}) {
    SCOPED_TRACE(Name(transport));
    SocketPair pair = Connect(transport);
    Exchange(pair);
    const SeenConnection* client = fixture_->Find(pair.client.get());
    const SeenConnection* server = fixture_->Find(pair.server.get());
    ASSERT_NE(client, nullptr);
    ASSERT_NE(server, nullptr);
    EXPECT_EQ(client->opened.first_out, server->opened.first_in);
    EXPECT_EQ(client->opened.first_in, server->opened.first_out);
    EXPECT_EQ(client->opened.role, ZT_ROLE_CLIENT);
    EXPECT_EQ(server->opened.role, ZT_ROLE_SERVER);
    EXPECT_EQ(client->opened.remote_port, pair.port);
    EXPECT_EQ(server->opened.local_port, pair.port);
    EXPECT_EQ(client->opened.local_port, server->opened.remote_port);
    EXPECT_NE(client->opened.local_port, 0);
    EXPECT_EQ(client->opened.family,
              transport == Transport::kTcp4 ? ZT_FAMILY_IPV4 : ZT_FAMILY_IPV6);
    zt_u8 loopback[ZT_ADDRESS_SIZE] = {};
    if (transport == Transport::kTcp4) {
      loopback[0] = 127;
      loopback[3] = 1;
    } else {
      loopback[15] = 1;
    }
    for (const SeenConnection* end : {client, server}) {
      EXPECT_EQ(std::memcmp(end->opened.local_address, loopback, ZT_ADDRESS_SIZE), 0);
      EXPECT_EQ(std::memcmp(end->opened.remote_address, loopback, ZT_ADDRESS_SIZE), 0);
      EXPECT_EQ(end->opened.flags, ZT_OPENED_POSITIONS_EXACT);
      EXPECT_EQ(end->opened_count, 1);
      EXPECT_NE(end->opened.netns, 0u);
      for (const SeenData& seen : end->data) {
        EXPECT_EQ(seen.event.tgid, static_cast<uint32_t>(::getpid()));
      }
    }
    EXPECT_EQ(client->opened.tgid, static_cast<uint32_t>(::getpid()));
    EXPECT_EQ(server->opened.tgid, 0u) << "nobody has accepted it yet";
    ExpectStream(*client, ZT_DIRECTION_EGRESS, 10);
    ExpectStream(*server, ZT_DIRECTION_INGRESS, 10);
    ExpectStream(*server, ZT_DIRECTION_EGRESS, 20);
    ExpectStream(*client, ZT_DIRECTION_INGRESS, 20);
    // On one machine a send never seems to begin after its receive.
    EXPECT_LE(client->In(ZT_DIRECTION_EGRESS)[0].event.start_ns,
              server->In(ZT_DIRECTION_INGRESS)[0].event.start_ns);
  }
}

TEST_P(ConnectionTest, MappedAddressesAreIpv4) {
  UniqueFd listener(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  socklen_t size = sizeof(any);
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&any), &size);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = any.sin6_port;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  SocketPair pair;
  pair.client.Reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(pair.client.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  pair.server.Reset(::accept(listener.get(), nullptr, nullptr));
  Exchange(pair);
  const SeenConnection* server = fixture_->Find(pair.server.get());
  const SeenConnection* client = fixture_->Find(pair.client.get());
  ASSERT_TRUE(server != nullptr && client != nullptr);
  EXPECT_EQ(server->opened.family, ZT_FAMILY_IPV4);
  EXPECT_EQ(server->opened.role, ZT_ROLE_SERVER);
  EXPECT_EQ(
      std::memcmp(server->opened.remote_address, client->opened.local_address, ZT_ADDRESS_SIZE), 0);
  EXPECT_EQ(client->opened.first_out, server->opened.first_in);
}

TEST_P(ConnectionTest, NonBlockingConnect) {
  SocketPair listening;
  UniqueFd listener = Listen(Transport::kTcp4, listening);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(listening.port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  UniqueFd first(::accept(listener.get(), nullptr, nullptr));
  SocketPair pair;
  pair.client.Reset(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  ::connect(pair.client.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to));
  pollfd waiting{pair.client.get(), POLLOUT, 0};
  ASSERT_EQ(::poll(&waiting, 1, 1000), 1);
  pair.server.Reset(::accept(listener.get(), nullptr, nullptr));
  Exchange(pair);
  const SeenConnection* client = fixture_->Find(pair.client.get());
  const SeenConnection* server = fixture_->Find(pair.server.get());
  ASSERT_TRUE(client != nullptr && server != nullptr);
  EXPECT_EQ(client->opened.role, ZT_ROLE_CLIENT);
  EXPECT_EQ(client->opened.first_out, server->opened.first_in);
  for (const SeenData& seen : client->data) EXPECT_EQ(seen.event.flags, ZT_DATA_NONBLOCKING);
  for (const SeenData& seen : server->data) EXPECT_EQ(seen.event.flags, 0);
}

TEST_P(ConnectionTest, UnixEndsKnowEachOther) {
  for (Transport transport : {Transport::kUnix, Transport::kUnixPair}) {
    SCOPED_TRACE(Name(transport));
    SocketPair pair = Connect(transport);
    Exchange(pair);
    const SeenConnection* client = fixture_->Find(pair.client.get());
    const SeenConnection* server = fixture_->Find(pair.server.get());
    ASSERT_TRUE(client != nullptr && server != nullptr);
    EXPECT_EQ(client->opened.family, ZT_FAMILY_UNIX);
    EXPECT_EQ(client->opened.peer_inode, InodeOf(pair.server.get()));
    EXPECT_EQ(server->opened.peer_inode, InodeOf(pair.client.get()));
    EXPECT_EQ(client->opened.flags, ZT_OPENED_POSITIONS_EXACT);
    bool listened = transport == Transport::kUnix;
    EXPECT_EQ(client->opened.role, listened ? ZT_ROLE_CLIENT : ZT_ROLE_UNKNOWN);
    EXPECT_EQ(server->opened.role, listened ? ZT_ROLE_SERVER : ZT_ROLE_UNKNOWN);
    EXPECT_STREQ(client->opened.unix_path, pair.path.c_str());
    EXPECT_STREQ(server->opened.unix_path, pair.path.c_str());
    ExpectStream(*client, ZT_DIRECTION_EGRESS, 10);
    ExpectStream(*client, ZT_DIRECTION_INGRESS, 20);
  }
}

TEST_P(ConnectionTest, OrderlyEnd) {
  SocketPair pair = Connect(Transport::kTcp4);
  Exchange(pair);
  SocketName client_name = NameOf(pair.client.get());
  SocketName server_name = NameOf(pair.server.get());
  ::shutdown(pair.client.get(), SHUT_WR);
  EXPECT_EQ(Receive(pair.server.get(), 100), 0);
  // The half that is still open goes on.
  SendPattern(pair.server.get(), 20, 30);
  pair.server.Reset();
  ::usleep(2000);
  EXPECT_EQ(Receive(pair.client.get(), 100), 30);
  EXPECT_EQ(Receive(pair.client.get(), 100), 0);
  pair.client.Reset();

  const SeenConnection* client = fixture_->Find(client_name);
  const SeenConnection* server = fixture_->Find(server_name);
  ASSERT_TRUE(client != nullptr && server != nullptr);
  ExpectStream(*client, ZT_DIRECTION_INGRESS, 50);
  ExpectStream(*server, ZT_DIRECTION_EGRESS, 50);
  for (const SeenConnection* end : {client, server}) {
    SCOPED_TRACE(end == client ? "client" : "server");
    ASSERT_EQ(end->shutdowns.size(), 2u);
    EXPECT_EQ(end->shutdowns[0].direction,
              end == client ? ZT_DIRECTION_EGRESS : ZT_DIRECTION_INGRESS);
    EXPECT_EQ(end->shutdowns[1].direction,
              end == client ? ZT_DIRECTION_INGRESS : ZT_DIRECTION_EGRESS);
    ASSERT_EQ(end->closed.size(), 1u);
    EXPECT_EQ(end->closed[0].error, 0u);
    EXPECT_EQ(end->closed[0].lost_events, 0u);
    auto received = end->In(ZT_DIRECTION_INGRESS);
    EXPECT_EQ(received.back().event.flags, ZT_DATA_EOF);
    EXPECT_EQ(received.back().event.length, 0u);
    EXPECT_EQ(received.back().event.offset, end == client ? 50u : 10u);
  }
  EXPECT_EQ(client->closed[0].bytes_sent, 10u);
  EXPECT_EQ(client->closed[0].bytes_received, 50u);
  EXPECT_EQ(server->closed[0].bytes_sent, 50u);
}

TEST_P(ConnectionTest, TheLastBytesReadTogetherWithTheEnd) {
  SocketPair pair = Connect(Transport::kTcp4);
  SendPattern(pair.client.get(), 0, 100);
  ::shutdown(pair.client.get(), SHUT_WR);
  ::usleep(2000);
  EXPECT_EQ(Receive(pair.server.get(), 100, MSG_WAITALL), 100);
  EXPECT_EQ(Receive(pair.server.get(), 100), 0);
  const SeenConnection* server = fixture_->Find(pair.server.get());
  ASSERT_NE(server, nullptr);
  ExpectStream(*server, ZT_DIRECTION_INGRESS, 100);
  for (const SeenData& seen : server->data)
    EXPECT_EQ(seen.event.flags & ZT_DATA_POSITION_ESTIMATED, 0);
}

TEST_P(ConnectionTest, AResetIsAnError) {
  SocketPair pair = Connect(Transport::kTcp4);
  Exchange(pair);
  SocketName client_name = NameOf(pair.client.get());
  linger hard{1, 0};
  ::setsockopt(pair.server.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  pair.server.Reset();
  const SeenConnection* client = fixture_->Find(client_name);
  ASSERT_NE(client, nullptr);
  ASSERT_EQ(client->closed.size(), 1u);
  EXPECT_EQ(client->closed[0].error, static_cast<uint32_t>(ECONNRESET));
}

TEST_P(ConnectionTest, UnixEndOfStream) {
  SocketPair pair = Connect(Transport::kUnix);
  Exchange(pair);
  pair.client.Reset();
  EXPECT_EQ(Receive(pair.server.get(), 0), 0);  // asked for nothing
  EXPECT_EQ(Receive(pair.server.get(), 10), 0);
  const SeenConnection* server = fixture_->Find(pair.server.get());
  ASSERT_NE(server, nullptr);
  auto received = server->In(ZT_DIRECTION_INGRESS);
  ASSERT_EQ(received.size(), 2u);
  EXPECT_EQ(received[1].event.flags, ZT_DATA_EOF);
}

TEST_P(ConnectionTest, PeekingMovesNothing) {
  for (Transport transport : {Transport::kTcp4, Transport::kUnix}) {
    SCOPED_TRACE(Name(transport));
    SocketPair pair = Connect(transport);
    SendPattern(pair.client.get(), 0, 100);
    EXPECT_EQ(Receive(pair.server.get(), 60, MSG_PEEK), 60);
    EXPECT_EQ(Receive(pair.server.get(), 50), 50);
    EXPECT_EQ(Receive(pair.server.get(), 50, MSG_PEEK), 50);
    EXPECT_EQ(Receive(pair.server.get(), 50, MSG_DONTWAIT), 50);
    EXPECT_EQ(Receive(pair.server.get(), 50, MSG_DONTWAIT), -1);
    const SeenConnection* server = fixture_->Find(pair.server.get());
    ASSERT_NE(server, nullptr);
    EXPECT_EQ(server->opened.flags, ZT_OPENED_POSITIONS_EXACT);
    auto received = server->In(ZT_DIRECTION_INGRESS);
    ASSERT_EQ(received.size(), 4u);
    EXPECT_EQ(received[0].event.flags, ZT_DATA_PEEK);
    EXPECT_EQ(received[0].event.length, 60u);
    EXPECT_EQ(received[0].event.offset, 0u);
    EXPECT_EQ(received[2].event.flags, ZT_DATA_PEEK);
    EXPECT_EQ(received[2].event.offset, 50u);
    EXPECT_EQ(received[3].event.flags, ZT_DATA_NONBLOCKING);
    EXPECT_EQ(ExpectStream(*server, ZT_DIRECTION_INGRESS, 100), 100u);
  }
}

TEST_P(ConnectionTest, IdentityIsTheSocket) {
  for (Transport transport : {Transport::kTcp4, Transport::kUnix}) {
    SCOPED_TRACE(Name(transport));
    fixture_->Clear();
    SocketPair pair = Connect(transport);
    SendPattern(pair.client.get(), 0, 10);
    UniqueFd copy(::dup(pair.client.get()));
    SendPattern(copy.get(), 10, 10);
    // Passed to a child over another socket, and inherited by it.
    int carrier[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM, 0, carrier), 0);
    pid_t child = ::fork();
    if (child == 0) {
      SendPattern(pair.client.get(), 20, 10);
      char byte;
      char control[CMSG_SPACE(sizeof(int))];
      iovec segment{&byte, 1};
      msghdr message{};
      message.msg_iov = &segment;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof(control);
      ::recvmsg(carrier[1], &message, 0);
      int passed = -1;
      std::memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(passed));
      SendPattern(passed, 30, 10);
      ::_exit(0);
    }
    char byte = 0;
    char control[CMSG_SPACE(sizeof(int))] = {};
    iovec segment{&byte, 1};
    msghdr message{};
    message.msg_iov = &segment;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    int passing = copy.get();
    std::memcpy(CMSG_DATA(header), &passing, sizeof(passing));
    ASSERT_EQ(::sendmsg(carrier[0], &message, 0), 1);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_EQ(status, 0);
    ::close(carrier[0]);
    ::close(carrier[1]);
    SendPattern(copy.get(), 40, 10);
    const SeenConnection* client = fixture_->Find(pair.client.get());
    ASSERT_NE(client, nullptr);
    EXPECT_EQ(client->opened_count, 1);
    EXPECT_EQ(ExpectStream(*client, ZT_DIRECTION_EGRESS, 50), 50u);
    ASSERT_EQ(client->data.size(), 5u);
    EXPECT_EQ(client->data[2].event.tgid, static_cast<uint32_t>(child));
    EXPECT_EQ(client->data[4].event.tgid, static_cast<uint32_t>(::getpid()));
  }
}

TEST_P(ConnectionTest, ReusedDescriptorsAreNewConnections) {
  for (Transport transport : {Transport::kTcp4, Transport::kUnix}) {
    SCOPED_TRACE(Name(transport));
    fixture_->Clear();
    std::vector<SocketName> names;
    for (int round = 0; round < 8; ++round) {
      SocketPair pair = Connect(transport);
      SendPattern(pair.client.get(), 0, 10 + round);
      names.push_back(NameOf(pair.client.get()));
    }
    for (int round = 0; round < 8; ++round) {
      const SeenConnection* client = fixture_->Find(names[round]);
      ASSERT_NE(client, nullptr);
      ExpectStream(*client, ZT_DIRECTION_EGRESS, 10 + round);
      EXPECT_EQ(client->opened_count, 1);
    }
  }
}

TEST_P(ConnectionTest, SocketsFromBeforeAreKnown) {
  fixture_.reset();
  SocketPair tcp = Connect(Transport::kTcp4);
  Exchange(tcp);
  SocketPair unused = Connect(Transport::kTcp6);
  SocketPair unix_pair = Connect(Transport::kUnix);
  Exchange(unix_pair);
  Start(CaptureFixture::OwnProcessSeen());
  if (!fixture_) return;
  SendPattern(tcp.client.get(), 10, 5);
  Receive(tcp.server.get(), 5);
  SendPattern(unix_pair.client.get(), 0, 5);
  const SeenConnection* client = fixture_->Find(tcp.client.get());
  const SeenConnection* server = fixture_->Find(tcp.server.get());
  ASSERT_TRUE(client != nullptr && server != nullptr);
  for (const SeenConnection* end : {client, server}) {
    EXPECT_EQ(end->opened_count, 1);
    EXPECT_EQ(end->opened.flags, ZT_OPENED_MIDSTREAM | ZT_OPENED_POSITIONS_EXACT);
    EXPECT_EQ(end->opened.tgid, static_cast<uint32_t>(::getpid()));
    EXPECT_EQ(end->opened.role, end == client ? ZT_ROLE_CLIENT : ZT_ROLE_SERVER);
    EXPECT_STREQ(end->opened.comm, "bpf_test");
  }
  EXPECT_EQ(client->opened.first_out, server->opened.first_in);
  EXPECT_EQ(client->opened.first_in, server->opened.first_out);
  ExpectStream(*client, ZT_DIRECTION_EGRESS, 5, 10);
  ExpectStream(*server, ZT_DIRECTION_INGRESS, 5, 10);
  const SeenConnection* idle = fixture_->Find(unused.server.get());
  ASSERT_NE(idle, nullptr);
  EXPECT_EQ(idle->opened.flags, ZT_OPENED_POSITIONS_EXACT);
  const SeenConnection* old_unix = fixture_->Find(unix_pair.client.get());
  ASSERT_NE(old_unix, nullptr);
  EXPECT_EQ(old_unix->opened.flags, ZT_OPENED_MIDSTREAM);
  EXPECT_EQ(old_unix->opened.role, ZT_ROLE_CLIENT);
  EXPECT_EQ(old_unix->data.size(), 1u);
}

TEST_P(ConnectionTest, OwnConnectionsAreLeftOutOnBothEnds) {
  // The peers are other processes; their ends would be seen if ours were not known.
  CaptureOptions options;
  options.exclude_self = true;
  Start(options);
  if (!fixture_) return;
  for (Transport transport : {Transport::kTcp4, Transport::kTcp6, Transport::kUnix}) {
    for (bool own_end_connects : {true, false}) {
      SCOPED_TRACE(std::string(Name(transport)) + (own_end_connects ? " as client" : " as server"));
      fixture_->Clear();
      SocketPair pair;
      UniqueFd listener = Listen(transport, pair);
      if (own_end_connects) {
        pid_t child = ::fork();
        if (child == 0) {
          int fd = ::accept(listener.get(), nullptr, nullptr);
          for (int round = 0; round < 5; ++round) {
            Receive(fd, 10, MSG_WAITALL);
            SendPattern(fd, 0, 20);
          }
          ::_exit(0);
        }
        for (int round = 0; round < 5; ++round) {
          SendPattern(pair.client.get(), 0, 10);
          Receive(pair.client.get(), 20, MSG_WAITALL);
        }
        ::waitpid(child, nullptr, 0);
      } else {
        sockaddr_storage address{};
        socklen_t size = sizeof(address);
        ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
        pid_t child = ::fork();
        if (child == 0) {
          int fd = ::socket(address.ss_family, SOCK_STREAM, 0);
          ::connect(fd, reinterpret_cast<sockaddr*>(&address), size);
          for (int round = 0; round < 5; ++round) {
            SendPattern(fd, 0, 10);
            Receive(fd, 20, MSG_WAITALL);
          }
          ::_exit(0);
        }
        UniqueFd first(::accept(listener.get(), nullptr, nullptr));
        UniqueFd second(::accept(listener.get(), nullptr, nullptr));
        for (int round = 0; round < 5; ++round) {
          Receive(second.get(), 10, MSG_WAITALL);
          SendPattern(second.get(), 0, 20);
        }
        ::waitpid(child, nullptr, 0);
      }
      fixture_->Collect();
      for (const auto& [id, connection] : fixture_->connections()) {
        bool ours = transport == Transport::kUnix
                        ? std::string(FieldText(connection.opened.unix_path)) == pair.path
                        : connection.opened.local_port == pair.port ||
                              connection.opened.remote_port == pair.port;
        EXPECT_FALSE(ours) << "a record of an own connection: role " << int{connection.opened.role}
                           << " of process " << connection.opened.tgid << ", "
                           << connection.data.size() << " data records, "
                           << connection.closed.size() << " closed";
      }
    }
  }
}

TEST_P(ConnectionTest, IgnoredProcessesLeaveNothing) {
  fixture_->capture().SetProcessPolicy(static_cast<uint32_t>(::getpid()), ZT_PROCESS_IGNORE);
  SocketPair pair = Connect(Transport::kTcp4);
  Exchange(pair);
  EXPECT_EQ(fixture_->Find(pair.client.get()), nullptr);
  // Who would accept the other end was not known when it was told of.
  const SeenConnection* server = fixture_->Find(pair.server.get());
  if (server != nullptr) {
    EXPECT_TRUE(server->data.empty());
  }
  fixture_->capture().ForgetProcess(static_cast<uint32_t>(::getpid()));
  SendPattern(pair.client.get(), 10, 10);
  const SeenConnection* client = fixture_->Find(pair.client.get());
  ASSERT_NE(client, nullptr);
  EXPECT_EQ(client->opened.flags, ZT_OPENED_MIDSTREAM | ZT_OPENED_POSITIONS_EXACT);
  ExpectStream(*client, ZT_DIRECTION_EGRESS, 10, 10);
}

TEST_P(ConnectionTest, ProcessesThatShareASlotKeepTheirPolicies) {
  const auto own = static_cast<uint32_t>(::getpid());
  const uint32_t other = own + ZT_POLICY_SLOTS;
  BpfCapture& capture = fixture_->capture();
  capture.SetProcessPolicy(own, ZT_PROCESS_IGNORE);
  capture.SetProcessPolicy(other, ZT_PROCESS_TRACE);
  SocketPair pair = Connect(Transport::kTcp4);
  SendPattern(pair.client.get(), 0, 10);
  capture.ForgetProcess(other);
  SendPattern(pair.client.get(), 10, 10);
  EXPECT_EQ(fixture_->Find(pair.client.get()), nullptr);
  capture.ForgetProcess(own);
  SendPattern(pair.client.get(), 20, 10);
  const SeenConnection* client = fixture_->Find(pair.client.get());
  ASSERT_NE(client, nullptr);
  ExpectStream(*client, ZT_DIRECTION_EGRESS, 10, 20);
}

TEST_P(ConnectionTest, ManyThreadsOnOneSocketLoseNothing) {
  SocketPair pair = Connect(Transport::kTcp4);
  constexpr int kThreads = 4;
  constexpr int kRounds = 200;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&pair] {
      for (int round = 0; round < kRounds; ++round) SendPattern(pair.client.get(), 0, 16);
    });
  }
  std::thread reader([&pair] {
    ssize_t left = kThreads * kRounds * 16;
    while (left > 0) left -= Receive(pair.server.get(), 4096);
  });
  for (std::thread& thread : threads) thread.join();
  reader.join();
  const SeenConnection* client = fixture_->Find(pair.client.get());
  const SeenConnection* server = fixture_->Find(pair.server.get());
  ASSERT_TRUE(client != nullptr && server != nullptr);
  EXPECT_EQ(client->data.size(), static_cast<size_t>(kThreads * kRounds));
  // A claimed end is never below the true one, and the lengths are exact.
  uint64_t sum = 0;
  uint64_t highest = 0;
  for (const SeenData& seen : client->data) {
    sum += seen.event.length;
    highest = std::max(highest, seen.event.offset + seen.event.length);
    EXPECT_EQ(seen.payload, Pattern(0, 16));
  }
  EXPECT_EQ(sum, static_cast<uint64_t>(kThreads * kRounds * 16));
  EXPECT_EQ(highest, sum);
  uint64_t position = 0;
  for (const SeenData& seen : server->data) {
    EXPECT_EQ(seen.event.offset, position);
    position += seen.event.length;
  }
  EXPECT_EQ(position, sum);
}

std::string TierName(const ::testing::TestParamInfo<CaptureTier>& info) {
  return info.param == CaptureTier::kA ? "TierA" : "TierB";
}
INSTANTIATE_TEST_SUITE_P(All, ConnectionTest, ::testing::Values(CaptureTier::kA, CaptureTier::kB),
                         TierName);

}  // namespace
}  // namespace zerotap
