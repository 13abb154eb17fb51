// The little of SQL's lexical structure (PostgreSQL documentation, section 4.1) that pairing needs:
// where the statements of a simple query begin and end, and which command a statement is.
#pragma once

#include <cstddef>
#include <string_view>

namespace zerotap::postgres {

// Walks the statements of a query string; statements without a token (comments, blanks) do not
// count, as in the server.
class StatementSplitter {
 public:
  StatementSplitter() = default;
  // `standard_strings`: the server's standard_conforming_strings.
  explicit StatementSplitter(bool standard_strings) : standard_strings_(standard_strings) {}

  // The next statement of `text` without the blanks around it and without its semicolon. False:
  // there is none. Call it with the same text until then.
  bool Next(std::string_view text, std::string_view& statement);
  // Whether that statement ended with a semicolon, not with the text.
  bool at_semicolon() const { return at_semicolon_; }

 private:
  bool at_semicolon_ = false;
  size_t position_ = 0;
  bool standard_strings_ = true;
};

// First word of the statement in upper case, cut at `buffer`'s size; comments and '(' before it are
// skipped.
std::string_view FirstKeyword(std::string_view statement, char (&buffer)[16]);

// Whether that statement can have been completed with that command tag. Unknown statements can with
// any.
bool TagFits(std::string_view statement, std::string_view tag);

// The command, when `statement` is one of replication that is answered by several results with tags of
// their own. Else empty.
std::string_view CommandOfSeveralResults(std::string_view statement);
// Whether it may be one of which only these first bytes are known.
bool BeginsLikeCommandOfSeveralResults(std::string_view statement);

// What ROLLBACK and COMMIT do to the transaction block.
enum class BlockEnd { kUnknown, kEnds, kChains, kSavepoint };
BlockEnd ClassifyBlockEnd(std::string_view statement);

// Name in DEALLOCATE [PREPARE] name or PREPARE name, folded to lower case unless quoted, in
// `buffer`. Empty: ALL or not understood.
std::string_view PreparedName(std::string_view statement, char (&buffer)[64]);

// `text` without a UTF-8 sequence that is cut at its end.
std::string_view WithoutCutCharacter(std::string_view text);

}  // namespace zerotap::postgres
