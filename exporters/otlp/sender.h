// Sends one serialized OTLP request until the receiver has taken or refused it, over any transport:
// gzip, retry with backoff of what may be retried and of broken connections only, the waiting that
// a receiver asks for, what is said in the log and counted.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "agent/telemetry/exporter.h"
#include "exporters/export_stats.h"
#include "exporters/log_limiter.h"
#include "exporters/otlp/gzip.h"
#include "exporters/otlp/reachability.h"
#include "exporters/otlp/transport.h"
#include "exporters/retry.h"

namespace zerotap::otlp {

struct SenderOptions {
  std::string signal = "traces";              // for messages
  std::chrono::milliseconds timeout{10'000};  // of one attempt
  bool gzip = false;
  RetryOptions retry;
  std::function<double()> random;  // [0, 1); empty: seeded from the system
};

struct Sent {
  ExportOutcome outcome;
  bool too_large = false;  // nothing is said or counted yet: the same may go in smaller requests
};

// Send comes from one thread at a time, RequestStop from any.
class Sender {
 public:
  Sender(SenderOptions options, std::unique_ptr<Transport> transport,
         std::shared_ptr<Reachability> reachability, std::shared_ptr<ExportStats> stats);

  // `items`: spans or data points in `body`. `may_split`: whether too_large is of use.
  Sent Send(std::string_view body, uint64_t items, bool may_split);
  void RequestStop();
  bool stop_requested() const { return transport_->stop_requested(); }

  // Says that `items` of an Export had to be left out because one alone exceeds what a request may
  // hold.
  void ReportTooLarge(uint64_t items);
  // Says that requests are made smaller from now on.
  void ReportSmaller(size_t max_bytes);

 private:
  // What a request is given after the last of its attempts.
  Sent Accepted(const Attempt& attempt, uint64_t items);
  Sent Refused(const Attempt& attempt, uint64_t items);
  Sent Failed(const std::string& reason, uint64_t items);
  Sent GivenUp(const Attempt& attempt, const std::string& why, uint64_t items);
  void NoteFailedAttempt(const Attempt& attempt);
  OutgoingBody Compressed(std::string_view body);
  std::chrono::milliseconds AttemptTimeout(std::chrono::milliseconds elapsed) const;
  // False when stopped before the time was over.
  bool Wait(std::chrono::milliseconds delay);
  void Warn(std::string_view kind, const std::string& message);

  const SenderOptions options_;
  const std::unique_ptr<Transport> transport_;
  const std::string shown_url_;
  const std::string origin_;
  const std::shared_ptr<Reachability> reachability_;
  const std::shared_ptr<ExportStats> stats_;
  const std::unique_ptr<GzipCompressor> gzip_;  // null: bodies go uncompressed
  LogLimiter limiter_;
  uint64_t not_before_ns_ = 0;  // the receiver asked for silence until then (monotonic)

  std::mutex mutex_;
  std::condition_variable stopped_;
};

}  // namespace zerotap::otlp
