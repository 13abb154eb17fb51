#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "agent/protocols/postgres.h"
#include "tests/support/postgres_builders.h"

namespace zerotap {
namespace {

using namespace postgres_test;  // NOLINT: the builders are the language of this file
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// "SELECT 2 [select 1] returned=2": everything but times and identities.
std::string Line(const RecordedExchange& exchange) {
  std::string line = exchange.Summary();
  if (exchange.query_text_truncated) line += " cut";
  if (exchange.rows_returned) line += " returned=" + std::to_string(*exchange.rows_returned);
  if (exchange.rows_affected) line += " affected=" + std::to_string(*exchange.rows_affected);
  if (exchange.transaction != 0) line += " block=" + std::to_string(exchange.transaction);
  return line;
}

std::vector<std::string> Lines(const Outcome& outcome) {
  std::vector<std::string> lines;
  for (const RecordedExchange& exchange : outcome.exchanges) lines.push_back(Line(exchange));
  return lines;
}

Outcome Play(const Conversation& talk, const ParserOptions& options = ParserOptions()) {
  Outcome outcome = RunConversation(kPostgresProtocol, talk, options);
  EXPECT_THAT(outcome.violations, IsEmpty());
  return outcome;
}

// Whether what a damaged capture says of an exchange is true.
bool IsTrue(const RecordedExchange& part, const RecordedExchange& whole) {
  bool text = part.query_text == whole.query_text || part.query_text.empty() ||
              (part.query_text_truncated &&
               whole.query_text.compare(0, part.query_text.size(), part.query_text) == 0);
  bool tag = part.command_tag == whole.command_tag || (part.command_tag.empty() && part.incomplete);
  bool times = part.start_ns == whole.start_ns && part.end_ns == whole.end_ns;
  // Of a statement that lies beyond what is known of its query's text, the place is not known
  // either.
  bool past_text = part.query_text.empty() && part.query_text_truncated && part.incomplete;
  return (part.request_offset == whole.request_offset || past_text) && text && tag &&
         part.sql_state == whole.sql_state && part.transport_error == whole.transport_error &&
         (times || part.incomplete) &&
         (!part.rows_returned || part.rows_returned == whole.rows_returned) &&
         (!part.rows_affected || part.rows_affected == whole.rows_affected);
}

std::string FirstFalse(const Outcome& part, const Outcome& whole, bool unnoticed = false) {
  auto at = whole.exchanges.begin();
  for (const RecordedExchange& exchange : part.exchanges) {
    // Bytes that are lost at the end of a stream are never noticed by the parser.
    if (unnoticed && !exchange.transport_error.empty()) continue;
    at = std::find_if(at, whole.exchanges.end(),
                      [&](const RecordedExchange& truth) { return IsTrue(exchange, truth); });
    if (at == whole.exchanges.end())
      return Line(exchange) + " at " + std::to_string(exchange.request_offset);
    ++at;
  }
  return "";
}

struct Scenario {
  std::string name;
  std::function<void(Conversation&)> talk;
  std::vector<std::string> expected;
  // The conversation depends on something that is told only once, in passing.
  bool needs_everything = false;
};

void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }

std::vector<Scenario> Scenarios() {
  return {
      {"OneSimpleQuery",
       [](Conversation& talk) {
         talk.Client(Query("SELECT a FROM t"))
             .Server(RowDescription() + Rows(2) + Complete("SELECT 2") + Ready());
       },
       {"SELECT 2 [SELECT a FROM t] returned=2"}},
      {"SimpleQueriesInTurn",
       [](Conversation& talk) {
         talk.Client(Query("INSERT INTO t VALUES (1)")).Server(Complete("INSERT 0 1") + Ready());
         talk.Client(Query("DELETE FROM t")).Server(Complete("DELETE 7") + Ready());
         talk.Client(Query("UPDATE t SET a = 1 RETURNING a"))
             .Server(RowDescription() + Rows(3) + Complete("UPDATE 3") + Ready());
         talk.Client(Query("CREATE TABLE u AS SELECT 1")).Server(Complete("SELECT 1") + Ready());
         talk.Client(Query("DROP TABLE u")).Server(Complete("DROP TABLE") + Ready());
       },
       {"INSERT 0 1 [INSERT INTO t VALUES (1)] affected=1", "DELETE 7 [DELETE FROM t] affected=7",
        "UPDATE 3 [UPDATE t SET a = 1 RETURNING a] returned=3 affected=3",
        "SELECT 1 [CREATE TABLE u AS SELECT 1] affected=1", "DROP TABLE [DROP TABLE u]"}},
      {"ManyStatementsInOneQuery",
       [](Conversation& talk) {
         talk
             .Client(Query(
                 "BEGIN; INSERT INTO t VALUES (';');;\n-- no; statement\nSELECT $$;$$ ; COMMIT;"))
             .Server(Complete("BEGIN") + Complete("INSERT 0 1") + RowDescription() + Rows(1) +
                     Complete("SELECT 1") + Complete("COMMIT") + Ready());
       },
       {"BEGIN [BEGIN] block=1", "INSERT 0 1 [INSERT INTO t VALUES (';')] affected=1 block=1",
        "SELECT 1 [-- no; statement\nSELECT $$;$$] returned=1 block=1", "COMMIT [COMMIT] block=1"}},
      {"ErrorInTheSecondOfThreeStatements",
       [](Conversation& talk) {
         talk.Client(Query("SELECT 1; SELECT 1/0; SELECT 2"))
             .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + Error("22012") + Ready());
         talk.Client(Query("SELECT 3"))
             .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + Ready());
       },
       {"SELECT 1 [SELECT 1] returned=1", "22012 [SELECT 1/0]", "SELECT 1 [SELECT 3] returned=1"}},
      {"EmptyQuery",
       [](Conversation& talk) { talk.Client(Query("")).Server(EmptyQuery() + Ready()); },
       {" []"}},
      {"SyntaxErrorInASimpleQuery",
       [](Conversation& talk) { talk.Client(Query("SELEC 1")).Server(Error("42601") + Ready()); },
       {"42601 [SELEC 1]"}},
      {"ExtendedQuery",
       [](Conversation& talk) {
         talk.Client(Statement("SELECT a FROM t WHERE b = $1", {"5"}) + Sync())
             .Server(Selected(3) + Ready());
         talk.Client(Statement("INSERT INTO t VALUES ($1)", {"6"}) + Sync())
             .Server(Done("INSERT 0 1") + Ready());
       },
       {"SELECT 3 [SELECT a FROM t WHERE b = $1] returned=3",
        "INSERT 0 1 [INSERT INTO t VALUES ($1)] affected=1"}},
      {"PreparedThenExecutedTwice",
       [](Conversation& talk) {
         talk.Client(Parse("s1", "SELECT $1", 1) + DescribeStatement("s1") + Sync())
             .Server(ParseComplete() + ParameterDescription(1) + RowDescription() + Ready());
         for (int i = 0; i < 2; ++i) {
           talk.Client(Bind("", "s1", {"x"}) + Execute() + Sync())
               .Server(BindComplete() + Rows(1) + Complete("SELECT 1") + Ready());
         }
         talk.Client(CloseStatement("s1") + Sync()).Server(CloseComplete() + Ready());
       },
       {"SELECT 1 [SELECT $1] returned=1", "SELECT 1 [SELECT $1] returned=1"}},
      {"PrepareWithFlushThenBind",
       [](Conversation& talk) {
         talk.Client(Parse("", "SELECT $1", 1) + DescribeStatement() + Flush())
             .Server(ParseComplete() + ParameterDescription(1) + RowDescription());
         talk.Client(Bind("", "", {"x"}) + Execute() + Sync())
             .Server(BindComplete() + Rows(1) + Complete("SELECT 1") + Ready());
       },
       {"SELECT 1 [SELECT $1] returned=1"}},
      {"SeveralBatchesInOneSegment",
       [](Conversation& talk) {
         talk.Client(Statement("SELECT 1") + Sync() + Statement("SELECT 2") + Sync() +
                     Statement("SELECT 3") + Sync())
             .Server(Selected(1) + Ready() + Selected(2) + Ready())
             .Server(Selected(3) + Ready());
       },
       {"SELECT 1 [SELECT 1] returned=1", "SELECT 2 [SELECT 2] returned=2",
        "SELECT 3 [SELECT 3] returned=3"}},
      {"SeveralStatementsBeforeOneSync",
       [](Conversation& talk) {
         talk.Client(Statement("BEGIN") + Statement("INSERT INTO t VALUES (1)") +
                     Statement("COMMIT") + Sync())
             .Server(Done("BEGIN") + Done("INSERT 0 1"))
             .Server(Done("COMMIT") + Ready());
       },
       {"BEGIN [BEGIN] block=1", "INSERT 0 1 [INSERT INTO t VALUES (1)] affected=1 block=1",
        "COMMIT [COMMIT] block=1"}},
      {"ErrorSkipsToSync",
       [](Conversation& talk) {
         talk.Client(Statement("SELECT 1") + Statement("SELECT 1/0") + Statement("SELECT 2") +
                     Sync() + Statement("SELECT 3") + Sync())
             .Server(Selected(1) + ParseComplete() + BindComplete() + RowDescription() +
                     Error("22012") + Ready() + Selected(1) + Ready());
       },
       {"SELECT 1 [SELECT 1] returned=1", "22012 [SELECT 1/0]", "SELECT 1 [SELECT 3] returned=1"}},
      {"ErrorBeforeTheRestOfTheBatchIsSent",
       [](Conversation& talk) {
         talk.Client(Parse("", "SELEC") + Flush()).Server(Error("42601"));
         talk.Client(Bind("", "") + Execute()).Client(Sync()).Server(Ready());
         talk.Client(Statement("SELECT 3") + Sync()).Server(Selected(1) + Ready());
       },
       {"42601 [SELEC]", "SELECT 1 [SELECT 3] returned=1"}},
      {"ErrorInParseOfAPreparation",
       [](Conversation& talk) {
         talk.Client(Parse("s1", "SELEC") + DescribeStatement("s1") + Sync())
             .Server(Error("42601") + Ready());
         talk.Client(Query("SELECT 1"))
             .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + Ready());
       },
       {"42601 [SELEC]", "SELECT 1 [SELECT 1] returned=1"}},
      {"ErrorInBind",
       [](Conversation& talk) {
         talk.Client(Parse("s1", "SELECT $1::int", 1) + Sync()).Server(ParseComplete() + Ready());
         talk.Client(Bind("", "s1", {"x"}) + Execute() + Sync()).Server(Error("22P02") + Ready());
         talk.Client(Bind("", "s2", {"x"}) + Execute() + Sync()).Server(Error("26000") + Ready());
       },
       {"22P02 [SELECT $1::int]", "26000 []"}},
      {"PortalSuspendedAndResumed",
       [](Conversation& talk) {
         talk.Client(Statement("BEGIN") + Sync()).Server(Done("BEGIN") + Ready('T'));
         talk.Client(Parse("", "SELECT a FROM t") + Bind("p", "") + Execute("p", 2) + Flush())
             .Server(ParseComplete() + BindComplete() + Rows(2) + PortalSuspended());
         talk.Client(Execute("p", 2) + Flush()).Server(Rows(2) + PortalSuspended());
         talk.Client(Execute("p", 2) + Sync()).Server(Rows(1) + Complete("SELECT 1") + Ready('T'));
         talk.Client(ClosePortal("p") + Sync()).Server(CloseComplete() + Ready('T'));
         talk.Client(Query("COMMIT")).Server(Complete("COMMIT") + Ready());
         talk.Client(Query("SELECT 1"))
             .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + Ready());
       },
       {"BEGIN [BEGIN] block=1", " [SELECT a FROM t] returned=2 block=1",
        " [SELECT a FROM t] returned=2 block=1", "SELECT 1 [SELECT a FROM t] returned=1 block=1",
        "COMMIT [COMMIT] block=1", "SELECT 1 [SELECT 1] returned=1"}},
      {"TransactionBlocks",
       [](Conversation& talk) {
         talk.Client(Query("BEGIN")).Server(Complete("BEGIN") + Ready('T'));
         talk.Client(Query("SAVEPOINT a")).Server(Complete("SAVEPOINT") + Ready('T'));
         talk.Client(Query("SELECT 1/0")).Server(Error("22012") + Ready('E'));
         talk.Client(Query("ROLLBACK TO a")).Server(Complete("ROLLBACK") + Ready('T'));
         talk.Client(Query("COMMIT AND CHAIN")).Server(Complete("COMMIT") + Ready('T'));
         talk.Client(Query("ROLLBACK")).Server(Complete("ROLLBACK") + Ready());
         talk.Client(Query("SELECT 1"))
             .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + Ready());
         talk.Client(Query("START TRANSACTION; SELECT 1; END"))
             .Server(Complete("START TRANSACTION") + RowDescription() + Rows(1) +
                     Complete("SELECT 1") + Complete("COMMIT") + Ready());
       },
       {"BEGIN [BEGIN] block=1", "SAVEPOINT [SAVEPOINT a] block=1", "22012 [SELECT 1/0] block=1",
        "ROLLBACK [ROLLBACK TO a] block=1", "COMMIT [COMMIT AND CHAIN] block=1",
        "ROLLBACK [ROLLBACK] block=2", "SELECT 1 [SELECT 1] returned=1",
        "START TRANSACTION [START TRANSACTION] block=3", "SELECT 1 [SELECT 1] returned=1 block=3",
        "COMMIT [END] block=3"}},
      {"CopyIn",
       [](Conversation& talk) {
         talk.Client(Query("COPY t FROM STDIN")).Server(CopyInResponse());
         talk.Client(CopyData("1\n") + CopyData("2\n")).Client(CopyData("3\n") + CopyDone());
         talk.Server(Complete("COPY 3") + Ready());
         talk.Client(Query("SELECT 1"))
             .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + Ready());
       },
       {"COPY 3 [COPY t FROM STDIN] affected=3", "SELECT 1 [SELECT 1] returned=1"}},
      {"CopyInFails",
       [](Conversation& talk) {
         talk.Client(Query("COPY t FROM STDIN")).Server(CopyInResponse());
         talk.Client(CopyData("1\n") + CopyFail("changed my mind"))
             .Server(Error("57014") + Ready());
         talk.Client(Query("COPY t FROM STDIN")).Server(CopyInResponse());
         talk.Client(CopyData("x\n"))
             .Server(Error("22P02") + Ready())
             .Client(CopyData("2\n") + CopyDone());
         talk.Client(Query("SELECT 1"))
             .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + Ready());
       },
       {"57014 [COPY t FROM STDIN]", "22P02 [COPY t FROM STDIN]",
        "SELECT 1 [SELECT 1] returned=1"}},
      {"CopyOut",
       [](Conversation& talk) {
         talk.Client(Query("COPY t TO STDOUT"))
             .Server(CopyOutResponse() + CopyData("1\n") + CopyData("2\n"))
             .Server(CopyDone() + Complete("COPY 2") + Ready());
       },
       {"COPY 2 [COPY t TO STDOUT] affected=2"}},
      {"CopyBoth",
       [](Conversation& talk) {
         talk.Client(Query("START_REPLICATION SLOT s LOGICAL 0/0"))
             .Server(CopyBothResponse() + CopyData("w1"));
         talk.Client(CopyData("r1")).Server(CopyData("w2")).Client(CopyDone());
         talk.Server(CopyDone() + Complete("START_REPLICATION") + Ready());
       },
       {"START_REPLICATION [START_REPLICATION SLOT s LOGICAL 0/0]"}},
      // As pg_basebackup and a standby get them: results within results, before 14 without the command's own tag.
      {"ReplicationCommandsOfSeveralResultsAreOneStatementEach",
       [](Conversation& talk) {
         talk.Client(Query("BASE_BACKUP ( LABEL 'x')"))
             .Server(RowDescription() + Rows(1) + Complete("SELECT"))
             .Server(RowDescription() + Rows(1) + Complete("SELECT"))
             .Server(CopyOutResponse() + CopyData("tar") + CopyDone())
             .Server(RowDescription() + Rows(1) + Complete("SELECT"))
             .Server(Complete("BASE_BACKUP") + Ready());
         talk.Client(Query("BASE_BACKUP LABEL 'x'"))
             .Server(RowDescription() + Rows(1) + Complete("SELECT"))
             .Server(CopyOutResponse() + CopyData("tar") + CopyDone())
             .Server(RowDescription() + Rows(1) + Complete("SELECT") + Ready());
         talk.Client(Query("START_REPLICATION 0/0")).Server(CopyBothResponse() + CopyData("w1"));
         talk.Client(CopyDone()).Server(CopyDone() + Complete("START_STREAMING"));
         talk.Server(Complete("START_REPLICATION") + Ready());
         talk.Client(Query("BASE_BACKUP")).Server(RowDescription() + Rows(1) + Complete("SELECT"));
         talk.Server(Error("57014") + Ready());
         talk.Client(Query("SELECT 1"))
             .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + Ready());
       },
       {"BASE_BACKUP [BASE_BACKUP ( LABEL 'x')] returned=3", "BASE_BACKUP [BASE_BACKUP LABEL 'x'] returned=2",
        "START_REPLICATION [START_REPLICATION 0/0]", "57014 [BASE_BACKUP]",
        "SELECT 1 [SELECT 1] returned=1"}},
      {"CopyInWithTheExtendedProtocolAndAnEarlySync",
       [](Conversation& talk) {
         talk.Client(Statement("COPY t FROM STDIN") + Sync())
             .Server(ParseComplete() + BindComplete() + NoData() + CopyInResponse());
         talk.Client(CopyData("1\n") + CopyDone() + Sync()).Server(Complete("COPY 1") + Ready());
         talk.Client(Statement("SELECT 1") + Sync()).Server(Selected(1) + Ready());
       },
       {"COPY 1 [COPY t FROM STDIN] affected=1", "SELECT 1 [SELECT 1] returned=1"}},
      {"CopyInSentAtOnce",
       [](Conversation& talk) {
         talk.Client(Statement("COPY t FROM STDIN") + Sync() + CopyData("1\n") + CopyDone() +
                     Sync())
             .Server(ParseComplete() + BindComplete() + NoData() + CopyInResponse() +
                     Complete("COPY 1") + Ready());
         talk.Client(Statement("SELECT 1") + Sync()).Server(Selected(1) + Ready());
       },
       {"COPY 1 [COPY t FROM STDIN] affected=1", "SELECT 1 [SELECT 1] returned=1"}},
      {"FunctionCall",
       [](Conversation& talk) {
         talk.Client(FunctionCall()).Server(FunctionResult() + Ready());
         talk.Client(FunctionCall()).Server(Error("42883") + Ready());
       },
       {" []", "42883 []"}},
      {"NoticesAndNotificationsAnywhere",
       [](Conversation& talk) {
         talk.Server(Notification());
         talk.Client(Query("LISTEN channel"))
             .Server(Notice() + Complete("LISTEN") + Notification() + Ready());
         talk.Server(ParameterStatus("TimeZone", "UTC") + Notice());
         talk.Client(Statement("SELECT 1") + Sync())
             .Server(ParseComplete() + Notice() + BindComplete() + RowDescription() + Notice() +
                     Rows(1) + Notification() + Complete("SELECT 1") +
                     ParameterStatus("DateStyle", "ISO") + Ready());
       },
       {"LISTEN [LISTEN channel]", "SELECT 1 [SELECT 1] returned=1"}},
      {"AllParsesBeforeAllBinds",
       [](Conversation& talk) {
         talk.Client(Parse("a", "SELECT 1") + Parse("b", "SELECT 2") + Bind("", "a") + Execute() +
                     Bind("", "b") + Execute() + Sync())
             .Server(ParseComplete() + ParseComplete() + BindComplete() + Rows(1) +
                     Complete("SELECT 1") + BindComplete() + Rows(2) + Complete("SELECT 2") +
                     Ready());
         talk.Client(Parse("c", "SELECT 3") + Parse("d", "SELEC") + Bind("", "c") + Execute() +
                     Bind("", "d") + Execute() + Sync())
             .Server(ParseComplete() + Error("42601") + Ready());
         talk.Client(Bind("", "c") + Execute() + Sync())
             .Server(BindComplete() + Rows(1) + Complete("SELECT 1") + Ready());
       },
       {"SELECT 1 [SELECT 1] returned=1", "SELECT 2 [SELECT 2] returned=2", "42601 [SELEC]",
        "SELECT 1 [SELECT 3] returned=1"}},
      {"PreparedStatementsAreForgotten",
       [](Conversation& talk) {
         auto prepare = [&](const std::string& name) {
           talk.Client(Parse(name, "SELECT '" + name + "'") + Sync())
               .Server(ParseComplete() + Ready());
         };
         auto run = [&](const std::string& name) {
           talk.Client(Bind("", name) + Execute() + Sync())
               .Server(BindComplete() + Rows(1) + Complete("SELECT 1") + Ready());
         };
         auto command = [&](const std::string& sql, const std::string& tag) {
           talk.Client(Query(sql)).Server(Complete(tag) + Ready());
         };
         prepare("a");
         prepare("b");
         prepare("C");
         command("DEALLOCATE a", "DEALLOCATE");
         command("DEALLOCATE PREPARE c", "DEALLOCATE");
         run("a");
         run("b");
         run("C");
         command("DEALLOCATE \"C\"", "DEALLOCATE");
         run("C");
         command("PREPARE b AS SELECT 5", "PREPARE");
         run("b");
         prepare("d");
         command("DISCARD ALL", "DISCARD ALL");
         run("d");
       },
       {"DEALLOCATE [DEALLOCATE a]", "DEALLOCATE [DEALLOCATE PREPARE c]", "SELECT 1 [] returned=1",
        "SELECT 1 [SELECT 'b'] returned=1", "SELECT 1 [SELECT 'C'] returned=1",
        "DEALLOCATE [DEALLOCATE \"C\"]", "SELECT 1 [] returned=1",
        "PREPARE [PREPARE b AS SELECT 5]", "SELECT 1 [] returned=1", "DISCARD ALL [DISCARD ALL]",
        "SELECT 1 [] returned=1"}},
      {"ConnectionResetWithStatementsInFlight",
       [](Conversation& talk) {
         talk.Client(Query("SELECT pg_sleep(100)"))
             .Server(RowDescription())
             .Close(EndReason::kReset);
       },
       {" [SELECT pg_sleep(100)] !connection_reset"}},
      {"TimeoutOfAPipelineEndsWhatCertainlyRan",
       [](Conversation& talk) {
         talk.Client(Statement("SELECT 1") + Statement("SELECT 2") + Sync())
             .Close(EndReason::kTimeout);
       },
       {" [SELECT 1] !timeout"}},
      {"ServerGoesAwayWithAFatalError",
       [](Conversation& talk) {
         talk.Client(Query("SELECT pg_sleep(100)"))
             .Server(Error("57P01", "FATAL"))
             .ServerEnd()
             .Close();
       },
       {"57P01 [SELECT pg_sleep(100)]"}},
      {"IdleConnectionIsTerminated",
       [](Conversation& talk) {
         talk.Client(Query("SELECT 1"))
             .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + Ready());
         talk.Server(Error("57P01", "FATAL")).ServerEnd().Close();
       },
       {"SELECT 1 [SELECT 1] returned=1"}},
      {"OrderlyEnd",
       [](Conversation& talk) {
         talk.Client(Query("SELECT 1"))
             .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + Ready());
         talk.Client(Terminate()).ClientEnd().Close();
       },
       {"SELECT 1 [SELECT 1] returned=1"}},
      {"StandardStringsOff",
       [](Conversation& talk) {
         talk.Client(Query("SET standard_conforming_strings = off"))
             .Server(Complete("SET") + ParameterStatus("standard_conforming_strings", "off") +
                     Ready());
         talk.Client(Query("SELECT 'a\\';b'; SELECT 2"))
             .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + RowDescription() +
                     Rows(2) + Complete("SELECT 2") + Ready());
       },
       {"SET [SET standard_conforming_strings = off]", "SELECT 1 [SELECT 'a\\';b'] returned=1",
        "SELECT 2 [SELECT 2] returned=2"},
       true},
      {"DeferredConstraintFailsAtSync",
       [](Conversation& talk) {
         talk.Client(Statement("INSERT INTO t VALUES (1)") + Sync())
             .Server(Done("INSERT 0 1") + Error("23503") + Ready());
         talk.Client(Statement("SELECT 1") + Sync()).Server(Selected(1) + Ready());
       },
       {"INSERT 0 1 [INSERT INTO t VALUES (1)] affected=1", "SELECT 1 [SELECT 1] returned=1"},
       true},
  };
}

