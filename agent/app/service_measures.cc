#include "agent/app/service_measures.h"

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

constexpr MetricDescriptor kSyscallDuration = {semconv::kSyscallDuration,
                                               "s",
                                               "Duration of system calls, by call and error",
                                               MetricType::kHistogram,
                                               true,
                                               kBounds,
                                               true};

}  // namespace

ServiceMeasures::ServiceMeasures(const RedOptions& options, MeasureSource source,
                                 ResolveProcess resolve,
                                 std::function<void(uint32_t tgid)> leave_out)
    : source_(std::move(source)),
      resolve_(std::move(resolve)),
      leave_out_(std::move(leave_out)),
      histograms_(options) {}

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
    const std::string name = SyscallName(delta.key.what);
    const std::string error = delta.key.error != 0 ? ErrnoName(delta.key.error) : std::string();
    const std::array<Attribute, 2> attributes = {
        Attribute{semconv::kSyscallName, std::string_view(name)},
        Attribute{semconv::kErrorType, std::string_view(error)}};
    histograms_.RecordBuckets(known->second, kSyscallDuration,
                              std::span(attributes).first(delta.key.error != 0 ? 2 : 1),
                              delta.counts, static_cast<double>(delta.sum_ns) * 1e-9, now_unix_ns);
  }
}

void ServiceMeasures::OnExit(uint32_t tgid) {
  if (source_.forget) source_.forget(tgid);
}

void ServiceMeasures::Collect(uint64_t now_unix_ns, std::vector<Metric>& out) {
  histograms_.Collect(now_unix_ns, out);
}

}  // namespace zerotap
