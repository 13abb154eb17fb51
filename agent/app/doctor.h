// zerotap doctor: what would be captured here, of whom, what would not, and why.
#pragma once

#include <cstdio>

#include "agent/app/config.h"
#include "agent/app/doctor_host.h"

namespace zerotap {

struct DoctorOptions {
  bool json = false;
  bool all_processes = false;  // also those without sockets
};

// Prints the report to `out` and returns an ExitCode: good when zerotap run would capture.
int RunDoctor(const LoadedConfig& loaded, const DoctorOptions& options, std::FILE* out);

// The processes below `root`, by the rules of the configuration.
Status CheckProcesses(const Config& config, const std::string& root, const RunningAgent& agent,
                      bool all_processes, DoctorReport& report);

}  // namespace zerotap
