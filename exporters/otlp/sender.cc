#include "exporters/otlp/sender.h"

#include <algorithm>
#include <random>
#include <utility>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "exporters/otlp/endpoint.h"

namespace zerotap::otlp {
namespace {

using std::chrono::milliseconds;

// No receiver can keep us silent for longer with one answer.
constexpr milliseconds kLongestSilence{300'000};
// A last attempt is worth it only with that much time.
constexpr milliseconds kShortestAttempt{1000};

// It would have been sent again, or was not sent at all.
Sent Unsent(uint64_t items) { return Sent{ExportOutcome{0, 0, 0, items}}; }

std::function<double()> SystemRandom() {
  auto engine = std::make_shared<std::mt19937_64>(std::random_device{}());
  return [engine] { return std::uniform_real_distribution<double>(0, 1)(*engine); };
}

SenderOptions WithRandom(SenderOptions options) {
  if (!options.random) options.random = SystemRandom();
  return options;
}

milliseconds Since(uint64_t start_ns) {
  return milliseconds((MonotonicNs() - start_ns) / 1'000'000u);
}

}  // namespace

Sender::Sender(SenderOptions options, std::unique_ptr<Transport> transport,
               std::shared_ptr<Reachability> reachability, std::shared_ptr<ExportStats> stats)
    : options_(WithRandom(std::move(options))),
      transport_(std::move(transport)),
      shown_url_(WithoutSecrets(transport_->url())),
      origin_(Origin(transport_->url())),
      reachability_(std::move(reachability)),
      stats_(std::move(stats)),
      gzip_(options_.gzip ? std::make_unique<GzipCompressor>() : nullptr) {}

OutgoingBody Sender::Compressed(std::string_view body) {
  if (gzip_ == nullptr) return {body, false};
  std::string_view compressed = gzip_->Compress(body);
  return compressed.empty() ? OutgoingBody{body, false} : OutgoingBody{compressed, true};
}

milliseconds Sender::AttemptTimeout(milliseconds elapsed) const {
  const milliseconds left = options_.retry.give_up_after - elapsed;
  return std::min(options_.timeout, std::max(left, kShortestAttempt));
}

Sent Sender::Send(std::string_view body, uint64_t items, bool may_split) {
  const OutgoingBody outgoing = Compressed(body);
  const uint64_t now = MonotonicNs();
  if (not_before_ns_ > now && !Wait(milliseconds((not_before_ns_ - now) / 1'000'000u + 1))) {
    return Unsent(items);
  }
  RetryPolicy policy(options_.retry, options_.random);
  const uint64_t start = MonotonicNs();
  while (true) {
    stats_->requests.fetch_add(1, std::memory_order_relaxed);
    stats_->bytes_sent.fetch_add(outgoing.bytes.size(), std::memory_order_relaxed);
    const Attempt attempt = transport_->Post(outgoing, AttemptTimeout(Since(start)));
    const AttemptResult result = attempt.result;
    const bool answered = result != AttemptResult::kUnreachable &&
                          result != AttemptResult::kBroken && result != AttemptResult::kStopped;
    if (answered && reachability_->MarkReachable(origin_)) {
      spdlog::info("the collector at {} can be reached again", origin_);
    }
    if (result == AttemptResult::kStopped) {
      return attempt.unsent ? Unsent(items) : Failed(attempt.reason, items);
    }
    if (result == AttemptResult::kAccepted) return Accepted(attempt, items);
    if (result == AttemptResult::kTooLarge && may_split) return Sent{{}, true};
    if (result == AttemptResult::kRefused || result == AttemptResult::kTooLarge) {
      return Refused(attempt, items);
    }
    if (result == AttemptResult::kBroken) return GivenUp(attempt, attempt.message, items);

    NoteFailedAttempt(attempt);
    const std::optional<milliseconds> delay = policy.Next(Since(start), attempt.retry_after);
    if (!delay && attempt.retry_after) {
      not_before_ns_ =
          MonotonicNs() +
          static_cast<uint64_t>(std::min(*attempt.retry_after, kLongestSilence).count()) *
              1'000'000u;
    }
    if (!delay && answered) return GivenUp(attempt, "it keeps answering " + attempt.message, items);
    // That it cannot be reached has been said; what that costs is in the metrics.
    if (!delay) return Failed(attempt.reason, items);
    if (!Wait(*delay)) return Unsent(items);
    stats_->retries.fetch_add(1, std::memory_order_relaxed);
  }
}

Sent Sender::Accepted(const Attempt& attempt, uint64_t items) {
  const uint64_t rejected = std::min(attempt.rejected, items);
  if (rejected > 0) {
    stats_->CountLoss(attempt.reason, rejected);
    Warn(attempt.reason, "it rejected " + std::to_string(rejected) + " of " +
                             std::to_string(items) + ": " + attempt.message);
  } else if (!attempt.message.empty()) {
    Warn(attempt.reason, attempt.message);
  }
  return Sent{ExportOutcome{items - rejected, rejected, 0}};
}

Sent Sender::Refused(const Attempt& attempt, uint64_t items) {
  stats_->CountLoss(attempt.reason, items);
  Warn(attempt.reason, "it refused them with status " + attempt.message);
  return Sent{ExportOutcome{0, items, 0}};
}

Sent Sender::Failed(const std::string& reason, uint64_t items) {
  stats_->CountLoss(reason, items);
  return Sent{ExportOutcome{0, 0, items}};
}

Sent Sender::GivenUp(const Attempt& attempt, const std::string& why, uint64_t items) {
  Warn("given up", "given up: " + why);
  return Failed(attempt.reason, items);
}

// An attempt that will be repeated: the first time a collector cannot be reached is news, the rest
// is in the metrics.
void Sender::NoteFailedAttempt(const Attempt& attempt) {
  if (attempt.result == AttemptResult::kBusy) {
    Warn(attempt.reason, "it answers " + attempt.message + "; retrying");
    return;
  }
  stats_->SetLastError(attempt.message);
  if (!reachability_->MarkUnreachable(origin_)) return;
  spdlog::warn(
      "the collector at {} cannot be reached ({}); going on and retrying, what cannot wait is "
      "dropped and counted",
      origin_, attempt.message);
}

bool Sender::Wait(milliseconds delay) {
  std::unique_lock lock(mutex_);
  return !stopped_.wait_for(lock, delay, [this] { return transport_->stop_requested(); });
}

void Sender::RequestStop() {
  {
    std::lock_guard lock(mutex_);
    transport_->RequestStop();
  }
  stopped_.notify_all();
}

void Sender::ReportTooLarge(uint64_t items) {
  stats_->CountLoss("too_large", items);
  Warn("too large",
       std::to_string(items) + " could not be sent: each is larger than a request may be");
}

void Sender::ReportSmaller(size_t max_bytes) {
  Warn("smaller " + std::to_string(max_bytes),
       "it takes no requests of that size; they are at most " + std::to_string(max_bytes / 1024) +
           " KiB from now on");
}

void Sender::Warn(std::string_view kind, const std::string& message) {
  stats_->SetLastError(message);
  if (!limiter_.Allow(kind, MonotonicNs())) return;
  spdlog::warn("{} to {}: {}", options_.signal, shown_url_, message);
}

}  // namespace zerotap::otlp
