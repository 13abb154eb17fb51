#include "agent/app/config_environment.h"

#include <algorithm>
#include <optional>

#include "agent/app/config_schema.h"
#include "agent/app/config_units.h"

namespace zerotap {
namespace {

class Reader {
 public:
  Reader(const Environment& environment, std::vector<std::string>& warnings,
         std::vector<std::string>& errors)
      : environment_(environment), warnings_(warnings), errors_(errors) {}

  // Trimmed; empty when unset or empty.
  std::optional<std::string> Get(const std::string& name) const {
    std::optional<std::string> value = environment_(name);
    if (!value) return std::nullopt;
    std::string text(TrimSpace(*value));
    return text.empty() ? std::nullopt : std::optional<std::string>(std::move(text));
  }

  void Ignore(const std::string& name, const std::string& value, const std::string& remedy) {
    warnings_.push_back(name + "=" + value + " is ignored: " + remedy);
  }
  void Refuse(const std::string& message) { errors_.push_back(message); }

  // A whole number of at least `min`, times `factor`.
  void Number(const std::string& name, uint64_t min, uint64_t max, uint64_t factor,
              uint64_t& value) {
    std::optional<std::string> text = Get(name);
    if (!text) return;
    std::optional<uint64_t> number = ParseUnsigned(*text);
    if (!number || *number < min || *number > max) {
      Ignore(
          name, *text,
          "it must be a whole number from " + std::to_string(min) + " to " + std::to_string(max));
      return;
    }
    value = *number * factor;
  }

  // One of some words, compared without case.
  void Word(const std::string& name, std::span<const std::string_view> words, std::string& value) {
    std::optional<std::string> text = Get(name);
    if (!text) return;
    const std::string lower = ToLowerAscii(*text);
    std::vector<std::string> known(words.begin(), words.end());
    if (std::find(known.begin(), known.end(), lower) == known.end()) {
      Ignore(name, *text, "it must be one of " + JoinList(known));
      return;
    }
    value = lower;
  }

  void Exporters(const std::string& name, std::vector<std::string>& value) {
    std::optional<std::string> text = Get(name);
    if (!text) return;
    std::span<const std::string_view> known = ExporterNames();
    std::vector<std::string> result;
    for (const std::string& item : SplitList(*text)) {
      const std::string lower = ToLowerAscii(item);
      if (std::find(known.begin(), known.end(), lower) != known.end()) {
        result.push_back(lower);
      } else if (lower == "prometheus") {
        Ignore(
            name, item,
            "the health server's /metrics has the agent's own metrics; RED metrics leave by OTLP");
      } else {
        Ignore(name, item, "zerotap has otlp, console, file and none");
      }
    }
    if (!result.empty()) value = std::move(result);
  }

