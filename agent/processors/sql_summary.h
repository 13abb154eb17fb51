// Finds the operations and targets of SQL text from its tokens: "SELECT orders customers".
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "agent/processors/sql_lexer.h"

namespace zerotap {

// A state machine over the tokens of one text. Knows clauses and parentheses, not grammar: what it
// does not recognise it leaves out of the summary.
class SqlSummary {
 public:
  // Appends to both, which must be empty and outlive this.
  SqlSummary(std::string& summary, std::string& operation)
      : summary_(summary), operation_(operation) {}

  // `next` is the byte after the token.
  void Add(const SqlToken& token, char next);
  // `cut`: the text goes on; a name that reaches its end may be longer than what is seen.
  void Finish(bool cut);
  // Inside SET name = values: words after the sign are values.
  bool in_set_statement() const { return set_statement_; }

 private:
  static constexpr size_t kMaxSummaryBytes = 255;
  static constexpr size_t kMaxDepth = 32;
  static constexpr size_t kMaxCommonTables = 16;

  struct Level {
    SqlKeyword operation = SqlKeyword::kNone;
    bool from_list = false;  // a comma brings another table
    bool with = false;       // a comma brings another common table expression
  };
  enum class AfterTarget : uint8_t { kGoOn, kList, kStop, kStopForGood };
  enum class Definition : uint8_t { kNone, kKind, kName };  // what CREATE, ALTER, DROP wait for

  void OnWord(const SqlToken& token, char next);
  void OnPunctuation(char c);
  bool StartStatement(const SqlToken& token);
  void OnDefinitionWord(const SqlToken& token);
  bool SkipBeforeTarget(SqlKeyword keyword);
  void EndTarget();
  void Operation(const SqlToken& token);
  void Append(std::string_view text);
  void Expect(AfterTarget after) {
    expecting_ = true;
    after_target_ = after;
  }
  Level& level() { return levels_[depth_ < kMaxDepth ? depth_ : kMaxDepth]; }
  bool IsCommonTable(std::string_view name) const;

  std::string& summary_;
  std::string& operation_;
  std::array<Level, kMaxDepth + 1> levels_{};  // the last one stands for all deeper ones
  size_t depth_ = 0;
  std::array<std::string_view, kMaxCommonTables> common_tables_{};
  size_t common_table_count_ = 0;

  bool at_start_ = true;
  bool explain_ = false;
  bool muted_ = false;           // until the statement ends
  bool muted_for_good_ = false;  // a routine's body holds statements and semicolons
  bool full_ = false;
  bool set_statement_ = false;
  bool operation_provisional_ = false;
  bool expecting_ = false;
  bool expecting_common_table_ = false;
  bool start_keyword_ = false;
  AfterTarget after_target_ = AfterTarget::kGoOn;
  Definition definition_ = Definition::kNone;
  SqlKeyword definition_operation_ = SqlKeyword::kNone;
  bool materialized_ = false;

  const char* target_ = nullptr;
  size_t target_size_ = 0;
  bool target_dot_ = false;

  SqlTokenKind previous_kind_ = SqlTokenKind::kEnd;
  SqlKeyword previous_keyword_ = SqlKeyword::kNone;
  char previous_byte_ = '\0';
};

}  // namespace zerotap
