// What the user typed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "agent/app/config.h"
#include "agent/app/replay_command.h"
#include "agent/redaction/record_redactor.h"

namespace zerotap {

// What main() returns; documented in --help and docs/operations.md.
enum ExitCode : int {
  kExitOk = 0,
  kExitRuntimeFailure = 1,
  kExitBadConfig = 2,
  kExitNotPermitted = 3,  // a privilege or a kernel feature is missing
};

struct CommandLine {
  enum class Command : uint8_t {
    kRun,
    kReplay,
    kDoctor,
    kPrintConfig,
    kExit,  // nothing to do but print `output` and return `exit_code`
  };
  Command command = Command::kRun;
  ConfigOverrides overrides;
  std::string record_path;
  RecordedPayload record_payload = RecordedPayload::kAll;
  ReplayOptions replay;
  bool doctor_json = false;
  bool doctor_all = false;
  uint64_t duration_seconds = 0;  // 0: until a signal
  std::string output;
  int exit_code = kExitOk;
};

CommandLine ParseCommandLine(int argc, const char* const* argv);

}  // namespace zerotap
