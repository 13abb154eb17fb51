#include "agent/app/config_schema.h"

#include <algorithm>
#include <map>
#include <utility>

#include "agent/capture/syscall_table.h"
#include "agent/pipeline/shard_set.h"

namespace zerotap {
namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * 1024;

constexpr std::string_view kTiers[] = {"auto", "a", "b"};
constexpr std::string_view kRingCounts[] = {"auto", "1", "2", "4", "8", "16", "32", "64"};
constexpr std::string_view kSamplers[] = {"always_on",
                                          "always_off",
                                          "traceidratio",
                                          "parentbased_always_on",
                                          "parentbased_always_off",
                                          "parentbased_traceidratio"};
constexpr std::string_view kTemporalities[] = {"cumulative", "delta", "lowmemory"};
constexpr std::string_view kHistograms[] = {"explicit", "exponential"};
constexpr std::string_view kExemplars[] = {"trace_based", "off"};
constexpr std::string_view kExporters[] = {"otlp", "console", "file", "none"};
constexpr std::string_view kOtlpProtocols[] = {"http/protobuf", "http/json", "grpc"};
constexpr std::string_view kTruths[] = {"true", "false"};
constexpr std::string_view kCompressions[] = {"auto", "gzip", "none"};
constexpr std::string_view kColors[] = {"auto", "always", "never"};
constexpr std::string_view kLogLevels[] = {"trace", "debug", "info", "warn", "error", "off"};

const std::vector<std::string_view>& SyscallNames() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> list;
    for (const NamedSyscall& call : MeasurableSyscalls()) list.push_back(call.name);
    return list;
  }();
  return names;
}

template <typename T, typename VisitItem>
void VisitList(ConfigVisitor& visitor, std::string_view name, std::vector<T>& items,
               const VisitItem& visit_item) {
  items.resize(visitor.BeginList(name, items.size()));
  for (size_t i = 0; i < items.size(); ++i) {
    visitor.BeginItem(i);
    visit_item(items[i]);
    visitor.EndItem();
  }
  visitor.EndList();
}

void VisitRule(ConfigVisitor& visitor, ProcessRule& rule) {
  visitor.Text("executable", rule.executable);
  visitor.Text("command", rule.command);
  visitor.Text("command_contains", rule.command_contains);
  visitor.Text("service", rule.service);
  visitor.Text("container", rule.container);
  visitor.Text("systemd_unit", rule.systemd_unit);
  uint64_t pid = rule.pid;
  visitor.Count("pid", pid, 1, 4'194'304);
  rule.pid = static_cast<uint32_t>(pid);
}

void VisitOtlp(ConfigVisitor& visitor, OtlpSettings& otlp) {
  visitor.Url("endpoint", otlp.endpoint);
  visitor.Choice("protocol", otlp.protocol, kOtlpProtocols);
  visitor.Choice("insecure", otlp.insecure, kTruths);
  visitor.Values("headers", otlp.headers, true);
  visitor.Choice("compression", otlp.compression, kCompressions);
  visitor.Duration("timeout", otlp.timeout_ns, 10 * kMillisecond, 600 * kSecond);
  visitor.Duration("give_up_after", otlp.give_up_after_ns, 10 * kMillisecond, 3600 * kSecond);
  visitor.Text("certificate", otlp.certificate);
  visitor.Text("client_key", otlp.client_key);
  visitor.Text("client_certificate", otlp.client_certificate);
  visitor.Url("proxy", otlp.proxy);
}

