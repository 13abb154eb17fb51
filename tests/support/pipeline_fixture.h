// What tests of the pipeline stand in its place of: the kernel side that is told what to do, and
// who its processes are.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "agent/events/event_source.h"
#include "agent/pipeline/pipeline.h"

namespace zerotap::testing {

// Keeps what is in force.
class KeptControl : public CaptureControl {
 public:
  void SetVerdict(uint64_t connection_id, const zt_verdict& verdict) override {
    verdicts[connection_id] = verdict;
    ++verdicts_set;
  }
  void SetProcessPolicy(uint32_t tgid, zt_process_policy policy) override { policies[tgid] = policy; }
  void ForgetProcess(uint32_t tgid) override { policies.erase(tgid); }

  std::map<uint64_t, zt_verdict> verdicts;
  std::map<uint32_t, zt_process_policy> policies;
  int verdicts_set = 0;
};

// Called `prefix` and its number.
inline TracedProcess NamedProcess(uint32_t tgid, bool traced = true,
                                  const std::string& prefix = "service-") {
  auto resource = std::make_shared<Resource>();
  resource->service_name = prefix + std::to_string(tgid);
  resource->pid = tgid;
  return TracedProcess{tgid, traced, std::move(resource)};
}

}  // namespace zerotap::testing
