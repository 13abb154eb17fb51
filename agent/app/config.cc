#include "agent/app/config.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "agent/app/config_environment.h"
#include "agent/app/config_origins.h"
#include "agent/app/config_schema.h"
#include "agent/app/config_units.h"
#include "agent/app/config_yaml.h"
#include "agent/processors/route_normalizer.h"
#include "agent/protocols/protocol.h"
#include "exporters/otlp/endpoint.h"

namespace zerotap {
namespace {

constexpr size_t kMaxFileSize = 4 * 1024 * 1024;
// A request is first looked at when it has been open for 5 ms, and most of it must be seen.
constexpr uint64_t kLeastWaitThresholdNs = 50'000'000;

// Header names that carry credentials: they stay out of spans even when somebody asks for them.
constexpr std::string_view kSecretHeaders[] = {
    "authorization",        "proxy-authorization", "cookie",
    "set-cookie",           "x-api-key",           "x-auth-token",
    "x-csrf-token",         "www-authenticate",    "proxy-authenticate",
    "x-amz-security-token", "signoz-ingestion-key"};

class Validator {
 public:
  explicit Validator(std::vector<std::string>& errors) : errors_(errors) {}

  void Check(LoadedConfig& loaded) {
    Config& config = loaded.config;
    CheckSampler(config.pipeline);
    CheckHeaders("http.request_headers", config.pipeline.parser.request_headers);
    CheckHeaders("http.response_headers", config.pipeline.parser.response_headers);
    CheckProtocols(config.pipeline.disabled_protocols);
    CheckWaits(config.pipeline.waits);
    if (Result<RouteNormalizer> routes = RouteNormalizer::Create(config.pipeline.routes); !routes) {
      errors_.push_back("http.routes: " + routes.error().message);
    }
    // A rule whose only field could not be read would be called empty as well.
    if (errors_.empty()) CheckRules(config);
    CheckExports(config.exports);
    if (config.agent.service_name.empty())
      errors_.push_back("agent.service_name: must not be empty");
    if (config.health_address != "off") {
      Result<HostPort> address = ParseHostPort(config.health_address);
      if (!address) {
        errors_.push_back("health.address: " + address.error().message + ", or off");
      } else {
        config.pipeline.own_ports.push_back(address->port);
      }
    }
    if (config.metrics.histogram == "exponential" && config.metrics.temporality == "cumulative") {
      loaded.warnings.push_back(
          "cumulative exponential histograms are dropped by SigNoz; set metrics.temporality to "
          "delta if it is the "
          "receiver");
    }
    WarnAboutPort(config.exports, loaded.warnings);
  }

 private:
  void CheckSampler(const PipelineOptions& pipeline) {
    if (pipeline.sampler_argument.empty()) return;
    std::optional<double> ratio = ParseNumber(pipeline.sampler_argument);
    if (!ratio || *ratio < 0 || *ratio > 1) {
      errors_.push_back("sampling.argument: \"" + pipeline.sampler_argument +
                        "\" must be a ratio from 0 to 1");
    }
  }

  void CheckHeaders(const std::string& key, std::vector<std::string>& names) {
    for (std::string& name : names) {
      name = ToLowerAscii(name);
      const bool token = !name.empty() && name.find_first_not_of(
                                              "!#$%&'*+-.^_`|~0123456789"
                                              "abcdefghijklmnopqrstuvwxyz") == std::string::npos;
      if (!token) {
        errors_.push_back(key + ": \"" + name +
                          "\" is not the name of a header; there are no patterns here");
      } else if (std::find(std::begin(kSecretHeaders), std::end(kSecretHeaders), name) !=
                 std::end(kSecretHeaders)) {
        errors_.push_back(key + ": " + name +
                          " carries credentials and is never captured; remove it");
      }
    }
  }

  void CheckProtocols(const std::vector<std::string>& disabled) {
    std::vector<std::string> known;
    for (const Protocol& protocol : Protocols()) known.emplace_back(protocol.name);
    for (const std::string& name : disabled) {
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        errors_.push_back("protocols.disabled: \"" + name + "\" must be one of " + JoinList(known));
      }
    }
  }

  void CheckRule(const std::string& key, const ProcessRule& rule) {
    if (Result<ProcessMatcher> matcher = ProcessMatcher::Create(rule, key); !matcher) {
      errors_.push_back(matcher.error().message);
    }
  }

  void CheckWaits(const WaitOptions& waits) {
    for (size_t i = 0; i < waits.by_service.size(); ++i) {
      const std::string key = "waits.services[" + std::to_string(i) + "]";
      if (waits.by_service[i].first.empty()) errors_.push_back(key + ".service: must be set");
      if (waits.by_service[i].second < kLeastWaitThresholdNs) {
        errors_.push_back(key + ".threshold: must be set, to 50ms or more");
      }
    }
  }