void VisitHttp(ConfigVisitor& visitor, PipelineOptions& pipeline) {
  visitor.BeginGroup("http");
  visitor.TextList("routes", pipeline.routes.patterns);
  visitor.Count("max_routes_per_service", pipeline.routes.max_routes_per_service, 1, 100'000);
  visitor.Count("max_values_per_segment", pipeline.routes.max_values_per_segment, 1, 100'000);
  visitor.TextList("known_methods", pipeline.known_methods);
  visitor.TextList("request_headers", pipeline.parser.request_headers);
  visitor.TextList("response_headers", pipeline.parser.response_headers);
  visitor.Bytes("max_head_size", pipeline.parser.max_head_bytes, 1 * kKiB, 1 * kMiB);
  visitor.Bytes("max_target_size", pipeline.parser.max_target_bytes, 64, 64 * kKiB);
  visitor.EndGroup();
}

void VisitExport(ConfigVisitor& visitor, ExportConfig& exports) {
  visitor.BeginGroup("export");
  visitor.ChoiceList("traces", exports.traces, kExporters);
  visitor.ChoiceList("metrics", exports.metrics, kExporters);
  visitor.Duration("flush_interval", exports.flush_interval_ns, 10 * kMillisecond, 60 * kSecond);
  visitor.Count("queue_size", exports.queue_size, 1, 10'000'000);
  visitor.Bytes("queue_memory", exports.queue_bytes, 1 * kMiB, 1024 * kMiB);
  visitor.Count("max_batch_size", exports.max_batch_size, 1, 1'000'000);
  visitor.BeginGroup("otlp");
  VisitOtlp(visitor, exports.otlp);
  visitor.BeginGroup("traces");
  VisitOtlp(visitor, exports.otlp_traces);
  visitor.EndGroup();
  visitor.BeginGroup("metrics");
  VisitOtlp(visitor, exports.otlp_metrics);
  visitor.EndGroup();
  visitor.EndGroup();
  visitor.BeginGroup("console");
  visitor.Choice("color", exports.console_color, kColors);
  visitor.EndGroup();
  visitor.BeginGroup("file");
  visitor.Text("path", exports.file_path);
  visitor.Bytes("max_size", exports.file_max_bytes, 0, 1024 * 1024 * kMiB);
  visitor.EndGroup();
  visitor.EndGroup();
}

// Collects "group.key" for every key.
class KeyLister : public ConfigVisitor {
 public:
  std::vector<std::string> keys;

  void BeginGroup(std::string_view name) override { path_.push_back(Path(name)); }
  void EndGroup() override { path_.pop_back(); }
  size_t BeginList(std::string_view name, size_t) override {
    path_.push_back(Path(name) + "[]");
    return 1;
  }
  void BeginItem(size_t) override {}
  void EndItem() override {}
  void EndList() override { path_.pop_back(); }
  void Text(std::string_view name, std::string&) override { keys.push_back(Path(name)); }
  void Url(std::string_view name, std::string&) override { keys.push_back(Path(name)); }
  void Choice(std::string_view name, std::string&, std::span<const std::string_view>) override {
    keys.push_back(Path(name));
  }
  void Flag(std::string_view name, bool&) override { keys.push_back(Path(name)); }
  void Count(std::string_view name, uint64_t&, uint64_t, uint64_t) override {
    keys.push_back(Path(name));
  }
  void Bytes(std::string_view name, uint64_t&, uint64_t, uint64_t) override {
    keys.push_back(Path(name));
  }
  void Duration(std::string_view name, uint64_t&, uint64_t, uint64_t) override {
    keys.push_back(Path(name));
  }
  void TextList(std::string_view name, std::vector<std::string>&) override {
    keys.push_back(Path(name));
  }
  void ChoiceList(std::string_view name, std::vector<std::string>&,
                  std::span<const std::string_view>) override {
    keys.push_back(Path(name));
  }
  void PortList(std::string_view name, std::vector<uint16_t>&) override {
    keys.push_back(Path(name));
  }
  void Values(std::string_view name, std::vector<NamedValue>&, bool) override {
    keys.push_back(Path(name));
  }

 private:
  std::string Path(std::string_view name) const {
    return path_.empty() ? std::string(name) : path_.back() + "." + std::string(name);
  }
  std::vector<std::string> path_;
};

// Collects "group.key" with its value as text.
class TextLister : public ConfigVisitor {
 public:
  std::vector<std::pair<std::string, std::string>> texts;

  void BeginGroup(std::string_view name) override { path_.push_back(Path(name)); }
  void EndGroup() override { path_.pop_back(); }
  size_t BeginList(std::string_view name, size_t current) override {
    path_.push_back(Path(name));
    return current;
  }
  void BeginItem(size_t index) override {
    path_.push_back(path_.back() + "[" + std::to_string(index) + "]");
  }
  void EndItem() override { path_.pop_back(); }
  void EndList() override { path_.pop_back(); }
  void Text(std::string_view name, std::string& value) override { Add(name, value); }
  void Url(std::string_view name, std::string& value) override { Add(name, value); }
  void Choice(std::string_view name, std::string& value,
              std::span<const std::string_view>) override {
    Add(name, value);
  }
  void Flag(std::string_view name, bool& value) override { Add(name, value ? "true" : "false"); }
  void Count(std::string_view name, uint64_t& value, uint64_t, uint64_t) override {
    Add(name, std::to_string(value));
  }
  void Bytes(std::string_view name, uint64_t& value, uint64_t, uint64_t) override {
    Add(name, std::to_string(value));
  }
  void Duration(std::string_view name, uint64_t& value, uint64_t, uint64_t) override {
    Add(name, std::to_string(value));
  }
  void TextList(std::string_view name, std::vector<std::string>& value) override {
    std::string text;
    for (const std::string& item : value) text += item + '\n';
    Add(name, text);
  }
  void ChoiceList(std::string_view name, std::vector<std::string>& value,
                  std::span<const std::string_view>) override {
    TextList(name, value);
  }
  void PortList(std::string_view name, std::vector<uint16_t>& value) override {
    std::string text;
    for (uint16_t port : value) text += std::to_string(port) + '\n';
    Add(name, text);
  }
  void Values(std::string_view name, std::vector<NamedValue>& value, bool) override {
    std::string text;
    for (const NamedValue& entry : value) text += entry.first + '=' + entry.second + '\n';
    Add(name, text);
  }

 private:
  void Add(std::string_view name, std::string value) {
    texts.emplace_back(Path(name), std::move(value));
  }
  std::string Path(std::string_view name) const {
    return path_.empty() ? std::string(name) : path_.back() + "." + std::string(name);
  }
  std::vector<std::string> path_;
};

}  // namespace

void VisitConfig(Config& config, ConfigVisitor& visitor) {
  visitor.BeginGroup("memory");
  visitor.Bytes("limit", config.memory.limit_bytes, 32 * kMiB, 1024 * 1024 * kMiB);
  visitor.EndGroup();

  visitor.BeginGroup("capture");
  visitor.Choice("tier", config.capture.tier, kTiers);
  visitor.Text("btf", config.capture.btf);
  visitor.Bytes("ring_size", config.capture.ring_bytes, 256 * kKiB, 1024 * kMiB);
  visitor.Choice("rings", config.capture.rings, kRingCounts);
  visitor.Count("max_connections", config.capture.max_connections, 1024, 4'194'304);
  visitor.Bytes("detect_budget", config.capture.detect_budget_bytes, 1 * kKiB, 64 * kKiB);
  visitor.EndGroup();

  visitor.BeginGroup("syscalls");
  visitor.Flag("enabled", config.syscalls.enabled);
  visitor.ChoiceList("names", config.syscalls.names, SyscallNames());
  visitor.Count("max_series", config.syscalls.max_series, 64, 1'000'000);
  visitor.EndGroup();

  visitor.BeginGroup("tcp");
  visitor.Flag("enabled", config.tcp.enabled);
  visitor.Count("max_series", config.tcp.max_series, 64, 1'000'000);
  visitor.EndGroup();

  visitor.BeginGroup("waits");
  visitor.Flag("enabled", config.waits_enabled);
  visitor.Duration("threshold", config.pipeline.waits.threshold_ns, 50 * kMillisecond, 3600 * kSecond);
  VisitList(visitor, "services", config.pipeline.waits.by_service,
            [&visitor](std::pair<std::string, uint64_t>& item) {
              visitor.Text("service", item.first);
              visitor.Duration("threshold", item.second, 0, 3600 * kSecond);
            });
  visitor.EndGroup();

  visitor.BeginGroup("pipeline");
  visitor.Count("shards", config.shards, 0, ShardSet::kMaxShards);
  visitor.EndGroup();

  visitor.Text("harm_budget", config.harm_budget);

  visitor.BeginGroup("targets");
  const auto visit_rule = [&visitor](ProcessRule& rule) { VisitRule(visitor, rule); };
  VisitList(visitor, "select", config.targets.select, visit_rule);
  VisitList(visitor, "exclude", config.targets.exclude, visit_rule);
  visitor.PortList("include_ports", config.pipeline.include_ports);
  visitor.PortList("exclude_ports", config.pipeline.exclude_ports);
  visitor.Flag("exclude_otel_instrumented_services", config.pipeline.exclude_otel_instrumented);
  visitor.EndGroup();

  VisitList(visitor, "services", config.services, [&visitor](ServiceNameRule& rule) {
    visitor.Text("name", rule.name);
    VisitRule(visitor, rule.match);
  });

  visitor.BeginGroup("resource");
  visitor.Values("attributes", config.resource_attributes, false);
  visitor.EndGroup();

  visitor.BeginGroup("protocols");
  visitor.TextList("disabled", config.pipeline.disabled_protocols);
  visitor.Count("max_requests_in_flight", config.pipeline.parser.max_requests_in_flight, 1,
                1'000'000);
  visitor.EndGroup();

  VisitHttp(visitor, config.pipeline);

  visitor.BeginGroup("database");
  visitor.Bytes("max_query_size", config.pipeline.parser.max_query_bytes, 256, 1 * kMiB);
  visitor.Count("max_prepared_statements", config.pipeline.parser.max_prepared_statements, 1,
                100'000);
  visitor.EndGroup();

  visitor.BeginGroup("redaction");
  visitor.TextList("query_keys", config.pipeline.redaction.extra_query_keys);
  visitor.Flag("all_query_values", config.pipeline.redaction.redact_all_query_values);
  visitor.EndGroup();

  visitor.BeginGroup("sampling");
  visitor.Choice("sampler", config.pipeline.sampler, kSamplers);
  visitor.Text("argument", config.pipeline.sampler_argument);
  visitor.EndGroup();

  visitor.BeginGroup("spans");
  visitor.Flag("enabled", config.pipeline.spans_enabled);
  visitor.Flag("legacy_attributes", config.pipeline.legacy_attributes);
  visitor.Count("value_length_limit", config.pipeline.attribute_value_limit, 0, 1'000'000);
  visitor.Count("max_attributes", config.pipeline.attribute_count_limit, 1, 10'000);
  visitor.Count("max_held", config.pipeline.max_held_spans, 0, 10'000'000);
  visitor.Duration("hold", config.pipeline.hold_ns, 0, 10 * kSecond);
  visitor.EndGroup();

  visitor.BeginGroup("metrics");
  visitor.Duration("interval", config.metrics.interval_ns, 0, 3600 * kSecond);
  visitor.Choice("temporality", config.metrics.temporality, kTemporalities);
  visitor.Choice("histogram", config.metrics.histogram, kHistograms);
  visitor.Choice("exemplars", config.metrics.exemplars, kExemplars);
  visitor.Count("max_series", config.pipeline.red.max_series_per_metric, 1, 1'000'000);
  visitor.EndGroup();

  VisitExport(visitor, config.exports);

  visitor.BeginGroup("agent");
  visitor.Text("service_name", config.agent.service_name);
  visitor.Values("resource_attributes", config.agent.resource_attributes, false);
  visitor.EndGroup();

  visitor.BeginGroup("health");
  visitor.Text("address", config.health_address);
  visitor.EndGroup();

  visitor.BeginGroup("logging");
  visitor.Choice("level", config.log_level, kLogLevels);
  visitor.EndGroup();
}

std::vector<std::string> ConfigKeys() {
  Config config;
  KeyLister lister;
  VisitConfig(config, lister);
  return std::move(lister.keys);
}

std::vector<std::pair<std::string, std::string>> ConfigTexts(const Config& config) {
  Config copy = config;
  TextLister lister;
  VisitConfig(copy, lister);
  return std::move(lister.texts);
}

std::vector<std::string> ChangedKeys(const Config& a, const Config& b) {
  const auto texts_a = ConfigTexts(a);
  const auto texts_b = ConfigTexts(b);
  const std::map<std::string, std::string> values_a(texts_a.begin(), texts_a.end());
  const std::map<std::string, std::string> values_b(texts_b.begin(), texts_b.end());
  std::vector<std::string> keys;
  const auto add = [&keys](const std::string& key) {
    std::string name = key.substr(0, key.find('['));
    if (std::find(keys.begin(), keys.end(), name) == keys.end()) keys.push_back(std::move(name));
  };
  const auto differs = [](const std::string& key, const std::string& value, const auto& others) {
    auto found = others.find(key);
    return found == others.end() || found->second != value;
  };
  for (const auto& [key, value] : texts_a) {
    if (differs(key, value, values_b)) add(key);
  }
  for (const auto& [key, value] : texts_b) {
    if (differs(key, value, values_a)) add(key);
  }
  return keys;
}

std::span<const std::string_view> SamplerNames() { return kSamplers; }
std::span<const std::string_view> ExporterNames() { return kExporters; }
std::span<const std::string_view> OtlpProtocols() { return kOtlpProtocols; }
std::span<const std::string_view> LogLevelNames() { return kLogLevels; }

}  // namespace zerotap
