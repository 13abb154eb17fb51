#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/app/config.h"
#include "tests/unit/app/config_fixture.h"

namespace zerotap {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

struct BadYaml {
  const char* yaml;
  const char* message;
};
class BadYamlTest : public ConfigTest, public testing::WithParamInterface<BadYaml> {};
TEST_P(BadYamlTest, NamesPlaceKeyValueAndRemedy) {
  EXPECT_EQ(Bad(GetParam().yaml), GetParam().message);
}
INSTANTIATE_TEST_SUITE_P(
    Messages, BadYamlTest,
    testing::Values(
        BadYaml{"capture:\n  teir: a\n",
                "FILE:2: capture.teir: is not a key that zerotap knows; did you mean \"tier\"?"},
        BadYaml{"exporter: {}\n",
                "FILE:1: exporter: is not a key that zerotap knows; did you mean \"export\"?"},
        BadYaml{
            "http:\n  tier: a\n",
            "FILE:2: http.tier: is not a key that zerotap knows; did you mean \"capture.tier\"?"},
        BadYaml{"health:\n  qqqqqqqqqq: 1\n",
                "FILE:2: health.qqqqqqqqqq: is not a key that zerotap knows; known here: address"},
        BadYaml{"capture:\n  tier: c\n", "FILE:2: capture.tier: \"c\" must be one of auto, a, b"},
        BadYaml{"capture: {tier: a, tier: b}\n",
                "FILE:1: capture.tier: is here twice; remove one of the two"},
        BadYaml{"capture:\n  ring_size: lots\n",
                "FILE:2: capture.ring_size: \"lots\" must be a size such as 64KiB or 16MiB"},
        BadYaml{"capture:\n  ring_size: 1KiB\n",
                "FILE:2: capture.ring_size: \"1KiB\" must be between 256KiB and 1GiB"},
        BadYaml{"capture:\n  max_connections: -1\n",
                "FILE:2: capture.max_connections: \"-1\" must be a whole number"},
        BadYaml{"capture: 5\n", "FILE:1: capture: must be a map of keys to values"},
        BadYaml{"- a\n", "FILE:1: must be a map of keys to values"},
        BadYaml{"metrics:\n  interval: 60\n",
                "FILE:2: metrics.interval: \"60\" must be a duration with its unit such as 200ms, "
                "1s or 5m"},
        BadYaml{"redaction:\n  all_query_values: maybe\n",
                "FILE:2: redaction.all_query_values: \"maybe\" must be true or false"},
        BadYaml{"http:\n  routes: /a\n", "FILE:2: http.routes: must be a list, for example [/a]"},
        BadYaml{"targets:\n  include_ports: [80, 70000]\n",
                "FILE:2: targets.include_ports: \"70000\" must be a port from 1 to 65535"},
        BadYaml{"targets:\n  select:\n    - pid: x\n",
                "FILE:3: targets.select[0].pid: \"x\" must be a whole number"},
        BadYaml{"targets:\n  select:\n    executable: x\n",
                "FILE:3: targets.select: must be a list, each item after a dash"},
        BadYaml{"targets:\n  exclude:\n    - {pid: 1, exe: a}\n",
                "FILE:3: targets.exclude[0].exe: is not a key that zerotap knows; known here: "
                "executable, command, "
                "command_contains, service, container, systemd_unit, pid"},
        BadYaml{"export:\n  traces: [otlb]\n",
                "FILE:2: export.traces: \"otlb\" must be one of otlp, console, file, none"},
        BadYaml{"export:\n  otlp:\n    headers: [a]\n",
                "FILE:3: export.otlp.headers: must be a map of names to values, for example {name: "
                "value}"},
        BadYaml{"export:\n  otlp:\n    headers: {k: \"${NOT_SET}\"}\n",
                "FILE:3: export.otlp.headers.k: the variable NOT_SET is not set; set it, or write "
                "${NOT_SET:-value} to give a default"},
        BadYaml{"agent:\n  service_name: \"${OPEN\"\n",
                "FILE:2: agent.service_name: \"${OPEN\" has ${ without }"},
        BadYaml{"export:\n  otlp:\n    endpoint: collector:4318\n",
                "export.otlp.endpoint: \"collector:4318\" must begin with http:// or https://, for "
                "example "
                "http://collector:4318"},
        BadYaml{"export:\n  otlp:\n    endpoint: grpc://collector:4317\n",
                "export.otlp.endpoint: \"grpc://collector:4317\" must begin with http:// or "
                "https://, for example "
                "http://127.0.0.1:4318"},
        BadYaml{"export:\n  otlp:\n    endpoint: http:///x\n",
                "export.otlp.endpoint: \"http:///x\" names no host, or has spaces in it"},
        BadYaml{"export:\n  traces: [file]\n",
                "export.file.path: must be set, because export.traces or export.metrics has file"},
        BadYaml{"export:\n  metrics: [none, otlp]\n",
                "export.metrics: none cannot stand with others (none, otlp); remove it"},
        BadYaml{"health:\n  address: localhost\n",
                "health.address: \"localhost\" must be an address with a port, for example "
                "127.0.0.1:8686, or off"},
        BadYaml{"sampling:\n  argument: \"1.5\"\n",
                "sampling.argument: \"1.5\" must be a ratio from 0 to 1"},
        BadYaml{"http:\n  request_headers: [X-Team, Authorization]\n",
                "http.request_headers: authorization carries credentials and is never captured; "
                "remove it"},
        BadYaml{"http:\n  response_headers: [\"x-*:\"]\n",
                "http.response_headers: \"x-*:\" is not the name of a header; there are no "
                "patterns here"},
        BadYaml{"services:\n  - executable: node\n", "services[0].name: must be set"},
        BadYaml{"services:\n  - {name: a, service: b}\n",
                "services[0].service: a naming rule cannot match by the name that it gives"},
        BadYaml{"agent:\n  service_name: \"\"\n", "agent.service_name: must not be empty"}));

TEST_F(ConfigTest, BrokenYamlSaysWhere) {
  EXPECT_THAT(Bad("capture:\n  tier: [a\nhttp:\n"), HasSubstr("FILE:"));
  EXPECT_THAT(Bad("capture:\n  tier: [a\nhttp:\n"), HasSubstr("not valid YAML"));
}

TEST_F(ConfigTest, UnknownProtocolNamesTheKnownOnes) {
  const std::string message = Bad("protocols: {disabled: [gopher]}");
  EXPECT_THAT(message, HasSubstr("protocols.disabled: \"gopher\" must be one of "));
  ASSERT_FALSE(Protocols().empty());
  for (const Protocol& protocol : Protocols())
    EXPECT_THAT(message, HasSubstr(std::string(protocol.name)));
}

TEST_F(ConfigTest, WhatTheKernelCounts) {
  Config config = Good(
      "syscalls: {enabled: true, names: [read, fsync]}\ntcp: {enabled: false}\n"
      "waits: {threshold: 2s, services: [{service: shop-*, threshold: 200ms}]}\n");
  EXPECT_TRUE(config.syscalls.enabled);
  EXPECT_THAT(config.syscalls.names, ElementsAre("read", "fsync"));
  EXPECT_FALSE(config.tcp.enabled);
  EXPECT_TRUE(config.waits_enabled);
  EXPECT_EQ(config.pipeline.waits.threshold_ns, 2'000'000'000u);
  EXPECT_THAT(config.pipeline.waits.by_service, ElementsAre(Pair("shop-*", 200'000'000u)));
  Config defaults = Good("");
  EXPECT_FALSE(defaults.syscalls.enabled) << "it has a price for the whole host";
  EXPECT_TRUE(defaults.tcp.enabled);
  EXPECT_THAT(Bad("syscalls: {names: [reed]}\n"), HasSubstr("reed"));
  EXPECT_THAT(Bad("waits: {services: [{service: a}]}\n"),
              HasSubstr("waits.services[0].threshold: must be set, to 50ms or more"));
  EXPECT_THAT(Bad("waits: {services: [{threshold: 1s}]}\n"),
              HasSubstr("waits.services[0].service: must be set"));
}

TEST_F(ConfigTest, RuleWithoutAQuestionIsRefused) {
  EXPECT_THAT(Bad("targets: {select: [{}]}"), HasSubstr("targets.select[0]"));
}

TEST_F(ConfigTest, AllMistakesAreToldAtOnce) {
  const std::string message = Bad("capture: {tier: z}\nmetrics: {interval: soon}\n");
  EXPECT_THAT(message, HasSubstr("capture.tier"));
  EXPECT_THAT(message, HasSubstr("metrics.interval"));
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 1);
}

TEST_F(ConfigTest, MissingFileIsNamed) {
  ConfigOverrides overrides;
  overrides.config_path = "/no/such/zerotap.yaml";
  EXPECT_EQ(Bad("", {}, overrides),
            "cannot read the configuration /no/such/zerotap.yaml: No such file or directory");
  overrides.config_path = "/";
  EXPECT_THAT(Bad("", {}, overrides), HasSubstr("cannot read the configuration /"));
}

TEST_F(ConfigTest, FlagsAreCheckedToo) {
  ConfigOverrides overrides;
  overrides.exporters = "otlp,teh";
  EXPECT_EQ(Bad("", {}, overrides), "--exporter: \"teh\" must be one of otlp, console, file, none");
  overrides = {};
  overrides.capture_tier = "c";
  EXPECT_EQ(Bad("", {}, overrides), "--capture-tier: \"c\" must be one of auto, a, b");
  overrides = {};
  overrides.sampler = "some";
  EXPECT_THAT(Bad("", {}, overrides), HasSubstr("--sampler: \"some\" must be one of always_on"));
  overrides = {};
  overrides.log_level = "loud";
  EXPECT_THAT(Bad("", {}, overrides), HasSubstr("--log-level: \"loud\" must be one of"));
  overrides = {};
  overrides.exporters = " , ";
  EXPECT_THAT(Bad("", {}, overrides), HasSubstr("--exporter: must name at least one"));
}

}  // namespace
}  // namespace zerotap
