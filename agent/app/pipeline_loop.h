// The pipeline's thread: drain the kernel's records, run them through the pipeline, hand spans and
// metrics to the exporters. Nothing here waits for a receiver, for a lock that is held long, or for
// other processes.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "agent/app/harm_guard.h"
#include "agent/app/memory_watch.h"
#include "agent/app/self_metrics.h"
#include "agent/app/service_measures.h"
#include "agent/app/shard_threads.h"
#include "agent/base/result.h"
#include "agent/events/event.h"
#include "agent/events/event_source.h"
#include "agent/events/recording.h"
#include "agent/redaction/record_redactor.h"
#include "agent/pipeline/pipeline.h"

namespace zerotap {

// Who processes are and what the kernel counts of them. All are called on the pipeline's thread; those without a function are left
// out.
struct ProcessHooks {
  ResolveProcess resolve;
  std::function<void(const zt_process_exec_event&)> on_exec;
  std::function<void(const zt_process_fork_event&)> on_fork;
  std::function<void(const zt_process_exit_event&)> on_exit;
  MeasureSource measures;
  ReadThreadTimes read_thread;  // where slow requests ask about their thread
  HarmHooks harm;
};

// Where telemetry goes; must not block.
struct TelemetrySinks {
  std::function<void(std::vector<Span>&&)> spans;
  // Fills its empty argument with spans that are done with; may be empty.
  std::function<void(std::vector<Span>&)> spent;
  std::function<void(std::vector<Metric>&&)> metrics;
  std::function<void()> shed;  // gives up a part of what waits
};

// Where the numbers of others come from, for the agent's own metrics.
struct SelfSources {
  std::function<ReloadCounts()> reloads;
  std::function<KernelCounts()> kernel;
  std::function<std::vector<ExporterCounts>()> exporters;
};

struct PipelineLoopOptions {
  PipelineOptions pipeline;
  uint64_t metric_interval_ns = 60'000'000'000;
  ResourcePtr agent_resource;
  Temporality self_temporality = Temporality::kCumulative;
  uint32_t own_pid = 0;
  double harm_budget = 0;  // of each process's CPU time, 0 = no limit
  int64_t wall_offset_ns = 0;  // of the recording, when there is one
  RecordedPayload recorded_payload = RecordedPayload::kAll;
  uint64_t redaction_key = 0;
  uint32_t eager_resolves_per_second = 100;
  MemoryLimits memory;
};

class PipelineLoop {
 public:
  // `source` and `control` must outlive the loop. `recording` may be null.
  static Result<std::unique_ptr<PipelineLoop>> Create(const PipelineLoopOptions& options,
                                                      EventSource& source, CaptureControl& control,
                                                      ProcessHooks processes, TelemetrySinks sinks,
                                                      SelfSources self,
                                                      std::unique_ptr<RecordingWriter> recording);
  // As Stop.
  ~PipelineLoop();

  void Start();
  // Takes what is still in the ring, ends everything in flight and hands over the last spans and
  // metrics; then the thread is over. From one thread.
  void Stop();

  // What is to change while it runs. `change` is called on the pipeline's thread, between two records; this waits for
  // it and gives its result. From one thread, after Start.
  struct Target {
    Pipeline& pipeline;
    uint64_t& metric_interval_ns;
    HarmGuard& harm;
  };
  Status Reconfigure(std::function<Status(const Target&)> change);

  // Any thread.
  Ledger& ledger() { return pipeline_->ledger(); }
  SelfSnapshot Snapshot() const;
  // CLOCK_MONOTONIC time at which the thread was last seen going round.
  uint64_t last_tick_ns() const { return last_tick_ns_.load(std::memory_order_relaxed); }
  // What was there at the start has been taken in.
  bool has_ticked() const { return has_ticked_.load(std::memory_order_relaxed); }
  // Why the thread ended by itself; empty as long as it did not.
  std::optional<Error> failure() const;

 private:
  PipelineLoop(const PipelineLoopOptions& options, EventSource& source, CaptureControl& control,
               ProcessHooks processes, TelemetrySinks sinks, SelfSources self,
               std::unique_ptr<RecordingWriter> recording);

  std::optional<TracedProcess> Resolve(uint32_t tgid);
  void Run();
  void HandleRecord(ByteSpan record);
  void HandleProcessRecord(const Event& event);
  void ResolveEagerly(uint32_t tgid, uint64_t now_ns);
  void Tick(uint64_t now_ns);
  void TakeChange();
  void TellSelfExporters();
  void GiveSpans();
  void GiveMetrics();
  void TakeMeasures();
  void TakeSnapshot();
  void WatchMemory();
  void GiveBackFreed();
  void SetWallOffset(int64_t realtime_minus_monotonic_ns);
  void FlushRecording();

  const PipelineLoopOptions options_;
  EventSource& source_;
  CaptureControl& control_;
  const ProcessHooks processes_;
  const TelemetrySinks sinks_;
  const SelfSources self_;
  std::unique_ptr<RecordingWriter> recording_;  // gone after a write error
  const bool recorded_;
  RecordRedactor redactor_;
  std::unique_ptr<ShardThreads> shard_threads_;  // with several shards, while the thread runs
  std::unique_ptr<Pipeline> pipeline_;
  std::unique_ptr<HarmGuard> harm_;

  // Of the pipeline's thread.
  MemoryWatch memory_;
  SelfMetrics self_metrics_;
  ServiceMeasures measures_;
  std::vector<Span> spans_;
  std::vector<Span> spent_;
  int64_t wall_offset_ns_ = 0;
  uint64_t start_unix_ns_ = 0;
  uint64_t tick_ns_ = 0;
  uint64_t metric_interval_ns_ = 0;
  uint64_t next_metrics_ns_ = 0;
  uint64_t next_second_ns_ = 0;
  uint64_t next_wall_ns_ = 0;
  uint64_t next_measures_ns_ = 0;
  uint64_t next_trim_ns_ = 0;
  uint32_t records_since_clock_ = 0;
  double eager_tokens_ = 0;
  uint64_t eager_refilled_ns_ = 0;

  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> last_tick_ns_{0};
  std::atomic<bool> has_ticked_{false};
  mutable std::mutex mutex_;  // guards what follows
  SelfSnapshot snapshot_;
  std::optional<Error> failure_;
  std::function<Status(const Target&)> change_;
  std::optional<Status> changed_;
  bool over_ = false;  // the thread takes no more changes
  std::condition_variable change_taken_;
  std::atomic<bool> has_change_{false};
  std::thread thread_;
};

}  // namespace zerotap
