#include "agent/harm/harm_ladder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace zerotap {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

// Processes that make so many events a second, each of which takes longer on a higher rung.
struct Program {
  uint64_t events = 0;
  double cpu_ns = 1e9;                                      // without zerotap
  std::array<double, kHarmRungs> event_ns = {400, 350, 300, 150, 40};
  bool may_change = true;
};

class HarmLadderTest : public testing::Test {
 protected:
  static HarmOptions Budget(double budget) {
    HarmOptions options;
    options.budget = budget;
    return options;
  }
  void Run(int seconds) {
    for (int i = 0; i < seconds; ++i) {
      now_ns_ += kSecond;
      std::vector<HarmFigures> figures;
      for (const auto& [tgid, program] : programs_) {
        if (program.events == 0) continue;
        const double cost =
            program.events * program.event_ns[static_cast<size_t>(ladder_.rung(tgid))];
        figures.push_back({tgid, program.events, cost, program.cpu_ns + cost, program.may_change});
      }
      ladder_.Advance(now_ns_, figures, changes_, excesses_);
    }
  }
  size_t ChangesOf(uint32_t tgid) const {
    return static_cast<size_t>(std::count_if(changes_.begin(), changes_.end(),
                                             [tgid](const auto& c) { return c.tgid == tgid; }));
  }

  HarmLadder ladder_{Budget(0.03)};
  std::map<uint32_t, Program> programs_;
  std::vector<HarmChange> changes_;
  std::vector<HarmExcess> excesses_;
  uint64_t now_ns_ = 1000 * kSecond;
};

