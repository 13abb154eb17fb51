#include "agent/app/self_metrics.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "agent/app/ledger_json.h"
#include "agent/app/version.h"
#include "agent/base/unique_fd.h"
#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

constexpr MetricDescriptor Counter(std::string_view name, std::string_view unit,
                                   std::string_view description) {
  return {name, unit, description, MetricType::kSum, true, {}};
}
constexpr MetricDescriptor Gauge(std::string_view name, std::string_view unit,
                                 std::string_view description) {
  return {name, unit, description, MetricType::kGauge, false, {}};
}

constexpr MetricDescriptor kRequestsSeen =
    Counter("zerotap.requests.seen", "{request}", "Requests whose head was recognised");
constexpr MetricDescriptor kRequestsEmitted =
    Counter("zerotap.requests.emitted", "{request}",
            "Requests whose span was taken by the first exporter's receiver");
constexpr MetricDescriptor kRequestsFiltered =
    Counter("zerotap.requests.filtered", "{request}", "Requests that are left out on purpose, by reason");
constexpr MetricDescriptor kRequestsSampledOut = Counter(
    "zerotap.requests.sampled_out", "{request}", "Requests that the sampler left out of traces");
constexpr MetricDescriptor kRequestsDropped = Counter(
    "zerotap.requests.dropped", "{request}", "Requests that were seen and gave no span, by reason");
constexpr MetricDescriptor kRequestsInFlight =
    Gauge("zerotap.requests.in_flight", "{request}",
          "Requests without an outcome yet, queued spans included");
constexpr MetricDescriptor kRecords =
    Counter("zerotap.pipeline.records", "{record}", "Kernel records handled");
constexpr MetricDescriptor kShards =
    Gauge("zerotap.pipeline.shards", "{shard}", "Parts of the pipeline that can parse at the same time");
constexpr MetricDescriptor kSharedRecords =
    Counter("zerotap.pipeline.shared_records", "{record}",
            "Kernel records that shards parsed at the same time");
constexpr MetricDescriptor kMalformedRecords = Counter(
    "zerotap.pipeline.malformed_records", "{record}", "Kernel records that were not well formed");
constexpr MetricDescriptor kLostEvents =
    Counter("zerotap.pipeline.lost_events", "{event}",
            "Events of known connections that found the ring full");
constexpr MetricDescriptor kUnseenBytes =
    Counter("zerotap.pipeline.unseen", "By",
            "Bytes of followed streams that passed without a record");
constexpr MetricDescriptor kConnectionsOpened =
    Counter("zerotap.connections.opened", "{connection}", "Connections that appeared");
constexpr MetricDescriptor kConnectionsEvicted =
    Counter("zerotap.connections.evicted", "{connection}",
            "Connections given up because the table was full");
constexpr MetricDescriptor kConnectionsIgnored =
    Counter("zerotap.connections.ignored", "{connection}",
            "Connections on which no protocol was recognised");
constexpr MetricDescriptor kConnectionsLive =
    Gauge("zerotap.connections.live", "{connection}", "Connections now");
constexpr MetricDescriptor kSpansHeld =
    Gauge("zerotap.spans.held", "{span}", "Spans that wait for the other end of their connection");
constexpr MetricDescriptor kParentsUnresolved = Counter(
    "zerotap.parents.unresolved", "{span}", "Held spans whose other end did not show up in time");
constexpr MetricDescriptor kWaitsUnwatched =
    Counter("zerotap.waits.unwatched", "{request}",
            "Requests whose thread was not looked at because too many others were open");
constexpr MetricDescriptor kKernelRecords =
    Counter("zerotap.kernel.records", "{record}", "Records of transfers that the kernel side wrote");
constexpr MetricDescriptor kKernelIgnored =
    Counter("zerotap.kernel.ignored_events", "{event}",
            "Events on connections and of processes that are left out on purpose");
constexpr MetricDescriptor kKernelLosses =
    Counter("zerotap.kernel.losses", "{event}",
            "Events that the kernel side could not capture in full, by reason");