Conversation Talk(const Scenario& scenario, Role role) {
  Conversation talk = LoggedIn(role);
  scenario.talk(talk);
  return talk;
}

class PostgresScenario : public ::testing::TestWithParam<Scenario> {};

INSTANTIATE_TEST_SUITE_P(, PostgresScenario, ::testing::ValuesIn(Scenarios()),
                         [](const ::testing::TestParamInfo<Scenario>& tested) {
                           return tested.param.name;
                         });

TEST_P(PostgresScenario, GivesItsExchangesAtBothEnds) {
  for (Role role : {Role::kClient, Role::kServer}) {
    Outcome outcome = Play(Talk(GetParam(), role));
    EXPECT_EQ(Lines(outcome), GetParam().expected);
    EXPECT_THAT(outcome.drops, IsEmpty());
    EXPECT_EQ(outcome.status, ParseStatus::kOk);
    for (const RecordedExchange& exchange : outcome.exchanges) {
      EXPECT_EQ(exchange.name_space, "shop");
      EXPECT_EQ(exchange.user, "app");
      EXPECT_EQ(exchange.application_name, "till");
      EXPECT_EQ(exchange.system, "postgresql");
      EXPECT_EQ(exchange.default_port, 5432);
      EXPECT_FALSE(exchange.incomplete);
    }
  }
}