TEST_F(HarmLadderTest, WhoIsWithinTheBudgetStaysAtTheTop) {
  programs_[1] = {.events = 70'000};  // 2.8 %
  Run(300);
  EXPECT_TRUE(changes_.empty());
  EXPECT_TRUE(excesses_.empty());
  EXPECT_TRUE(ladder_.Limited().empty());
}

TEST_F(HarmLadderTest, GoesDownOneRungAtATimeUntilItFits) {
  programs_[1] = {.events = 150'000};  // 6 %, 5.2, 4.5, 2.2 at counts
  programs_[2] = {.events = 10'000};
  Run(20);
  ASSERT_EQ(changes_.size(), 3u);
  for (size_t i = 0; i < changes_.size(); ++i) {
    EXPECT_EQ(changes_[i].tgid, 1u);
    EXPECT_EQ(static_cast<size_t>(changes_[i].from), i);
    EXPECT_EQ(static_cast<size_t>(changes_[i].to), i + 1);
    EXPECT_GT(changes_[i].share, 0.03);
  }
  EXPECT_EQ(ladder_.rung(1), HarmRung::kCounts);
  EXPECT_EQ(ladder_.rung(2), HarmRung::kFull) << "another process pays nothing for it";
  Run(600);
  EXPECT_EQ(changes_.size(), 3u) << "what did not fit then does not fit now";
  ASSERT_EQ(ladder_.Limited().size(), 1u);
  EXPECT_NEAR(ladder_.Limited()[0].share, 0.022, 0.001);
}

TEST_F(HarmLadderTest, AReactionTakesAFewSecondsOnly) {
  programs_[1] = {.events = 1'000'000};
  Run(3 * 4);  // an interval that belongs to no rung, and two to be sure
  EXPECT_EQ(ladder_.rung(1), HarmRung::kDetached);
}

TEST_F(HarmLadderTest, GoesUpAgainWhenTheLoadIsOver) {
  programs_[1] = {.events = 1'000'000};
  Run(30);
  ASSERT_EQ(ladder_.rung(1), HarmRung::kDetached);
  programs_[1].events = 0;
  Run(60);
  EXPECT_EQ(ladder_.rung(1), HarmRung::kFull);
  EXPECT_EQ(changes_.size(), 8u);
  EXPECT_TRUE(ladder_.Limited().empty());
  Run(121);
  EXPECT_EQ(ladder_.size(), 0u) << "and is forgotten";
}

TEST_F(HarmLadderTest, GoesUpAsFarAsItFits) {
  programs_[1] = {.events = 500'000};
  Run(60);
  ASSERT_EQ(ladder_.rung(1), HarmRung::kDetached);
  programs_[1].events = 80'000;  // 1.2 % counted, 2.4 metrics: above 70 % of the budget
  changes_.clear();
  Run(120);
  EXPECT_EQ(ladder_.rung(1), HarmRung::kCounts);
  EXPECT_EQ(changes_.size(), 1u);
  EXPECT_NEAR(changes_[0].share, 0.012, 0.001);
}

// The same events cost more than they did: what is foreseen of the upper rung is wrong each time.
TEST_F(HarmLadderTest, FlappingIsBounded) {
  programs_[1] = {.events = 500'000};
  Run(30);
  changes_.clear();
  for (int hour = 0; hour < 4; ++hour) {
    for (int i = 0; i < 3600; ++i) {
      // Quiet as long as it is at the bottom, loud as soon as it is not.
      programs_[1].events = ladder_.rung(1) == HarmRung::kDetached ? 0 : 500'000;
      Run(1);
    }
  }
  // 10, 20, ... 640 s, then one every 640 s, each a way up and one down.
  EXPECT_LE(changes_.size(), 2u * (7 + 4 * 3600 / 640 + 1));
  EXPECT_GE(changes_.size(), 2u * 10) << "it is tried again";
}

// Half a minute of load, half a minute of none: each way up lasts longer than the first waits.
TEST_F(HarmLadderTest, ALoadThatComesAndGoesIsNotFollowedForEver) {
  for (int i = 0; i < 4 * 3600; ++i) {
    programs_[1].events = i % 60 < 30 ? 500'000 : 0;
    Run(1);
  }
  // While waits are short all rungs are gone through each minute.
  EXPECT_LE(changes_.size(), 2u * (7 * 4 + 4 * 3600 / 640 + 1));
  changes_.clear();
  for (int i = 0; i < 4 * 3600; ++i) {
    programs_[1].events = i % 60 < 30 ? 500'000 : 0;
    Run(1);
  }
  EXPECT_LE(changes_.size(), 2u * (4 * 3600 / 640 + 1));
  EXPECT_GE(changes_.size(), 10u) << "it is tried again";
}

// Quiet for so long that the way to the top is over by far when the load comes back.
TEST_F(HarmLadderTest, NorIsOneThatComesBackAfterTheWaitIsOver) {
  for (int i = 0; i < 4 * 3600; ++i) {
    programs_[1].events = i % 120 < 30 ? 500'000 : 0;
    Run(1);
  }
  EXPECT_LE(changes_.size(), 2u * (7 * 4 + 4 * 3600 / 640 + 1));
}

TEST_F(HarmLadderTest, WaitsBecomeShorterWhenWaysUpLast) {
  for (int i = 0; i < 3600; ++i) {
    programs_[1].events = i % 60 < 30 ? 500'000 : 0;
    Run(1);
  }
  programs_[1].events = 0;
  Run(6 * 3600);
  ASSERT_EQ(ladder_.rung(1), HarmRung::kFull);
  for (int day = 0; day < 7; ++day) {  // a busy minute a day
    programs_[1] = {.events = 20};
    Run(12 * 3600);
    programs_[1] = {.events = 500'000};
    Run(60);
    programs_[1] = {.events = 20};
    Run(12 * 3600);
  }
  programs_[1] = {.events = 500'000};
  Run(60);
  programs_[1].events = 20;
  Run(60);
  EXPECT_EQ(ladder_.rung(1), HarmRung::kFull);
}

TEST_F(HarmLadderTest, EventsThatBecameCheaperAreNotHeldAgainstItForEver) {
  programs_[1] = {.events = 150'000};
  Run(60);
  ASSERT_EQ(ladder_.rung(1), HarmRung::kCounts);
  programs_[1].event_ns = {20, 18, 15, 10, 5};
  Run(4 * 3600);
  EXPECT_EQ(ladder_.rung(1), HarmRung::kFull);
}

TEST_F(HarmLadderTest, WhatIsTooMuchEvenAtTheBottomIsSaidOnce) {
  programs_[1] = {.events = 5'000'000};  // 20 % by the last rung
  programs_[2] = {.events = 5'000'000, .may_change = false};
  Run(3600);
  EXPECT_EQ(ladder_.rung(1), HarmRung::kDetached);
  EXPECT_EQ(ladder_.rung(2), HarmRung::kFull);
  EXPECT_EQ(ChangesOf(2), 0u);
  ASSERT_EQ(excesses_.size(), 2u);
  EXPECT_NE(excesses_[0].tgid, excesses_[1].tgid);
  EXPECT_GT(excesses_[0].share, 0.1);
}

TEST_F(HarmLadderTest, WhoIsLeftOutHasNoRung) {
  programs_[1] = {.events = 1'000'000};
  Run(30);
  ASSERT_EQ(ladder_.rung(1), HarmRung::kDetached);
  programs_[1].may_change = false;
  changes_.clear();
  Run(1);
  EXPECT_TRUE(ladder_.Limited().empty());
  Run(600);
  EXPECT_EQ(changes_.size(), 1u);
}

TEST_F(HarmLadderTest, RoughFiguresDecideNothing) {
  programs_[1] = {.events = 500, .cpu_ns = 1e6};  // 17 % of a process that does next to nothing
  Run(600);
  EXPECT_TRUE(changes_.empty());
}

// nginx with a few hundred cheap requests a second.
TEST_F(HarmLadderTest, ALargeShareOfNextToNothingIsNoHarm) {
  programs_[1] = {.events = 24'000, .cpu_ns = 60e6};  // 0.96 % of a CPU, 14 % of its own time
  Run(600);
  EXPECT_TRUE(changes_.empty());
  EXPECT_TRUE(excesses_.empty());
  programs_[1].events = 26'000;  // 1.04 %; by the rung below 0.91
  Run(600);
  ASSERT_EQ(changes_.size(), 1u) << "the floor is one of what is taken, not of the way up alone";
  EXPECT_GT(changes_[0].share, 0.1);
  EXPECT_EQ(ladder_.rung(1), HarmRung::kHeads);
}

TEST_F(HarmLadderTest, GoesUpWhenTheRungAboveWouldTakeNextToNothing) {
  programs_[1] = {.events = 50'000, .cpu_ns = 60e6};
  Run(60);
  ASSERT_EQ(ladder_.rung(1), HarmRung::kCounts);
  programs_[1].events = 15'000;  // 0.6 % of a CPU at full, 9 % of its own time
  Run(60);
  EXPECT_EQ(ladder_.rung(1), HarmRung::kFull);
}

TEST_F(HarmLadderTest, TheFloorIsMeasuredAgainstTheTimeThatPassed) {
  now_ns_ += kSecond;
  ladder_.Advance(now_ns_, {}, changes_, excesses_);
  for (int i = 0; i < 60; ++i) {  // ticks that are late by a second: 0.8 % of a CPU
    now_ns_ += 2 * kSecond;
    const HarmFigures figures{1, 40'000, 16e6, 100e6, true};
    ladder_.Advance(now_ns_, {&figures, 1}, changes_, excesses_);
  }
  EXPECT_TRUE(changes_.empty());
}

TEST_F(HarmLadderTest, ABurstOfASecondIsNoReason) {
  programs_[1] = {.events = 20'000};
  for (int i = 0; i < 20; ++i) {
    Run(19);
    programs_[1].events = 100'000;  // 4 % in one second of four
    Run(1);
    programs_[1].events = 20'000;
  }
  EXPECT_TRUE(changes_.empty());
}

TEST_F(HarmLadderTest, ANewProgramBeginsAtTheTop) {
  programs_[1] = {.events = 150'000};
  Run(60);
  ASSERT_NE(ladder_.rung(1), HarmRung::kFull);
  ladder_.Forget(1);
  EXPECT_EQ(ladder_.rung(1), HarmRung::kFull);
  programs_[1].events = 1000;
  changes_.clear();
  Run(60);
  EXPECT_TRUE(changes_.empty());
}

TEST_F(HarmLadderTest, ABudgetOfNothingLiftsAllLimits) {
  programs_[1] = {.events = 150'000};
  programs_[2] = {.events = 1'000'000};
  Run(60);
  changes_.clear();
  ladder_.SetBudget(0, changes_);
  ASSERT_EQ(changes_.size(), 2u);
  for (const HarmChange& change : changes_) EXPECT_EQ(change.to, HarmRung::kFull);
  changes_.clear();
  Run(60);
  EXPECT_TRUE(changes_.empty());
  EXPECT_TRUE(ladder_.Limited().empty());
}

TEST_F(HarmLadderTest, AHigherBudgetLetsItUp) {
  programs_[1] = {.events = 150'000};
  Run(60);
  ASSERT_EQ(ladder_.rung(1), HarmRung::kCounts);
  ladder_.SetBudget(0.2, changes_);
  Run(60);
  EXPECT_EQ(ladder_.rung(1), HarmRung::kFull);
  ladder_.SetBudget(0.03, changes_);
  Run(60);
  EXPECT_EQ(ladder_.rung(1), HarmRung::kCounts);
}

TEST(HarmRungName, EachHasItsOwn) {
  std::vector<std::string_view> names;
  for (size_t i = 0; i < kHarmRungs; ++i) names.push_back(HarmRungName(static_cast<HarmRung>(i)));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
  EXPECT_EQ(std::count(names.begin(), names.end(), "unknown"), 0);
}

}  // namespace
}  // namespace zerotap