constexpr MetricDescriptor kRingSize =
    Gauge("zerotap.kernel.ring.size", "By", "Buffer between the kernel side and the pipeline");
constexpr MetricDescriptor kRingUsed =
    Gauge("zerotap.kernel.ring.used", "By", "Of it, what is not read yet");
constexpr MetricDescriptor kExportQueued =
    Gauge("zerotap.export.queued", "{item}", "Spans or data points waiting to be exported");
constexpr MetricDescriptor kExportItems =
    Counter("zerotap.export.items", "{item}", "Spans or data points by what became of them");
constexpr MetricDescriptor kExportLosses =
    Counter("zerotap.export.losses", "{item}",
            "Spans or data points that were rejected or failed, by the reason");
constexpr MetricDescriptor kExportRetries =
    Counter("zerotap.export.retries", "{request}", "Requests sent again");
constexpr MetricDescriptor kExportSent =
    Counter("zerotap.export.sent", "By", "Request bodies sent, after compression");
constexpr MetricDescriptor kReloads =
    Counter("zerotap.config.reloads", "{reload}",
            "Times the configuration was read again, by outcome");
constexpr MetricDescriptor kHarmSteps =
    Counter("zerotap.harm.steps", "{step}",
            "Times a process was watched for less or for more to keep to harm_budget, by direction and new rung");
constexpr MetricDescriptor kHarmProcesses =
    Gauge("zerotap.harm.processes", "{process}", "Processes that are watched for less now, by rung");
constexpr MetricDescriptor kHarmExcesses =
    Counter("zerotap.harm.excesses", "{process}",
            "Processes that cost more than harm_budget though nothing of them is watched");
constexpr MetricDescriptor kPipelineMemory =
    Gauge("zerotap.pipeline.memory", "By", "State of connections and parsers");
constexpr MetricDescriptor kResident =
    Gauge("zerotap.process.memory.resident", "By", "Resident memory of the agent");
constexpr MetricDescriptor kMemoryLimit =
    Gauge("zerotap.memory.limit", "By", "What the agent may use in all (memory.limit)");
constexpr MetricDescriptor kMemoryUsed =
    Gauge("zerotap.memory.used", "By", "Of it, what is in use: private memory, and the kernel's buffers at their largest");
constexpr MetricDescriptor kMemorySheds =
    Counter("zerotap.memory.sheds", "{shed}", "Times something was given up to stay below the limit");
constexpr MetricDescriptor kCpu =
    Counter("zerotap.process.cpu.time", "s", "CPU time of the agent, user and system");

constexpr std::pair<zt_counter, std::string_view> kLossCounters[] = {
    {ZT_COUNTER_RING_FULL, "ring_full"},
    {ZT_COUNTER_CONNECTION_MAP_FULL, "connection_map_full"},
    {ZT_COUNTER_PAYLOAD_FAULT, "payload_fault"},
    {ZT_COUNTER_NO_PAYLOAD, "no_payload"},
    {ZT_COUNTER_UNKNOWN_CALL, "unknown_call"},
    {ZT_COUNTER_IOVEC_TRUNCATED, "iovec_truncated"},
    {ZT_COUNTER_COMPAT_CALL, "compat_call"},
    {ZT_COUNTER_UNSEEN_CALL, "unseen_call"},
    {ZT_COUNTER_MEASURES_FULL, "measures_full"},
    {ZT_COUNTER_SYSCALL_START_UNKNOWN, "syscall_start_unknown"},
    {ZT_COUNTER_TCP_OWNER_UNKNOWN, "tcp_owner_unknown"},
    {ZT_COUNTER_COSTS_FULL, "costs_full"}};

class Collector {
 public:
  std::vector<SelfSample> samples;

