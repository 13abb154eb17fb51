#include "exporters/batcher.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "exporters/otlp/encoder.h"

namespace zerotap {
namespace {

// Of a batch, whose memory is kept for the next one.
constexpr size_t kMaxSpareSpans = 8192;

void Add(std::atomic<uint64_t>& counter, uint64_t count) {
  counter.fetch_add(count, std::memory_order_relaxed);
}

}  // namespace

uint64_t NextTickNs(uint64_t now_ns, uint64_t period_ns) {
  return (now_ns / period_ns + 1) * period_ns;
}

size_t EstimateMemory(const Span& span) {
  return sizeof(Span) + span.MemorySize();
}

SpanBatcher::SpanBatcher(std::unique_ptr<SpanExporter> exporter, SpanBatcherOptions options,
                         std::shared_ptr<ExportStats> stats, SpanFateCallback on_fate)
    : options_(std::move(options)),
      stats_(std::move(stats)),
      on_fate_(std::move(on_fate)),
      exporter_(std::move(exporter)) {
  worker_ = std::make_unique<WorkerThread>("export-spans", [this] { Run(); });
}

SpanBatcher::~SpanBatcher() { Shutdown(std::chrono::steady_clock::now()); }

void SpanBatcher::Push(std::vector<Span>&& spans) {
  if (spans.empty()) return;
  std::vector<Span> dropped;
  std::function<void(std::vector<Span>&&)> give_back;
  bool refused = false;
  bool must_wake = false;
  {
    std::lock_guard lock(mutex_);
    refused = stopping_;
    if (refused) {
      give_back = give_back_;
    } else {
      for (Span& span : spans) {
        size_t bytes = EstimateMemory(span);
        queue_.push_back(Queued{std::move(span), bytes});
        queued_bytes_ += bytes;
        while (queue_.size() > options_.max_queue_spans ||
               queued_bytes_ > options_.max_queue_bytes) {
          queued_bytes_ -= queue_.front().bytes;
          dropped.push_back(std::move(queue_.front().span));
          queue_.pop_front();
        }
      }
      stats_->queued.store(queue_.size(), std::memory_order_relaxed);
      must_wake = MustSendNow();
    }
  }
  if (must_wake) wake_.notify_one();
  if (give_back) return give_back(std::move(spans));
  if (refused) {
    stats_->CountLoss("stopped", spans.size());
    Report(spans, SpanFate::kFailed);
  }
  Report(dropped, SpanFate::kQueueDropped);
  if (options_.spent && !dropped.empty()) options_.spent->Put(dropped);
}

void SpanBatcher::Shed() {
  std::vector<Span> dropped;
  {
    std::lock_guard lock(mutex_);
    const size_t count = (queue_.size() + 1) / 2;
    dropped.reserve(count);
    while (dropped.size() < count) {
      queued_bytes_ -= queue_.front().bytes;
      dropped.push_back(std::move(queue_.front().span));
      queue_.pop_front();
    }
    stats_->queued.store(queue_.size(), std::memory_order_relaxed);
  }
  Report(dropped, SpanFate::kShed);
}

void SpanBatcher::Report(std::span<const Span> spans, SpanFate fate) {
  if (spans.empty()) return;
  switch (fate) {
    case SpanFate::kExported:
      Add(stats_->exported, spans.size());
      break;
    case SpanFate::kRejected:
      Add(stats_->rejected, spans.size());
      break;
    case SpanFate::kFailed:
      Add(stats_->failed, spans.size());
      break;
    case SpanFate::kQueueDropped:
    case SpanFate::kShed:
      Add(stats_->dropped, spans.size());
      break;
  }
  if (on_fate_) on_fate_(spans, fate);
}

void SpanBatcher::ReportUnsent(std::span<const Span> spans) {
  if (spans.empty()) return;
  std::function<void(std::vector<Span>&&)> give_back;
  {
    std::lock_guard lock(mutex_);
    give_back = give_back_;
  }
  if (give_back) return give_back(std::vector<Span>(spans.begin(), spans.end()));
  stats_->CountLoss("stopped", spans.size());
  Report(spans, SpanFate::kFailed);
}

std::vector<Span> SpanBatcher::Retire(std::function<void(std::vector<Span>&&)> give_back) {
  std::vector<Span> waiting;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    give_back_ = std::move(give_back);
    waiting.reserve(queue_.size());
    for (Queued& queued : queue_) waiting.push_back(std::move(queued.span));
    queue_.clear();
    queued_bytes_ = 0;
    stats_->queued.store(0, std::memory_order_relaxed);
  }
  wake_.notify_all();
  return waiting;
}

