// What is known of a process, and the shape in which the rest of the agent uses it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/telemetry/resource.h"

namespace zerotap {

// Facts read from the kernel's exec record and from /proc; whatever could not be read is empty.
struct ProcessFacts {
  uint32_t pid = 0;
  uint32_t parent_pid = 0;
  std::string executable;              // resolved path of /proc/PID/exe
  std::string comm;
  std::vector<std::string> arguments;  // argv
  std::vector<std::string> environment;  // only OTEL_* and the few variables that naming needs
  std::string working_directory;
  std::string cgroup_path;             // cgroup v2 path, or the longest of v1
  std::string owner;                   // user name, else uid
  uint64_t start_unix_ns = 0;
  uint64_t cgroup_id = 0;
};

// What the pipeline asks for: who this is, and whether we trace it.
struct ProcessIdentity {
  uint32_t tgid = 0;
  bool traced = true;          // false: excluded by the target rules
  ResourcePtr resource;        // never null when traced
};

}  // namespace zerotap
