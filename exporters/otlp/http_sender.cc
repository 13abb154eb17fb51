#include "exporters/otlp/http_sender.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <libdeflate.h>

#include <algorithm>
#include <random>
#include <vector>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "exporters/otlp/endpoint.h"
#include "exporters/otlp/wire_buffer.h"
#include "exporters/printable.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb.h"

namespace zerotap::otlp {
namespace {

// The response of both services has this shape (field numbers and types are the same), so one class
// reads them all.
using Response = opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;

constexpr size_t kShownColumns = 200;

bool IsRetryable(int status) {
  return status == 429 || status == 502 || status == 503 || status == 504;
}

// `message` (field 2) of the google.rpc.Status that a refusing receiver sends; empty when it is not
// one.
std::string StatusMessage(const std::string& body) {
  using google::protobuf::internal::WireFormatLite;
  google::protobuf::io::CodedInputStream input(reinterpret_cast<const uint8_t*>(body.data()),
                                               static_cast<int>(body.size()));
  while (uint32_t tag = input.ReadTag()) {
    uint32_t size;
    std::string message;
    if (WireFormatLite::GetTagFieldNumber(tag) == 2 &&
        WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!input.ReadVarint32(&size) || !input.ReadString(&message, static_cast<int>(size))) break;
      return message;
    }
    if (!WireFormatLite::SkipField(&input, tag)) break;
  }
  return {};
}

// What the receiver says about its refusal, in a form fit for a log.
std::string Explanation(const HttpResponse& response) {
  std::string_view type = response.Header("content-type");
  std::string text;
  if (type.find("protobuf") != std::string_view::npos) {
    text = StatusMessage(response.body);
  } else if (type.substr(0, 5) == "text/" || type.find("json") != std::string_view::npos) {
    text = response.body;
  }
  return text.empty() ? "" : ": " + Printable(text, kShownColumns);
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
      return "; the receiver does not take OTLP as protobuf";
    default:
      return status >= 300 && status < 400
                 ? "; redirects are not followed, set the endpoint to where it points"
                 : "";
  }
}

std::string_view RemedyFor(HttpFailure failure) {
  switch (failure) {
    case HttpFailure::kProtocol:
      return "; the endpoint must speak OTLP over HTTP, usually port 4318 (4317 is gRPC)";
    case HttpFailure::kTls:
      return "; set OTEL_EXPORTER_OTLP_CERTIFICATE to the CA of the collector";
    default:
      return "";
  }
}

std::function<double()> SystemRandom() {
  auto engine = std::make_shared<std::mt19937_64>(std::random_device{}());
  return [engine] { return std::uniform_real_distribution<double>(0, 1)(*engine); };
}

}  // namespace

// libdeflate at its fastest level; telemetry is repetitive, so it still shrinks five- to tenfold.
class HttpSender::Gzip {
 public:
  Gzip() : compressor_(libdeflate_alloc_compressor(1)) {}
  ~Gzip() { libdeflate_free_compressor(compressor_); }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;

  // Empty when it could not be compressed. Valid until the next call.
  std::string_view Compress(std::string_view body) {
    if (compressor_ == nullptr) return {};
    size_t bound = libdeflate_gzip_compress_bound(compressor_, body.size());
    if (bound > buffer_.size() || IsOversized(bound, buffer_.size())) {
      std::vector<char>(bound).swap(buffer_);
    }
    size_t size = libdeflate_gzip_compress(compressor_, body.data(), body.size(), buffer_.data(),
                                           buffer_.size());
    return {buffer_.data(), size};
  }

 private:
  libdeflate_compressor* compressor_;
  std::vector<char> buffer_;
};

Result<std::unique_ptr<HttpSender>> HttpSender::Create(HttpSenderOptions options,
                                                       std::shared_ptr<Reachability> reachability,
                                                       std::shared_ptr<ExportStats> stats) {
  for (const auto& [name, value] : options.headers) {
    if (IsValidHeader(name, value)) continue;
    return Fail("the OTLP header \"" + Printable(name, 100) +
                "\" has a name or value that HTTP does not allow");
  }
  auto client = HttpClient::Create(options.client);
  if (!client) return tl::unexpected<Error>(client.error());
  if (!options.random) options.random = SystemRandom();
  return std::unique_ptr<HttpSender>(new HttpSender(std::move(options), std::move(*client),
                                                    std::move(reachability), std::move(stats)));
}

HttpSender::HttpSender(HttpSenderOptions options, std::unique_ptr<HttpClient> client,
                       std::shared_ptr<Reachability> reachability,
                       std::shared_ptr<ExportStats> stats)
    : options_(std::move(options)),
      shown_url_(WithoutSecrets(options_.url)),
      origin_(Origin(options_.url)),
      client_(std::move(client)),
      reachability_(std::move(reachability)),
      stats_(std::move(stats)),
      gzip_(options_.gzip ? std::make_unique<Gzip>() : nullptr),
      headers_(options_.headers) {
  headers_.emplace_back("Content-Type", "application/x-protobuf");
}

HttpSender::~HttpSender() = default;

