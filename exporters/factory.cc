#include "exporters/factory.h"

#include <algorithm>
#include <array>
#include <utility>

#include "exporters/file_exporter.h"
#include "exporters/otlp/endpoint.h"
#include "exporters/otlp/exporter.h"
#include "exporters/otlp/grpc_transport.h"
#include "exporters/otlp/http_transport.h"
#include "exporters/printable.h"

namespace zerotap {
namespace {

using SpanExporterResult = Result<std::unique_ptr<SpanExporter>>;
using MetricExporterResult = Result<std::unique_ptr<MetricExporter>>;
using Stats = std::shared_ptr<ExportStats>;

otlp::InstrumentationScope Scope(const ExporterFactory& factory) {
  otlp::InstrumentationScope scope;
  scope.version = factory.options().agent_version;
  return scope;
}

struct OtlpSender {
  std::unique_ptr<otlp::Sender> sender;
  otlp::BodyFormat format = otlp::BodyFormat::kProtobuf;
};

HttpClientOptions ClientOptions(std::string_view version, const OtlpOptions& options) {
  const std::string suffix = version.empty() ? "" : "/" + std::string(version);
  HttpClientOptions client;
  client.ca_file = options.ca_file;
  client.client_certificate_file = options.client_certificate_file;
  client.client_key_file = options.client_key_file;
  client.proxy = options.proxy;
  client.connect_timeout = std::min(client.connect_timeout, options.timeout);
  client.user_agent = "zerotap" + suffix + " OTel-OTLP-Exporter-Cpp" + suffix;
  return client;
}

otlp::BodyFormat FormatOf(const OtlpOptions& options) {
  return options.protocol == "http/json" ? otlp::BodyFormat::kJson : otlp::BodyFormat::kProtobuf;
}

Result<OtlpSender> MakeSender(ExporterFactory& factory, const OtlpOptions& options,
                              std::string_view signal, Stats stats) {
  OtlpSender result;
  result.format = FormatOf(options);
  auto transport = MakeOtlpTransport(options, signal, factory.options().agent_version);
  if (!transport) return tl::unexpected<Error>(transport.error());
  otlp::SenderOptions sender;
  sender.signal = signal;
  sender.timeout = options.timeout;
  sender.gzip = options.gzip;
  sender.retry = options.retry;
  result.sender = std::make_unique<otlp::Sender>(std::move(sender), std::move(*transport),
                                                 factory.reachability(), std::move(stats));
  return result;
}

SpanExporterResult MakeOtlpSpans(ExporterFactory& factory, Stats stats) {
  auto made = MakeSender(factory, factory.options().traces, "traces", std::move(stats));
  if (!made) return tl::unexpected<Error>(made.error());
  return otlp::MakeSpanExporter(std::move(made->sender), made->format, Scope(factory));
}
MetricExporterResult MakeOtlpMetrics(ExporterFactory& factory, Stats stats) {
  auto made = MakeSender(factory, factory.options().metrics, "metrics", std::move(stats));
  if (!made) return tl::unexpected<Error>(made.error());
  return otlp::MakeMetricExporter(std::move(made->sender), made->format, Scope(factory));
}

SpanExporterResult MakeConsoleSpans(ExporterFactory& factory, Stats) {
  return std::make_unique<ConsoleSpanExporter>(factory.Console(), factory.options().console);
}
MetricExporterResult MakeConsoleMetrics(ExporterFactory& factory, Stats) {
  return std::make_unique<ConsoleMetricExporter>(factory.Console(), factory.options().console);
}

SpanExporterResult MakeFileSpans(ExporterFactory& factory, Stats stats) {
  auto file = factory.File();
  if (!file) return tl::unexpected<Error>(file.error());
  return std::make_unique<FileSpanExporter>(*file, Scope(factory), std::move(stats));
}
MetricExporterResult MakeFileMetrics(ExporterFactory& factory, Stats stats) {
  auto file = factory.File();
  if (!file) return tl::unexpected<Error>(file.error());
  return std::make_unique<FileMetricExporter>(*file, Scope(factory), std::move(stats));
}

// Takes everything and keeps nothing, which is what "none" asks for.
class NoneSpanExporter : public SpanExporter {
 public:
  std::string_view name() const override { return "none"; }
  ExportOutcome Export(std::span<const Span> spans) override { return {spans.size(), 0, 0}; }
  void RequestStop() override {}
};
class NoneMetricExporter : public MetricExporter {
 public:
  std::string_view name() const override { return "none"; }
  ExportOutcome Export(std::span<const Metric> metrics) override {
    return {otlp::CountPoints(metrics), 0, 0};
  }
  void RequestStop() override {}
};

SpanExporterResult MakeNoSpans(ExporterFactory&, Stats) {
  return std::make_unique<NoneSpanExporter>();
}
MetricExporterResult MakeNoMetrics(ExporterFactory&, Stats) {
  return std::make_unique<NoneMetricExporter>();
}

struct Entry {
  std::string_view name;
  SpanExporterResult (*make_spans)(ExporterFactory&, Stats);
  MetricExporterResult (*make_metrics)(ExporterFactory&, Stats);
};

constexpr std::array<Entry, 4> kExporters = {{
    {"otlp", MakeOtlpSpans, MakeOtlpMetrics},
    {"console", MakeConsoleSpans, MakeConsoleMetrics},
    {"file", MakeFileSpans, MakeFileMetrics},
    {"none", MakeNoSpans, MakeNoMetrics},
}};

Result<const Entry*> Find(std::string_view name) {
  std::string known;
  for (const Entry& entry : kExporters) {
    if (entry.name == name) return &entry;
    known += known.empty() ? "" : ", ";
    known += entry.name;
  }
  return Fail("unknown exporter \"" + Printable(name, 60) + "\"; known are " + known);
}

}  // namespace

// The one place that knows OTLP's transports: another one is another case here.
Result<std::unique_ptr<otlp::Transport>> MakeOtlpTransport(const OtlpOptions& options,
                                                           std::string_view signal,
                                                           std::string_view agent_version) {
  HttpClientOptions client = ClientOptions(agent_version, options);
  if (options.protocol == "grpc") {
    Result<std::string> url =
        otlp::GrpcCallUrl(options.endpoint, options.signal_endpoint, options.insecure, signal);
    if (!url) return tl::unexpected<Error>(url.error());
    return otlp::GrpcTransport::Create({*url, options.headers, std::move(client)});
  }
  if (options.protocol != "http/protobuf" && options.protocol != "http/json") {
    return Fail("the OTLP protocol \"" + Printable(options.protocol, 60) +
                "\" is not known; use http/protobuf, http/json or grpc");
  }
  Result<std::string> url = otlp::SignalUrl(options.endpoint, options.signal_endpoint, signal);
  if (!url) return tl::unexpected<Error>(url.error());
  return otlp::HttpTransport::Create(
      {*url, FormatOf(options), options.headers, std::move(client)});
}

ExporterFactory::ExporterFactory(ExporterOptions options)
    : options_(std::move(options)), reachability_(std::make_shared<otlp::Reachability>()) {}

Result<std::unique_ptr<SpanExporter>> ExporterFactory::MakeSpanExporter(
    std::string_view name, std::shared_ptr<ExportStats> stats) {
  Result<const Entry*> entry = Find(name);
  if (!entry) return tl::unexpected<Error>(entry.error());
  return (*entry)->make_spans(*this, std::move(stats));
}

Result<std::unique_ptr<MetricExporter>> ExporterFactory::MakeMetricExporter(
    std::string_view name, std::shared_ptr<ExportStats> stats) {
  Result<const Entry*> entry = Find(name);
  if (!entry) return tl::unexpected<Error>(entry.error());
  return (*entry)->make_metrics(*this, std::move(stats));
}

std::vector<std::string_view> ExporterFactory::Names() {
  std::vector<std::string_view> names;
  for (const Entry& entry : kExporters) names.push_back(entry.name);
  return names;
}

void ExporterFactory::AdjustBatcher(std::string_view name, SpanBatcherOptions& options) {
  if (name != "console") return;
  options.tick = std::min(options.tick, std::chrono::milliseconds(200));
  options.tick_when_idle = true;
}

std::shared_ptr<ConsoleOutput> ExporterFactory::Console() {
  if (console_ == nullptr) {
    console_ = std::make_shared<ConsoleOutput>(options_.console_fd, options_.console_color);
  }
  return console_;
}

Result<std::shared_ptr<FileOutput>> ExporterFactory::File() {
  if (file_ == nullptr) {
    auto file = FileOutput::Open(options_.file_path, options_.file_max_bytes);
    if (!file) return tl::unexpected<Error>(file.error());
    file_ = std::move(*file);
  }
  return file_;
}

}  // namespace zerotap
