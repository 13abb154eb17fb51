#include "agent/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

#include <string>

namespace zerotap {

bool SetUpLogging(std::string_view level) {
  auto logger = spdlog::stderr_color_mt("zerotap");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v");
  spdlog::set_default_logger(std::move(logger));
  std::string name(level);
  if (name.empty() || name == "info") return true;
  spdlog::level::level_enum parsed = spdlog::level::from_str(name);
  if (parsed == spdlog::level::off && name != "off") return false;
  spdlog::set_level(parsed);
  return true;
}

}  // namespace zerotap
