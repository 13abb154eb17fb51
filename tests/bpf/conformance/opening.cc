// How connections begin and end: every way to connect and accept, data in the SYN, connections
// older than the agent, halves that are closed one by one, resets, and thousands of short ones.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "tests/bpf/conformance/row.h"

namespace zerotap::conformance {
namespace {

// A request and its response.
void Talk(Link& link) {
  link.client.Send(80);
  Must(link.server.Receive(80), "read of a request");
  link.server.Send(300);
  Must(link.client.Receive(300), "read of a response");
}

void Accept(Link& link, const Listener& listener, int flags = 0) {
  link.server.fd.Reset(
      ::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC | flags));
  Must(static_cast<bool>(link.server.fd), "accept4");
  link.path = listener.path;
  Describe(link);
}

void NonBlockingConnect(Row& row) {
  Link& link = row.NewLink();
  Listener listener = Listen(row.family);
  link.client.fd = Socket(row.family, SOCK_NONBLOCK);
  bool done = ConnectTo(link.client.fd, listener);
  row.Expect(done || errno == EINPROGRESS, "connect failed");
  pollfd ready{link.client.fd.get(), POLLOUT, 0};
  Must(::poll(&ready, 1, -1) == 1, "poll");
  SetNonBlocking(link.client.fd, false);
  Accept(link, listener);
  Talk(link);
}

void AcceptForms(Row& row) {
  Listener listener = Listen(row.family);
  Link& plain = row.NewLink();
  plain.client.fd = Socket(row.family);
  Must(ConnectTo(plain.client.fd, listener), "connect");
  plain.server.fd.Reset(::accept(listener.fd.get(), nullptr, nullptr));
  plain.path = listener.path;
  Describe(plain);
  Talk(plain);
  Link& waiting = row.NewLink();
  waiting.client.fd = Socket(row.family);
  Must(ConnectTo(waiting.client.fd, listener), "connect");
  Accept(waiting, listener, SOCK_NONBLOCK);
  SetNonBlocking(waiting.server.fd, false);
  Talk(waiting);
}

// The request is there before anybody accepts.
void SendBeforeAccept(Row& row) {
  Link& link = row.NewLink();
  Listener listener = Listen(row.family);
  link.client.fd = Socket(row.family);
  Must(ConnectTo(link.client.fd, listener), "connect");
  std::string request = Pattern(1000, 0, 70);
  link.client.stream[0] = link.server.stream[1] = 1000;
  link.client.stream[1] = link.server.stream[0] = 1001;
  link.client.Send(70);
  Accept(link, listener);
  // Until it is accepted a unix socket's other end has no name.
  link.client.peer_inode = 0;
  Must(link.server.Receive(70), "read");
  Talk(link);
}

void Mapped(Row& row) {
  Listener listener = Listen(Family::kTcp6);
  auto& any = reinterpret_cast<sockaddr_in6&>(listener.address);
  listener.fd = Socket(Family::kTcp6);
  int zero = 0;
  ::setsockopt(listener.fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
  any.sin6_addr = in6addr_any;
  any.sin6_port = 0;
  auto* address = reinterpret_cast<sockaddr*>(&listener.address);
  Must(::bind(listener.fd.get(), address, listener.size) == 0, "bind");
  Must(::listen(listener.fd.get(), 8) == 0, "listen");
  ::getsockname(listener.fd.get(), address, &listener.size);
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = any.sin6_port;
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  Link& link = row.NewLink();
  link.client.fd = Socket(Family::kTcp4);
  Must(::connect(link.client.fd.get(), reinterpret_cast<sockaddr*>(&v4), sizeof(v4)) == 0,
       "connect");
  Accept(link, listener);
  Talk(link);
}

// The same socket, connected once more.
void Reconnect(Row& row) {
  Listener listener = Listen(row.family);
  Link& first = row.NewLink();
  Connect(first, listener);
  Talk(first);
  first.server.fd.Reset();
  Must(::read(first.client.fd.get(), nullptr, 0) == 0, "read");
  sockaddr nowhere{};
  nowhere.sa_family = AF_UNSPEC;
  Must(::connect(first.client.fd.get(), &nowhere, sizeof(nowhere)) == 0, "connect to nowhere");
  first.client.close_error = -1;  // the kernel ends such a connection with a reset
  first.server.close_error = -1;
  Link& second = row.NewLink();
  second.client.fd = std::move(first.client.fd);
  Connect(second, listener);
  Talk(second);
}

void SocketPairRow(Row& row) {
  Link& link = row.NewLink();
  ConnectPair(link);
  Talk(link);
}

// A client that has a name of its own.
void BoundClient(Row& row) {
  Link& link = row.NewLink();
  Listener listener = Listen(row.family);
  Listener own = Listen(row.family);  // for its name
  sockaddr_un name = reinterpret_cast<sockaddr_un&>(own.address);
  name.sun_path[own.path.size()] = 'c';
  link.client.fd = Socket(row.family);
  Must(::bind(link.client.fd.get(), reinterpret_cast<sockaddr*>(&name), own.size + 1) == 0, "bind");
  Must(ConnectTo(link.client.fd, listener), "connect");
  Accept(link, listener);
  Talk(link);
}

void FileName(Row& row) {
  Listener listener = Listen(row.family);
  listener.fd = Socket(row.family);
  listener.path = "/tmp/conformance-" + std::to_string(::getpid());
  ::mkdir("/tmp", 01777);
  ::unlink(listener.path.c_str());
  auto& un = reinterpret_cast<sockaddr_un&>(listener.address);
  un = {};
  un.sun_family = AF_UNIX;
  std::memcpy(un.sun_path, listener.path.data(), listener.path.size());
  listener.size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + listener.path.size() + 1);
  Must(::bind(listener.fd.get(), reinterpret_cast<sockaddr*>(&un), listener.size) == 0, "bind");
  Must(::listen(listener.fd.get(), 8) == 0, "listen");
  Link& link = row.NewLink();
  link.client.fd = Socket(row.family);
  Must(ConnectTo(link.client.fd, listener), "connect");
  Accept(link, listener);
  Talk(link);
  ::unlink(listener.path.c_str());
}

// TCP fast open: the first bytes travel in the SYN.
void FastOpen(Row& row, bool by_option, bool waiting) {
  Link& link = row.NewLink();
  Listener listener = Listen(row.family);
  int length = 16;
  ::setsockopt(listener.fd.get(), IPPROTO_TCP, TCP_FASTOPEN, &length, sizeof(length));
  link.client.fd = Socket(row.family);
  link.client.stream[0] = link.server.stream[1] = 2000;
  link.client.stream[1] = link.server.stream[0] = 2001;
  std::string bytes = link.client.ToSend(90);
  int fd = link.client.fd.get();
  if (!waiting) SetNonBlocking(link.client.fd);
  ssize_t sent = -1;
  if (by_option) {
    int one = 1;
    Must(::setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one)) == 0,
         "TCP_FASTOPEN_CONNECT");
    Must(ConnectTo(link.client.fd, listener), "connect");
    sent = ::write(fd, bytes.data(), bytes.size());
  } else {
    sent = ::sendto(fd, bytes.data(), bytes.size(), MSG_FASTOPEN,
                    reinterpret_cast<sockaddr*>(&listener.address), listener.size);
  }
  Must(sent == 90, "a send with fast open");
  Note note;
  if (!waiting) note.flags = ZT_DATA_NONBLOCKING;
  link.client.Sent(sent, note);
  tcp_info info{};
  socklen_t size = sizeof(info);
  ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
  pollfd ready{fd, POLLOUT, 0};
  Must(::poll(&ready, 1, -1) == 1, "poll");
  SetNonBlocking(link.client.fd, false);
  Accept(link, listener);
  Must(link.server.Receive(90), "read");
  Talk(link);
  bool in_syn = (info.tcpi_options & TCPI_OPT_SYN_DATA) != 0;
  row.remark = in_syn ? "data in the SYN" : "data after the SYN";
}

