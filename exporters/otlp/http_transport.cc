#include "exporters/otlp/http_transport.h"

#include <utility>

#include "agent/base/clock.h"
#include "exporters/otlp/response.h"
#include "exporters/printable.h"
#include "exporters/retry.h"

namespace zerotap::otlp {
namespace {

constexpr std::string_view kProtocolRemedy =
    "; the endpoint must speak OTLP over HTTP, usually port 4318 (4317 is gRPC, for which "
    "OTEL_EXPORTER_OTLP_PROTOCOL=grpc is set)";

bool IsRetryable(int status) {
  return status == 429 || status == 502 || status == 503 || status == 504;
}

bool IsJson(const HttpResponse& response) {
  return response.Header("content-type").find("json") != std::string_view::npos;
}

// What the receiver says about its refusal.
std::string Explanation(const HttpResponse& response) {
  std::string_view type = response.Header("content-type");
  std::string text;
  if (type.find("protobuf") != std::string_view::npos) {
    text = ReadProtobufStatus(response.body).message;
  } else if (IsJson(response)) {
    text = ReadJsonStatusMessage(response.body);
    if (text.empty()) text = response.body;
  } else if (type.substr(0, 5) == "text/") {
    text = response.body;
  }
  return text.empty() ? "" : ": " + Shown(text);
}

std::string_view Remedy(int status) {
  switch (status) {
    case 401:
    case 403:
      return "; check the key in OTEL_EXPORTER_OTLP_HEADERS (SigNoz Cloud: "
             "signoz-ingestion-key=...)";
    case 404:
    case 405:
      return "; check the endpoint: OTEL_EXPORTER_OTLP_ENDPOINT gets /v1/<signal> appended, "
             "OTEL_EXPORTER_OTLP_<SIGNAL>_ENDPOINT is used as it is";
    case 413:
      return "; raise the receiver's request size limit to 4 MiB";
    case 415:
      return "; try another OTEL_EXPORTER_OTLP_PROTOCOL";
    default:
      return status >= 300 && status < 400
                 ? "; redirects are not followed, set the endpoint to where it points"
                 : "";
  }
}

}  // namespace

Status CheckHeaders(const HttpHeaders& headers) {
  for (const auto& [name, value] : headers) {
    if (IsValidHeader(name, value)) continue;
    return Fail("the OTLP header \"" + Printable(name, 100) +
                "\" has a name or value that HTTP does not allow");
  }
  return {};
}

Result<std::unique_ptr<Transport>> HttpTransport::Create(HttpTransportOptions options) {
  if (Status status = CheckHeaders(options.headers); !status) {
    return tl::unexpected<Error>(status.error());
  }
  auto client = HttpClient::Create(options.client);
  if (!client) return tl::unexpected<Error>(client.error());
  return std::unique_ptr<Transport>(new HttpTransport(std::move(options), std::move(*client)));
}

HttpTransport::HttpTransport(HttpTransportOptions options, std::unique_ptr<HttpClient> client)
    : options_(std::move(options)), client_(std::move(client)) {}

Attempt HttpTransport::Post(const OutgoingBody& body, std::chrono::milliseconds timeout) {
  HttpHeaders headers = options_.headers;
  headers.emplace_back("Content-Type", options_.format == BodyFormat::kJson
                                           ? "application/json"
                                           : "application/x-protobuf");
  if (body.gzip) headers.emplace_back("Content-Encoding", "gzip");
  const HttpResult result = client_->Post(options_.url, headers, body.bytes, timeout);
  if (!result) return FailedConnection(result.error(), kProtocolRemedy);

  const std::string status = std::to_string(result->status);
  if (result->status >= 200 && result->status < 300) {
    std::optional<ExportResponse> response;
    if (!result->body_truncated) {
      response =
          IsJson(*result) ? ReadJsonResponse(result->body) : ReadProtobufResponse(result->body);
    }
    return AcceptedAttempt(response, status);
  }
  Attempt attempt;
  attempt.reason = "http_" + status;
  attempt.message = status + Explanation(*result) + std::string(Remedy(result->status));
  if (IsRetryable(result->status)) {
    attempt.result = AttemptResult::kBusy;
    attempt.retry_after = ParseRetryAfter(result->Header("retry-after"),
                                          static_cast<int64_t>(RealtimeNs() / 1'000'000'000u));
  } else {
    attempt.result = result->status == 413 ? AttemptResult::kTooLarge : AttemptResult::kRefused;
  }
  return attempt;
}

}  // namespace zerotap::otlp
