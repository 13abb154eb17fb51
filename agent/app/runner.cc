#include "agent/app/runner.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "agent/app/command_line.h"
#include "agent/app/health_server.h"
#include "agent/app/ledger_json.h"
#include "agent/app/live_exporters.h"
#include "agent/app/memory_plan.h"
#include "agent/app/pipeline_loop.h"
#include "agent/app/reload.h"
#include "agent/app/self_metrics.h"
#include "agent/app/thread_times.h"
#include "agent/app/version.h"
#include "agent/base/clock.h"
#include "agent/base/hash.h"
#include "agent/base/log.h"

namespace zerotap {
namespace {

constexpr auto kFlushDeadline = std::chrono::seconds(5);
constexpr uint64_t kStuckAfterNs = 30'000'000'000;

// Ids must differ between hosts and between runs.
uint64_t RandomSeed() {
  uint64_t seed = 0;
  if (::getrandom(&seed, sizeof(seed), 0) != static_cast<ssize_t>(sizeof(seed))) {
    seed = CombineHash(RealtimeNs(), static_cast<uint64_t>(::getpid()));
  }
  return seed;
}

sigset_t StopSignals();

sigset_t WaitedSignals() {
  sigset_t set = StopSignals();
  sigaddset(&set, SIGHUP);
  return set;
}

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

// From here on a further signal ends the process at once, as it would without a handler.
void LetSignalsKill() {
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
  const sigset_t set = StopSignals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace

CaptureOptions CaptureOptionsOf(const Config& all) {
  const CaptureConfig& config = all.capture;
  CaptureOptions options;
  options.syscalls.enabled = all.syscalls.enabled;
  options.syscalls.names = all.syscalls.names;
  options.syscalls.max_series = all.syscalls.max_series;
  options.tcp.enabled = all.tcp.enabled;
  options.tcp.max_series = all.tcp.max_series;
  options.waits = all.waits_enabled && all.pipeline.spans_enabled;
  if (config.tier == "a") options.tier = CaptureTier::kA;
  if (config.tier == "b") options.tier = CaptureTier::kB;
  options.btf = config.btf;
  options.ring_bytes = config.ring_bytes;
  // "auto" is no number, and 0 is what stands for it.
  options.rings = static_cast<uint32_t>(std::strtoul(config.rings.c_str(), nullptr, 10));
  options.max_connections = config.max_connections;
  options.detect_budget_kib = static_cast<uint32_t>((config.detect_budget_bytes + 1023) / 1024);
  return options;
}

namespace {

KernelCounts KernelCountsOf(const CaptureCounters& counters) {
  KernelCounts result;
  result.counters = counters.kernel;
  result.recursion_misses = counters.recursion_misses();
  result.malformed_records = counters.malformed_records;
  result.ring_bytes = counters.ring_bytes;
  result.ring_used_bytes = counters.ring_used_bytes;
  return result;
}

}  // namespace

ProcessTableOptions ProcessTableOptionsOf(const Config& config) {
  ProcessTableOptions options;
  options.boot_unix_ns = RealtimeNs() - ReadClockNs(CLOCK_BOOTTIME);
  options.resource.version = std::string(kVersion);
  options.resource.legacy_attributes = config.pipeline.legacy_attributes;
  options.resource.extra_attributes = config.resource_attributes;
  options.capacity = config.memory.max_processes;
  options.targets = config.targets;
  options.targets.own_pid = static_cast<uint32_t>(::getpid());
  options.service_names = config.services;
  return options;
}

namespace {

ProcessExec ProcessExecOf(const zt_process_exec_event& event) {
  ProcessExec exec;
  exec.tgid = event.tgid;
  exec.parent_tgid = event.parent_tgid;
  exec.cgroup_id = event.cgroup_id;
  exec.start_boot_ns = event.start_ns;
  exec.comm = FieldText(event.comm);
  exec.filename = FieldText(event.filename);
  exec.arguments = std::string_view(event.args, event.args_size);
  return exec;
}

ProcessHooks HooksInto(ProcessTable& table) {
  ProcessHooks hooks;
  hooks.resolve = [&table](uint32_t tgid) -> std::optional<TracedProcess> {
    std::optional<ProcessIdentity> identity = table.Resolve(tgid, MonotonicNs());
    if (!identity) return std::nullopt;
    return TracedProcess{identity->tgid, identity->traced, std::move(identity->resource)};
  };
  hooks.on_exec = [&table](const zt_process_exec_event& event) {
    table.OnExec(ProcessExecOf(event), event.header.time_ns);
  };
  hooks.on_fork = [&table](const zt_process_fork_event& event) {
    table.OnFork(event.parent_tgid, event.child_tgid, event.header.time_ns);
  };
  hooks.on_exit = [&table](const zt_process_exit_event& event) {
    table.OnExit(event.tgid, event.header.time_ns);
  };
  return hooks;
}

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

class Agent {
 public:
  Agent(const LoadedConfig& loaded, const RunOptions& options)
      : config_(AtStart(loaded.config)),
        config_path_(loaded.path),
        options_(options),
        disabled_(loaded.config.disabled),
        on_terminal_(::isatty(STDIN_FILENO) == 1) {}

  int Run();

 private:
  int Build();
  void StartHealthServer();
  void LogStart() const;
  int Wait();
  bool IsHangup() const;
  void Reload();
  Status Apply(const ConfigChange& change);
  void Stop();
  HealthReport Report() const;

  Config config_;  // in force
  const std::string config_path_;
  const RunOptions& options_;
  const bool disabled_;
  const bool on_terminal_;
  struct {
    std::atomic<uint64_t> applied{0}, unchanged{0}, refused{0};
  } reloads_;
  // In the order of construction: what comes later uses what comes earlier.
  std::unique_ptr<ProcessTable> processes_;
  std::unique_ptr<BpfCapture> capture_;
  bool survey_failed_ = false;  // of the pipeline's thread; said once
  std::unique_ptr<LiveExporters> exporters_;
  std::unique_ptr<PipelineLoop> loop_;
  std::unique_ptr<HealthServer> health_;
  std::atomic<PipelineLoop*> running_{nullptr};  // what the health server may ask
};

HealthReport Agent::Report() const {
  HealthReport report;
  PipelineLoop* loop = running_.load();
  if (disabled_) {
    report.live = true;
    report.reason = "disabled by OTEL_SDK_DISABLED";
  } else if (loop == nullptr) {
    report.live = true;
    report.reason = "the probes are not attached";
  } else if (std::optional<Error> failure = loop->failure()) {
    report.reason = failure->message;
  } else if (MonotonicNs() > loop->last_tick_ns() + kStuckAfterNs) {
    report.reason = "the pipeline's thread has been stuck for more than 30 s";
  } else {
    report.live = true;
    report.ready = loop->has_ticked();
    if (!report.ready) report.reason = "the open sockets are being taken in";
  }
  return report;
}

void Agent::StartHealthServer() {
  if (config_.health_address == "off") return;
  Result<HostPort> address = ParseHostPort(config_.health_address);
  if (!address) return;  // LoadConfig has checked it
  HealthCallbacks callbacks;
  callbacks.report = [this] { return Report(); };
  callbacks.metrics = [this] {
    PipelineLoop* loop = running_.load();
    return loop == nullptr ? std::string() : PrometheusText(SelfSamples(loop->Snapshot()));
  };
  callbacks.ledger = [this] {
    PipelineLoop* loop = running_.load();
    if (loop == nullptr) return LedgerJson({}, 0, {});
    return LedgerJson(loop->ledger().Snapshot(), loop->ledger().unseen_bytes(),
                      loop->Snapshot().harm.limited);
  };
  Result<std::unique_ptr<HealthServer>> server =
      HealthServer::Start(*address, std::move(callbacks));
  if (server) {
    health_ = std::move(*server);
    spdlog::debug("health server on {}", config_.health_address);
  } else {
    spdlog::warn(
        "health server: {}; zerotap goes on without it. Set --health to another address, or to off",
        server.error().message);
  }
}

// Everything but the running threads of the pipeline; gives an exit code when it cannot be.
int Agent::Build() {
  Result<std::unique_ptr<ProcessTable>> processes =
      ProcessTable::Create(ProcessTableOptionsOf(config_));
  if (!processes) {
    spdlog::error("{}", processes.error().message);
    return kExitBadConfig;
  }
  processes_ = std::move(*processes);

  PipelineLoopOptions loop;
  loop.pipeline = config_.pipeline;
  loop.pipeline.id_seed = RandomSeed();
  loop.pipeline.shards = PipelineShards(config_);
  loop.metric_interval_ns = config_.metrics.interval_ns;
  loop.agent_resource = MakeAgentResource(config_.agent);
  // lowmemory asks for differences of what is counted in place only.
  loop.self_temporality =
      config_.metrics.temporality == "delta" ? Temporality::kDelta : Temporality::kCumulative;
  loop.own_pid = static_cast<uint32_t>(::getpid());
  loop.harm_budget = config_.harm_share;

  loop.memory = {config_.memory.limit_bytes, KernelMemory(config_), config_.memory.connection_bytes};
  loop.recorded_payload = options_.record_payload;
  loop.redaction_key = RandomSeed();
  std::unique_ptr<RecordingWriter> recording;
  if (!options_.record_path.empty()) {
    loop.wall_offset_ns = RealtimeMinusMonotonicNs();
    auto created =
        RecordingWriter::Create(options_.record_path, {loop.pipeline.id_seed, loop.wall_offset_ns});
    if (!created) {
      spdlog::error("--record: {}", created.error().message);
      return kExitBadConfig;
    }
    recording = std::move(*created);
  }

  Result<std::unique_ptr<BpfCapture>> capture =
      BpfCapture::Create(CaptureOptionsOf(config_));
  if (!capture) {
    spdlog::error("{}", capture.error().message);
    return kExitNotPermitted;
  }
  capture_ = std::move(*capture);

  TelemetrySinks sinks;
  sinks.spans = [this](std::vector<Span>&& spans) { exporters_->PushSpans(std::move(spans)); };
  sinks.spent = [this](std::vector<Span>& spans) { exporters_->TakeSpent(spans); };
  sinks.metrics = [this](std::vector<Metric>&& metrics) {
    exporters_->PushMetrics(std::move(metrics));
  };
  sinks.shed = [this] { exporters_->Shed(); };
  SelfSources self;
  self.kernel = [this] { return KernelCountsOf(capture_->ReadCounters()); };
  self.exporters = [this] { return exporters_->Counts(); };
  self.reloads = [this] {
    return ReloadCounts{reloads_.applied, reloads_.unchanged, reloads_.refused};
  };
  ProcessHooks hooks = HooksInto(*processes_);
  hooks.measures.take = [this](std::vector<MeasureDelta>& out) { capture_->TakeMeasures(out); };
  hooks.measures.survey = [this] {
    if (Status status = capture_->SurveySockets(); !status && !survey_failed_) {
      survey_failed_ = true;
      spdlog::warn("TCP metrics of long connections: {}", status.error().message);
    }
  };
  if (capture_->has_thread_waits()) {
    hooks.read_thread = [this](uint32_t tgid, uint32_t tid) {
      return MakeThreadTimes("/proc", tgid, tid, MonotonicNs(),
                             [&] { return capture_->ReadThreadWaits(tid); });
    };
  }
  hooks.harm.take = [this](std::vector<ProcessCost>& out) { capture_->TakeCosts(out); };
  hooks.harm.prices = capture_->prices();
  hooks.measures.forget = [this](uint32_t tgid) { capture_->ForgetMeasures(tgid); };
  auto created = PipelineLoop::Create(loop, *capture_, *capture_, std::move(hooks),
                                      std::move(sinks), std::move(self), std::move(recording));
  if (!created) {
    spdlog::error("{}", created.error().message);
    return kExitBadConfig;
  }
  loop_ = std::move(*created);
  Result<std::unique_ptr<LiveExporters>> exporters =
      LiveExporters::Create(config_, loop_->ledger());
  if (!exporters) {
    spdlog::error("{}", exporters.error().message);
    return kExitBadConfig;
  }
  exporters_ = std::move(*exporters);
  return kExitOk;
}

void Agent::LogStart() const {
  const CaptureReport& report = capture_->report();
  spdlog::info("zerotap {} watches this host: tier {} ({})", kVersion,
               report.tier == CaptureTier::kB ? "b" : "a", report.attach_form);
  if (report.rings > 1) spdlog::info("{} ring buffers, each for one CPU or a few", report.rings);
  if (const uint64_t shards = PipelineShards(config_); shards > 1) {
    spdlog::info("connections are parsed in {} shards, by as many threads when there is much to do", shards);
  }
  for (const std::string& remark : report.remarks) spdlog::info("{}", remark);
  std::string unseen;
  for (const std::string& one : report.unseen) unseen += (unseen.empty() ? "" : "; ") + one;
  spdlog::info("not seen: {}", unseen);
  const EventPrices& prices = capture_->prices();
  spdlog::debug("a socket call that is ignored takes {:.0f} ns more than without zerotap, of a process that is left out {:.0f} ns",
                prices.ignored_ns, prices.detached_ns);
}

int Agent::Wait() {
  using Clock = std::chrono::steady_clock;
  const sigset_t set = WaitedSignals();
  const timespec step{0, 200'000'000};
  const auto end = Clock::now() + std::chrono::seconds(options_.duration_seconds);
  while (true) {
    const int signal_number = ::sigtimedwait(&set, nullptr, &step);
    if (signal_number == SIGHUP && !IsHangup()) {
      Reload();
      continue;
    }
    if (signal_number > 0) {
      spdlog::info("stopping; a second signal ends zerotap at once");
      return kExitOk;
    }
    if (options_.duration_seconds != 0 && Clock::now() >= end) return kExitOk;
    if (!loop_) continue;
    if (std::optional<Error> failure = loop_->failure()) {
      spdlog::error("capture failed: {}", failure->message);
      return kExitRuntimeFailure;
    }
  }
}

// The terminal on which it was started is gone, which is no wish for other settings.
bool Agent::IsHangup() const { return on_terminal_ && ::isatty(STDIN_FILENO) != 1; }

void Agent::Reload() {
  Result<LoadedConfig> loaded = options_.load();
  if (!loaded) {
    ++reloads_.refused;
    spdlog::error("the configuration was not taken, the one in force stays:\n{}",
                  loaded.error().message);
    return;
  }
  for (const std::string& warning : loaded->warnings) spdlog::warn("{}", warning);
  ConfigChange change = PlanChange(config_, loaded->config);
  if (!change.held.empty()) {
    spdlog::warn("these change at a restart only, until then they stay as they are: {}",
                 Joined(change.held));
  }
  if (change.taken.empty()) {
    ++reloads_.unchanged;
    spdlog::info("configuration read again{}: nothing has changed",
                 config_path_.empty() ? " (there is no file: --config)" : "");
    return;
  }
  if (Status status = Apply(change); !status) {
    ++reloads_.refused;
    spdlog::error("the configuration was not taken, the one in force stays: {}",
                  status.error().message);
    return;
  }
  config_ = std::move(change.config);
  ++reloads_.applied;
  spdlog::info("configuration read again, in force now: {}", Joined(change.taken));
}

Status Agent::Apply(const ConfigChange& change) {
  if (loop_) {
    // First what may fail, and can be left without a trace.
    std::shared_ptr<ExporterSet> exporters;
    if (change.exporters) {
      Result<std::shared_ptr<ExporterSet>> prepared = exporters_->Prepare(change.config);
      if (!prepared) return tl::unexpected<Error>(prepared.error());
      exporters = std::move(*prepared);
    }
    const ProcessTableOptions processes = ProcessTableOptionsOf(change.config);
    Status status = loop_->Reconfigure([&](const PipelineLoop::Target& target) -> Status {
      if (change.processes) {
        if (Status taken = processes_->Reconfigure(processes); !taken) return taken;
      }
      target.metric_interval_ns = change.config.metrics.interval_ns;
      if (change.config.harm_share != config_.harm_share) {
        target.harm.SetBudget(change.config.harm_share);
      }
      return target.pipeline.Reconfigure(change.config.pipeline, change.processes);
    });
    if (!status) return status;
    if (exporters) exporters_->Replace(std::move(exporters), kFlushDeadline);
  }
  SetLogLevel(change.config.log_level);
  return {};
}

void Agent::Stop() {
  LetSignalsKill();
  if (loop_) {
    loop_->Stop();
    for (const ProgramStatistics& program : capture_->ReadCounters().programs) {
      spdlog::debug("program {}: {} instructions verified, {} recursion misses", program.name,
                    program.verified_instructions, program.recursion_misses);
    }
  }
  if (exporters_) exporters_->Shutdown(std::chrono::steady_clock::now() + kFlushDeadline);
  running_ = nullptr;
  health_.reset();
  exporters_.reset();
  if (!loop_) return;
  const LedgerCounts total = loop_->ledger().Total();
  spdlog::info("{} requests seen: {} emitted, {} sampled out, {} filtered, {} dropped", total.seen,
               total.emitted, total.sampled_out, total.filtered(), total.dropped_total());
}

int Agent::Run() {
  StartHealthServer();
  if (disabled_) {
    spdlog::warn(
        "OTEL_SDK_DISABLED is true: nothing is captured until zerotap is started without it");
  } else {
    const int code = Build();
    if (code != kExitOk) return code;
    loop_->Start();
    running_ = loop_.get();
    LogStart();
  }
  const int code = Wait();
  Stop();
  return code;
}

}  // namespace

int RunAgent(const LoadedConfig& loaded, const RunOptions& options) {
  const sigset_t set = WaitedSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is a write error, not the end
  return Agent(loaded, options).Run();
}

}  // namespace zerotap
