#include "agent/protocols/postgres_sql.h"

#include <algorithm>
#include <cstring>

namespace zerotap::postgres {
namespace {

bool IsBlank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}
bool IsLetter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsWordPart(char c) { return IsLetter(c) || IsDigit(c) || c == '$'; }
char ToUpper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

bool SameWord(std::string_view word, std::string_view upper) {
  return word.size() == upper.size() && std::equal(word.begin(), word.end(), upper.begin(),
                                                   [](char a, char b) { return ToUpper(a) == b; });
}

// Position behind the quoted text whose opening quote is at `at`; the end of `text` when it is not
// closed.
size_t SkipQuoted(std::string_view text, size_t at, bool backslashes) {
  const char quote = text[at];
  for (size_t i = at + 1; i < text.size(); ++i) {
    if (backslashes && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      if (i + 1 < text.size() && text[i + 1] == quote) {
        ++i;
      } else {
        return i + 1;
      }
    }
  }
  return text.size();
}

// `at` stands on '$'. Position behind a dollar-quoted text, or `at` when it is none.
size_t SkipDollarQuoted(std::string_view text, size_t at) {
  size_t tag_end = at + 1;
  if (tag_end < text.size() && IsDigit(text[tag_end])) return at;
  while (tag_end < text.size() && (IsLetter(text[tag_end]) || IsDigit(text[tag_end]))) ++tag_end;
  if (tag_end >= text.size() || text[tag_end] != '$') return at;
  std::string_view delimiter = text.substr(at, tag_end + 1 - at);
  size_t close = text.find(delimiter, tag_end + 1);
  return close == std::string_view::npos ? text.size() : close + delimiter.size();
}

// `at` stands on a slash and a star; such comments nest.
size_t SkipBlockComment(std::string_view text, size_t at) {
  int depth = 0;
  for (size_t i = at; i + 1 < text.size(); ++i) {
    if (text[i] == '/' && text[i + 1] == '*') {
      ++depth;
      ++i;
    } else if (text[i] == '*' && text[i + 1] == '/') {
      ++i;
      if (--depth == 0) return i + 1;
    }
  }
  return text.size();
}

// Position behind the blanks and comments at `at`.
size_t SkipBlanks(std::string_view text, size_t at) {
  while (at < text.size()) {
    if (IsBlank(text[at])) {
      ++at;
    } else if (text.compare(at, 2, "--") == 0) {
      at = text.find_first_of("\r\n", at);
      if (at == std::string_view::npos) return text.size();
    } else if (text.compare(at, 2, "/*") == 0) {
      at = SkipBlockComment(text, at);
    } else {
      return at;
    }
  }
  return at;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

// The semicolons in the body of CREATE FUNCTION ... BEGIN ATOMIC ... END belong to the statement.
class RoutineBody {
 public:
  void Word(std::string_view word) {
    ++words_;
    if (words_ == 1) {
      state_ = SameWord(word, "CREATE") ? State::kCreate : State::kOther;
    } else if (state_ == State::kCreate) {
      if (SameWord(word, "FUNCTION") || SameWord(word, "PROCEDURE")) {
        state_ = State::kRoutine;
      } else if (words_ > 3 || !(SameWord(word, "OR") || SameWord(word, "REPLACE"))) {
        state_ = State::kOther;
      }
    } else if (state_ == State::kRoutine) {
      if (SameWord(word, "BEGIN") || (depth_ > 0 && SameWord(word, "CASE"))) {
        ++depth_;
      } else if (depth_ > 0 && SameWord(word, "END")) {
        --depth_;
      }
    }
  }
  bool open() const { return depth_ > 0; }

 private:
  enum class State { kOther, kCreate, kRoutine };
  State state_ = State::kOther;
  int words_ = 0;
  int depth_ = 0;
};

// Next word (letters, digits, '$') of `text` from `at` on; empty when something else stands there.
std::string_view TakeWord(std::string_view text, size_t& at) {
  at = SkipBlanks(text, at);
  size_t begin = at;
  if (at < text.size() && IsLetter(text[at])) {
    while (at < text.size() && IsWordPart(text[at])) ++at;
  }
  return text.substr(begin, at - begin);
}

}  // namespace

bool StatementSplitter::Next(std::string_view text, std::string_view& statement) {
  if (position_ == 0 && text.find(';') == std::string_view::npos) {
    // One statement, by far the most common; only blanks and comments would make it none.
    std::string_view whole = Trim(text);
    if (!whole.empty() && whole[0] != '-' && whole[0] != '/') {
      position_ = text.size();
      at_semicolon_ = false;
      statement = whole;
      return true;
    }
  }
  while (position_ < text.size()) {
    const size_t begin = position_;
    size_t at = begin;
    bool has_token = false;
    int parentheses = 0;
    RoutineBody routine;
    while (at < text.size()) {
      char c = text[at];
      if (c == ';' && parentheses == 0 && !routine.open()) break;
      if (IsBlank(c)) {
        ++at;
        continue;
      }
      if ((c == '-' && text.compare(at, 2, "--") == 0) ||
          (c == '/' && text.compare(at, 2, "/*") == 0)) {
        at = SkipBlanks(text, at);
        continue;
      }
      has_token = true;
      if (IsLetter(c)) {
        size_t word = at;
        while (at < text.size() && IsWordPart(text[at])) ++at;
        bool escapes =
            at - word == 1 && (c == 'e' || c == 'E') && at < text.size() && text[at] == '\'';
        if (escapes) {
          at = SkipQuoted(text, at, true);
        } else {
          routine.Word(text.substr(word, at - word));
        }
        continue;
      }
      if (IsDigit(c)) {
        while (at < text.size() && (IsDigit(text[at]) || IsLetter(text[at]))) ++at;
        continue;
      }
      if (c == '\'') {
        at = SkipQuoted(text, at, !standard_strings_);
      } else if (c == '"') {
        at = SkipQuoted(text, at, false);
      } else if (c == '$') {
        size_t behind = SkipDollarQuoted(text, at);
        at = behind == at ? at + 1 : behind;
      } else {
        if (c == '(') ++parentheses;
        if (c == ')' && parentheses > 0) --parentheses;
        ++at;
      }
    }
    at = std::min(at, text.size());
    at_semicolon_ = at < text.size();
    position_ = std::min(at + 1, text.size());
    if (has_token) {
      statement = Trim(text.substr(begin, at - begin));
      return true;
    }
  }
  return false;
}

std::string_view FirstKeyword(std::string_view statement, char (&buffer)[16]) {
  size_t at = SkipBlanks(statement, 0);
  while (at < statement.size() && statement[at] == '(') at = SkipBlanks(statement, at + 1);
  std::string_view word = TakeWord(statement, at);
  size_t size = std::min(word.size(), sizeof(buffer));
  std::transform(word.begin(), word.begin() + static_cast<std::ptrdiff_t>(size), buffer, ToUpper);
  return {buffer, size};
}

bool TagFits(std::string_view statement, std::string_view tag) {
  char buffer[16];
  std::string_view keyword = FirstKeyword(statement, buffer);
  std::string_view command = tag.substr(0, tag.find(' '));
  auto one_of = [](std::string_view word, std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  if (one_of(keyword, {"SELECT", "VALUES", "TABLE"})) return command == "SELECT";
  if (one_of(keyword, {"INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "SET", "SHOW", "BEGIN",
                       "DROP", "ALTER"})) {
    return command == keyword;
  }
  if (one_of(keyword, {"COMMIT", "END"})) return command == "COMMIT" || command == "ROLLBACK";
  if (one_of(keyword, {"ROLLBACK", "ABORT"})) return command == "ROLLBACK";
  if (keyword == "WITH") return one_of(command, {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"});
  return true;
}

constexpr std::string_view kCommandsOfSeveralResults[] = {"BASE_BACKUP", "START_REPLICATION"};

std::string_view CommandOfSeveralResults(std::string_view statement) {
  size_t at = 0;
  std::string_view word = TakeWord(statement, at);
  for (std::string_view command : kCommandsOfSeveralResults) {
    if (SameWord(word, command)) return command;
  }
  return {};
}

bool BeginsLikeCommandOfSeveralResults(std::string_view statement) {
  for (std::string_view command : kCommandsOfSeveralResults) {
    if (!statement.empty() && SameWord(statement, command.substr(0, statement.size()))) return true;
  }
  return false;
}

BlockEnd ClassifyBlockEnd(std::string_view statement) {
  size_t at = 0;
  std::string_view first = TakeWord(statement, at);
  if (first.empty()) return BlockEnd::kUnknown;
  if (!SameWord(first, "COMMIT") && !SameWord(first, "END") && !SameWord(first, "ROLLBACK") &&
      !SameWord(first, "ABORT") && !SameWord(first, "PREPARE")) {
    return BlockEnd::kUnknown;  // a procedure, EXECUTE of SQL ...
  }
  std::string_view word = TakeWord(statement, at);
  if (SameWord(word, "WORK") || SameWord(word, "TRANSACTION")) word = TakeWord(statement, at);
  if (SameWord(word, "TO")) return BlockEnd::kSavepoint;
  if (SameWord(word, "AND")) {
    return SameWord(TakeWord(statement, at), "CHAIN") ? BlockEnd::kChains : BlockEnd::kEnds;
  }
  return BlockEnd::kEnds;
}

std::string_view PreparedName(std::string_view statement, char (&buffer)[64]) {
  size_t at = 0;
  std::string_view command = TakeWord(statement, at);
  if (SameWord(command, "DEALLOCATE")) {
    size_t before = at;
    if (!SameWord(TakeWord(statement, at), "PREPARE")) at = before;
  } else if (!SameWord(command, "PREPARE")) {
    return {};
  }
  at = SkipBlanks(statement, at);
  size_t size = 0;
  if (at < statement.size() && statement[at] == '"') {
    size_t end = SkipQuoted(statement, at, false);
    for (size_t i = at + 1; i + 1 < end; ++i) {
      if (size == sizeof(buffer)) return {};
      buffer[size++] = statement[i];
      if (statement[i] == '"') ++i;
    }
    return {buffer, size};
  }
  std::string_view word = TakeWord(statement, at);
  if (word.size() > sizeof(buffer) || SameWord(word, "ALL")) return {};
  for (char c : word) buffer[size++] = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return {buffer, size};
}

std::string_view WithoutCutCharacter(std::string_view text) {
  size_t back = 0;
  while (back < 3 && back < text.size() &&
         (static_cast<unsigned char>(text[text.size() - 1 - back]) & 0xC0) == 0x80) {
    ++back;
  }
  if (back == text.size()) return text;
  unsigned char lead = static_cast<unsigned char>(text[text.size() - 1 - back]);
  size_t wanted = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
  return wanted > back + 1 ? text.substr(0, text.size() - 1 - back) : text;
}

}  // namespace zerotap::postgres
