// Writes blocks of text to a terminal, pipe or file without ever waiting for ever: a reader that
// stalls costs telemetry, not the agent; a reader that went away ends the output quietly.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <string_view>

namespace zerotap {

enum class ColorMode { kAuto, kAlways, kNever };

class ConsoleOutput {
 public:
  // `fd` is borrowed. Automatic colour: on a terminal that is not "dumb", unless NO_COLOR is set
  // (no-color.org).
  explicit ConsoleOutput(int fd, ColorMode color = ColorMode::kAuto,
                         std::chrono::milliseconds max_stall = std::chrono::seconds(10));

  bool color() const { return color_; }

  // Writes all of `text`, blocks of different threads one after the other. False when it is not all
  // out: closed, stopped, or the reader took nothing for `max_stall`.
  bool Write(std::string_view text);

  // Ends a Write that waits; later ones write what can be written at once.
  void RequestStop() { stop_.store(true, std::memory_order_release); }

  // The reader went away (EPIPE) or the descriptor cannot be written; nothing will come out any
  // more.
  bool closed() const { return closed_.load(std::memory_order_acquire); }

 private:
  bool WaitWritable() const;

  const int fd_;
  const bool color_;
  const std::chrono::milliseconds max_stall_;
  std::mutex mutex_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> closed_{false};
};

}  // namespace zerotap
