#include "exporters/otlp/http_exporter.h"

#include <utility>

namespace zerotap::otlp {
namespace {

// Sends one encoded part and adds what became of it.
void SendPart(const EncodedPart& part, const std::string& body, HttpSender& sender,
              ExportOutcome& total) {
  uint64_t too_large = part.consumed - part.encoded;
  if (too_large > 0) sender.ReportTooLarge(too_large);
  total.failed += too_large;
  if (part.encoded == 0) return;
  ExportOutcome outcome = sender.Send(body, part.encoded);
  total.exported += outcome.exported;
  total.rejected += outcome.rejected;
  total.failed += outcome.failed;
}

// Gives back what a burst left.
void Relax(std::string& body) {
  if (IsOversized(body.size(), body.capacity())) std::string().swap(body);
}

}  // namespace

HttpSpanExporter::HttpSpanExporter(std::unique_ptr<HttpSender> sender,
                                   const InstrumentationScope& scope, size_t max_request_bytes)
    : sender_(std::move(sender)), encoder_(scope, max_request_bytes) {}

ExportOutcome HttpSpanExporter::Export(std::span<const Span> spans) {
  ExportOutcome total;
  while (!spans.empty()) {
    if (sender_->stop_requested()) {
      total.failed += spans.size();
      break;
    }
    EncodedPart part = encoder_.Encode(spans, body_);
    SendPart(part, body_, *sender_, total);
    Relax(body_);
    spans = spans.subspan(part.consumed);
  }
  return total;
}

HttpMetricExporter::HttpMetricExporter(std::unique_ptr<HttpSender> sender,
                                       const InstrumentationScope& scope, size_t max_request_bytes)
    : sender_(std::move(sender)), encoder_(scope, max_request_bytes) {}

ExportOutcome HttpMetricExporter::Export(std::span<const Metric> metrics) {
  ExportOutcome total;
  MetricCursor cursor;
  uint64_t left = CountPoints(metrics);
  while (left > 0) {
    if (sender_->stop_requested()) {
      total.failed += left;
      break;
    }
    EncodedPart part = encoder_.Encode(metrics, cursor, body_);
    SendPart(part, body_, *sender_, total);
    Relax(body_);
    left -= part.consumed;
  }
  return total;
}

}  // namespace zerotap::otlp
