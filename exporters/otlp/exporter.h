// The OTLP exporters: encode, split into requests, send. Which transport and which form of body is
// decided by who makes them.
#pragma once

#include <memory>

#include "agent/telemetry/exporter.h"
#include "exporters/otlp/encoder.h"
#include "exporters/otlp/sender.h"

namespace zerotap::otlp {

// A receiver that finds a request too large gets smaller ones from then on, down to this.
constexpr size_t kSmallestRequestLimit = size_t{64} << 10;

// The spans of one Export go out in order, so the first ones of an ExportOutcome are the first ones
// of the batch.
std::unique_ptr<SpanExporter> MakeSpanExporter(std::unique_ptr<Sender> sender, BodyFormat format,
                                               const InstrumentationScope& scope,
                                               size_t max_request_bytes = kMaxRequestBytes);

// Counts data points.
std::unique_ptr<MetricExporter> MakeMetricExporter(std::unique_ptr<Sender> sender,
                                                   BodyFormat format,
                                                   const InstrumentationScope& scope,
                                                   size_t max_request_bytes = kMaxRequestBytes);

}  // namespace zerotap::otlp
