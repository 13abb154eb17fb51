// What the kernel side counted by process, as metrics of the services behind the processes: histograms of system calls.
//
// Of the pipeline's thread. The process table keeps ended processes for longer than the counts wait here.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_set>
#include <vector>

#include "agent/capture/measure_reader.h"
#include "agent/metrics/red_aggregator.h"
#include "agent/pipeline/pipeline.h"
#include "agent/telemetry/metric.h"

namespace zerotap {

struct MeasureSource {
  std::function<void(std::vector<MeasureDelta>& out)> take;
  std::function<void(uint32_t tgid)> forget;  // numbers of this process are not wanted any more
};

class ServiceMeasures {
 public:
  // `leave_out` is told of processes that are not traced.
  ServiceMeasures(const RedOptions& options, MeasureSource source, ResolveProcess resolve,
                  std::function<void(uint32_t tgid)> leave_out);

  // Every few seconds.
  void Take(uint64_t now_unix_ns);
  void OnExit(uint32_t tgid);
  void Collect(uint64_t now_unix_ns, std::vector<Metric>& out);

 private:
  MeasureSource source_;
  ResolveProcess resolve_;
  std::function<void(uint32_t tgid)> leave_out_;
  RedAggregator histograms_;
  std::vector<MeasureDelta> deltas_;
};

}  // namespace zerotap
