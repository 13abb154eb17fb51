#include "agent/app/pipeline_loop.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/pipeline/replay.h"
#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr int kTickMs = 5;
constexpr uint64_t kTickNs = uint64_t{kTickMs} * 1'000'000;
constexpr uint64_t kLastDrainNs = kSecond / 2;
constexpr uint64_t kTrimNs = 10 * kSecond;
constexpr size_t kFreedWorthTrimming = size_t{4} << 20;
constexpr uint64_t kWallRefreshNs = 10 * kSecond;
// Ended processes stay known for longer than that.
constexpr uint64_t kMeasuresNs = 5 * kSecond;
// Under load one Drain may go on for long: the clock is looked at after so many records.
constexpr uint32_t kRecordsPerClock = 256;
// Whoever watches a busy host shares a CPU with what he watches: many short turns hold the others
// up less than a few long ones, since those use what queues meanwhile. So a turn is meant to find
// about so many records, within bounds. One that found far more is behind: it does not wait.
constexpr uint64_t kRecordsPerTurn = 512;
constexpr uint64_t kRecordsWhenBehind = 8 * kRecordsPerTurn;
constexpr uint64_t kShortestPauseNs = 200'000;
constexpr size_t kMaxKeptSpans = 8192;

// How long to wait after a turn that found `records` in `elapsed_ns` since the one before; kTickNs
// is as long as it gets.
uint64_t PauseAfter(size_t records, uint64_t elapsed_ns) {
  if (records == 0) return kTickNs;
  if (records >= kRecordsWhenBehind) return 0;
  return std::clamp(elapsed_ns * kRecordsPerTurn / records, kShortestPauseNs, kTickNs);
}

// Of a process that a redacted recording names: what it is, not where it runs, for whom and with
// which arguments.
Resource WithoutPrivateParts(const Resource& resource) {
  constexpr std::array<std::string_view, 9> kKept = {
      semconv::kServiceName,          semconv::kProcessPid,        semconv::kProcessRuntimeName,
      semconv::kProcessRuntimeVersion, semconv::kOsType,            semconv::kTelemetrySdkName,
      semconv::kTelemetrySdkLanguage, semconv::kTelemetrySdkVersion, semconv::kTelemetryDistroName};
  Resource kept;
  kept.service_name = resource.service_name;
  kept.pid = resource.pid;
  for (size_t i = 0; i < resource.attributes.size(); ++i) {
    Attribute attribute = resource.attributes[i];
    if (std::find(kKept.begin(), kKept.end(), attribute.key) == kKept.end()) continue;
    kept.attributes.AddOwnedKeyOf(std::string(attribute.key), attribute.value);
  }
  return kept;
}

}  // namespace

Result<std::unique_ptr<PipelineLoop>> PipelineLoop::Create(
    const PipelineLoopOptions& options, EventSource& source, CaptureControl& control,
    ProcessHooks processes, TelemetrySinks sinks, SelfSources self,
    std::unique_ptr<RecordingWriter> recording) {
  std::unique_ptr<PipelineLoop> loop(new PipelineLoop(options, source, control,
                                                      std::move(processes), std::move(sinks),
                                                      std::move(self), std::move(recording)));
  PipelineLoop* borrowed = loop.get();
  PipelineOptions pipeline_options = options.pipeline;
  pipeline_options.run_shards = [borrowed](size_t count, const std::function<void(size_t)>& job) {
    borrowed->shard_threads_->Run(count, job);
  };
  auto pipeline = Pipeline::Create(pipeline_options, control,
                                   [borrowed](uint32_t tgid) { return borrowed->Resolve(tgid); });
  if (!pipeline) return tl::unexpected<Error>(pipeline.error());
  loop->pipeline_ = std::move(*pipeline);
  // A process that is asked for on seeing a record stands before that record, as replay needs it.
  if (loop->recording_) {
    loop->pipeline_->SetOnHandled([borrowed](ByteSpan record) {
      if (!borrowed->recording_) return;
      borrowed->recording_->WriteRecord(borrowed->redactor_.Redact(record));
    });
  }
  loop->harm_ = std::make_unique<HarmGuard>(options.harm_budget, loop->processes_.harm, *loop->pipeline_);
  if (loop->processes_.read_thread) {
    loop->pipeline_->SetThreadReader([borrowed](uint32_t tgid, uint32_t tid) {
      std::optional<ThreadTimes> times = borrowed->processes_.read_thread(tgid, tid);
      if (borrowed->recording_) {
        const RecordedThread record = RecordThread(tgid, tid, times);
        borrowed->recording_->WriteRecord(
            ByteSpan(reinterpret_cast<const std::byte*>(&record), sizeof(record)));
      }
      return times;
    });
  }
  return loop;
}