// Until the next tick, or until there is reason not to wait for it.
void SpanBatcher::WaitForWork(std::unique_lock<std::mutex>& lock) {
  auto period =
      static_cast<uint64_t>(std::max<int64_t>(1, std::chrono::nanoseconds(options_.tick).count()));
  uint64_t now = options_.realtime_ns();
  uint64_t tick = NextTickNs(now, period);
  while (!MustSendNow() && now < tick) {
    wake_.wait_for(lock, std::chrono::nanoseconds(std::min(tick - now, period)));
    uint64_t before = now;
    now = options_.realtime_ns();
    if (now + period < before) return;  // the wall clock was set back
  }
}

void SpanBatcher::TakeBatch(size_t max_spans, std::vector<Span>& batch) {
  std::lock_guard lock(mutex_);
  size_t limit = std::min({max_spans, queue_.size(), options_.max_batch_spans});
  batch.reserve(limit);
  size_t bytes = 0;
  while (batch.size() < limit) {
    Queued& oldest = queue_.front();
    if (!batch.empty() && bytes + oldest.bytes > options_.max_batch_bytes) break;
    bytes += oldest.bytes;
    batch.push_back(std::move(oldest.span));
    queue_.pop_front();
  }
  queued_bytes_ -= bytes;
  stats_->queued.store(queue_.size(), std::memory_order_relaxed);
  stats_->in_flight.store(batch.size(), std::memory_order_relaxed);
}

void SpanBatcher::ExportBatch(std::span<const Span> rest) {
  while (!rest.empty()) {
    ExportOutcome outcome;
    if (abandoned_.load(std::memory_order_acquire)) {
      outcome.unsent = rest.size();
    } else {
      outcome = exporter_->Export(rest);
    }
    if (outcome.exported + outcome.rejected + outcome.failed + outcome.unsent == 0) {
      outcome.failed = rest.size();
    }
    const auto take = [&rest](uint64_t count) {
      std::span<const Span> taken = rest.first(std::min<uint64_t>(count, rest.size()));
      rest = rest.subspan(taken.size());
      return taken;
    };
    Report(take(outcome.exported), SpanFate::kExported);
    Report(take(outcome.rejected), SpanFate::kRejected);
    Report(take(outcome.failed), SpanFate::kFailed);
    ReportUnsent(take(outcome.unsent));
    stats_->in_flight.store(rest.size(), std::memory_order_relaxed);
  }
}

void SpanBatcher::Run() {
  std::vector<Span> batch;  // kept for its memory
  while (true) {
    bool stopping = false;
    size_t remaining = 0;
    {
      std::unique_lock lock(mutex_);
      WaitForWork(lock);
      stopping = stopping_;
      remaining = queue_.size();
    }
    if (remaining == 0 && options_.tick_when_idle && !abandoned_) exporter_->Export({});
    while (remaining > 0) {
      TakeBatch(remaining, batch);
      if (batch.empty()) break;  // newer spans pushed the rest out
      remaining -= batch.size();
      ExportBatch(batch);
      if (options_.spent) options_.spent->Put(batch);
      batch.clear();
      if (batch.capacity() > kMaxSpareSpans) std::vector<Span>().swap(batch);
    }
    if (stopping) return;  // nothing is pushed any more
  }
}

void SpanBatcher::Shutdown(std::chrono::steady_clock::time_point deadline) {
  if (worker_ == nullptr) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (!worker_->WaitUntil(deadline)) {
    abandoned_.store(true, std::memory_order_release);
    exporter_->RequestStop();
  }
  worker_->Join();
  worker_.reset();
  exporter_.reset();
}

MetricBatcher::MetricBatcher(std::unique_ptr<MetricExporter> exporter, MetricBatcherOptions options,
                             std::shared_ptr<ExportStats> stats)
    : max_points_(options.max_queued_points),
      stats_(std::move(stats)),
      exporter_(std::move(exporter)),
      queue_(std::max<size_t>(1, options.max_queued_collections)) {
  worker_ = std::make_unique<WorkerThread>("export-metrics", [this] { Run(); });
}