void FastOpenSendto(Row& row) { FastOpen(row, false, true); }
void FastOpenConnect(Row& row) { FastOpen(row, true, true); }
void FastOpenNonBlocking(Row& row) { FastOpen(row, false, false); }

std::vector<zt_direction> ShutdownsOf(const Witness& witness, const End& end) {
  std::vector<zt_direction> directions;
  const SeenEnd* seen = witness.Find(end);
  if (seen == nullptr) return directions;
  for (const auto& shutdown : seen->shutdowns)
    directions.push_back(static_cast<zt_direction>(shutdown.direction));
  return directions;
}

void ShutdownHalves(Row& row) {
  Link& link = row.Connect();
  Talk(link);
  char byte = 0;
  ::shutdown(link.client.fd.get(), SHUT_WR);
  Must(::read(link.server.fd.get(), &byte, 1) == 0, "no end");
  link.server.ReceivedEnd();
  row.Expect(::send(link.client.fd.get(), &byte, 1, MSG_NOSIGNAL) == -1 && errno == EPIPE,
             "a half that was closed sends");
  link.server.Send(500);
  Must(link.client.Receive(500), "read of the open half");
  ::shutdown(link.server.fd.get(), SHUT_WR);
  Must(::read(link.client.fd.get(), &byte, 1) == 0, "no end");
  link.client.ReceivedEnd();
  row.judge = [&row, &link](Findings& findings) {
    JudgeLink(link, row.witness, findings);
    if (!IsTcp(row.family)) return;
    using Directions = std::vector<zt_direction>;
    if (ShutdownsOf(row.witness, link.client) !=
        Directions{ZT_DIRECTION_EGRESS, ZT_DIRECTION_INGRESS})
      findings.Problem("client: another order of shutdowns");
    if (ShutdownsOf(row.witness, link.server) !=
        Directions{ZT_DIRECTION_INGRESS, ZT_DIRECTION_EGRESS})
      findings.Problem("server: another order of shutdowns");
  };
}

