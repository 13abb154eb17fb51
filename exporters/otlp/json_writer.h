// Appends JSON to a text of its own; commas come by themselves, text that is not UTF-8 is repaired.
#pragma once

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "exporters/utf8.h"

namespace zerotap::otlp {

class JsonWriter {
 public:
  void BeginObject() { Open('{'); }
  void EndObject() { out_ += '}'; }
  void BeginArray() { Open('['); }
  void EndArray() { out_ += ']'; }

  JsonWriter& Key(std::string_view key) {
    String(key);
    out_ += ':';
    return *this;
  }
  void String(std::string_view text) {
    Separate();
    out_ += '"';
    Escape(text);
    out_ += '"';
  }
  // 64-bit integers are strings in JSON.
  template <typename Integer>
  void Quoted(Integer value) {
    Separate();
    out_ += '"';
    Digits(value);
    out_ += '"';
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
    out_ += value ? "true" : "false";
  }

  size_t size() const { return out_.size(); }
  const std::string& text() const { return out_; }
  void Truncate(size_t size) { out_.resize(size); }

 private:
  void Open(char bracket) {
    Separate();
    out_ += bracket;
  }
  void Separate() {
    if (out_.empty()) return;
    char last = out_.back();
    if (last != '{' && last != '[' && last != ':') out_ += ',';
  }
  template <typename Value>
  void Digits(Value value) {
    char digits[32];
    auto result = std::to_chars(digits, digits + sizeof(digits), value);
    out_.append(digits, result.ptr);
  }
  static bool IsPlain(char character) {
    return character >= 0x20 && character < 0x7f && character != '"' && character != '\\';
  }
  // How many characters at the beginning stand for themselves: mostly all.
  static size_t PlainPrefix(std::string_view text) {
    size_t plain = 0;
#ifdef __SSE2__
    for (; text.size() - plain >= 16; plain += 16) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + plain));
      const auto equals = [bytes](char character) { return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(character)); };
      // Signed: from 0x80 on they are below.
      const __m128i below = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20));
      const __m128i other = _mm_or_si128(_mm_or_si128(below, equals(0x7f)), _mm_or_si128(equals('"'), equals('\\')));
      const auto special = static_cast<unsigned>(_mm_movemask_epi8(other));
      if (special != 0) return plain + static_cast<size_t>(std::countr_zero(special));
    }
#endif
    while (plain < text.size() && IsPlain(text[plain])) ++plain;
    return plain;
  }
  void Escape(std::string_view text) {
    constexpr char kHex[] = "0123456789abcdef";
    while (true) {
      const size_t plain = PlainPrefix(text);
      out_.append(text.substr(0, plain));
      text.remove_prefix(plain);
      if (text.empty()) return;
      auto byte = static_cast<uint8_t>(text.front());
      size_t length = 1;
      if (byte == '"' || byte == '\\') {
        out_ += '\\';
        out_ += static_cast<char>(byte);
      } else if (byte < 0x20 || byte == 0x7f) {
        out_ += "\\u00";
        out_ += kHex[byte >> 4];
        out_ += kHex[byte & 15];
      } else if (DecodeUtf8(text, length) == kInvalidCodePoint) {
        out_ += "\xEF\xBF\xBD";
      } else {
        out_.append(text.substr(0, length));
      }
      text.remove_prefix(length);
    }
  }

  std::string out_;
};

}  // namespace zerotap::otlp
