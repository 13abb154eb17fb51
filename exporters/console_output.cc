#include "exporters/console_output.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "exporters/sigpipe_block.h"

namespace zerotap {
namespace {

// A descriptor that polls as writable takes this much without blocking: a pipe has a free page
// then.
constexpr size_t kPiece = 4096;
constexpr int kPollMs = 50;

bool WantsColor(int fd, ColorMode mode) {
  if (mode != ColorMode::kAuto) return mode == ColorMode::kAlways;
  const char* no_color = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  if (no_color != nullptr && *no_color != '\0') return false;
  if (terminal != nullptr && std::string_view(terminal) == "dumb") return false;
  return isatty(fd) == 1;
}

}  // namespace

ConsoleOutput::ConsoleOutput(int fd, ColorMode color, std::chrono::milliseconds max_stall)
    : fd_(fd), color_(WantsColor(fd, color)), max_stall_(max_stall) {}

bool ConsoleOutput::WaitWritable() const {
  auto give_up = std::chrono::steady_clock::now() + max_stall_;
  while (true) {
    bool stopping = stop_.load(std::memory_order_acquire);
    pollfd waiting{fd_, POLLOUT, 0};
    int ready = poll(&waiting, 1, stopping ? 0 : kPollMs);
    if (ready > 0) return true;  // also on POLLERR: the write says what is wrong
    if (ready < 0 && errno != EINTR) return false;
    if (stopping || std::chrono::steady_clock::now() >= give_up) return false;
  }
}

bool ConsoleOutput::Write(std::string_view text) {
  std::lock_guard lock(mutex_);
  if (closed()) return false;
  SigpipeBlock block;
  while (!text.empty()) {
    if (!WaitWritable()) return false;
    ssize_t count = write(fd_, text.data(), std::min(text.size(), kPiece));
    if (count >= 0) {
      text.remove_prefix(static_cast<size_t>(count));
    } else if (errno != EINTR && errno != EAGAIN) {
      closed_.store(true, std::memory_order_release);
      return false;
    }
  }
  return true;
}

}  // namespace zerotap
