// Other rules while the table is in use, and what it tells people of a process.
#include <gtest/gtest.h>

#include "agent/process/process_table.h"
#include "tests/unit/process/fake_root.h"

namespace zerotap {
namespace {

class ProcessChangeTest : public ::testing::Test {
 protected:
  ProcessChangeTest() {
    for (uint32_t pid : {100u, 200u}) {
      FakeProcess process;
      process.pid = pid;
      process.executable = "/usr/bin/python3.11";
      process.arguments = {"python3", pid == 100 ? "cart.py" : "mail.py"};
      root_.Add(process);
    }
    options_.root = root_.path();
    auto table = ProcessTable::Create(options_);
    EXPECT_TRUE(table);
    table_ = std::move(*table);
  }
  FakeRoot root_;
  ProcessTableOptions options_;
  std::unique_ptr<ProcessTable> table_;
};

TEST_F(ProcessChangeTest, RulesDecideAnewAndWhoStaysTheSameKeepsItsObject) {
  const ResourcePtr cart = table_->Resolve(100, 1)->resource;
  const ResourcePtr mail = table_->Resolve(200, 1)->resource;
  options_.service_names = {{{.command_contains = "cart"}, "shop"}};
  ASSERT_TRUE(table_->Reconfigure(options_));
  EXPECT_EQ(table_->Resolve(100, 2)->resource->service_name, "shop");
  EXPECT_EQ(table_->Resolve(200, 2)->resource, mail);

  options_.targets.exclude = {{.command_contains = "cart"}};
  ASSERT_TRUE(table_->Reconfigure(options_));
  EXPECT_FALSE(table_->Resolve(100, 3)->traced);
  EXPECT_TRUE(table_->Resolve(200, 3)->traced);

  options_.targets.exclude.clear();
  options_.service_names.clear();
  ASSERT_TRUE(table_->Reconfigure(options_));
  EXPECT_TRUE(table_->Resolve(100, 4)->traced);
  EXPECT_EQ(table_->Resolve(100, 4)->resource->service_name, cart->service_name);
  EXPECT_EQ(table_->Resolve(200, 4)->resource, mail);
}

TEST_F(ProcessChangeTest, ProcessesThatAreGoneAreJudgedByWhatIsKnownOfThem) {
  EXPECT_TRUE(table_->Resolve(100, 1)->traced);
  table_->OnExit(100, 2);
  root_.Remove("/proc/100");
  options_.service_names = {{{.command_contains = "cart"}, "shop"}};
  ASSERT_TRUE(table_->Reconfigure(options_));
  ASSERT_TRUE(table_->Resolve(100, 3));
  EXPECT_EQ(table_->Resolve(100, 3)->resource->service_name, "shop");
}

// 300 was never there to be looked at.
TEST_F(ProcessChangeTest, WhoIsGoneUnseenIsLeftOutByRulesThatCannotBeAsked) {
  EXPECT_FALSE(table_->Resolve(300, 1)) << "without rules nobody is left out";
  struct Case {
    TargetOptions targets;
    bool left_out;
  };
  const ProcessRule cart{.command_contains = "cart"};
  const ProcessRule this_pid{.pid = 300};
  const ProcessRule other_pid{.pid = 301};
  const ProcessRule this_pid_and_more{.command_contains = "cart", .pid = 300};
  const ProcessRule other_pid_and_more{.command_contains = "cart", .pid = 301};
  const Case cases[] = {
      {{.select = {cart}, .exclude = {}}, true},
      {{.select = {cart, this_pid}, .exclude = {}}, false},
      {{.select = {other_pid}, .exclude = {}}, true},
      {{.select = {this_pid_and_more}, .exclude = {}}, true},
      {{.select = {}, .exclude = {cart}}, true},
      {{.select = {}, .exclude = {this_pid}}, true},
      {{.select = {}, .exclude = {other_pid}}, false},
      {{.select = {}, .exclude = {other_pid_and_more}}, false},
      {{.select = {this_pid}, .exclude = {cart}}, true},
  };
  uint64_t now_ns = 2;
  for (const Case& one : cases) {
    SCOPED_TRACE(&one - cases);
    options_.targets = one.targets;
    ASSERT_TRUE(table_->Reconfigure(options_));
    std::optional<ProcessIdentity> identity = table_->Resolve(300, now_ns++);
    EXPECT_EQ(identity.has_value(), one.left_out);
    if (!identity) continue;
    EXPECT_FALSE(identity->traced);
    EXPECT_EQ(identity->tgid, 300u);
  }
  options_.targets = {};
  ASSERT_TRUE(table_->Reconfigure(options_));
  EXPECT_FALSE(table_->Resolve(300, now_ns)) << "what was decided before is not remembered";
}

TEST_F(ProcessChangeTest, WhatAZombieRanNoExcludingRuleCanBeAsked) {
  FakeProcess zombie;
  zombie.pid = 300;
  zombie.arguments = {};
  root_.Add(zombie);
  root_.Remove("/proc/300/exe");
  EXPECT_TRUE(table_->Resolve(300, 1)->traced);
  options_.targets.exclude = {{.command_contains = "cart"}};
  ASSERT_TRUE(table_->Reconfigure(options_));
  EXPECT_FALSE(table_->Resolve(300, 2)->traced);
}

TEST_F(ProcessChangeTest, ABadRuleChangesNothing) {
  options_.targets.exclude = {{.command = "("}};
  EXPECT_FALSE(table_->Reconfigure(options_));
  EXPECT_TRUE(table_->Resolve(100, 1)->traced);
}

TEST_F(ProcessChangeTest, DescriptionNamesTheRule) {
  std::optional<ProcessDescription> description = table_->Describe(100);
  ASSERT_TRUE(description);
  EXPECT_EQ(description->service.name, "cart");
  EXPECT_EQ(description->binary.runtime, RuntimeKind::kPython);
  EXPECT_EQ(description->left_out_by, "");
  options_.targets.exclude = {{.command_contains = "mail"}, {.pid = 100}};
  ASSERT_TRUE(table_->Reconfigure(options_));
  EXPECT_EQ(table_->Describe(100)->left_out_by, "targets.exclude[1]");
  options_.targets.exclude.clear();
  options_.targets.select = {{.command_contains = "mail"}};
  ASSERT_TRUE(table_->Reconfigure(options_));
  EXPECT_EQ(table_->Describe(100)->left_out_by, "no rule of targets.select");
  EXPECT_FALSE(table_->Describe(4242));
}

}  // namespace
}  // namespace zerotap
