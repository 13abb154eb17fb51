#include "exporters/printable.h"

#include <cstdint>

#include "exporters/utf8.h"

namespace zerotap {
namespace {

bool MustBeEscaped(char32_t point) {
  return point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == kInvalidCodePoint ||
         point == 0xAD || point == 0x61C ||       // soft hyphen, Arabic letter mark
         (point >= 0x200B && point <= 0x200F) ||  // zero width, direction marks
         (point >= 0x2028 && point <= 0x202E) ||  // line separators, embeddings
         (point >= 0x2060 && point <= 0x206F) ||  // isolates, invisible operators
         point == 0xFEFF || (point >= 0xFFF9 && point <= 0xFFFB) ||
         (point >= 0xE0000 && point <= 0xE0FFF);  // tags, variation selectors
}

void AppendHex(uint32_t value, int digits, std::string& out) {
  constexpr char kHex[] = "0123456789abcdef";
  for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4) out += kHex[(value >> shift) & 15];
}

// The escape of what `text` begins with.
std::string Escape(char32_t point, std::string_view text) {
  std::string escape;
  if (point == '\n') return "\\n";
  if (point == '\t') return "\\t";
  if (point == '\r') return "\\r";
  if (point == kInvalidCodePoint || point < 0x80) {
    escape = "\\x";
    AppendHex(static_cast<uint8_t>(text.front()), 2, escape);
  } else if (point < 0x10000) {
    escape = "\\u";
    AppendHex(point, 4, escape);
  } else {
    escape = "\\U";
    AppendHex(point, 8, escape);
  }
  return escape;
}

}  // namespace

size_t AppendPrintable(std::string_view text, size_t max_columns, std::string& out) {
  size_t columns = 0;
  size_t cut_size = out.size();  // where the last column that leaves room for "…" ends
  size_t cut_columns = 0;
  while (!text.empty()) {
    size_t length;
    char32_t point = DecodeUtf8(text, length);
    size_t before = out.size();
    size_t width = 1;
    if (MustBeEscaped(point)) {
      std::string escape = Escape(point, text);
      width = escape.size();
      out += escape;
    } else {
      out.append(text.substr(0, length));
    }
    if (columns + width > max_columns) {
      out.resize(before);
      if (max_columns == 0) return 0;
      out.resize(cut_size);
      out += "\u2026";
      return cut_columns + 1;
    }
    columns += width;
    if (columns < max_columns) {
      cut_size = out.size();
      cut_columns = columns;
    }
    text.remove_prefix(length);
  }
  return columns;
}

std::string Printable(std::string_view text, size_t max_columns) {
  std::string out;
  AppendPrintable(text, max_columns, out);
  return out;
}

}  // namespace zerotap
