#include "tests/bpf/conformance/link.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace zerotap::conformance {
namespace {

uint64_t NewStream() {
  static std::atomic<uint64_t> next{10'000};  // rows may choose lower ones themselves
  return next++;
}

uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
  return value ^ (value >> 31);
}

int DomainOf(Family family) {
  if (family == Family::kTcp4) return AF_INET;
  return family == Family::kTcp6 ? AF_INET6 : AF_UNIX;
}

// As the agent has it: an IPv6 socket that carries IPv4 is IPv4.
void ReadAddress(const sockaddr_storage& address, uint8_t& family, uint16_t& port,
                 std::array<uint8_t, ZT_ADDRESS_SIZE>& bytes) {
  if (address.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    family = ZT_FAMILY_IPV4;
    port = ntohs(in.sin_port);
    std::memcpy(bytes.data(), &in.sin_addr, 4);
  } else if (address.ss_family == AF_INET6) {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(address);
    bool mapped = IN6_IS_ADDR_V4MAPPED(&in.sin6_addr);
    family = mapped ? ZT_FAMILY_IPV4 : ZT_FAMILY_IPV6;
    port = ntohs(in.sin6_port);
    if (mapped) {
      std::memcpy(bytes.data(), in.sin6_addr.s6_addr + 12, 4);
    } else {
      std::memcpy(bytes.data(), &in.sin6_addr, 16);
    }
  } else {
    family = ZT_FAMILY_UNIX;
  }
}

uint64_t InodeOf(const UniqueFd& fd) {
  struct stat status {};
  Must(::fstat(fd.get(), &status) == 0, "fstat");
  return status.st_ino;
}

}  // namespace

void Die(const std::string& what) {
  std::fprintf(stderr, "conformance: the workload failed: %s (%s)\n", what.c_str(),
               std::strerror(errno));
  ::_exit(2);
}

void Must(bool good, const char* what) {
  if (!good) Die(what);
}

const char* Name(Family family) {
  switch (family) {
    case Family::kTcp4:
      return "tcp4";
    case Family::kTcp6:
      return "tcp6";
    case Family::kUnix:
      return "unix";
  }
  return "";
}

std::string Pattern(uint64_t stream, uint64_t position, size_t size) {
  std::string text(size, '\0');
  uint64_t word = 0;
  for (size_t i = 0; i < size; ++i) {
    uint64_t place = position + i;
    if (i == 0 || place % 8 == 0) word = Mix((stream << 40) ^ (place / 8 + 1));
    text[i] = static_cast<char>(word >> (place % 8 * 8));
  }
  return text;
}

pid_t ThreadId() { return static_cast<pid_t>(::syscall(SYS_gettid)); }

ssize_t End::Moved(zt_direction direction, ssize_t result, Note note) {
  if (result <= 0) return result;
  if (note.tgid == 0) note.tgid = ::getpid();
  if (note.tid == 0) note.tid = ThreadId();
  transfers.push_back({direction, position[direction], static_cast<uint64_t>(result), note});
  position[direction] += static_cast<uint64_t>(result);
  return result;
}

ssize_t End::Received(ssize_t result, const void* bytes, const Note& note) {
  if (result > 0 && bytes != nullptr) {
    size_t size = static_cast<size_t>(result);
    std::string right = Pattern(stream[1], position[1], size);
    wrong_bytes |= std::memcmp(right.data(), bytes, size) != 0;
  }
  return Moved(ZT_DIRECTION_INGRESS, result, note);
}

void End::ReceivedEnd(const Note& note) {
  Note end = note;
  end.flags |= ZT_DATA_EOF;
  end.tgid = end.tgid == 0 ? ::getpid() : end.tgid;
  end.tid = end.tid == 0 ? ThreadId() : end.tid;
  transfers.push_back({ZT_DIRECTION_INGRESS, position[1], 0, end});
}

void End::Peeked(ssize_t result, const Note& note) {
  if (result <= 0) return;
  Note peek = note;
  peek.flags |= ZT_DATA_PEEK;
  Moved(ZT_DIRECTION_INGRESS, result, peek);
  position[1] -= static_cast<uint64_t>(result);
}

ssize_t End::Send(size_t size) {
  std::string bytes = ToSend(size);
  return Sent(::write(fd.get(), bytes.data(), size));
}

