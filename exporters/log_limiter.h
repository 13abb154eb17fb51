// Lets a message of one kind through once a minute. Not thread-safe: one per exporter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace zerotap {

class LogLimiter {
 public:
  explicit LogLimiter(uint64_t period_ns = 60'000'000'000u) : period_ns_(period_ns) {}

  // `kind` must come from a small set (a status code, not a message).
  bool Allow(std::string_view kind, uint64_t now_ns) {
    if (last_.size() >= kMaxKinds) last_.clear();
    auto [found, added] = last_.try_emplace(std::string(kind), now_ns);
    if (!added && now_ns - found->second < period_ns_) return false;
    found->second = now_ns;
    return true;
  }

 private:
  static constexpr size_t kMaxKinds = 64;
  const uint64_t period_ns_;
  std::map<std::string, uint64_t> last_;
};

}  // namespace zerotap
