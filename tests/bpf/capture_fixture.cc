#include "tests/bpf/capture_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace zerotap {

std::vector<SeenData> SeenConnection::In(zt_direction direction) const {
  std::vector<SeenData> result;
  for (const SeenData& seen : data) {
    if (seen.event.direction == direction) result.push_back(seen);
  }
  return result;
}

const char* Name(Transport transport) {
  switch (transport) {
    case Transport::kTcp4:
      return "Tcp4";
    case Transport::kTcp6:
      return "Tcp6";
    case Transport::kUnix:
      return "Unix";
    case Transport::kUnixPair:
      return "UnixPair";
  }
  return "";
}

char PatternByte(uint64_t position) {
  return static_cast<char>((position * 131 + (position >> 8) * 29 + (position >> 16) * 7) & 0xff);
}

std::string Pattern(uint64_t position, size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = PatternByte(position + i);
  return text;
}

uint64_t InodeOf(int fd) {
  struct stat status{};
  fstat(fd, &status);
  return status.st_ino;
}

std::unique_ptr<CaptureFixture> CaptureFixture::Create(CaptureTier tier, std::string* reason,
                                                       CaptureOptions options) {
  options.tier = tier;
  auto capture = BpfCapture::Create(options);
  if (!capture) {
    *reason = capture.error().message;
    return nullptr;
  }
  return std::unique_ptr<CaptureFixture>(new CaptureFixture(std::move(*capture)));
}

void CaptureFixture::Take(ByteSpan record) {
  const auto* header = reinterpret_cast<const zt_event_header*>(record.data());
  ASSERT_EQ(header->size, record.size());
  switch (header->kind) {
    case ZT_EVENT_CONNECTION_OPENED: {
      const auto* event = reinterpret_cast<const zt_connection_opened_event*>(record.data());
      SeenConnection& connection = connections_[event->connection_id];
      EXPECT_TRUE(connection.data.empty()) << "data came before the opened record";
      connection.opened = *event;
      ++connection.opened_count;
      break;
    }
    case ZT_EVENT_DATA: {
      const auto* event = reinterpret_cast<const zt_data_event*>(record.data());
      ASSERT_EQ(record.size(), sizeof(*event) + event->head + event->tail);
      ASSERT_LE(event->head + event->tail, event->length);
      SeenData seen{
          *event, std::string(reinterpret_cast<const char*>(event + 1), event->head + event->tail)};
      connections_[event->connection_id].data.push_back(std::move(seen));
      break;
    }
    case ZT_EVENT_CONNECTION_SHUTDOWN: {
      const auto* event = reinterpret_cast<const zt_connection_shutdown_event*>(record.data());
      connections_[event->connection_id].shutdowns.push_back(*event);
      break;
    }
    case ZT_EVENT_CONNECTION_CLOSED: {
      const auto* event = reinterpret_cast<const zt_connection_closed_event*>(record.data());
      connections_[event->connection_id].closed.push_back(*event);
      break;
    }
    default:
      process_records_.emplace_back(reinterpret_cast<const char*>(record.data()), record.size());
  }
}

void CaptureFixture::Collect() {
  if (uint64_t ns = capture_->settle_ns(); ns > 0) ::usleep(static_cast<useconds_t>(ns / 1000));
  while (true) {
    auto count = capture_->Drain(0, [this](ByteSpan record) { Take(record); });
    ASSERT_TRUE(count) << count.error().message;
    if (*count == 0) break;
  }
}

SocketName NameOf(int fd) {
  SocketName name{InodeOf(fd), 0, 0};
  for (bool local : {true, false}) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if ((local ? ::getsockname(fd, generic, &size) : ::getpeername(fd, generic, &size)) != 0)
      continue;
    uint16_t port = 0;
    if (address.ss_family == AF_INET) port = reinterpret_cast<sockaddr_in*>(&address)->sin_port;
    if (address.ss_family == AF_INET6) port = reinterpret_cast<sockaddr_in6*>(&address)->sin6_port;
    (local ? name.local_port : name.remote_port) = ntohs(port);
  }
  return name;
}

