#include "agent/app/service_measures.h"

#include <algorithm>
#include <array>
#include <string>
#include <unordered_map>
#include <utility>

#include "agent/capture/syscall_table.h"
#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

constexpr uint64_t kBoundsNs[] = {ZT_MEASURE_BOUNDS};
static_assert(std::size(kBoundsNs) == ZT_MEASURE_BOUND_COUNT);

constexpr std::array<double, ZT_MEASURE_BOUND_COUNT> SecondBounds() {
  std::array<double, ZT_MEASURE_BOUND_COUNT> bounds{};
  for (size_t i = 0; i < bounds.size(); ++i) bounds[i] = static_cast<double>(kBoundsNs[i]) / 1e9;
  return bounds;
}
constexpr std::array<double, ZT_MEASURE_BOUND_COUNT> kBounds = SecondBounds();

constexpr MetricDescriptor Histogram(std::string_view name, std::string_view description) {
  return {name, "s", description, MetricType::kHistogram, true, kBounds, true};
}
constexpr MetricDescriptor kSyscallDuration =
    Histogram(semconv::kSyscallDuration, "Duration of system calls, by call and error");
constexpr MetricDescriptor kConnectDuration =
    Histogram(semconv::kTcpConnectDuration, "Duration of attempts to connect by TCP, by error");
constexpr MetricDescriptor kRoundTrip = Histogram(
    semconv::kTcpRoundTrip,
    "Smoothed round-trip time of TCP connections, when they close and at each collection");
constexpr MetricDescriptor kRetransmits = {
    semconv::kTcpRetransmits, "{segment}", "TCP segments sent again", MetricType::kSum, true, {}};
constexpr MetricDescriptor kConnections = {
    semconv::kTcpConnections, "{connection}", "Open TCP connections",
    MetricType::kGauge,       false,          {}};

}  // namespace

ServiceMeasures::ServiceMeasures(const RedOptions& options, MeasureSource source,
                                 ResolveProcess resolve,
                                 std::function<void(uint32_t tgid)> leave_out)
    : options_(options),
      source_(std::move(source)),
      resolve_(std::move(resolve)),
      leave_out_(std::move(leave_out)),
      histograms_(options),
      gathered_(options.max_series_per_metric) {}

void ServiceMeasures::Take(uint64_t now_unix_ns) {
  if (!source_.take) return;
  deltas_.clear();
  source_.take(deltas_);
  std::unordered_map<uint32_t, ResourcePtr> resources;
  for (const MeasureDelta& delta : deltas_) {
    auto [known, added] = resources.try_emplace(delta.key.tgid);
    if (added) {
      std::optional<TracedProcess> process = resolve_(delta.key.tgid);
      if (process && process->traced) known->second = process->resource;
      if (process && !process->traced) leave_out_(delta.key.tgid);
      if (!known->second) source_.forget(delta.key.tgid);
    }
    if (!known->second) continue;
    if (delta.key.what < ZT_MEASURE_SYSCALLS) {
      AddSyscall(known->second, delta, now_unix_ns);
    } else {
      AddTcp(known->second, delta, now_unix_ns);
    }
  }
}

void ServiceMeasures::AddSyscall(const ResourcePtr& resource, const MeasureDelta& delta,
                                 uint64_t now_unix_ns) {
  const std::string name = SyscallName(delta.key.what);
  const std::string error = delta.key.error != 0 ? ErrnoName(delta.key.error) : std::string();
  const std::array<MetricAttribute, 2> attributes = {
      MetricAttribute{semconv::kSyscallName, std::string_view(name)},
      MetricAttribute{semconv::kErrorType, std::string_view(error)}};
  histograms_.RecordBuckets(resource, kSyscallDuration,
                            std::span(attributes).first(delta.key.error != 0 ? 2 : 1), delta.counts,
                            static_cast<double>(delta.sum) * 1e-9, now_unix_ns);
}

void ServiceMeasures::AddTcp(const ResourcePtr& resource, const MeasureDelta& delta,
                             uint64_t now_unix_ns) {
  const std::string error = delta.key.error != 0 ? ErrnoName(delta.key.error) : std::string();
  const MetricAttribute attribute{semconv::kErrorType, std::string_view(error)};
  const std::span<const MetricAttribute> attributes(&attribute, delta.key.error != 0 ? 1 : 0);
  const double seconds = static_cast<double>(delta.sum) * 1e-9;
  const bool too_many = connections_.size() >= options_.max_series_per_metric && !connections_.contains(resource.get());
  const ResourcePtr& counted = too_many ? gathered_.Of(*resource) : resource;
  Connections& connections = connections_[counted.get()];
  if (!connections.resource) {
    connections.resource = counted;
    connections.start_unix_ns = last_collection_ != 0 ? last_collection_ : now_unix_ns;
  }
  connections.touched = true;
  switch (delta.key.what) {
    case ZT_MEASURE_TCP_CONNECT:
      histograms_.RecordBuckets(resource, kConnectDuration, attributes, delta.counts, seconds,
                                now_unix_ns);
      break;
    case ZT_MEASURE_TCP_ROUND_TRIP:
      histograms_.RecordBuckets(resource, kRoundTrip, {}, delta.counts, seconds, now_unix_ns);
      break;
    case ZT_MEASURE_TCP_RETRANSMITS:
      connections.retransmits += delta.sum;
      break;
    case ZT_MEASURE_TCP_OPEN:
      connections.open += delta.sum;
      break;
    default:
      break;
  }
}

void ServiceMeasures::OnExit(uint32_t tgid) {
  if (source_.forget) source_.forget(tgid);
}

void ServiceMeasures::Collect(uint64_t now_unix_ns, std::vector<Metric>& out) {
  for (auto& [key, connections] : connections_) connections.open = 0;
  if (source_.survey) source_.survey();
  Take(now_unix_ns);
  histograms_.Collect(now_unix_ns, out);
  CollectConnections(now_unix_ns, out);
  last_collection_ = now_unix_ns;
}

void ServiceMeasures::CollectConnections(uint64_t now_unix_ns, std::vector<Metric>& out) {
  const bool delta = options_.temporality == Temporality::kDelta;
  const auto add = [&](const MetricDescriptor& descriptor, const Connections& of, uint64_t value) {
    Metric& metric = out.emplace_back();
    metric.descriptor = &descriptor;
    metric.resource = of.resource;
    metric.temporality = options_.temporality;
    NumberPoint& point = metric.numbers.emplace_back();
    point.start_unix_ns = of.start_unix_ns;
    point.time_unix_ns = now_unix_ns;
    point.value = static_cast<int64_t>(value);
  };
  for (auto entry = connections_.begin(); entry != connections_.end();) {
    Connections& connections = entry->second;
    connections.idle = connections.touched ? 0 : connections.idle + 1;
    connections.touched = false;
    if (connections.idle >= std::max<uint32_t>(options_.idle_collections, 1)) {
      entry = connections_.erase(entry);
      continue;
    }
    add(kRetransmits, connections, connections.retransmits);
    // That there are none any more is said once.
    if (connections.open != 0 || connections.reported != 0) {
      add(kConnections, connections, connections.open);
    }
    connections.reported = connections.open;
    if (delta) {
      connections.retransmits = 0;
      connections.start_unix_ns = now_unix_ns;
    }
    ++entry;
  }
}

}  // namespace zerotap
