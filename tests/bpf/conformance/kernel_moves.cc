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

constexpr size_t kPage = 4096;

// A receiving socket's window in this process. One call takes what is there.
class ReceiveWindow {
 public:
  static constexpr size_t kSize = 2 * kPage;
  explicit ReceiveWindow(const End& end) : fd_(end.fd.get()) {
    window_ = ::mmap(nullptr, kSize, PROT_READ, MAP_SHARED, fd_, 0);
  }
  ~ReceiveWindow() {
    if (*this) ::munmap(window_, kSize);
  }
  explicit operator bool() const { return window_ != MAP_FAILED; }
  size_t mapped() const { return request_.length; }
  size_t copied() const { return static_cast<size_t>(request_.copybuf_len); }
  bool has_buffer() const { return size_ > offsetof(ZerocopyReceive, copybuf_len); }

  void Take(size_t room) {
    room_.assign(room, '\0');
    request_ = {};
    request_.address = reinterpret_cast<uint64_t>(window_);
    request_.length = kSize;
    request_.copybuf_address = reinterpret_cast<uint64_t>(room_.data());
    request_.copybuf_len = static_cast<int32_t>(room_.size());
    size_ = offsetof(ZerocopyReceive, msg_control);
    Must(::getsockopt(fd_, IPPROTO_TCP, kTcpZerocopyReceive, &request_, &size_) == 0,
         "TCP_ZEROCOPY_RECEIVE");
    if (!has_buffer()) request_.copybuf_len = 0;
  }

  // Writes down what came, by the parts in which it did.
  void Note(Row& row, End& end) const {
    conformance::Note note{.sight = row.SightOf(Sight::kBytes), .flags = ZT_DATA_NONBLOCKING};
    if (mapped() > 0) end.Received(static_cast<ssize_t>(mapped()), window_, note);
    if (copied() > 0) end.Received(static_cast<ssize_t>(copied()), room_.data(), note);
  }

 private:
  int fd_;
  void* window_;
  ZerocopyReceive request_{};
  socklen_t size_ = 0;
  std::string room_;
};

// A kernel without it says so when the socket is mapped.
bool LacksWindow(Row& row, const ReceiveWindow& window) {
  if (window) return false;
  row.Expect(errno == ENODEV, "mapping a socket was refused");
  row.Absent("no mmap of a TCP socket (ENODEV)");
  return true;
}

void ZerocopyReceiveCopied(Row& row) {
  Link& link = row.Connect();
  ReceiveWindow window(link.server);
  if (LacksWindow(row, window)) return;
  link.client.Send(100);
  Must(link.server.Receive(100), "read");
  link.client.Send(300);
  window.Take(1000);
  if (!window.has_buffer()) {
    row.Absent("TCP_ZEROCOPY_RECEIVE has no copy buffer before 5.11");
    return;
  }
  row.Expect(window.mapped() == 0 && window.copied() == 300, "not all was copied");
  window.Note(row, link.server);
  link.client.Send(50);
  Must(link.server.Receive(50), "read");
}

// Whole pages that come from a pipe pass the loopback as they are, and so can be mapped.
void ZerocopyReceiveMapped(Row& row) {
  constexpr size_t kRest = 300;
  Link& link = row.Connect();
  ReceiveWindow window(link.server);
  if (LacksWindow(row, window)) return;
  for (int round = 0; round < 3; ++round) {
    Pipe pipe;
    std::string bytes = link.client.ToSend(2 * kPage + kRest);
    Must(::write(pipe.in.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()),
         "pipe");
    size_t left = bytes.size();
    while (left > 0) {
      ssize_t sent = link.client.Sent(
          ::splice(pipe.out.get(), nullptr, link.client.fd.get(), nullptr, left, 0), kNoBytes);
      Must(sent > 0, "splice");
      left -= static_cast<size_t>(sent);
    }
    window.Take(1000);
    row.Expect(window.mapped() == 2 * kPage, "the pages were not mapped");
    row.Expect(window.copied() == (window.has_buffer() ? kRest : 0), "the rest was not copied");
    window.Note(row, link.server);
    Must(link.server.Receive(link.client.position[0] - link.server.position[1]), "read");
    link.client.Send(50);
    Must(link.server.Receive(50), "read");
  }
  // Another option of the level, which moves nothing.
  int one = 0;
  socklen_t size = sizeof(one);
  row.Expect(::getsockopt(link.server.fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, &size) == 0,
             "TCP_NODELAY");
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
      {"zerocopy_receive", kTcp, ZerocopyReceiveCopied},
      {"zerocopy_receive_mapped", kTcp, ZerocopyReceiveMapped},
      {"io_uring", kAll, Ring},
      {"io_uring_async", kAll, RingAsync},
      {"io_uring_waiting", kAll, RingWaiting},
      {"io_uring_polled", kAll, RingPolled},
  };
}

}  // namespace zerotap::conformance
