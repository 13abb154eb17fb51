// Who emits: one per process, shared by its spans and metrics, immutable once published.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "agent/telemetry/attributes.h"

namespace zerotap {

struct Resource {
  std::string service_name;  // also in `attributes`; never empty
  uint32_t pid = 0;
  AttributeSet attributes;   // semantic conventions: docs/resource
};

using ResourcePtr = std::shared_ptr<const Resource>;

}  // namespace zerotap