 private:
  const Environment& environment_;
  std::vector<std::string>& warnings_;
  std::vector<std::string>& errors_;
};

void ReadProtocol(Reader& reader, const std::string& prefix, OtlpSettings& settings,
                  const std::vector<OtlpSettings*>& narrower) {
  if (std::optional<std::string> protocol = reader.Get(prefix + "PROTOCOL")) {
    std::span<const std::string_view> known = OtlpProtocols();
    if (std::find(known.begin(), known.end(), *protocol) == known.end()) {
      // Cannot be ignored: the endpoint that goes with it would not understand us.
      reader.Refuse(prefix + "PROTOCOL=" + *protocol + ": it must be one of " +
                    JoinList({known.begin(), known.end()}));
      return;
    }
    settings.protocol = *protocol;
    for (OtlpSettings* other : narrower) other->protocol.clear();
  }
  constexpr std::string_view kTruths[] = {"true", "false"};
  std::string insecure;
  reader.Word(prefix + "INSECURE", kTruths, insecure);
  if (insecure.empty()) return;
  settings.insecure = insecure;
  for (OtlpSettings* other : narrower) other->insecure.clear();
}

// What both signals say clears what the file says for one of them: a variable wins over the file.
void ReadOtlp(Reader& reader, const std::string& prefix, OtlpSettings& settings,
              const std::vector<OtlpSettings*>& narrower) {
  const auto text = [&](const char* suffix, std::string OtlpSettings::* member) {
    std::optional<std::string> value = reader.Get(prefix + suffix);
    if (!value) return;
    settings.*member = *value;
    for (OtlpSettings* other : narrower) (other->*member).clear();
  };
  text("ENDPOINT", &OtlpSettings::endpoint);
  text("CERTIFICATE", &OtlpSettings::certificate);
  text("CLIENT_KEY", &OtlpSettings::client_key);
  text("CLIENT_CERTIFICATE", &OtlpSettings::client_certificate);

  constexpr std::string_view kCompressions[] = {"gzip", "none"};
  std::string compression;
  reader.Word(prefix + "COMPRESSION", kCompressions, compression);
  if (!compression.empty()) {
    settings.compression = compression;
    for (OtlpSettings* other : narrower) other->compression.clear();
  }
  uint64_t timeout_ns = 0;
  reader.Number(prefix + "TIMEOUT", 10, 600'000, 1'000'000, timeout_ns);
  if (timeout_ns != 0) {
    settings.timeout_ns = timeout_ns;
    for (OtlpSettings* other : narrower) other->timeout_ns = 0;
  }
  if (std::optional<std::string> headers = reader.Get(prefix + "HEADERS")) {
    std::optional<std::vector<NamedValue>> parsed = ParseKeyValueList(*headers);
    if (!parsed) {
      // The value is a secret: it is not repeated here.
      reader.Ignore(prefix + "HEADERS", "(hidden)",
                    "it must be name=value,name=value, percent-encoded");
    } else {
      settings.headers = std::move(*parsed);
      for (OtlpSettings* other : narrower) other->headers.clear();
    }
  }
  ReadProtocol(reader, prefix, settings, narrower);
}

void ReadAgentResource(Reader& reader, AgentConfig& agent) {
  if (std::optional<std::string> text = reader.Get("OTEL_RESOURCE_ATTRIBUTES")) {
    std::optional<std::vector<NamedValue>> parsed = ParseKeyValueList(*text);
    if (!parsed) {
      reader.Ignore("OTEL_RESOURCE_ATTRIBUTES", *text,
                    "it must be key=value,key=value, percent-encoded");
    } else {
      agent.resource_attributes.clear();
      for (NamedValue& attribute : *parsed) {
        if (attribute.first == "service.name") {
          if (!attribute.second.empty()) agent.service_name = attribute.second;
        } else {
          agent.resource_attributes.push_back(std::move(attribute));
        }
      }
    }
  }
  if (std::optional<std::string> name = reader.Get("OTEL_SERVICE_NAME")) agent.service_name = *name;
}

void ReadSampler(Reader& reader, PipelineOptions& pipeline) {
  std::string sampler;
  reader.Word("OTEL_TRACES_SAMPLER", SamplerNames(), sampler);
  if (!sampler.empty()) {
    pipeline.sampler = sampler;
    pipeline.sampler_argument.clear();
  }
  if (std::optional<std::string> argument = reader.Get("OTEL_TRACES_SAMPLER_ARG")) {
    std::optional<double> ratio = ParseNumber(*argument);
    if (!ratio || *ratio < 0 || *ratio > 1) {
      reader.Ignore("OTEL_TRACES_SAMPLER_ARG", *argument, "it must be a ratio from 0 to 1");
    } else {
      pipeline.sampler_argument = *argument;
    }
  }
}

// Unset: stable names and the legacy ones that SigNoz pages read. "http" or "database" alone:
// stable only; "dup" wins.
void ReadStability(Reader& reader, PipelineOptions& pipeline) {
  std::optional<std::string> text = reader.Get("OTEL_SEMCONV_STABILITY_OPT_IN");
  if (!text) return;
  bool stable = false;
  bool both = false;
  for (const std::string& item : SplitList(*text)) {
    if (item == "http" || item == "database") stable = true;
    if (item == "http/dup" || item == "database/dup") both = true;
  }
  if (stable || both) pipeline.legacy_attributes = both;
}

void ReadKnownMethods(Reader& reader, PipelineOptions& pipeline) {
  std::optional<std::string> text = reader.Get("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS");
  if (text) pipeline.known_methods = SplitList(*text);
}

// Context is only read from requests, in the one format that has one meaning everywhere.
void ReadPropagators(Reader& reader) {
  std::optional<std::string> text = reader.Get("OTEL_PROPAGATORS");
  if (!text) return;
  for (const std::string& item : SplitList(*text)) {
    if (item == "tracecontext" || item == "baggage") continue;
    reader.Ignore("OTEL_PROPAGATORS", item,
                  "zerotap reads W3C trace context (tracecontext) and changes no request");
  }
}

void ReadMetrics(Reader& reader, MetricsConfig& metrics) {
  reader.Number("OTEL_METRIC_EXPORT_INTERVAL", 100, 3'600'000, 1'000'000, metrics.interval_ns);
  constexpr std::string_view kTemporalities[] = {"cumulative", "delta", "lowmemory"};
  reader.Word("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", kTemporalities,
              metrics.temporality);
  constexpr std::string_view kAggregations[] = {"explicit_bucket_histogram",
                                                "base2_exponential_bucket_histogram"};
  std::string aggregation;
  reader.Word("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", kAggregations,
              aggregation);
  if (!aggregation.empty()) {
    metrics.histogram = aggregation == kAggregations[0] ? "explicit" : "exponential";
  }
  constexpr std::string_view kFilters[] = {"trace_based", "always_off", "always_on"};
  std::string filter;
  reader.Word("OTEL_METRICS_EXEMPLAR_FILTER", kFilters, filter);
  if (filter == "always_on") {
    reader.Ignore(
        "OTEL_METRICS_EXEMPLAR_FILTER", filter,
        "an exemplar of a request without an exported span would lead nowhere; use trace_based");
  } else if (!filter.empty()) {
    metrics.exemplars = filter == "always_off" ? "off" : filter;
  }
}

}  // namespace

void ReadEnvironment(const Environment& environment, Config& config,
                     std::vector<std::string>& warnings, std::vector<std::string>& errors) {
  Reader reader(environment, warnings, errors);
  if (std::optional<std::string> disabled = reader.Get("OTEL_SDK_DISABLED")) {
    std::optional<bool> parsed = ParseBool(*disabled);
    if (!parsed)
      reader.Ignore("OTEL_SDK_DISABLED", *disabled, "only true and false mean something");
    config.disabled = parsed.value_or(false);
  }
  if (reader.Get("OTEL_CONFIG_FILE")) {
    warnings.push_back(
        "OTEL_CONFIG_FILE is ignored: zerotap has its own file, named by --config or "
        "ZEROTAP_CONFIG");
  }
  reader.Word("OTEL_LOG_LEVEL", LogLevelNames(), config.log_level);
  ReadAgentResource(reader, config.agent);
  ReadSampler(reader, config.pipeline);
  ReadStability(reader, config.pipeline);
  ReadPropagators(reader);
  ReadKnownMethods(reader, config.pipeline);
  for (const char* name :
       {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"}) {
    reader.Number(name, 1, 1'000'000, 1, config.pipeline.attribute_value_limit);
  }
  for (const char* name : {"OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"}) {
    reader.Number(name, 1, 10'000, 1, config.pipeline.attribute_count_limit);
  }
  reader.Exporters("OTEL_TRACES_EXPORTER", config.exports.traces);
  reader.Exporters("OTEL_METRICS_EXPORTER", config.exports.metrics);
  reader.Number("OTEL_BSP_SCHEDULE_DELAY", 10, 60'000, 1'000'000, config.exports.flush_interval_ns);
  reader.Number("OTEL_BSP_MAX_QUEUE_SIZE", 1, 10'000'000, 1, config.exports.queue_size);
  reader.Number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, 1'000'000, 1, config.exports.max_batch_size);
  ReadMetrics(reader, config.metrics);
  ReadOtlp(reader, "OTEL_EXPORTER_OTLP_", config.exports.otlp,
           {&config.exports.otlp_traces, &config.exports.otlp_metrics});
  ReadOtlp(reader, "OTEL_EXPORTER_OTLP_TRACES_", config.exports.otlp_traces, {});
  ReadOtlp(reader, "OTEL_EXPORTER_OTLP_METRICS_", config.exports.otlp_metrics, {});
  reader.Number("OTEL_BSP_EXPORT_TIMEOUT", 10, 3'600'000, 1'000'000,
                config.exports.otlp_traces.give_up_after_ns);
  reader.Number("OTEL_METRIC_EXPORT_TIMEOUT", 10, 3'600'000, 1'000'000,
                config.exports.otlp_metrics.give_up_after_ns);
}

}  // namespace zerotap
