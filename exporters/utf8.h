// UTF-8 as far as exporters need it: OTLP strings must be valid, or a receiver refuses the whole
// request; a terminal needs code points. Texts come from the network, so both must expect anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace zerotap {

constexpr char32_t kInvalidCodePoint = 0xFFFFFFFF;

inline bool IsAscii(std::string_view text) {
  constexpr uint64_t kHighBits = 0x8080808080808080ull;
  const char* data = text.data();
  size_t size = text.size();
  auto load = [](const char* from, auto word) {
    std::memcpy(&word, from, sizeof(word));
    return word;
  };
  // Short texts are the rule: two words that overlap instead of a loop over bytes.
  if (size >= 8) {
    uint64_t bits = load(data + size - 8, uint64_t{0});
    for (size_t i = 0; i + 8 < size; i += 8) bits |= load(data + i, uint64_t{0});
    return (bits & kHighBits) == 0;
  }
  if (size >= 4) {
    uint32_t bits = load(data, uint32_t{0}) | load(data + size - 4, uint32_t{0});
    return (bits & static_cast<uint32_t>(kHighBits)) == 0;
  }
  uint8_t bits = 0;
  for (char c : text) bits |= static_cast<uint8_t>(c);
  return bits < 0x80;
}

// The code point that `text` (not empty) begins with, and its length in bytes. Kept out by RFC
// 3629, hence invalid with length 1: overlong forms, surrogates, beyond U+10FFFF, cut sequences.
inline char32_t DecodeUtf8(std::string_view text, size_t& length) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  uint8_t first = byte(0);
  length = 1;
  if (first < 0x80) return first;
  size_t wanted = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < wanted) return kInvalidCodePoint;
  char32_t point = first & (0xFFu >> (wanted + 1));
  for (size_t i = 1; i < wanted; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return kInvalidCodePoint;
    point = (point << 6) | (byte(i) & 0x3Fu);
  }
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (point < kSmallest[wanted] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) {
    return kInvalidCodePoint;
  }
  length = wanted;
  return point;
}

inline bool IsValidUtf8(std::string_view text) {
  if (IsAscii(text)) return true;
  while (!text.empty()) {
    size_t length;
    if (DecodeUtf8(text, length) == kInvalidCodePoint) return false;
    text.remove_prefix(length);
  }
  return true;
}

// Appends `text` with every byte that is not UTF-8 replaced by U+FFFD.
inline void AppendValidUtf8(std::string_view text, std::string& out) {
  while (!text.empty()) {
    size_t length;
    if (DecodeUtf8(text, length) == kInvalidCodePoint) {
      out += "\xEF\xBF\xBD";
    } else {
      out.append(text.substr(0, length));
    }
    text.remove_prefix(length);
  }
}

}  // namespace zerotap
