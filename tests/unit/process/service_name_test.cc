#include "agent/process/service_name.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "agent/process/utf8.h"

namespace zerotap {
namespace {

struct RuleCase {
  std::vector<std::string> environment;
  std::string configured;
  std::string unit;
  std::string container_id;
  ContainerName container;
  std::string workload;
  std::string command = "command";
};

ServiceName Derive(const RuleCase& c) {
  ProcessFacts facts;
  facts.executable = "/usr/bin/foo";
  facts.environment = c.environment;
  auto own = ResourceAttributes::Parse(facts.Environment("OTEL_RESOURCE_ATTRIBUTES"));
  CommandName command{c.command, "", false};
  return DeriveServiceName(
      {facts, own, c.configured, c.container_id, c.unit, c.container, c.workload, command});
}

TEST(ServiceName, FollowsTheOrder) {
  RuleCase c;
  c.environment = {"OTEL_RESOURCE_ATTRIBUTES=a=b,service.name=from%20attributes",
                   "OTEL_SERVICE_NAME=from env"};
  c.configured = "from rule";
  c.unit = "fromunit.service";
  c.container_id = std::string(64, 'a');
  c.container = {"from-container", "from-compose", "project"};
  c.workload = "from-workload";
  EXPECT_EQ(Derive(c).name, "from env");
  EXPECT_EQ(Derive(c).source, NameSource::kEnvironment);
  c.environment.pop_back();
  EXPECT_EQ(Derive(c).name, "from attributes");
  EXPECT_EQ(Derive(c).source, NameSource::kResourceAttributes);
  c.environment.clear();
  EXPECT_EQ(Derive(c).name, "from rule");
  c.configured.clear();
  EXPECT_EQ(Derive(c).name, "fromunit");
  c.unit = "docker.service";
  EXPECT_EQ(Derive(c).name, "from-compose");
  c.container.compose_service.clear();
  EXPECT_EQ(Derive(c).name, "from-workload");
  c.workload.clear();
  EXPECT_EQ(Derive(c).name, "from-container");
  c.container.name = std::string(12, 'a');
  EXPECT_EQ(Derive(c).name, "command") << "the id is no name";
  c.command.clear();
  EXPECT_EQ(Derive(c).name, "unknown_service:foo");
  EXPECT_EQ(Derive(c).source, NameSource::kUnknown);
}

TEST(ServiceName, EmptyValuesAreUnset) {
  RuleCase c;
  c.environment = {"OTEL_SERVICE_NAME=", "OTEL_RESOURCE_ATTRIBUTES=service.name="};
  EXPECT_EQ(Derive(c).name, "command");
  c.environment = {"OTEL_SERVICE_NAME=  "};
  EXPECT_EQ(Derive(c).name, "command");
}

TEST(ServiceName, IsOneBoundedLineOfUtf8) {
  RuleCase c;
  c.environment = {"OTEL_SERVICE_NAME= two\nlines\t"};
  EXPECT_EQ(Derive(c).name, "two lines");
  c.environment = {"OTEL_SERVICE_NAME=" + std::string(5000, 'x')};
  EXPECT_EQ(Derive(c).name.size(), 255u);
  c.environment = {};
  c.command = "caf\xe9";
  EXPECT_TRUE(IsUtf8(Derive(c).name));
}

TEST(ServiceName, JavaPropertyCounts) {
  ProcessFacts facts;
  facts.executable = "/usr/bin/java";
  facts.arguments = {"java", "-Dotel.service.name=cart", "-jar", "x.jar"};
  ResourceAttributes own;
  ContainerName container;
  CommandName command{"x", "", false};
  EXPECT_EQ(DeriveServiceName({facts, own, "", "", "", container, "", command}).name, "cart");
  facts.arguments = {"java", "-jar", "x.jar", "-Dotel.service.name=cart"};
  EXPECT_EQ(DeriveServiceName({facts, own, "", "", "", container, "", command}).name, "x");
}

TEST(ServiceName, NothingKnownStillHasAName) {
  ProcessFacts facts;
  ResourceAttributes own;
  ContainerName container;
  CommandName command;
  EXPECT_EQ(DeriveServiceName({facts, own, "", "", "", container, "", command}).name,
            "unknown_service");
}

TEST(ResourceAttributes, ParsesMembers) {
  auto attributes = ResourceAttributes::Parse(" a = b ,c=d%2Ce%3Df, ,x=1=2,a=last,empty=");
  ASSERT_EQ(attributes.entries().size(), 4u);
  EXPECT_EQ(attributes.Find("a"), "last");
  EXPECT_EQ(attributes.Find("c"), "d,e=f");
  EXPECT_EQ(attributes.Find("x"), "1=2");
  EXPECT_EQ(attributes.Find("empty"), "");
  EXPECT_EQ(attributes.Find("none"), "");
  EXPECT_EQ(ResourceAttributes::Parse("k=caf%C3%A9+x").Find("k"), "caf\xc3\xa9+x");
  EXPECT_TRUE(ResourceAttributes::Parse("").entries().empty());
}

TEST(ResourceAttributes, AnyErrorDiscardsAll) {
  for (const char* text : {"a=b,novalue", "a=b,=x", "a=b,c=%", "a=b,c=%2", "a=b,c=%zz", "a=b,c=%ff",
                           "%=b", "a=b,\xff=1"}) {
    EXPECT_TRUE(ResourceAttributes::Parse(text).entries().empty()) << text;
  }
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "k" + std::to_string(i) + "=v,";
  EXPECT_TRUE(ResourceAttributes::Parse(many).entries().empty());
}

}  // namespace
}  // namespace zerotap
