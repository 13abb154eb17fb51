// Makes exporters by name. A new exporter is one file and one line of the table in factory.cc
// (docs/adding-an-exporter.md).
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/http/client.h"
#include "agent/telemetry/exporter.h"
#include "exporters/batcher.h"
#include "exporters/console_exporter.h"
#include "exporters/export_stats.h"
#include "exporters/file_output.h"
#include "exporters/otlp/reachability.h"
#include "exporters/otlp/transport.h"
#include "exporters/retry.h"

namespace zerotap {

// OTEL_EXPORTER_OTLP_* of one signal; every one of them has a form per signal.
struct OtlpOptions {
  std::string endpoint;         // base URL: v1/<signal> is appended; empty: localhost
  std::string signal_endpoint;  // OTEL_EXPORTER_OTLP_<SIGNAL>_ENDPOINT: used verbatim, wins
  std::string protocol = "http/protobuf";  // or http/json, grpc
  bool insecure = false;                   // grpc to an endpoint without a scheme: without TLS
  HttpHeaders headers;
  std::chrono::milliseconds timeout{10'000};
  bool gzip = false;
  std::string ca_file;
  std::string client_certificate_file;
  std::string client_key_file;
  std::string proxy;  // see HttpClientOptions
  RetryOptions retry;
};

// What hands single requests of one signal ("traces", "metrics") to the receiver of `options`.
Result<std::unique_ptr<otlp::Transport>> MakeOtlpTransport(const OtlpOptions& options,
                                                           std::string_view signal,
                                                           std::string_view agent_version);

struct ExporterOptions {
  std::string agent_version;  // for the scope and User-Agent
  OtlpOptions traces;
  OtlpOptions metrics;
  std::string file_path;
  uint64_t file_max_bytes = 0;  // 0: no limit
  int console_fd = STDOUT_FILENO;
  ColorMode console_color = ColorMode::kAuto;
  ConsoleOptions console;
};

// Holds what exporters of one process share: the console, a file, what is known about collectors.
// Must live while exporters are made, not longer.
class ExporterFactory {
 public:
  explicit ExporterFactory(ExporterOptions options);

  // `name`: see Names(). The same `stats` go to the exporter's batcher.
  Result<std::unique_ptr<SpanExporter>> MakeSpanExporter(std::string_view name,
                                                         std::shared_ptr<ExportStats> stats);
  Result<std::unique_ptr<MetricExporter>> MakeMetricExporter(std::string_view name,
                                                             std::shared_ptr<ExportStats> stats);

  // "otlp", "console", "file", "none".
  static std::vector<std::string_view> Names();
  // Changes what an exporter of that name needs otherwise: the console ticks often, also when idle.
  static void AdjustBatcher(std::string_view name, SpanBatcherOptions& options);

  // What the makers of factory.cc use.
  const ExporterOptions& options() const { return options_; }
  std::shared_ptr<otlp::Reachability> reachability() const { return reachability_; }
  std::shared_ptr<ConsoleOutput> Console();
  Result<std::shared_ptr<FileOutput>> File();

 private:
  const ExporterOptions options_;
  const std::shared_ptr<otlp::Reachability> reachability_;
  std::shared_ptr<ConsoleOutput> console_;
  std::shared_ptr<FileOutput> file_;
};

}  // namespace zerotap