TEST_P(PostgresScenario, BothEndsSeeTheSameOffsets) {
  Outcome client = Play(Talk(GetParam(), Role::kClient));
  Outcome server = Play(Talk(GetParam(), Role::kServer));
  ASSERT_EQ(client.exchanges.size(), server.exchanges.size());
  std::vector<uint64_t> offsets;
  for (size_t i = 0; i < client.exchanges.size(); ++i) {
    EXPECT_EQ(client.exchanges[i].request_offset, server.exchanges[i].request_offset);
    offsets.push_back(client.exchanges[i].request_offset);
  }
  std::sort(offsets.begin(), offsets.end());
  EXPECT_EQ(std::unique(offsets.begin(), offsets.end()), offsets.end());
}

TEST_P(PostgresScenario, IsTheSameHoweverItIsCut) {
  Conversation talk = Talk(GetParam(), Role::kClient);
  Outcome whole = Play(talk);
  for (size_t position = 1; position < talk.data_bytes(); ++position) {
    Outcome cut = Play(CutAt(talk, position));
    ASSERT_EQ(Lines(cut), Lines(whole)) << "cut at " << position;
    ASSERT_TRUE(cut.exchanges == whole.exchanges) << "cut at " << position;
    ASSERT_TRUE(cut.drops == whole.drops) << "cut at " << position;
  }
  for (size_t size : {1, 2, 3, 7, 64}) {
    Outcome cut = Play(CutEvery(talk, size));
    EXPECT_TRUE(cut.exchanges == whole.exchanges) << "pieces of " << size;
  }
}