  void Add(const MetricDescriptor& descriptor, double value) {
    samples.push_back({&descriptor, {}, value});
  }
  void Add(const MetricDescriptor& descriptor, uint64_t value) {
    Add(descriptor, static_cast<double>(value));
  }
  void Add(const MetricDescriptor& descriptor, std::string_view key, std::string_view label,
           uint64_t value) {
    samples.push_back({&descriptor, {{key, std::string(label)}}, static_cast<double>(value)});
  }
};

void AddRequests(const LedgerCounts& requests, Collector& out) {
  out.Add(kRequestsSeen, requests.seen);
  out.Add(kRequestsEmitted, requests.emitted);
  for (size_t i = 0; i < requests.filtered_by.size(); ++i) {
    out.Add(kRequestsFiltered, "reason", FilterReasonName(static_cast<FilterReason>(i)),
            requests.filtered_by[i]);
  }
  out.Add(kRequestsSampledOut, requests.sampled_out);
  for (size_t i = 0; i < requests.dropped.size(); ++i) {
    out.Add(kRequestsDropped, "reason", DropReasonName(static_cast<DropReason>(i)),
            requests.dropped[i]);
  }
  out.Add(kRequestsInFlight, InFlight(requests));
}

void AddPipeline(const SelfSnapshot& snapshot, Collector& out) {
  const PipelineStats& stats = snapshot.pipeline;
  out.Add(kRecords, stats.records);
  out.Add(kShards, stats.shards);
  out.Add(kSharedRecords, stats.shared_records);
  out.Add(kMalformedRecords, stats.malformed_records + snapshot.kernel.malformed_records);
  out.Add(kLostEvents, stats.lost_events);
  out.Add(kUnseenBytes, snapshot.unseen_bytes);
  out.Add(kConnectionsOpened, stats.connections_opened);
  out.Add(kConnectionsEvicted, stats.connections_evicted);
  out.Add(kConnectionsIgnored, stats.connections_ignored);
  out.Add(kConnectionsLive, uint64_t{stats.live_connections});
  out.Add(kSpansHeld, stats.spans_held);
  out.Add(kParentsUnresolved, stats.parents_unresolved);
  out.Add(kWaitsUnwatched, stats.waits_unwatched);
  out.Add(kPipelineMemory, snapshot.pipeline_memory_bytes);
}

void AddKernel(const KernelCounts& kernel, Collector& out) {
  out.Add(kKernelRecords, kernel.counters[ZT_COUNTER_DATA_EVENTS]);
  out.Add(kKernelIgnored, kernel.counters[ZT_COUNTER_IGNORED_EVENTS]);
  for (const auto& [counter, name] : kLossCounters) {
    out.Add(kKernelLosses, "reason", name, kernel.counters[counter]);
  }
  out.Add(kKernelLosses, "reason", "recursion", kernel.recursion_misses);
  out.Add(kRingSize, kernel.ring_bytes);
  out.Add(kRingUsed, kernel.ring_used_bytes);
}

void AddExporters(const std::vector<ExporterCounts>& exporters, Collector& out) {
  for (const ExporterCounts& counts : exporters) {
    const auto labels = [&] {
      return std::vector<std::pair<std::string_view, std::string>>{{"exporter", counts.exporter},
                                                                   {"signal", counts.signal}};
    };
    out.samples.push_back({&kExportQueued, labels(), static_cast<double>(counts.queued)});
    out.samples.push_back({&kExportRetries, labels(), static_cast<double>(counts.retries)});
    out.samples.push_back({&kExportSent, labels(), static_cast<double>(counts.bytes_sent)});
    const std::pair<std::string_view, uint64_t> outcomes[] = {{"exported", counts.exported},
                                                              {"rejected", counts.rejected},
                                                              {"failed", counts.failed},
                                                              {"dropped", counts.dropped}};
    for (const auto& [outcome, count] : outcomes) {
      SelfSample sample{&kExportItems, labels(), static_cast<double>(count)};
      sample.labels.emplace_back("outcome", std::string(outcome));
      out.samples.push_back(std::move(sample));
    }
    for (const auto& [reason, count] : counts.losses) {
      SelfSample sample{&kExportLosses, labels(), static_cast<double>(count)};
      sample.labels.emplace_back("reason", reason);
      out.samples.push_back(std::move(sample));
    }
  }
}