void Reset(Row& row) {
  Link& link = row.Connect();
  Talk(link);
  linger hard{1, 0};
  ::setsockopt(link.server.fd.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  link.server.fd.Reset();
  char byte = 0;
  row.Expect(::read(link.client.fd.get(), &byte, 1) == -1 && errno == ECONNRESET, "no reset");
  link.client.close_error = ECONNRESET;
  link.server.close_error = -1;
}

// Descriptors and ports come again and again.
void Storm(Row& row, int rounds) {
  Listener listener = Listen(row.family);
  for (int round = 0; round < rounds; ++round) {
    Link& link = row.NewLink();
    Connect(link, listener);
    link.client.Send(20 + static_cast<size_t>(round % 50));
    Must(link.server.Receive(link.client.position[0]), "read");
    link.server.Send(10);
    Must(link.client.Receive(10), "read");
    link.client.fd.Reset();
    link.server.fd.Reset();
  }
  row.remark = std::to_string(rounds) + " connections";
}

void ReusedDescriptors(Row& row) { Storm(row, 8); }
void ReuseStorm(Row& row) { Storm(row, 1000); }

// The same addresses and ports at once again.
void ReusedAddresses(Row& row) {
  Listener listener = Listen(row.family);
  Listener own = Listen(row.family);  // for its port
  sockaddr_storage address = own.address;
  own.fd.Reset();
  int one = 1;
  linger hard{1, 0};
  for (int round = 0; round < 20; ++round) {
    Link& link = row.NewLink();
    link.client.fd = Socket(row.family);
    ::setsockopt(link.client.fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    Must(::bind(link.client.fd.get(), reinterpret_cast<sockaddr*>(&address), own.size) == 0,
         "bind");
    Connect(link, listener);
    Talk(link);
    // Nothing waits for stragglers then.
    ::setsockopt(link.client.fd.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    link.client.fd.Reset();
    link.server.fd.Reset();
    link.client.close_error = -1;
    link.server.close_error = -1;
  }
}

// Made by MakeOldLinks; by family, one that carried something and one that did not.
std::vector<std::unique_ptr<Link>> old_links;

void Older(Row& row) {
  for (auto& link : old_links) {
    if (link == nullptr || link->family != row.family) continue;
    Talk(*link);
    row.links.push_back(std::move(link));
  }
}

// Nothing is told of what is no stream.
void NotStreams(Row&) {
  std::string bytes(100, 'd');
  for (int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    int fds[2];
    Must(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
    UniqueFd first(fds[0]);
    UniqueFd second(fds[1]);
    Must(::write(fds[0], bytes.data(), 100) == 100, "write");
    Must(::read(fds[1], bytes.data(), 100) == 100, "read");
  }
  UniqueFd sender(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  UniqueFd receiver(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  Must(::bind(receiver.get(), reinterpret_cast<sockaddr*>(&address), size) == 0, "bind");
  ::getsockname(receiver.get(), reinterpret_cast<sockaddr*>(&address), &size);
  Must(::sendto(sender.get(), bytes.data(), 50, 0, reinterpret_cast<sockaddr*>(&address), size) ==
           50,
       "sendto");
  Must(::recv(receiver.get(), bytes.data(), 10, MSG_TRUNC) == 50, "recv");
}

}  // namespace

void MakeOldLinks() {
  for (Family family : {Family::kTcp4, Family::kTcp6, Family::kUnix}) {
    for (bool used : {true, false}) {
      auto link = std::make_unique<Link>();
      link->family = family;
      link->seeded = true;
      Connect(*link);
      if (used) {
        Talk(*link);
        for (End* end : {&link->client, &link->server}) {
          end->transfers.clear();
          for (int direction : {0, 1}) end->start[direction] = end->position[direction];
        }
      }
      old_links.push_back(std::move(link));
    }
  }
}

std::vector<Variant> OpeningVariants() {
  return {
      {"older", kAll, Older},
      {"nonblocking_connect", kAll, NonBlockingConnect},
      {"accept_forms", kAll, AcceptForms},
      {"send_before_accept", kAll, SendBeforeAccept},
      {"mapped", kOnlyTcp4, Mapped},
      {"reconnect", kTcp, Reconnect},
      {"socketpair", kOnlyUnix, SocketPairRow},
      {"bound_client", kOnlyUnix, BoundClient},
      {"file_name", kOnlyUnix, FileName},
      {"fast_open_sendto", kTcp, FastOpenSendto},
      {"fast_open_connect", kTcp, FastOpenConnect},
      {"fast_open_nonblocking", kTcp, FastOpenNonBlocking},
      {"shutdown_halves", kAll, ShutdownHalves},
      {"reset", kTcp, Reset},
      {"fd_reuse", kAll, ReusedDescriptors},
      {"address_reuse", kTcp, ReusedAddresses},
      {"reuse_storm", kAll, ReuseStorm},
      {"not_streams", kOnlyUnix, NotStreams},
  };
}

}  // namespace zerotap::conformance