const SeenConnection* CaptureFixture::Find(const SocketName& name) {
  Collect();
  // Numbers grow with time.
  for (auto entry = connections_.rbegin(); entry != connections_.rend(); ++entry) {
    const zt_connection_opened_event& opened = entry->second.opened;
    if (name.remote_port != 0
            ? opened.local_port == name.local_port && opened.remote_port == name.remote_port
            : opened.socket_inode == name.inode) {
      return &entry->second;
    }
  }
  return nullptr;
}

void CaptureFixture::Clear() {
  Collect();
  connections_.clear();
  process_records_.clear();
}

namespace {

UniqueFd Socket(int family) { return UniqueFd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

int FamilyOf(Transport transport) {
  if (transport == Transport::kTcp4) return AF_INET;
  return transport == Transport::kTcp6 ? AF_INET6 : AF_UNIX;
}

}  // namespace

UniqueFd Listen(Transport transport, SocketPair& pair) {
  static int counter = 0;
  UniqueFd listener = Socket(FamilyOf(transport));
  sockaddr_storage address{};
  socklen_t size = 0;
  if (transport == Transport::kTcp4) {
    auto* in = reinterpret_cast<sockaddr_in*>(&address);
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    size = sizeof(*in);
  } else if (transport == Transport::kTcp6) {
    auto* in = reinterpret_cast<sockaddr_in6*>(&address);
    in->sin6_family = AF_INET6;
    in->sin6_addr = in6addr_loopback;
    size = sizeof(*in);
  } else {
    auto* un = reinterpret_cast<sockaddr_un*>(&address);
    un->sun_family = AF_UNIX;
    pair.path = "@zerotap-test-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
    std::memcpy(un->sun_path + 1, pair.path.data() + 1, pair.path.size() - 1);
    size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + pair.path.size());
  }
  EXPECT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::listen(listener.get(), 16), 0);
  size = sizeof(address);
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  pair.client = Socket(FamilyOf(transport));
  if (transport == Transport::kTcp4) {
    pair.port = ntohs(reinterpret_cast<sockaddr_in*>(&address)->sin_port);
  } else if (transport == Transport::kTcp6) {
    pair.port = ntohs(reinterpret_cast<sockaddr_in6*>(&address)->sin6_port);
  }
  EXPECT_EQ(::connect(pair.client.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  if (transport != Transport::kUnix) {
    int one = 1;
    ::setsockopt(pair.client.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  }
  return listener;
}

SocketPair Connect(Transport transport) {
  SocketPair pair;
  if (transport == Transport::kUnixPair) {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    pair.client.Reset(fds[0]);
    pair.server.Reset(fds[1]);
    return pair;
  }
  UniqueFd listener = Listen(transport, pair);
  pair.server.Reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  EXPECT_TRUE(pair.server);
  return pair;
}

size_t ExpectStream(const SeenConnection& connection, zt_direction direction, uint64_t total,
                    uint64_t from) {
  uint64_t position = from;
  size_t captured = 0;
  for (const SeenData& seen : connection.In(direction)) {
    const zt_data_event& event = seen.event;
    if (event.flags & ZT_DATA_PEEK) continue;
    EXPECT_EQ(event.offset, position);
    EXPECT_EQ(event.lost_before, 0u);
    EXPECT_EQ(seen.payload.substr(0, event.head), Pattern(event.offset, event.head))
        << "head at " << event.offset;
    EXPECT_EQ(seen.payload.substr(event.head),
              Pattern(event.offset + event.length - event.tail, event.tail))
        << "tail at " << event.offset;
    EXPECT_LE(event.start_ns, event.end_ns);
    EXPECT_LE(event.end_ns, event.header.time_ns);
    position = event.offset + event.length;
    captured += seen.payload.size();
  }
  EXPECT_EQ(position, from + total);
  return captured;
}

}  // namespace zerotap
