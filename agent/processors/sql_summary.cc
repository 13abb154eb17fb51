#include "agent/processors/sql_summary.h"

namespace zerotap {
namespace {

char Upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - ('a' - 'A')) : c; }

bool EqualNoCase(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (Upper(a[i]) != Upper(b[i])) return false;
  }
  return true;
}

bool IsQuery(SqlKeyword operation) {
  return operation == SqlKeyword::kSelect || operation == SqlKeyword::kDelete ||
         operation == SqlKeyword::kUpdate || operation == SqlKeyword::kMerge;
}

}  // namespace

void SqlSummary::Append(std::string_view text) {
  if (full_) return;
  if (summary_.size() + (summary_.empty() ? 0 : 1) + text.size() > kMaxSummaryBytes) {
    full_ = true;
    return;
  }
  if (!summary_.empty()) summary_.push_back(' ');
  summary_.append(text);
}

void SqlSummary::Operation(const SqlToken& token) {
  Append(token.text);
  if (operation_.empty() || (operation_provisional_ && depth_ == 0)) {
    operation_.clear();
    for (char c : token.text) operation_.push_back(Upper(c));
    operation_provisional_ = false;
  }
  level().operation = token.keyword;
  level().from_list = false;
  level().with = false;
  at_start_ = false;
  explain_ = false;
  expecting_ = false;
  expecting_common_table_ = false;
}

bool SqlSummary::IsCommonTable(std::string_view name) const {
  for (size_t i = 0; i < common_table_count_; ++i) {
    if (EqualNoCase(common_tables_[i], name)) return true;
  }
  return false;
}

void SqlSummary::EndTarget() {
  std::string_view name(target_, target_size_);
  target_ = nullptr;
  target_dot_ = false;
  if (!IsCommonTable(name)) Append(name);
  switch (after_target_) {
    case AfterTarget::kGoOn:
      break;
    case AfterTarget::kList:
      level().from_list = true;
      break;
    case AfterTarget::kStop:
      muted_ = true;
      break;
    case AfterTarget::kStopForGood:
      muted_ = muted_for_good_ = true;
      break;
  }
}

void SqlSummary::Add(const SqlToken& token, char next) {
  if (muted_for_good_) return;
  bool name = token.kind == SqlTokenKind::kWord || token.kind == SqlTokenKind::kQuotedIdentifier;
  if (target_ != nullptr) {
    if (!token.space_before && !target_dot_ && token.kind == SqlTokenKind::kPunctuation &&
        token.text[0] == '.') {
      target_dot_ = true;
      return;
    }
    if (!token.space_before && target_dot_ && name) {
      target_size_ = static_cast<size_t>(token.text.data() + token.text.size() - target_);
      target_dot_ = false;
      return;
    }
    EndTarget();
  }
  if (token.kind == SqlTokenKind::kPunctuation) {
    OnPunctuation(token.text[0]);
  } else if (token.kind == SqlTokenKind::kWord) {
    if (!muted_) OnWord(token, next);
  } else if (token.kind == SqlTokenKind::kQuotedIdentifier) {
    if (!muted_ && expecting_) {
      target_ = token.text.data();
      target_size_ = token.text.size();
    } else if (expecting_common_table_ && common_table_count_ < kMaxCommonTables) {
      common_tables_[common_table_count_++] = token.text;
    }
    expecting_ = expecting_common_table_ = false;
  } else {
    expecting_ = false;
  }
  previous_kind_ = token.kind;
  previous_keyword_ = token.keyword;
  previous_byte_ = token.kind == SqlTokenKind::kPunctuation ? token.text[0] : '\0';
}

void SqlSummary::Finish(bool cut) {
  if (target_ != nullptr && !cut) EndTarget();
}

void SqlSummary::OnPunctuation(char c) {
  switch (c) {
    case ';':
      depth_ = 0;
      levels_[0] = Level{};
      at_start_ = true;
      common_table_count_ = 0;
      muted_ = explain_ = set_statement_ = operation_provisional_ = false;
      expecting_ = expecting_common_table_ = start_keyword_ = materialized_ = false;
      definition_ = Definition::kNone;
      return;
    case '(': {
      bool table_list = expecting_ && level().from_list;
      ++depth_;
      level() = Level{};
      level().from_list = table_list;
      expecting_ = table_list;
      expecting_common_table_ = false;
      return;
    }
    case ')':
      if (depth_ > 0) --depth_;
      expecting_ = false;
      return;
    case ',':
      expecting_common_table_ = level().with;
      expecting_ = level().from_list;
      return;
    default:
      expecting_ = expecting_common_table_ = false;
      return;
  }
}

