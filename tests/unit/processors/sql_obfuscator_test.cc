#include "agent/processors/sql_obfuscator.h"

#include <gtest/gtest.h>

#include <ostream>

namespace zerotap {
namespace {

SanitizedSql Sanitize(std::string_view sql, size_t max = 4096, bool truncated = false) {
  SanitizedSql out;
  SanitizeSql(sql, max, out, truncated);
  return out;
}
std::string Text(std::string_view sql) { return Sanitize(sql).text; }
std::string Summary(std::string_view sql) { return Sanitize(sql).summary; }

struct SqlCase {
  const char* name;
  const char* sql;
  const char* text;
  const char* summary;
};
void PrintTo(const SqlCase& value, std::ostream* out) { *out << value.sql; }
std::string NameOf(const testing::TestParamInfo<SqlCase>& info) { return info.param.name; }

class ConventionsTest : public testing::TestWithParam<SqlCase> {};

TEST_P(ConventionsTest, TextAndSummary) {
  SanitizedSql out = Sanitize(GetParam().sql);
  EXPECT_EQ(out.text, GetParam().text);
  EXPECT_EQ(out.summary, GetParam().summary);
  EXPECT_EQ(Text(out.text), out.text) << "sanitizing twice changes nothing";
}

// One case for each of the conventions' test vectors (semantic-conventions v1.44,
// docs/non-normative/database-test-cases), with our white space: runs of it become one space.
INSTANTIATE_TEST_SUITE_P(
    Vectors, ConventionsTest,
    testing::Values(
        SqlCase{"integers", "SELECT 7, -7, +7", "SELECT ?, ?, ?", "SELECT"},
        SqlCase{"decimal_points", "SELECT 1.5, -1.5, +1.5, .5, -.5", "SELECT ?, ?, ?, ?, ?", "SELECT"},
        SqlCase{"exponents", "SELECT 1.5e10, -1.5e10, +1.5e10", "SELECT ?, ?, ?", "SELECT"},
        SqlCase{"negative_exponents", "SELECT 1.5e-10, -1.5e-10, +1.5e-10", "SELECT ?, ?, ?", "SELECT"},
        SqlCase{"arithmetic", "SELECT 1+2", "SELECT ??", "SELECT"},
        SqlCase{"hexadecimal", "SELECT 0xCAFE, 0XcaFE", "SELECT ?, ?", "SELECT"},
        SqlCase{"string", "SELECT 'abc'", "SELECT ?", "SELECT"},
        SqlCase{"doubled_quote", "SELECT 'it''s mine'", "SELECT ?", "SELECT"},
        SqlCase{"newline_in_string", "SELECT 'one \n two'", "SELECT ?", "SELECT"},
        SqlCase{"digits_in_identifiers", "SELECT b2b, u2 FROM area51 WHERE k9s=77",
                "SELECT b2b, u2 FROM area51 WHERE k9s=?", "SELECT area51"},
        SqlCase{"qualified_names", "SELECT a FROM app.Users JOIN app.Orders",
                "SELECT a FROM app.Users JOIN app.Orders", "SELECT app.Users app.Orders"},
        SqlCase{"insert", "INSERT INTO T VALUES(1, 234, 5.6, 7+8)", "INSERT INTO T VALUES(?, ?, ?, ?" "?)",
                "INSERT T"},
        SqlCase{"guid_escape", "SELECT { guid '3f2504e0-4f89-11d3-9a0c-0305e82c3301' }",
                "SELECT { guid ? }", "SELECT"},
        SqlCase{"in_list", "SELECT * FROM table WHERE v IN (1, 2, 'c')",
                "SELECT * FROM table WHERE v IN (?)", "SELECT table"},
        SqlCase{"comments", "SELECT c -- to the end\nFROM /* over \n lines */ table", "SELECT c FROM table",
                "SELECT table"},
        SqlCase{"insert_select", "INSERT INTO archive\n(id,\nbody)\nSELECT id,\nbody\nFROM   mails\nWHERE  id = 1",
                "INSERT INTO archive (id, body) SELECT id, body FROM mails WHERE id = ?",
                "INSERT archive SELECT mails"},
        SqlCase{"nested", "SELECT d\nFROM   (SELECT *\nFROM   orders o\nJOIN people p\nON o.p = p.id)",
                "SELECT d FROM (SELECT * FROM orders o JOIN people p ON o.p = p.id)",
                "SELECT SELECT orders people"},
        SqlCase{"nested_keeps_case", "SELEcT d\nFROM   (sELECT *\nFROM   orders o\nJOIN people p\nON o.p = p.id)",
                "SELEcT d FROM (sELECT * FROM orders o JOIN people p ON o.p = p.id)",
                "SELEcT sELECT orders people"},
        SqlCase{"keeps_case", "SELEcT d\nFROM ORders", "SELEcT d FROM ORders", "SELEcT ORders"},
        SqlCase{"cross_join", "SELECT * FROM A a CROSS JOIN B b", "SELECT * FROM A a CROSS JOIN B b",
                "SELECT A B"},
        SqlCase{"comma_join", "SELECT * FROM A a, B b", "SELECT * FROM A a, B b", "SELECT A B"},
        SqlCase{"create_table", "CREATE  TABLE T (\n    ID NOT NULL IDENTITY(1,1) PRIMARY KEY\n)",
                "CREATE TABLE T ( ID NOT NULL IDENTITY(?,?) PRIMARY KEY )", "CREATE TABLE T"},
        SqlCase{"alter_table", "ALTER  TABLE T ADD Name varchar(255)", "ALTER TABLE T ADD Name varchar(?)",
                "ALTER TABLE T"},
        SqlCase{"drop_table", "DROP  TABLE T", "DROP TABLE T", "DROP TABLE T"}),
    NameOf);

INSTANTIATE_TEST_SUITE_P(
    PostgresLiterals, ConventionsTest,
    testing::Values(
        SqlCase{"escape_string", "SELECT E'a\\'b', e'\\\\'", "SELECT ?, ?", "SELECT"},
        SqlCase{"unicode_string", "SELECT U&'d\\0061t', U&\"d\\0061t\" FROM t",
                "SELECT ?, U&\"d\\0061t\" FROM t", "SELECT t"},
        SqlCase{"bit_strings", "SELECT B'101', X'1FF', N'abc'", "SELECT ?, ?, ?", "SELECT"},
        SqlCase{"dollar_quotes", "SELECT $$it's$$, $fn$ a $$ b $fn$, $1", "SELECT ?, ?, $1", "SELECT"},
        SqlCase{"underscores", "SELECT 1_000_000, 0b101, 0o17", "SELECT ?, ?, ?", "SELECT"},
        SqlCase{"casts", "SELECT '1'::int, a::text, :name, x[1:2]", "SELECT ?::int, a::text, :name, x[?:?]",
                "SELECT"},
        SqlCase{"typed", "SELECT DATE '2024-01-31', interval '1 day', timestamp '2024-01-31 10:00'",
                "SELECT DATE ?, interval ?, timestamp ?", "SELECT"},
        SqlCase{"booleans", "SELECT * FROM t WHERE a = TRUE AND b IS NOT false AND c IS NULL",
                "SELECT * FROM t WHERE a = ? AND b IS NOT false AND c IS NULL", "SELECT t"},
        SqlCase{"signs", "SELECT a-1, (b)-1, c - 1, -1, 2*-1 FROM t WHERE x > -5 AND -3 < y",
                "SELECT a-?, (b)-?, c - ?, ?, ?*? FROM t WHERE x > ? AND ? < y", "SELECT t"},
        SqlCase{"array", "SELECT * FROM t WHERE id = ANY(ARRAY[1, 2, 3])",
                "SELECT * FROM t WHERE id = ANY(ARRAY[?])", "SELECT t"},
        SqlCase{"parameters_stay", "SELECT * FROM t WHERE a IN ($1, $2) AND b = ? AND c = %s AND d = @p",
                "SELECT * FROM t WHERE a IN ($1, $2) AND b = ? AND c = %s AND d = @p", "SELECT t"},
        SqlCase{"many_rows", "INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'), (3, 'z') RETURNING id",
                "INSERT INTO t (a, b) VALUES (?, ?) RETURNING id", "INSERT t"},
        SqlCase{"rows_of_two_shapes", "INSERT INTO t VALUES (1, now()), (2, DEFAULT), (3, now())",
                "INSERT INTO t VALUES (?, now()), (?, DEFAULT)", "INSERT t"},
        SqlCase{"nested_comment", "SELECT 1 /* a /* b */ 'c' */ + 2", "SELECT ? + ?", "SELECT"},
        SqlCase{"json_operators", "SELECT a->'k', b #>> '{x,y}' FROM t", "SELECT a->?, b #>> ? FROM t",
                "SELECT t"},
        SqlCase{"like_escape", "SELECT * FROM t WHERE a LIKE '50!%' ESCAPE '\\' AND b = 'x'",
                "SELECT * FROM t WHERE a LIKE ? ESCAPE ? AND b = ?", "SELECT t"},
        SqlCase{"set_values", "SET LOCAL search_path TO tenant_7, \"x\"", "SET LOCAL search_path TO ?, ?",
                "SET search_path"},
        SqlCase{"quoted_names", "SELECT * FROM \"my \"\"t\".\"u v\" JOIN `w x`",
                "SELECT * FROM \"my \"\"t\".\"u v\" JOIN `w x`", "SELECT \"my \"\"t\".\"u v\" `w x`"}),
    NameOf);

struct SummaryCase {
  const char* sql;
  const char* summary;
  const char* operation;
};
void PrintTo(const SummaryCase& value, std::ostream* out) { *out << value.sql; }

class SummaryTest : public testing::TestWithParam<SummaryCase> {};

TEST_P(SummaryTest, OperationsAndTargetsInOrder) {
  SanitizedSql out = Sanitize(GetParam().sql);
  EXPECT_EQ(out.summary, GetParam().summary);
  EXPECT_EQ(out.operation, GetParam().operation);
}

INSTANTIATE_TEST_SUITE_P(
    Queries, SummaryTest,
    testing::Values(
        SummaryCase{"select 1", "select", "SELECT"},
        SummaryCase{"SELECT * FROM a LEFT JOIN b ON a.x = b.x, c WHERE d IN (SELECT e FROM f)",
                    "SELECT a b c SELECT f", "SELECT"},
        SummaryCase{"SELECT a FROM x UNION ALL SELECT b FROM y ORDER BY 1, 2", "SELECT x SELECT y", "SELECT"},
        SummaryCase{"(SELECT a FROM x) EXCEPT (SELECT b FROM y)", "SELECT x SELECT y", "SELECT"},
        SummaryCase{"SELECT extract(year FROM ts), trim(both from n) FROM ev WHERE a IS DISTINCT FROM b",
                    "SELECT ev", "SELECT"},
        SummaryCase{"SELECT * FROM (a JOIN b ON a.i = b.i), (VALUES (1)) v", "SELECT a b", "SELECT"},
        SummaryCase{"SELECT * FROM find_user(1, 'x') u, LATERAL (SELECT 1 FROM ONLY q) z",
                    "SELECT find_user SELECT q", "SELECT"},
        SummaryCase{"SELECT * FROM job WHERE id = 1 FOR UPDATE SKIP LOCKED", "SELECT job", "SELECT"},
        SummaryCase{"SELECT replace(a, 'x', 'y') FROM t", "SELECT t", "SELECT"},
        SummaryCase{"WITH RECURSIVE r (n) AS (SELECT 1 FROM seed UNION SELECT n FROM r), s AS (SELECT 2) "
                    "SELECT * FROM r JOIN S ON true JOIN t ON true",
                    "SELECT seed SELECT SELECT SELECT t", "SELECT"},
        SummaryCase{"WITH moved AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM moved",
                    "DELETE a INSERT b SELECT", "INSERT"}));

INSTANTIATE_TEST_SUITE_P(
    Changes, SummaryTest,
    testing::Values(
        SummaryCase{"UPDATE t SET a = 1, b = 2 WHERE c", "UPDATE t", "UPDATE"},
        SummaryCase{"UPDATE ONLY t AS x SET a = u.a FROM u WHERE u.id = x.id", "UPDATE t u", "UPDATE"},
        SummaryCase{"DELETE FROM t USING u WHERE t.a = u.a", "DELETE t u", "DELETE"},
        SummaryCase{"insert into t (a) values (1) on conflict (a) do update set a = 2", "insert t", "INSERT"},
        SummaryCase{"MERGE INTO t USING s ON t.i = s.i WHEN MATCHED THEN UPDATE SET a = 1 WHEN NOT MATCHED "
                    "THEN INSERT (a) VALUES (1)",
                    "MERGE t s", "MERGE"},
        SummaryCase{"REPLACE INTO t VALUES (1)", "REPLACE t", "REPLACE"},
        SummaryCase{"TRUNCATE TABLE a, b CASCADE", "TRUNCATE a b", "TRUNCATE"},
        SummaryCase{"COPY public.t (a, b) FROM STDIN WITH (FORMAT csv)", "COPY public.t", "COPY"},
        SummaryCase{"COPY (SELECT * FROM t) TO STDOUT", "COPY SELECT t", "COPY"}));

INSTANTIATE_TEST_SUITE_P(
    Definitions, SummaryTest,
    testing::Values(
        SummaryCase{"CREATE TABLE IF NOT EXISTS a.b AS SELECT * FROM c", "CREATE TABLE a.b SELECT c", "CREATE"},
        SummaryCase{"CREATE TEMP TABLE x (LIKE y)", "CREATE TABLE x", "CREATE"},
        SummaryCase{"CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX i", "CREATE"},
        SummaryCase{"CREATE INDEX ON t (a)", "CREATE INDEX", "CREATE"},
        SummaryCase{"CREATE OR REPLACE VIEW v AS SELECT * FROM t", "CREATE VIEW v", "CREATE"},
        SummaryCase{"CREATE TRIGGER g AFTER UPDATE ON t AS BEGIN UPDATE t SET a = 1; END; SELECT 1",
                    "CREATE TRIGGER g", "CREATE"},
        SummaryCase{"DROP TABLE IF EXISTS a, b", "DROP TABLE a b", "DROP"},
        SummaryCase{"ALTER USER joe WITH PASSWORD 'x'", "ALTER USER joe", "ALTER"},
        SummaryCase{"REFRESH MATERIALIZED VIEW CONCURRENTLY m", "REFRESH MATERIALIZED VIEW m", "REFRESH"}));

INSTANTIATE_TEST_SUITE_P(
    Others, SummaryTest,
    testing::Values(
        SummaryCase{"BEGIN", "BEGIN", "BEGIN"}, SummaryCase{"commit;", "commit", "COMMIT"},
        SummaryCase{"START TRANSACTION READ ONLY", "START TRANSACTION", "START"},
        SummaryCase{"SAVEPOINT sp_8812", "SAVEPOINT", "SAVEPOINT"},
        SummaryCase{"SHOW server_version", "SHOW server_version", "SHOW"},
        SummaryCase{"SET timezone = 'UTC'", "SET timezone", "SET"},
        SummaryCase{"CALL pay(1, 'x')", "CALL pay", "CALL"}, SummaryCase{"{call pay(?)}", "call pay", "CALL"},
        SummaryCase{"EXEC pay @a = 1", "EXEC pay", "EXEC"}, SummaryCase{"EXECUTE q (1)", "EXECUTE q", "EXECUTE"},
        SummaryCase{"EXPLAIN (ANALYZE, BUFFERS) UPDATE t SET a = 1", "EXPLAIN UPDATE t", "EXPLAIN"},
        SummaryCase{"DECLARE c CURSOR FOR SELECT * FROM t", "DECLARE SELECT t", "DECLARE"},
        SummaryCase{"FETCH 100 FROM c_1234", "FETCH", "FETCH"},
        SummaryCase{"DO $$ BEGIN DELETE FROM t; END $$", "DO", "DO"},
        SummaryCase{"BEGIN; UPDATE t SET a = 1; COMMIT", "BEGIN UPDATE t COMMIT", "BEGIN"},
        SummaryCase{"/* hint */ -- more\n SELECT a FROM b", "SELECT b", "SELECT"},
        SummaryCase{"hunter2 is not SQL", "", ""}, SummaryCase{"", "", ""}, SummaryCase{";;", "", ""}));

TEST(SqlSummaryLimit, StopsBeforeTheTokenThatDoesNotFit) {
  std::string sql = "SELECT * FROM t" + std::string(300, 'x') + " o, other";
  EXPECT_EQ(Summary(sql), "SELECT");
  sql = "SELECT * FROM a0";
  for (int i = 1; i < 100; ++i) sql += ", table_number_" + std::to_string(i);
  std::string summary = Summary(sql);
  EXPECT_LE(summary.size(), 255u);
  EXPECT_GT(summary.size(), 235u);
  EXPECT_EQ(sql.find(summary.substr(summary.rfind(' ') + 1) + ","), sql.find(summary.substr(summary.rfind(' ') + 1)));
}

TEST(SqlLeaks, NothingOfALiteralSurvivesACutAnywhere) {
  const std::string_view statements[] = {
      "SELECT a FROM t WHERE b = 'S3CR3T' AND c = 'S3CR3T'",
      "SELECT E'x\\'S3CR3T', U&'S3CR3T', N'S3CR3T', $$S3CR3T$$, $q$S3CR3T$q$",
      "INSERT INTO t VALUES ('S3CR3T', 83923), ('S3CR3T''S3CR3T', 83924) -- S3CR3T",
      "SELECT /* S3CR3T /* S3CR3T */ S3CR3T */ 1 FROM t WHERE p LIKE '%S3CR3T\\' OR q = 'S3CR3T'",
      "SELECT q'[it's S3CR3T]', 'a\\'S3CR3T', x FROM t",
  };
  for (std::string_view sql : statements) {
    for (size_t cut = 0; cut <= sql.size(); ++cut) {
      for (bool truncated : {false, true}) {
        SanitizedSql out = Sanitize(sql.substr(0, cut), 4096, truncated);
        EXPECT_EQ(out.text.find("S3"), std::string::npos) << out.text;
        EXPECT_EQ(out.summary.find("S3"), std::string::npos) << out.summary;
        EXPECT_EQ(out.text.find("83"), std::string::npos) << out.text;
      }
    }
  }
}

TEST(SqlLeaks, TextAfterAQuoteThatDialectsReadDifferentlyIsALiteral) {
  EXPECT_EQ(Text("SELECT 'a\\' OR b = 'secret'"), "SELECT ?");
  EXPECT_EQ(Text("SELECT 'a\\\\' || b"), "SELECT ? || b");
}

TEST(SqlTruncation, KeepsWholeTokensWithinTheLimit) {
  std::string_view sql = "SELECT alpha, beta FROM gamma WHERE delta = 'x'";
  std::string full = Text(sql);
  for (size_t max = 0; max <= full.size(); ++max) {
    std::string text = Sanitize(sql, max).text;
    EXPECT_LE(text.size(), max);
    EXPECT_EQ(full.compare(0, text.size(), text), 0);
    bool boundary = text.size() == full.size() || text.empty() || full[text.size()] == ' ' || full[text.size()] == ',';
    EXPECT_TRUE(boundary) << text;
  }
  EXPECT_EQ(Sanitize(sql, 6).summary, "SELECT gamma") << "the summary sees all of it";
}

TEST(SqlTruncation, ALongListShrinksBeforeItCounts) {
  std::string sql = "SELECT * FROM t WHERE a IN (1";
  for (int i = 2; i < 2000; ++i) sql += ", " + std::to_string(i);
  sql += ") AND b = 2";
  EXPECT_EQ(Sanitize(sql, 64).text, "SELECT * FROM t WHERE a IN (?) AND b = ?");
}

TEST(SqlTruncation, TheLastTokenOfACutStatementIsNotShown) {
  EXPECT_EQ(Sanitize("SELECT a FROM ord", 4096, true).text, "SELECT a FROM ?");
  EXPECT_EQ(Sanitize("SELECT a FROM ord", 4096, true).summary, "SELECT");
  EXPECT_EQ(Sanitize("SELECT a FROM ord", 4096, false).summary, "SELECT ord");
  EXPECT_EQ(Sanitize("SELECT a FROM app.ord", 4096, true).summary, "SELECT");
  EXPECT_EQ(Sanitize("SELECT a FROM ord WHERE b = TRU", 4096, true).text, "SELECT a FROM ord WHERE b = ?");
}

TEST(SqlRobustness, HostileInputStaysLinearAndBounded) {
  for (const char* piece : {"(", ")", "/*", "'", "\"", "$$", "$a$", "SELECT(", "IN(", "VALUES(1),", ",", "FROM ", "-",
                            "E'\\", "WITH a AS(", ".", "?", "\xff", "1e+", "[", "U&'"}) {
    std::string sql;
    while (sql.size() < 200000) sql += piece;
    SanitizedSql out = Sanitize(sql, 1000);
    EXPECT_LE(out.text.size(), 1000u);
    EXPECT_LE(out.summary.size(), 255u);
  }
}

TEST(SqlRobustness, ReusesItsBuffers) {
  SanitizedSql out;
  SanitizeSql("SELECT a, b, c FROM some_table WHERE x = 1 AND y = 'something long enough to matter'", 4096, out);
  const char* text = out.text.data();
  const char* summary = out.summary.data();
  for (int i = 0; i < 10; ++i) {
    SanitizeSql("SELECT a FROM some_table WHERE x = 2", 4096, out);
    EXPECT_EQ(out.text.data(), text);
    EXPECT_EQ(out.summary.data(), summary);
  }
}

}  // namespace
}  // namespace zerotap
