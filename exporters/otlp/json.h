// OTLP's JSON form (specification: protocol/otlp.md, "JSON Protobuf Encoding"): lowerCamelCase
// names, ids in hexadecimal, enums as numbers, 64-bit integers as strings. One compact line a call,
// fields in the order of the .proto files, resources in the order in which they are first seen, so
// equal input gives equal text.
#pragma once

#include <span>
#include <string>

#include "agent/telemetry/metric.h"
#include "agent/telemetry/span.h"
#include "exporters/otlp/request_builder.h"

namespace zerotap::otlp {

// ExportTraceServiceRequest and ExportMetricsServiceRequest, without a line break at the end.
std::string EncodeTracesJson(std::span<const Span> spans, const InstrumentationScope& scope = {});
std::string EncodeMetricsJson(std::span<const Metric> metrics,
                              const InstrumentationScope& scope = {});

}  // namespace zerotap::otlp
