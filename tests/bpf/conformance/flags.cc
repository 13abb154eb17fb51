// What the flags of a call change: looking without taking, throwing away, urgent data, not waiting.
#include <poll.h>

#include <cerrno>

#include "tests/bpf/conformance/row.h"

#ifndef SO_PEEK_OFF
#define SO_PEEK_OFF 42
#endif

namespace zerotap::conformance {
namespace {

ssize_t Recv(End& end, std::string& room, size_t size, int flags) {
  return ::recv(end.fd.get(), room.data(), size, flags);
}

void Peek(Row& row) {
  Link& link = row.Connect();
  End& server = link.server;
  std::string room(200, '\0');
  link.client.Send(100);
  server.Peeked(Recv(server, room, 60, MSG_PEEK));
  server.Received(Recv(server, room, 50, 0), room.data());
  iovec segment{room.data(), room.size()};
  msghdr message{};
  message.msg_iov = &segment;
  message.msg_iovlen = 1;
  server.Peeked(::recvmsg(server.fd.get(), &message, MSG_PEEK));
  server.Received(Recv(server, room, 50, MSG_DONTWAIT), room.data(),
                  {.flags = ZT_DATA_NONBLOCKING});
  row.Expect(Recv(server, room, 50, MSG_DONTWAIT | MSG_PEEK) == -1 && errno == EAGAIN,
             "more to see than was sent");
  link.client.Send(10);
  server.Received(Recv(server, room, 50, 0), room.data());
}

void PeekOffset(Row& row) {
  Link& link = row.Connect();
  End& server = link.server;
  int zero = 0;
  if (::setsockopt(server.fd.get(), SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) != 0) {
    row.Expect(errno == EOPNOTSUPP && IsTcp(row.family), "SO_PEEK_OFF was refused");
    row.Absent("no SO_PEEK_OFF for TCP (EOPNOTSUPP)");
    return;
  }
  std::string room(200, '\0');
  link.client.Send(100);
  server.Peeked(Recv(server, room, 30, MSG_PEEK));
  ssize_t second = Recv(server, room, 30, MSG_PEEK);
  row.Expect(second == 30 && room.compare(0, 30, Pattern(server.stream[1], 30, 30)) == 0,
             "the second look did not begin where the first ended");
  server.Peeked(second);
  server.Received(Recv(server, room, 40, 0), room.data());
  server.Peeked(Recv(server, room, 30, MSG_PEEK));
  server.Received(Recv(server, room, 200, 0), room.data());
}

void Trunc(Row& row) {
  Link& link = row.Connect();
  End& server = link.server;
  std::string room(200, '\0');
  link.client.Send(200);
  server.Received(Recv(server, room, 50, 0), room.data());
  // TCP throws the bytes away; AF_UNIX streams do not know the flag.
  bool thrown = IsTcp(row.family);
  for (size_t size : {60u, 10u}) {
    server.Received(Recv(server, room, size, MSG_TRUNC), thrown ? nullptr : room.data(),
                    {.sight = thrown ? Sight::kLength : Sight::kBytes});
  }
  server.Received(Recv(server, room, 200, 0), room.data());
}

void WaitAll(Row& row) {
  Link& link = row.Connect();
  std::string room(300, '\0');
  link.client.Send(100);
  link.client.Send(150);
  link.server.Received(Recv(link.server, room, 250, MSG_WAITALL), room.data());
}

void More(Row& row) {
  Link& link = row.Connect();
  for (size_t size : {100u, 50u}) {
    std::string bytes = link.client.ToSend(size);
    link.client.Sent(::send(link.client.fd.get(), bytes.data(), size, size == 100 ? MSG_MORE : 0));
  }
  Must(link.server.Receive(150), "read");
}

void TryAgain(Row& row) {
  Link& link = row.Connect();
  End& server = link.server;
  SetNonBlocking(server.fd);
  std::string room(100, '\0');
  Note note{.flags = ZT_DATA_NONBLOCKING};
  for (int round = 0; round < 5; ++round) {
    row.Expect(::read(server.fd.get(), room.data(), 100) == -1 && errno == EAGAIN,
               "something to read before it was sent");
    link.client.Send(40);
    pollfd ready{server.fd.get(), POLLIN, 0};
    Must(::poll(&ready, 1, -1) == 1, "poll");
    server.Received(::read(server.fd.get(), room.data(), 100), room.data(), note);
  }
  std::string bytes = link.client.ToSend(20);
  link.client.Sent(::send(link.client.fd.get(), bytes.data(), 20, MSG_DONTWAIT), note);
  SetNonBlocking(server.fd, false);
  Must(server.Receive(20), "read");
}

// The urgent byte stands in the stream, but a reader gets it aside, unless it asked for it inline.
void Urgent(Row& row, bool inline_wanted) {
  Link& link = row.Connect();
  End& server = link.server;
  int one = 1;
  if (inline_wanted)
    ::setsockopt(server.fd.get(), SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
  link.client.Send(10);
  std::string bytes = link.client.ToSend(3);
  ssize_t sent = ::send(link.client.fd.get(), bytes.data(), 3, MSG_OOB);
  if (sent < 0) {
    row.Expect(errno == EOPNOTSUPP && row.family == Family::kUnix, "MSG_OOB was refused");
    row.Absent("no urgent data on AF_UNIX (EOPNOTSUPP)");
    return;
  }
  link.client.Sent(sent);
  std::string room(100, '\0');
  size_t before_mark = 12;
  while (server.position[1] < before_mark) {
    ssize_t got = server.Received(Recv(server, room, before_mark - server.position[1], 0),
                                  room.data());
    Must(got > 0, "recv before the urgent byte");
  }
  if (!inline_wanted) {
    row.Expect(Recv(server, room, 1, MSG_OOB) == 1 && room[0] == bytes[2], "no urgent byte");
    server.Received(1, nullptr, {.sight = Sight::kAside});
  }
  link.client.Send(10);
  Must(server.Receive(link.client.position[0] - server.position[1]), "read");
}

void UrgentAside(Row& row) { Urgent(row, false); }
void UrgentInline(Row& row) { Urgent(row, true); }

}  // namespace

std::vector<Variant> FlagVariants() {
  return {
      {"peek", kAll, Peek},
      {"peek_offset", kAll, PeekOffset},
      {"trunc", kAll, Trunc},
      {"waitall", kAll, WaitAll},
      {"more", kAll, More},
      {"eagain", kAll, TryAgain},
      {"urgent", kAll, UrgentAside},
      {"urgent_inline", kAll, UrgentInline},
  };
}

}  // namespace zerotap::conformance
