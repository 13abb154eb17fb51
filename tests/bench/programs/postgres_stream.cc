// A PostgreSQL client that reads result sets without keeping them, so that the server is what is
// measured.
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "agent/base/clock.h"
#include "agent/base/unique_fd.h"
#include "tests/bench/programs/exchange_load.h"

namespace zerotap::bench {
namespace {

constexpr size_t kReadSize = 1 << 20;

uint32_t BigEndian(const char* bytes) {
  uint32_t value = 0;
  std::memcpy(&value, bytes, sizeof(value));
  return ntohl(value);
}

std::string WithLength(std::string body) {
  const uint32_t length = htonl(static_cast<uint32_t>(body.size() + 4));
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + body;
}

// Follows the frames of a backend's stream, wherever reads cut them.
class FrameReader {
 public:
  // Takes the bytes up to the end of a ReadyForQuery; true when it was there.
  bool Take(std::string_view bytes) {
    while (!bytes.empty()) {
      if (left_ > 0) {
        const size_t count = std::min<uint64_t>(left_, bytes.size());
        bytes.remove_prefix(count);
        left_ -= count;
      } else {
        const size_t count = std::min(kHeader - header_.size(), bytes.size());
        header_ += bytes.substr(0, count);
        bytes.remove_prefix(count);
        if (header_.size() < kHeader) return false;
        type_ = header_[0];
        left_ = BigEndian(header_.data() + 1) - 4;
        failed_ = failed_ || type_ == 'E';
        header_.clear();
      }
      if (left_ == 0 && header_.empty() && type_ == 'Z') {
        type_ = 0;
        return true;
      }
    }
    return false;
  }
  bool failed() const { return failed_; }

 private:
  static constexpr size_t kHeader = 5;
  std::string header_;
  char type_ = 0;
  uint64_t left_ = 0;
  bool failed_ = false;
};

class Session {
 public:
  Session(int fd, LoadResult& result) : fd_(fd), result_(result), buffer_(kReadSize) {}

  bool Exchange(const std::string& message) {
    size_t sent = 0;
    while (sent < message.size()) {
      const ssize_t count =
          ::send(fd_.get(), message.data() + sent, message.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return false;
      sent += static_cast<size_t>(count);
    }
    while (true) {
      const ssize_t count = ::recv(fd_.get(), buffer_.data(), buffer_.size(), 0);
      if (count <= 0) return false;
      result_.response_bytes += static_cast<uint64_t>(count);
      if (reader_.Take({buffer_.data(), static_cast<size_t>(count)})) return !reader_.failed();
    }
  }

 private:
  UniqueFd fd_;
  LoadResult& result_;
  std::vector<char> buffer_;
  FrameReader reader_;
};

}  // namespace

LoadResult StreamPostgres(const StreamOptions& options) {
  LoadResult result;
  const int fd = ConnectTo(options.address, options.port, false);
  if (fd < 0) {
    result.failure = std::string("cannot connect: ") + std::strerror(errno);
    return result;
  }
  Session session(fd, result);
  const std::string zero(1, '\0');
  const std::string startup = WithLength(std::string("\0\3\0\0", 4) + "user" + zero + options.user +
                                         zero + "database" + zero + options.database + zero + zero);
  if (!session.Exchange(startup)) {
    result.failure = "PostgreSQL refuses the session";
    return result;
  }
  result.response_bytes = 0;
  const uint64_t begin = MonotonicNs();
  for (uint64_t i = 0; i < options.count; ++i) {
    const uint64_t sent = MonotonicNs();
    if (!session.Exchange("Q" + WithLength(options.query + zero))) {
      ++result.errors;
      break;
    }
    ++result.requests;
    result.latencies_ns.push_back(MonotonicNs() - sent);
  }
  result.requests_in_time = result.requests;
  result.seconds = static_cast<double>(MonotonicNs() - begin) / 1e9;
  return result;
}

}  // namespace zerotap::bench
