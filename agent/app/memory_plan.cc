#include "agent/app/memory_plan.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

#include "agent/app/config_units.h"
#include "agent/base/cpu_list.h"
#include "agent/pipeline/shard_set.h"

namespace zerotap {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;

constexpr uint64_t kDefaultLimit = 256 * kMiB;
// Code and libraries, stacks, the ledger's rows, caches of texts, spans that are kept for their memory, and what a heap
// loses between its pieces.
constexpr uint64_t kFixedBytes = 36 * kMiB;
// One batch with its encoded and its compressed form.
constexpr uint64_t kSpanExportBytes = 12 * kMiB;
constexpr uint64_t kMetricExportBytes = 8 * kMiB;
constexpr uint64_t kSeriesBytes = 1 * kKiB;
constexpr uint64_t kExponentialSeriesBytes = 2 * kKiB;
// Durations of HTTP servers, HTTP clients, databases; of system calls, connects, round trips.
constexpr uint64_t kSeriesMetrics = 6;
constexpr uint64_t kProcessBytes = 4 * kKiB;
// In the kernel: an element of a hash with what comes with it, by the size of key and value, and a place in its table.
constexpr uint64_t kElementBytes = 64;
constexpr uint64_t kWaitingThreads = 16384;
constexpr uint64_t kSyscallStarts = 65536;
constexpr uint64_t kListedProcesses = 65536;
constexpr uint64_t kSmallMapsBytes = 2 * kMiB;
constexpr uint64_t kMeasureBytes = 104;
// A connection's place in the table that says in which shard it is.
constexpr uint64_t kShardPlaceBytes = 48;

// What the parts that can be of any size get of what is left, in hundredths.
constexpr uint64_t kConnectionsShare = 30;
constexpr uint64_t kQueueShare = 28;
constexpr uint64_t kHeldShare = 10;
constexpr uint64_t kSeriesShare = 9;
constexpr uint64_t kMetricQueueShare = 12;
constexpr uint64_t kProcessesShare = 11;
static_assert(kConnectionsShare + kQueueShare + kHeldShare + kSeriesShare + kMetricQueueShare + kProcessesShare == 100);
constexpr uint64_t kLeastShared = 24 * kMiB;

uint64_t SeriesBytes(const Config& config) {
  return config.metrics.histogram == "exponential" ? kExponentialSeriesBytes : kSeriesBytes;
}

// What a thread that parses keeps for the requests to come (protocols/http1_pending.cc).
constexpr uint64_t kSpareRequestsBytes = 512 * 9 * kKiB;

// The records that are gathered with what says where they are, what the shards say of them, in which
// one a connection is, and what the threads keep that there are besides.
uint64_t ShardBytes(const Config& config) {
  const uint64_t shards = PipelineShards(config);
  if (shards == 1) return 0;
  return 2 * ShardSet::kBatchBytes + shards * ShardSet::kLaneBytes +
         (shards - 1) * kSpareRequestsBytes +
         config.capture.max_connections * kShardPlaceBytes;
}

uint64_t MapBytes(const Config& config) {
  const uint64_t connections = config.capture.max_connections;
  uint64_t bytes = connections * (kElementBytes + 144) + kSmallMapsBytes + kListedProcesses * (kElementBytes + 16);
  if (config.tcp.enabled) {
    bytes += connections * (kElementBytes + 48);
    bytes += config.tcp.max_series * (kElementBytes + 8 + kMeasureBytes);
  }
  if (config.waits_enabled) bytes += kWaitingThreads * (kElementBytes + 112);
  if (config.syscalls.enabled) {
    bytes += kSyscallStarts * (kElementBytes + 32);
    bytes += config.syscalls.max_series * (kElementBytes + 8 + config.memory.cpus * kMeasureBytes);
  }
  return bytes;
}

// What does not depend on the limit but through the sizes of the kernel's maps.
uint64_t Unshared(const Config& config) {
  return kFixedBytes + SendingExporters(config.exports.traces) * kSpanExportBytes +
         SendingExporters(config.exports.metrics) * kMetricExportBytes + KernelMemory(config) +
         ShardBytes(config);
}

// A function of the limit, so that others are tried until everything fits.
template <typename IsSet>
void DeriveCaps(const IsSet& is_set, uint64_t limit, Config& config) {
  const auto derive = [&is_set](std::string_view key, uint64_t& value, uint64_t derived) {
    if (!is_set(key)) value = derived;
  };
  const uint64_t cpus = config.memory.cpus;
  const uint64_t ring = cpus <= 4 ? 8 * kMiB : cpus <= 16 ? 16 * kMiB : 32 * kMiB;
  derive("capture.ring_size", config.capture.ring_bytes,
         std::clamp<uint64_t>(std::bit_floor(limit / 32), 256 * kKiB, ring));
  derive("capture.max_connections", config.capture.max_connections,
         std::clamp<uint64_t>(limit / (4 * kKiB), 1024, 65536));
  derive("tcp.max_series", config.tcp.max_series, std::clamp<uint64_t>(limit / (64 * kKiB), 64, 4096));
  derive("syscalls.max_series", config.syscalls.max_series,
         std::clamp<uint64_t>(limit / 32 / (kElementBytes + cpus * kMeasureBytes), 64, 4096));
  const uint64_t unshared = Unshared(config);
  const uint64_t shared = limit > unshared + kLeastShared ? limit - unshared : kLeastShared;
  const auto share = [shared](uint64_t hundredths) { return shared / 100 * hundredths; };
  config.memory.connection_bytes = share(kConnectionsShare);
  config.memory.metric_queue_points = share(kMetricQueueShare) / SendingExporters(config.exports.metrics) / SeriesBytes(config);
  config.memory.max_processes = std::clamp<uint64_t>(share(kProcessesShare) / kProcessBytes, 256, 8192);
  config.pipeline.max_held_bytes = share(kHeldShare);
  config.memory.sizes_queues = !is_set("export.queue_memory");
  derive("export.queue_memory", config.exports.queue_bytes,
         std::max(kMiB, share(kQueueShare) / SendingExporters(config.exports.traces) / kMiB * kMiB));
  derive("metrics.max_series", config.pipeline.red.max_series_per_metric,
         std::clamp<uint64_t>(share(kSeriesShare) / kSeriesMetrics / SeriesBytes(config) * 2 / 3, 100, 2000));
  config.pipeline.max_connections = config.capture.max_connections;
}

uint64_t RoundUpToMiB(uint64_t bytes) { return (bytes + kMiB - 1) / kMiB * kMiB; }

// What was set takes more than its share: the others get what a lower limit would give them, as much as fits.
template <typename IsSet>
Status FitBelow(const IsSet& is_set, Config& config) {
  for (uint64_t trial = config.memory.limit_bytes; trial > 0;) {
    trial -= std::min(trial, kMiB);
    DeriveCaps(is_set, trial, config);
    if (PlanMemory(config).total() <= config.memory.limit_bytes) return {};
  }
  const MemoryPlan least = PlanMemory(config);
  return Fail("memory.limit: " + ByteSizeText(config.memory.limit_bytes) + " is too little for what is asked for; set it to " +
              ByteSizeText(RoundUpToMiB(least.total())) + " or more, or caps to less (" + least.Text() + ")");
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// "max" and the huge numbers of version 1 are no limit.
uint64_t LimitIn(const std::string& path) {
  const std::optional<uint64_t> bytes = ParseUnsigned(TrimSpace(ReadText(path)));
  return bytes && *bytes < (uint64_t{1} << 50) ? *bytes : 0;
}

uint64_t LeastOf(const std::string& base, std::string path, const char* file) {
  uint64_t least = 0;
  while (true) {
    const uint64_t limit = LimitIn(base + path + "/" + file);
    if (limit != 0 && (least == 0 || limit < least)) least = limit;
    if (path.empty() || path == "/") return least;
    path.erase(path.rfind('/'));
  }
}

// Of a list as "0-3,8". 0: it says nothing.
unsigned CpusOf(std::string_view list) {
  unsigned cpus = 0;
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    const std::string_view range = TrimSpace(list.substr(0, comma));
    list.remove_prefix(std::min(comma + 1, list.size()));
    const size_t dash = range.find('-');
    const std::optional<uint64_t> first = ParseUnsigned(range.substr(0, dash));
    const std::optional<uint64_t> last =
        dash == std::string_view::npos ? first : ParseUnsigned(range.substr(dash + 1));
    if (first && last && *first <= *last) cpus += static_cast<unsigned>(*last - *first + 1);
  }
  return cpus;
}

}  // namespace