PipelineLoop::PipelineLoop(const PipelineLoopOptions& options, EventSource& source,
                           CaptureControl& control, ProcessHooks processes, TelemetrySinks sinks,
                           SelfSources self, std::unique_ptr<RecordingWriter> recording)
    : options_(options),
      source_(source),
      control_(control),
      processes_(std::move(processes)),
      sinks_(std::move(sinks)),
      self_(std::move(self)),
      recording_(std::move(recording)),
      recorded_(recording_ != nullptr),
      redactor_(options.recorded_payload, options.redaction_key),
      memory_(options.memory),
      self_metrics_(options.agent_resource, options.self_temporality),
      measures_(options.pipeline.red, processes_.measures, processes_.resolve,
                [this](uint32_t tgid) {
                  // Numbers are read seconds after they were counted: nobody would take back what
                  // is decided of a process whose end is known.
                  if (::kill(static_cast<pid_t>(tgid), 0) != 0 && errno == ESRCH) return;
                  control_.SetProcessPolicy(tgid, ZT_PROCESS_IGNORE);
                }) {}

PipelineLoop::~PipelineLoop() { Stop(); }

void PipelineLoop::Start() {
  last_tick_ns_ = MonotonicNs();
  const size_t shards = pipeline_->stats().shards;
  shard_threads_ = std::make_unique<ShardThreads>(shards - 1);
  thread_ = std::thread([this] { Run(); });
}

void PipelineLoop::Stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
  shard_threads_.reset();
}

SelfSnapshot PipelineLoop::Snapshot() const {
  std::lock_guard lock(mutex_);
  return snapshot_;
}

std::optional<Error> PipelineLoop::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

void PipelineLoop::Run() {
  pthread_setname_np(pthread_self(), "zt-pipeline");
  const uint64_t now_ns = MonotonicNs();
  if (recording_) {
    SetWallOffset(options_.wall_offset_ns);
  } else {
    SetWallOffset(RealtimeMinusMonotonicNs());
  }
  start_unix_ns_ = now_ns + static_cast<uint64_t>(wall_offset_ns_);
  tick_ns_ = now_ns;
  next_second_ns_ = now_ns;
  metric_interval_ns_ = options_.metric_interval_ns;
  next_metrics_ns_ = now_ns + metric_interval_ns_;
  next_wall_ns_ = now_ns + kWallRefreshNs;
  next_measures_ns_ = now_ns + kMeasuresNs;
  eager_tokens_ = options_.eager_resolves_per_second;
  eager_refilled_ns_ = now_ns;

  const std::function<void(ByteSpan)> handler = [this](ByteSpan record) { HandleRecord(record); };
  uint64_t pause_ns = kTickNs;
  uint64_t turn_ns = MonotonicNs();
  while (!stopping_) {
    if (pause_ns > 0 && pause_ns < kTickNs) source_.Pause(pause_ns);
    Result<size_t> drained = source_.Drain(pause_ns < kTickNs ? 0 : kTickMs, handler);
    if (!drained) {
      std::lock_guard lock(mutex_);
      failure_ = drained.error();
      break;
    }
    const uint64_t end_ns = MonotonicNs();
    pause_ns = PauseAfter(*drained, end_ns - std::exchange(turn_ns, end_ns));
    if (has_change_) TakeChange();
    Tick(end_ns);
    has_ticked_.store(true, std::memory_order_relaxed);
  }
  {
    std::lock_guard lock(mutex_);
    over_ = true;
  }
  change_taken_.notify_all();
  // Traffic does not stop because we do: this ends with an empty ring or with the time for it.
  const uint64_t drain_until_ns = MonotonicNs() + kLastDrainNs;
  bool settled = source_.settle_ns() == 0;
  while (!failure()) {
    Result<size_t> drained = source_.Drain(0, handler);
    if (!drained || MonotonicNs() >= drain_until_ns) break;
    if (*drained > 0) continue;
    if (settled) break;
    settled = true;
    source_.Pause(source_.settle_ns());
  }
  Tick(MonotonicNs());
  pipeline_->Finish(tick_ns_);
  GiveSpans();
  GiveMetrics();
  FlushRecording();
}

Status PipelineLoop::Reconfigure(std::function<Status(const Target&)> change) {
  std::unique_lock lock(mutex_);
  change_ = std::move(change);
  changed_.reset();
  has_change_ = true;
  change_taken_.wait(lock, [this] { return changed_ || over_; });
  if (changed_) return *changed_;
  return Fail("the pipeline has ended");
}

void PipelineLoop::TakeChange() {
  std::function<Status(const Target&)> change;
  {
    std::lock_guard lock(mutex_);
    change = std::exchange(change_, nullptr);
    has_change_ = false;
  }
  const uint64_t interval_ns = metric_interval_ns_;
  Status status = change(Target{*pipeline_, metric_interval_ns_, *harm_});
  if (metric_interval_ns_ != interval_ns) next_metrics_ns_ = tick_ns_ + metric_interval_ns_;
  {
    std::lock_guard lock(mutex_);
    changed_ = std::move(status);
  }
  change_taken_.notify_all();
}

