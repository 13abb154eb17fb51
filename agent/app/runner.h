// The live agent: builds everything from the configuration, runs until it is told to stop, and
// takes it down in order.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "agent/app/config.h"
#include "agent/capture/bpf_capture.h"
#include "agent/process/process_table.h"
#include "agent/redaction/record_redactor.h"

namespace zerotap {

struct RunOptions {
  std::string record_path;
  RecordedPayload record_payload = RecordedPayload::kAll;
  uint64_t duration_seconds = 0;  // 0: until SIGINT or SIGTERM
  // Reads the configuration again, at SIGHUP.
  std::function<Result<LoadedConfig>()> load;
};

CaptureOptions CaptureOptionsOf(const CaptureConfig& config);
ProcessTableOptions ProcessTableOptionsOf(const Config& config);

// Returns an ExitCode. Blocks SIGINT, SIGTERM and SIGHUP in the calling thread and in all that it
// makes, and ignores SIGPIPE.
int RunAgent(const LoadedConfig& loaded, const RunOptions& options);

}  // namespace zerotap
