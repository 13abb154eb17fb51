#include "agent/processors/path_segment.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace zerotap {
namespace {

constexpr size_t kMaxSegmentBytes = 256;
constexpr size_t kMaxWordBytes = 64;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsLetter(char c) { return IsLower(c) || IsUpper(c); }
bool IsHex(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool IsSeparator(char c) { return c == '-' || c == '_' || c == '.' || c == '~'; }

int HexValue(char c) { return IsDigit(c) ? c - '0' : (c | 0x20) - 'a' + 10; }

struct Shape {
  size_t digits = 0;
  size_t lower = 0;
  size_t upper = 0;
  size_t separators = 0;
  size_t others = 0;  // allowed in a path, but not in words
  bool hex = true;    // nothing but hexadecimal digits

  size_t letters() const { return lower + upper; }
};

Shape ShapeOf(std::string_view text) {
  Shape shape;
  for (char c : text) {
    if (IsDigit(c)) {
      ++shape.digits;
    } else if (IsLower(c)) {
      ++shape.lower;
    } else if (IsUpper(c)) {
      ++shape.upper;
    } else if (IsSeparator(c)) {
      ++shape.separators;
    } else {
      ++shape.others;
    }
    shape.hex = shape.hex && IsHex(c);
  }
  return shape;
}

bool AllDigits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsDigit);
}

int Number(std::string_view digits) {
  int value = 0;
  for (char c : digits) value = value * 10 + (c - '0');
  return value;
}

bool IsUuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !IsHex(text[i])) return false;
  }
  return true;
}

// 2024-01, 2024-01-31, 2024.01.31 and 2024-01-31T10:00:00.000+01:00.
bool IsDate(std::string_view text) {
  if (text.size() < 7 || !AllDigits(text.substr(0, 4)) || !IsSeparator(text[4]) ||
      !AllDigits(text.substr(5, 2))) {
    return false;
  }
  int month = Number(text.substr(5, 2));
  if (month < 1 || month > 12) return false;
  if (text.size() == 7) return true;
  if (text.size() < 10 || text[7] != text[4] || !AllDigits(text.substr(8, 2))) return false;
  int day = Number(text.substr(8, 2));
  if (day < 1 || day > 31) return false;
  if (text.size() == 10) return true;
  if (text[10] != 'T' && text[10] != 't' && text[10] != ' ' && text[10] != '_') return false;
  return std::all_of(text.begin() + 11, text.end(), [](char c) {
    return IsDigit(c) || c == ':' || c == '.' || c == '-' || c == '+' || c == 'Z' || c == 'z';
  });
}

// v1, v2.1, v1beta1: the one place where digits belong to the API.
bool IsVersion(std::string_view text) {
  if (text.size() < 2 || text.size() > 12 || (text[0] != 'v' && text[0] != 'V')) return false;
  size_t run = 0;
  for (char c : text.substr(1)) {
    run = IsDigit(c) ? run + 1 : 0;
    if (run > 2 || !(IsDigit(c) || IsLower(c) || c == '.')) return false;
  }
  return IsDigit(text[1]);
}

// Words of computing that have three digits.
bool IsKnownWord(std::string_view text) {
  constexpr std::string_view kWords[] = {"sha256", "sha384", "sha512", "x509",   "h264",
                                         "h265",   "ripemd160", "hs256", "rs256", "es256"};
  std::array<char, 16> lower{};
  if (text.size() > lower.size()) return false;
  std::transform(text.begin(), text.end(), lower.begin(), [](char c) {
    return IsUpper(c) ? static_cast<char>(c + ('a' - 'A')) : c;
  });
  return std::find(std::begin(kWords), std::end(kWords),
                   std::string_view(lower.data(), text.size())) != std::end(kWords);
}

// What a piece without separators is; empty = a word.
std::string_view PieceName(std::string_view piece) {
  Shape shape = ShapeOf(piece);
  if (shape.digits == piece.size()) return shape.digits >= 3 ? "{id}" : "";
  if (shape.digits == 0) {
    bool mixed = shape.upper * 10 >= piece.size() * 3 && shape.lower * 10 >= piece.size() * 3;
    return piece.size() > 32 || (piece.size() >= 16 && mixed) ? "{token}" : "";
  }
  if (shape.hex && piece.size() >= 8) return "{hex}";
  if (piece.size() >= 16) return "{token}";
  bool trailing_digits_only =
      AllDigits(piece.substr(shape.letters())) && piece.size() - shape.letters() == shape.digits;
  if (piece.size() >= 8 && shape.lower > 0 && shape.upper > 0 && !trailing_digits_only) {
    return "{token}";
  }
  if (shape.digits >= 3 && !IsKnownWord(piece)) return "{id}";
  return "";
}