uint64_t SendingExporters(const std::vector<std::string>& names) {
  return std::max<uint64_t>(1, static_cast<uint64_t>(std::count_if(
                                   names.begin(), names.end(), [](const std::string& name) { return name != "none"; })));
}

uint64_t MemoryPlan::total() const {
  uint64_t sum = 0;
  for (const MemoryPart& part : parts) sum += part.bytes;
  return sum;
}

std::string MemoryPlan::Text() const {
  std::vector<std::string> texts;
  for (const MemoryPart& part : parts) {
    texts.push_back(ByteSizeText(RoundUpToMiB(part.bytes)) + " " + std::string(part.what));
  }
  return JoinList(texts);
}

uint64_t ControlGroupMemoryLimit(const std::string& root) {
  std::ifstream file(root + "proc/self/cgroup");
  uint64_t least = 0;
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    uint64_t limit = 0;
    if (controllers.empty()) {
      limit = LeastOf(root + "sys/fs/cgroup", path, "memory.max");
    } else if (("," + controllers + ",").find(",memory,") != std::string::npos) {
      limit = LeastOf(root + "sys/fs/cgroup/memory", path, "memory.limit_in_bytes");
    }
    if (limit != 0 && (least == 0 || limit < least)) least = limit;
  }
  return least;
}

