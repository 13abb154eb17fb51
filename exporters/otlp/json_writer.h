// Appends JSON to a text of its own; commas come by themselves, text that is not UTF-8 is repaired.
#pragma once

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "exporters/utf8.h"

namespace zerotap::otlp {

class JsonWriter {
 public:
  JsonWriter() = default;
  JsonWriter(JsonWriter&& other) noexcept
      : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)), capacity_(std::exchange(other.capacity_, 0)) {}
  JsonWriter& operator=(JsonWriter&&) = delete;

  void BeginObject() { Open('{'); }
  void EndObject() { Append('}'); }
  void BeginArray() { Open('['); }
  void EndArray() { Append(']'); }

  // `name` is one of ours, which stands for itself.
  JsonWriter& Key(std::string_view name) {
    Separate();
    char* to = Room(name.size() + 3);
    *to = '"';
    std::memcpy(to + 1, name.data(), name.size());
    std::memcpy(to + 1 + name.size(), "\":", 2);
    size_ += name.size() + 3;
    return *this;
  }
  void String(std::string_view text) {
    Separate();
    Append('"');
    Escape(text);
    Append('"');
  }
  // Sixteen lower-case digits for each word.
  template <typename... Words>
  void Hex(Words... words) {
    Separate();
    Append('"');
    (HexDigits(words), ...);
    Append('"');
  }
  // 64-bit integers are strings in JSON.
  template <typename Integer>
  void Quoted(Integer value) {
    Separate();
    Append('"');
    Digits(value);
    Append('"');
  }
  template <typename Integer>
  void Number(Integer value) {
    Separate();
    Digits(value);
  }
  void Double(double value) {
    if (std::isnan(value)) return String("NaN");
    if (std::isinf(value)) return String(value > 0 ? "Infinity" : "-Infinity");
    Number(value);
  }
  void Bool(bool value) {
    Separate();
    Append(value ? std::string_view("true") : std::string_view("false"));
  }

  size_t size() const { return size_; }
  // Valid until something is appended.
  std::string_view text() const { return {data_.get(), size_}; }
  // To a size that it had.
  void Truncate(size_t size) { size_ = size; }
  // For the next text; false of a giant, whose memory should not be kept for it.
  bool Clear() {
    size_ = 0;
    return capacity_ <= kMaxSpareBytes;
  }

 private:
  static constexpr char kHex[] = "0123456789abcdef";
  static constexpr size_t kMaxSpareBytes = size_t{512} << 10;

  // Where `count` more characters have their place; whoever writes them adds to size_.
  char* Room(size_t count) {
    if (capacity_ - size_ < count) Grow(count);
    return data_.get() + size_;
  }
  void Grow(size_t count) {
    const size_t capacity = std::max(size_ + count, std::max<size_t>(1024, capacity_ * 2));
    auto grown = std::make_unique_for_overwrite<char[]>(capacity);
    if (size_ > 0) std::memcpy(grown.get(), data_.get(), size_);
    data_ = std::move(grown);
    capacity_ = capacity;
  }
  void Append(char character) {
    *Room(1) = character;
    ++size_;
  }
  void Append(std::string_view text) {
    std::memcpy(Room(text.size()), text.data(), text.size());
    size_ += text.size();
  }
  void Open(char bracket) {
    Separate();
    Append(bracket);
  }
  void Separate() {
    if (size_ == 0) return;
    const char last = data_[size_ - 1];
    if (last != '{' && last != '[' && last != ':') Append(',');
  }
  template <typename Value>
  void Digits(Value value) {
    constexpr size_t kMost = 32;
    char* to = Room(kMost);
    size_ += static_cast<size_t>(std::to_chars(to, to + kMost, value).ptr - to);
  }
  void HexDigits(uint64_t word) {
    char* to = Room(16);
    for (int shift = 60; shift >= 0; shift -= 4) *to++ = kHex[word >> shift & 15];
    size_ += 16;
  }
  static bool IsPlain(char character) {
    return character >= 0x20 && character < 0x7f && character != '"' && character != '\\';
  }
#ifdef __SSE2__
  // Of sixteen characters, a bit for each that does not stand for itself.
  static unsigned Special(__m128i bytes) {
    const auto equals = [bytes](char character) { return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(character)); };
    // Signed: from 0x80 on they are below.
    const __m128i below = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20));
    const __m128i other = _mm_or_si128(_mm_or_si128(below, equals(0x7f)), _mm_or_si128(equals('"'), equals('\\')));
    return static_cast<unsigned>(_mm_movemask_epi8(other));
  }
#endif
  // Appends the characters at the beginning that stand for themselves, mostly all; how many they are.
  size_t AppendPlain(std::string_view text) {
    const size_t size = text.size();
    char* to = Room(size);
    size_t done = 0;
#ifdef __SSE2__
    // The last step takes some characters again.
    for (size_t at = 0; size >= 16 && done < size; at = std::min(at + 16, size - 16)) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + at));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + at), bytes);
      const unsigned special = Special(bytes);
      done = at + static_cast<size_t>(std::countr_zero(special | 1u << 16));
      if (special != 0) break;
    }
    for (size_t at = 0; size >= 8 && size < 16 && done < size; at = size - 8) {
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(text.data() + at));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(to + at), bytes);
      const unsigned special = Special(bytes) & 0xff;
      done = at + static_cast<size_t>(std::countr_zero(special | 1u << 8));
      if (special != 0) break;
    }
#endif
    for (; done < size && IsPlain(text[done]); ++done) to[done] = text[done];
    size_ += done;
    return done;
  }
  void Escape(std::string_view text) {
    while (true) {
      text.remove_prefix(AppendPlain(text));
      if (text.empty()) return;
      auto byte = static_cast<uint8_t>(text.front());
      size_t length = 1;
      if (byte == '"' || byte == '\\') {
        Append('\\');
        Append(static_cast<char>(byte));
      } else if (byte < 0x20 || byte == 0x7f) {
        Append("\\u00");
        Append(kHex[byte >> 4]);
        Append(kHex[byte & 15]);
      } else if (DecodeUtf8(text, length) == kInvalidCodePoint) {
        Append("\xEF\xBF\xBD");
      } else {
        Append(text.substr(0, length));
      }
      text.remove_prefix(length);
    }
  }

  // Not a string: making room would fill it first.
  std::unique_ptr<char[]> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace zerotap::otlp
