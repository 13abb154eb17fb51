// LIBRARIES: zerotap_processors
// No byte of a planted literal may survive, wherever the text is cut and whatever stands around it.
//
// The first byte chooses the mode. Raw: the input is the SQL. Planted: the input chooses
// self-contained fragments, then a literal with the secret, then free text, then where the
// statement is cut.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "agent/processors/sql_obfuscator.h"

namespace {

constexpr std::string_view kSecret = "S3CR3T";
constexpr size_t kMaxText = 512;

void Check(bool holds) {
  if (!holds) std::abort();
}

// What always holds.
void CheckOutput(std::string_view sql, const zerotap::SanitizedSql& out, size_t max, bool truncated) {
  Check(out.text.size() <= max);
  Check(out.summary.size() <= 255);
  Check(out.operation.size() <= 16);
  // A quote is left only inside quoted identifiers.
  char quote = '\0';
  for (char c : out.text) {
    if (quote != '\0') {
      if (c == quote) quote = '\0';
    } else if (c == '"' || c == '`') {
      quote = c;
    } else {
      Check(c != '\'');
    }
  }
  Check(quote == '\0');
  // The summary quotes the input.
  for (size_t start = 0; start < out.summary.size() && out.summary.find_first_of("\"`") == std::string::npos;) {
    size_t end = std::min(out.summary.find(' ', start), out.summary.size());
    Check(sql.find(std::string_view(out.summary).substr(start, end - start)) != std::string_view::npos);
    start = end + 1;
  }
  if (max >= sql.size() && !truncated) {
    zerotap::SanitizedSql again;
    zerotap::SanitizeSql(out.text, max, again);
    // Rows of a malformed list may collapse further; nothing may appear.
    Check(again.text.size() <= out.text.size());
  }
}

constexpr std::string_view kFragments[] = {
    "SELECT ", "a, b ", "FROM t ", "WHERE x = ", "IN (", ") ", "(", "[", "]", "ARRAY[", ", ", "; ", "VALUES ", "(1, 2) ",
    "'it''s' ", "'' ", "E'\\'' ", "e'\\\\' ", "E'''' ", "N'x' ", "U&'\\0061' ", "B'1' ", "$$ ' $$ ", "$a$ $$ ' $a$ ",
    "$_1$'$_1$ ", "-- it's\n", "/* ' /* \" */ ` */ ", "\"it's\" ", "\"a\"\"'\" ", "`'` ", "$1 ", "? ", ":p ", "%s ", "1 ",
    "-1 ", "1e5 ", ".5 ", "0xFF ", "TRUE ", "NULL ", "AND ", "UPDATE ", "SET ", "INSERT INTO ", "WITH ", "AS ", "DATE ",
    "LIKE '%' ESCAPE '\\' ", "x.y ", "\xc3\xa9$ ", "::", "- ", "+ ", "= ", "< ", "'a\\\\' ",
};
constexpr std::string_view kLiterals[] = {
    "'S3CR3T'", "'aS3CR3Tb'", "E'\\'S3CR3T'", "E'S3CR3T\\\\'", "N'S3CR3T'", "U&'S3CR3T'", "'''S3CR3T'''", "$$S3CR3T$$",
    "$q$'S3CR3T$q$", "$q$ $$S3CR3T $q$", "'\nS3CR3T\r'", "x'S3CR3T'", "/* S3CR3T */", "-- S3CR3T\n", "'\\S3CR3T'",
    "'S3CR3T", "$$S3CR3T", "E'S3CR3T\\'", "'\\'S3CR3T'", "q'[it's S3CR3T]'",
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  const uint8_t mode = data[0];
  std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  static zerotap::SanitizedSql out;
  if (mode % 2 == 0) {
    size_t max = mode % 4 == 0 ? kMaxText : input.size();
    zerotap::SanitizeSql(input, max, out, (mode & 4) != 0);
    CheckOutput(input, out, max, (mode & 4) != 0);
    return 0;
  }
  size_t fragments = std::min<size_t>(mode / 8, input.size() - 2);
  std::string sql;
  for (size_t i = 0; i < fragments; ++i) sql += kFragments[static_cast<uint8_t>(input[i]) % std::size(kFragments)];
  input.remove_prefix(fragments);
  sql += kLiterals[static_cast<uint8_t>(input[0]) % std::size(kLiterals)];
  size_t cut = static_cast<uint8_t>(input[1]);
  for (char c : input.substr(2)) {
    if (kSecret.find(c) == std::string_view::npos) sql.push_back(c);  // only the literal has these
  }
  sql.resize(sql.size() - std::min(cut, sql.size()));
  zerotap::SanitizeSql(sql, sql.size(), out, (mode & 4) != 0);
  CheckOutput(sql, out, sql.size(), (mode & 4) != 0);
  for (const std::string* text : {&out.text, &out.summary, &out.operation}) {
    Check(text->find("S3") == std::string::npos && text->find("3CR") == std::string::npos);
    Check(text->find("R3T") == std::string::npos);
  }
  return 0;
}
