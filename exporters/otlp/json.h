// OTLP's JSON form (specification: protocol/otlp.md, "JSON Protobuf Encoding"): lowerCamelCase
// names, ids in hexadecimal, enums as numbers, 64-bit integers as strings. One compact line a call,
// fields in the order of the .proto files, resources in the order in which they are first seen, so
// equal input gives equal text.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "agent/telemetry/metric.h"
#include "agent/telemetry/span.h"
#include "exporters/otlp/encoder.h"
#include "exporters/otlp/json_writer.h"

namespace zerotap::otlp {

// As TraceEncoder and MetricEncoder of encoder.h.
class JsonTraceEncoder {
 public:
  explicit JsonTraceEncoder(InstrumentationScope scope = {},
                            size_t max_request_bytes = kMaxRequestBytes)
      : scope_(std::move(scope)), max_bytes_(max_request_bytes) {}
  EncodedPart Encode(std::span<const Span> spans, std::string& body);
  void set_max_request_bytes(size_t bytes) { max_bytes_ = bytes; }

 private:
  InstrumentationScope scope_;
  size_t max_bytes_;
  std::vector<JsonWriter> spare_;  // kept for their memory
};

class JsonMetricEncoder {
 public:
  explicit JsonMetricEncoder(InstrumentationScope scope = {},
                             size_t max_request_bytes = kMaxRequestBytes)
      : scope_(std::move(scope)), max_bytes_(max_request_bytes) {}
  EncodedPart Encode(std::span<const Metric> metrics, MetricCursor& cursor,
                     std::string& body) const;
  void set_max_request_bytes(size_t bytes) { max_bytes_ = bytes; }

 private:
  InstrumentationScope scope_;
  size_t max_bytes_;
};

// All of it in one text, whatever its size: ExportTraceServiceRequest and
// ExportMetricsServiceRequest, without a line break at the end.
std::string EncodeTracesJson(std::span<const Span> spans, const InstrumentationScope& scope = {});
std::string EncodeMetricsJson(std::span<const Metric> metrics,
                              const InstrumentationScope& scope = {});

}  // namespace zerotap::otlp
