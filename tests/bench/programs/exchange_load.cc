#include "tests/bench/programs/exchange_load.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "agent/base/clock.h"
#include "agent/base/unique_fd.h"

namespace zerotap::bench {
namespace {

constexpr size_t kReadSize = 256 * 1024;
constexpr size_t kLongestHead = 64 * 1024;
constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kGraceNs = 2 * kSecond;  // for what is in flight when the time is over

// The value of Content-Length in a response head, or -1.
int64_t ContentLength(std::string_view head) {
  static constexpr std::string_view kName = "\r\ncontent-length:";
  for (size_t at = 0; (at = head.find("\r\n", at)) != std::string_view::npos; at += 2) {
    if (head.size() - at > kName.size() &&
        ::strncasecmp(head.data() + at, kName.data(), kName.size()) == 0) {
      return std::strtoll(head.data() + at + kName.size(), nullptr, 10);
    }
  }
  return -1;
}

enum class State { kClosed, kConnecting, kIdle, kBusy };

struct Connection {
  UniqueFd fd;
  State state = State::kClosed;
  const std::string* request = nullptr;
  size_t sent = 0;
  bool wants_write = false;
  bool in_body = false;
  uint64_t left = 0;  // bytes of the body to come
  std::string head;
  uint64_t due_ns = 0;
};

class Generator {
 public:
  explicit Generator(const LoadOptions& options) : options_(options), buffer_(kReadSize) {}

  LoadResult Run() {
    epoll_.Reset(::epoll_create1(EPOLL_CLOEXEC));
    connections_.resize(options_.connections);
    for (size_t i = connections_.size(); i-- > 0;) {
      if (options_.connection_per_request) {
        idle_.push_back(i);
      } else if (!Open(i)) {
        result_.failure = std::string("cannot connect: ") + std::strerror(errno);
        return std::move(result_);
      }
    }
    if (!options_.connection_per_request && !WaitUntilAllAreOpen()) return std::move(result_);
    begin_ns_ = MonotonicNs();
    end_ns_ = begin_ns_ + static_cast<uint64_t>(options_.seconds * kSecond);
    if (options_.rate > 0) {
      planned_ = static_cast<uint64_t>(options_.rate * options_.seconds);
      result_.latencies_ns.reserve(planned_);
    }
    while (Turn()) {
    }
    result_.unsent = options_.rate > 0 ? planned_ - begun_ : 0;
    result_.errors += busy_;
    result_.seconds = options_.seconds;
    return std::move(result_);
  }

 private:
  bool Open(size_t index) {
    Connection& connection = connections_[index];
    connection.fd.Reset(ConnectTo(options_.address, options_.port, true));
    if (!connection.fd) return false;
    connection.state = State::kConnecting;
    connection.wants_write = true;
    return Watch(index, EPOLL_CTL_ADD);
  }

  bool Watch(size_t index, int operation) {
    epoll_event event{};
    event.events = EPOLLIN | (connections_[index].wants_write ? EPOLLOUT : 0u);
    event.data.u64 = index;
    return ::epoll_ctl(epoll_.get(), operation, connections_[index].fd.get(), &event) == 0;
  }

  bool WaitUntilAllAreOpen() {
    const uint64_t deadline = MonotonicNs() + 10 * kSecond;
    while (idle_.size() < connections_.size()) {
      if (MonotonicNs() > deadline || result_.errors > 0) {
        result_.failure = "the server does not take all connections";
        return false;
      }
      Wait(kSecond / 10);
    }
    return true;
  }

  // False when all is over.
  bool Turn() {
    uint64_t now = MonotonicNs();
    uint64_t pause = kSecond / 20;
    if (options_.rate > 0) {
      while (!idle_.empty() && begun_ < planned_ && DueOf(begun_) <= now) Begin(DueOf(begun_));
      if (begun_ < planned_ && !idle_.empty()) pause = std::min(pause, DueOf(begun_) - now);
      if (begun_ == planned_ && busy_ == 0 && now >= end_ns_) return false;
      // Whoever is behind by half the time has shown what there is to show.
      if (now > end_ns_ + (end_ns_ - begin_ns_) / 2 + kGraceNs) return false;
    } else {
      while (!idle_.empty() && now < end_ns_) Begin(now);
      if (now >= end_ns_ && (busy_ == 0 || now > end_ns_ + kGraceNs)) return false;
      if (now < end_ns_) pause = std::min(pause, end_ns_ - now);
    }
    if (result_.errors > 1000) return false;
    Wait(pause);
    return true;
  }

  uint64_t DueOf(uint64_t number) const {
    return begin_ns_ + static_cast<uint64_t>(static_cast<double>(number) * kSecond / options_.rate);
  }

  void Wait(uint64_t ns) {
    epoll_event events[256];
    const timespec time{static_cast<time_t>(ns / kSecond), static_cast<long>(ns % kSecond)};
    const int count = ::epoll_pwait2(epoll_.get(), events, 256, &time, nullptr);
    for (int i = 0; i < count; ++i) OnReady(events[i].data.u64, events[i].events);
  }

