// The system calls that carry bytes to and from a socket, each in sizes of every class, both ends
// judged.
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tests/bpf/conformance/row.h"

namespace zerotap::conformance {
namespace {

using SendCall = ssize_t (*)(int fd, char* bytes, size_t size);

constexpr size_t kSizes[] = {1, 63, 100, 300, 1200, 4096, 5000, 17000};

// Three segments, an empty one among them.
std::vector<iovec> Cut(char* bytes, size_t size) {
  size_t first = size / 3;
  return {{bytes, first}, {nullptr, 0}, {bytes + first, size - first}};
}

msghdr MessageOf(std::vector<iovec>& segments) {
  msghdr message{};
  message.msg_iov = segments.data();
  message.msg_iovlen = segments.size();
  return message;
}

// Each size goes one way and the same back, so that both ends do both.
void Exchange(Row& row, SendCall send, SendCall receive) {
  Link& link = row.Connect();
  for (size_t size : kSizes) {
    for (bool from_client : {true, false}) {
      End& from = link.Of(from_client);
      End& to = link.Of(!from_client);
      std::string bytes = from.ToSend(size);
      ssize_t sent = from.Sent(send(from.fd.get(), bytes.data(), size));
      row.Expect(sent == static_cast<ssize_t>(size), "the send was not whole");
      std::string room(size, '\0');
      size_t got = 0;
      while (got < size) {
        ssize_t result =
            to.Received(receive(to.fd.get(), room.data(), size - got), room.data());
        Must(result > 0, "receive");
        got += static_cast<size_t>(result);
      }
    }
  }
}

void ReadWrite(Row& row) {
  Exchange(
      row, [](int fd, char* bytes, size_t size) { return ::write(fd, bytes, size); },
      [](int fd, char* bytes, size_t size) { return ::read(fd, bytes, size); });
}

void SendRecv(Row& row) {
  Exchange(
      row, [](int fd, char* bytes, size_t size) { return ::send(fd, bytes, size, MSG_NOSIGNAL); },
      [](int fd, char* bytes, size_t size) { return ::recv(fd, bytes, size, MSG_WAITALL); });
}

void SendtoRecvfrom(Row& row) {
  Exchange(
      row,
      [](int fd, char* bytes, size_t size) { return ::sendto(fd, bytes, size, 0, nullptr, 0); },
      [](int fd, char* bytes, size_t size) {
        sockaddr_storage from{};
        socklen_t length = sizeof(from);
        return ::recvfrom(fd, bytes, size, 0, reinterpret_cast<sockaddr*>(&from), &length);
      });
}

void ReadvWritev(Row& row) {
  Exchange(
      row,
      [](int fd, char* bytes, size_t size) {
        auto segments = Cut(bytes, size);
        return ::writev(fd, segments.data(), static_cast<int>(segments.size()));
      },
      [](int fd, char* bytes, size_t size) {
        auto segments = Cut(bytes, size);
        return ::readv(fd, segments.data(), static_cast<int>(segments.size()));
      });
}

void Preadv2Pwritev2(Row& row) {
  Exchange(
      row,
      [](int fd, char* bytes, size_t size) {
        auto segments = Cut(bytes, size);
        return ::pwritev2(fd, segments.data(), static_cast<int>(segments.size()), -1, 0);
      },
      [](int fd, char* bytes, size_t size) {
        auto segments = Cut(bytes, size);
        return ::preadv2(fd, segments.data(), static_cast<int>(segments.size()), -1, 0);
      });
}

void SendmsgRecvmsg(Row& row) {
  Exchange(
      row,
      [](int fd, char* bytes, size_t size) {
        auto segments = Cut(bytes, size);
        msghdr message = MessageOf(segments);
        return ::sendmsg(fd, &message, MSG_NOSIGNAL);
      },
      [](int fd, char* bytes, size_t size) {
        auto segments = Cut(bytes, size);
        msghdr message = MessageOf(segments);
        return ::recvmsg(fd, &message, 0);
      });
}

void OneSegment(Row& row) {
  Exchange(
      row,
      [](int fd, char* bytes, size_t size) {
        std::vector<iovec> segments = {{bytes, size}};
        msghdr message = MessageOf(segments);
        return ::sendmsg(fd, &message, 0);
      },
      [](int fd, char* bytes, size_t size) {
        iovec segment{bytes, size};
        return ::readv(fd, &segment, 1);
      });
}

// Messages of these sizes, of two segments each, in one sendmmsg, taken by one recvmmsg. Each is a
// transfer, but of those behind the first `told` only the sum is told.
void ExchangeMessages(Row& row, Link& link, const std::vector<size_t>& sizes, size_t told) {
  size_t total = 0;
  for (size_t size : sizes) total += size;
  std::string bytes = link.client.ToSend(total);
  std::string room(total, '\0');
  std::vector<iovec> out, in;
  std::vector<mmsghdr> sends(sizes.size()), receives(sizes.size());
  size_t at = 0;
  for (size_t size : sizes) {
    size_t cut = size / 2;
    out.push_back({bytes.data() + at, cut});
    out.push_back({bytes.data() + at + cut, size - cut});
    in.push_back({room.data() + at, cut});
    in.push_back({room.data() + at + cut, size - cut});
    at += size;
  }
  for (size_t i = 0; i < sizes.size(); ++i) {
    sends[i] = receives[i] = {};
    sends[i].msg_hdr.msg_iov = &out[2 * i];
    receives[i].msg_hdr.msg_iov = &in[2 * i];
    sends[i].msg_hdr.msg_iovlen = receives[i].msg_hdr.msg_iovlen = 2;
  }
  unsigned count = static_cast<unsigned>(sizes.size());
  Must(::sendmmsg(link.client.fd.get(), sends.data(), count, 0) == static_cast<int>(count),
       "sendmmsg");
  int received =
      ::recvmmsg(link.server.fd.get(), receives.data(), count, MSG_WAITFORONE, nullptr);
  row.Expect(received == static_cast<int>(count), "recvmmsg did not take all messages");
  at = 0;
  size_t rest = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    row.Expect(sends[i].msg_len == sizes[i] && receives[i].msg_len == sizes[i],
               "a message was cut");
    if (i >= told) {
      rest += sizes[i];
      continue;
    }
    link.client.Sent(sends[i].msg_len);
    // MSG_WAITFORONE: the kernel waits for the first alone, and tier A sees that.
    link.server.Received(receives[i].msg_len, room.data() + at,
                         {.either = static_cast<uint8_t>(i > 0 ? ZT_DATA_NONBLOCKING : 0)});
    at += sizes[i];
  }
  Note counted{.sight = Sight::kLength};
  link.client.Sent(static_cast<ssize_t>(rest), counted);
  link.server.Received(static_cast<ssize_t>(rest), room.data() + at, counted);
}

void SendmmsgRecvmmsg(Row& row) {
  Link& link = row.Connect();
  ExchangeMessages(row, link, {10, 200, 3000, 1}, 4);
  ExchangeMessages(row, link, {70, 70, 70}, 3);  // equally long ones
  ExchangeMessages(row, link, {5000}, 1);
  ExchangeMessages(row, link, std::vector<size_t>(16, 30), 16);
}

// More messages than tier B takes one by one; the others come in one record, without their bytes.
void ManyMessages(Row& row) {
  Link& link = row.Connect();
  bool each = row.witness.tier() == CaptureTier::kA;
  for (size_t count : {17u, 64u, 65u, 150u})
    ExchangeMessages(row, link, std::vector<size_t>(count, 31), each ? count : 16);
}

void Segments40(Row& row) {
  Link& link = row.Connect();
  constexpr size_t kPart = 50;
  std::string bytes = link.client.ToSend(40 * kPart);
  std::string room(bytes.size(), '\0');
  std::vector<iovec> out, in;
  for (size_t i = 0; i < 40; ++i) {
    out.push_back({bytes.data() + i * kPart, kPart});
    in.push_back({room.data() + i * kPart, kPart});
  }
  uint64_t before = row.witness.capture().ReadCounters().kernel[ZT_COUNTER_IOVEC_TRUNCATED];
  // The first 16 segments are walked; what is in the others is counted.
  Note note;
  note.least = 16 * kPart;
  link.client.Sent(::writev(link.client.fd.get(), out.data(), 40), note);
  link.server.Received(::readv(link.server.fd.get(), in.data(), 40), room.data(), note);
  uint64_t after = row.witness.capture().ReadCounters().kernel[ZT_COUNTER_IOVEC_TRUNCATED];
  row.Expect(after >= before + 2, "iovec_truncated did not count it");
}

// Larger than what one record, or one call, may take.
void Large(Row& row) {
  Link& link = row.Connect();
  for (size_t size : {16384u, 16385u, 60000u, 150000u}) {
    std::string bytes = link.client.ToSend(size);
    size_t sent = 0;
    while (sent < size) {
      ssize_t result = link.client.Sent(::send(link.client.fd.get(), bytes.data() + sent,
                                               size - sent, MSG_DONTWAIT | MSG_NOSIGNAL),
                                        {.flags = ZT_DATA_NONBLOCKING});
      Must(result > 0 || errno == EAGAIN, "send");
      if (result > 0) sent += static_cast<size_t>(result);
      std::string room(size, '\0');
      ssize_t got = ::recv(link.server.fd.get(), room.data(), size, MSG_DONTWAIT);
      Must(got > 0 || errno == EAGAIN, "recv");
      link.server.Received(got, room.data(), {.flags = ZT_DATA_NONBLOCKING});
    }
    uint64_t left = link.client.position[0] - link.server.position[1];
    Must(link.server.Receive(left), "read");
  }
}

// Calls that exist for files only.
void Positioned(Row& row) {
  Link& link = row.Connect();
  link.client.Send(100);
  std::string room(100, '\0');
  iovec segment{room.data(), room.size()};
  int client = link.client.fd.get();
  int server = link.server.fd.get();
  row.Expect(::pwrite(client, room.data(), 100, 0) == -1 && errno == ESPIPE, "pwrite worked");
  row.Expect(::pread(server, room.data(), 100, 0) == -1 && errno == ESPIPE, "pread worked");
  row.Expect(::pwritev(client, &segment, 1, 0) == -1 && errno == ESPIPE, "pwritev worked");
  row.Expect(::preadv(server, &segment, 1, 0) == -1 && errno == ESPIPE, "preadv worked");
  row.Expect(::pwritev2(client, &segment, 1, 0, 0) == -1 && errno == ESPIPE, "pwritev2 worked");
  row.Expect(::preadv2(server, &segment, 1, 0, 0) == -1 && errno == ESPIPE, "preadv2 worked");
  Must(link.server.Receive(100), "read");
}

// Nothing asked for, nothing moved, nothing told.
void Empty(Row& row) {
  Link& link = row.Connect();
  char byte = 0;
  std::vector<iovec> none = {{&byte, 0}};
  msghdr message = MessageOf(none);
  link.client.Send(10);
  row.Expect(::write(link.client.fd.get(), &byte, 0) == 0, "write of nothing");
  row.Expect(::send(link.client.fd.get(), &byte, 0, 0) == 0, "send of nothing");
  row.Expect(::sendmsg(link.client.fd.get(), &message, 0) == 0, "sendmsg of nothing");
  row.Expect(::read(link.server.fd.get(), &byte, 0) == 0, "read of nothing");
  row.Expect(::recv(link.server.fd.get(), &byte, 0, MSG_DONTWAIT) == 0, "recv of nothing");
  Must(link.server.Receive(10), "read");
  link.client.Send(10);
  Must(link.server.Receive(10), "read");
}

// A send that finds part of its memory gone sends what is before it.
void Fault(Row& row) {
  Link& link = row.Connect();
  size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  auto* memory = static_cast<char*>(::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  Must(memory != MAP_FAILED && ::munmap(memory + page, page) == 0, "mmap");
  row.Expect(::write(link.client.fd.get(), memory + page, 100) == -1 && errno == EFAULT,
             "a write from nowhere worked");
  std::string bytes = link.client.ToSend(100);
  char* place = memory + page - 100;
  std::memcpy(place, bytes.data(), 100);
  iovec segments[2] = {{place, 100}, {memory + page, 50}};
  // TCP sends the 100, AF_UNIX nothing.
  ssize_t sent = link.client.Sent(::writev(link.client.fd.get(), segments, 2));
  row.Expect(sent == 100 || (sent == -1 && errno == EFAULT), "writev of half of it");
  ::munmap(memory, page);
  link.client.Send(50);
  Must(link.server.Receive(link.client.position[0]), "read");
}

// A small buffer, filled up and emptied by turns.
void PartialWrites(Row& row) {
  Link& link = row.NewLink();
  Listener listener = Listen(row.family);
  int small = 4096;
  ::setsockopt(listener.fd.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
  link.client.fd = Socket(row.family);
  ::setsockopt(link.client.fd.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
  Connect(link, listener);
  SetNonBlocking(link.client.fd);
  SetNonBlocking(link.server.fd);
  Note note{.flags = ZT_DATA_NONBLOCKING};
  constexpr size_t kTotal = 120000;
  std::string room(3000, '\0');
  int partial = 0;
  int refused = 0;
  size_t sent = 0;
  while (link.server.position[1] < kTotal) {
    while (sent < kTotal) {
      size_t size = std::min<size_t>(kTotal - sent, 20000);
      std::string bytes = link.client.ToSend(size);
      ssize_t result = link.client.Sent(::write(link.client.fd.get(), bytes.data(), size), note);
      if (result <= 0) {
        Must(errno == EAGAIN, "write");
        ++refused;
        break;
      }
      partial += static_cast<size_t>(result) < size ? 1 : 0;
      sent += static_cast<size_t>(result);
    }
    ssize_t got = 0;
    do {
      got = link.server.Received(::read(link.server.fd.get(), room.data(), room.size()),
                                 room.data(), note);
      Must(got > 0 || errno == EAGAIN, "read");
    } while (got > 0);
  }
  row.Expect(partial > 0 || row.family == Family::kUnix, "no write was partial");
  row.Expect(refused > 0, "no write was refused");
  row.remark = std::to_string(partial) + " partial, " + std::to_string(refused) + " EAGAIN";
}

}  // namespace

std::vector<Variant> CallVariants() {
  return {
      {"read_write", kAll, ReadWrite},
      {"send_recv", kAll, SendRecv},
      {"sendto_recvfrom", kAll, SendtoRecvfrom},
      {"readv_writev", kAll, ReadvWritev},
      {"preadv2_pwritev2", kAll, Preadv2Pwritev2},
      {"sendmsg_recvmsg", kAll, SendmsgRecvmsg},
      {"one_segment", kAll, OneSegment},
      {"sendmmsg_recvmmsg", kAll, SendmmsgRecvmmsg},
      {"many_messages", kAll, ManyMessages},
      {"segments_40", kAll, Segments40},
      {"large", kAll, Large},
      {"positioned", kAll, Positioned},
      {"empty", kAll, Empty},
      {"fault", kAll, Fault},
      {"partial_writes", kAll, PartialWrites},
  };
}

}  // namespace zerotap::conformance