MetricBatcher::~MetricBatcher() { Shutdown(std::chrono::steady_clock::now()); }

void MetricBatcher::Push(std::vector<Metric>&& metrics) {
  uint64_t points = otlp::CountPoints(metrics);
  if (points == 0) return;
  if (stopping_.load(std::memory_order_acquire)) {
    if (GiveBack give_back = TakerOfUnsent()) return give_back(std::move(metrics));
    stats_->CountLoss("stopped", points);
    Add(stats_->failed, points);
    return;
  }
  while (stats_->queued.load(std::memory_order_relaxed) + points > max_points_) {
    std::optional<std::vector<Metric>> oldest = queue_.Pop(std::chrono::milliseconds(0));
    if (!oldest) break;
    CountPushedOut(*oldest);
  }
  Add(stats_->queued, points);
  if (std::optional<std::vector<Metric>> oldest = queue_.Push(std::move(metrics))) {
    CountPushedOut(*oldest);
  }
}

void MetricBatcher::CountPushedOut(const std::vector<Metric>& metrics) {
  const uint64_t points = otlp::CountPoints(metrics);
  stats_->queued.fetch_sub(points, std::memory_order_relaxed);
  Add(stats_->dropped, points);
}

std::vector<std::vector<Metric>> MetricBatcher::Retire(GiveBack give_back) {
  {
    std::lock_guard lock(mutex_);
    give_back_ = std::move(give_back);
  }
  stopping_.store(true, std::memory_order_release);
  std::vector<std::vector<Metric>> waiting;
  while (std::optional<std::vector<Metric>> oldest = queue_.Pop(std::chrono::milliseconds(0))) {
    stats_->queued.fetch_sub(otlp::CountPoints(*oldest), std::memory_order_relaxed);
    waiting.push_back(std::move(*oldest));
  }
  return waiting;
}

MetricBatcher::GiveBack MetricBatcher::TakerOfUnsent() const {
  std::lock_guard lock(mutex_);
  return give_back_;
}

void MetricBatcher::ExportCollection(std::vector<Metric>&& metrics) {
  uint64_t points = otlp::CountPoints(metrics);
  stats_->queued.fetch_sub(points, std::memory_order_relaxed);
  stats_->in_flight.store(points, std::memory_order_relaxed);
  ExportOutcome outcome;
  if (abandoned_.load(std::memory_order_acquire)) {
    outcome.unsent = points;
  } else {
    outcome = exporter_->Export(metrics);
  }
  if (outcome.unsent == points) {
    if (GiveBack give_back = TakerOfUnsent()) {
      stats_->in_flight.store(0, std::memory_order_relaxed);
      return give_back(std::move(metrics));
    }
  }
  if (outcome.unsent > 0) stats_->CountLoss("stopped", outcome.unsent);
  uint64_t exported = std::min(outcome.exported, points);
  uint64_t rejected = std::min(outcome.rejected, points - exported);
  Add(stats_->exported, exported);
  Add(stats_->rejected, rejected);
  Add(stats_->failed, points - exported - rejected);
  stats_->in_flight.store(0, std::memory_order_relaxed);
}

void MetricBatcher::Run() {
  constexpr std::chrono::milliseconds kWait{1000};
  while (true) {
    std::optional<std::vector<Metric>> metrics = queue_.Pop(kWait);
    if (!metrics && stopping_.load(std::memory_order_acquire)) {
      metrics = queue_.Pop(std::chrono::milliseconds(0));  // pushed just before the end
      if (!metrics) return;
    }
    if (metrics) ExportCollection(std::move(*metrics));
  }
}

void MetricBatcher::Shutdown(std::chrono::steady_clock::time_point deadline) {
  if (worker_ == nullptr) return;
  stopping_.store(true, std::memory_order_release);
  queue_.Close();
  if (!worker_->WaitUntil(deadline)) {
    abandoned_.store(true, std::memory_order_release);
    exporter_->RequestStop();
  }
  worker_->Join();
  worker_.reset();
  exporter_.reset();
}

}  // namespace zerotap