void PipelineLoop::TellSelfExporters() {
  for (const SelfExporter& process : pipeline_->TakeSelfExporters()) {
    const bool traces = process.signal == OtlpExport::kTraces;
    spdlog::info(
        "{} (pid {}) exports {} of its own: zerotap makes none of this process "
        "(targets.exclude_otel_instrumented_services)",
        process.service, process.tgid, traces ? "spans" : "metrics");
  }
}

std::optional<TracedProcess> PipelineLoop::Resolve(uint32_t tgid) {
  std::optional<TracedProcess> process;
  if (processes_.resolve) process = processes_.resolve(tgid);
  if (!recording_) return process;
  if (!process) {
    // Said in the recording too: there the pid may have belonged to another process before.
    process = UnknownProcess(tgid);
  }
  std::string resource("[]");
  if (process->resource) {
    const bool whole = options_.recorded_payload == RecordedPayload::kAll;
    resource = ResourceToJson(whole ? *process->resource : WithoutPrivateParts(*process->resource));
  }
  recording_->WriteProcess({tgid, process->traced, resource});
  return process;
}

void PipelineLoop::HandleRecord(ByteSpan record) {
  zt_event_header header{};
  if (record.size() >= sizeof(header)) std::memcpy(&header, record.data(), sizeof(header));
  if (header.kind >= ZT_EVENT_PROCESS_EXEC && header.kind <= ZT_EVENT_PROCESS_EXIT) {
    pipeline_->Flush();  // what came before is of the processes as they were
    if (std::optional<Event> event = DecodeEvent(record)) HandleProcessRecord(*event);
  }
  pipeline_->HandleRecord(record);
  if (++records_since_clock_ >= kRecordsPerClock) {
    records_since_clock_ = 0;
    const uint64_t now_ns = MonotonicNs();
    if (now_ns - tick_ns_ >= kTickNs) Tick(now_ns);
  }
}

void PipelineLoop::HandleProcessRecord(const Event& event) {
  if (event.exec != nullptr) {
    harm_->Forget(event.exec->tgid);
    if (processes_.on_exec) processes_.on_exec(*event.exec);
    // What was decided of the old program says nothing of the new one.
    if (event.exec->tgid != options_.own_pid) control_.ForgetProcess(event.exec->tgid);
    ResolveEagerly(event.exec->tgid, event.exec->header.time_ns);
  } else if (event.fork != nullptr) {
    harm_->Forget(event.fork->child_tgid);  // the number's last owner
    if (processes_.on_fork) processes_.on_fork(*event.fork);
  } else if (event.exit != nullptr) {
    if (processes_.on_exit) processes_.on_exit(*event.exit);
    measures_.OnExit(event.exit->tgid);
    harm_->Forget(event.exit->tgid);
    // The kernel side has done so; what was decided between the end and its record is left.
    if (event.exit->tgid != options_.own_pid) control_.ForgetProcess(event.exit->tgid);
  }
}

// A process that lives for 50 ms must be looked at while it lives; a storm of them must not keep us
// from draining.
void PipelineLoop::ResolveEagerly(uint32_t tgid, uint64_t now_ns) {
  if (!processes_.resolve) return;
  const double limit = options_.eager_resolves_per_second;
  if (now_ns > eager_refilled_ns_) {
    const double seconds = static_cast<double>(now_ns - eager_refilled_ns_) * 1e-9;
    eager_tokens_ = std::min(limit, eager_tokens_ + seconds * limit);
    eager_refilled_ns_ = now_ns;
  }
  if (eager_tokens_ < 1) return;
  eager_tokens_ -= 1;
  processes_.resolve(tgid);
}

void PipelineLoop::Tick(uint64_t now_ns) {
  tick_ns_ = std::max(tick_ns_, now_ns);
  last_tick_ns_.store(tick_ns_, std::memory_order_relaxed);
  pipeline_->Advance(tick_ns_);
  if (recording_) recording_->WriteClock(tick_ns_);
  GiveSpans();
  // A recording has one offset: it stays for as long as there is one, so that a replay gives the
  // same times.
  if (tick_ns_ >= next_wall_ns_) {
    next_wall_ns_ = tick_ns_ + kWallRefreshNs;
    if (!recorded_) SetWallOffset(RealtimeMinusMonotonicNs());
  }
  if (tick_ns_ >= next_second_ns_) {
    next_second_ns_ = tick_ns_ + kSecond;
    harm_->Tick(tick_ns_);
    WatchMemory();
    TakeSnapshot();
    TellSelfExporters();
    FlushRecording();
  }
  if (tick_ns_ >= next_measures_ns_) {
    next_measures_ns_ = tick_ns_ + kMeasuresNs;
    TakeMeasures();
  }
  if (tick_ns_ >= next_metrics_ns_) {
    next_metrics_ns_ += metric_interval_ns_;
    if (next_metrics_ns_ <= tick_ns_) next_metrics_ns_ = tick_ns_ + metric_interval_ns_;
    GiveMetrics();
  }
}

