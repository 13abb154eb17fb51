#include "agent/processors/sql_obfuscator.h"

#include <algorithm>
#include <cstring>

#include "agent/processors/sql_lexer.h"
#include "agent/processors/sql_summary.h"

namespace zerotap {
namespace {

// Writes sanitized tokens into a buffer of the input's size: no token grows, so it never overflows.
class Writer {
 public:
  Writer(std::string& buffer, size_t max_bytes) : buffer_(buffer.data()), max_bytes_(max_bytes) {}

  void Add(const SqlToken& token, bool set_statement) {
    bool opens = token.kind == SqlTokenKind::kPunctuation &&
                 ((token.text[0] == '(' && previous_ == SqlKeyword::kIn) ||
                  (token.text[0] == '[' && previous_ == SqlKeyword::kArray));
    if (token.kind == SqlTokenKind::kPunctuation) {
      Punctuation(token);
    } else {
      bool literal = IsLiteral(token, set_statement);
      if (in_list_) {
        if (literal || token.keyword == SqlKeyword::kNull) {
          list_has_items_ = true;
        } else {
          in_list_ = false;
        }
      }
      Write(token.space_before, literal ? std::string_view("?") : token.text);
      if (token.keyword == SqlKeyword::kValues) {
        rows_ = Rows{};
        rows_.active = true;
        rows_.depth = depth_;
      } else if (depth_ == rows_.depth) {
        rows_.active = false;
      }
    }
    if (opens) {
      in_list_ = true;
      list_has_items_ = false;
      list_start_ = size_;
    }
    if (token.keyword != SqlKeyword::kNot || previous_ != SqlKeyword::kIs) {
      previous_ = token.keyword;  // IS NOT counts as IS
    }
    if (size_ <= max_bytes_) boundary_ = size_;
  }

  // Ends within the size limit and between two tokens.
  size_t Finish() const { return boundary_; }

 private:
  struct Rows {  // of VALUES (...), (...)
    bool active = false;
    size_t depth = 0;
    size_t first_start = 0;
    size_t first_size = 0;  // 0: the first row is not complete
    size_t start = 0;
    size_t separator = 0;  // where the one comma before the row in work stands, 0: none yet
  };

  bool IsLiteral(const SqlToken& token, bool set_statement) {
    switch (token.kind) {
      case SqlTokenKind::kText:
      case SqlTokenKind::kNumber:
        return true;
      case SqlTokenKind::kWord:
        if (set_statement && token.keyword == SqlKeyword::kTo) {
          set_values_ = true;
          return false;
        }
        if (set_statement && set_values_) return true;
        return (token.keyword == SqlKeyword::kTrue || token.keyword == SqlKeyword::kFalse) &&
               previous_ != SqlKeyword::kIs;
      case SqlTokenKind::kQuotedIdentifier:
        return set_statement && set_values_;
      default:
        return false;
    }
  }

  void Write(bool space, std::string_view text) {
    if (space && size_ != 0) buffer_[size_++] = ' ';
    std::memcpy(buffer_ + size_, text.data(), text.size());
    size_ += text.size();
  }

  // Going back: nothing beyond the new end is a boundary any more.
  void Shrink(size_t size) {
    size_ = size;
    boundary_ = std::min(boundary_, size_);
  }

  void Punctuation(const SqlToken& token) {
    char c = token.text[0];
    bool space = token.space_before;
    if (in_list_ && c != ',' && c != '?') {
      in_list_ = false;
      if ((c == ')' || c == ']') && list_has_items_) {
        Shrink(list_start_);
        Write(false, "?");
        space = false;
      }
    }
    if (in_list_ && c == '?') list_has_items_ = true;
    if (c == '=') set_values_ = true;
    if (c == ';') set_values_ = false;

    size_t before = size_;
    Write(space, token.text);
    if (c == '(') {
      if (depth_ == rows_.depth) rows_.start = size_ - 1;
      ++depth_;
    } else if (c == ')') {
      if (depth_ > 0) --depth_;
      if (rows_.active && depth_ == rows_.depth) EndRow();
      if (depth_ < rows_.depth) rows_.active = false;
    } else if (depth_ == rows_.depth) {
      if (c == ',' && rows_.first_size != 0 && rows_.separator == 0) {
        rows_.separator = before;
      } else {
        rows_.active = false;
      }
    }
  }

  // A row that looks like the first one says nothing new.
  void EndRow() {
    size_t size = size_ - rows_.start;
    if (rows_.first_size == 0) {
      rows_.first_start = rows_.start;
      rows_.first_size = size;
    } else if (rows_.separator != 0 && size == rows_.first_size &&
               std::memcmp(buffer_ + rows_.start, buffer_ + rows_.first_start, size) == 0) {
      Shrink(rows_.separator);
    }
    rows_.separator = 0;
  }

  char* buffer_;
  const size_t max_bytes_;
  size_t size_ = 0;
  size_t boundary_ = 0;
  size_t depth_ = 0;
  SqlKeyword previous_ = SqlKeyword::kNone;
  bool set_values_ = false;
  bool in_list_ = false;  // IN ( or ARRAY[ with nothing but literals so far
  bool list_has_items_ = false;
  size_t list_start_ = 0;
  Rows rows_;
};

}  // namespace

void SanitizeSql(std::string_view sql, size_t max_text_bytes, SanitizedSql& out, bool truncated) {
  out.summary.clear();
  out.operation.clear();
  out.text.resize(sql.size() + 1);
  Writer writer(out.text, max_text_bytes);
  SqlSummary summary(out.summary, out.operation);
  SqlLexer lexer(sql);
  while (true) {
    SqlToken token = lexer.Next();
    if (token.kind == SqlTokenKind::kEnd) break;
    if (truncated && lexer.AtEnd() && token.kind != SqlTokenKind::kPunctuation) {
      // It may be the head of anything.
      token.kind = SqlTokenKind::kText;
      token.keyword = SqlKeyword::kNone;
    } else {
      summary.Add(token, lexer.Peek());
    }
    writer.Add(token, summary.in_set_statement());
  }
  summary.Finish(truncated && lexer.AtEnd());
  out.text.resize(writer.Finish());
}

}  // namespace zerotap
