// What the agent says of itself, once: as OTLP metrics of its own resource and as Prometheus text
// for /metrics.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/app/config.h"
#include "agent/app/harm_guard.h"
#include "agent/pipeline/ledger.h"
#include "agent/pipeline/pipeline.h"
#include "agent/telemetry/metric.h"
#include "bpf/abi/control.h"

namespace zerotap {

struct ExporterCounts {
  std::string exporter;  // otlp, console, file
  std::string signal;    // traces, metrics
  uint64_t queued = 0;
  uint64_t exported = 0;
  uint64_t rejected = 0;
  uint64_t failed = 0;
  uint64_t dropped = 0;  // from a full queue
  uint64_t retries = 0;
  uint64_t bytes_sent = 0;
  std::map<std::string, uint64_t> losses;  // of rejected and failed, by reason
};

struct KernelCounts {
  std::array<uint64_t, ZT_COUNTER_COUNT> counters{};
  uint64_t recursion_misses = 0;  // times a program did not run because it was running already
  uint64_t malformed_records = 0;
  uint64_t ring_bytes = 0;
  uint64_t ring_used_bytes = 0;
};

// SIGHUPs by what became of them.
struct ReloadCounts {
  uint64_t applied = 0;
  uint64_t unchanged = 0;
  uint64_t refused = 0;
};

// Everything at one moment; a plain copy that may go to other threads.
struct SelfSnapshot {
  uint64_t start_unix_ns = 0;
  uint64_t now_unix_ns = 0;
  PipelineStats pipeline;
  uint64_t pipeline_memory_bytes = 0;
  KernelCounts kernel;
  LedgerCounts requests;
  uint64_t unseen_bytes = 0;
  std::vector<ExporterCounts> exporters;
  ReloadCounts reloads;
  HarmCounts harm;
  uint64_t resident_bytes = 0;
  double cpu_seconds = 0;
  uint64_t memory_limit_bytes = 0;
  uint64_t memory_used_bytes = 0;  // with the kernel's part at worst
  uint64_t memory_sheds = 0;
};

struct SelfSample {
  const MetricDescriptor* descriptor = nullptr;
  std::vector<std::pair<std::string_view, std::string>> labels;  // keys are constants
  double value = 0;
};

std::vector<SelfSample> SelfSamples(const SelfSnapshot& snapshot);

// Text format 0.0.4: dots become underscores, counters end in _total, units are spelled out.
std::string PrometheusText(const std::vector<SelfSample>& samples);

// service.name and what else describes the agent in its own metrics.
ResourcePtr MakeAgentResource(const AgentConfig& config);

// Turns samples into OTLP metrics; keeps the last values where the receiver wants differences.
class SelfMetrics {
 public:
  SelfMetrics(ResourcePtr resource, Temporality temporality)
      : resource_(std::move(resource)), temporality_(temporality) {}

  void Append(const SelfSnapshot& snapshot, std::vector<Metric>& out);

 private:
  const ResourcePtr resource_;
  const Temporality temporality_;
  uint64_t last_unix_ns_ = 0;
  std::map<std::string, double> last_;
};

// Of this process, from /proc/self/statm and getrusage(2).
uint64_t ResidentBytes();
// Of them, those that nobody shares.
uint64_t AnonymousBytes();
double CpuSeconds();

}  // namespace zerotap
