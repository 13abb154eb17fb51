#include "tests/bench/programs/receiver.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "agent/base/unique_fd.h"
#include "tests/bench/programs/listener.h"

namespace zerotap::bench {
namespace {

constexpr size_t kReadSize = 256 * 1024;

std::atomic<uint64_t> requests{0};
std::atomic<uint64_t> bytes{0};

void Answer(int fd, const char* status, const std::string& body) {
  const std::string answer =
      std::string("HTTP/1.1 ") + status +
      "\r\nContent-Type: application/x-protobuf\r\nContent-Length: " + std::to_string(body.size()) +
      "\r\n\r\n" + body;
  (void)!::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
}

// One connection to its end. Bodies have a Content-Length.
void Serve(UniqueFd connection) {
  std::string head;
  std::vector<char> buffer(kReadSize);
  while (true) {
    const size_t end = head.find("\r\n\r\n");
    if (end == std::string::npos) {
      const ssize_t count = ::recv(connection.get(), buffer.data(), buffer.size(), 0);
      if (count <= 0) return;
      head.append(buffer.data(), static_cast<size_t>(count));
      continue;
    }
    const std::string_view lines(head.data(), end + 2);
    if (lines.substr(0, 4) == "GET ") {
      head.erase(0, end + 4);
      Answer(connection.get(), "200 OK",
             "{\"requests\": " + std::to_string(requests) +
                 ", \"bytes\": " + std::to_string(bytes) + "}");
      continue;
    }
    const size_t length_at = lines.find("\r\nContent-Length:");
    if (length_at == std::string_view::npos)
      return Answer(connection.get(), "411 Length Required", "");
    const uint64_t length = std::strtoull(lines.data() + length_at + 17, nullptr, 10);
    if (lines.find("\r\nExpect: 100-continue") != std::string_view::npos) {
      static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      (void)!::send(connection.get(), kContinue.data(), kContinue.size(), MSG_NOSIGNAL);
    }
    head.erase(0, end + 4);
    uint64_t left = length;
    while (left > head.size()) {
      left -= head.size();
      head.clear();
      const ssize_t count = ::recv(connection.get(), buffer.data(), buffer.size(), 0);
      if (count <= 0) return;
      head.assign(buffer.data(), static_cast<size_t>(count));
    }
    head.erase(0, left);
    ++requests;
    bytes += length;
    Answer(connection.get(), "200 OK", "");
  }
}

}  // namespace

int RunReceiver(uint16_t port) {
  const UniqueFd listener = ListenOnLoopback(port, SOCK_STREAM, 64);
  if (!listener) {
    std::perror("bench_peer: receive");
    return 1;
  }
  while (true) {
    UniqueFd connection(::accept(listener.get(), nullptr, nullptr));
    if (connection) std::thread(Serve, std::move(connection)).detach();
  }
}

}  // namespace zerotap::bench
