// Appends JSON to a text of its own; commas come by themselves, text that is not UTF-8 is repaired.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

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
  void Escape(std::string_view text) {
    constexpr char kHex[] = "0123456789abcdef";
    while (true) {
      size_t plain = 0;
      while (plain < text.size() && IsPlain(text[plain])) ++plain;
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