bool SqlSummary::SkipBeforeTarget(SqlKeyword keyword) {
  switch (keyword) {
    case SqlKeyword::kOnly:
    case SqlKeyword::kLateral:
      return true;
    case SqlKeyword::kIf:
    case SqlKeyword::kNot:
    case SqlKeyword::kExists:
    case SqlKeyword::kConcurrently:
      return definition_ == Definition::kName;
    case SqlKeyword::kInto:
      return level().operation == SqlKeyword::kMerge;
    case SqlKeyword::kTable:
      return level().operation == SqlKeyword::kTruncate;
    case SqlKeyword::kLocal:
    case SqlKeyword::kSession:
    case SqlKeyword::kModifier:
      return set_statement_;
    default:
      return false;
  }
}

// A word where a statement may begin. True when it began one or the rest does not matter.
bool SqlSummary::StartStatement(const SqlToken& token) {
  switch (token.keyword) {
    case SqlKeyword::kCreate:
    case SqlKeyword::kAlter:
    case SqlKeyword::kDrop:
    case SqlKeyword::kRefresh:
      Operation(token);
      definition_ = Definition::kKind;
      definition_operation_ = token.keyword;
      return true;
    case SqlKeyword::kCall:
    case SqlKeyword::kExec:
    case SqlKeyword::kExecute:
    case SqlKeyword::kShow:
    case SqlKeyword::kReset:
    case SqlKeyword::kCopy:
      Operation(token);
      Expect(token.keyword == SqlKeyword::kCopy ? AfterTarget::kGoOn : AfterTarget::kStop);
      return true;
    case SqlKeyword::kSet:
      Operation(token);
      set_statement_ = true;
      Expect(AfterTarget::kStop);
      return true;
    case SqlKeyword::kTruncate:
      Operation(token);
      Expect(AfterTarget::kList);
      return true;
    case SqlKeyword::kValues:
    case SqlKeyword::kPrepare:
    case SqlKeyword::kDeclare:
      Operation(token);
      return true;
    case SqlKeyword::kExplain:
      Operation(token);
      explain_ = true;
      return true;
    case SqlKeyword::kStart:
      Operation(token);
      start_keyword_ = true;
      return true;
    case SqlKeyword::kAnalyze:
      if (explain_) return true;
      [[fallthrough]];
    case SqlKeyword::kStatement:
    case SqlKeyword::kFetch:
      Operation(token);
      muted_ = true;
      return true;
    case SqlKeyword::kSelect:
    case SqlKeyword::kInsert:
    case SqlKeyword::kUpdate:
    case SqlKeyword::kDelete:
    case SqlKeyword::kMerge:
    case SqlKeyword::kReplace:
    case SqlKeyword::kWith:
      return false;
    case SqlKeyword::kTrue:
    case SqlKeyword::kFalse:
      return true;  // a literal
    default:
      // Not a statement that we know: say nothing rather than repeat what may be a value.
      if (!explain_) muted_ = true;
      return true;
  }
}

void SqlSummary::OnDefinitionWord(const SqlToken& token) {
  switch (token.keyword) {
    case SqlKeyword::kModifier:
    case SqlKeyword::kReplace:
    case SqlKeyword::kRecursive:
    case SqlKeyword::kLocal:
    case SqlKeyword::kConcurrently:
      return;
    case SqlKeyword::kMaterialized:
      materialized_ = true;
      Append(token.text);
      return;
    case SqlKeyword::kTable:
    case SqlKeyword::kView:
    case SqlKeyword::kObject:
    case SqlKeyword::kRoutine:
      break;
    default:
      muted_ = true;
      return;
  }
  Append(token.text);
  definition_ = Definition::kName;
  bool stores_a_query = token.keyword == SqlKeyword::kTable || materialized_;
  if (definition_operation_ == SqlKeyword::kDrop) {
    Expect(AfterTarget::kList);
  } else if (definition_operation_ == SqlKeyword::kCreate && stores_a_query) {
    Expect(AfterTarget::kGoOn);
  } else {
    Expect(token.keyword == SqlKeyword::kRoutine ? AfterTarget::kStopForGood : AfterTarget::kStop);
  }
}