// Calls visit(piece, separator before it or '\0') for each piece between separators.
template <typename Visit>
void ForEachPiece(std::string_view text, Visit visit) {
  size_t start = 0;
  char separator = '\0';
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && !IsSeparator(text[i])) continue;
    visit(text.substr(start, i - start), separator);
    if (i < text.size()) separator = text[i];
    start = i + 1;
  }
}

// Letters, digits and separators without a file extension.
std::string_view PlainName(std::string_view text, const Shape& shape) {
  if (shape.letters() == 0 && shape.digits > 0) {
    return shape.separators == 0 || text.size() < 16 ? "{id}" : "{token}";
  }
  if (shape.separators == 0) return PieceName(text);
  if (text.substr(0, 3) == "eyJ" && text.size() >= 20) return "{token}";
  size_t words = 0;
  size_t pieces = 0;
  bool value = false;
  bool token = false;
  ForEachPiece(text, [&](std::string_view piece, char) {
    if (piece.empty()) return;
    ++pieces;
    std::string_view name = PieceName(piece);
    value |= !name.empty();
    token |= name == "{token}";
    if (name.empty() && std::any_of(piece.begin(), piece.end(), IsLetter)) ++words;
  });
  if (token) return "{token}";
  if (text.size() > kMaxWordBytes) return shape.digits > 0 && words < 3 ? "{token}" : "{slug}";
  if (value) return words >= 2 ? "{slug}" : "{id}";
  if (pieces >= 5 || (pieces >= 4 && text.size() > 40)) return "{slug}";
  return "";
}

SegmentKind Value(std::string_view name, std::string& out) {
  out.assign(name);
  return SegmentKind::kValue;
}

// name.ext: values inside the name are replaced one by one, so that app.3f9a1c22.js stays
// recognisable.
SegmentKind ClassifyFile(std::string_view base, std::string_view extension, std::string& out) {
  Shape shape = ShapeOf(base);
  if (IsUuid(base)) {
    out.assign("{uuid}");
  } else if (IsDate(base)) {
    out.assign("{date}");
  } else if (shape.letters() == 0 && shape.digits > 0) {
    out.assign("{id}");
  } else {
    size_t words = 0;
    out.clear();
    bool value = false;
    ForEachPiece(base, [&](std::string_view piece, char separator) {
      if (separator != '\0') out.push_back(separator);
      std::string_view name = PieceName(piece);
      bool hash = name.empty() && piece.size() >= 6 && ShapeOf(piece).hex &&
                  std::any_of(piece.begin(), piece.end(), IsDigit);
      if (hash) name = "{hex}";
      if (name.empty()) {
        out.append(piece);
        if (!piece.empty()) ++words;
      } else {
        value = true;
        // Two values in a row are one.
        if (out.size() >= name.size() + 1 && separator != '\0' &&
            std::string_view(out).substr(out.size() - name.size() - 1, name.size()) == name) {
          out.pop_back();
        } else {
          out.append(name);
        }
      }
    });
    if (words >= 5 || out.size() > kMaxWordBytes) return Value("{slug}", out);
    if (!value) {
      out.push_back('.');
      out.append(extension);
      return SegmentKind::kWord;
    }
  }
  out.push_back('.');
  out.append(extension);
  return SegmentKind::kComposite;
}

// 123:cancel (a method on a resource, google.aip.dev/136) and Users(5) (OData).
bool ClassifySuffixed(std::string_view text, std::string& out, SegmentKind& kind) {
  size_t colon = text.rfind(':');
  if (colon != std::string_view::npos && colon > 0) {
    std::string_view verb = text.substr(colon + 1);
    bool word = !verb.empty() && verb.size() <= 32 &&
                std::all_of(verb.begin(), verb.end(), IsLetter);
    if (!word) return false;
    Shape left = ShapeOf(text.substr(0, colon));
    if (left.others > 0) return false;
    kind = ClassifySegment(text.substr(0, colon), out);
    if (kind == SegmentKind::kValue) kind = SegmentKind::kComposite;
    out.push_back(':');
    out.append(verb);
    return true;
  }
  size_t open = text.find('(');
  if (open != std::string_view::npos && open > 0 && text.back() == ')') {
    std::string_view name = text.substr(0, open);
    if (!std::all_of(name.begin(), name.end(), IsLetter)) return false;
    out.assign(name);
    out.append(text.size() == open + 2 ? "()" : "({id})");
    kind = SegmentKind::kComposite;
    return true;
  }
  return false;
}