void AddHarm(const HarmCounts& harm, Collector& out) {
  std::array<uint64_t, kHarmRungs> processes{};
  for (const LimitedProcess& process : harm.limited) ++processes[static_cast<size_t>(process.rung)];
  for (size_t i = 0; i < kHarmRungs; ++i) {
    const std::string rung(HarmRungName(static_cast<HarmRung>(i)));
    const auto add_steps = [&](std::string_view direction, uint64_t count) {
      out.samples.push_back({&kHarmSteps,
                             {{"direction", std::string(direction)}, {"rung", rung}},
                             static_cast<double>(count)});
    };
    // Nobody goes down to the highest rung, nor up to the lowest.
    if (i != 0) add_steps("down", harm.steps_down[i]);
    if (i + 1 != kHarmRungs) add_steps("up", harm.steps_up[i]);
    if (i != 0) out.Add(kHarmProcesses, "rung", rung, processes[i]);
  }
  out.Add(kHarmExcesses, harm.excesses);
}

bool IsCounter(const MetricDescriptor& descriptor) { return descriptor.type == MetricType::kSum; }
bool IsWhole(const MetricDescriptor& descriptor) { return descriptor.unit != "s"; }

std::string PrometheusName(const MetricDescriptor& descriptor) {
  std::string name(descriptor.name);
  for (char& c : name) {
    if (c == '.') c = '_';
  }
  if (descriptor.unit == "By") name += "_bytes";
  if (descriptor.unit == "s") name += "_seconds";
  if (IsCounter(descriptor)) name += "_total";
  return name;
}

void AppendEscaped(std::string_view text, std::string& out) {
  for (char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') out += '\\';
    out += c;
  }
}

std::string NumberText(const SelfSample& sample) {
  if (IsWhole(*sample.descriptor)) return std::to_string(static_cast<uint64_t>(sample.value));
  return std::to_string(sample.value);
}

std::string SampleKey(const SelfSample& sample) {
  std::string key(sample.descriptor->name);
  for (const auto& [name, value] : sample.labels) {
    key += '\0';
    key += name;
    key += '\0';
    key += value;
  }
  return key;
}

struct Pages {  // in bytes
  uint64_t resident = 0;
  uint64_t shared = 0;  // of them, those of files and of the kernel's buffers
};

Pages PagesOfSelf() {
  UniqueFd fd(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC));
  char text[128] = {};
  if (!fd || ::read(fd.get(), text, sizeof(text) - 1) <= 0) return {};
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  char* rest = nullptr;
  std::strtoull(text, &rest, 10);  // size
  Pages pages;
  pages.resident = std::strtoull(rest, &rest, 10) * page;
  pages.shared = std::strtoull(rest, nullptr, 10) * page;
  return pages;
}

}  // namespace

std::vector<SelfSample> SelfSamples(const SelfSnapshot& snapshot) {
  Collector collector;
  AddRequests(snapshot.requests, collector);
  AddPipeline(snapshot, collector);
  AddKernel(snapshot.kernel, collector);
  AddExporters(snapshot.exporters, collector);
  AddHarm(snapshot.harm, collector);
  collector.Add(kReloads, "outcome", "applied", snapshot.reloads.applied);
  collector.Add(kReloads, "outcome", "unchanged", snapshot.reloads.unchanged);
  collector.Add(kReloads, "outcome", "refused", snapshot.reloads.refused);
  collector.Add(kResident, snapshot.resident_bytes);
  collector.Add(kMemoryLimit, snapshot.memory_limit_bytes);
  collector.Add(kMemoryUsed, snapshot.memory_used_bytes);
  collector.Add(kMemorySheds, snapshot.memory_sheds);
  collector.Add(kCpu, snapshot.cpu_seconds);
  return std::move(collector.samples);
}

