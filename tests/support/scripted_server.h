// What servers of tests have in common that answer by a script: they listen on the loopback in the
// test's own process, one thread per connection, and remember every request.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace zerotap::testing {

// `Request` has a time `received_at`.
template <typename Request, typename Reply>
class ScriptedServer {
 public:
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  uint16_t port() const { return port_; }
  std::string authority() const { return "127.0.0.1:" + std::to_string(port_); }

  // Answers used in this order, one a request; afterwards every request gets `otherwise`.
  void Script(std::vector<Reply> replies, Reply otherwise = {}) {
    std::lock_guard lock(mutex_);
    script_.assign(replies.begin(), replies.end());
    otherwise_ = std::move(otherwise);
  }

  std::vector<Request> requests() const {
    std::lock_guard lock(mutex_);
    return requests_;
  }
  size_t connection_count() const {
    std::lock_guard lock(mutex_);
    return connections_.size();
  }
  bool WaitForRequests(size_t count, std::chrono::milliseconds timeout = std::chrono::seconds(5)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [&] { return requests_.size() >= count; });
  }

 protected:
  // Listens from here on; connections come with Start.
  explicit ScriptedServer(uint16_t port = 0) {
    listen_fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    ::setsockopt(listen_fd_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    socklen_t size = sizeof(address);
    if (::bind(listen_fd_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::listen(listen_fd_, 64) != 0 ||
        ::getsockname(listen_fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      std::abort();
    }
    port_ = ntohs(address.sin_port);
  }
  ~ScriptedServer() { ::close(listen_fd_); }

  // `serve` is given each connection, closes it, and ends soon when Stopping.
  void Start(std::function<void(int fd)> serve) {
    acceptor_ = std::thread([this, serve = std::move(serve)] {
      while (!Stopping()) {
        pollfd waiting{listen_fd_, POLLIN, 0};
        if (::poll(&waiting, 1, 10) <= 0) continue;
        int fd = ::accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) continue;
        std::lock_guard lock(mutex_);
        connections_.emplace_back([serve, fd] { serve(fd); });
      }
    });
  }
  // In the destructor of the server, whose members `serve` uses.
  void Stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    acceptor_.join();
    for (std::thread& thread : connections_) thread.join();
  }
  bool Stopping() const {
    std::lock_guard lock(mutex_);
    return stopping_;
  }

  // Remembers the request; gives what it is to be answered.
  Reply Take(Request& request) {
    Reply reply;
    {
      std::lock_guard lock(mutex_);
      request.received_at = std::chrono::steady_clock::now();
      requests_.push_back(request);
      reply = otherwise_;
      if (!script_.empty()) {
        reply = std::move(script_.front());
        script_.pop_front();
      }
    }
    changed_.notify_all();
    return reply;
  }

 private:
  int listen_fd_ = -1;
  uint16_t port_ = 0;
  std::thread acceptor_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::vector<std::thread> connections_;
  std::deque<Reply> script_;
  Reply otherwise_;
  std::vector<Request> requests_;
};

}  // namespace zerotap::testing
