// Takes the values out of SQL text and says what it does in a few words.
//
// A tolerant lexer, not a parser: it works on truncated text and on any dialect near PostgreSQL's or MySQL's, in linear
// time. Rules: OpenTelemetry semantic conventions v1.44, docs/db/database-spans.md (sanitization, generating a summary).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace zerotap {

struct SanitizedSql {
  std::string text;       // every literal replaced by ?, parameters ($1, :name) kept, comments removed
  std::string summary;    // "{operation} {target} ...", at most 255 bytes, cut at a token boundary
  std::string operation;  // first keyword in upper case, empty when there is none
};

// Fills `out`, reusing its capacity (no allocation in steady state). At most `max_text_bytes` of text are kept.
// `truncated`: the statement goes on behind `sql`; its last token, which may be the head of anything, becomes ?.
void SanitizeSql(std::string_view sql, size_t max_text_bytes, SanitizedSql& out,
                 bool truncated = false);

}  // namespace zerotap
