// Cuts SQL text into tokens for the obfuscator and the summary.
//
// Tolerant: never fails, linear, works on text that was cut anywhere. The reference dialect is
// PostgreSQL's (its manual, section 4.1 "Lexical Structure"); where another dialect would place the
// end of a literal elsewhere, everything that follows counts as literal, because showing too little
// is allowed and showing a value is not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace zerotap {

enum class SqlTokenKind : uint8_t {
  kEnd,
  kWord,              // keyword or unquoted identifier
  kQuotedIdentifier,  // "..." or `...`
  kText,              // string, bit string, dollar-quoted text; also a rest that cannot be told
  kNumber,            // with its sign when the obfuscator must take it away too
  kParameter,         // $1
  kPunctuation,       // one byte
};

// Words that the obfuscator or the summary treats specially.
enum class SqlKeyword : uint8_t {
  kNone,
  // Statements.
  kSelect, kInsert, kUpdate, kDelete, kMerge, kReplace, kValues, kWith, kCreate, kAlter, kDrop,
  kCall, kExec, kExecute, kTruncate, kCopy, kExplain, kAnalyze, kSet, kShow, kReset, kRefresh,
  kStart, kPrepare, kDeclare, kStatement,
  // Clauses.
  kFrom, kInto, kJoin, kUsing, kWhere, kGroup, kOrder, kHaving, kLimit, kOffset, kFetch, kWindow,
  kReturning, kUnion, kFor, kOn, kIn, kAs, kArray, kDistinct, kIs, kNot, kNull, kTo, kEscape,
  kTrue, kFalse, kOnly, kLateral, kIf, kExists, kConcurrently, kTable, kView, kMaterialized,
  kRecursive, kLocal, kSession, kTransaction,
  kObject,    // other kinds of things that CREATE, ALTER and DROP name
  kRoutine,   // those whose definition may hold statements
  kModifier,  // words between CREATE and the kind
  kOperator,  // other words after which an operand follows, so that a sign belongs to a number
};

struct SqlToken {
  SqlTokenKind kind = SqlTokenKind::kEnd;
  SqlKeyword keyword = SqlKeyword::kNone;  // of a kWord
  bool space_before = false;               // white space or a comment
  std::string_view text;                   // as in the input
};

class SqlLexer {
 public:
  explicit SqlLexer(std::string_view sql) : sql_(sql) {}

  SqlToken Next();
  // The byte after the last token, 0 at the end.
  char Peek(size_t ahead = 0) const {
    return position_ + ahead < sql_.size() ? sql_[position_ + ahead] : '\0';
  }
  bool AtEnd() const { return position_ >= sql_.size(); }

 private:
  bool SkipSpace();
  void SkipBlockComment();
  SqlToken Take(SqlTokenKind kind, size_t end);
  SqlToken TakeRest();
  SqlToken Word();
  SqlToken Number(size_t start);
  SqlToken Dollar();
  SqlToken String(size_t quote, bool backslash_escapes);
  SqlToken Quoted(size_t quote);
  bool SignBelongsToNumber() const;

  std::string_view sql_;
  size_t position_ = 0;
  SqlTokenKind previous_kind_ = SqlTokenKind::kEnd;
  SqlKeyword previous_keyword_ = SqlKeyword::kNone;
  char previous_byte_ = '\0';  // of a kPunctuation
};

}  // namespace zerotap
