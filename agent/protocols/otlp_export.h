// Recognises the calls by which programs send telemetry of their own (OTLP over HTTP), from what a
// request's head says. They are no work of the program, and who makes them has an SDK inside.
#pragma once

#include <string_view>

#include "agent/protocols/exchange.h"

namespace zerotap {

// A POST of protobuf to a path that ends in v1/traces, v1/metrics or v1/logs; the specification
// leaves what stands before it to the receiver. JSON, which other programs post too, must go to
// exactly one of these or to the same below /otlp.
OtlpExport OtlpExportOf(std::string_view method, std::string_view target,
                        std::string_view content_type);

}  // namespace zerotap
