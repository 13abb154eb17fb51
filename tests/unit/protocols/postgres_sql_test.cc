#include "agent/protocols/postgres_sql.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "agent/protocols/postgres_messages.h"
#include "agent/protocols/postgres_store.h"

namespace zerotap::postgres {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Split(std::string_view text, bool standard_strings = true) {
  StatementSplitter splitter(standard_strings);
  std::vector<std::string> statements;
  std::string_view statement;
  while (splitter.Next(text, statement)) statements.emplace_back(statement);
  return statements;
}

TEST(StatementSplitterTest, SplitsAtSemicolons) {
  EXPECT_THAT(Split("a; b ;c"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(Split(" a "), ElementsAre("a"));
  EXPECT_THAT(Split("a;"), ElementsAre("a"));
}

TEST(StatementSplitterTest, StatementsWithoutATokenDoNotCount) {
  EXPECT_THAT(Split(""), IsEmpty());
  EXPECT_THAT(Split(" ;; -- nothing\n; /* no; thing */"), IsEmpty());
  EXPECT_THAT(Split("a;;b; -- the end"), ElementsAre("a", "b"));
}

TEST(StatementSplitterTest, SemicolonsInQuotesAndCommentsBelongToTheStatement) {
  EXPECT_THAT(Split("'a;''b;'; c"), ElementsAre("'a;''b;'", "c"));
  EXPECT_THAT(Split("\"a;\"\"b;\"; c"), ElementsAre("\"a;\"\"b;\"", "c"));
  EXPECT_THAT(Split("$$a;$$; $tag$b; $$ ;$tag$; c"),
              ElementsAre("$$a;$$", "$tag$b; $$ ;$tag$", "c"));
  EXPECT_THAT(Split("a -- b;\n; c"), ElementsAre("a -- b;", "c"));
  EXPECT_THAT(Split("/* a; /* b; */ c; */ d; e"), ElementsAre("/* a; /* b; */ c; */ d", "e"));
  EXPECT_THAT(Split("create rule r do also (a; b); c"),
              ElementsAre("create rule r do also (a; b)", "c"));
}

TEST(StatementSplitterTest, BackslashesEscapeOnlyWhereTheyDo) {
  EXPECT_THAT(Split("E'a\\';b'; c"), ElementsAre("E'a\\';b'", "c"));
  EXPECT_THAT(Split("'a\\'; b"), ElementsAre("'a\\'", "b"));
  EXPECT_THAT(Split("'a\\';b'; c", false), ElementsAre("'a\\';b'", "c"));
  EXPECT_THAT(Split("type'a\\'; b"), ElementsAre("type'a\\'", "b"));
}

TEST(StatementSplitterTest, DollarsInNamesAndParametersAreNoQuotes) {
  EXPECT_THAT(Split("a$b$; c$b$"), ElementsAre("a$b$", "c$b$"));
  EXPECT_THAT(Split("select $1; select $2"), ElementsAre("select $1", "select $2"));
}

TEST(StatementSplitterTest, SqlBodiesOfRoutinesAreOneStatement) {
  std::string function =
      "create or replace function f() returns int begin atomic select case when true then 1 end; "
      "select 2; end";
  EXPECT_THAT(Split(function + "; begin; commit"), ElementsAre(function, "begin", "commit"));
  EXPECT_THAT(Split("begin; end; select 1"), ElementsAre("begin", "end", "select 1"));
}

TEST(StatementSplitterTest, UnclosedQuotesReachTheEnd) {
  EXPECT_THAT(Split("a; 'b; c"), ElementsAre("a", "'b; c"));
  EXPECT_THAT(Split("a; $x$ b; c"), ElementsAre("a", "$x$ b; c"));
  EXPECT_THAT(Split("a; b /* ; c"), ElementsAre("a", "b /* ; c"));
}

TEST(StatementSplitterTest, TellsWhetherASemicolonEndedTheStatement) {
  StatementSplitter splitter;
  std::string_view statement;
  ASSERT_TRUE(splitter.Next("a; b", statement));
  EXPECT_TRUE(splitter.at_semicolon());
  ASSERT_TRUE(splitter.Next("a; b", statement));
  EXPECT_FALSE(splitter.at_semicolon());
}

TEST(PostgresSqlTest, FirstKeyword) {
  char buffer[16];
  EXPECT_EQ(FirstKeyword("/* x */ ( select 1)", buffer), "SELECT");
  EXPECT_EQ(FirstKeyword("", buffer), "");
  EXPECT_EQ(FirstKeyword("averyveryverylongword", buffer), "AVERYVERYVERYLON");
}

TEST(PostgresSqlTest, TagsFitTheirStatements) {
  EXPECT_TRUE(TagFits("select 1", "SELECT 1"));
  EXPECT_FALSE(TagFits("select 1", "INSERT 0 1"));
  EXPECT_TRUE(TagFits("with x as (select 1) delete from t", "DELETE 1"));
  EXPECT_TRUE(TagFits("commit", "ROLLBACK"));
  EXPECT_FALSE(TagFits("commit", "BEGIN"));
  EXPECT_TRUE(TagFits("execute s", "UPDATE 4"));
  EXPECT_TRUE(TagFits("", "UPDATE 4"));
}

TEST(PostgresSqlTest, CommandsOfSeveralResults) {
  EXPECT_EQ(CommandOfSeveralResults(" base_backup ( LABEL 'x')"), "BASE_BACKUP");
  EXPECT_EQ(CommandOfSeveralResults("START_REPLICATION 0/0"), "START_REPLICATION");
  for (std::string_view other : {"", "SELECT 1", "IDENTIFY_SYSTEM", "BASE_BACKUPS", "START TRANSACTION"})
    EXPECT_EQ(CommandOfSeveralResults(other), "") << other;
}

TEST(PostgresSqlTest, EndsOfBlocks) {
  EXPECT_EQ(ClassifyBlockEnd("commit"), BlockEnd::kEnds);
  EXPECT_EQ(ClassifyBlockEnd("rollback work to savepoint s"), BlockEnd::kSavepoint);
  EXPECT_EQ(ClassifyBlockEnd("ROLLBACK /* really */ TO s"), BlockEnd::kSavepoint);
  EXPECT_EQ(ClassifyBlockEnd("commit and chain"), BlockEnd::kChains);
  EXPECT_EQ(ClassifyBlockEnd("end transaction and no chain"), BlockEnd::kEnds);
  EXPECT_EQ(ClassifyBlockEnd("prepare transaction 'x'"), BlockEnd::kEnds);
  EXPECT_EQ(ClassifyBlockEnd(""), BlockEnd::kUnknown);
  EXPECT_EQ(ClassifyBlockEnd("call p()"), BlockEnd::kUnknown);
}

TEST(PostgresSqlTest, PreparedNames) {
  char buffer[64];
  EXPECT_EQ(PreparedName("DEALLOCATE Foo", buffer), "foo");
  EXPECT_EQ(PreparedName("deallocate prepare \"A\"\"b\"", buffer), "A\"b");
  EXPECT_EQ(PreparedName("deallocate all", buffer), "");
  EXPECT_EQ(PreparedName("prepare foo(int) as select $1", buffer), "foo");
  EXPECT_EQ(PreparedName("select 1", buffer), "");
  EXPECT_EQ(PreparedName("deallocate " + std::string(100, 'x'), buffer), "");
}

TEST(PostgresSqlTest, CharactersAreNotCut) {
  EXPECT_EQ(WithoutCutCharacter("ab"), "ab");
  EXPECT_EQ(WithoutCutCharacter("a\xC3"), "a");
  EXPECT_EQ(WithoutCutCharacter("a\xC3\xA4"), "a\xC3\xA4");
  EXPECT_EQ(WithoutCutCharacter("a\xF0\x9F\x98"), "a");
  EXPECT_EQ(WithoutCutCharacter("\xA4\xA4"), "\xA4\xA4");
}

TEST(PostgresMessagesTest, CommandTags) {
  CommandTag tag = ParseCommandTag("INSERT 0 5");
  EXPECT_TRUE(tag.valid);
  EXPECT_EQ(tag.command, "INSERT");
  EXPECT_EQ(tag.rows, 5u);
  tag = ParseCommandTag("CREATE TABLE");
  EXPECT_TRUE(tag.valid);
  EXPECT_EQ(tag.command, "CREATE TABLE");
  EXPECT_FALSE(tag.rows.has_value());
  for (const char* wrong :
       {"", "select 1", "SELECT 1x", "SELECT  1", "5", "SELECT 1 A", "SELECT 1 2 3", " SELECT"}) {
    EXPECT_FALSE(ParseCommandTag(wrong).valid) << wrong;
  }
}

TEST(PostgresMessagesTest, ErrorFields) {
  using namespace std::string_view_literals;
  ErrorFields fields = ParseErrorFields("SFATAL\0VFATAL\0C57P01\0Mbye\0\0"sv);
  EXPECT_EQ(fields.sql_state, "57P01");
  EXPECT_TRUE(fields.fatal);
  EXPECT_TRUE(fields.whole);
  fields = ParseErrorFields("SFEHLER\0VERROR\0C42601\0Mx"sv);
  EXPECT_EQ(fields.sql_state, "42601");
  EXPECT_FALSE(fields.fatal);
  EXPECT_FALSE(fields.whole);
  EXPECT_EQ(ParseErrorFields("SERROR\0C4260\0\0"sv).sql_state, "");
  EXPECT_EQ(ParseErrorFields("SERROR\0C4260x\0\0"sv).sql_state, "");
  EXPECT_EQ(ParseErrorFields("SERROR\0C42601"sv).sql_state, "");
}

TEST(TextPoolTest, StorageIsSharedAndReused) {
  TextPool texts;
  uint32_t first = texts.Add("SELECT 1", false);
  texts.Retain(first);
  texts.Release(first);
  EXPECT_EQ(texts.text(first), "SELECT 1");
  texts.Release(first);
  uint32_t second = texts.Add("SELECT 2", true);
  EXPECT_EQ(second, first);
  EXPECT_EQ(texts.text(second), "SELECT 2");
  EXPECT_TRUE(texts.truncated(second));
  EXPECT_EQ(texts.text(kNone), "");
}

TEST(TextPoolTest, MemoryIsBounded) {
  TextPool texts;
  std::string text(100'000, 'x');
  std::vector<uint32_t> ids;
  for (int i = 0; i < 100; ++i) ids.push_back(texts.Add(text, false));
  EXPECT_EQ(ids.back(), kNone);
  EXPECT_LT(texts.MemorySize(), TextPool::kMaxBytes + (1 << 20));
  for (uint32_t id : ids) texts.Release(id);
  EXPECT_LT(texts.MemorySize(), 200'000u);
}

TEST(NameTableTest, ForgetsTheLeastRecentlyUsed) {
  TextPool texts;
  NameTable table(texts, 100);
  for (int i = 0; i < 1000; ++i) {
    table.Set("name " + std::to_string(i), texts.Add(std::to_string(i), false),
              static_cast<uint64_t>(i));
    ASSERT_NE(table.Find("name 0"), nullptr);
  }
  EXPECT_EQ(table.size(), 100u);
  EXPECT_EQ(table.Find("name 900"), nullptr);
  for (int i = 901; i < 1000; ++i) {
    NamedEntry* entry = table.Find("name " + std::to_string(i));
    ASSERT_NE(entry, nullptr) << i;
    EXPECT_EQ(texts.text(entry->text), std::to_string(i));
  }
}

TEST(NameTableTest, ErasesOnlyWhatIsOlder) {
  TextPool texts;
  NameTable table(texts, 10);
  table.Set("", texts.Add("unnamed", false), 1);
  table.Set("a", texts.Add("a", false), 2);
  NamedEntry* b = table.Set("b", texts.Add("b", false), 3);
  uint32_t handle = b->handle;
  table.EraseRegistered(handle, 2);
  EXPECT_NE(table.Find("b"), nullptr);
  table.ClearOlder(3);
  EXPECT_EQ(table.Find(""), nullptr);
  EXPECT_EQ(table.Find("a"), nullptr);
  ASSERT_NE(table.Find("b"), nullptr);
  table.EraseRegistered(handle, 3);
  EXPECT_EQ(table.Find("b"), nullptr);
  EXPECT_EQ(table.Set(std::string(kMaxNameBytes + 1, 'n'), texts.Add("long", false), 4), nullptr);
  EXPECT_EQ(table.size(), 0u);
}

}  // namespace
}  // namespace zerotap::postgres
