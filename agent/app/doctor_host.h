// What this kernel, these rights, this configuration and its receivers allow.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "agent/app/config.h"
#include "agent/app/doctor_report.h"
#include "agent/capture/capture_check.h"

namespace zerotap {

// Adds what the kernel says to the report: each check with its remedy, and which tier would be taken.
// `try_tier` loads one tier (TryTier).
void CheckKernel(const KernelFacts& facts, const CaptureConfig& config,
                 const std::function<TierCheck(CaptureTier)>& try_tier, DoctorReport& report);

// The configuration in use, and whether each receiver takes an empty export.
void CheckConfiguration(const LoadedConfig& loaded, DoctorReport& report);

// What an agent that runs on this host says of a process.
struct RunningAgent {
  bool answers = false;
  std::map<uint32_t, uint64_t> own_spans;  // requests left to the SDK, by pid
};
// Asks the health server of the configuration.
RunningAgent AskRunningAgent(const Config& config, DoctorReport& report);

}  // namespace zerotap
