#include "agent/process/resource_attributes.h"

#include <algorithm>

#include "agent/process/utf8.h"

namespace zerotap {
namespace {

constexpr size_t kMaxAttributes = 64;
constexpr size_t kMaxKey = 256;
constexpr size_t kMaxValue = 4096;

std::string_view Trim(std::string_view text) {
  size_t start = std::min(text.find_first_not_of(" \t"), text.size());
  text.remove_prefix(start);
  size_t end = text.find_last_not_of(" \t");
  return text.substr(0, end == std::string_view::npos ? 0 : end + 1);
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool Decode(std::string_view text, std::string& decoded) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded.push_back(text[i]);
      continue;
    }
    if (i + 2 >= text.size()) return false;
    int high = HexDigit(text[i + 1]);
    int low = HexDigit(text[i + 2]);
    if (high < 0 || low < 0) return false;
    decoded.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return IsUtf8(decoded);
}

}  // namespace

ResourceAttributes ResourceAttributes::Parse(std::string_view text) {
  ResourceAttributes result;
  while (!text.empty()) {
    size_t end = std::min(text.find(','), text.size());
    std::string_view member = Trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (member.empty()) continue;
    size_t equals = member.find('=');
    std::string key;
    std::string value;
    if (equals == std::string_view::npos || !Decode(Trim(member.substr(0, equals)), key) ||
        !Decode(Trim(member.substr(equals + 1)), value) || key.empty() || key.size() > kMaxKey ||
        value.size() > kMaxValue) {
      return {};
    }
    auto same = [&](const auto& entry) { return entry.first == key; };
    auto known = std::find_if(result.entries_.begin(), result.entries_.end(), same);
    if (known != result.entries_.end()) {
      known->second = std::move(value);
    } else if (result.entries_.size() >= kMaxAttributes) {
      return {};
    } else {
      result.entries_.emplace_back(std::move(key), std::move(value));
    }
  }
  return result;
}

std::string_view ResourceAttributes::Find(std::string_view key) const {
  for (const auto& [name, value] : entries_) {
    if (name == key) return value;
  }
  return {};
}

}  // namespace zerotap
