#include "exporters/otlp/grpc_status.h"

#include <array>
#include <charconv>
#include <cstdint>

#include "exporters/otlp/response.h"

namespace zerotap::otlp {
namespace {

constexpr std::array<std::string_view, 17> kCodeNames = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

int CodeOfHttpStatus(int status) {
  switch (status) {
    case 400:
      return kGrpcInternal;
    case 401:
      return kGrpcUnauthenticated;
    case 403:
      return kGrpcPermissionDenied;
    case 404:
      return kGrpcUnimplemented;
    case 413:
      return kGrpcResourceExhausted;
    case 429:
    case 502:
    case 503:
    case 504:
      return kGrpcUnavailable;
    default:
      return kGrpcUnknown;
  }
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int Base64Digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  return c == '/' || c == '_' ? 63 : -1;
}

char LowerCase(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace

GrpcStatus ReadGrpcStatus(const HttpResponse& response) {
  // An answer that has no body says it in its header fields.
  const bool in_trailers = !response.Trailer("grpc-status").empty();
  const auto field = [&](std::string_view name) {
    return in_trailers ? response.Trailer(name) : response.Header(name);
  };
  GrpcStatus status;
  const std::string_view code = field("grpc-status");
  const char* end = code.data() + code.size();
  const auto [read, error] = std::from_chars(code.data(), end, status.code);
  if (code.empty() || error != std::errc() || read != end || status.code < 0) {
    status.code = CodeOfHttpStatus(response.status);
    status.message = response.status == 200
                         ? "the answer has no grpc-status"
                         : "the answer is HTTP status " + std::to_string(response.status);
    return status;
  }
  status.from_server = true;
  status.message = DecodeGrpcMessage(field("grpc-message"));
  if (std::optional<std::string> details = DecodeBase64(field("grpc-status-details-bin"))) {
    status.retry_delay = ReadProtobufStatus(*details).retry_delay;
  }
  return status;
}

std::string GrpcCodeName(int code) {
  if (code >= 0 && static_cast<size_t>(code) < kCodeNames.size()) {
    return std::string(kCodeNames[static_cast<size_t>(code)]);
  }
  return "CODE_" + std::to_string(code);
}

bool IsRetryable(const GrpcStatus& status) {
  switch (status.code) {
    case kGrpcCancelled:
    case kGrpcDeadlineExceeded:
    case kGrpcAborted:
    case kGrpcOutOfRange:
    case kGrpcUnavailable:
    case kGrpcDataLoss:
      return true;
    case kGrpcResourceExhausted:
      return status.retry_delay.has_value();
    default:
      return false;
  }
}

bool IsTooLarge(const GrpcStatus& status) {
  if (status.code != kGrpcResourceExhausted || status.retry_delay) return false;
  if (!status.from_server) return true;  // HTTP status 413
  std::string message = status.message;
  for (char& c : message) c = LowerCase(c);
  // As grpc-go and the C core say it, and as grpc-java does.
  for (std::string_view words : {"larger than max", "exceeds maximum size", "too large"}) {
    if (message.find(words) != std::string::npos) return true;
  }
  return false;
}

std::string DecodeGrpcMessage(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && text.size() - i > 2 ? HexDigit(text[i + 1]) : -1;
    const int low = high >= 0 ? HexDigit(text[i + 2]) : -1;
    if (low < 0) {
      decoded += text[i];
      continue;
    }
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

std::optional<std::string> DecodeBase64(std::string_view text) {
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::string decoded;
  uint32_t bits = 0;
  int count = 0;
  for (char c : text) {
    const int digit = Base64Digit(c);
    if (digit < 0) return std::nullopt;
    bits = (bits << 6) | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    decoded += static_cast<char>((bits >> count) & 0xff);
  }
  if (text.size() % 4 == 1) return std::nullopt;
  return decoded;
}

}  // namespace zerotap::otlp
