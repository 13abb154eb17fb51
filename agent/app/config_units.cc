#include "agent/app/config_units.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace zerotap {
namespace {

struct Unit {
  std::string_view name;
  uint64_t factor;
};
// Largest first, so that formatting finds the shortest text.
constexpr std::array<Unit, 4> kByteUnits = {
    {{"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}, {"B", 1}}};
constexpr std::array<Unit, 6> kTimeUnits = {{{"h", 3'600'000'000'000},
                                             {"m", 60'000'000'000},
                                             {"s", 1'000'000'000},
                                             {"ms", 1'000'000},
                                             {"us", 1'000},
                                             {"ns", 1}}};

template <size_t N>
std::optional<uint64_t> ParseWithUnit(std::string_view text, const std::array<Unit, N>& units) {
  text = TrimSpace(text);
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  std::optional<uint64_t> number = ParseUnsigned(text.substr(0, digits));
  std::string_view name = TrimSpace(text.substr(digits));
  for (const Unit& unit : units) {
    if (!number || unit.name != name) continue;
    if (*number > std::numeric_limits<uint64_t>::max() / unit.factor) return std::nullopt;
    return *number * unit.factor;
  }
  return std::nullopt;
}

template <size_t N>
std::string FormatWithUnit(uint64_t value, const std::array<Unit, N>& units) {
  for (const Unit& unit : units) {
    if (value != 0 && value % unit.factor == 0) {
      return std::to_string(value / unit.factor) + std::string(unit.name);
    }
  }
  return "0" + std::string(units.back().name);
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result += text[i];
      continue;
    }
    if (text.size() - i < 3) return std::nullopt;
    const int high = HexDigit(text[i + 1]);
    const int low = HexDigit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    result += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return result;
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substitute, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<uint64_t> ParseUnsigned(std::string_view text) {
  text = TrimSpace(text);
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> ParseNumber(std::string_view text) {
  text = TrimSpace(text);
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return std::isfinite(value) ? std::optional<double>(value) : std::nullopt;
}

std::optional<double> ParseShare(std::string_view text) {
  text = TrimSpace(text);
  if (ToLowerAscii(text) == "off") return 0;
  const bool percent = !text.empty() && text.back() == '%';
  if (percent) text.remove_suffix(1);
  const std::optional<double> number = ParseNumber(text);
  if (!number || *number < 0 || *number > 100) return std::nullopt;
  // Without the sign it could be meant as a fraction.
  if (!percent && *number != 0) return std::nullopt;
  return *number / 100;
}

std::optional<bool> ParseBool(std::string_view text) {
  const std::string lower = ToLowerAscii(TrimSpace(text));
  if (lower == "true") return true;
  if (lower == "false") return false;
  return std::nullopt;
}

std::optional<uint64_t> ParseByteSize(std::string_view text) {
  if (std::optional<uint64_t> plain = ParseUnsigned(text)) return plain;
  return ParseWithUnit(text, kByteUnits);
}

std::optional<uint64_t> ParseDuration(std::string_view text) {
  return ParseWithUnit(text, kTimeUnits);
}

std::string ByteSizeText(uint64_t bytes) { return FormatWithUnit(bytes, kByteUnits); }
std::string DurationText(uint64_t nanoseconds) {
  return nanoseconds == 0 ? "0s" : FormatWithUnit(nanoseconds, kTimeUnits);
}

std::string_view TrimSpace(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

std::string ToLowerAscii(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::vector<std::string> SplitList(std::string_view text) {
  std::vector<std::string> parts;
  while (true) {
    const size_t comma = text.find(',');
    std::string_view part = TrimSpace(text.substr(0, comma));
    if (!part.empty()) parts.emplace_back(part);
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

std::string JoinList(const std::vector<std::string>& items) {
  std::string result;
  for (const std::string& item : items) {
    if (!result.empty()) result += ", ";
    result += item;
  }
  return result;
}

std::optional<std::vector<std::pair<std::string, std::string>>> ParseKeyValueList(
    std::string_view text) {
  std::vector<std::pair<std::string, std::string>> result;
  for (const std::string& part : SplitList(text)) {
    const size_t equals = part.find('=');
    if (equals == std::string::npos) return std::nullopt;
    std::optional<std::string> key =
        PercentDecode(TrimSpace(std::string_view(part).substr(0, equals)));
    std::optional<std::string> value =
        PercentDecode(TrimSpace(std::string_view(part).substr(equals + 1)));
    if (!key || !value || key->empty()) return std::nullopt;
    result.emplace_back(std::move(*key), std::move(*value));
  }
  return result;
}

std::string ClosestWord(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    // A key of which the other is a part ("headers", "request_headers") is near whatever the
    // distance.
    const bool part = word.size() >= 4 &&
                      (candidate.find(word) != std::string::npos ||
                       (candidate.size() >= 4 && word.find(candidate) != std::string_view::npos));
    const size_t distance = part ? 2 : EditDistance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace zerotap