TEST_P(PostgresScenario, SaysNothingFalseWithoutItsStart) {
  if (GetParam().needs_everything) return;
  for (Role role : {Role::kClient, Role::kServer}) {
    Conversation talk = Talk(GetParam(), role);
    Outcome whole = Play(talk);
    for (size_t steps = 1; steps <= talk.steps().size(); ++steps) {
      Outcome rest = Play(WithoutStart(talk, steps));
      EXPECT_EQ(FirstFalse(rest, whole), "") << steps << " steps missing";
      EXPECT_NE(rest.status, ParseStatus::kInvalid);
    }
  }
}

TEST_P(PostgresScenario, SaysNothingFalseWithHoles) {
  if (GetParam().needs_everything) return;
  Conversation talk = Talk(GetParam(), Role::kClient);
  Outcome whole = Play(talk);
  const size_t bytes = talk.data_bytes();
  for (bool lost : {false, true}) {
    for (size_t length : {1, 3, 5, 6, 11, 17, 30, 64, 150}) {
      for (size_t from = 0; from < bytes; ++from) {
        Outcome holed = Play(WithoutRange(talk, from, std::min(bytes, from + length), lost));
        ASSERT_EQ(FirstFalse(holed, whole, lost), "")
            << "without " << length << " bytes from " << from << (lost ? " lost" : " skipped");
      }
    }
  }
}

