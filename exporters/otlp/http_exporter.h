// The OTLP/HTTP exporters (protobuf bodies): encode, split into requests, send.
#pragma once

#include <memory>
#include <string>

#include "agent/telemetry/exporter.h"
#include "exporters/otlp/encoder.h"
#include "exporters/otlp/http_sender.h"

namespace zerotap::otlp {

// The spans of one Export go out in order, so the first ones of an ExportOutcome are the first ones
// of the batch.
class HttpSpanExporter : public SpanExporter {
 public:
  HttpSpanExporter(std::unique_ptr<HttpSender> sender, const InstrumentationScope& scope,
                   size_t max_request_bytes = kMaxRequestBytes);

  std::string_view name() const override { return "otlp"; }
  ExportOutcome Export(std::span<const Span> spans) override;
  void RequestStop() override { sender_->RequestStop(); }

 private:
  const std::unique_ptr<HttpSender> sender_;
  TraceEncoder encoder_;
  std::string body_;  // kept for its memory
};

// Counts data points.
class HttpMetricExporter : public MetricExporter {
 public:
  HttpMetricExporter(std::unique_ptr<HttpSender> sender, const InstrumentationScope& scope,
                     size_t max_request_bytes = kMaxRequestBytes);

  std::string_view name() const override { return "otlp"; }
  ExportOutcome Export(std::span<const Metric> metrics) override;
  void RequestStop() override { sender_->RequestStop(); }

 private:
  const std::unique_ptr<HttpSender> sender_;
  MetricEncoder encoder_;
  std::string body_;  // kept for its memory
};

}  // namespace zerotap::otlp
