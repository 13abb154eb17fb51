// Remembers what the obfuscator made of statements without literals (prepared and parameterized ones), which come again
// and again. Statements with inline literals are different each time and are not kept. Bounded: emptied when full.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "agent/base/hash.h"
#include "agent/processors/sql_obfuscator.h"

namespace zerotap {

class SqlCache {
 public:
  SqlCache(size_t max_statements, size_t max_text_bytes)
      : max_statements_(max_statements), max_text_bytes_(max_text_bytes) {}

  // Valid until the next call.
  const SanitizedSql& Sanitize(std::string_view sql, bool truncated) {
    if (!truncated) {
      auto found = statements_.find(sql);
      if (found != statements_.end()) return found->second;
    }
    SanitizeSql(sql, max_text_bytes_, scratch_, truncated);
    if (truncated || sql.size() > kMaxKeptBytes || !SameButForSpaces(scratch_.text, sql)) {
      return scratch_;
    }
    if (statements_.size() >= max_statements_) statements_.clear();
    return statements_.emplace(std::string(sql), scratch_).first->second;
  }

 private:
  static constexpr size_t kMaxKeptBytes = 4096;

  static bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
  static bool SameButForSpaces(std::string_view a, std::string_view b) {
    size_t j = 0;
    for (char c : a) {
      if (IsSpace(c)) continue;
      while (j < b.size() && IsSpace(b[j])) ++j;
      if (j == b.size() || b[j++] != c) return false;
    }
    while (j < b.size() && IsSpace(b[j])) ++j;
    return j == b.size();
  }

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return HashText(text); }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(std::string_view a, std::string_view b) const { return a == b; }
  };

  const size_t max_statements_;
  const size_t max_text_bytes_;
  std::unordered_map<std::string, SanitizedSql, Hash, Equal> statements_;
  SanitizedSql scratch_;
};

}  // namespace zerotap
