// Every setting of zerotap and where it comes from: command line, then OTEL_* variables, then one
// YAML file, then the defaults below (docs/configuration.md). A wrong setting stops the start;
// LoadConfig never throws.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/base/result.h"
#include "agent/pipeline/pipeline.h"
#include "agent/process/target_selector.h"

namespace zerotap {

using NamedValue = std::pair<std::string, std::string>;

// Everything else follows from the limit and what was set besides (memory_plan.h).
struct MemoryConfig {
  uint64_t limit_bytes = 0;  // until LoadConfig 0: nobody has set it
  uint64_t cpus = 1;         // that the host can have
  uint64_t online_cpus = 1;  // of these, that it has
  uint64_t connection_bytes = 64 * 1024 * 1024;  // state of connections and parsers
  uint64_t metric_queue_points = 32768;          // per exporter
  uint64_t max_processes = 8192;
  bool sizes_queues = false;  // export.queue_memory follows from the limit
};

struct CaptureConfig {
  std::string tier = "auto";  // auto, a, b
  std::string btf;            // a file; empty: where systems have it
  uint64_t ring_bytes = 8 * 1024 * 1024;
  std::string rings = "auto";  // auto, or a power of two
  uint64_t max_connections = 65536;     // tracked at one time, in the kernel and here
  uint64_t detect_budget_bytes = 32 * 1024;  // of each run, until the protocol is known
};

// Latency of system calls; names are checked against what can be measured.
struct SyscallConfig {
  bool enabled = false;
  std::vector<std::string> names = {
      "accept4", "connect", "epoll_wait", "fdatasync", "fsync",    "futex", "openat",  "poll",  "pread64",
      "pwrite64", "read",   "readv",      "recvfrom",  "recvmsg", "sendmsg", "sendto", "write", "writev"};
  uint64_t max_series = 4096;  // of process, call and error, in the kernel
};

struct TcpConfig {
  bool enabled = true;
  uint64_t max_series = 4096;  // of process, number and error, in the kernel
};

// Of both signals or of one; in the second case empty or 0 means "as for both".
struct OtlpSettings {
  std::string endpoint;
  std::string protocol;  // http/protobuf, http/json, grpc
  std::string insecure;  // true, false: of grpc endpoints without a scheme
  std::vector<NamedValue> headers;
  std::string compression;  // auto, gzip, none
  uint64_t timeout_ns = 0;  // of one attempt
  uint64_t give_up_after_ns = 0;
  std::string certificate;
  std::string client_key;
  std::string client_certificate;
  std::string proxy;  // a URL, off; empty: by http_proxy, https_proxy and no_proxy
};

struct ExportConfig {
  std::vector<std::string> traces;  // otlp, console, file, none; after LoadConfig never empty
  std::vector<std::string> metrics;
  uint64_t flush_interval_ns = 1'000'000'000;
  uint64_t queue_size = 50'000;  // spans, per exporter
  uint64_t queue_bytes = 64 * 1024 * 1024;
  uint64_t max_batch_size = 8192;  // spans per request
  OtlpSettings otlp = {.endpoint = {},
                       .protocol = "http/protobuf",
                       .insecure = "false",
                       .headers = {},
                       .compression = "auto",
                       .timeout_ns = 10'000'000'000,
                       .give_up_after_ns = 60'000'000'000,
                       .certificate = {},
                       .client_key = {},
                       .client_certificate = {},
                       .proxy = {}};
  OtlpSettings otlp_traces;
  OtlpSettings otlp_metrics;
  std::string console_color = "auto";  // auto, always, never
  std::string file_path;
  uint64_t file_max_bytes = 0;  // 0: no limit
};

struct MetricsConfig {
  uint64_t interval_ns = 0;  // 0: 60 s, or 10 s when nothing but the console shows them
  std::string temporality = "cumulative";  // cumulative, delta, lowmemory
  std::string histogram = "explicit";      // explicit, exponential
  std::string exemplars = "trace_based";   // trace_based, off
};

// What describes the agent itself in its own metrics.
struct AgentConfig {
  std::string service_name = "zerotap";
  std::vector<NamedValue> resource_attributes;
};

struct Config {
  MemoryConfig memory;
  CaptureConfig capture;
  SyscallConfig syscalls;
  TcpConfig tcp;
  bool waits_enabled = true;  // slow spans say why
  std::string harm_budget = "5%";  // of a process's CPU time, or off
  double harm_share = 0.05;         // the same as a number, 0 = off
  TargetOptions targets;
  std::vector<ServiceNameRule> services;
  uint64_t shards = 0;  // of the pipeline; 0: by the number of CPUs
  std::vector<NamedValue> resource_attributes;  // for every process that has them not
  PipelineOptions pipeline;
  MetricsConfig metrics;
  ExportConfig exports;
  AgentConfig agent;
  std::string health_address = "127.0.0.1:8686";  // or off
  std::string log_level = "info";
  bool disabled = false;  // OTEL_SDK_DISABLED
};

// What caps depend on besides the settings.
struct MachineFacts {
  uint64_t control_group_bytes = 0;  // that zerotap's control group may use; 0: any amount
  unsigned cpus = 1;                 // that the host can have: a virtual one often many more than it has
  unsigned online_cpus = 1;          // that it has
};

// What the command line says; it wins over everything else.
struct ConfigOverrides {
  MachineFacts machine;
  std::string config_path;
  std::optional<std::string> exporters;  // comma list, both signals
  std::optional<std::string> endpoint;
  std::optional<std::string> capture_tier;
  std::optional<std::string> sampler;  // NAME or NAME=ARGUMENT
  std::optional<std::string> health;
  std::optional<std::string> log_level;
};

// Value of an environment variable; empty when it is not set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
Environment ProcessEnvironment();

// Where values came from, by key ("targets.exclude[0].pid"): "FILE:LINE", a variable's or a flag's name. What is not
// there is a default.
using ConfigOrigins = std::map<std::string, std::string>;

struct LoadedConfig {
  Config config;
  std::string path;                   // of the file, empty when there is none
  std::vector<std::string> warnings;  // to be logged once logging is set up
  ConfigOrigins origins;
};

// The error has one line for each thing that is wrong.
Result<LoadedConfig> LoadConfig(const ConfigOverrides& overrides, const Environment& environment);

enum class Signal : uint8_t { kTraces, kMetrics };
// The settings of one signal with everything filled in. With HTTP `endpoint` is the URL to post to.
OtlpSettings ResolveOtlp(const ExportConfig& exports, Signal signal);

struct HostPort {
  std::string host;
  uint16_t port = 0;
};
// "127.0.0.1:8686", "[::1]:8686", ":8686" (all addresses).
Result<HostPort> ParseHostPort(std::string_view text);

}  // namespace zerotap
