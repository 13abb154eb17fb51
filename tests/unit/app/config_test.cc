#include "agent/app/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "agent/app/config_schema.h"
#include "agent/app/config_units.h"
#include "agent/app/config_yaml.h"
#include "agent/app/runner.h"

namespace zerotap {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

using Variables = std::map<std::string, std::string>;

Environment FakeEnvironment(Variables variables) {
  return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional<std::string>(found->second);
  };
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class ConfigTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }

  std::string Write(const std::string& yaml) {
    std::ofstream(path_) << yaml;
    return path_;
  }

  Result<LoadedConfig> Load(const std::string& yaml, const Variables& variables = {},
                            ConfigOverrides overrides = {}) {
    if (!yaml.empty()) overrides.config_path = Write(yaml);
    return LoadConfig(overrides, FakeEnvironment(variables));
  }
  // The configuration of what must load.
  Config Good(const std::string& yaml, const Variables& variables = {},
              ConfigOverrides overrides = {}) {
    Result<LoadedConfig> loaded = Load(yaml, variables, std::move(overrides));
    EXPECT_TRUE(loaded.has_value()) << (loaded ? "" : loaded.error().message);
    if (!loaded) return {};
    warnings_ = loaded->warnings;
    return std::move(loaded->config);
  }
  // The message about what must not load, without the path of the file.
  std::string Bad(const std::string& yaml, const Variables& variables = {},
                  ConfigOverrides overrides = {}) {
    Result<LoadedConfig> loaded = Load(yaml, variables, std::move(overrides));
    EXPECT_FALSE(loaded.has_value()) << yaml;
    if (loaded) return "";
    std::string message = loaded.error().message;
    for (size_t at = message.find(path_); at != std::string::npos; at = message.find(path_)) {
      message.replace(at, path_.size(), "FILE");
    }
    return message;
  }

  const std::string path_ = (std::filesystem::temp_directory_path() /
                             ("zerotap-config-" + std::to_string(::getpid()) + ".yaml"))
                                .string();
  std::vector<std::string> warnings_;
};