  void CheckRules(const Config& config) {
    for (size_t i = 0; i < config.targets.select.size(); ++i) {
      CheckRule("targets.select[" + std::to_string(i) + "]", config.targets.select[i]);
    }
    for (size_t i = 0; i < config.targets.exclude.size(); ++i) {
      CheckRule("targets.exclude[" + std::to_string(i) + "]", config.targets.exclude[i]);
    }
    for (size_t i = 0; i < config.services.size(); ++i) {
      const std::string key = "services[" + std::to_string(i) + "]";
      CheckRule(key, config.services[i].match);
      if (config.services[i].name.empty()) errors_.push_back(key + ".name: must be set");
      if (!config.services[i].match.service.empty()) {
        errors_.push_back(key + ".service: a naming rule cannot match by the name that it gives");
      }
    }
  }

  // A gRPC endpoint may be host:port alone.
  void CheckEndpoint(const std::string& key, const std::string& endpoint, bool grpc) {
    if (endpoint.empty()) return;
    const std::string shown = endpoint.substr(endpoint.rfind('@') + 1);  // without a password
    if (grpc && endpoint.find("://") == std::string::npos) {
      if (endpoint.front() == ':' || endpoint.find_first_of(" \t\r\n/") != std::string::npos) {
        errors_.push_back(key + ": \"" + shown +
                          "\" must be host:port, or begin with http:// or https://");
      }
      return;
    }
    const bool http = endpoint.rfind("http://", 0) == 0;
    const bool https = endpoint.rfind("https://", 0) == 0;
    const std::string rest = endpoint.substr(std::min(endpoint.size(), size_t{https ? 8u : 7u}));
    if (!http && !https) {
      errors_.push_back(key + ": \"" + shown +
                        "\" must begin with http:// or https://, for example http://" +
                        (endpoint.find("://") == std::string::npos ? shown : "127.0.0.1:4318"));
    } else if (rest.empty() || rest.front() == '/' || rest.front() == ':' ||
               endpoint.find_first_of(" \t\r\n") != std::string::npos) {
      errors_.push_back(key + ": \"" + shown + "\" names no host, or has spaces in it");
    }
  }

  // The message does not repeat the value: it may hold a password.
  void CheckProxy(const std::string& key, const std::string& proxy) {
    if (proxy.empty() || proxy == "off") return;
    for (std::string_view scheme :
         {"http://", "https://", "socks4://", "socks4a://", "socks5://", "socks5h://"}) {
      if (proxy.rfind(scheme, 0) == 0 && proxy.size() > scheme.size()) return;
    }
    errors_.push_back(key + ": must be a URL such as http://proxy:3128, or off");
  }

  void CheckExports(ExportConfig& exports) {
    const bool grpc_traces = UsesGrpc(exports, exports.otlp_traces);
    const bool grpc_metrics = UsesGrpc(exports, exports.otlp_metrics);
    CheckEndpoint("export.otlp.endpoint", exports.otlp.endpoint, grpc_traces && grpc_metrics);
    CheckEndpoint("export.otlp.traces.endpoint", exports.otlp_traces.endpoint, grpc_traces);
    CheckEndpoint("export.otlp.metrics.endpoint", exports.otlp_metrics.endpoint, grpc_metrics);
    for (const auto& [key, otlp] :
         {std::pair{"export.otlp.proxy", &exports.otlp},
          std::pair{"export.otlp.traces.proxy", &exports.otlp_traces},
          std::pair{"export.otlp.metrics.proxy", &exports.otlp_metrics}}) {
      CheckProxy(key, otlp->proxy);
    }
    CheckList("export.traces", exports.traces);
    CheckList("export.metrics", exports.metrics);
    const auto uses = [&](const char* name) {
      return std::count(exports.traces.begin(), exports.traces.end(), name) +
                 std::count(exports.metrics.begin(), exports.metrics.end(), name) >
             0;
    };
    if (uses("file") && exports.file_path.empty()) {
      errors_.push_back(
          "export.file.path: must be set, because export.traces or export.metrics has file");
    }
  }

  void CheckList(const std::string& key, std::vector<std::string>& names) {
    std::vector<std::string> once;
    for (const std::string& name : names) {
      if (std::find(once.begin(), once.end(), name) == once.end()) once.push_back(name);
    }
    names = std::move(once);
    if (names.size() > 1 && std::find(names.begin(), names.end(), "none") != names.end()) {
      errors_.push_back(key + ": none cannot stand with others (" + JoinList(names) +
                        "); remove it");
    }
  }

  static bool UsesGrpc(const ExportConfig& exports, const OtlpSettings& own) {
    return (own.protocol.empty() ? exports.otlp.protocol : own.protocol) == "grpc";
  }