// After a receiver was away the heap is full of holes that nobody needs for long.
void PipelineLoop::GiveBackFreed() {
  if (tick_ns_ < next_trim_ns_) return;
  next_trim_ns_ = tick_ns_ + kTrimNs;
  if (::mallinfo2().fordblks > kFreedWorthTrimming) ::malloc_trim(0);
}

void PipelineLoop::WatchMemory() {
  const uint64_t for_connections = memory_.limits().connection_bytes;
  if (for_connections != 0) {
    const size_t given_up = pipeline_->LimitMemory(for_connections);
    if (given_up > 0 && memory_.MayLog(tick_ns_)) {
      spdlog::warn("{} connections were given up: their state had grown to its share of memory.limit", given_up);
    }
  }
  GiveBackFreed();
  if (!memory_.IsNear(AnonymousBytes())) return;
  if (sinks_.shed) sinks_.shed();
  // Where others hold the memory, giving up connections would cost requests and free next to nothing.
  const uint64_t held = pipeline_->MemorySize();
  const size_t connections = held > for_connections / 4 ? pipeline_->LimitMemory(held / 4 * 3) : 0;
  // What was freed goes back to the kernel; without that it would look as if nothing was.
  ::malloc_trim(0);
  if (memory_.MayLog(tick_ns_)) {
    spdlog::warn(
        "memory is at {} MiB of {} MiB (memory.limit): {} connections and half of the spans that wait were given up",
        memory_.used_bytes() >> 20, memory_.limits().total_bytes >> 20, connections);
  }
}

void PipelineLoop::GiveSpans() {
  pipeline_->TakeSpans(spans_);
  if (spans_.empty()) return;
  // What a burst needed is given back.
  const bool oversized = spans_.capacity() > kMaxKeptSpans;
  if (sinks_.spans) sinks_.spans(std::move(spans_));
  if (oversized) {
    spans_ = {};
  } else {
    spans_.clear();
  }
  if (!sinks_.spent) return;
  sinks_.spent(spent_);
  pipeline_->Recycle(spent_);
}

void PipelineLoop::GiveMetrics() {
  std::vector<Metric> metrics;
  TakeSnapshot();
  const uint64_t now_unix_ns = tick_ns_ + static_cast<uint64_t>(wall_offset_ns_);
  pipeline_->CollectMetrics(now_unix_ns, metrics);
  measures_.Collect(now_unix_ns, metrics);
  self_metrics_.Append(Snapshot(), metrics);
  if (sinks_.metrics) sinks_.metrics(std::move(metrics));
}

void PipelineLoop::TakeMeasures() {
  measures_.Take(tick_ns_ + static_cast<uint64_t>(wall_offset_ns_));
}

void PipelineLoop::TakeSnapshot() {
  SelfSnapshot snapshot;
  snapshot.start_unix_ns = start_unix_ns_;
  snapshot.now_unix_ns = tick_ns_ + static_cast<uint64_t>(wall_offset_ns_);
  snapshot.pipeline = pipeline_->stats();
  snapshot.pipeline_memory_bytes = pipeline_->MemorySize();
  snapshot.requests = pipeline_->ledger().Total();
  snapshot.unseen_bytes = pipeline_->ledger().unseen_bytes();
  if (self_.kernel) snapshot.kernel = self_.kernel();
  if (self_.exporters) snapshot.exporters = self_.exporters();
  if (self_.reloads) snapshot.reloads = self_.reloads();
  snapshot.harm = harm_->Counts();
  snapshot.resident_bytes = ResidentBytes();
  snapshot.cpu_seconds = CpuSeconds();
  snapshot.memory_limit_bytes = memory_.limits().total_bytes;
  snapshot.memory_used_bytes = memory_.used_bytes();
  snapshot.memory_sheds = memory_.sheds();
  std::lock_guard lock(mutex_);
  snapshot_ = std::move(snapshot);
}

void PipelineLoop::SetWallOffset(int64_t realtime_minus_monotonic_ns) {
  wall_offset_ns_ = realtime_minus_monotonic_ns;
  pipeline_->SetWallOffset(wall_offset_ns_);
}

void PipelineLoop::FlushRecording() {
  if (!recording_) return;
  if (Status status = recording_->Flush(); !status) {
    spdlog::error("{}; zerotap goes on without it", status.error().message);
    recording_.reset();
  }
}

}  // namespace zerotap
