// The live agent: builds everything from the configuration, runs until it is told to stop, and
// takes it down in order.
#pragma once

#include <cstdint>
#include <string>

#include "agent/app/config.h"
#include "agent/redaction/record_redactor.h"

namespace zerotap {

struct RunOptions {
  std::string record_path;
  RecordedPayload record_payload = RecordedPayload::kAll;
  uint64_t duration_seconds = 0;  // 0: until SIGINT or SIGTERM
};

// Returns an ExitCode. Blocks SIGINT and SIGTERM in the calling thread and in all that it makes,
// and ignores SIGPIPE.
int RunAgent(const Config& config, const RunOptions& options);

}  // namespace zerotap
