// What a configuration that was read again changes in a running agent, and what it cannot.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/app/config.h"

namespace zerotap {

// What a start with these settings puts in force: without spans nobody reads what threads waited for,
// so that this is not loaded.
Config AtStart(Config config);

// Whether a changed value of this key takes effect without a restart.
bool ChangesLive(std::string_view key);

struct ConfigChange {
  Config config;                   // the new one, with what needs a restart left as it is now
  std::vector<std::string> taken;  // keys that differ and take effect
  std::vector<std::string> held;   // keys that differ and need a restart
  bool processes = false;          // who processes are, or whether they are traced
  bool exporters = false;
};

ConfigChange PlanChange(const Config& current, const Config& wanted);

}  // namespace zerotap
