// Lists of CPUs as /sys/devices/system/cpu has them: "0-3,8", in rising order.
#pragma once

#include <charconv>
#include <cstddef>
#include <optional>
#include <string_view>
#include <system_error>

namespace zerotap {

// The number of the last CPU; none if that is no number.
inline std::optional<size_t> LastCpuOf(std::string_view list) {
  while (!list.empty() && (list.back() == '\n' || list.back() == ' ')) list.remove_suffix(1);
  const size_t before = list.find_last_of(",-");
  const char* begin = list.data() + (before == std::string_view::npos ? 0 : before + 1);
  const char* end = list.data() + list.size();
  size_t last = 0;
  const auto [rest, error] = std::from_chars(begin, end, last);
  if (error != std::errc() || rest != end) return std::nullopt;
  return last;
}

}  // namespace zerotap
