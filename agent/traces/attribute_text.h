// The limit for text attributes counts characters, as OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT does: what
// is cut within one is no UTF-8 any more.
#pragma once

#include <cstddef>
#include <string_view>

namespace zerotap {

// The first `limit` characters of `text`; 0: all of it. A byte that belongs to no character is one.
inline std::string_view CutText(std::string_view text, size_t limit) {
  if (limit == 0 || text.size() <= limit) return text;
  const auto at = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  size_t end = 0;
  for (size_t characters = 0; characters < limit && end < text.size(); ++characters) {
    const unsigned char lead = at(end);
    size_t more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    for (++end; more > 0 && end < text.size() && (at(end) & 0xC0) == 0x80; --more) ++end;
  }
  return text.substr(0, end);
}

}  // namespace zerotap
