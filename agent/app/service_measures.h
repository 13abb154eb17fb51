// What the kernel side counted by process, as metrics of the services behind the processes: system
// calls, TCP connections.
//
// Of the pipeline's thread. The process table keeps ended processes for longer than the counts wait
// here.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "agent/capture/measure_reader.h"
#include "agent/metrics/gathered_resources.h"
#include "agent/metrics/red_aggregator.h"
#include "agent/pipeline/pipeline.h"
#include "agent/telemetry/metric.h"

namespace zerotap {

struct MeasureSource {
  std::function<void(std::vector<MeasureDelta>& out)> take;
  std::function<void()> survey;  // before a collection: looks at what has no events of its own
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
  // Takes what there is and appends the metrics.
  void Collect(uint64_t now_unix_ns, std::vector<Metric>& out);

 private:
  // The numbers of a process's connections that are no histograms.
  struct Connections {
    ResourcePtr resource;
    uint64_t start_unix_ns = 0;
    uint64_t retransmits = 0;
    uint64_t open = 0;      // met by the last survey
    uint64_t reported = 0;  // open at the last collection
    uint32_t idle = 0;      // collections without a sign of life
    bool touched = false;
  };

  void AddSyscall(const ResourcePtr& resource, const MeasureDelta& delta, uint64_t now_unix_ns);
  void AddTcp(const ResourcePtr& resource, const MeasureDelta& delta, uint64_t now_unix_ns);
  void CollectConnections(uint64_t now_unix_ns, std::vector<Metric>& out);

  const RedOptions options_;
  MeasureSource source_;
  ResolveProcess resolve_;
  std::function<void(uint32_t tgid)> leave_out_;
  RedAggregator histograms_;
  GatheredResources gathered_;
  std::map<const Resource*, Connections> connections_;
  uint64_t last_collection_ = 0;
  std::vector<MeasureDelta> deltas_;
};

}  // namespace zerotap
