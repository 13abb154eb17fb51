// Texts of foreign processes are bytes; OTLP strings must be UTF-8.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace zerotap {

bool IsUtf8(std::string_view bytes);

// `bytes` with every malformed sequence replaced by U+FFFD, cut to at most `limit` bytes between
// characters.
std::string ToUtf8(std::string_view bytes, size_t limit = std::string_view::npos);

}  // namespace zerotap
