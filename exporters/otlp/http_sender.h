// Sends one serialized OTLP request over HTTP until the collector has taken or refused it
// (specification: protocol/otlp.md, "OTLP/HTTP"): gzip, retry with backoff on 429/502/503/504 and
// broken connections only, Retry-After, partial success.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "agent/http/client.h"
#include "agent/telemetry/exporter.h"
#include "exporters/export_stats.h"
#include "exporters/log_limiter.h"
#include "exporters/otlp/reachability.h"
#include "exporters/retry.h"

namespace zerotap::otlp {

struct HttpSenderOptions {
  std::string url;
  std::string signal = "traces";  // for messages
  HttpHeaders headers;
  std::chrono::milliseconds timeout{10'000};  // of one attempt
  bool gzip = false;
  RetryOptions retry;
  HttpClientOptions client;
  std::function<double()> random;  // [0, 1); empty: seeded from the system
};

// Send comes from one thread at a time, RequestStop from any.
class HttpSender {
 public:
  static Result<std::unique_ptr<HttpSender>> Create(HttpSenderOptions options,
                                                    std::shared_ptr<Reachability> reachability,
                                                    std::shared_ptr<ExportStats> stats);
  ~HttpSender();

  // `items`: spans or data points in `body`.
  ExportOutcome Send(std::string_view body, uint64_t items);
  void RequestStop();
  bool stop_requested() const { return client_->stop_requested(); }

  // Says that `items` of an Export had to be left out because one alone exceeds what a request may
  // hold.
  void ReportTooLarge(uint64_t items);

 private:
  class Gzip;

  HttpSender(HttpSenderOptions options, std::unique_ptr<HttpClient> client,
             std::shared_ptr<Reachability> reachability, std::shared_ptr<ExportStats> stats);

  ExportOutcome Accepted(const HttpResponse& response, uint64_t items);
  ExportOutcome Refused(const HttpResponse& response, uint64_t items);
  ExportOutcome GivenUp(const std::string& reason, uint64_t items);
  void NoteFailedAttempt(const HttpResult& result);
  // False when stopped before the time was over.
  bool Wait(std::chrono::milliseconds delay);
  void Warn(std::string_view kind, const std::string& message);

  const HttpSenderOptions options_;
  const std::string shown_url_;
  const std::string origin_;
  const std::unique_ptr<HttpClient> client_;
  const std::shared_ptr<Reachability> reachability_;
  const std::shared_ptr<ExportStats> stats_;
  const std::unique_ptr<Gzip> gzip_;  // null: bodies go uncompressed
  HttpHeaders headers_;
  LogLimiter limiter_;

  std::mutex mutex_;
  std::condition_variable stopped_;
};

}  // namespace zerotap::otlp