ExportOutcome HttpSender::Send(std::string_view body, uint64_t items) {
  using std::chrono::milliseconds;
  HttpHeaders headers = headers_;
  std::string_view sent = body;
  if (gzip_ != nullptr) {
    std::string_view compressed = gzip_->Compress(body);
    if (!compressed.empty()) {
      sent = compressed;
      headers.emplace_back("Content-Encoding", "gzip");
    }
  }

  RetryPolicy policy(options_.retry, options_.random);
  uint64_t start = MonotonicNs();
  ExportOutcome outcome;
  while (true) {
    stats_->requests.fetch_add(1, std::memory_order_relaxed);
    stats_->bytes_sent.fetch_add(sent.size(), std::memory_order_relaxed);
    HttpResult result = client_->Post(options_.url, headers, sent, options_.timeout);
    if (!result && result.error().failure == HttpFailure::kStopped) {
      outcome = ExportOutcome{0, 0, items};
      break;
    }
    if (result && reachability_->MarkReachable(origin_)) {
      spdlog::info("the collector at {} can be reached again", origin_);
    }
    if (result && result->status >= 200 && result->status < 300) {
      outcome = Accepted(*result, items);
      break;
    }
    if (result && !IsRetryable(result->status)) {
      outcome = Refused(*result, items);
      break;
    }
    if (!result && !result.error().retryable()) {
      outcome = GivenUp(Printable(result.error().message, kShownColumns) +
                            std::string(RemedyFor(result.error().failure)),
                        items);
      break;
    }

    NoteFailedAttempt(result);
    std::optional<milliseconds> retry_after;
    if (result) {
      retry_after = ParseRetryAfter(result->Header("retry-after"),
                                    static_cast<int64_t>(RealtimeNs() / 1'000'000'000u));
    }
    milliseconds elapsed((MonotonicNs() - start) / 1'000'000u);
    std::optional<milliseconds> delay = policy.Next(elapsed, retry_after);
    if (!delay && result) {
      outcome = GivenUp("it keeps answering " + std::to_string(result->status), items);
      break;
    }
    // That it cannot be reached has been said; what that costs is in the metrics.
    if (!delay || !Wait(*delay)) {
      outcome = ExportOutcome{0, 0, items};
      break;
    }
    stats_->retries.fetch_add(1, std::memory_order_relaxed);
  }
  return outcome;
}

ExportOutcome HttpSender::Accepted(const HttpResponse& response, uint64_t items) {
  Response parsed;
  bool json = response.Header("content-type").find("json") != std::string_view::npos;
  if (response.body_truncated || (!json && !parsed.ParseFromString(response.body))) {
    Warn("unreadable", "it answered " + std::to_string(response.status) +
                           " with something that is not an OTLP response; is it a collector?");
    return ExportOutcome{items, 0, 0};
  }
  if (json || !parsed.has_partial_success()) return ExportOutcome{items, 0, 0};
  const auto& partial = parsed.partial_success();
  uint64_t rejected =
      partial.rejected_spans() > 0
          ? std::min<uint64_t>(static_cast<uint64_t>(partial.rejected_spans()), items)
          : 0;
  std::string said = Printable(partial.error_message(), kShownColumns);
  if (rejected > 0) {
    Warn("partial",
         "it rejected " + std::to_string(rejected) + " of " + std::to_string(items) + ": " + said);
  } else if (!said.empty()) {
    Warn("warning", "it took them with a warning: " + said);
  }
  return ExportOutcome{items - rejected, rejected, 0};
}

ExportOutcome HttpSender::Refused(const HttpResponse& response, uint64_t items) {
  std::string status = std::to_string(response.status);
  Warn(status, "it refused them with status " + status + Explanation(response) +
                   std::string(Remedy(response.status)));
  return ExportOutcome{0, items, 0};
}

ExportOutcome HttpSender::GivenUp(const std::string& reason, uint64_t items) {
  Warn("given up", "given up: " + reason);
  return ExportOutcome{0, 0, items};
}

// An attempt that will be repeated: the first time a collector cannot be reached is news, the rest
// is in the metrics.
void HttpSender::NoteFailedAttempt(const HttpResult& result) {
  if (result) {
    std::string status = std::to_string(result->status);
    Warn(status, "it answers " + status + Explanation(*result) + "; retrying");
    return;
  }
  std::string reason = Printable(result.error().message, kShownColumns);
  stats_->SetLastError(reason);
  if (!reachability_->MarkUnreachable(origin_)) return;
  spdlog::warn(
      "the collector at {} cannot be reached ({}); going on and retrying, what cannot wait is "
      "dropped and counted",
      origin_, reason);
}

bool HttpSender::Wait(std::chrono::milliseconds delay) {
  std::unique_lock lock(mutex_);
  return !stopped_.wait_for(lock, delay, [this] { return client_->stop_requested(); });
}

void HttpSender::RequestStop() {
  {
    std::lock_guard lock(mutex_);
    client_->RequestStop();
  }
  stopped_.notify_all();
}

void HttpSender::ReportTooLarge(uint64_t items) {
  Warn("too large",
       std::to_string(items) + " could not be sent: each is larger than a request may be");
}

void HttpSender::Warn(std::string_view kind, const std::string& message) {
  stats_->SetLastError(message);
  if (!limiter_.Allow(kind, MonotonicNs())) return;
  spdlog::warn("{} to {}: {}", options_.signal, shown_url_, message);
}

}  // namespace zerotap::otlp
