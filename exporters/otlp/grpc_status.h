// How a unary gRPC call ended, read from the answer's header fields (grpc/doc: PROTOCOL-HTTP2.md,
// http-grpc-status-mapping.md), and what OTLP makes of it. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "agent/http/client.h"

namespace zerotap::otlp {

enum GrpcCode : int {
  kGrpcOk = 0,
  kGrpcCancelled = 1,
  kGrpcUnknown = 2,
  kGrpcDeadlineExceeded = 4,
  kGrpcPermissionDenied = 7,
  kGrpcResourceExhausted = 8,
  kGrpcAborted = 10,
  kGrpcOutOfRange = 11,
  kGrpcUnimplemented = 12,
  kGrpcInternal = 13,
  kGrpcUnavailable = 14,
  kGrpcDataLoss = 15,
  kGrpcUnauthenticated = 16,
};

struct GrpcStatus {
  int code = kGrpcUnknown;
  std::string message;
  std::optional<std::chrono::milliseconds> retry_delay;  // of a RetryInfo
  bool from_server = false;  // it said grpc-status; otherwise the code is made from the HTTP status
};

// The status of an answer with or without trailers; without any, what the HTTP status stands for.
GrpcStatus ReadGrpcStatus(const HttpResponse& response);

// "UNAVAILABLE"; for a number that gRPC does not know "CODE_<number>".
std::string GrpcCodeName(int code);

// By OTLP's table; RESOURCE_EXHAUSTED only when the server says when to come back.
bool IsRetryable(const GrpcStatus& status);
// A server or proxy that would take the same in smaller messages.
bool IsTooLarge(const GrpcStatus& status);

// grpc-message is percent-encoded; what is not valid stays as it is.
std::string DecodeGrpcMessage(std::string_view text);
// Both alphabets, with or without padding; empty when it is neither.
std::optional<std::string> DecodeBase64(std::string_view text);

}  // namespace zerotap::otlp
