#include "exporters/retry.h"

#include <array>
#include <ctime>
#include <string>

namespace zerotap {
namespace {

constexpr int64_t kMaxSeconds = 86'400;

std::optional<int64_t> ParseDigits(std::string_view text) {
  if (text.empty()) return std::nullopt;
  int64_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = std::min<int64_t>(value * 10 + (c - '0'), 1'000'000'000);
  }
  return value;
}

// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, section 5.6.7). By hand, because strptime follows the
// locale.
std::optional<int64_t> ParseDate(std::string_view text) {
  constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  if (text.size() != 29 || text.substr(3, 2) != ", " || text.substr(25) != " GMT") {
    return std::nullopt;
  }
  auto day = ParseDigits(text.substr(5, 2));
  auto month = std::find(kMonths.begin(), kMonths.end(), text.substr(8, 3));
  auto year = ParseDigits(text.substr(12, 4));
  auto hour = ParseDigits(text.substr(17, 2));
  auto minute = ParseDigits(text.substr(20, 2));
  auto second = ParseDigits(text.substr(23, 2));
  if (!day || month == kMonths.end() || !year || !hour || !minute || !second) return std::nullopt;
  std::tm parts{};
  parts.tm_mday = static_cast<int>(*day);
  parts.tm_mon = static_cast<int>(month - kMonths.begin());
  parts.tm_year = static_cast<int>(*year) - 1900;
  parts.tm_hour = static_cast<int>(*hour);
  parts.tm_min = static_cast<int>(*minute);
  parts.tm_sec = static_cast<int>(*second);
  return timegm(&parts);
}

}  // namespace

std::optional<std::chrono::milliseconds> ParseRetryAfter(std::string_view value,
                                                         int64_t now_unix_seconds) {
  std::optional<int64_t> seconds = ParseDigits(value);
  if (!seconds) {
    std::optional<int64_t> date = ParseDate(value);
    if (!date) return std::nullopt;
    seconds = std::max<int64_t>(*date - now_unix_seconds, 0);
  }
  return std::chrono::milliseconds(std::min(*seconds, kMaxSeconds) * 1000);
}

}  // namespace zerotap
