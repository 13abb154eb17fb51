// `zerotap replay`.
#pragma once

#include <cstdio>
#include <string>

#include "agent/app/config.h"

namespace zerotap {

// Writes the spans of a recording to `out`, as they come, in OTLP JSON lines; with `metrics` the
// RED metrics of all of it at the end. Returns an ExitCode.
int RunReplay(const std::string& path, const Config& config, bool metrics, std::FILE* out);

}  // namespace zerotap
