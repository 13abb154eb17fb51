#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "agent/app/config.h"
#include "agent/app/config_schema.h"
#include "agent/app/config_units.h"
#include "agent/app/config_yaml.h"
#include "agent/app/memory_plan.h"
#include "agent/app/runner.h"
#include "tests/unit/app/config_fixture.h"

namespace zerotap {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

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

// Those that follow from the limit of memory, as they are with 256MiB on a machine with 2 CPUs.
TEST_F(ConfigTest, DerivedDefaultsAreDocumentedAndInTheSample) {
  const std::string documentation = ReadText(std::string(ZEROTAP_SOURCE_DIR) + "/docs/configuration.md");
  const std::string sample = ReadText(std::string(ZEROTAP_SOURCE_DIR) + "/deploy/zerotap.yaml");
  Config config;
  config.exports.traces = config.exports.metrics = {"otlp"};
  std::vector<std::string> warnings;
  ASSERT_TRUE(ApplyMemoryLimit({0, 2}, {}, config, warnings));
  size_t found = 0;
  for (auto [key, value] : ConfigTexts(config)) {
    if (key != "capture.ring_size" && key != "capture.max_connections" && key != "tcp.max_series" &&
        key != "syscalls.max_series" && key != "metrics.max_series" && key != "export.queue_memory") {
      continue;
    }
    ++found;
    if (!key.ends_with("_series") && !key.ends_with("_connections")) value = ByteSizeText(std::stoull(value));
    EXPECT_NE(documentation.find("| `" + key + "` | " + value + " |"), std::string::npos) << key << ": " << value;
    const size_t dot = key.find('.');
    const size_t group = sample.find("\n" + key.substr(0, dot) + ":");
    ASSERT_NE(group, std::string::npos) << key;
    const std::string name = "\n  # " + key.substr(dot + 1) + ": ";
    const size_t line = sample.find(name, group);
    ASSERT_NE(line, std::string::npos) << key;
    const size_t begin = line + name.size();
    EXPECT_EQ(sample.substr(begin, sample.find_first_of(" \n", begin) - begin), value) << key;
  }
  EXPECT_EQ(found, 6u);
}

}  // namespace
}  // namespace zerotap
