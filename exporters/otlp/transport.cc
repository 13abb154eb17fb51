#include "exporters/otlp/transport.h"

#include "exporters/otlp/response.h"
#include "exporters/printable.h"

namespace zerotap::otlp {
namespace {

constexpr size_t kShownColumns = 200;

std::string_view ReasonOf(HttpFailure failure) {
  switch (failure) {
    case HttpFailure::kResolve:
    case HttpFailure::kConnect:
    case HttpFailure::kConnection:
    case HttpFailure::kNoAnswer:
      return "connection";
    case HttpFailure::kTimeout:
      return "timeout";
    case HttpFailure::kTls:
      return "tls";
    case HttpFailure::kProtocol:
      return "protocol";
    case HttpFailure::kRequest:
      return "request";
    case HttpFailure::kStopped:
      return "stopped";
  }
  return "connection";
}

std::string_view TlsRemedy() {
  return "; set OTEL_EXPORTER_OTLP_CERTIFICATE to the CA of the collector, and when it asks for a "
         "client certificate OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and _CLIENT_KEY";
}

}  // namespace

Attempt FailedConnection(const HttpError& error, std::string_view protocol_remedy) {
  Attempt attempt;
  attempt.reason = ReasonOf(error.failure);
  attempt.message = Shown(error.message);
  if (error.failure == HttpFailure::kStopped) {
    attempt.result = AttemptResult::kStopped;
    attempt.unsent = error.unsent;
  } else if (error.retryable()) {
    attempt.result = AttemptResult::kUnreachable;
  } else {
    attempt.result = AttemptResult::kBroken;
    if (error.failure == HttpFailure::kProtocol) attempt.message += protocol_remedy;
    if (error.failure == HttpFailure::kTls) attempt.message += TlsRemedy();
  }
  return attempt;
}

Attempt AcceptedAttempt(const std::optional<ExportResponse>& response, const std::string& status) {
  Attempt attempt;
  if (!response) {
    attempt.reason = "unreadable";
    attempt.message = "it answered " + status +
                      " with something that is not an OTLP response; is it a collector?";
    return attempt;
  }
  attempt.rejected = response->rejected;
  attempt.message = Shown(response->message);
  if (attempt.rejected > 0) {
    attempt.reason = "partial_success";
  } else if (!attempt.message.empty()) {
    attempt.reason = "warning";
    attempt.message = "it took them with a warning: " + attempt.message;
  }
  return attempt;
}

std::string Shown(std::string_view text) { return Printable(text, kShownColumns); }

}  // namespace zerotap::otlp
