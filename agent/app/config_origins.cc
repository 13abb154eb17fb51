#include "agent/app/config_origins.h"

#include <algorithm>

#include "agent/app/config_environment.h"
#include "agent/app/config_schema.h"

namespace zerotap {

// What a source changes when it alone is applied is what came from it.
void NoteOrigins(const Config& before, const std::string& name,
                 const std::function<void(Config&)>& apply, ConfigOrigins& origins) {
  Config after = before;
  apply(after);
  const auto old_texts = ConfigTexts(before);
  const std::map<std::string, std::string> known(old_texts.begin(), old_texts.end());
  for (const auto& [key, value] : ConfigTexts(after)) {
    auto found = known.find(key);
    if (found == known.end() || found->second != value) origins[key] = name;
  }
}

void NoteEnvironmentOrigins(const Environment& environment, const Config& before,
                            ConfigOrigins& origins) {
  std::vector<std::string> names;  // that are set, in the order in which they are asked for
  Config ignored_config = before;
  std::vector<std::string> ignored;
  ReadEnvironment(
      [&](const std::string& name) {
        std::optional<std::string> value = environment(name);
        if (value && std::find(names.begin(), names.end(), name) == names.end()) {
          names.push_back(name);
        }
        return value;
      },
      ignored_config, ignored, ignored);
  for (const std::string& name : names) {
    const Environment alone = [&](const std::string& asked) {
      return asked == name ? environment(asked) : std::nullopt;
    };
    NoteOrigins(
        before, name, [&](Config& config) { ReadEnvironment(alone, config, ignored, ignored); },
        origins);
  }
}

}  // namespace zerotap
