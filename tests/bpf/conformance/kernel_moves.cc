// Bytes that a program moves without having them in its own memory, or that the kernel moves on its
// behalf.
#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

#include "tests/bpf/conformance/row.h"
#include "tests/bpf/small_ring.h"

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif

namespace zerotap::conformance {
namespace {

struct Pipe {
  Pipe() {
    int fds[2];
    Must(::pipe2(fds, O_CLOEXEC) == 0, "pipe2");
    out.Reset(fds[0]);
    in.Reset(fds[1]);
  }
  UniqueFd out, in;
};

// The bytes are in no memory of the program's.
constexpr Note kNoBytes{.sight = Sight::kLength, .split = true};

void Sendfile(Row& row) {
  Link& link = row.Connect();
  for (size_t size : {1u, 500u, 9000u}) {
    UniqueFd file(::memfd_create("conformance", MFD_CLOEXEC));
    std::string bytes = link.client.ToSend(size);
    Must(::write(file.get(), bytes.data(), size) == static_cast<ssize_t>(size), "memfd");
    ::lseek(file.get(), 0, SEEK_SET);
    ssize_t sent = link.client.Sent(::sendfile(link.client.fd.get(), file.get(), nullptr, size),
                                    kNoBytes);
    row.Expect(sent == static_cast<ssize_t>(size), "sendfile was not whole");
    Must(link.server.Receive(size), "read");
    link.client.Send(10);
    Must(link.server.Receive(10), "read");
  }
}

void SpliceOut(Row& row) {
  Link& link = row.Connect();
  Pipe pipe;
  for (size_t size : {1u, 500u, 9000u}) {
    std::string bytes = link.client.ToSend(size);
    Must(::write(pipe.in.get(), bytes.data(), size) == static_cast<ssize_t>(size), "pipe");
    size_t left = size;
    while (left > 0) {
      ssize_t sent = link.client.Sent(
          ::splice(pipe.out.get(), nullptr, link.client.fd.get(), nullptr, left, 0), kNoBytes);
      Must(sent > 0, "splice");
      left -= static_cast<size_t>(sent);
    }
    Must(link.server.Receive(size), "read");
    link.client.Send(10);
    Must(link.server.Receive(10), "read");
  }
}

void Vmsplice(Row& row) {
  Link& link = row.Connect();
  Pipe pipe;
  std::string bytes = link.client.ToSend(6000);
  iovec segment{bytes.data(), bytes.size()};
  Must(::vmsplice(pipe.in.get(), &segment, 1, 0) == 6000, "vmsplice");
  size_t left = bytes.size();
  while (left > 0) {
    ssize_t sent = link.client.Sent(
        ::splice(pipe.out.get(), nullptr, link.client.fd.get(), nullptr, left, SPLICE_F_MOVE),
        kNoBytes);
    Must(sent > 0, "splice");
    left -= static_cast<size_t>(sent);
  }
  Must(link.server.Receive(6000), "read");
  link.client.Send(10);
  Must(link.server.Receive(10), "read");
}

void SpliceIn(Row& row) {
  Link& link = row.Connect();
  Pipe pipe;
  std::string room(1000, '\0');
  for (size_t size : {400u, 1000u}) {
    link.client.Send(1000);
    Must(link.server.Receive(1000 - size), "read");
    ssize_t moved = ::splice(link.server.fd.get(), nullptr, pipe.in.get(), nullptr, size, 0);
    row.Expect(moved == static_cast<ssize_t>(size), "splice was not whole");
    Must(::read(pipe.out.get(), room.data(), room.size()) == moved, "pipe");
    link.server.Received(moved, room.data(), {.sight = row.SightOf(Sight::kLength)});
  }
  // What follows stands where it should.
  link.client.Send(50);
  Must(link.server.Receive(50), "read");
  ::shutdown(link.client.fd.get(), SHUT_WR);
  Must(::read(link.server.fd.get(), room.data(), 1) == 0, "no end");
  link.server.ReceivedEnd();
}

void ZerocopySend(Row& row) {
  Link& link = row.Connect();
  int one = 1;
  if (::setsockopt(link.client.fd.get(), SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) != 0) {
    row.Expect(errno == EOPNOTSUPP || errno == 524, "SO_ZEROCOPY was refused");
    row.Absent("no MSG_ZEROCOPY here");
    return;
  }
  for (size_t size : {5000u, 20000u}) {
    std::string bytes = link.client.ToSend(size);
    ssize_t sent =
        link.client.Sent(::send(link.client.fd.get(), bytes.data(), size, MSG_ZEROCOPY));
    row.Expect(sent == static_cast<ssize_t>(size), "send was not whole");
    Must(link.server.Receive(size), "read");
    // The kernel says when the memory is free again; that is not a byte of the stream.
    pollfd ready{link.client.fd.get(), 0, 0};
    Must(::poll(&ready, 1, 20'000) == 1, "poll for the completion");
    char control[128];
    msghdr message{};
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    row.Expect(::recvmsg(link.client.fd.get(), &message, MSG_ERRQUEUE) == 0, "no completion");
  }
  link.client.Send(10);
  Must(link.server.Receive(10), "read");
}

// As in linux/tcp.h, whose older forms are shorter.
struct ZerocopyReceive {
  uint64_t address;
  uint32_t length;
  uint32_t recv_skip_hint;
  uint32_t inq;
  int32_t err;
  uint64_t copybuf_address;
  int32_t copybuf_len;
  uint32_t flags;
  uint64_t msg_control;
  uint64_t msg_controllen;
  uint32_t msg_flags;
  uint32_t reserved;
};
constexpr int kTcpZerocopyReceive = 35;

void ZerocopyReceiveRow(Row& row) {
  Link& link = row.Connect();
  constexpr size_t kBytes = 8192;
  void* window = ::mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, link.server.fd.get(), 0);
  if (window == MAP_FAILED) {
    row.Expect(errno == ENODEV, "mapping a socket was refused");
    row.Absent("no mmap of a TCP socket (ENODEV)");
    return;
  }
  link.client.Send(100);
  Must(link.server.Receive(100), "read");
  link.client.Send(300);
  std::string room(kBytes, '\0');
  ZerocopyReceive request{};
  request.address = reinterpret_cast<uint64_t>(window);
  request.length = kBytes;
  request.copybuf_address = reinterpret_cast<uint64_t>(room.data());
  request.copybuf_len = static_cast<int32_t>(room.size());
  socklen_t size = offsetof(ZerocopyReceive, msg_control);
  Must(::getsockopt(link.server.fd.get(), IPPROTO_TCP, kTcpZerocopyReceive, &request, &size) == 0,
       "TCP_ZEROCOPY_RECEIVE");
  ssize_t moved = request.length + request.copybuf_len;
  if (size <= offsetof(ZerocopyReceive, copybuf_address) || moved <= 0 ||
      static_cast<size_t>(moved) > 300) {
    // Pages that can be mapped do not come by loopback.
    ::munmap(window, kBytes);
    row.Absent("TCP_ZEROCOPY_RECEIVE has no copy buffer, its answer has " + std::to_string(size) +
               " bytes");
    return;
  }
  link.server.Received(moved, room.data(), {.sight = row.SightOf(Sight::kLength)});
  ::munmap(window, kBytes);
  link.client.Send(50);
  Must(link.server.Receive(link.client.position[0] - link.server.position[1]), "read");
}

// Sends and receives through the ring, then plainly, so that the positions behind are judged.
void RunRing(Row& row, uint32_t setup, uint8_t flags, bool receive_first) {
  SmallRing ring(setup);
  if (!ring) {
    row.Expect(ring.error() == ENOSYS || ring.error() == EPERM, "io_uring was refused");
    row.Absent(std::string("no io_uring: ") + std::strerror(ring.error()));
    return;
  }
  Link& link = row.Connect();
  link.client.Send(100);
  Must(link.server.Receive(100), "read");
  Note note{.sight = row.SightOf(Sight::kLength), .any_tid = true};
  std::string room(1000, '\0');
  uint64_t before = row.witness.capture().ReadCounters().kernel[ZT_COUNTER_UNSEEN_CALL];
  for (auto [send, receive, size] : {std::tuple(IORING_OP_SEND, IORING_OP_RECV, 200u),
                                     std::tuple(IORING_OP_WRITE, IORING_OP_READ, 300u)}) {
    std::string bytes = link.client.ToSend(size);
    int server = link.server.fd.get();
    int got = 0;
    if (receive_first) {
      Must(ring.Submit(receive, server, room.data(), size, flags) >= 0, "io_uring_enter");
      link.client.Send(size);
      got = ring.Wait();
    } else {
      int sent = ring.Run(send, link.client.fd.get(), bytes.data(), size, flags);
      row.Expect(sent == static_cast<int>(size), "a ring's send failed");
      link.client.Sent(sent, note);
      got = ring.Run(receive, server, room.data(), size, flags);
    }
    row.Expect(got == static_cast<int>(size), "a ring's receive failed");
    link.server.Received(got, room.data(), note);
    link.client.Send(20);
    Must(link.server.Receive(20), "read");
  }
  // On AF_UNIX, where no position jumps, it is all there is to know. The kernel's own thread makes
  // no call.
  uint64_t after = row.witness.capture().ReadCounters().kernel[ZT_COUNTER_UNSEEN_CALL];
  uint64_t calls = receive_first ? 2 : 4;
  if (row.blind && (setup & IORING_SETUP_SQPOLL) == 0)
    row.Expect(after >= before + calls, "unseen_call did not count the ring's calls");
}

void Ring(Row& row) { RunRing(row, 0, 0, false); }
void RingAsync(Row& row) { RunRing(row, 0, IOSQE_ASYNC, false); }
void RingWaiting(Row& row) { RunRing(row, 0, 0, true); }
void RingPolled(Row& row) { RunRing(row, IORING_SETUP_SQPOLL, 0, false); }

}  // namespace

std::vector<Variant> KernelMoveVariants() {
  return {
      {"sendfile", kAll, Sendfile},
      {"splice_out", kAll, SpliceOut},
      {"vmsplice", kAll, Vmsplice},
      {"splice_in", kAll, SpliceIn},
      {"zerocopy_send", kTcp, ZerocopySend},
      {"zerocopy_receive", kTcp, ZerocopyReceiveRow},
      {"io_uring", kAll, Ring},
      {"io_uring_async", kAll, RingAsync},
      {"io_uring_waiting", kAll, RingWaiting},
      {"io_uring_polled", kAll, RingPolled},
  };
}

}  // namespace zerotap::conformance
