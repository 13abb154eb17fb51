// A configuration from the text of a file, variables and flags.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "agent/app/config.h"

namespace zerotap {

using Variables = std::map<std::string, std::string>;

inline Environment FakeEnvironment(Variables variables) {
  return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional<std::string>(found->second);
  };
}

inline std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class ConfigTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }

  std::string Write(const std::string& yaml) {
    std::ofstream(path_) << yaml;
    return path_;
  }

  Result<LoadedConfig> Load(const std::string& yaml, const Variables& variables = {},
                            ConfigOverrides overrides = {}) {
    if (!yaml.empty()) overrides.config_path = Write(yaml);
    return LoadConfig(overrides, FakeEnvironment(variables));
  }
  // The configuration of what must load.
  Config Good(const std::string& yaml, const Variables& variables = {},
              ConfigOverrides overrides = {}) {
    Result<LoadedConfig> loaded = Load(yaml, variables, std::move(overrides));
    EXPECT_TRUE(loaded.has_value()) << (loaded ? "" : loaded.error().message);
    if (!loaded) return {};
    warnings_ = loaded->warnings;
    return std::move(loaded->config);
  }
  // The message about what must not load, without the path of the file.
  std::string Bad(const std::string& yaml, const Variables& variables = {},
                  ConfigOverrides overrides = {}) {
    Result<LoadedConfig> loaded = Load(yaml, variables, std::move(overrides));
    EXPECT_FALSE(loaded.has_value()) << yaml;
    if (loaded) return "";
    std::string message = loaded.error().message;
    for (size_t at = message.find(path_); at != std::string::npos; at = message.find(path_)) {
      message.replace(at, path_.size(), "FILE");
    }
    return message;
  }

  const std::string path_ = (std::filesystem::temp_directory_path() /
                             ("zerotap-config-" + std::to_string(::getpid()) + ".yaml"))
                                .string();
  std::vector<std::string> warnings_;
};

}  // namespace zerotap