void SqlSummary::OnWord(const SqlToken& token, char next) {
  if (definition_ == Definition::kKind) {
    OnDefinitionWord(token);
    return;
  }
  if (start_keyword_) {
    if (token.keyword == SqlKeyword::kTransaction) Append(token.text);
    muted_ = true;
    return;
  }
  if (expecting_common_table_) {
    if (token.keyword == SqlKeyword::kRecursive) return;
    if (common_table_count_ < kMaxCommonTables) common_tables_[common_table_count_++] = token.text;
    expecting_common_table_ = false;
    return;
  }
  bool query_word = token.keyword == SqlKeyword::kSelect || token.keyword == SqlKeyword::kWith ||
                    token.keyword == SqlKeyword::kValues;
  if (expecting_ && !query_word) {
    if (SkipBeforeTarget(token.keyword)) return;
    expecting_ = false;
    if (definition_ == Definition::kName && token.keyword == SqlKeyword::kOn) {
      muted_ = true;  // CREATE INDEX ON t: the index has no name
      return;
    }
    target_ = token.text.data();
    target_size_ = token.text.size();
    return;
  }
  expecting_ = false;
  if ((at_start_ || explain_) && StartStatement(token)) return;

  Level& here = level();
  bool after_parenthesis = previous_byte_ == '(' || previous_byte_ == ')';
  bool may_start =
      at_start_ || explain_ || after_parenthesis || previous_keyword_ == SqlKeyword::kAs;
  switch (token.keyword) {
    case SqlKeyword::kSelect:
      Operation(token);
      break;
    case SqlKeyword::kInsert:
    case SqlKeyword::kReplace:
    case SqlKeyword::kDelete:
    case SqlKeyword::kUpdate:
    case SqlKeyword::kMerge:
      if (!may_start || next == '(') break;  // ON DELETE, DO UPDATE, REPLACE(text, ...)
      Operation(token);
      if (token.keyword == SqlKeyword::kUpdate) {
        Expect(AfterTarget::kGoOn);
        level().from_list = true;
      } else if (token.keyword == SqlKeyword::kMerge) {
        Expect(AfterTarget::kGoOn);
      }
      break;
    case SqlKeyword::kWith:
      // Elsewhere it brings options: WITH TIME ZONE, WITH (fillfactor = 70), WITH PASSWORD.
      if (!(may_start &&
            (here.operation == SqlKeyword::kNone || here.operation == SqlKeyword::kExplain ||
             previous_keyword_ == SqlKeyword::kAs)) &&
          here.operation != SqlKeyword::kInsert && here.operation != SqlKeyword::kDeclare) {
        break;
      }
      if (at_start_ && operation_.empty()) {
        operation_ = "WITH";
        operation_provisional_ = true;
      }
      here.with = true;
      at_start_ = explain_ = false;
      expecting_common_table_ = true;
      break;
    case SqlKeyword::kFrom:
      if (!IsQuery(here.operation) || previous_keyword_ == SqlKeyword::kDistinct) break;
      here.from_list = true;
      Expect(AfterTarget::kGoOn);
      break;
    case SqlKeyword::kJoin:
      if (IsQuery(here.operation) || here.from_list) Expect(AfterTarget::kGoOn);
      break;
    case SqlKeyword::kInto:
      if (here.operation == SqlKeyword::kInsert || here.operation == SqlKeyword::kReplace ||
          here.operation == SqlKeyword::kSelect) {
        Expect(AfterTarget::kGoOn);
      }
      break;
    case SqlKeyword::kUsing:
      if (here.operation == SqlKeyword::kMerge || here.operation == SqlKeyword::kDelete) {
        here.from_list = here.operation == SqlKeyword::kDelete;
        Expect(AfterTarget::kGoOn);
      }
      break;
    case SqlKeyword::kWhere:
    case SqlKeyword::kGroup:
    case SqlKeyword::kOrder:
    case SqlKeyword::kHaving:
    case SqlKeyword::kLimit:
    case SqlKeyword::kOffset:
    case SqlKeyword::kFetch:
    case SqlKeyword::kWindow:
    case SqlKeyword::kReturning:
    case SqlKeyword::kUnion:
    case SqlKeyword::kSet:
    case SqlKeyword::kFor:
      here.from_list = false;
      break;
    default:
      break;
  }
}

}  // namespace zerotap
