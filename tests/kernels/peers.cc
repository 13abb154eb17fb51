// Two programs that talk HTTP or PostgreSQL to each other by a script and check every byte. What
// they did goes to standard output, one JSON object a line; a byte that is wrong is exit status 1.
//
// usage: peers serve http|postgres ADDRESS...        a thread a connection, until killed
//        peers talk http|postgres ADDRESS [--wait FILE]
//                                                    one conversation; before the second turn it
//                                                    waits until FILE exists
//        peers load ADDRESS MARK STOP                requests without end on one connection until
//                                                    the file STOP exists; tells the first that was
//                                                    sent after the file MARK existed, and the last
//        peers brief ADDRESS COUNT                   COUNT processes one after the other, each
//                                                    living 50 ms, with one request each
//        ADDRESS: tcp:PORT (127.0.0.1), tcp6:PORT (::1) or unix:PATH
#include "tests/kernels/peers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace zerotap::peers {
namespace {

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "peers: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

bool Exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

void WaitFor(const std::string& path) {
  while (!Exists(path)) ::usleep(20'000);
}

union AnyAddress {
  sockaddr any;
  sockaddr_in ip4;
  sockaddr_in6 ip6;
  sockaddr_un unix_path;
};

socklen_t Parse(const std::string& text, AnyAddress* address) {
  const size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  const std::string place = colon == std::string::npos ? "" : text.substr(colon + 1);
  std::memset(address, 0, sizeof(*address));
  if (kind == "unix") {
    address->unix_path.sun_family = AF_UNIX;
    std::strncpy(address->unix_path.sun_path, place.c_str(),
                 sizeof(address->unix_path.sun_path) - 1);
    return sizeof(address->unix_path);
  }
  const uint16_t port = htons(static_cast<uint16_t>(std::atoi(place.c_str())));
  if (kind == "tcp6") {
    address->ip6.sin6_family = AF_INET6;
    address->ip6.sin6_port = port;
    address->ip6.sin6_addr = in6addr_loopback;
    return sizeof(address->ip6);
  }
  if (kind != "tcp") Die("address " + text);
  address->ip4.sin_family = AF_INET;
  address->ip4.sin_port = port;
  address->ip4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return sizeof(address->ip4);
}

int Listen(const std::string& text) {
  AnyAddress address;
  const socklen_t size = Parse(text, &address);
  if (address.any.sa_family == AF_UNIX) ::unlink(address.unix_path.sun_path);
  const int fd = ::socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (::bind(fd, &address.any, size) != 0 || ::listen(fd, 64) != 0) Die("listen on " + text);
  return fd;
}

int Connect(const std::string& text) {
  AnyAddress address;
  const socklen_t size = Parse(text, &address);
  const int fd = ::socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  for (int attempt = 0; ::connect(fd, &address.any, size) != 0; ++attempt) {
    if (attempt == 500) Die("connect to " + text);
    ::usleep(20'000);
  }
  return fd;
}

void Send(int fd, const std::string& bytes, size_t cut) {
  size_t done = 0;
  while (done < bytes.size()) {
    const size_t end = done < cut ? cut : bytes.size();
    const ssize_t sent = ::send(fd, bytes.data() + done, end - done, MSG_NOSIGNAL);
    if (sent <= 0) Die("send");
    done += static_cast<size_t>(sent);
    // So that the rest is a segment, and a receive, of its own.
    if (done == cut) ::usleep(5'000);
  }
}

// False when the other side has closed before the first byte.
bool Expect(int fd, const std::string& bytes) {
  std::string got(bytes.size(), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t received = ::recv(fd, got.data() + done, bytes.size() - done, 0);
    if (received == 0 && done == 0) return false;
    if (received <= 0) Die("receive");
    done += static_cast<size_t>(received);
  }
  if (got != bytes) Die("other bytes than the script's");
  return true;
}

std::vector<Turn> ConversationOf(const std::string& protocol) {
  if (protocol == "http") return HttpConversation();
  if (protocol == "postgres") return PostgresConversation();
  Die("protocol " + protocol);
}

// As a server does: what comes first decides what the rest must be.
void ServeOne(int fd, const std::string& protocol) {
  const std::vector<Turn> turns = ConversationOf(protocol);
  const std::string load = "GET /load/";
  char first[10] = {};
  if (::recv(fd, first, sizeof(first), MSG_PEEK | MSG_WAITALL) == sizeof(first) &&
      load.compare(0, sizeof(first), first, sizeof(first)) == 0) {
    for (int index = 0; Expect(fd, HttpLoadTurn(index).request); ++index) {
      Send(fd, HttpLoadTurn(index).response, 0);
    }
  } else {
    for (const Turn& turn : turns) {
      if (!Expect(fd, turn.request)) break;
      Send(fd, turn.response, 0);
    }
  }
  ::close(fd);
}

int Serve(const std::string& protocol, const std::vector<std::string>& addresses) {
  std::vector<std::thread> threads;
  for (const std::string& address : addresses) {
    threads.emplace_back([listener = Listen(address), protocol] {
      while (true) {
        const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) Die("accept");
        std::thread(ServeOne, fd, protocol).detach();
      }
    });
  }
  std::printf("{\"serves\": \"%s\", \"pid\": %d}\n", protocol.c_str(), ::getpid());
  std::fflush(stdout);
  for (std::thread& thread : threads) thread.join();
  return 0;
}

int Talk(const std::string& protocol, const std::string& address, const std::string& gate) {
  const int fd = Connect(address);
  int turns = 0;
  for (const Turn& turn : ConversationOf(protocol)) {
    if (turns == 1 && !gate.empty()) {
      std::printf("{\"waits\": \"%s\"}\n", gate.c_str());
      std::fflush(stdout);
      WaitFor(gate);
    }
    Send(fd, turn.request, turn.cut);
    if (!Expect(fd, turn.response)) Die("closed by the server");
    ++turns;
  }
  ::close(fd);
  std::printf("{\"talked\": \"%s\", \"address\": \"%s\", \"pid\": %d, \"turns\": %d}\n",
              protocol.c_str(), address.c_str(), ::getpid(), turns);
  return 0;
}

int Load(const std::string& address, const std::string& mark, const std::string& stop) {
  const int fd = Connect(address);
  int index = 0;
  int marked = -1;
  for (; !Exists(stop); ++index) {
    if (marked < 0 && Exists(mark)) marked = index;
    const Turn turn = HttpLoadTurn(index);
    Send(fd, turn.request, 0);
    if (!Expect(fd, turn.response)) Die("closed by the server");
    ::usleep(2'000);
  }
  ::close(fd);
  std::printf("{\"loaded\": %d, \"marked\": %d, \"pid\": %d}\n", index, marked, ::getpid());
  return 0;
}

int Brief(const std::string& address, int count) {
  for (int i = 0; i < count; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::execl("/t/brief_client", "brief_client", "once", address.c_str(), nullptr);
      ::_exit(1);
    }
    int status = 0;
    if (::waitpid(child, &status, 0) != child || status != 0) Die("a brief process");
    std::printf("{\"brief\": %d}\n", child);
  }
  return 0;
}

int Once(const std::string& address) {
  const Turn turn = HttpConversation().front();
  const int fd = Connect(address);
  Send(fd, turn.request, 0);
  if (!Expect(fd, turn.response)) Die("closed by the server");
  ::close(fd);
  ::usleep(50'000);
  return 0;
}

int Usage() {
  std::fprintf(stderr, "usage: see the top of tests/kernels/peers.cc\n");
  return 2;
}

int Main(const std::vector<std::string>& arguments) {
  const size_t count = arguments.size();
  if (count == 0) return Usage();
  const std::string& command = arguments[0];
  if (command == "serve" && count >= 3) {
    return Serve(arguments[1], {arguments.begin() + 2, arguments.end()});
  }
  if (command == "talk" && count == 3) return Talk(arguments[1], arguments[2], "");
  if (command == "talk" && count == 5 && arguments[3] == "--wait") {
    return Talk(arguments[1], arguments[2], arguments[4]);
  }
  if (command == "load" && count == 4) return Load(arguments[1], arguments[2], arguments[3]);
  if (command == "brief" && count == 3) return Brief(arguments[1], std::atoi(arguments[2].c_str()));
  if (command == "once" && count == 2) return Once(arguments[1]);
  return Usage();
}

}  // namespace
}  // namespace zerotap::peers

int main(int argc, char** argv) { return zerotap::peers::Main({argv + 1, argv + argc}); }