  void Begin(uint64_t due_ns) {
    const size_t index = idle_.back();
    idle_.pop_back();
    Connection& connection = connections_[index];
    connection.request = &options_.requests[begun_ % options_.requests.size()];
    connection.sent = 0;
    connection.due_ns = due_ns;
    connection.in_body = options_.response_bytes != 0;
    connection.left = options_.response_bytes;
    connection.head.clear();
    ++begun_;
    ++busy_;
    if (options_.connection_per_request) {
      if (!Open(index)) Fail(index);
      return;
    }
    connection.state = State::kBusy;
    Send(index);
  }

  void Send(size_t index) {
    Connection& connection = connections_[index];
    const std::string& request = *connection.request;
    const ssize_t count = ::send(connection.fd.get(), request.data() + connection.sent,
                                 request.size() - connection.sent, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) return Fail(index);
    if (count > 0) connection.sent += static_cast<size_t>(count);
    const bool wants_write = connection.sent < request.size();
    if (wants_write == connection.wants_write) return;
    connection.wants_write = wants_write;
    if (!Watch(index, EPOLL_CTL_MOD)) Fail(index);
  }

  void OnReady(size_t index, uint32_t what) {
    Connection& connection = connections_[index];
    if (connection.state == State::kConnecting && (what & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
      int error = 0;
      socklen_t size = sizeof(error);
      ::getsockopt(connection.fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) return Fail(index);
      if (options_.connection_per_request) {
        connection.state = State::kBusy;
        return Send(index);
      }
      connection.state = State::kIdle;
      connection.wants_write = false;
      if (!Watch(index, EPOLL_CTL_MOD)) return Fail(index);
      idle_.push_back(index);
      return;
    }
    if ((what & EPOLLOUT) != 0 && connection.state == State::kBusy) Send(index);
    if ((what & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) Receive(index);
  }

  void Receive(size_t index) {
    Connection& connection = connections_[index];
    if (!connection.fd) return;
    const ssize_t count = ::recv(connection.fd.get(), buffer_.data(), buffer_.size(), 0);
    if (count < 0) {
      if (errno != EAGAIN) Fail(index);
      return;
    }
    if (count == 0) {
      const bool whole = connection.state == State::kBusy && connection.in_body &&
                         connection.left == 0 && options_.connection_per_request;
      return whole ? Complete(index) : Fail(index);
    }
    result_.response_bytes += static_cast<uint64_t>(count);
    std::string_view bytes(buffer_.data(), static_cast<size_t>(count));
    if (!connection.in_body && !TakeHead(connection, bytes)) return Fail(index);
    if (!connection.in_body) return;
    if (bytes.size() > connection.left) return Fail(index);
    connection.left -= bytes.size();
    if (connection.left == 0 && !options_.connection_per_request) Complete(index);
  }

  // False when this is not the response that was expected; leaves in `bytes` what belongs to the
  // body.
  bool TakeHead(Connection& connection, std::string_view& bytes) {
    const size_t before = connection.head.size();
    connection.head += bytes;
    const size_t end = connection.head.find("\r\n\r\n");
    if (end == std::string::npos) return connection.head.size() < kLongestHead;
    const std::string_view head = std::string_view(connection.head).substr(0, end + 2);
    const int64_t length = ContentLength(head);
    if (length < 0 || head.size() < 12 || head.substr(9, 3) != "200") return false;
    bytes.remove_prefix(end + 4 - before);
    connection.in_body = true;
    connection.left = static_cast<uint64_t>(length);
    return true;
  }

  void Complete(size_t index) {
    Connection& connection = connections_[index];
    const uint64_t now = MonotonicNs();
    ++result_.requests;
    --busy_;
    if (now < end_ns_) ++result_.requests_in_time;
    result_.latencies_ns.push_back(now - connection.due_ns);
    connection.state = State::kIdle;
    if (options_.connection_per_request) {
      connection.fd.Reset();
      connection.state = State::kClosed;
    }
    idle_.push_back(index);
    if (options_.rate <= 0 && now < end_ns_) Begin(now);
  }

  void Fail(size_t index) {
    Connection& connection = connections_[index];
    ++result_.errors;
    if (connection.state == State::kBusy ||
        (options_.connection_per_request && connection.state == State::kConnecting) ||
        (options_.connection_per_request && !connection.fd)) {
      --busy_;
    }
    connection.fd.Reset();
    connection.state = State::kClosed;
    if (options_.connection_per_request) idle_.push_back(index);
  }

  const LoadOptions& options_;
  std::vector<char> buffer_;
  UniqueFd epoll_;
  std::vector<Connection> connections_;
  std::vector<size_t> idle_;
  LoadResult result_;
  uint64_t begin_ns_ = 0;
  uint64_t end_ns_ = 0;
  uint64_t planned_ = 0;
  uint64_t begun_ = 0;
  uint64_t busy_ = 0;
};

}  // namespace

int ConnectTo(const std::string& address, uint16_t port, bool nonblocking) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0));
  if (!fd) return -1;
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  if (::inet_pton(AF_INET, address.c_str(), &to.sin_addr) != 1) {
    errno = EINVAL;
    return -1;
  }
  int one = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) != 0 &&
      errno != EINPROGRESS) {
    return -1;
  }
  return fd.Release();
}

LoadResult RunLoad(const LoadOptions& options) {
  ::prctl(PR_SET_TIMERSLACK, 1000);  // nanoseconds that a wait may be late
  return Generator(options).Run();
}

}  // namespace zerotap::bench
