#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/app/config.h"
#include "agent/app/config_yaml.h"
#include "tests/unit/app/config_fixture.h"

namespace zerotap {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

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

TEST_F(ConfigTest, KnownMethods) {
  EXPECT_THAT(Good("").pipeline.known_methods, IsEmpty());
  EXPECT_THAT(Good("http: {known_methods: [GET]}", {{"OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET, PURGE"}})
                  .pipeline.known_methods,
              ElementsAre("GET", "PURGE"));
  EXPECT_THAT(Good("http: {known_methods: [BAN]}").pipeline.known_methods, ElementsAre("BAN"));
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
  // The path is what stands before the query.
  EXPECT_EQ(url({{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://a/base?key=1/2"}}, Signal::kTraces),
            "https://a/base/v1/traces?key=1/2");
  EXPECT_EQ(url({{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://a?key=1"}}, Signal::kMetrics),
            "https://a/v1/metrics?key=1");
  EXPECT_EQ(url({{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:1?key=1"}}, Signal::kTraces),
            "http://b:1/?key=1");
}

}  // namespace
}  // namespace zerotap
