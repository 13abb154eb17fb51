// The OTEL_* variables as the OpenTelemetry specification v1.60 has them: an empty value counts as
// unset, a value that cannot be read is warned about and ignored.
#pragma once

#include <string>
#include <vector>

#include "agent/app/config.h"

namespace zerotap {

// Puts what the variables say over `config`. `errors` gets what must stop the start.
void ReadEnvironment(const Environment& environment, Config& config,
                     std::vector<std::string>& warnings, std::vector<std::string>& errors);

}  // namespace zerotap