MachineFacts ReadMachineFacts(const std::string& root) {
  MachineFacts facts;
  facts.control_group_bytes = ControlGroupMemoryLimit(root);
  const std::optional<size_t> last = LastCpuOf(ReadText(root + "sys/devices/system/cpu/possible"));
  facts.cpus = last ? static_cast<unsigned>(*last) + 1 : std::max(1u, std::thread::hardware_concurrency());
  facts.online_cpus = CpusOf(ReadText(root + "sys/devices/system/cpu/online"));
  if (facts.online_cpus == 0) facts.online_cpus = std::max(1u, std::thread::hardware_concurrency());
  return facts;
}

// What shards do not take part in is more than half of the work: two hardly pay for the copies, and many are of no use.
uint64_t PipelineShards(const Config& config) {
  if (config.shards != 0) return config.shards;
  return config.memory.online_cpus <= 16 ? 1 : 4;
}

uint64_t KernelMemory(const Config& config) {
  return std::bit_ceil(config.capture.ring_bytes) + MapBytes(config);
}

MemoryPlan PlanMemory(const Config& config) {
  // With those of overflow: a quarter by process, a quarter by service.
  const uint64_t series = kSeriesMetrics * config.pipeline.red.max_series_per_metric * SeriesBytes(config) / 2 * 3;
  const uint64_t traces = SendingExporters(config.exports.traces);
  const uint64_t metrics = SendingExporters(config.exports.metrics);
  MemoryPlan plan;
  plan.parts = {
      {"code and fixed parts", kFixedBytes},
      {"export in progress", traces * kSpanExportBytes + metrics * kMetricExportBytes},
      {"ring (capture.ring_size)", std::bit_ceil(config.capture.ring_bytes)},
      {"kernel maps (capture.max_connections, tcp.max_series, syscalls.max_series)", MapBytes(config)},
      {"connections", config.memory.connection_bytes},
      {"spans held", config.pipeline.max_held_bytes},
      {"span queues (export.queue_memory)", traces * config.exports.queue_bytes},
      {"series (metrics.max_series)", series},
      // A queue takes one collection of any size.
      {"metric queues", metrics * std::max(config.memory.metric_queue_points * SeriesBytes(config), series)},
      {"processes", config.memory.max_processes * kProcessBytes},
  };
  if (ShardBytes(config) != 0) plan.parts.push_back({"shards (pipeline.shards)", ShardBytes(config)});
  return plan;
}

Status ApplyMemoryLimit(const MachineFacts& machine, const ConfigOrigins& origins, Config& config,
                        std::vector<std::string>& warnings) {
  const auto is_set = [&origins](std::string_view key) { return origins.count(std::string(key)) != 0; };
  config.memory.cpus = std::max(1u, machine.cpus);
  config.memory.online_cpus = std::max(1u, machine.online_cpus);
  const bool chosen = config.memory.limit_bytes != 0;
  if (!chosen) {
    // The rest of a group is for what is counted there besides: file pages, sockets.
    const uint64_t of_group = machine.control_group_bytes / 8 * 7;
    config.memory.limit_bytes = of_group == 0 ? kDefaultLimit : std::min(kDefaultLimit, of_group);
  }
  DeriveCaps(is_set, config.memory.limit_bytes, config);
  if (PlanMemory(config).total() <= config.memory.limit_bytes) return {};
  if (chosen) return FitBelow(is_set, config);
  // With a higher limit the derived caps are higher too: the least that fits is looked for.
  Config enough = config;
  uint64_t least = RoundUpToMiB(config.memory.limit_bytes);
  while (PlanMemory(enough).total() > least) {
    least += kMiB;
    enough.memory.limit_bytes = least;
    DeriveCaps(is_set, least, enough);
  }
  config = std::move(enough);
  if (machine.control_group_bytes != 0) {
    warnings.push_back("zerotap may need " + ByteSizeText(least) + ", but its control group may use " +
                       ByteSizeText(machine.control_group_bytes) + "; set memory.limit and lower what does not fit (" +
                       PlanMemory(config).Text() + ")");
  }
  return {};
}

}  // namespace zerotap
