// An HTTP/1.1 server in the test's own process that answers by a script, also with what no sane
// collector does: silence, resets, bytes that are not HTTP, endless bodies. Header-only; plain
// sockets.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/scripted_server.h"

namespace zerotap::testing {

enum class FakeBehaviour {
  kAnswer,
  kHang,     // reads the request, never answers
  kReset,    // reads the request, then RST
  kClose,    // reads the request, then closes in order, without an answer
  kRaw,      // sends `body` as it is and closes
  kEndless,  // a 200 whose body does not end
};

struct FakeReply {
  int status = 200;
  std::string body = {};
  std::vector<std::pair<std::string, std::string>> headers = {};
  FakeBehaviour behaviour = FakeBehaviour::kAnswer;
};

struct FakeRequest {
  std::string method;
  std::string path;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
  std::chrono::steady_clock::time_point received_at;

  std::string Header(std::string_view name) const {
    for (const auto& [key, value] : headers) {
      if (key == name) return value;
    }
    return {};
  }
};

class FakeCollector : public ScriptedServer<FakeRequest, FakeReply> {
 public:
  explicit FakeCollector(uint16_t port = 0) : ScriptedServer(port) {
    Start([this](int fd) { Serve(fd); });
  }
  ~FakeCollector() { Stop(); }

  std::string url(std::string_view path = "") const {
    return "http://" + authority() + std::string(path);
  }

 private:
  void Serve(int fd) {
    std::string buffer;
    FakeRequest request;
    while (ReadRequest(fd, buffer, request) && Answer(fd, Take(request))) {
    }
    ::close(fd);
  }

  // One more piece of the stream; false at its end or when the test is over.
  bool ReadMore(int fd, std::string& buffer) {
    while (!Stopping()) {
      pollfd waiting{fd, POLLIN, 0};
      if (::poll(&waiting, 1, 10) <= 0) continue;
      char piece[65536];
      ssize_t count = ::recv(fd, piece, sizeof(piece), 0);
      if (count <= 0) return false;
      buffer.append(piece, static_cast<size_t>(count));
      return true;
    }
    return false;
  }

  bool ReadRequest(int fd, std::string& buffer, FakeRequest& request) {
    request = FakeRequest{};
    size_t end;
    while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
      if (!ReadMore(fd, buffer)) return false;
    }
    std::string_view head(buffer.data(), end);
    size_t space = head.find(' ');
    request.method = head.substr(0, space);
    request.path = head.substr(space + 1, head.find(' ', space + 1) - space - 1);
    size_t length = 0;
    size_t line = head.find("\r\n");
    while (line != std::string_view::npos) {
      size_t next = head.find("\r\n", line + 2);
      std::string_view text = head.substr(
          line + 2, next == std::string_view::npos ? std::string_view::npos : next - line - 2);
      size_t colon = text.find(':');
      std::string name(text.substr(0, colon));
      for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
      std::string value(colon == std::string_view::npos ? "" : text.substr(colon + 1));
      value.erase(0, value.find_first_not_of(' '));
      if (name == "content-length") length = std::strtoull(value.c_str(), nullptr, 10);
      request.headers.emplace_back(std::move(name), std::move(value));
      line = next;
    }
    size_t total = end + 4 + length;
    while (buffer.size() < total) {
      if (!ReadMore(fd, buffer)) return false;
    }
    request.body = buffer.substr(end + 4, length);
    buffer.erase(0, total);
    return true;
  }

  bool Send(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
      if (Stopping()) return false;
      pollfd waiting{fd, POLLOUT, 0};
      if (::poll(&waiting, 1, 10) <= 0) continue;
      ssize_t count = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(count));
    }
    return true;
  }

  // False when the connection is over.
  bool Answer(int fd, const FakeReply& reply) {
    switch (reply.behaviour) {
      case FakeBehaviour::kHang: {
        std::string ignored;
        while (ReadMore(fd, ignored)) {
        }
        return false;
      }
      case FakeBehaviour::kReset: {
        linger hard{1, 0};
        ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        return false;
      }
      case FakeBehaviour::kClose:
        return false;
      case FakeBehaviour::kRaw:
        Send(fd, reply.body);
        return false;
      case FakeBehaviour::kEndless: {
        std::string chunk(65536, 'x');
        bool open = Send(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while (open) open = Send(fd, chunk);
        return false;
      }
      case FakeBehaviour::kAnswer:
        break;
    }
    std::string head = "HTTP/1.1 " + std::to_string(reply.status) + " Scripted\r\n";
    for (const auto& [name, value] : reply.headers) head += name + ": " + value + "\r\n";
    head += "Content-Length: " + std::to_string(reply.body.size()) + "\r\n\r\n";
    return Send(fd, head + reply.body);
  }
};

}  // namespace zerotap::testing
