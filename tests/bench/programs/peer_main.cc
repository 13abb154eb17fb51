// bench_peer: the programs that are measured or that just have to be there.
//
//   bench_peer echo PORT                                   sends back what it gets, one thread
//   bench_peer receive PORT                                takes OTLP over HTTP, counts it
//   bench_peer idle PORT PROCESSES CONNECTIONS FILE        processes with connections that do
//   nothing
//
// `idle` prints "ready" when all connections are there. For each line that it reads every
// connection makes one request (FILE, answered by HTTP in one piece) and it prints "done"; it ends
// with its input.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "agent/base/unique_fd.h"
#include "tests/bench/programs/exchange_load.h"
#include "tests/bench/programs/listener.h"
#include "tests/bench/programs/receiver.h"

namespace zerotap::bench {
namespace {

int Fail(const std::string& what) {
  std::fprintf(stderr, "bench_peer: %s: %s\n", what.c_str(), std::strerror(errno));
  return 1;
}

class EchoServer {
 public:
  int Run(uint16_t port) {
    const UniqueFd listener = ListenOnLoopback(port, SOCK_STREAM | SOCK_NONBLOCK, 1024);
    if (!listener) return Fail("listen");
    const int one = 1;
    epoll_.Reset(::epoll_create1(0));
    Watch(listener.get(), EPOLLIN, EPOLL_CTL_ADD);
    epoll_event events[64];
    while (true) {
      const int count = ::epoll_wait(epoll_.get(), events, 64, -1);
      if (count < 0 && errno != EINTR) return Fail("epoll_wait");
      for (int i = 0; i < count; ++i) {
        const int fd = events[i].data.fd;
        if (fd != listener.get()) {
          Serve(fd);
          continue;
        }
        const int accepted = ::accept4(fd, nullptr, nullptr, SOCK_NONBLOCK);
        if (accepted < 0) continue;
        ::setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        clients_[accepted].fd.Reset(accepted);
        Watch(accepted, EPOLLIN, EPOLL_CTL_ADD);
      }
    }
  }

 private:
  struct Client {
    UniqueFd fd;
    std::string unsent;
  };

  void Watch(int fd, uint32_t what, int operation) {
    epoll_event event{};
    event.events = what;
    event.data.fd = fd;
    ::epoll_ctl(epoll_.get(), operation, fd, &event);
  }

  void Serve(int fd) {
    Client& client = clients_[fd];
    const bool held = !client.unsent.empty();
    if (!held) {
      const ssize_t count = ::recv(fd, buffer_, sizeof(buffer_), 0);
      if (count == 0 || (count < 0 && errno != EAGAIN)) {
        clients_.erase(fd);
        return;
      }
      if (count > 0) client.unsent.assign(buffer_, static_cast<size_t>(count));
    }
    const ssize_t sent = ::send(fd, client.unsent.data(), client.unsent.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
      clients_.erase(fd);
      return;
    }
    if (sent > 0) client.unsent.erase(0, static_cast<size_t>(sent));
    // What is not gone yet goes before anything more is read.
    if (held != !client.unsent.empty()) {
      Watch(fd, client.unsent.empty() ? EPOLLIN : EPOLLOUT, EPOLL_CTL_MOD);
    }
  }

  UniqueFd epoll_;
  std::map<int, Client> clients_;
  char buffer_[64 * 1024];
};

bool ExchangeOnce(int fd, const std::string& request) {
  if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size()))
    return false;
  char answer[4096];
  const ssize_t count = ::recv(fd, answer, sizeof(answer), 0);
  return count > 12 && std::memcmp(answer, "HTTP/1.", 7) == 0;
}

// A process with its connections: a byte of `orders` is a round, a byte of `reports` says that it
// is over.
int IdleProcess(uint16_t port, size_t connections, const std::string& request, int orders,
                int reports) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::vector<UniqueFd> fds;
  for (size_t i = 0; i < connections; ++i) {
    fds.emplace_back(ConnectTo("127.0.0.1", port, false));
    if (!fds.back()) return Fail("connect");
  }
  char byte = 'r';
  while (::write(reports, &byte, 1) == 1 && ::read(orders, &byte, 1) == 1) {
    for (const UniqueFd& fd : fds) {
      if (!ExchangeOnce(fd.get(), request)) return Fail("an idle connection");
    }
  }
  return 0;
}

int Idle(uint16_t port, size_t processes, size_t connections, const std::string& request) {
  std::vector<UniqueFd> orders;
  int reports[2];
  if (::pipe(reports) != 0) return Fail("pipe");
  for (size_t i = 0; i < processes; ++i) {
    int order[2];
    if (::pipe(order) != 0) return Fail("pipe");
    const pid_t child = ::fork();
    if (child < 0) return Fail("fork");
    if (child == 0) {
      ::close(order[1]);
      ::close(reports[0]);
      orders.clear();
      ::_exit(IdleProcess(port, connections, request, order[0], reports[1]));
    }
    ::close(order[0]);
    orders.emplace_back(order[1]);
  }
  ::close(reports[1]);
  const char* word = "ready";
  while (true) {
    for (size_t i = 0; i < processes; ++i) {
      char byte;
      if (::read(reports[0], &byte, 1) != 1) return Fail("a process is gone");
    }
    std::puts(word);
    std::fflush(stdout);
    word = "done";
    int c;
    while ((c = std::getchar()) != '\n') {
      if (c == EOF) return 0;  // the processes end as their pipes do
    }
    for (const UniqueFd& order : orders) {
      if (::write(order.get(), "r", 1) != 1) return Fail("a process is gone");
    }
  }
}

int Main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  const std::string mode = argc > 2 ? argv[1] : "";
  const auto port = static_cast<uint16_t>(argc > 2 ? std::atoi(argv[2]) : 0);
  if (mode == "echo" && argc == 3) return EchoServer().Run(port);
  if (mode == "receive" && argc == 3) return RunReceiver(port);
  if (mode == "idle" && argc == 6) {
    std::ifstream file(argv[5], std::ios::binary);
    if (!file) return Fail(argv[5]);
    const std::string request((std::istreambuf_iterator<char>(file)),
                              std::istreambuf_iterator<char>());
    return Idle(port, std::strtoul(argv[3], nullptr, 10), std::strtoul(argv[4], nullptr, 10),
                request);
  }
  std::fprintf(stderr,
               "bench_peer: echo PORT, receive PORT, or idle PORT PROCESSES CONNECTIONS FILE\n");
  return 2;
}

}  // namespace
}  // namespace zerotap::bench

int main(int argc, char** argv) { return zerotap::bench::Main(argc, argv); }