std::string PrometheusText(const std::vector<SelfSample>& samples) {
  // All samples of a metric must stand together, below its HELP and TYPE.
  std::vector<std::pair<const MetricDescriptor*, std::string>> blocks;
  for (const SelfSample& sample : samples) {
    const std::string name = PrometheusName(*sample.descriptor);
    std::string* block = nullptr;
    for (auto& [descriptor, text] : blocks) {
      if (descriptor == sample.descriptor) block = &text;
    }
    if (block == nullptr) {
      blocks.emplace_back(sample.descriptor, "");
      block = &blocks.back().second;
      *block = "# HELP " + name + " " + std::string(sample.descriptor->description) + "\n# TYPE " +
               name + (IsCounter(*sample.descriptor) ? " counter\n" : " gauge\n");
    }
    *block += name;
    char separator = '{';
    for (const auto& [key, value] : sample.labels) {
      *block += separator;
      *block += key;
      *block += "=\"";
      AppendEscaped(value, *block);
      *block += '"';
      separator = ',';
    }
    if (separator == ',') *block += '}';
    *block += ' ' + NumberText(sample) + '\n';
  }
  std::string text;
  for (const auto& block : blocks) text += block.second;
  return text;
}

ResourcePtr MakeAgentResource(const AgentConfig& config) {
  auto resource = std::make_shared<Resource>();
  resource->service_name = config.service_name;
  resource->pid = static_cast<uint32_t>(::getpid());
  AttributeSet& attributes = resource->attributes;
  attributes.Add(semconv::kServiceName, config.service_name);
  attributes.Add(semconv::kServiceVersion, kVersion);
  for (const NamedValue& attribute : config.resource_attributes) {
    if (!attributes.Has(attribute.first)) attributes.AddOwnedKey(attribute.first, attribute.second);
  }
  char host[256] = {};
  if (!attributes.Has(semconv::kHostName) && ::gethostname(host, sizeof(host) - 1) == 0 &&
      host[0] != '\0') {
    attributes.Add(semconv::kHostName, std::string_view(host));
  }
  attributes.Add(semconv::kProcessPid, int64_t{resource->pid});
  attributes.Add(semconv::kTelemetryDistroName, "zerotap");
  attributes.Add(semconv::kTelemetryDistroVersion, kVersion);
  return resource;
}

void SelfMetrics::Append(const SelfSnapshot& snapshot, std::vector<Metric>& out) {
  std::map<const MetricDescriptor*, size_t> index;
  const bool delta = temporality_ == Temporality::kDelta;
  for (const SelfSample& sample : SelfSamples(snapshot)) {
    auto [found, added] = index.emplace(sample.descriptor, out.size());
    if (added) {
      Metric metric;
      metric.descriptor = sample.descriptor;
      metric.resource = resource_;
      metric.temporality = temporality_;
      out.push_back(std::move(metric));
    }
    NumberPoint point;
    for (const auto& [key, value] : sample.labels) point.attributes.Add(key, value);
    point.start_unix_ns = snapshot.start_unix_ns;
    point.time_unix_ns = snapshot.now_unix_ns;
    double value = sample.value;
    if (delta && IsCounter(*sample.descriptor)) {
      double& last = last_[SampleKey(sample)];
      value -= last;
      last = sample.value;
      if (last_unix_ns_ != 0) point.start_unix_ns = last_unix_ns_;
    }
    if (IsWhole(*sample.descriptor)) {
      point.value = static_cast<int64_t>(value);
    } else {
      point.value = value;
    }
    out[found->second].numbers.push_back(std::move(point));
  }
  last_unix_ns_ = snapshot.now_unix_ns;
}

uint64_t ResidentBytes() { return PagesOfSelf().resident; }

uint64_t AnonymousBytes() {
  const Pages pages = PagesOfSelf();
  return pages.resident - std::min(pages.resident, pages.shared);
}

double CpuSeconds() {
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace zerotap