// False when the text is not plain printable ASCII after decoding.
bool Decode(std::string_view& segment, std::array<char, kMaxSegmentBytes>& buffer) {
  size_t size = 0;
  for (size_t i = 0; i < segment.size(); ++i) {
    char c = segment[i];
    if (c == '%') {
      if (i + 2 >= segment.size() || !IsHex(segment[i + 1]) || !IsHex(segment[i + 2])) return false;
      c = static_cast<char>(HexValue(segment[i + 1]) * 16 + HexValue(segment[i + 2]));
      i += 2;
      if (c == '/' || c == '%' || c == '?' || c == '#') return false;
    }
    if (c <= 0x20 || c == 0x7F || static_cast<unsigned char>(c) >= 0x80 || c == '{' || c == '}' ||
        c == '"' || c == '<' || c == '>' || c == '\\' || c == '^' || c == '`' || c == '|') {
      return false;
    }
    buffer[size++] = c;
  }
  segment = std::string_view(buffer.data(), size);
  return true;
}

}  // namespace

SegmentKind ClassifySegment(std::string_view segment, std::string& out) {
  std::array<char, kMaxSegmentBytes> buffer;
  if (segment.size() > kMaxSegmentBytes) return Value("{token}", out);
  if (!Decode(segment, buffer)) return Value("{slug}", out);
  segment = segment.substr(0, segment.find(';'));  // matrix parameters
  if (segment.empty()) return Value("{slug}", out);

  Shape shape = ShapeOf(segment);
  bool leading_dot = segment[0] == '.';
  if (shape.digits == 0 && shape.others == 0 && segment.size() <= 40 && shape.separators <= 1) {
    std::string_view name = shape.separators == 0 ? PieceName(segment) : std::string_view();
    if (!name.empty()) return Value(name, out);
    out.assign(segment);
    return SegmentKind::kWord;
  }
  if (IsUuid(segment)) return Value("{uuid}", out);
  if (IsDate(segment)) return Value("{date}", out);
  if (shape.digits > 0 && shape.letters() == 0 &&
      std::all_of(segment.begin(), segment.end(), [](char c) {
        return IsDigit(c) || IsSeparator(c) || c == ',' || c == ':' || c == '+';
      })) {
    return Value(segment.size() < 24 || shape.separators == 0 ? "{id}" : "{token}", out);
  }
  if (shape.hex && shape.digits > 0 && segment.size() >= 8) return Value("{hex}", out);
  if (segment.size() >= 6 && segment[0] == '0' && (segment[1] | 0x20) == 'x' &&
      ShapeOf(segment.substr(2)).hex) {
    return Value("{hex}", out);
  }
  if (shape.others > 0) {
    size_t at = segment.find('@');
    if (at != std::string_view::npos && at > 0) {
      bool domain = segment.find('.', at) != std::string_view::npos;
      return Value(domain ? "{email}" : "{slug}", out);
    }
    SegmentKind kind;
    if (ClassifySuffixed(segment, out, kind)) return kind;
    // @name is a word (or a handle: that is learned), the other signs come with values.
    if (!(at == 0 && shape.others == 1 && segment.size() > 1)) return Value("{slug}", out);
    kind = ClassifySegment(segment.substr(1), out);
    if (kind == SegmentKind::kValue) return kind;
    out.insert(out.begin(), '@');
    return kind;
  }
  if (IsVersion(segment)) {
    out.assign(segment);
    return SegmentKind::kWord;
  }
  size_t dot = segment.rfind('.');
  if (dot != std::string_view::npos && dot > 0 && !leading_dot &&
      !(segment.substr(0, 3) == "eyJ" && segment.size() >= 20)) {
    std::string_view extension = segment.substr(dot + 1);
    Shape tail = ShapeOf(extension);
    if (!extension.empty() && extension.size() <= 5 && tail.letters() > 0 && tail.separators == 0 &&
        tail.digits <= 1) {
      return ClassifyFile(segment.substr(0, dot), extension, out);
    }
  }
  std::string_view name = PlainName(segment, shape);
  if (name.empty() && segment.size() > kMaxWordBytes) name = "{slug}";
  if (!name.empty()) return Value(name, out);
  out.assign(segment);
  return SegmentKind::kWord;
}

}  // namespace zerotap
