// What receivers answer: the response of an export (opentelemetry-proto: collector/*/v1) and
// google.rpc.Status, which explains a refusal. Pure; takes any bytes.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace zerotap::otlp {

// All of it was taken when `rejected` is zero and `message` empty.
struct ExportResponse {
  uint64_t rejected = 0;
  std::string message;
};

// Traces and metrics alike: their responses have the same shape. Empty when it is no response.
std::optional<ExportResponse> ReadProtobufResponse(std::string_view body);
std::optional<ExportResponse> ReadJsonResponse(std::string_view body);

struct RpcStatus {
  std::string message;
  std::optional<std::chrono::milliseconds> retry_delay;  // of a google.rpc.RetryInfo
};

// As much as can be read.
RpcStatus ReadProtobufStatus(std::string_view body);
// Its message; empty when it is none.
std::string ReadJsonStatusMessage(std::string_view body);

}  // namespace zerotap::otlp
