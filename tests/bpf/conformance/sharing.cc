// A connection is its socket, whoever uses it by whatever descriptor; each record names the process
// that did it.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "tests/bpf/conformance/row.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

namespace zerotap::conformance {
namespace {

struct Channel {
  Channel() {
    int fds[2];
    Must(::pipe2(fds, O_CLOEXEC) == 0, "pipe2");
    out.Reset(fds[0]);
    in.Reset(fds[1]);
  }
  template <typename T>
  void Put(const T& value) {
    Must(::write(in.get(), &value, sizeof(value)) == sizeof(value), "write to a pipe");
  }
  template <typename T>
  T Get() {
    T value{};
    Must(::read(out.get(), &value, sizeof(value)) == sizeof(value), "read of a pipe");
    return value;
  }
  UniqueFd out, in;
};

// Runs `work` in a process of its own and waits for it; false when it failed.
template <typename Work>
pid_t Start(Work work) {
  pid_t child = ::fork();
  Must(child >= 0, "fork");
  if (child == 0) ::_exit(work() ? 0 : 1);
  return child;
}

void Finish(pid_t child) {
  int status = 0;
  Must(::waitpid(child, &status, 0) == child && status == 0, "a child");
}

bool WriteAll(int fd, const std::string& bytes) {
  return ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
}

void PassTo(int carrier, int passed) {
  char byte = 0;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
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
  std::memcpy(CMSG_DATA(header), &passed, sizeof(passed));
  Must(::sendmsg(carrier, &message, 0) == 1, "sendmsg with a descriptor");
}

int TakeFrom(int carrier) {
  char byte = 0;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec segment{&byte, 1};
  msghdr message{};
  message.msg_iov = &segment;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  if (::recvmsg(carrier, &message, 0) != 1) return -1;
  int passed = -1;
  std::memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(passed));
  return passed;
}

Note By(pid_t process) { return {.tgid = process, .tid = process}; }

void Duplicate(Row& row) {
  Link& link = row.Connect();
  link.client.Send(30);
  UniqueFd copy(::dup(link.client.fd.get()));
  std::string bytes = link.client.ToSend(40);
  link.client.Sent(::write(copy.get(), bytes.data(), bytes.size()));
  link.client.fd.Reset();
  UniqueFd other(::fcntl(copy.get(), F_DUPFD_CLOEXEC, 100));
  copy.Reset();
  bytes = link.client.ToSend(50);
  link.client.Sent(::write(other.get(), bytes.data(), bytes.size()));
  link.client.fd = std::move(other);
  Must(link.server.Receive(120), "read");
}

// Both ends go on in a child.
void Fork(Row& row) {
  Link& link = row.Connect();
  link.client.Send(30);
  std::string bytes = link.client.ToSend(60);
  pid_t child = Start([&] {
    char room[50];
    return WriteAll(link.client.fd.get(), bytes) &&
           ::recv(link.server.fd.get(), room, sizeof(room), MSG_WAITALL) == 50;
  });
  Finish(child);
  link.client.Sent(60, By(child));
  link.server.Received(50, nullptr, By(child));
  Must(link.server.Receive(40), "read");
  link.client.Send(30);
  Must(link.server.Receive(30), "read");
}

void PassedDescriptor(Row& row) {
  Link& link = row.Connect();
  int carrier[2];
  Must(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, carrier) == 0, "socketpair");
  UniqueFd ours(carrier[0]);
  UniqueFd theirs(carrier[1]);
  link.client.Send(30);
  std::string bytes = link.client.ToSend(60);
  pid_t child = Start([&] {
    link.client.fd.Reset();  // inherited; what it uses is what it is given
    link.server.fd.Reset();
    int passed = TakeFrom(theirs.get());
    return passed >= 0 && WriteAll(passed, bytes);
  });
  PassTo(ours.get(), link.client.fd.get());
  Finish(child);
  link.client.Sent(60, By(child));
  link.client.Send(10);
  Must(link.server.Receive(100), "read");
}

void TakenDescriptor(Row& row) {
  Channel to_child;
  Channel to_parent;
  pid_t parent = ::getpid();
  pid_t child = Start([&] {
    int wanted = to_child.Get<int>();
    uint64_t stream = to_child.Get<uint64_t>();
    int process = static_cast<int>(::syscall(SYS_pidfd_open, parent, 0));
    int taken = process < 0 ? -1 : static_cast<int>(::syscall(SYS_pidfd_getfd, process, wanted, 0));
    to_parent.Put(taken < 0 ? errno : 0);
    return taken < 0 || WriteAll(taken, Pattern(stream, 30, 60));
  });
  Link& link = row.Connect();
  link.client.Send(30);
  to_child.Put(link.client.fd.get());
  to_child.Put(link.client.stream[0]);
  int error = to_parent.Get<int>();
  Finish(child);
  if (error != 0) {
    row.Expect(error == ENOSYS || error == EPERM, "pidfd_getfd was refused");
    row.Absent(std::string("no pidfd_getfd: ") + std::strerror(error));
    return;
  }
  link.client.Sent(60, By(child));
  link.client.Send(10);
  Must(link.server.Receive(100), "read");
}

struct Accepted {
  pid_t by;
  uint64_t inode;
};

bool ServeOne(int listener, Channel& reports, uint64_t stream) {
  UniqueFd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0) return false;
  reports.Put(Accepted{::getpid(), status.st_ino});
  char room[40];
  return ::recv(fd.get(), room, sizeof(room), MSG_WAITALL) == 40 &&
         WriteAll(fd.get(), Pattern(stream, 0, 200));
}

// Several processes wait at one listening socket; who serves is told by the records alone.
void Prefork(Row& row) {
  constexpr int kProcesses = 3;
  constexpr int kEach = 3;
  constexpr uint64_t kStream = 3000;
  Listener listener = Listen(row.family);
  Channel reports;
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    children.push_back(Start([&] {
      for (int round = 0; round < kEach; ++round) {
        if (!ServeOne(listener.fd.get(), reports, kStream)) return false;
      }
      return true;
    }));
  }
  for (int i = 0; i < kProcesses * kEach; ++i) {
    Link& link = row.NewLink();
    link.path = listener.path;
    link.concurrent = true;
    link.peer_may_go = true;
    link.client.fd = Socket(row.family);
    link.client.stream[0] = link.server.stream[1] = 3001;
    link.client.stream[1] = link.server.stream[0] = kStream;
    Must(ConnectTo(link.client.fd, listener), "connect");
    auto accepted = reports.Get<Accepted>();
    DescribeFromClient(link, accepted.inode);
    link.server.tgid = link.server.tid = accepted.by;
    link.client.Send(40);
    link.server.Received(40, nullptr, By(accepted.by));
    Must(link.client.Receive(200), "read");
    link.server.Sent(200, By(accepted.by));
    link.client.fd.Reset();
  }
  for (pid_t child : children) Finish(child);
}

}  // namespace

std::vector<Variant> SharingVariants() {
  return {
      {"dup", kAll, Duplicate},
      {"fork", kAll, Fork},
      {"scm_rights", kAll, PassedDescriptor},
      {"pidfd_getfd", kAll, TakenDescriptor},
      {"prefork", kAll, Prefork},
  };
}

}  // namespace zerotap::conformance
