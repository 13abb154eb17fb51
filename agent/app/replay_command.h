// `zerotap replay`: recordings and packet captures through the pipeline of the live agent.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "agent/app/config.h"
#include "agent/packets/packet_tracker.h"

namespace zerotap {

struct ReplayOptions {
  std::vector<std::string> files;  // "-" is standard input
  bool metrics = false;            // the RED metrics too, after the spans
  EndChoice ends = EndChoice::kAuto;
};

// Writes the spans to `out`, as they come, in OTLP JSON lines. What can be read of damaged files
// is; the ExitCode tells.
int RunReplay(const ReplayOptions& options, const Config& config, std::FILE* out);

}  // namespace zerotap
