#pragma once

#include <string_view>

namespace zerotap {

// The same as in CMakeLists.txt; a test compares the two.
inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace zerotap
