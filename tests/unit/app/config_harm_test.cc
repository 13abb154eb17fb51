// The share of a process's CPU time that zerotap may take.
#include <gtest/gtest.h>

#include "agent/app/config.h"
#include "agent/app/config_units.h"
#include "agent/app/reload.h"

namespace zerotap {
namespace {

TEST(HarmBudget, IsAShareWithItsSign) {
  EXPECT_EQ(ParseShare("5%"), 0.05);
  EXPECT_EQ(ParseShare(" 0.5% "), 0.005);
  EXPECT_EQ(ParseShare("100%"), 1.0);
  EXPECT_EQ(ParseShare("off"), 0.0);
  EXPECT_EQ(ParseShare("0"), 0.0);
  EXPECT_EQ(ParseShare("0%"), 0.0);
  for (const char* wrong : {"", "%", "5", "0.05", "101%", "-1%", "5 percent", "nan%", "5%%"}) {
    EXPECT_FALSE(ParseShare(wrong)) << wrong;
  }
}

TEST(HarmBudget, ChangesWhileItRuns) {
  Config current, wanted;
  wanted.harm_budget = "2%";
  wanted.harm_share = 0.02;
  const ConfigChange change = PlanChange(current, wanted);
  EXPECT_EQ(change.taken, std::vector<std::string>{"harm_budget"});
  EXPECT_EQ(change.config.harm_share, 0.02);
  EXPECT_FALSE(change.processes);
  EXPECT_FALSE(change.exporters);
}

TEST(HarmBudget, TheDefaultIsWhatItsTextSays) {
  const Config config;
  EXPECT_EQ(ParseShare(config.harm_budget), config.harm_share);
}

}  // namespace
}  // namespace zerotap
