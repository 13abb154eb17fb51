// Head sampling by OTEL_TRACES_SAMPLER. The decision for a root depends on its trace id alone, so every node that sees
// the trace decides alike. Metrics never pass through here.
#pragma once

#include <optional>
#include <string_view>

#include "agent/base/result.h"
#include "agent/telemetry/trace_context.h"

namespace zerotap {

class Sampler {
 public:
  // `name`: always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off,
  // parentbased_traceidratio. `argument`: the ratio, 0 to 1 (default 1).
  static Result<Sampler> Create(std::string_view name, std::string_view argument);

  // `parent_sampled`: the parent's decision, empty for a root.
  // Ratio: sampled when the lowest 56 bits of the trace id are >= (1 - ratio) * 2^56 (W3C level 2 randomness).
  bool ShouldSample(const TraceId& trace_id, std::optional<bool> parent_sampled) const;

 private:
  Sampler(bool parent_based, uint64_t threshold) : parent_based_(parent_based), threshold_(threshold) {}
  bool parent_based_;
  uint64_t threshold_;  // 0 = all, 2^56 = none
};

}  // namespace zerotap
