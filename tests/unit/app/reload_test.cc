#include "agent/app/reload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "agent/app/config_schema.h"
#include "agent/app/config_yaml.h"
#include "agent/app/memory_plan.h"

namespace zerotap {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAreArray;

Config Read(const std::string& yaml) {
  Config config;
  std::vector<std::string> errors;
  ReadYamlConfig(yaml, "test", [](const std::string&) { return std::nullopt; }, config, errors);
  EXPECT_THAT(errors, IsEmpty());
  return config;
}

// A configuration that differs from the default in every key.
class Changer : public ConfigVisitor {
 public:
  void BeginGroup(std::string_view) override {}
  void EndGroup() override {}
  size_t BeginList(std::string_view, size_t) override { return 1; }
  void BeginItem(size_t) override {}
  void EndItem() override {}
  void EndList() override {}
  void Text(std::string_view, std::string& value) override { value += "x"; }
  void Url(std::string_view, std::string& value) override { value += "x"; }
  void Choice(std::string_view, std::string& value,
              std::span<const std::string_view> choices) override {
    value = value == choices[0] ? choices[1] : choices[0];
  }
  void Flag(std::string_view, bool& value) override { value = !value; }
  void Count(std::string_view, uint64_t& value, uint64_t, uint64_t) override { ++value; }
  void Bytes(std::string_view, uint64_t& value, uint64_t, uint64_t) override { ++value; }
  void Duration(std::string_view, uint64_t& value, uint64_t, uint64_t) override { ++value; }
  void TextList(std::string_view, std::vector<std::string>& value) override {
    value.push_back("x");
  }
  void ChoiceList(std::string_view, std::vector<std::string>& value,
                  std::span<const std::string_view>) override {
    value.push_back("file");
  }
  void PortList(std::string_view, std::vector<uint16_t>& value) override { value.push_back(7); }
  void Values(std::string_view, std::vector<NamedValue>& value, bool) override {
    value.emplace_back("x", "y");
  }
};

TEST(Reload, WhatNeedsARestartStaysAndAllElseIsTaken) {
  const Config current;
  Config wanted;
  Changer changer;
  VisitConfig(wanted, changer);
  std::vector<std::string> all;  // lists of groups by their name
  for (const std::string& key : ConfigKeys()) {
    const std::string name = key.substr(0, key.find('['));
    if (std::find(all.begin(), all.end(), name) == all.end()) all.push_back(name);
  }
  ASSERT_THAT(ChangedKeys(current, wanted), UnorderedElementsAreArray(all));
  const ConfigChange change = PlanChange(current, wanted);
  EXPECT_EQ(change.held.size() + change.taken.size(), all.size());
  EXPECT_THAT(ChangedKeys(current, change.config), UnorderedElementsAreArray(change.taken));
  EXPECT_THAT(ChangedKeys(wanted, change.config), UnorderedElementsAreArray(change.held));
  EXPECT_TRUE(change.processes);
  EXPECT_TRUE(change.exporters);
}

TEST(Reload, TheDocumentationNamesWhatNeedsARestart) {
  std::ifstream file(std::string(ZEROTAP_SOURCE_DIR) + "/docs/configuration.md");
  std::stringstream stream;
  stream << file.rdbuf();
  const std::string text = stream.str();
  const size_t begin = text.find("At a restart only: ");
  ASSERT_NE(begin, std::string::npos);
  const std::string sentence = text.substr(begin, text.find(". ", begin) - begin);
  for (const std::string& key : ConfigKeys()) {
    const std::string group = key.substr(0, key.find('.')) + ".*";
    const bool named = sentence.find("`" + key + "`") != std::string::npos ||
                       sentence.find("`" + group + "`") != std::string::npos;
    EXPECT_EQ(named, !ChangesLive(key)) << key;
  }
}

TEST(Reload, OnlyWhatDiffersIsAChange) {
  const Config a = Read("http: {routes: [/a]}\ntargets: {exclude: [{pid: 1}]}");
  EXPECT_THAT(PlanChange(a, a).taken, IsEmpty());
  const ConfigChange routes =
      PlanChange(a, Read("http: {routes: [/b]}\ntargets: {exclude: [{pid: 1}]}"));
  EXPECT_THAT(routes.taken, ElementsAre("http.routes"));
  EXPECT_FALSE(routes.processes);
  EXPECT_FALSE(routes.exporters);
  const ConfigChange rules = PlanChange(a, Read("http: {routes: [/a]}"));
  EXPECT_THAT(rules.taken, ElementsAre("targets.exclude"));
  EXPECT_TRUE(rules.processes);
  const ConfigChange exports =
      PlanChange(a, Read("http: {routes: [/a]}\ntargets: {exclude: [{pid: 1}]}\n"
                         "export: {otlp: {headers: {a: b}}}"));
  EXPECT_THAT(exports.taken, ElementsAre("export.otlp.headers"));
  EXPECT_TRUE(exports.exporters);
  const ConfigChange held = PlanChange(a, Read("http: {routes: [/a]}\ncapture: {tier: b}\n"
                                               "targets: {exclude: [{pid: 1}]}"));
  EXPECT_THAT(held.taken, IsEmpty());
  EXPECT_THAT(held.held, ElementsAre("capture.tier"));
  EXPECT_EQ(held.config.capture.tier, "auto");
  // A smaller ring would leave more to the queues of spans; they keep their size until it comes.
  const ConfigChange ring = PlanChange(a, Read("http: {routes: [/a]}\ncapture: {ring_size: 1MiB}\n"
                                               "targets: {exclude: [{pid: 1}]}"));
  EXPECT_THAT(ring.taken, IsEmpty());
  EXPECT_THAT(ring.held, Contains("capture.ring_size"));
  const ConfigChange queue = PlanChange(a, Read("http: {routes: [/a]}\nexport: {queue_memory: 2MiB}\n"
                                                "targets: {exclude: [{pid: 1}]}"));
  EXPECT_THAT(queue.taken, ElementsAre("export.queue_memory"));
  const ConfigChange types = PlanChange(a, Read("http: {routes: [/a]}\ncapture: {btf: /tmp/types}\n"
                                                "targets: {exclude: [{pid: 1}]}"));
  EXPECT_THAT(types.held, ElementsAre("capture.btf"));
  EXPECT_EQ(types.config.capture.btf, "");
}

// As LoadConfig does, on a machine with 2 CPUs and no control group.
Config Sized(const std::string& yaml, const std::vector<std::string>& set = {}) {
  Config config = Read(yaml);
  if (config.exports.traces.empty()) config.exports.traces = {"otlp"};
  ConfigOrigins origins;
  for (const std::string& key : set) origins[key] = "a file";
  std::vector<std::string> warnings;
  EXPECT_TRUE(ApplyMemoryLimit({0, 2}, origins, config, warnings));
  return config;
}

TEST(Reload, QueuesThatFollowFromTheLimitStayUntilTheyAreAskedForOrShared) {
  const Config start = Sized("{}");
  const Config asked = Sized("export: {queue_memory: 2MiB}", {"export.queue_memory"});
  const ConfigChange set = PlanChange(start, asked);
  EXPECT_THAT(set.taken, ElementsAre("export.queue_memory"));
  EXPECT_EQ(set.config.exports.queue_bytes, uint64_t{2} << 20);
  // What was taken is remembered: without the line the size follows from the limit again.
  const ConfigChange unset = PlanChange(set.config, start);
  EXPECT_THAT(unset.taken, ElementsAre("export.queue_memory"));
  EXPECT_EQ(unset.config.exports.queue_bytes, start.exports.queue_bytes);
  EXPECT_THAT(PlanChange(unset.config, Sized("memory: {limit: 128MiB}", {"memory.limit"})).taken, IsEmpty());

  const Config two = Sized("export: {traces: [otlp, console]}");
  ASSERT_LT(two.exports.queue_bytes, start.exports.queue_bytes);
  const ConfigChange shared = PlanChange(start, two);
  EXPECT_THAT(shared.taken, Contains("export.queue_memory"));
  EXPECT_EQ(shared.config.exports.queue_bytes, two.exports.queue_bytes);
}

TEST(Reload, SpansThatComeLaterCannotSayWhatTheyWaitedFor) {
  const Config without = AtStart(Read("spans: {enabled: false}"));
  EXPECT_FALSE(without.waits_enabled);
  EXPECT_THAT(PlanChange(without, Read("spans: {enabled: false}")).held, IsEmpty());
  const ConfigChange spans = PlanChange(without, Read("{}"));
  EXPECT_THAT(spans.taken, ElementsAre("spans.enabled"));
  EXPECT_THAT(spans.held, ElementsAre("waits.enabled"));
  EXPECT_FALSE(spans.config.waits_enabled);
  EXPECT_TRUE(spans.config.pipeline.spans_enabled);
  // They are loaded where spans were on at the start, and stay.
  const Config with = AtStart(Read("{}"));
  const ConfigChange off = PlanChange(with, Read("spans: {enabled: false}"));
  EXPECT_THAT(off.held, IsEmpty());
  EXPECT_THAT(PlanChange(off.config, Read("{}")).held, IsEmpty());
}

TEST(Origins, EachValueSaysWhereItCameFrom) {
  const std::string path = ::testing::TempDir() + "/zerotap-origins.yaml";
  std::ofstream(path) << "logging: {level: debug}\nhttp:\n  routes: [/a]\n"
                         "targets:\n  exclude:\n    - pid: 7\nmetrics: {interval: 20s}\n";
  ConfigOverrides overrides;
  overrides.config_path = path;
  overrides.sampler = "traceidratio=0.5";
  const Result<LoadedConfig> loaded = LoadConfig(overrides, [](const std::string& name) {
    if (name == "OTEL_METRIC_EXPORT_INTERVAL") return std::optional<std::string>("30000");
    if (name == "OTEL_EXPORTER_OTLP_HEADERS") return std::optional<std::string>("k=s3cret");
    return std::optional<std::string>();
  });
  ASSERT_TRUE(loaded) << loaded.error().message;
  const std::string text = PrintYamlConfig(loaded->config, &loaded->origins);
  EXPECT_THAT(text, HasSubstr("level: debug  # " + path + ":1"));
  EXPECT_THAT(text, HasSubstr("routes: [\"/a\"]  # " + path + ":3"));
  EXPECT_THAT(text, HasSubstr("pid: 7  # " + path + ":6"));
  EXPECT_THAT(text, HasSubstr("interval: 30s  # OTEL_METRIC_EXPORT_INTERVAL"));
  EXPECT_THAT(text, HasSubstr("sampler: traceidratio  # --sampler"));
  EXPECT_THAT(text, HasSubstr("argument: \"0.5\"  # --sampler"));
  EXPECT_THAT(text, HasSubstr("k: \"***\"  # OTEL_EXPORTER_OTLP_HEADERS"));
  EXPECT_THAT(text, HasSubstr("tier: auto  # default"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("s3cret")));
  Config again;
  std::vector<std::string> errors;
  ReadYamlConfig(text, "printed", [](const std::string&) { return std::nullopt; }, again, errors);
  EXPECT_THAT(errors, IsEmpty());
  EXPECT_EQ(PrintYamlConfig(again), PrintYamlConfig(loaded->config));
}

}  // namespace
}  // namespace zerotap