TEST_F(ConfigTest, DefaultsShowSpansOnTheConsole) {
  Config config = Good("");
  EXPECT_THAT(config.exports.traces, ElementsAre("console"));
  EXPECT_THAT(config.exports.metrics, ElementsAre("console"));
  EXPECT_EQ(config.metrics.interval_ns, 10'000'000'000u);
  EXPECT_EQ(config.pipeline.sampler, "parentbased_always_on");
  EXPECT_EQ(config.health_address, "127.0.0.1:8686");
  EXPECT_THAT(config.pipeline.own_ports, ElementsAre(8686));
  EXPECT_FALSE(config.disabled);
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(ConfigTest, EmptyFileIsAsNoFile) {
  EXPECT_THAT(Good("# nothing but a comment\n").exports.traces, ElementsAre("console"));
}

TEST_F(ConfigTest, EndpointAnywhereMeansOtlp) {
  for (const Config& config : {Good("", {{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"}}),
                               Good("export: {otlp: {endpoint: 'http://a:4318'}}")}) {
    EXPECT_THAT(config.exports.traces, ElementsAre("otlp"));
    EXPECT_THAT(config.exports.metrics, ElementsAre("otlp"));
    EXPECT_EQ(config.metrics.interval_ns, 60'000'000'000u);
  }
}

TEST_F(ConfigTest, EndpointOfOneSignalLeavesTheOtherAlone) {
  Config config = Good("", {{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:4318/v1/traces"}});
  EXPECT_THAT(config.exports.traces, ElementsAre("otlp"));
  EXPECT_THAT(config.exports.metrics, ElementsAre("none"));
}

TEST_F(ConfigTest, FlagBeatsVariableBeatsFileBeatsDefault) {
  const std::string yaml =
      "logging: {level: error}\nsampling: {sampler: always_off}\nexport: {otlp: {endpoint: "
      "'http://file:1'}}\n";
  EXPECT_EQ(Good(yaml).log_level, "error");
  const Variables variables = {{"OTEL_LOG_LEVEL", "debug"},
                               {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://variable:1"}};
  Config config = Good(yaml, variables);
  EXPECT_EQ(config.log_level, "debug");
  EXPECT_EQ(config.pipeline.sampler, "always_off");
  EXPECT_EQ(config.exports.otlp.endpoint, "http://variable:1");
  ConfigOverrides overrides;
  overrides.log_level = "warn";
  overrides.endpoint = "http://flag:1";
  overrides.sampler = "parentbased_traceidratio=0.25";
  config = Good(yaml, variables, overrides);
  EXPECT_EQ(config.log_level, "warn");
  EXPECT_EQ(config.exports.otlp.endpoint, "http://flag:1");
  EXPECT_EQ(config.pipeline.sampler, "parentbased_traceidratio");
  EXPECT_EQ(config.pipeline.sampler_argument, "0.25");
}

TEST_F(ConfigTest, VariableForBothSignalsBeatsTheFileForOne) {
  const std::string yaml =
      "export: {otlp: {traces: {endpoint: 'http://file:1/t', timeout: 3s, compression: none, "
      "headers: {a: b}}}}";
  Config config = Good(yaml, {{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://variable:1"},
                              {"OTEL_EXPORTER_OTLP_TIMEOUT", "4000"},
                              {"OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"},
                              {"OTEL_EXPORTER_OTLP_HEADERS", "k=v"}});
  OtlpSettings traces = ResolveOtlp(config.exports, Signal::kTraces);
  EXPECT_EQ(traces.endpoint, "http://variable:1/v1/traces");
  EXPECT_EQ(traces.timeout_ns, 4'000'000'000u);
  EXPECT_EQ(traces.compression, "gzip");
  EXPECT_THAT(traces.headers, ElementsAre(Pair("k", "v")));
}

TEST_F(ConfigTest, ConfigFileByVariable) {
  Write("logging: {level: error}");
  Result<LoadedConfig> loaded = LoadConfig({}, FakeEnvironment({{"ZEROTAP_CONFIG", path_}}));
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->config.log_level, "error");
}

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
        BadYaml{"capture:\n  rings: 3\n",
                "FILE:2: capture.rings: \"3\" must be one of auto, 1, 2, 4, 8, 16, 32, 64"},
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

TEST_F(ConfigTest, ReadsEveryKindOfValue) {
  Config config = Good(R"(
capture: {tier: b, ring_size: 8MiB, rings: 4, max_connections: 2048}
targets:
  select: [{executable: /opt/*, pid: 42}, {systemd_unit: nginx}]
  include_ports: [80, 5432]
services: [{name: shop, command_contains: shop.jar}]
resource: {attributes: {deployment.environment.name: prod}}
http: {routes: ["/a/{id}"], request_headers: [X-Team]}
redaction: {all_query_values: true, query_keys: [mykey]}
spans: {legacy_attributes: false, hold: 50ms}
metrics: {temporality: delta, histogram: exponential, interval: 15s, exemplars: "off"}
export: {traces: [otlp, console, otlp], file: {path: /tmp/x}}
health: {address: "off"}
)");
  EXPECT_EQ(config.capture.tier, "b");
  EXPECT_EQ(config.capture.ring_bytes, 8u << 20);
  EXPECT_EQ(CaptureOptionsOf(config).rings, 4u);
  EXPECT_EQ(CaptureOptionsOf(Config{}).rings, 0u) << "auto";
  EXPECT_EQ(config.pipeline.max_connections, 2048u);
  ASSERT_EQ(config.targets.select.size(), 2u);
  EXPECT_EQ(config.targets.select[0].executable, "/opt/*");
  EXPECT_EQ(config.targets.select[0].pid, 42u);
  EXPECT_EQ(config.targets.select[1].systemd_unit, "nginx");
  EXPECT_THAT(config.pipeline.include_ports, ElementsAre(80, 5432));
  ASSERT_EQ(config.services.size(), 1u);
  EXPECT_EQ(config.services[0].name, "shop");
  EXPECT_EQ(config.services[0].match.command_contains, "shop.jar");
  EXPECT_THAT(config.resource_attributes, ElementsAre(Pair("deployment.environment.name", "prod")));
  EXPECT_THAT(config.pipeline.parser.request_headers, ElementsAre("x-team"));
  EXPECT_TRUE(config.pipeline.redaction.redact_all_query_values);
  EXPECT_FALSE(config.pipeline.legacy_attributes);
  EXPECT_EQ(config.pipeline.hold_ns, 50'000'000u);
  EXPECT_EQ(config.pipeline.red.temporality, Temporality::kDelta);
  EXPECT_TRUE(config.pipeline.red.exponential);
  EXPECT_EQ(config.pipeline.red.exemplars_per_series, 0u);
  EXPECT_EQ(config.metrics.interval_ns, 15'000'000'000u);
  EXPECT_THAT(config.exports.traces, ElementsAre("otlp", "console"));
  EXPECT_THAT(config.pipeline.own_ports, IsEmpty());
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(ConfigTest, VariablesInsideTheFile) {
  Config config =
      Good("export: {otlp: {endpoint: 'http://${HOST}:${PORT:-4318}', headers: {k: '${KEY:-}'}}}",
           {{"HOST", "collector"}, {"PORT", ""}});
  EXPECT_EQ(config.exports.otlp.endpoint, "http://collector:4318");
  EXPECT_THAT(config.exports.otlp.headers, ElementsAre(Pair("k", "")));
}

TEST_F(ConfigTest, WarnsOfWhatReceiversDoNotTake) {
  Good("metrics: {histogram: exponential}");
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0], HasSubstr("dropped by SigNoz"));
  Good("export: {otlp: {endpoint: 'http://a:4317'}}");
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0], HasSubstr("4317"));
}

TEST_F(ConfigTest, OtelVariables) {
  Config config = Good("", {{"OTEL_SDK_DISABLED", "TRUE"},
                            {"OTEL_SERVICE_NAME", "tap"},
                            {"OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=a%2Cb,x=y"},
                            {"OTEL_LOG_LEVEL", "WARN"},
                            {"OTEL_TRACES_SAMPLER", "traceidratio"},
                            {"OTEL_TRACES_SAMPLER_ARG", "0.5"},
                            {"OTEL_TRACES_EXPORTER", "otlp, console"},
                            {"OTEL_METRICS_EXPORTER", "none"},
                            {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "LowMemory"},
                            {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
                             "base2_exponential_bucket_histogram"},
                            {"OTEL_METRIC_EXPORT_INTERVAL", "5000"},
                            {"OTEL_BSP_SCHEDULE_DELAY", "2000"},
                            {"OTEL_BSP_MAX_QUEUE_SIZE", "77"},
                            {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "33"},
                            {"OTEL_METRICS_EXEMPLAR_FILTER", "always_off"},
                            {"OTEL_SEMCONV_STABILITY_OPT_IN", "http, database"},
                            {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "128"},
                            {"OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"}});
  EXPECT_TRUE(config.disabled);
  EXPECT_EQ(config.agent.service_name, "tap");
  EXPECT_THAT(config.agent.resource_attributes, ElementsAre(Pair("team", "a,b"), Pair("x", "y")));
  EXPECT_EQ(config.log_level, "warn");
  EXPECT_EQ(config.pipeline.sampler, "traceidratio");
  EXPECT_EQ(config.pipeline.sampler_argument, "0.5");
  EXPECT_THAT(config.exports.traces, ElementsAre("otlp", "console"));
  EXPECT_THAT(config.exports.metrics, ElementsAre("none"));
  EXPECT_EQ(config.pipeline.red.temporality, Temporality::kDelta);
  EXPECT_TRUE(config.pipeline.red.exponential);
  EXPECT_EQ(config.metrics.interval_ns, 5'000'000'000u);
  EXPECT_EQ(config.exports.flush_interval_ns, 2'000'000'000u);
  EXPECT_EQ(config.exports.queue_size, 77u);
  EXPECT_EQ(config.exports.max_batch_size, 33u);
  EXPECT_EQ(config.pipeline.red.exemplars_per_series, 0u);
  EXPECT_FALSE(config.pipeline.legacy_attributes);
  EXPECT_EQ(config.pipeline.attribute_value_limit, 128u);
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(ConfigTest, EmptyVariablesCountAsUnset) {
  Config config = Good("", {{"OTEL_LOG_LEVEL", ""},
                            {"OTEL_TRACES_SAMPLER", " "},
                            {"OTEL_EXPORTER_OTLP_ENDPOINT", ""},
                            {"OTEL_EXPORTER_OTLP_PROTOCOL", ""},
                            {"OTEL_BSP_MAX_QUEUE_SIZE", ""},
                            {"ZEROTAP_CONFIG", ""}});
  EXPECT_EQ(config.log_level, "info");
  EXPECT_THAT(config.exports.traces, ElementsAre("console"));
  EXPECT_THAT(warnings_, IsEmpty());
}

struct IgnoredVariable {
  const char* name;
  const char* value;
};
class IgnoredVariableTest : public ConfigTest,
                            public testing::WithParamInterface<IgnoredVariable> {};
TEST_P(IgnoredVariableTest, WarnsAndKeepsTheDefault) {
  Config config = Good("", {{GetParam().name, GetParam().value}});
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0], HasSubstr(GetParam().name));
  EXPECT_EQ(PrintYamlConfig(config), PrintYamlConfig(Good("")));
}
INSTANTIATE_TEST_SUITE_P(
    Variables, IgnoredVariableTest,
    testing::Values(IgnoredVariable{"OTEL_LOG_LEVEL", "loud"},
                    IgnoredVariable{"OTEL_TRACES_SAMPLER", "jaeger_remote"},
                    IgnoredVariable{"OTEL_TRACES_SAMPLER_ARG", "half"},
                    IgnoredVariable{"OTEL_TRACES_SAMPLER_ARG", "2"},
                    IgnoredVariable{"OTEL_BSP_MAX_QUEUE_SIZE", "-1"},
                    IgnoredVariable{"OTEL_BSP_SCHEDULE_DELAY", "1s"},
                    IgnoredVariable{"OTEL_METRIC_EXPORT_INTERVAL", "0"},
                    IgnoredVariable{"OTEL_TRACES_EXPORTER", "zipkin"},
                    IgnoredVariable{"OTEL_METRICS_EXPORTER", "prometheus"},
                    IgnoredVariable{"OTEL_EXPORTER_OTLP_TIMEOUT", "ten"},
                    IgnoredVariable{"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"},
                    IgnoredVariable{"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "99999999999999999999"},
                    IgnoredVariable{"OTEL_EXPORTER_OTLP_INSECURE", "1"},
                    IgnoredVariable{"OTEL_EXPORTER_OTLP_METRICS_INSECURE", "yes"},
                    IgnoredVariable{"OTEL_BSP_EXPORT_TIMEOUT", "0"},
                    IgnoredVariable{"OTEL_METRIC_EXPORT_TIMEOUT", "30s"},
                    IgnoredVariable{"OTEL_PROPAGATORS", "b3"},
                    IgnoredVariable{"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-1"},
                    IgnoredVariable{"OTEL_RESOURCE_ATTRIBUTES", "a=%zz"},
                    IgnoredVariable{"OTEL_RESOURCE_ATTRIBUTES", "a"},
                    IgnoredVariable{"OTEL_METRICS_EXEMPLAR_FILTER", "always_on"},
                    IgnoredVariable{"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "x"},
                    IgnoredVariable{"OTEL_SDK_DISABLED", "1"},
                    IgnoredVariable{"OTEL_CONFIG_FILE", "/etc/otel.yaml"},
                    IgnoredVariable{"OTEL_EXPORTER_OTLP_HEADERS", "secret-without-equals"}));

TEST_F(ConfigTest, WarningsNeverRepeatHeaderValues) {
  Good("", {{"OTEL_EXPORTER_OTLP_HEADERS", "key=s3cret%zz"}});
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0], testing::Not(HasSubstr("s3cret")));
}

TEST_F(ConfigTest, UnknownProtocolsStopTheStart) {
  for (const char* name : {"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                           "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"}) {
    const std::string message = Bad("", {{name, "http"}});
    EXPECT_THAT(message, HasSubstr(std::string(name) +
                                   "=http: it must be one of http/protobuf, http/json, grpc"));
  }
}

TEST_F(ConfigTest, ProtocolsOfBothSignalsAndOfOne) {
  const auto protocols = [this](const std::string& yaml, const Variables& variables) {
    Config config = Good(yaml, variables);
    return ResolveOtlp(config.exports, Signal::kTraces).protocol + " " +
           ResolveOtlp(config.exports, Signal::kMetrics).protocol;
  };
  EXPECT_EQ(protocols("", {}), "http/protobuf http/protobuf");
  EXPECT_EQ(protocols("", {{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"}}), "grpc grpc");
  EXPECT_EQ(protocols("", {{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"},
                           {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"}}),
            "http/json grpc");
  EXPECT_EQ(protocols("export: {otlp: {metrics: {protocol: grpc}}}", {}), "http/protobuf grpc");
  EXPECT_EQ(protocols("export: {otlp: {metrics: {protocol: grpc}}}",
                      {{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"}}),
            "http/json http/json");
}

TEST_F(ConfigTest, GrpcEndpoints) {
  const Variables grpc = {{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"}};
  const auto with = [&](std::string name, std::string value) {
    Variables variables = grpc;
    variables.emplace(std::move(name), std::move(value));
    return variables;
  };
  const auto endpoint = [this](const Variables& variables, Signal signal) {
    return ResolveOtlp(Good("", variables).exports, signal).endpoint;
  };
  EXPECT_EQ(endpoint(grpc, Signal::kTraces), "");
  EXPECT_EQ(endpoint(with("OTEL_EXPORTER_OTLP_ENDPOINT", "a:4317"), Signal::kTraces), "a:4317");
  EXPECT_EQ(endpoint(with("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://b"), Signal::kMetrics),
            "https://b");
  EXPECT_THAT(Bad("", with("OTEL_EXPORTER_OTLP_ENDPOINT", "a:1/v1/traces")),
              HasSubstr("host:port"));
  EXPECT_THAT(Bad("", with("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://a:1")), HasSubstr("grpc://a:1"));
  EXPECT_THAT(Bad("", {{"OTEL_EXPORTER_OTLP_ENDPOINT", "a:4318"}}), HasSubstr("must begin with"));
  EXPECT_THAT(Bad("", {{"OTEL_EXPORTER_OTLP_ENDPOINT", "a:4317"},
                       {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"}}),
              HasSubstr("must begin with"))
      << "the metrics go to it by HTTP";
  Good("", with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"));
  EXPECT_THAT(warnings_, IsEmpty());
  Good("", with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"));
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0], HasSubstr("4318"));
}

TEST_F(ConfigTest, Insecure) {
  const auto insecure = [this](const Variables& variables) {
    Config config = Good("export: {otlp: {traces: {insecure: true}}}", variables);
    return ResolveOtlp(config.exports, Signal::kTraces).insecure + " " +
           ResolveOtlp(config.exports, Signal::kMetrics).insecure;
  };
  EXPECT_EQ(insecure({}), "true false");
  EXPECT_EQ(insecure({{"OTEL_EXPORTER_OTLP_INSECURE", "false"}}), "false false");
  EXPECT_EQ(insecure({{"OTEL_EXPORTER_OTLP_INSECURE", "TRUE"},
                      {"OTEL_EXPORTER_OTLP_TRACES_INSECURE", "false"}}),
            "false true");
}

TEST_F(ConfigTest, HowLongARequestIsTried) {
  Config config =
      Good("", {{"OTEL_BSP_EXPORT_TIMEOUT", "30000"}, {"OTEL_METRIC_EXPORT_TIMEOUT", "20000"}});
  EXPECT_EQ(ResolveOtlp(config.exports, Signal::kTraces).give_up_after_ns, 30'000'000'000u);
  EXPECT_EQ(ResolveOtlp(config.exports, Signal::kMetrics).give_up_after_ns, 20'000'000'000u);
  config = Good("export: {otlp: {give_up_after: 5m}}");
  EXPECT_EQ(ResolveOtlp(config.exports, Signal::kTraces).give_up_after_ns, 300'000'000'000u);
}

TEST_F(ConfigTest, Proxies) {
  for (const char* proxy : {"http://proxy:3128", "socks5h://proxy", "off", ""}) {
    Config config = Good("export: {otlp: {proxy: '" + std::string(proxy) + "'}}");
    EXPECT_EQ(ResolveOtlp(config.exports, Signal::kMetrics).proxy, proxy);
  }
  const std::string message = Bad("export: {otlp: {traces: {proxy: 'me:s3cret@proxy:3128'}}}");
  EXPECT_THAT(message, HasSubstr("export.otlp.traces.proxy"));
  EXPECT_THAT(message, testing::Not(HasSubstr("s3cret")));
  EXPECT_THAT(PrintYamlConfig(Good("export: {otlp: {proxy: 'http://me:s3cret@proxy:1'}}")),
              testing::Not(HasSubstr("s3cret")));
}

TEST_F(ConfigTest, PropagatorsThatAreRead) {
  Good("", {{"OTEL_PROPAGATORS", "tracecontext,baggage"}});
  EXPECT_THAT(warnings_, IsEmpty());
  Good("", {{"OTEL_PROPAGATORS", "tracecontext,b3,jaeger"}});
  EXPECT_EQ(warnings_.size(), 2u);
}

TEST_F(ConfigTest, TheLimitForSpansBeatsTheGeneralOne) {
  EXPECT_EQ(Good("", {{"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "64"},
                      {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "128"}})
                .pipeline.attribute_value_limit,
            64u);
  EXPECT_EQ(Good("").pipeline.attribute_count_limit, 128u);
  EXPECT_EQ(Good("", {{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "64"},
                      {"OTEL_ATTRIBUTE_COUNT_LIMIT", "32"}})
                .pipeline.attribute_count_limit,
            64u);
}

TEST_F(ConfigTest, StabilityOptIn) {
  const auto legacy = [this](const char* value) {
    return Good("", {{"OTEL_SEMCONV_STABILITY_OPT_IN", value}}).pipeline.legacy_attributes;
  };
  EXPECT_TRUE(legacy(""));
  EXPECT_TRUE(legacy("http/dup"));
  EXPECT_TRUE(legacy("http,http/dup"));
  EXPECT_TRUE(legacy("messaging"));
  EXPECT_FALSE(legacy("http"));
  EXPECT_FALSE(legacy("database"));
}

TEST_F(ConfigTest, OtlpUrls) {
  const auto url = [this](Variables variables, Signal signal) {
    variables.emplace("OTEL_TRACES_EXPORTER", "otlp");
    return ResolveOtlp(Good("", variables).exports, signal).endpoint;
  };
  EXPECT_EQ(url({}, Signal::kTraces), "http://localhost:4318/v1/traces");
  EXPECT_EQ(url({{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"}}, Signal::kMetrics),
            "http://a:4318/v1/metrics");
  EXPECT_EQ(url({{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://a/base/"}}, Signal::kTraces),
            "https://a/base/v1/traces");
  EXPECT_EQ(url({{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:1"}}, Signal::kTraces),
            "http://b:1/");
  EXPECT_EQ(url({{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:1/x"}}, Signal::kTraces),
            "http://b:1/x");
}

TEST_F(ConfigTest, PrintedConfigurationLoadsToTheSame) {
  const Config config = Good(R"(
capture: {tier: b, ring_size: 1MiB}
targets: {select: [{executable: "a: b", pid: 1}], exclude_ports: [22]}
services: [{name: "x # y", container: abc}]
http: {routes: ["/a/{id}", "/b: c/*"]}
sampling: {sampler: traceidratio, argument: "0.1"}
export: {traces: [otlp], metrics: [none], otlp: {endpoint: "http://a:1", traces: {timeout: 3s, compression: none}}}
agent: {resource_attributes: {a: "1", b: "true"}}
metrics: {interval: 1500ms}
)");
  const std::string printed = PrintYamlConfig(config);
  EXPECT_EQ(PrintYamlConfig(Good(printed)), printed);
  EXPECT_THAT(printed, HasSubstr("interval: 1500ms"));
}

TEST_F(ConfigTest, PrintedConfigurationMasksSecrets) {
  const std::string printed =
      PrintYamlConfig(Good("export: {otlp: {endpoint: 'https://me:s3cret@a:1/x@y', headers: "
                           "{signoz-ingestion-key: s3cret}}}"));
  EXPECT_THAT(printed, testing::Not(HasSubstr("s3cret")));
  EXPECT_THAT(printed, HasSubstr("https://***@a:1/x@y"));
  EXPECT_THAT(printed, HasSubstr("signoz-ingestion-key: \"***\""));
}

TEST_F(ConfigTest, SampleFileIsTheDefaults) {
  ConfigOverrides overrides;
  overrides.config_path = std::string(ZEROTAP_SOURCE_DIR) + "/deploy/zerotap.yaml";
  EXPECT_EQ(PrintYamlConfig(Good("", {}, overrides)), PrintYamlConfig(Good("")));
}

TEST_F(ConfigTest, EverySampleInTheDocumentationLoads) {
  size_t samples = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(std::string(ZEROTAP_SOURCE_DIR) + "/docs")) {
    if (entry.path().extension() != ".md") continue;
    const std::string text = ReadText(entry.path().string());
    for (size_t at = text.find("```yaml zerotap\n"); at != std::string::npos;
         at = text.find("```yaml zerotap\n", at)) {
      at = text.find('\n', at) + 1;
      const size_t end = text.find("```", at);
      ASSERT_NE(end, std::string::npos);
      Good(text.substr(at, end - at), {{"SIGNOZ_INGESTION_KEY", "k"}});
      ++samples;
      at = end;
    }
  }
  EXPECT_GE(samples, 4u);
}

TEST_F(ConfigTest, EveryKeyIsDocumentedAndInTheSample) {
  const std::string documentation =
      ReadText(std::string(ZEROTAP_SOURCE_DIR) + "/docs/configuration.md");
  for (const std::string& key : ConfigKeys()) {
    EXPECT_THAT(documentation, HasSubstr("`" + key + "`"));
  }
}

TEST(ConfigUnits, ParseAndFormat) {
  EXPECT_EQ(ParseByteSize("64MiB"), 64u << 20);
  EXPECT_EQ(ParseByteSize("17"), 17u);
  EXPECT_EQ(ParseByteSize("3 KiB"), 3072u);
  EXPECT_FALSE(ParseByteSize("1.5MiB").has_value());
  EXPECT_FALSE(ParseByteSize("64MB").has_value());
  EXPECT_FALSE(ParseByteSize("99999999999GiB").has_value());
  EXPECT_FALSE(ParseByteSize("").has_value());
  EXPECT_EQ(ParseDuration("200ms"), 200'000'000u);
  EXPECT_EQ(ParseDuration("5m"), 300'000'000'000u);
  EXPECT_EQ(ParseDuration("0s"), 0u);
  EXPECT_FALSE(ParseDuration("5").has_value());
  EXPECT_FALSE(ParseDuration("s").has_value());
  EXPECT_EQ(ByteSizeText(64u << 20), "64MiB");
  EXPECT_EQ(ByteSizeText(1500), "1500B");
  EXPECT_EQ(ByteSizeText(0), "0B");
  EXPECT_EQ(DurationText(1'500'000'000), "1500ms");
  EXPECT_EQ(DurationText(0), "0s");
  EXPECT_FALSE(ParseNumber("nan").has_value());
  EXPECT_FALSE(ParseUnsigned("1x").has_value());
}

TEST(ConfigUnits, HostAndPort) {
  EXPECT_EQ(ParseHostPort("127.0.0.1:80")->host, "127.0.0.1");
  EXPECT_EQ(ParseHostPort("[::1]:81")->host, "::1");
  EXPECT_EQ(ParseHostPort("[::1]:81")->port, 81);
  EXPECT_EQ(ParseHostPort(":82")->host, "0.0.0.0");
  for (const char* bad : {"", "80", "a:", "a:0", "a:65536", "::1:80", "a:b"}) {
    EXPECT_FALSE(ParseHostPort(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace zerotap