TEST_P(PostgresScenario, SaysNothingFalseWithTwoHoles) {
  if (GetParam().needs_everything) return;
  Conversation talk = Talk(GetParam(), Role::kServer);
  Outcome whole = Play(talk);
  const size_t bytes = talk.data_bytes();
  for (bool lost : {false, true}) {
    for (size_t first = 0; first < bytes; first += 7) {
      Conversation once = WithoutRange(talk, first, std::min(bytes, first + 9), lost);
      const size_t left = once.data_bytes();
      for (size_t second = first; second < left; second += 11) {
        Outcome holed = Play(WithoutRange(once, second, std::min(left, second + 13), lost));
        ASSERT_EQ(FirstFalse(holed, whole, lost), "")
            << "holes at " << first << " and " << second << (lost ? " lost" : "");
      }
    }
  }
}

TEST_P(PostgresScenario, RecoversAfterAHole) {
  // Whatever was lost, the third request after it is paired again.
  Scenario scenario = GetParam();
  Conversation talk = Talk(scenario, Role::kClient);
  const size_t bytes = talk.data_bytes();
  for (const Step& step : talk.steps()) {
    if (step.kind != Step::Kind::kData && step.kind != Step::Kind::kGap) return;  // it ends
  }
  for (int i = 0; i < 3; ++i) {
    talk.Client(Query("SELECT 'after'"))
        .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + Ready());
  }
  for (bool lost : {false, true}) {
    for (size_t from = 0; from + 8 < bytes; ++from) {
      Outcome holed = Play(WithoutRange(talk, from, from + 8, lost));
      if (holed.status == ParseStatus::kDone) continue;
      ASSERT_FALSE(holed.exchanges.empty()) << from << (lost ? " lost" : "");
      EXPECT_EQ(holed.exchanges.back().query_text, "SELECT 'after'")
          << from << (lost ? " lost" : "");
    }
  }
}

}  // namespace
}  // namespace zerotap
