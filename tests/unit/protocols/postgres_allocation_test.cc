// Steady traffic allocates nothing: the hot path runs hundreds of thousands of times a second.
#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>

#include "agent/protocols/postgres.h"
#include "tests/support/malloc_counter.h"
#include "tests/support/postgres_builders.h"

namespace zerotap {
namespace {

using namespace postgres_test;  // NOLINT: the builders are the language of this file

class NoSink : public ExchangeSink {
 public:
  WorkId BeginRequest(const RequestStart&) override { return ++begun; }
  void EndExchange(const Exchange&) override { ++ended; }
  void DropRequest(WorkId, DropReason) override { ++dropped; }
  size_t begun = 0;
  size_t ended = 0;
  size_t dropped = 0;
};

class PostgresAllocationTest : public ::testing::Test {
 protected:
  void SetUp() override {
#if !ZEROTAP_COUNTS_MALLOC
    GTEST_SKIP() << "the sanitizer has its own malloc";
#endif
    Feed(Direction::kEgress, Startup({{"user", "app"}, {"database", "shop"}}));
    Feed(Direction::kIngress, AuthenticationOk() + Ready());
  }

  void Feed(Direction direction, std::string_view bytes) {
    Chunk chunk;
    chunk.bytes = AsBytes(bytes);
    chunk.offset = offsets_[static_cast<size_t>(direction)];
    chunk.start_ns = chunk.end_ns = ++now_;
    offsets_[static_cast<size_t>(direction)] += bytes.size();
    ASSERT_EQ(parser_->OnData(direction, chunk), ParseStatus::kOk);
  }

  // Allocations of `rounds` rounds, after as many that may grow buffers.
  template <typename Round>
  size_t Allocations(size_t rounds, Round round) {
    for (size_t i = 0; i < rounds; ++i) round(i);
#if ZEROTAP_COUNTS_MALLOC
    size_t before = testing::g_mallocs;
    { std::string counted(100, 'x'); }
    EXPECT_GT(testing::g_mallocs, before) << "allocations are not counted";
    before = testing::g_mallocs;
    for (size_t i = 0; i < rounds; ++i) round(i);
    return testing::g_mallocs - before;
#else
    return 0;
#endif
  }

  ParserOptions options_;
  NoSink sink_;
  std::unique_ptr<Parser> parser_ =
      kPostgresProtocol.make_parser(Role::kClient, true, options_, sink_);
  uint64_t offsets_[2] = {0, 0};
  uint64_t now_ = 0;
};

TEST_F(PostgresAllocationTest, SimpleQueries) {
  const std::string asked =
      Query("SELECT a, b, c FROM a_table WHERE a = 'a value of some length' ORDER BY b; SELECT 2");
  const std::string answered = RowDescription() + Rows(3) + Complete("SELECT 3") +
                               RowDescription() + Rows(1) + Complete("SELECT 1") + Ready();
  EXPECT_EQ(Allocations(500,
                        [&](size_t) {
                          Feed(Direction::kEgress, asked);
                          Feed(Direction::kIngress, answered);
                        }),
            0u);
  EXPECT_EQ(sink_.ended, 2000u);
}

TEST_F(PostgresAllocationTest, ExtendedQueries) {
  const std::string asked =
      Statement("SELECT a, b, c FROM a_table WHERE a = $1 ORDER BY b", {"value"}) + Sync();
  const std::string answered = Selected(3) + Ready();
  EXPECT_EQ(Allocations(500,
                        [&](size_t) {
                          Feed(Direction::kEgress, asked);
                          Feed(Direction::kIngress, answered);
                        }),
            0u);
  EXPECT_EQ(sink_.ended, 1000u);
}

TEST_F(PostgresAllocationTest, NamedStatementsAndPortals) {
  const std::string name = "a statement with a name that is not short";
  const std::string asked = Parse(name, "SELECT a, b, c FROM a_table WHERE a = $1 ORDER BY b") +
                            Bind("a named portal, too", name) + Execute("a named portal, too") +
                            ClosePortal("a named portal, too") + CloseStatement(name) + Sync();
  const std::string answered = ParseComplete() + BindComplete() + Rows(2) + Complete("SELECT 2") +
                               CloseComplete() + CloseComplete() + Ready();
  EXPECT_EQ(Allocations(500,
                        [&](size_t) {
                          Feed(Direction::kEgress, asked);
                          Feed(Direction::kIngress, answered);
                        }),
            0u);
  EXPECT_EQ(sink_.ended, 1000u);
}

TEST_F(PostgresAllocationTest, PipelinesInPieces) {
  std::string asked;
  std::string answered;
  for (int i = 0; i < 20; ++i) {
    asked += Statement("INSERT INTO a_table VALUES ($1, $2) RETURNING a", {"one", "two"}) +
             (i % 5 == 4 ? Sync() : "");
    answered += ParseComplete() + BindComplete() + RowDescription() + Rows(1) +
                Complete("INSERT 0 1") + (i % 5 == 4 ? Ready() : "");
  }
  std::string_view question = asked;
  std::string_view answer = answered;
  EXPECT_EQ(Allocations(50,
                        [&](size_t round) {
                          size_t piece = 1 + round % 50;
                          for (size_t at = 0; at < question.size(); at += piece)
                            Feed(Direction::kEgress, question.substr(at, piece));
                          for (size_t at = 0; at < answer.size(); at += piece)
                            Feed(Direction::kIngress, answer.substr(at, piece));
                        }),
            0u);
  EXPECT_EQ(sink_.ended, 2000u);
}

TEST_F(PostgresAllocationTest, ErrorsAndBulk) {
  const std::string asked =
      Statement("SELECT 1/0") + Statement("SELECT 2") + Sync() + Query("SELECT a FROM big");
  const std::string answered = ParseComplete() + BindComplete() + RowDescription() +
                               Error("22012") + Ready() + RowDescription() + Rows(500) +
                               Complete("SELECT 500") + Ready();
  EXPECT_EQ(Allocations(200,
                        [&](size_t) {
                          Feed(Direction::kEgress, asked);
                          Feed(Direction::kIngress, answered);
                        }),
            0u);
  EXPECT_EQ(sink_.ended, 800u);
}

}  // namespace
}  // namespace zerotap
