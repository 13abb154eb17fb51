#include "exporters/otlp/exporter.h"

#include <algorithm>
#include <string>
#include <utility>

#include "exporters/otlp/json.h"
#include "exporters/otlp/wire_buffer.h"

namespace zerotap::otlp {
namespace {

// What both signals do with encoded requests.
class RequestStream {
 public:
  RequestStream(std::unique_ptr<Sender> sender, size_t max_request_bytes)
      : sender_(std::move(sender)), max_bytes_(max_request_bytes) {}

  Sender& sender() { return *sender_; }
  size_t max_bytes() const { return max_bytes_; }

  // Sends the body and adds what became of the part. False when the receiver finds it too large:
  // nothing is added, max_bytes() is smaller, and the same items are to be encoded again.
  bool Send(const EncodedPart& part, const std::string& body, ExportOutcome& total) {
    if (part.encoded > 0) {
      const bool may_split = part.encoded > 1 && body.size() > kSmallestRequestLimit;
      const Sent sent = sender_->Send(body, part.encoded, may_split);
      if (sent.too_large) {
        max_bytes_ = std::max(kSmallestRequestLimit, body.size() / 2);
        sender_->ReportSmaller(max_bytes_);
        return false;
      }
      total.exported += sent.outcome.exported;
      total.rejected += sent.outcome.rejected;
      total.failed += sent.outcome.failed;
      total.unsent += sent.outcome.unsent;
    }
    const uint64_t too_large = part.consumed - part.encoded;
    if (too_large > 0) sender_->ReportTooLarge(too_large);
    total.failed += too_large;
    return true;
  }

 private:
  const std::unique_ptr<Sender> sender_;
  size_t max_bytes_;
};

template <typename Encoder>
class OtlpSpanExporter : public SpanExporter {
 public:
  OtlpSpanExporter(std::unique_ptr<Sender> sender, const InstrumentationScope& scope,
                   size_t max_request_bytes)
      : stream_(std::move(sender), max_request_bytes), encoder_(scope, max_request_bytes) {}

  std::string_view name() const override { return "otlp"; }
  void RequestStop() override { stream_.sender().RequestStop(); }

  ExportOutcome Export(std::span<const Span> spans) override {
    ExportOutcome outcome;
    bool done = spans.empty();
    while (!done) {
      if (stream_.sender().stop_requested()) {
        outcome.unsent = spans.size();
        break;
      }
      done = stream_.Send(encoder_.Encode(spans, body_), body_, outcome);
      if (!done) encoder_.set_max_request_bytes(stream_.max_bytes());
      Relax(body_);
    }
    return outcome;
  }

 private:
  RequestStream stream_;
  Encoder encoder_;
  std::string body_;  // kept for its memory
};

template <typename Encoder>
class OtlpMetricExporter : public MetricExporter {
 public:
  OtlpMetricExporter(std::unique_ptr<Sender> sender, const InstrumentationScope& scope,
                     size_t max_request_bytes)
      : stream_(std::move(sender), max_request_bytes), encoder_(scope, max_request_bytes) {}

  std::string_view name() const override { return "otlp"; }
  void RequestStop() override { stream_.sender().RequestStop(); }

  ExportOutcome Export(std::span<const Metric> metrics) override {
    ExportOutcome total;
    MetricCursor cursor;
    uint64_t left = CountPoints(metrics);
    while (left > 0) {
      if (stream_.sender().stop_requested()) {
        total.unsent += left;
        break;
      }
      const MetricCursor begin = cursor;
      const EncodedPart part = encoder_.Encode(metrics, cursor, body_);
      if (stream_.Send(part, body_, total)) {
        left -= part.consumed;
      } else {
        cursor = begin;
        encoder_.set_max_request_bytes(stream_.max_bytes());
      }
      Relax(body_);
    }
    return total;
  }

 private:
  RequestStream stream_;
  Encoder encoder_;
  std::string body_;  // kept for its memory
};

}  // namespace

std::unique_ptr<SpanExporter> MakeSpanExporter(std::unique_ptr<Sender> sender, BodyFormat format,
                                               const InstrumentationScope& scope,
                                               size_t max_request_bytes) {
  if (format == BodyFormat::kJson) {
    return std::make_unique<OtlpSpanExporter<JsonTraceEncoder>>(std::move(sender), scope,
                                                                max_request_bytes);
  }
  return std::make_unique<OtlpSpanExporter<TraceEncoder>>(std::move(sender), scope,
                                                          max_request_bytes);
}

std::unique_ptr<MetricExporter> MakeMetricExporter(std::unique_ptr<Sender> sender,
                                                   BodyFormat format,
                                                   const InstrumentationScope& scope,
                                                   size_t max_request_bytes) {
  if (format == BodyFormat::kJson) {
    return std::make_unique<OtlpMetricExporter<JsonMetricEncoder>>(std::move(sender), scope,
                                                                   max_request_bytes);
  }
  return std::make_unique<OtlpMetricExporter<MetricEncoder>>(std::move(sender), scope,
                                                             max_request_bytes);
}

}  // namespace zerotap::otlp
