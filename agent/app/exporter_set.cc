#include "agent/app/exporter_set.h"

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <utility>

#include "agent/app/version.h"
#include "exporters/otlp/endpoint.h"

namespace zerotap {
namespace {

ColorMode ColorModeOf(const std::string& color) {
  if (color == "always") return ColorMode::kAlways;
  return color == "never" ? ColorMode::kNever : ColorMode::kAuto;
}

SpanBatcherOptions BatcherOptionsOf(const ExportConfig& exports) {
  SpanBatcherOptions options;
  options.tick = std::chrono::milliseconds(exports.flush_interval_ns / 1'000'000);
  options.max_queue_spans = exports.queue_size;
  options.max_queue_bytes = exports.queue_bytes;
  options.max_batch_spans = exports.max_batch_size;
  return options;
}

SpanFateCallback FatesInto(Ledger& ledger) {
  return [&ledger](std::span<const Span> spans, SpanFate fate) {
    for (const Span& span : spans) {
      switch (fate) {
        case SpanFate::kExported:
          ledger.Emitted(span.ledger_row);
          break;
        case SpanFate::kRejected:
          ledger.Dropped(span.ledger_row, DropReason::kExportRejected);
          break;
        case SpanFate::kFailed:
          ledger.Dropped(span.ledger_row, DropReason::kExportFailed);
          break;
        case SpanFate::kQueueDropped:
          ledger.Dropped(span.ledger_row, DropReason::kSpanQueueFull);
          break;
        case SpanFate::kShed:
          ledger.Dropped(span.ledger_row, DropReason::kMemoryLimit);
          break;
      }
    }
  };
}

// The variables that decide about a proxy where the configuration does not. no_proxy is left out: at worst something is compressed.
bool EnvironmentNamesAProxy() {
  for (const char* name : {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return true;
  }
  return false;
}

}  // namespace

OtlpOptions OtlpOptionsOf(const ExportConfig& exports, Signal signal) {
  const OtlpSettings settings = ResolveOtlp(exports, signal);
  OtlpOptions options;
  options.signal_endpoint = settings.endpoint;
  options.protocol = settings.protocol;
  options.insecure = settings.insecure == "true";
  options.headers = settings.headers;
  options.timeout = std::chrono::milliseconds(settings.timeout_ns / 1'000'000);
  // To a receiver on this host compression would only cost, here and there. But with gRPC a request that is larger than the
  // receiver takes is answered before it is sent, and what then still waits for room to be sent waits in vain.
  const bool direct = settings.proxy == "off" || (settings.proxy.empty() && !EnvironmentNamesAProxy());
  options.gzip = settings.compression == "gzip" ||
                 (settings.compression == "auto" &&
                  !(direct && settings.protocol != "grpc" && otlp::LeadsToThisHost(settings.endpoint)));
  options.ca_file = settings.certificate;
  options.client_certificate_file = settings.client_certificate;
  options.client_key_file = settings.client_key;
  options.proxy = settings.proxy;
  options.retry.give_up_after = std::chrono::milliseconds(settings.give_up_after_ns / 1'000'000);
  return options;
}

Result<std::unique_ptr<ExporterSet>> ExporterSet::Create(const Config& config, Ledger& ledger,
                                                         std::shared_ptr<SpentSpans> spent) {
  const ExportConfig& exports = config.exports;
  ExporterOptions options;
  options.agent_version = std::string(kVersion);
  options.traces = OtlpOptionsOf(exports, Signal::kTraces);
  options.metrics = OtlpOptionsOf(exports, Signal::kMetrics);
  options.file_path = exports.file_path;
  options.file_max_bytes = exports.file_max_bytes;
  options.console_color = ColorModeOf(exports.console_color);
  ExporterFactory factory(std::move(options));
  MetricBatcherOptions metric_batcher;
  metric_batcher.max_queued_points = std::max<uint64_t>(1, config.memory.metric_queue_points);

  std::unique_ptr<ExporterSet> set(new ExporterSet);
  for (const std::string& name : exports.traces) {
    auto stats = std::make_shared<ExportStats>();
    auto exporter = factory.MakeSpanExporter(name, stats);
    if (!exporter) return tl::unexpected<Error>(exporter.error());
    SpanBatcherOptions batcher = BatcherOptionsOf(exports);
    ExporterFactory::AdjustBatcher(name, batcher);
    // The last one gets the spans themselves, the others copies.
    if (set->spans_.size() + 1 == exports.traces.size()) batcher.spent = spent;
    SpanFateCallback fates;
    if (set->spans_.empty()) fates = FatesInto(ledger);
    set->spans_.push_back(
        std::make_unique<SpanBatcher>(std::move(*exporter), batcher, stats, std::move(fates)));
    set->named_.push_back({name, "traces", std::move(stats)});
  }
  for (const std::string& name : exports.metrics) {
    auto stats = std::make_shared<ExportStats>();
    auto exporter = factory.MakeMetricExporter(name, stats);
    if (!exporter) return tl::unexpected<Error>(exporter.error());
    set->metrics_.push_back(
        std::make_unique<MetricBatcher>(std::move(*exporter), metric_batcher, stats));
    set->named_.push_back({name, "metrics", std::move(stats)});
  }
  return set;
}

void ExporterSet::PushSpans(std::vector<Span>&& spans) {
  for (size_t i = 0; i + 1 < spans_.size(); ++i) spans_[i]->Push(std::vector<Span>(spans));
  if (!spans_.empty()) spans_.back()->Push(std::move(spans));
}

void ExporterSet::PushMetrics(std::vector<Metric>&& metrics) {
  for (size_t i = 0; i + 1 < metrics_.size(); ++i) metrics_[i]->Push(std::vector<Metric>(metrics));
  if (!metrics_.empty()) metrics_.back()->Push(std::move(metrics));
}

void ExporterSet::Shed() {
  for (auto& batcher : spans_) batcher->Shed();
}

void ExporterSet::HandOver(const std::shared_ptr<ExporterSet>& next) {
  for (size_t i = 0; i < std::min(spans_.size(), next->spans_.size()); ++i) {
    if (named_[i].exporter != next->named_[i].exporter) continue;
    next->spans_[i]->Push(spans_[i]->Retire(
        [next, i](std::vector<Span>&& spans) { next->spans_[i]->Push(std::move(spans)); }));
  }
  for (size_t i = 0; i < std::min(metrics_.size(), next->metrics_.size()); ++i) {
    const Named& name = named_[spans_.size() + i];
    if (name.exporter != next->named_[next->spans_.size() + i].exporter) continue;
    auto waiting = metrics_[i]->Retire([next, i](std::vector<Metric>&& metrics) {
      next->metrics_[i]->Push(std::move(metrics));
    });
    for (std::vector<Metric>& metrics : waiting) next->metrics_[i]->Push(std::move(metrics));
  }
}

void ExporterSet::Shutdown(std::chrono::steady_clock::time_point deadline) {
  std::vector<std::thread> threads;
  for (auto& batcher : spans_) {
    threads.emplace_back([&batcher, deadline] { batcher->Shutdown(deadline); });
  }
  for (auto& batcher : metrics_) {
    threads.emplace_back([&batcher, deadline] { batcher->Shutdown(deadline); });
  }
  for (std::thread& thread : threads) thread.join();
}

std::vector<ExporterCounts> ExporterSet::Counts() const {
  std::vector<ExporterCounts> result;
  for (const Named& named : named_) {
    const ExportStatsSnapshot stats = named.stats->Snapshot();
    ExporterCounts counts;
    counts.exporter = named.exporter;
    counts.signal = named.signal;
    counts.queued = stats.queued + stats.in_flight;
    counts.exported = stats.exported;
    counts.rejected = stats.rejected;
    counts.failed = stats.failed;
    counts.dropped = stats.dropped;
    counts.retries = stats.retries;
    counts.bytes_sent = stats.bytes_sent;
    counts.losses.insert(stats.losses.begin(), stats.losses.end());
    result.push_back(std::move(counts));
  }
  return result;
}

}  // namespace zerotap
