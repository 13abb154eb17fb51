// How the one limit on memory (memory.limit) is shared out: the caps of all parts that hold data follow from it, and
// their worst cases together stay below it. Pure but for what
// reads the machine, so that a test can add them up.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/app/config.h"
#include "agent/base/result.h"

namespace zerotap {

// How many of these names send something; 1 at least.
uint64_t SendingExporters(const std::vector<std::string>& names);

struct MemoryPart {
  std::string_view what;
  uint64_t bytes = 0;  // at worst
};

struct MemoryPlan {
  std::vector<MemoryPart> parts;
  uint64_t total() const;
  std::string Text() const;  // "9MiB ring, 21MiB kernel maps, ..."
};

// What the control group that this process is in, or one around it, may use; 0: there is no limit. `root` holds proc/ and
// sys/.
uint64_t ControlGroupMemoryLimit(const std::string& root);

// As of this machine, below `root`.
MachineFacts ReadMachineFacts(const std::string& root);

// In how many shards the pipeline of a running agent is: as was asked for, else by the number of CPUs.
uint64_t PipelineShards(const Config& config);

// The worst cases of all parts under the caps of `config`.
MemoryPlan PlanMemory(const Config& config);

// Of these, what the kernel holds.
uint64_t KernelMemory(const Config& config);

// Gives memory.limit its value if nobody has set it, then all caps that `origins` does not name. Fails when the limit is
// too low for what was asked for, with the least that would do.
Status ApplyMemoryLimit(const MachineFacts& machine, const ConfigOrigins& origins, Config& config,
                        std::vector<std::string>& warnings);

}  // namespace zerotap
