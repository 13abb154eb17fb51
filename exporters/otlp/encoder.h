// Spans and metrics to serialized OTLP requests (opentelemetry-proto:
// collector/{trace,metrics}/v1). Pure.
//
// Written by hand instead of through the generated classes: a span of 15 attributes costs a few
// hundred nanoseconds and no allocation. Attribute order is kept (the receiver derives columns from
// it), resources are encoded once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "agent/telemetry/metric.h"
#include "agent/telemetry/span.h"
#include "exporters/otlp/request_builder.h"

namespace zerotap::otlp {

// Fits under the smallest limit that receivers have by default (4 MiB), compression not counted.
constexpr size_t kMaxRequestBytes = 3'670'016;  // 3.5 MiB

enum class BodyFormat { kProtobuf, kJson };

struct EncodedPart {
  size_t consumed = 0;  // items taken from the input
  size_t encoded =
      0;  // of these, how many are in the body; the others are too large for any request
};

class TraceEncoder {
 public:
  explicit TraceEncoder(const InstrumentationScope& scope = {},
                        size_t max_request_bytes = kMaxRequestBytes)
      : builder_(scope, max_request_bytes) {}

  // Encodes as many of the first spans as fit into one ExportTraceServiceRequest, or takes one that
  // fits into none, and leaves the body empty. Call again with the rest.
  EncodedPart Encode(std::span<const Span> spans, std::string& body);
  void set_max_request_bytes(size_t bytes) { builder_.set_max_bytes(bytes); }

 private:
  RequestBuilder builder_;
};

// Where an encoding of several requests stands.
struct MetricCursor {
  size_t metric = 0;
  size_t point = 0;
};

class MetricEncoder {
 public:
  explicit MetricEncoder(const InstrumentationScope& scope = {},
                         size_t max_request_bytes = kMaxRequestBytes)
      : builder_(scope, max_request_bytes) {}

  // As TraceEncoder, with data points as items. Starts at `cursor` and moves it.
  EncodedPart Encode(std::span<const Metric> metrics, MetricCursor& cursor, std::string& body);
  void set_max_request_bytes(size_t bytes) { builder_.set_max_bytes(bytes); }

 private:
  RequestBuilder builder_;
};

// Data points of one metric: those of the kind that its descriptor names.
size_t CountPoints(const Metric& metric);
size_t CountPoints(std::span<const Metric> metrics);

}  // namespace zerotap::otlp