bool End::Receive(size_t size) {
  std::string bytes(size, '\0');
  while (size > 0) {
    ssize_t result = Received(::read(fd.get(), bytes.data(), size), bytes.data());
    if (result <= 0) return false;
    size -= static_cast<size_t>(result);
  }
  return true;
}

UniqueFd Socket(Family family, int flags) {
  UniqueFd fd(::socket(DomainOf(family), SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  Must(static_cast<bool>(fd), "socket");
  return fd;
}

Listener Listen(Family family, int backlog) {
  static int counter = 0;
  Listener listener;
  listener.family = family;
  listener.fd = Socket(family);
  listener.address.ss_family = static_cast<sa_family_t>(DomainOf(family));
  if (family == Family::kTcp4) {
    auto& in = reinterpret_cast<sockaddr_in&>(listener.address);
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener.size = sizeof(in);
  } else if (family == Family::kTcp6) {
    auto& in = reinterpret_cast<sockaddr_in6&>(listener.address);
    in.sin6_addr = in6addr_loopback;
    listener.size = sizeof(in);
  } else {
    auto& un = reinterpret_cast<sockaddr_un&>(listener.address);
    listener.path =
        "@conformance-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
    std::memcpy(un.sun_path + 1, listener.path.data() + 1, listener.path.size() - 1);
    listener.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + listener.path.size());
  }
  auto* address = reinterpret_cast<sockaddr*>(&listener.address);
  Must(::bind(listener.fd.get(), address, listener.size) == 0, "bind");
  Must(::listen(listener.fd.get(), backlog) == 0, "listen");
  if (IsTcp(family)) ::getsockname(listener.fd.get(), address, &listener.size);
  return listener;
}

bool ConnectTo(const UniqueFd& fd, const Listener& listener) {
  bool done = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&listener.address),
                        listener.size) == 0;
  int error = errno;
  if (IsTcp(listener.family)) {
    int one = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  }
  errno = error;
  return done;
}

namespace {

void DescribeEnd(End& end, bool is_client) {
  end.client = is_client;
  end.inode = InodeOf(end.fd);
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  ::getsockname(end.fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  ReadAddress(address, end.told_family, end.local_port, end.local_address);
  address = {};
  size = sizeof(address);
  ::getpeername(end.fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  ReadAddress(address, end.told_family, end.remote_port, end.remote_address);
  if (end.tgid == 0) end.tgid = ::getpid();
  if (end.tid == 0) end.tid = ThreadId();
}

void FinishDescription(Link& link) {
  link.client.peer = &link.server;
  link.server.peer = &link.client;
  if (link.client.stream[0] == 0) {
    link.client.stream[0] = link.server.stream[1] = NewStream();
    link.client.stream[1] = link.server.stream[0] = NewStream();
  }
  if (link.family != Family::kUnix) return;
  link.client.peer_inode = link.server.inode;
  link.server.peer_inode = link.client.inode;
}

}  // namespace

void Describe(Link& link) {
  DescribeEnd(link.client, true);
  DescribeEnd(link.server, false);
  FinishDescription(link);
}

void DescribeFromClient(Link& link, uint64_t server_inode) {
  DescribeEnd(link.client, true);
  link.server.inode = server_inode;
  link.server.told_family = link.client.told_family;
  link.server.local_port = link.client.remote_port;
  link.server.remote_port = link.client.local_port;
  link.server.local_address = link.client.remote_address;
  link.server.remote_address = link.client.local_address;
  FinishDescription(link);
}

void Connect(Link& link, const Listener& listener) {
  link.family = listener.family;
  link.path = listener.path;
  if (!link.client.fd) link.client.fd = Socket(listener.family);
  Must(ConnectTo(link.client.fd, listener), "connect");
  link.server.fd.Reset(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
  Must(static_cast<bool>(link.server.fd), "accept4");
  Describe(link);
}

void Connect(Link& link) { Connect(link, Listen(link.family)); }

void ConnectPair(Link& link) {
  int fds[2];
  Must(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
  link.family = Family::kUnix;
  link.listened = false;
  link.client.fd.Reset(fds[0]);
  link.server.fd.Reset(fds[1]);
  Describe(link);
}

void SetNonBlocking(const UniqueFd& fd, bool on) {
  int flags = ::fcntl(fd.get(), F_GETFL);
  ::fcntl(fd.get(), F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

}  // namespace zerotap::conformance
