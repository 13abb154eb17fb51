// Trace and span ids, derived from where the request stood: the agent's seed, the connection and the stream offset of the
// request's first byte. Live capture and replay of its recording therefore give the same ids, and no random source is on the
// hot path. The seed is random per agent run, so ids of two runs or two hosts do not meet.
#pragma once

#include <cstdint>

#include "agent/base/hash.h"
#include "agent/telemetry/trace_context.h"

namespace zerotap {

inline SpanId DeriveSpanId(uint64_t seed, uint64_t connection_id, uint64_t offset, uint32_t ordinal) {
  uint64_t value = CombineHash(CombineHash(CombineHash(seed, connection_id), offset), ordinal);
  return SpanId{value == 0 ? 1 : value};
}

inline TraceId DeriveTraceId(uint64_t seed, SpanId root) {
  uint64_t high = CombineHash(seed ^ 0x5A17F00D00000001ull, root.value);
  uint64_t low = CombineHash(seed ^ 0x5A17F00D00000002ull, high ^ root.value);
  return TraceId{high, low == 0 ? 1 : low};
}

}  // namespace zerotap
