#include "agent/process/resource_builder.h"

#include <gtest/gtest.h>
#include <regex.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/process/fake_root.h"

namespace zerotap {
namespace {

HostFacts Host() { return {"node-1", "0123456789abcdef", "amd64", "boot-1"}; }

ProcessFacts Shop() {
  ProcessFacts facts;
  facts.pid = 4711;
  facts.executable = "/usr/bin/python3.11";
  facts.arguments = {"python3", "shop.py", "--password", "hunter2"};
  facts.owner = "alice";
  facts.start_boot_ns = 50'000'000'000;
  facts.start_unix_ns = 1'700'000'050'123'456'789;
  return facts;
}

struct Inputs {
  ProcessFacts facts = Shop();
  BinaryFacts binary;
  std::string own;
  std::string service = "shop";
  std::string script = "shop.py";
  std::string container_id;
  ContainerName container;
  std::string unit;
  ResourceOptions options;
  HostFacts host = Host();

  Inputs() { binary.runtime = RuntimeKind::kPython; }

  ResourcePtr Build() const {
    ResourceAttributes attributes = ResourceAttributes::Parse(own);
    return ResourceBuilder(host, options)
        .Build({facts, binary, attributes, service, script, container_id, container, unit});
  }
};

std::vector<std::string> Keys(const Resource& resource) {
  std::vector<std::string> keys;
  for (size_t i = 0; i < resource.attributes.size(); ++i) {
    keys.emplace_back(resource.attributes[i].key);
  }
  return keys;
}

TEST(ResourceBuilder, HasEveryAttributeInTheOrderOfTheContract) {
  Inputs inputs;
  inputs.own = "team=pay,service.version=1.2.3,deployment.environment.name=prod";
  inputs.container_id = std::string(64, 'a');
  inputs.container = {"shop-web-1", "web", "shopping"};
  inputs.unit = "shop.service";
  inputs.options.extra_attributes = {{"cloud.region", "eu-1"}};
  ResourcePtr resource = inputs.Build();
  EXPECT_EQ(resource->service_name, "shop");
  EXPECT_EQ(resource->pid, 4711u);
  std::vector<std::string> expected = {"service.name",
                                       "service.namespace",
                                       "service.version",
                                       "service.instance.id",
                                       "deployment.environment.name",
                                       "deployment.environment",
                                       "host.name",
                                       "host.id",
                                       "host.arch",
                                       "container.id",
                                       "container.name",
                                       "process.pid",
                                       "process.creation.time",
                                       "process.executable.name",
                                       "process.executable.path",
                                       "process.command",
                                       "process.owner",
                                       "process.runtime.name",
                                       "process.runtime.version",
                                       "zerotap.systemd.unit",
                                       "os.type",
                                       "telemetry.sdk.name",
                                       "telemetry.sdk.language",
                                       "telemetry.sdk.version",
                                       "telemetry.distro.name",
                                       "telemetry.distro.version",
                                       "team",
                                       "cloud.region"};
  EXPECT_EQ(Keys(*resource), expected);
  const AttributeSet& attributes = resource->attributes;
  EXPECT_EQ(attributes.FindText("service.namespace"), "shopping");
  EXPECT_EQ(attributes.FindText("service.version"), "1.2.3");
  EXPECT_EQ(attributes.FindText("deployment.environment"), "prod");
  EXPECT_EQ(attributes.FindText("process.creation.time"), "2023-11-14T22:14:10.123Z");
  EXPECT_EQ(attributes.FindText("process.executable.name"), "python3.11");
  EXPECT_EQ(attributes.FindText("process.command"), "python3 shop.py");
  EXPECT_EQ(attributes.FindText("process.runtime.name"), "cpython");
  EXPECT_EQ(attributes.FindText("process.runtime.version"), "3.11");
  EXPECT_EQ(attributes.FindText("telemetry.sdk.language"), "python");
  EXPECT_EQ(attributes.FindText("os.type"), "linux");
}

TEST(ResourceBuilder, WhatIsUnknownIsAbsent) {
  Inputs inputs;
  inputs.facts = ProcessFacts();
  inputs.facts.pid = 1;
  inputs.binary.runtime = RuntimeKind::kNative;
  inputs.script.clear();
  inputs.host = {};
  std::vector<std::string> expected = {"service.name",
                                       "service.instance.id",
                                       "process.pid",
                                       "os.type",
                                       "telemetry.sdk.name",
                                       "telemetry.sdk.language",
                                       "telemetry.sdk.version",
                                       "telemetry.distro.name",
                                       "telemetry.distro.version"};
  EXPECT_EQ(Keys(*inputs.Build()), expected);
}

TEST(ResourceBuilder, OwnAttributesWinExceptOverWhatZerotapSawItself) {
  Inputs inputs;
  inputs.own =
      "host.name=mine,service.instance.id=i-1,process.pid=1,telemetry.sdk.name=evil,a=own,"
      "service.namespace=own-ns";
  inputs.container.compose_project = "project";
  inputs.options.extra_attributes = {
      {"a", "agent"}, {"service.name", "agent"}, {"service.instance.id", "agent"}, {"b", "agent"}};
  ResourcePtr resource = inputs.Build();
  const AttributeSet& attributes = resource->attributes;
  EXPECT_EQ(attributes.FindText("host.name"), "mine");
  EXPECT_EQ(attributes.FindText("service.instance.id"), "i-1");
  EXPECT_EQ(attributes.FindText("service.namespace"), "own-ns");
  EXPECT_EQ(attributes.FindText("telemetry.sdk.name"), "opentelemetry");
  EXPECT_EQ(attributes.FindText("a"), "own");
  EXPECT_EQ(attributes.FindText("b"), "agent");
  EXPECT_EQ(attributes.FindText("service.name"), "shop");
  std::vector<std::string> keys = Keys(*resource);
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(std::adjacent_find(keys.begin(), keys.end()), keys.end()) << "no key twice";
}

TEST(ResourceBuilder, EnvironmentHasBothSpellingsOrNeither) {
  Inputs inputs;
  EXPECT_FALSE(inputs.Build()->attributes.Has("deployment.environment.name"));
  EXPECT_FALSE(inputs.Build()->attributes.Has("deployment.environment"));
  inputs.own = "deployment.environment=old";
  EXPECT_EQ(inputs.Build()->attributes.FindText("deployment.environment.name"), "old");
  EXPECT_EQ(inputs.Build()->attributes.FindText("deployment.environment"), "old");
  inputs.own.clear();
  inputs.options.extra_attributes = {{"deployment.environment.name", "agents"}};
  EXPECT_EQ(inputs.Build()->attributes.FindText("deployment.environment"), "agents");
  inputs.options.legacy_attributes = false;
  EXPECT_EQ(inputs.Build()->attributes.FindText("deployment.environment.name"), "agents");
  EXPECT_FALSE(inputs.Build()->attributes.Has("deployment.environment"));
  inputs.own = "deployment.environment=old";
  EXPECT_EQ(inputs.Build()->attributes.FindText("deployment.environment.name"), "old");
  EXPECT_FALSE(inputs.Build()->attributes.Has("deployment.environment"));
}

TEST(ResourceBuilder, TitlesAndArgumentsDoNotLeak) {
  Inputs inputs;
  inputs.facts.executable = "/usr/lib/postgresql/15/bin/postgres";
  inputs.facts.arguments = {"postgres: alice secretdb [local] SELECT"};
  inputs.binary.runtime = RuntimeKind::kNative;
  inputs.script.clear();
  ResourcePtr resource = inputs.Build();
  EXPECT_EQ(resource->attributes.FindText("process.command"),
            "/usr/lib/postgresql/15/bin/postgres");
  for (size_t i = 0; i < resource->attributes.size(); ++i) {
    Attribute attribute = resource->attributes[i];
    if (const auto* text = std::get_if<std::string_view>(&attribute.value)) {
      EXPECT_EQ(text->find("secretdb"), std::string_view::npos) << attribute.key;
    }
  }
}

TEST(ResourceBuilder, InstanceIdIsAUuidThatTellsProcessesApart) {
  Inputs inputs;
  std::string id(inputs.Build()->attributes.FindText("service.instance.id"));
  regex_t form;
  ASSERT_EQ(regcomp(&form, "^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
                    REG_EXTENDED | REG_NOSUB),
            0);
  EXPECT_EQ(regexec(&form, id.c_str(), 0, nullptr, 0), 0) << id;
  regfree(&form);
  auto id_of = [](const Inputs& other) {
    return std::string(other.Build()->attributes.FindText("service.instance.id"));
  };
  EXPECT_EQ(id_of(inputs), id) << "the same process";
  inputs.facts.start_unix_ns += 400'000'000;  // the boot time is known to the second only
  inputs.facts.start_boot_ns += 7;            // an exec record has what /proc rounds off
  EXPECT_EQ(id_of(inputs), id);
  Inputs later;
  later.facts.start_boot_ns += 10'000'000;
  EXPECT_NE(id_of(later), id);
  Inputs other_pid;
  other_pid.facts.pid++;
  EXPECT_NE(id_of(other_pid), id);
  Inputs other_host;
  other_host.host.id = "x";
  EXPECT_NE(id_of(other_host), id);
  Inputs other_boot;
  other_boot.host.boot_id = "x";
  EXPECT_NE(id_of(other_boot), id);
}

TEST(ResourceBuilder, RuntimeVersions) {
  struct VersionCase {
    const char* executable;
    RuntimeKind kind;
    const char* version;
  };
  const VersionCase cases[] = {
      {"/usr/bin/python3.11", RuntimeKind::kPython, "3.11"},
      {"/home/app/.pyenv/versions/3.11.7/bin/python3.11", RuntimeKind::kPython, "3.11.7"},
      {"/home/app/.nvm/versions/node/v20.11.1/bin/node", RuntimeKind::kNode, "20.11.1"},
      {"/usr/bin/node", RuntimeKind::kNode, ""},
      {"/usr/sbin/php-fpm8.2", RuntimeKind::kPhp, "8.2"},
      {"/usr/bin/ruby3.1", RuntimeKind::kRuby, "3.1"},
      {"/srv/shop2.0", RuntimeKind::kNative, ""},
      {"/usr/bin/uwsgi3", RuntimeKind::kPython, ""},  // its own version, not Python's
  };
  for (const VersionCase& c : cases) {
    Inputs inputs;
    inputs.facts.executable = c.executable;
    inputs.binary.runtime = c.kind;
    EXPECT_EQ(inputs.Build()->attributes.FindText("process.runtime.version"), c.version)
        << c.executable;
  }
  Inputs go;
  go.binary.runtime = RuntimeKind::kGo;
  go.binary.go = GoBuildInfo{"go1.22.1", "", "", ""};
  EXPECT_EQ(go.Build()->attributes.FindText("process.runtime.version"), "go1.22.1");
  EXPECT_EQ(go.Build()->attributes.FindText("telemetry.sdk.language"), "go");
}

TEST(HostFacts, AreReadBelowTheRoot) {
  FakeRoot root;
  HostFacts host = HostFacts::Read(root.path());
  EXPECT_EQ(host.name, "node-1");
  EXPECT_EQ(host.id, "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(host.boot_id, "11111111-2222-3333-4444-555555555555");
  EXPECT_FALSE(host.arch.empty());
  root.Remove("/etc/machine-id");
  EXPECT_EQ(HostFacts::Read(root.path()).id, "");
  root.Write("/etc/machine-id", "uninitialized\n");
  EXPECT_EQ(HostFacts::Read(root.path()).id, "");
}

}  // namespace
}  // namespace zerotap
