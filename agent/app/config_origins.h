// Which source of settings a value came from, for print-config: each source is applied alone, and what
// it changes is its own. A source that repeats a value that stands already is not named.
#pragma once

#include <functional>
#include <string>

#include "agent/app/config.h"

namespace zerotap {

// `apply` puts one source called `name` over a copy of `before`.
void NoteOrigins(const Config& before, const std::string& name,
                 const std::function<void(Config&)>& apply, ConfigOrigins& origins);
// Of every variable that is set and read.
void NoteEnvironmentOrigins(const Environment& environment, const Config& before,
                            ConfigOrigins& origins);

}  // namespace zerotap
