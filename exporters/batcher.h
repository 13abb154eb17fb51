// The queue and thread in front of one exporter. The pipeline hands telemetry over without ever
// waiting; what does not fit pushes out the oldest, and every item is accounted for.
//
// Spans leave on ticks aligned to the wall clock, so that all agents of a cluster send at the same
// moments: SigNoz finds an edge between two services only when both spans reach it in one batch.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "agent/base/bounded_queue.h"
#include "agent/base/clock.h"
#include "agent/telemetry/exporter.h"
#include "exporters/export_stats.h"
#include "exporters/spent_spans.h"
#include "exporters/worker_thread.h"

namespace zerotap {

enum class SpanFate : uint8_t {
  kExported,
  kRejected,      // by the receiver
  kFailed,        // given up, or still waiting at the end of the shutdown
  kQueueDropped,  // pushed out by newer ones
  kShed,          // given up to save memory
};

// Called for every span exactly once, on the batcher's or the pusher's thread, without a lock held.
using SpanFateCallback = std::function<void(std::span<const Span>, SpanFate)>;

struct SpanBatcherOptions {
  std::chrono::milliseconds tick{1000};
  // Whichever is reached first. Bytes are an estimate of memory.
  size_t max_queue_spans = 50'000;
  size_t max_queue_bytes = size_t{64} << 20;
  // One Export call. A queue that has grown to this many bytes does not wait for the tick.
  size_t max_batch_bytes = size_t{4} << 20;
  size_t max_batch_spans = 8192;
  // Export is also called on ticks without spans: for exporters that hold spans back for a while.
  bool tick_when_idle = false;
  // Where spans go that have their fate; may be null.
  std::shared_ptr<SpentSpans> spent;
  std::function<uint64_t()> realtime_ns = RealtimeNs;
};

// The first multiple of `period_ns` after `now_ns`.
uint64_t NextTickNs(uint64_t now_ns, uint64_t period_ns);

// Memory that a queued span holds.
size_t EstimateMemory(const Span& span);

class SpanBatcher {
 public:
  // `on_fate` may be empty. The thread starts at once.
  SpanBatcher(std::unique_ptr<SpanExporter> exporter, SpanBatcherOptions options,
              std::shared_ptr<ExportStats> stats, SpanFateCallback on_fate);
  // As Shutdown with a deadline that is over.
  ~SpanBatcher();

  // Never waits for an export. Any thread.
  void Push(std::vector<Span>&& spans);

  // Gives up the older half of the queue. Any thread.
  void Shed();

  // Takes no more spans and gives back those that wait. Of those on their way, what Shutdown stops
  // before the receiver can have it goes to `give_back`, on the batcher's thread; what is pushed
  // yet, by one that was retired before, goes there too, on its thread.
  std::vector<Span> Retire(std::function<void(std::vector<Span>&&)> give_back);

  // Exports what is queued; what is not out by the deadline fails. Afterwards the exporter is gone
  // and every span has its fate. From one thread.
  void Shutdown(std::chrono::steady_clock::time_point deadline);

 private:
  struct Queued {
    Span span;
    size_t bytes;
  };

  void Run();
  void WaitForWork(std::unique_lock<std::mutex>& lock);
  // `batch` is empty before.
  void TakeBatch(size_t max_spans, std::vector<Span>& batch);
  void ExportBatch(std::span<const Span> rest);
  void Report(std::span<const Span> spans, SpanFate fate);
  void ReportUnsent(std::span<const Span> spans);
  bool MustSendNow() const { return stopping_ || queued_bytes_ >= options_.max_batch_bytes; }

  const SpanBatcherOptions options_;
  const std::shared_ptr<ExportStats> stats_;
  const SpanFateCallback on_fate_;
  std::unique_ptr<SpanExporter> exporter_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Queued> queue_;
  size_t queued_bytes_ = 0;
  bool stopping_ = false;
  std::function<void(std::vector<Span>&&)> give_back_;
  std::atomic<bool> abandoned_{false};  // the deadline is over: no more exports

  std::unique_ptr<WorkerThread> worker_;
};

struct MetricBatcherOptions {
  size_t max_queued_collections = 8;
  uint64_t max_queued_points = 1'000'000;  // of several collections; one may be larger
};

// One vector of metrics per collection; exported in order, one Export call each. Counts data
// points.
class MetricBatcher {
 public:
  MetricBatcher(std::unique_ptr<MetricExporter> exporter, MetricBatcherOptions options,
                std::shared_ptr<ExportStats> stats);
  ~MetricBatcher();

  // Never waits for an export. Any thread.
  void Push(std::vector<Metric>&& metrics);
  // As SpanBatcher's. A collection of which the receiver may have a part is not given back: what is
  // left of it is counted as stopped.
  using GiveBack = std::function<void(std::vector<Metric>&&)>;
  std::vector<std::vector<Metric>> Retire(GiveBack give_back);
  void Shutdown(std::chrono::steady_clock::time_point deadline);

 private:
  void Run();
  void ExportCollection(std::vector<Metric>&& metrics);
  GiveBack TakerOfUnsent() const;

  void CountPushedOut(const std::vector<Metric>& metrics);

  const uint64_t max_points_;
  const std::shared_ptr<ExportStats> stats_;
  std::unique_ptr<MetricExporter> exporter_;
  BoundedQueue<std::vector<Metric>> queue_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> abandoned_{false};
  mutable std::mutex mutex_;  // guards what follows
  GiveBack give_back_;
  std::unique_ptr<WorkerThread> worker_;
};

}  // namespace zerotap
