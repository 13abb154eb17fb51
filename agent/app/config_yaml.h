// The configuration file. yaml-cpp and its exceptions stay behind this header.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/app/config.h"

namespace zerotap {

// Puts what `text` says over `config`; keys that are absent leave it as it is. `file` names the
// text in errors
// ("file:line: key: ..."). Values may refer to variables: ${NAME} or ${NAME:-default}.
void ReadYamlConfig(std::string_view text, std::string_view file, const Environment& environment,
                    Config& config, std::vector<std::string>& errors,
                    ConfigOrigins* origins = nullptr);

// The whole configuration as YAML that ReadYamlConfig accepts. Header values and passwords in URLs
// are masked. With `origins` each value is followed by a comment that says where it came from.
std::string PrintYamlConfig(const Config& config, const ConfigOrigins* origins = nullptr);

}  // namespace zerotap
