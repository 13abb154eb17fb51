#include "exporters/otlp/grpc_transport.h"

#include <utility>

#include "agent/base/clock.h"
#include "exporters/otlp/grpc_status.h"
#include "exporters/otlp/gzip.h"
#include "exporters/otlp/http_transport.h"
#include "exporters/otlp/response.h"
#include "exporters/otlp/wire_buffer.h"
#include "exporters/retry.h"

namespace zerotap::otlp {
namespace {

constexpr std::string_view kProtocolRemedy =
    "; the endpoint must speak OTLP over gRPC, usually port 4317 (4318 is HTTP, for which "
    "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf is set)";
constexpr size_t kPrefixBytes = 5;  // one byte of flags, four of length

void FillFrame(const OutgoingBody& body, std::string& frame) {
  if (IsOversized(body.bytes.size(), frame.capacity())) std::string().swap(frame);
  frame.clear();
  frame.reserve(kPrefixBytes + body.bytes.size());
  frame += static_cast<char>(body.gzip ? 1 : 0);
  for (int shift : {24, 16, 8, 0}) {
    frame += static_cast<char>((body.bytes.size() >> shift) & 0xff);
  }
  frame += body.bytes;
}

// The message of the only frame, decompressed when it is; an answer without one is an empty
// message.
std::optional<std::string> ReadFrame(const HttpResponse& response, size_t max_bytes) {
  const std::string& body = response.body;
  if (response.body_truncated) return std::nullopt;
  if (body.empty()) return std::string();
  if (body.size() < kPrefixBytes) return std::nullopt;
  size_t length = 0;
  for (size_t i = 1; i < kPrefixBytes; ++i) length = length << 8 | static_cast<uint8_t>(body[i]);
  if (length != body.size() - kPrefixBytes) return std::nullopt;
  if (body[0] == 0) return body.substr(kPrefixBytes);
  if (body[0] != 1 || response.Header("grpc-encoding") != "gzip") return std::nullopt;
  return Gunzip(std::string_view(body).substr(kPrefixBytes), max_bytes);
}

std::string_view Remedy(const GrpcStatus& status) {
  if (!status.from_server) return kProtocolRemedy;
  switch (status.code) {
    case kGrpcUnauthenticated:
    case kGrpcPermissionDenied:
      return "; check the key in OTEL_EXPORTER_OTLP_HEADERS (SigNoz Cloud: "
             "signoz-ingestion-key=...)";
    case kGrpcUnimplemented:
      return "; the server has no such service: is its OTLP receiver on for this signal?";
    default:
      return "";
  }
}

Attempt NotAccepted(const HttpResponse& response, const GrpcStatus& status) {
  Attempt attempt;
  attempt.reason = "grpc_" + GrpcCodeName(status.code);
  attempt.message = GrpcCodeName(status.code);
  if (!status.message.empty()) attempt.message += ": " + Shown(status.message);
  if (IsTooLarge(status)) {
    attempt.result = AttemptResult::kTooLarge;
    attempt.message += "; raise the receiver's max_recv_msg_size to 4 MiB";
  } else if (IsRetryable(status)) {
    attempt.result = AttemptResult::kBusy;
    attempt.retry_after = status.retry_delay;
    if (!status.from_server)
      attempt.retry_after = ParseRetryAfter(response.Header("retry-after"),
                                            static_cast<int64_t>(RealtimeNs() / 1'000'000'000u));
  } else {
    attempt.result = AttemptResult::kRefused;
    attempt.message += Remedy(status);
  }
  return attempt;
}

}  // namespace

Result<std::unique_ptr<Transport>> GrpcTransport::Create(GrpcTransportOptions options) {
  if (Status status = CheckHeaders(options.headers); !status) {
    return tl::unexpected<Error>(status.error());
  }
  options.client.version = HttpVersion::k2;
  auto client = HttpClient::Create(options.client);
  if (!client) return tl::unexpected<Error>(client.error());
  return std::unique_ptr<Transport>(new GrpcTransport(std::move(options), std::move(*client)));
}

GrpcTransport::GrpcTransport(GrpcTransportOptions options, std::unique_ptr<HttpClient> client)
    : options_(std::move(options)), client_(std::move(client)) {}

Attempt GrpcTransport::Post(const OutgoingBody& body, std::chrono::milliseconds timeout) {
  FillFrame(body, frame_);
  HttpHeaders headers = options_.headers;
  headers.emplace_back("Content-Type", "application/grpc");
  headers.emplace_back("TE", "trailers");
  headers.emplace_back("Grpc-Accept-Encoding", "gzip, identity");
  if (body.gzip) headers.emplace_back("Grpc-Encoding", "gzip");
  headers.emplace_back("Grpc-Timeout", std::to_string(timeout.count()) + "m");
  const HttpResult result = client_->Post(options_.url, headers, frame_, timeout);
  if (!result) {
    Attempt attempt = FailedConnection(result.error(), kProtocolRemedy);
    // How a server that does not speak HTTP/2 answers its preface: by the end or a reset.
    const HttpFailure failure = result.error().failure;
    if (failure == HttpFailure::kNoAnswer || failure == HttpFailure::kConnection) {
      attempt.message += kProtocolRemedy;
    }
    return attempt;
  }
  const GrpcStatus status = ReadGrpcStatus(*result);
  if (status.code != kGrpcOk) return NotAccepted(*result, status);
  std::optional<ExportResponse> response;
  if (std::optional<std::string> message = ReadFrame(*result, options_.client.max_response_bytes)) {
    response = ReadProtobufResponse(*message);
  }
  return AcceptedAttempt(response, "OK");
}

}  // namespace zerotap::otlp
