#include "agent/process/target_selector.h"

#include <gtest/gtest.h>

namespace zerotap {
namespace {

ProcessFacts Nginx() {
  ProcessFacts facts;
  facts.pid = 100;
  facts.executable = "/usr/sbin/nginx";
  facts.arguments = {"nginx", "-c", "/etc/nginx/shop.conf"};
  return facts;
}

const std::string kId(64, 'a');

bool Matches(const ProcessRule& rule) {
  ProcessFacts facts = Nginx();
  auto matcher = ProcessMatcher::Create(rule, "rule");
  EXPECT_TRUE(matcher);
  return matcher->Matches({facts, "shop-web", kId, "shop-web-1", "nginx.service"});
}

ProcessRule Rule(void (*set)(ProcessRule&)) {
  ProcessRule rule;
  set(rule);
  return rule;
}

TEST(ProcessMatcher, EveryFieldAlone) {
  EXPECT_TRUE(Matches(Rule([](auto& r) { r.executable = "nginx"; })));
  EXPECT_TRUE(Matches(Rule([](auto& r) { r.executable = "ng*"; })));
  EXPECT_TRUE(Matches(Rule([](auto& r) { r.executable = "/usr/*/nginx"; })));
  EXPECT_FALSE(Matches(Rule([](auto& r) { r.executable = "gin"; })));
  EXPECT_FALSE(Matches(Rule([](auto& r) { r.executable = "/opt/*"; })));
  EXPECT_TRUE(Matches(Rule([](auto& r) { r.command = "-c .*shop\\.conf$"; })));
  EXPECT_FALSE(Matches(Rule([](auto& r) { r.command = "^shop"; })));
  EXPECT_TRUE(Matches(Rule([](auto& r) { r.command_contains = "nginx -c"; })));
  EXPECT_FALSE(Matches(Rule([](auto& r) { r.command_contains = "cart"; })));
  EXPECT_TRUE(Matches(Rule([](auto& r) { r.pid = 100; })));
  EXPECT_FALSE(Matches(Rule([](auto& r) { r.pid = 101; })));
  EXPECT_TRUE(Matches(Rule([](auto& r) { r.service = "shop-*"; })));
  EXPECT_FALSE(Matches(Rule([](auto& r) { r.service = "shop"; })));
  EXPECT_TRUE(Matches(Rule([](auto& r) { r.container = "shop-web-?"; })));
  EXPECT_TRUE(Matches(Rule([](auto& r) { r.container = "aaaaaaaaaaaa"; })));
  EXPECT_TRUE(Matches(Rule([](auto& r) { r.container = "*"; })));
  EXPECT_FALSE(Matches(Rule([](auto& r) { r.container = "aaa"; }))) << "too short for an id";
  EXPECT_TRUE(Matches(Rule([](auto& r) { r.systemd_unit = "nginx"; })));
  EXPECT_TRUE(Matches(Rule([](auto& r) { r.systemd_unit = "nginx.service"; })));
  EXPECT_FALSE(Matches(Rule([](auto& r) { r.systemd_unit = "apache*"; })));
}

TEST(ProcessMatcher, AllThatIsAskedMustMatch) {
  ProcessRule rule;
  rule.executable = "nginx";
  rule.service = "shop-web";
  EXPECT_TRUE(Matches(rule));
  rule.pid = 7;
  EXPECT_FALSE(Matches(rule));
}

TEST(ProcessMatcher, NoContainerMatchesNoContainerRule) {
  ProcessFacts facts = Nginx();
  auto matcher = ProcessMatcher::Create(Rule([](auto& r) { r.container = "*"; }), "rule");
  ASSERT_TRUE(matcher);
  EXPECT_FALSE(matcher->Matches({facts, "x", "", "", ""}));
}

TEST(ProcessMatcher, BadRulesSayWhichAndWhy) {
  auto empty = ProcessMatcher::Create({}, "select[0]");
  ASSERT_FALSE(empty);
  EXPECT_NE(empty.error().message.find("select[0]"), std::string::npos);
  auto bad = ProcessMatcher::Create(Rule([](auto& r) { r.command = "a(b"; }), "exclude[2]");
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().message.find("exclude[2]"), std::string::npos);
  EXPECT_NE(bad.error().message.find("a(b"), std::string::npos);
  TargetOptions options;
  options.exclude.push_back({});
  EXPECT_FALSE(TargetSelector::Create(options));
}

TEST(TargetSelector, WithoutRulesEverythingButZerotapIsTraced) {
  TargetOptions options;
  options.own_pid = 100;
  auto selector = TargetSelector::Create(options);
  ASSERT_TRUE(selector);
  ProcessFacts facts = Nginx();
  EXPECT_FALSE(selector->IsTraced({facts, "x", "", "", ""}));
  facts.pid = 101;
  EXPECT_TRUE(selector->IsTraced({facts, "x", "", "", ""}));
}

TEST(TargetSelector, ExcludeWinsOverSelect) {
  TargetOptions options;
  options.select.push_back(Rule([](auto& r) { r.service = "shop*"; }));
  options.select.push_back(Rule([](auto& r) { r.service = "cart"; }));
  options.exclude.push_back(Rule([](auto& r) { r.service = "shop-admin"; }));
  auto selector = TargetSelector::Create(options);
  ASSERT_TRUE(selector);
  ProcessFacts facts = Nginx();
  EXPECT_TRUE(selector->IsTraced({facts, "shop-web", "", "", ""}));
  EXPECT_TRUE(selector->IsTraced({facts, "cart", "", "", ""}));
  EXPECT_FALSE(selector->IsTraced({facts, "shop-admin", "", "", ""}));
  EXPECT_FALSE(selector->IsTraced({facts, "pay", "", "", ""}));
}

TEST(MatchesGlob, Patterns) {
  EXPECT_TRUE(MatchesGlob("", ""));
  EXPECT_FALSE(MatchesGlob("", "a"));
  EXPECT_TRUE(MatchesGlob("*", ""));
  EXPECT_TRUE(MatchesGlob("a*c", "abbbc"));
  EXPECT_TRUE(MatchesGlob("a*c*", "abcbc"));
  EXPECT_FALSE(MatchesGlob("a*c", "abcb"));
  EXPECT_TRUE(MatchesGlob("?b?", "abc"));
  EXPECT_FALSE(MatchesGlob("?", ""));
  EXPECT_TRUE(MatchesGlob("/srv/*", "/srv/a/b"));
  EXPECT_FALSE(MatchesGlob("*a*a*a*a*a*a*a*a*b", std::string(5000, 'a'))) << "in no time";
}

}  // namespace
}  // namespace zerotap
