// What the PostgreSQL parser makes of a connection that it joins in the middle: the next requests,
// and nothing that is not certain.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "agent/protocols/postgres.h"
#include "tests/support/postgres_builders.h"

namespace zerotap {
namespace {

using namespace postgres_test;  // NOLINT: the builders are the language of this file
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Outcome Play(const Conversation& talk) {
  Outcome outcome = RunConversation(kPostgresProtocol, talk);
  EXPECT_THAT(outcome.violations, IsEmpty());
  EXPECT_EQ(outcome.begun, outcome.exchanges.size() + outcome.drops.size());
  return outcome;
}

Conversation Midstream(Role role = Role::kClient) {
  Conversation talk(role);
  talk.set_from_first_byte(false);
  return talk;
}

TEST(PostgresMidstreamTest, TheNextRequestIsTheFirst) {
  Conversation talk = Midstream();
  talk.Client(Query("SELECT 1")).Server(SelectAnswer());
  talk.Client(Statement("SELECT 2") + Sync()).Server(Selected(1) + Ready());
  Outcome outcome = Play(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("SELECT 1 [SELECT 1]", "SELECT 1 [SELECT 2]"));
  EXPECT_EQ(outcome.exchanges[0].name_space, "");
  EXPECT_EQ(outcome.exchanges[0].user, "");
}

TEST(PostgresMidstreamTest, AnAnswerInProgressIsSkipped) {
  Conversation talk = Midstream(Role::kServer);
  talk.Server("middle of a row" + Rows(3) + Complete("SELECT 100") + Ready());
  talk.Client(Query("SELECT 1")).Server(SelectAnswer());
  EXPECT_THAT(Play(talk).Summaries(), ElementsAre("SELECT 1 [SELECT 1]"));
}

TEST(PostgresMidstreamTest, APreparedStatementIsKnownByAllButItsTextUntilItIsParsedAgain) {
  Conversation talk = Midstream();
  talk.Client(Bind("", "s1", {"x"}) + Execute() + Sync())
      .Server(BindComplete() + Rows(2) + Complete("SELECT 2") + Ready());
  talk.Client(Parse("s1", "SELECT 'now'") + Sync()).Server(ParseComplete() + Ready());
  talk.Client(Bind("", "s1") + Execute() + Sync())
      .Server(BindComplete() + Rows(1) + Complete("SELECT 1") + Ready());
  Outcome outcome = Play(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("SELECT 2 []", "SELECT 1 [SELECT 'now']"));
  EXPECT_EQ(outcome.exchanges[0].rows_returned, 2u);
  EXPECT_FALSE(outcome.exchanges[0].query_text_truncated);
}

TEST(PostgresMidstreamTest, APipelineInFlightIsNotPairedOffByOne) {
  Conversation talk = Midstream();
  // An earlier batch is still unanswered; both answers come while two requests are known.
  talk.Client(Statement("SELECT 2") + Sync()).Client(Statement("SELECT 3") + Sync());
  talk.Server(Selected(1) + Ready() + Selected(2) + Ready()).Server(Selected(3) + Ready());
  talk.Client(Query("SELECT 4")).Server(SelectAnswer());
  talk.Client(Query("SELECT 5")).Server(SelectAnswer());
  Outcome outcome = Play(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("SELECT 1 [SELECT 5]"));
  for (const RecordedDrop& drop : outcome.drops) EXPECT_EQ(drop.reason, DropReason::kCaptureGap);
}

TEST(PostgresMidstreamTest, AnAnswerThatCannotBeTheRequestsEndsTheBelief) {
  Conversation talk = Midstream();
  talk.Client(Query("INSERT INTO t VALUES (1)"))
      .Server(SelectAnswer() + Complete("INSERT 0 1") + Ready());
  talk.Client(Query("SELECT 4")).Server(SelectAnswer());
  talk.Client(Query("SELECT 5")).Server(SelectAnswer());
  EXPECT_THAT(Play(talk).Summaries(), ElementsAre("SELECT 1 [SELECT 5]"));
}

TEST(PostgresMidstreamTest, TheRestOfABatchIsNotTakenForAWhole) {
  Conversation talk = Midstream();
  talk.Client(Statement("SELECT 1/0")).Client(Statement("SELECT 2")).Client(Sync());
  talk.Server(Selected(1) + ParseComplete() + BindComplete() + RowDescription() + Error("22012") +
              Ready());
  talk.Client(Query("SELECT 4")).Server(SelectAnswer());
  EXPECT_THAT(Play(talk).Summaries(), ElementsAre("SELECT 1 [SELECT 4]"));
}

// As node-postgres writes them.
Conversation& InPieces(Conversation& talk, const std::string& sql) {
  return talk.Client(Parse("", sql)).Client(Bind("", "")).Client(Execute()).Client(Sync());
}
std::string AnswerInPieces() {
  return ParseComplete() + BindComplete() + Rows(1) + Complete("SELECT 1") + Ready();
}
void ExpectAllDrops(const Outcome& outcome, size_t count, DropReason reason) {
  EXPECT_EQ(outcome.drops.size(), count);
  for (const RecordedDrop& drop : outcome.drops) EXPECT_EQ(drop.reason, reason);
}

TEST(PostgresMidstreamTest, TheFirstBatchMayComeInPieces) {
  for (Role role : {Role::kClient, Role::kServer}) {
    Conversation talk = Midstream(role);
    for (const char* sql : {"SELECT 1", "SELECT 2", "SELECT 3"}) {
      InPieces(talk, sql).Server(AnswerInPieces());
    }
    for (size_t size : {1, 3, 7, 1000}) {
      Outcome outcome = Play(CutEvery(talk, size));
      EXPECT_THAT(
          outcome.Summaries(),
          ElementsAre("SELECT 1 [SELECT 1]", "SELECT 1 [SELECT 2]", "SELECT 1 [SELECT 3]"));
      EXPECT_EQ(outcome.exchanges[0].rows_returned, 1u);
      EXPECT_EQ(outcome.exchanges[0].start_ns, talk.steps()[0].start_ns);
      EXPECT_EQ(outcome.exchanges[0].end_ns, talk.steps()[4].end_ns);
    }
  }
}

TEST(PostgresMidstreamTest, SeveralStatementsOfTheFirstBatchInPieces) {
  Conversation talk = Midstream();
  talk.Client(Bind("", "s1", {"x"})).Client(Execute());
  talk.Client(Statement("INSERT INTO t VALUES (1)")).Client(Sync());
  talk.Server(BindComplete() + Rows(2) + Complete("SELECT 2") + Done("INSERT 0 1"));
  EXPECT_THAT(Play(talk).exchanges, IsEmpty()) << "answers may still come that are too many";
  talk.Server(Ready());
  EXPECT_THAT(Play(talk).Summaries(),
              ElementsAre("SELECT 2 []", "INSERT 0 1 [INSERT INTO t VALUES (1)]"));
}

// The last send looks like a batch of its own.
TEST(PostgresMidstreamTest, AWholeStatementMayBeTheRestOfABatch) {
  for (const std::string& answer :
       {Selected(1) + Selected(2), Selected(1) + ParseComplete() + Error("22012"), Error("22012")}) {
    Conversation talk = Midstream();
    talk.Client(Statement("SELECT 2") + Sync()).Server(answer + Ready());
    InPieces(talk, "SELECT 3").Server(AnswerInPieces());
    Outcome outcome = Play(talk);
    EXPECT_THAT(outcome.Summaries(), ElementsAre("SELECT 1 [SELECT 3]"));
    ExpectAllDrops(outcome, 1, DropReason::kCaptureGap);
  }
}

TEST(PostgresMidstreamTest, AnErrorOfTheFirstQueryIsItsOwn) {
  Conversation talk = Midstream();
  talk.Client(Query("SELECT 1/0")).Server(Error("22012") + Ready());
  EXPECT_THAT(Play(talk).Summaries(), ElementsAre("22012 [SELECT 1/0]"));
}

TEST(PostgresMidstreamTest, AnswersToUnseenPiecesOfTheFirstBatchAreNobodysElse) {
  const std::string unseen[] = {
      AnswerInPieces().substr(0, AnswerInPieces().size() - Ready().size()),  // a whole statement
      ParseComplete(), BindComplete() + Rows(1) + Complete("SELECT 1"), CloseComplete()};
  for (const std::string& answer : unseen) {
    Conversation talk = Midstream();
    InPieces(talk, "SELECT 2").Server(answer + AnswerInPieces());
    InPieces(talk, "SELECT 3").Server(AnswerInPieces());
    Outcome outcome = Play(talk);
    EXPECT_THAT(outcome.Summaries(), ElementsAre("SELECT 1 [SELECT 3]"));
    ExpectAllDrops(outcome, 1, DropReason::kCaptureGap);
  }
}

TEST(PostgresMidstreamTest, AnErrorOfTheFirstBatchIsNobodys) {
  for (const std::string& before : {std::string(), ParseComplete() + BindComplete()}) {
    Conversation talk = Midstream();
    InPieces(talk, "SELECT 2").Server(before + Error("22012") + Ready());
    InPieces(talk, "SELECT 3").Server(AnswerInPieces());
    Outcome outcome = Play(talk);
    EXPECT_THAT(outcome.Summaries(), ElementsAre("SELECT 1 [SELECT 3]"));
    ExpectAllDrops(outcome, 1, DropReason::kCaptureGap);
  }
}

TEST(PostgresMidstreamTest, TheFirstBatchInPiecesIsDroppedWhenItIsNotAnsweredToItsEnd) {
  const std::string answer = AnswerInPieces();
  for (size_t size = 0; size + 1 < answer.size(); ++size) {
    Conversation talk = Midstream();
    InPieces(talk, "SELECT 2");
    if (size > 0) talk.Server(answer.substr(0, size));
    talk.Close(EndReason::kReset);
    Outcome outcome = Play(talk);
    EXPECT_THAT(outcome.exchanges, IsEmpty());
    ExpectAllDrops(outcome, 1, DropReason::kCaptureGap);
  }
}

TEST(PostgresMidstreamTest, JoinedAnywhereNothingIsSaidThatTheWholeDoesNotSay) {
  std::mt19937 random(20260321);
  for (int round = 0; round < 300; ++round) {
    Conversation talk = LoggedIn(round % 2 == 0 ? Role::kClient : Role::kServer);
    for (int batch = 0; batch < 6; ++batch) {
      const uint32_t statements = 1 + random() % 3;
      const uint32_t fails_at = random() % 8;
      std::string answer;
      std::string open;  // messages that go out in one send
      auto say = [&](const std::string& message) {
        open += message;
        if (random() % 4 == 0) return;
        talk.Client(open);
        open.clear();
      };
      bool failed = false;
      for (uint32_t i = 0; i < statements; ++i) {
        const std::string sql = "SELECT " + std::to_string(batch * 10 + static_cast<int>(i));
        say(Parse("", sql));
        say(Bind("", ""));
        if (random() % 2 == 0) say(Flush());
        say(Execute());
        if (failed) continue;
        failed = i == fails_at;
        answer += ParseComplete() + (failed ? Error("22012")
                                            : BindComplete() + Rows(1) + Complete("SELECT 1"));
      }
      say(Sync());
      if (!open.empty()) talk.Client(open);
      talk.Server(answer + Ready());
    }
    const Outcome whole = Play(talk);
    size_t found = 0;
    for (size_t from = 1; from < talk.steps().size(); ++from) {
      const Outcome part = Play(WithoutStart(talk, from));
      EXPECT_EQ(FalseIn(part, whole), "") << "round " << round << " from step " << from;
      found += part.exchanges.size();
    }
    EXPECT_GT(found, 0u);
  }
}

TEST(PostgresMidstreamTest, ATransactionBlockInProgressHasANumber) {
  Conversation talk = Midstream();
  talk.Client(Query("SELECT 1"))
      .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + Ready('T'));
  talk.Client(Query("SELECT 2"))
      .Server(RowDescription() + Rows(1) + Complete("SELECT 1") + Ready('T'));
  talk.Client(Query("COMMIT")).Server(Complete("COMMIT") + Ready());
  Outcome outcome = Play(talk);
  ASSERT_EQ(outcome.exchanges.size(), 3u);
  EXPECT_EQ(outcome.exchanges[0].transaction, 0u);
  EXPECT_EQ(outcome.exchanges[1].transaction, 1u);
  EXPECT_EQ(outcome.exchanges[2].transaction, 1u);
}

}  // namespace
}  // namespace zerotap
