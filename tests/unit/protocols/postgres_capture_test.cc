// What the PostgreSQL parser makes of captures that are not the whole conversation: cut by budgets,
// encrypted, out of bounds; and when it tells the sink.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "agent/protocols/postgres.h"
#include "tests/support/postgres_builders.h"

namespace zerotap {
namespace {

using namespace postgres_test;  // NOLINT: the builders are the language of this file
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Outcome Play(const Conversation& talk, const ParserOptions& options = ParserOptions()) {
  Outcome outcome = RunConversation(kPostgresProtocol, talk, options);
  EXPECT_THAT(outcome.violations, IsEmpty());
  EXPECT_EQ(outcome.begun, outcome.exchanges.size() + outcome.drops.size());
  return outcome;
}

// ---- How a connection begins ----

TEST(PostgresStartTest, RefusedEncryptionGoesOnInClear) {
  Conversation talk(Role::kClient);
  talk.Client(GssEncRequest()).Server("N").Client(SslRequest()).Server("N");
  talk.Client(Startup({{"user", "app"}})).Server(AuthenticationOk() + Ready());
  talk.Client(Query("SELECT 1")).Server(SelectAnswer());
  for (size_t size : {1, 4, 1000}) {
    Outcome outcome = Play(CutEvery(talk, size));
    ASSERT_EQ(outcome.exchanges.size(), 1u);
    EXPECT_EQ(outcome.exchanges[0].name_space, "app");  // the default database is the user's
    EXPECT_EQ(outcome.exchanges[0].user, "app");
  }
}

TEST(PostgresStartTest, AcceptedEncryptionEndsTheParsing) {
  for (const char* reply : {"S", "G"}) {
    Conversation talk(Role::kServer);
    talk.Client(SslRequest()).Server(reply).Client("\x16\x03\x01 hello");
    Outcome outcome = Play(talk);
    EXPECT_EQ(outcome.status, ParseStatus::kDone);
    EXPECT_EQ(outcome.begun, 0u);
  }
}

TEST(PostgresStartTest, CancelRequestIsNoExchange) {
  Conversation talk(Role::kServer);
  talk.Client(CancelRequest()).ClientEnd().Close();
  Outcome outcome = Play(talk);
  EXPECT_EQ(outcome.status, ParseStatus::kDone);
  EXPECT_EQ(outcome.begun, 0u);
}

TEST(PostgresStartTest, ProtocolIsNegotiatedAndPasswordsAreExchanged) {
  Conversation talk(Role::kClient);
  talk.Client(Startup({{"user", "app"}, {"database", "shop"}, {"_pq_.option", "1"}}, 3 << 16 | 2));
  talk.Server(Message('v', Int32(0) + Int32(1) + Text("_pq_.option")) + AuthenticationSasl());
  talk.Client(Password("first")).Server(Message('R', Int32(11) + "challenge"));
  talk.Client(Password("proof")).Server(Message('R', Int32(12) + "final") + AuthenticationOk());
  talk.Server(ParameterStatus("application_name", "") +
              Message('K', Int32(1) + std::string(32, 'k')) + Ready());
  talk.Client(Query("SELECT 1")).Server(SelectAnswer());
  talk.Client(Query("SET application_name = 'x'"))
      .Server(Complete("SET") + ParameterStatus("application_name", "x") + Ready());
  talk.Client(Query("SELECT 2")).Server(SelectAnswer());
  Outcome outcome = Play(CutEvery(talk, 5));
  EXPECT_THAT(outcome.Summaries(),
              ElementsAre("SELECT 1 [SELECT 1]", "SET [SET application_name = 'x']",
                          "SELECT 1 [SELECT 2]"));
  EXPECT_EQ(outcome.exchanges[0].application_name, "");
  EXPECT_EQ(outcome.exchanges[2].application_name, "x");
}

TEST(PostgresStartTest, RefusedLoginIsNoExchange) {
  Conversation talk(Role::kServer);
  talk.Client(Startup({{"user", "app"}})).Server(Message('R', Int32(3))).Client(Password("wrong"));
  talk.Server(Error("28P01", "FATAL")).ServerEnd().Close();
  Outcome outcome = Play(talk);
  EXPECT_EQ(outcome.begun, 0u);
}

TEST(PostgresStartTest, AnotherProtocolIsInvalid) {
  for (std::string first :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string("\0\0\0\x10\0\x02\0\0user\0", 13),
        std::string("\x16\x03\x01\x02\0\x01\0\x01", 8)}) {
    Conversation talk(Role::kServer);
    talk.Client(first + std::string(100, '\0'));
    EXPECT_EQ(Play(talk).status, ParseStatus::kInvalid);
  }
}

TEST(PostgresStartTest, GarbageInAKnownStreamDropsWhatIsInFlight) {
  Conversation talk = LoggedIn(Role::kServer);
  talk.Client(Query("SELECT 1")).Server("garbage!");
  Outcome outcome = Play(talk);
  EXPECT_EQ(outcome.status, ParseStatus::kInvalid);
  ASSERT_EQ(outcome.drops.size(), 1u);
  EXPECT_EQ(outcome.drops[0].reason, DropReason::kInvalid);
}

// ---- Identity and times ----

TEST(PostgresTimesTest, AnExchangeIsItsOwnStatementsFromFirstMessageToCompletion) {
  Conversation talk = LoggedIn(Role::kClient);
  std::string parse = Parse("", "SELECT 1") + DescribeStatement() + Flush();
  talk.At(10'000).Thread(70).Client(parse);
  talk.At(20'000).Server(ParseComplete() + ParameterDescription() + RowDescription());
  talk.At(30'000).Thread(71, false).Context(5, 4).Client(Bind("", "") + Execute() + Bind("", "") +
                                                         Execute() + Sync());
  talk.At(40'000).Server(BindComplete() + Rows(1));
  talk.At(50'000).Server(Complete("SELECT 1") + BindComplete());
  talk.At(60'000).Server(Rows(2) + Complete("SELECT 2") + Ready());
  Outcome outcome = Play(talk);
  ASSERT_EQ(outcome.exchanges.size(), 2u);
  const uint64_t login_bytes = 54;
  // Its Parse was flushed away, so the statement begins with its Bind.
  EXPECT_EQ(outcome.exchanges[0].start_ns, 30'000u);
  EXPECT_EQ(outcome.exchanges[0].request_offset, login_bytes + parse.size());
  EXPECT_EQ(outcome.exchanges[0].end_ns, 50'010u);
  EXPECT_EQ(outcome.exchanges[0].tid, 71u);
  EXPECT_FALSE(outcome.exchanges[0].blocking);
  EXPECT_EQ(outcome.exchanges[0].context_id, 5u);
  EXPECT_EQ(outcome.exchanges[0].parent_context_id, 4u);
  EXPECT_EQ(outcome.exchanges[1].request_offset,
            login_bytes + parse.size() + Bind("", "").size() + Execute().size());
  EXPECT_EQ(outcome.exchanges[1].end_ns, 60'010u);
}

TEST(PostgresTimesTest, AStatementBeginsWithItsParseInTheSameBatch) {
  Conversation talk = LoggedIn(Role::kServer);
  talk.At(10'000).Client(Statement("SELECT 1") + Sync());
  talk.At(20'000).Server(Selected(1) + Ready());
  Outcome outcome = Play(talk);
  ASSERT_EQ(outcome.exchanges.size(), 1u);
  EXPECT_EQ(outcome.exchanges[0].request_offset, 54u);
  EXPECT_EQ(outcome.exchanges[0].start_ns, 10'000u);
  EXPECT_EQ(outcome.exchanges[0].end_ns, 20'010u);
}

class CountingSink : public ExchangeSink {
 public:
  WorkId BeginRequest(const RequestStart& start) override {
    offsets.push_back(start.request_offset);
    return offsets.size();
  }
  void EndExchange(const Exchange&) override { ++ended; }
  void DropRequest(WorkId, DropReason) override { ++dropped; }
  std::vector<uint64_t> offsets;
  size_t ended = 0;
  size_t dropped = 0;
};

class Session {
 public:
  explicit Session(bool from_first_byte = false)
      : parser_(kPostgresProtocol.make_parser(Role::kServer, from_first_byte, options, sink)) {}
  ParseStatus Client(const std::string& bytes) { return Feed(Direction::kIngress, bytes); }
  ParseStatus Server(const std::string& bytes) { return Feed(Direction::kEgress, bytes); }
  size_t memory() const { return parser_->MemorySize(); }

  ParserOptions options;
  CountingSink sink;

 private:
  ParseStatus Feed(Direction direction, const std::string& bytes) {
    Chunk chunk;
    chunk.bytes = AsBytes(bytes);
    chunk.offset = offsets_[static_cast<size_t>(direction)];
    chunk.start_ns = chunk.end_ns = ++now_;
    offsets_[static_cast<size_t>(direction)] += bytes.size();
    return parser_->OnData(direction, chunk);
  }
  std::unique_ptr<Parser> parser_;
  uint64_t offsets_[2] = {0, 0};
  uint64_t now_ = 1;
};

TEST(PostgresBeginTest, AStatementBeginsAsSoonAsItIsCertainToBeExecuted) {
  Session session;
  session.Client(Query("SELECT 1"));
  EXPECT_EQ(session.sink.offsets.size(), 1u);
  session.Server(SelectAnswer());
  EXPECT_EQ(session.sink.ended, 1u);
  session.Client(Statement("SELECT 2"));
  EXPECT_EQ(session.sink.offsets.size(), 2u) << "at its Execute, before the Sync";
  session.Client(Statement("SELECT 3"));
  EXPECT_EQ(session.sink.offsets.size(), 2u) << "the one before it may fail";
  session.Client(Sync());
  session.Server(ParseComplete() + BindComplete() + RowDescription());
  EXPECT_EQ(session.sink.offsets.size(), 2u);
  session.Server(Complete("SELECT 0"));
  EXPECT_EQ(session.sink.offsets.size(), 3u) << "its turn has come";
  session.Client(Statement("SELECT 4") + Sync());
  EXPECT_EQ(session.sink.offsets.size(), 4u) << "behind a Sync nothing before it matters";
  session.Server(Selected(1) + Ready() + Selected(1) + Ready());
  EXPECT_EQ(session.sink.ended, 4u);
  EXPECT_EQ(session.sink.dropped, 0u);
}

TEST(PostgresBeginTest, AnExchangeEndsWithItsCompletionNotWithTheNextActivity) {
  Session session;
  session.Client(Query("SELECT 1"));
  session.Server(RowDescription() + Rows(1) + Complete("SELECT 1"));
  EXPECT_EQ(session.sink.ended, 1u);
}

TEST(PostgresBeginTest, SkippedStatementsWereNeverRequests) {
  Conversation talk = LoggedIn(Role::kClient);
  talk.Client(Statement("SELECT 1/0") + Statement("SELECT 2") + Statement("SELECT 3") + Sync());
  talk.Server(ParseComplete() + BindComplete() + RowDescription() + Error("22012") + Ready());
  Outcome outcome = Play(talk);
  EXPECT_EQ(outcome.begun, 1u);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("22012 [SELECT 1/0]"));
}

// ---- Budgets ----

TEST(PostgresBudgetTest, ABigResultIsExactFromItsEdges) {
  for (const std::string& request :
       {Query("SELECT a FROM big"), Statement("SELECT a FROM big") + Sync()}) {
    Conversation talk = LoggedIn(Role::kServer);
    talk.At(100'000).Client(request);
    std::string answer = request[0] == 'P' ? ParseComplete() + BindComplete() : "";
    answer += RowDescription();
    talk.Server(answer + Rows(700));
    for (int i = 0; i < 20; ++i) talk.Server(Rows(700));
    talk.At(900'000).Server(Rows(100) + Complete("SELECT 14800") + ParameterStatus("a", "b") +
                            Ready());
    talk.Client(Query("SELECT 2")).Server(SelectAnswer());
    for (size_t size : {100000, 64, 1}) {
      Outcome outcome = Play(CutEvery(HeadsAndTails(talk, 128, 128), size));
      ASSERT_THAT(outcome.Summaries(),
                  ElementsAre("SELECT 14800 [SELECT a FROM big]", "SELECT 1 [SELECT 2]"));
      EXPECT_EQ(outcome.exchanges[0].rows_returned, 14800u);
      EXPECT_EQ(outcome.exchanges[0].end_ns, 900'010u);
      EXPECT_TRUE(outcome.exchanges[0].incomplete);
      EXPECT_FALSE(outcome.exchanges[1].incomplete);
      EXPECT_THAT(outcome.drops, IsEmpty());
    }
  }
}

TEST(PostgresBudgetTest, ABigRowWhoseHeaderWasSeenHidesNothing) {
  Conversation talk = LoggedIn(Role::kClient);
  talk.Client(Query("SELECT a FROM big"))
      .Server(RowDescription() + DataRow(std::string(1 << 20, 'x')) + DataRow("y") +
              Complete("SELECT 2") + Ready());
  Outcome outcome = Play(HeadsAndTails(talk, 128, 128));
  ASSERT_EQ(outcome.exchanges.size(), 1u);
  EXPECT_FALSE(outcome.exchanges[0].incomplete);
  EXPECT_EQ(outcome.exchanges[0].rows_returned, 2u);
}

TEST(PostgresBudgetTest, AnErrorBehindABigResultIsExact) {
  Conversation talk = LoggedIn(Role::kClient);
  talk.Client(Query("SELECT 1 / (1000 - a) FROM big"))
      .Server(RowDescription() + Rows(999) + Error("22012") + Ready());
  Outcome outcome = Play(HeadsAndTails(talk, 128, 128));
  EXPECT_THAT(outcome.Summaries(), ElementsAre("22012 [SELECT 1 / (1000 - a) FROM big]"));
  // Its header is outside of the edge: that it failed cannot be told.
  outcome = Play(HeadsAndTails(talk, 128, 20));
  EXPECT_THAT(outcome.exchanges, IsEmpty());
  ASSERT_EQ(outcome.drops.size(), 1u);
  EXPECT_EQ(outcome.drops[0].reason, DropReason::kCaptureGap);
}

TEST(PostgresBudgetTest, OfSeveralStatementsBehindAHoleTheLastIsTold) {
  Conversation talk = LoggedIn(Role::kClient);
  talk.Client(Query("SELECT 1; SELECT a FROM big; UPDATE t SET a = 1; SELECT 3"))
      .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + RowDescription() + Rows(500) +
              Complete("SELECT 500") + Complete("UPDATE 5") + RowDescription() + Rows(500) +
              Complete("SELECT 501") + Ready());
  talk.Client(Statement("SELECT a FROM big") + Statement("SELECT 4") + Sync());
  talk.Server(Selected(500) + Selected(400) + Ready());
  talk.Client(Query("SELECT 5")).Server(SelectAnswer());
  Outcome outcome = Play(HeadsAndTails(talk, 128, 64));
  EXPECT_THAT(outcome.Summaries(), ElementsAre("SELECT 1 [SELECT 1]", "SELECT 501 [SELECT 3]",
                                               "SELECT 400 [SELECT 4]", "SELECT 1 [SELECT 5]"));
  EXPECT_EQ(outcome.drops.size(), 3u);  // the big one and the UPDATE; the big one of the batch
}

TEST(PostgresBudgetTest, SeveralBatchesBehindAHoleAreDroppedNotGuessed) {
  Conversation talk = LoggedIn(Role::kClient);
  talk.Client(Statement("SELECT a FROM big") + Sync() + Statement("SELECT 2") + Sync());
  talk.Server(Selected(500) + Ready() + Selected(1) + Ready());
  for (int i = 0; i < 3; ++i) talk.Client(Query("SELECT 3")).Server(SelectAnswer());
  Outcome outcome = Play(HeadsAndTails(talk, 64, 128));
  EXPECT_FALSE(outcome.exchanges.empty());
  for (const std::string& summary : outcome.Summaries()) EXPECT_EQ(summary, "SELECT 1 [SELECT 3]");
  EXPECT_EQ(outcome.exchanges.size() + outcome.drops.size(), 5u);
}

TEST(PostgresBudgetTest, CopyOfAnySizeIsOneExchange) {
  Conversation talk = LoggedIn(Role::kClient);
  talk.Client(Query("BEGIN")).Server(Complete("BEGIN") + Ready('T'));
  talk.Client(Query("COPY t FROM STDIN")).Server(CopyInResponse());
  for (int i = 0; i < 30; ++i) {
    std::string data;
    for (int row = 0; row < 300; ++row) data += CopyData("some row of data\n");
    talk.Client(data);
  }
  talk.Client(CopyDone()).Server(Complete("COPY 9000") + Ready('T'));
  talk.Client(Query("COPY t TO STDOUT")).Server(CopyOutResponse());
  for (int i = 0; i < 30; ++i) {
    std::string data;
    for (int row = 0; row < 300; ++row) data += CopyData("some row of data\n");
    talk.Server(data);
  }
  talk.Server(CopyDone() + Complete("COPY 9000") + Ready('T'));
  talk.Client(Query("COMMIT")).Server(Complete("COMMIT") + Ready());
  Outcome outcome = Play(HeadsAndTails(talk, 128, 128));
  EXPECT_THAT(outcome.Summaries(), ElementsAre("BEGIN [BEGIN]", "COPY 9000 [COPY t FROM STDIN]",
                                               "COPY 9000 [COPY t TO STDOUT]", "COMMIT [COMMIT]"));
  EXPECT_THAT(outcome.drops, IsEmpty());
  for (const RecordedExchange& exchange : outcome.exchanges) EXPECT_EQ(exchange.transaction, 1u);
}

TEST(PostgresBudgetTest, StatementsThatAGapHidesAreAccountedFor) {
  Conversation talk = LoggedIn(Role::kClient);
  std::string batch = Parse("", "INSERT INTO t VALUES ($1)", 1);
  std::string answer = ParseComplete();
  constexpr size_t kStatements = 200;
  for (size_t i = 0; i < kStatements; ++i) {
    batch += Bind("", "", {"value"}) + Execute();
    answer += BindComplete() + Complete("INSERT 0 1");
  }
  talk.Client(batch + Sync()).Server(answer + Ready());
  for (int i = 0; i < 2; ++i) talk.Client(Query("SELECT 1")).Server(SelectAnswer());
  Conversation trimmed = talk;
  trimmed.steps()[2] = SliceOf(talk.steps()[2], 0, 500);
  Step gap = SliceOf(talk.steps()[2], 500, 0);
  gap.kind = Step::Kind::kGap;
  gap.gap_length = talk.steps()[2].bytes.size() - 500;
  trimmed.steps().insert(trimmed.steps().begin() + 3, gap);
  Outcome outcome = Play(trimmed);
  EXPECT_EQ(outcome.begun, kStatements + 2);
  EXPECT_GT(outcome.exchanges.size(), 10u);
  EXPECT_EQ(outcome.exchanges.back().Summary(), "SELECT 1 [SELECT 1]");
  for (const RecordedDrop& drop : outcome.drops) EXPECT_EQ(drop.reason, DropReason::kCaptureGap);
}

TEST(PostgresBudgetTest, ALongQueryIsCutNotLost) {
  std::string sql = "INSERT INTO t VALUES ('" + std::string(100'000, 'x') + "')";
  Conversation talk = LoggedIn(Role::kClient);
  talk.Client(Query(sql)).Server(Complete("INSERT 0 1") + Ready());
  talk.Client(Parse("s", sql) + Bind("", "s") + Execute() + Sync())
      .Server(ParseComplete() + BindComplete() + Complete("INSERT 0 1") + Ready());
  ParserOptions options;
  options.max_query_bytes = 1000;
  for (const Conversation& seen : {talk, CutEvery(talk, 777), HeadsAndTails(talk, 2000, 128)}) {
    Outcome outcome = Play(seen, options);
    ASSERT_EQ(outcome.exchanges.size(), 2u);
    for (const RecordedExchange& exchange : outcome.exchanges) {
      EXPECT_EQ(exchange.query_text, sql.substr(0, 1000));
      EXPECT_TRUE(exchange.query_text_truncated);
    }
  }
  // The capture is shorter than what would be kept.
  Outcome outcome = Play(HeadsAndTails(talk, 500, 128));
  ASSERT_EQ(outcome.exchanges.size(), 2u);
  EXPECT_EQ(outcome.exchanges[0].query_text, sql.substr(0, 500 - 5));
  EXPECT_TRUE(outcome.exchanges[0].query_text_truncated);
  EXPECT_FALSE(outcome.exchanges[0].incomplete);
}

TEST(PostgresBudgetTest, ACutNeverSplitsACharacter) {
  Conversation talk = LoggedIn(Role::kClient);
  talk.Client(Query("SELECT '\xC3\xA4\xC3\xA4\xC3\xA4'")).Server(SelectAnswer());
  ParserOptions options;
  options.max_query_bytes = 11;
  Outcome outcome = Play(talk, options);
  ASSERT_EQ(outcome.exchanges.size(), 1u);
  EXPECT_EQ(outcome.exchanges[0].query_text, "SELECT '\xC3\xA4");
}

TEST(PostgresBudgetTest, AnswersBehindAHoleAtTheEndAreNotCalledAFailure) {
  Conversation talk = LoggedIn(Role::kClient);
  talk.Client(Query("SELECT 1")).ServerGap(500).Close(EndReason::kReset);
  Outcome outcome = Play(talk);
  EXPECT_THAT(outcome.exchanges, IsEmpty());
  ASSERT_EQ(outcome.drops.size(), 1u);
  EXPECT_EQ(outcome.drops[0].reason, DropReason::kCaptureGap);
}

// ---- Bounds ----

TEST(PostgresBoundsTest, StatementsBeyondTheLimitAreDroppedAndThePairingGoesOn) {
  Conversation talk = LoggedIn(Role::kClient);
  std::string asked;
  std::string answered;
  constexpr size_t kStatements = 5000;
  for (size_t i = 0; i < kStatements; ++i) {
    asked += Statement("SELECT " + std::to_string(i)) + Sync();
    answered += Selected(1) + Ready();
  }
  talk.Client(asked).Server(answered);
  talk.Client(Query("SELECT 'after'")).Server(SelectAnswer());
  ParserOptions options;
  options.max_requests_in_flight = 100;
  Outcome outcome = Play(talk, options);
  EXPECT_EQ(outcome.begun, kStatements + 1);
  ASSERT_EQ(outcome.exchanges.size(), 101u);
  EXPECT_EQ(outcome.exchanges[99].query_text, "SELECT 99");
  EXPECT_EQ(outcome.exchanges.back().query_text, "SELECT 'after'");
  for (const RecordedDrop& drop : outcome.drops) EXPECT_EQ(drop.reason, DropReason::kParserLimit);
}

TEST(PostgresBoundsTest, PreparedStatementsAreBoundedLeastRecentlyUsedFirst) {
  Conversation talk = LoggedIn(Role::kClient);
  auto prepare = [&](const std::string& name) {
    talk.Client(Parse(name, "SELECT '" + name + "'") + Sync()).Server(ParseComplete() + Ready());
  };
  auto run = [&](const std::string& name) {
    talk.Client(Bind("", name) + Execute() + Sync())
        .Server(BindComplete() + Rows(1) + Complete("SELECT 1") + Ready());
  };
  prepare("a");
  prepare("b");
  prepare("c");
  run("a");
  prepare("d");  // "b" goes
  run("a");
  run("b");
  run("c");
  run("d");
  ParserOptions options;
  options.max_prepared_statements = 3;
  EXPECT_THAT(Play(talk, options).Summaries(),
              ElementsAre("SELECT 1 [SELECT 'a']", "SELECT 1 [SELECT 'a']", "SELECT 1 []",
                          "SELECT 1 [SELECT 'c']", "SELECT 1 [SELECT 'd']"));
}

TEST(PostgresBoundsTest, MemoryIsBoundedWhateverIsPrepared) {
  Session session;
  std::string text(16 * 1024, 'x');
  for (int i = 0; i < 3000; ++i) {
    std::string name = "statement with a name of some length " + std::to_string(i);
    ASSERT_EQ(session.Client(Parse(name, text) + Bind(name, name) + Sync()), ParseStatus::kOk);
    ASSERT_EQ(session.Server(ParseComplete() + BindComplete() + Ready('T')), ParseStatus::kOk);
  }
  EXPECT_LT(session.memory(), 8u << 20);
}

TEST(PostgresBoundsTest, MemoryIsBoundedWhenNothingIsAnswered) {
  Session session;
  session.Client(Query("SELECT 1"));
  session.Server(SelectAnswer());
  std::string text(1000, 'x');
  for (int i = 0; i < 30'000; ++i)
    session.Client(Statement(text) + DescribeStatement() + CloseStatement("x"));
  EXPECT_LT(session.memory(), 8u << 20);
}

TEST(PostgresBoundsTest, AnIdleSessionIsSmall) {
  Session session;
  for (int i = 0; i < 100; ++i) {
    session.Client(Query("SELECT " + std::string(10'000, ' ') + "1"));
    session.Server(SelectAnswer());
  }
  EXPECT_LT(session.memory(), 40u << 10);
}

TEST(PostgresBoundsTest, RandomBytesGiveNoExchange) {
  std::mt19937 random(20240101);
  for (int round = 0; round < 2000; ++round) {
    Conversation talk(round % 2 == 0 ? Role::kClient : Role::kServer);
    talk.set_from_first_byte(round % 4 < 2);
    for (int step = 0; step < 10; ++step) {
      std::string bytes(random() % 200, '\0');
      for (char& byte : bytes) byte = static_cast<char>(random() % (round % 3 == 0 ? 8 : 256));
      if (random() % 2 == 0) {
        talk.Client(bytes);
      } else {
        talk.Server(bytes);
      }
    }
    Outcome outcome = Play(talk);
    EXPECT_THAT(outcome.exchanges, IsEmpty());
  }
}

}  // namespace
}  // namespace zerotap
