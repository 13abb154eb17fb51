// How long to wait before an export is tried again: exponential backoff with full jitter (every
// delay between zero and the current bound is equally likely, so agents that failed together do not
// come back together). Pure.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>

namespace zerotap {

struct RetryOptions {
  std::chrono::milliseconds initial{500};   // bound of the first delay
  std::chrono::milliseconds maximum{8000};  // bound of any delay that we choose ourselves
  double multiplier = 2;
  std::chrono::milliseconds give_up_after{60'000};  // since the first attempt began
};

class RetryPolicy {
 public:
  using Milliseconds = std::chrono::milliseconds;

  // `random` gives values in [0, 1).
  RetryPolicy(const RetryOptions& options, std::function<double()> random)
      : options_(options), random_(std::move(random)), bound_(options.initial) {}

  // The delay before the next attempt, `elapsed` after the first began; empty: give up. When the
  // receiver said how long to wait (`retry_after`), it is at least that long.
  std::optional<Milliseconds> Next(Milliseconds elapsed, std::optional<Milliseconds> retry_after) {
    auto jitter = Milliseconds(static_cast<int64_t>(
        random_() * static_cast<double>(std::min(bound_, options_.maximum).count())));
    auto larger = static_cast<double>(bound_.count()) * options_.multiplier;
    bound_ = Milliseconds(
        static_cast<int64_t>(std::min(larger, static_cast<double>(options_.maximum.count()))));
    Milliseconds delay = retry_after ? *retry_after + jitter : jitter;
    if (elapsed + delay > options_.give_up_after) return std::nullopt;
    return delay;
  }

 private:
  const RetryOptions options_;
  const std::function<double()> random_;
  Milliseconds bound_;
};

// The value of a Retry-After header (RFC 9110, section 10.2.3): seconds, or a date in its preferred
// format. Empty when it is neither. A date in the past is zero; at most a day is believed.
std::optional<std::chrono::milliseconds> ParseRetryAfter(std::string_view value,
                                                         int64_t now_unix_seconds);

}  // namespace zerotap