  static void WarnAboutPort(const ExportConfig& exports, std::vector<std::string>& warnings) {
    for (const OtlpSettings* own : {&exports.otlp_traces, &exports.otlp_metrics}) {
      const std::string& endpoint = own->endpoint.empty() ? exports.otlp.endpoint : own->endpoint;
      const bool grpc = UsesGrpc(exports, *own);
      const size_t port = endpoint.find(grpc ? ":4318" : ":4317");
      if (port == std::string::npos || (port + 5 != endpoint.size() && endpoint[port + 5] != '/')) {
        continue;
      }
      warnings.push_back(
          grpc
              ? "the OTLP endpoint has port 4318, usually the HTTP one; gRPC usually has 4317"
              : "the OTLP endpoint has port 4317, usually the gRPC one; OTLP over HTTP usually has "
                "4318, and OTEL_EXPORTER_OTLP_PROTOCOL=grpc makes zerotap speak gRPC");
      return;
    }
  }

  std::vector<std::string>& errors_;
};

void ReadFile(const std::string& path, const Environment& environment, Config& config,
              std::vector<std::string>& errors, ConfigOrigins& origins) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text;
  if (file) {
    text.resize(kMaxFileSize + 1);
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(file.gcount()));
  }
  if (!file.is_open() || file.bad()) {
    errors.push_back("cannot read the configuration " + path + ": " +
                     std::strerror(errno != 0 ? errno : EIO));
    return;
  }
  if (text.size() > kMaxFileSize) {
    errors.push_back("the configuration " + path + " is larger than 4MiB");
    return;
  }
  ReadYamlConfig(text, path, environment, config, errors, &origins);
}

void ApplyWord(const char* flag, const std::string& value, std::span<const std::string_view> words,
               std::string& target, std::vector<std::string>& errors) {
  if (std::find(words.begin(), words.end(), value) == words.end()) {
    std::vector<std::string> known(words.begin(), words.end());
    errors.push_back(std::string(flag) + ": \"" + value + "\" must be one of " + JoinList(known));
  } else {
    target = value;
  }
}

void ApplyOverrides(const ConfigOverrides& overrides, Config& config,
                    std::vector<std::string>& errors) {
  if (overrides.exporters) {
    std::vector<std::string> names = SplitList(*overrides.exporters);
    std::vector<std::string> checked;
    for (const std::string& name : names) {
      std::string word;
      ApplyWord("--exporter", name, ExporterNames(), word, errors);
      if (!word.empty()) checked.push_back(std::move(word));
    }
    if (names.empty())
      errors.push_back("--exporter: must name at least one of otlp, console, file, none");
    config.exports.traces = checked;
    config.exports.metrics = checked;
  }
  if (overrides.endpoint) {
    config.exports.otlp.endpoint = *overrides.endpoint;
    config.exports.otlp_traces.endpoint.clear();
    config.exports.otlp_metrics.endpoint.clear();
    if (overrides.endpoint->empty()) errors.push_back("--endpoint: must not be empty");
  }
  if (overrides.capture_tier) {
    constexpr std::string_view kTiers[] = {"auto", "a", "b"};
    ApplyWord("--capture-tier", *overrides.capture_tier, kTiers, config.capture.tier, errors);
  }
  if (overrides.sampler) {
    const size_t equals = overrides.sampler->find('=');
    ApplyWord("--sampler", overrides.sampler->substr(0, equals), SamplerNames(),
              config.pipeline.sampler, errors);
    config.pipeline.sampler_argument =
        equals == std::string::npos ? "" : overrides.sampler->substr(equals + 1);
  }
  if (overrides.health) config.health_address = *overrides.health;
  if (overrides.log_level) {
    ApplyWord("--log-level", *overrides.log_level, LogLevelNames(), config.log_level, errors);
  }
}

// Without a choice: OTLP where an endpoint is known; the console only when there is none at all.
void ChooseExporters(ExportConfig& exports) {
  const bool any = !exports.otlp.endpoint.empty() || !exports.otlp_traces.endpoint.empty() ||
                   !exports.otlp_metrics.endpoint.empty();
  const auto choose = [&](std::vector<std::string>& names, const OtlpSettings& own) {
    if (!names.empty()) return;
    if (!any) {
      names = {"console"};
    } else if (!own.endpoint.empty() || !exports.otlp.endpoint.empty()) {
      names = {"otlp"};
    } else {
      names = {"none"};
    }
  };
  choose(exports.traces, exports.otlp_traces);
  choose(exports.metrics, exports.otlp_metrics);
}

