#include "agent/protocols/postgres_messages.h"

namespace zerotap::postgres {
namespace {

bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

CommandTag ParseCommandTag(std::string_view tag) {
  CommandTag result;
  size_t position = 0;
  int numbers = 0;
  bool first = true;
  while (position < tag.size()) {
    if (!first && tag[position++] != ' ') return result;
    size_t begin = position;
    while (position < tag.size() && tag[position] != ' ') ++position;
    std::string_view word = tag.substr(begin, position - begin);
    if (word.empty()) return result;
    if (IsDigit(word[0])) {
      if (first || word.size() > 20) return result;
      uint64_t value = 0;
      for (char c : word) {
        if (!IsDigit(c)) return result;
        value = value * 10 + static_cast<uint64_t>(c - '0');
      }
      result.rows = value;
      if (++numbers > 2) return result;
    } else {
      // A name of a command: letters, and for extensions also '_' and digits.
      if (numbers > 0 || !IsUpper(word[0])) return result;
      for (char c : word) {
        if (!IsUpper(c) && !IsDigit(c) && c != '_') return result;
      }
      result.command = tag.substr(0, position);
    }
    first = false;
  }
  result.valid = !first;
  return result;
}

ErrorFields ParseErrorFields(std::string_view body) {
  ErrorFields fields;
  std::string_view severity;
  bool verbatim = false;  // 'V' is not translated, 'S' may be
  while (!body.empty()) {
    char type = body[0];
    body.remove_prefix(1);
    if (type == '\0') {
      fields.whole = body.empty() && !severity.empty();
      break;
    }
    if (!IsUpper(type) && !(type >= 'a' && type <= 'z')) break;
    std::optional<std::string_view> value = TakeText(body);
    if (!value) break;
    if (type == 'V' || (type == 'S' && !verbatim)) {
      severity = *value;
      verbatim = type == 'V';
    } else if (type == 'C' && value->size() == 5) {
      bool valid = true;
      for (char c : *value) valid = valid && (IsUpper(c) || IsDigit(c));
      if (valid) fields.sql_state = *value;
    }
  }
  fields.fatal = severity == "FATAL" || severity == "PANIC";
  return fields;
}

std::optional<std::string_view> TakeText(std::string_view& from) {
  size_t end = from.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  std::string_view text = from.substr(0, end);
  from.remove_prefix(end + 1);
  return text;
}

}  // namespace zerotap::postgres
