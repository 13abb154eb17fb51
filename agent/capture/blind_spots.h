// What a way of watching cannot see, told and not hidden: for the start-up log and for whoever asks what this host can do.
#pragma once

#include <string>
#include <vector>

#include "agent/capture/bpf_capture.h"

namespace zerotap {

// One sentence each, the most frequent first. `tier` is kA or kB.
std::vector<std::string> BlindSpots(CaptureTier tier);

// What the host's state takes away from the tracing that its kernel would allow, each with its
// remedy: kernel lockdown. Empty on most hosts.
std::vector<std::string> HostLimits();

}  // namespace zerotap