void ResolveMetrics(Config& config) {
  RedOptions& red = config.pipeline.red;
  red.temporality =
      config.metrics.temporality == "cumulative" ? Temporality::kCumulative : Temporality::kDelta;
  red.exponential = config.metrics.histogram == "exponential";
  if (config.metrics.exemplars == "off") red.exemplars_per_series = 0;
  if (config.metrics.interval_ns == 0) {
    const std::vector<std::string>& names = config.exports.metrics;
    const bool console_only = names.size() == 1 && names.front() == "console";
    config.metrics.interval_ns = console_only ? 10'000'000'000 : 60'000'000'000;
  }
}

void NoteFlagOrigins(const ConfigOverrides& overrides, const Config& before,
                     ConfigOrigins& origins) {
  using Member = std::optional<std::string> ConfigOverrides::*;
  constexpr std::pair<const char*, Member> kFlags[] = {
      {"--exporter", &ConfigOverrides::exporters},
      {"--endpoint", &ConfigOverrides::endpoint},
      {"--capture-tier", &ConfigOverrides::capture_tier},
      {"--sampler", &ConfigOverrides::sampler},
      {"--health", &ConfigOverrides::health},
      {"--log-level", &ConfigOverrides::log_level}};
  for (const auto& [name, member] : kFlags) {
    ConfigOverrides alone;
    alone.*member = overrides.*member;
    std::vector<std::string> ignored;
    NoteOrigins(
        before, name, [&](Config& config) { ApplyOverrides(alone, config, ignored); }, origins);
  }
}

}  // namespace

Environment ProcessEnvironment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
}

Result<LoadedConfig> LoadConfig(const ConfigOverrides& overrides, const Environment& environment) {
  LoadedConfig loaded;
  std::vector<std::string> errors;
  std::string path = overrides.config_path;
  if (path.empty()) path = environment("ZEROTAP_CONFIG").value_or("");
  loaded.path = path;
  if (!path.empty()) ReadFile(path, environment, loaded.config, errors, loaded.origins);
  NoteEnvironmentOrigins(environment, loaded.config, loaded.origins);
  ReadEnvironment(environment, loaded.config, loaded.warnings, errors);
  NoteFlagOrigins(overrides, loaded.config, loaded.origins);
  ApplyOverrides(overrides, loaded.config, errors);
  ChooseExporters(loaded.config.exports);
  ResolveMetrics(loaded.config);
  loaded.config.pipeline.max_connections = loaded.config.capture.max_connections;
  Validator(errors).Check(loaded);
  if (errors.empty()) return loaded;
  std::string message;
  for (const std::string& error : errors) {
    if (!message.empty()) message += '\n';
    message += error;
  }
  return Fail(std::move(message));
}

OtlpSettings ResolveOtlp(const ExportConfig& exports, Signal signal) {
  const OtlpSettings& own = signal == Signal::kTraces ? exports.otlp_traces : exports.otlp_metrics;
  OtlpSettings result = exports.otlp;
  if (!own.protocol.empty()) result.protocol = own.protocol;
  if (!own.insecure.empty()) result.insecure = own.insecure;
  if (!own.headers.empty()) result.headers = own.headers;
  if (!own.compression.empty()) result.compression = own.compression;
  if (own.timeout_ns != 0) result.timeout_ns = own.timeout_ns;
  if (own.give_up_after_ns != 0) result.give_up_after_ns = own.give_up_after_ns;
  if (!own.certificate.empty()) result.certificate = own.certificate;
  if (!own.client_key.empty()) result.client_key = own.client_key;
  if (!own.client_certificate.empty()) result.client_certificate = own.client_certificate;
  if (!own.proxy.empty()) result.proxy = own.proxy;
  if (result.protocol == "grpc") {
    if (!own.endpoint.empty()) result.endpoint = own.endpoint;
    return result;
  }
  const Result<std::string> url = otlp::SignalUrl(
      result.endpoint, own.endpoint, signal == Signal::kTraces ? "traces" : "metrics");
  // LoadConfig refuses what is no URL.
  result.endpoint = url ? *url : own.endpoint.empty() ? result.endpoint : own.endpoint;
  return result;
}

Result<HostPort> ParseHostPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  std::optional<uint64_t> port =
      colon == std::string_view::npos ? std::nullopt : ParseUnsigned(text.substr(colon + 1));
  std::string_view host = text.substr(0, colon == std::string_view::npos ? 0 : colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    port.reset();  // an IPv6 address without brackets
  }
  if (!port || *port == 0 || *port > 65535) {
    return Fail("\"" + std::string(text) +
                "\" must be an address with a port, for example 127.0.0.1:8686");
  }
  HostPort result;
  result.host = host.empty() ? "0.0.0.0" : std::string(host);
  result.port = static_cast<uint16_t>(*port);
  return result;
}

}  // namespace zerotap
