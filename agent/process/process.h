// What is known of a process, and the shape in which the rest of the agent uses it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/telemetry/resource.h"

namespace zerotap {

// Facts read from the kernel's exec record and from /proc; whatever could not be read is empty. All
// texts are UTF-8.
struct ProcessFacts {
  uint32_t pid = 0;
  uint32_t parent_pid = 0;
  std::string executable;  // resolved path of /proc/PID/exe
  std::string comm;
  std::vector<std::string> arguments;    // argv
  std::vector<std::string> environment;  // only OTEL_* and the few variables that naming needs
  std::string working_directory;
  std::string cgroup_path;  // cgroup v2 path, or the longest of v1
  std::string owner;        // user name, else uid
  uint64_t start_unix_ns = 0;
  uint64_t start_boot_ns = 0;  // CLOCK_BOOTTIME; from /proc it is a whole number of clock ticks
  uint64_t cgroup_id = 0;

  // The value of an environment variable, empty when it is unset or empty (OpenTelemetry treats
  // both alike).
  std::string_view Environment(std::string_view name) const {
    for (const std::string& entry : environment) {
      std::string_view text(entry);
      if (text.size() > name.size() && text.substr(0, name.size()) == name &&
          text[name.size()] == '=') {
        return text.substr(name.size() + 1);
      }
    }
    return {};
  }
};

// What the pipeline asks for: who this is, and whether we trace it.
struct ProcessIdentity {
  uint32_t tgid = 0;
  bool traced = true;    // false: excluded by the target rules
  ResourcePtr resource;  // never null when traced
};

}  // namespace zerotap
