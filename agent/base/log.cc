#include "agent/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

#include <memory>
#include <string>

namespace zerotap {

bool SetUpLogging(std::string_view level) {
  constexpr char kName[] = "zerotap";
  std::shared_ptr<spdlog::logger> logger = spdlog::get(kName);  // making it twice would throw
  if (!logger) logger = spdlog::stderr_color_mt(kName);
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v");
  spdlog::set_default_logger(std::move(logger));
  if (SetLogLevel(level)) return true;
  spdlog::set_level(spdlog::level::info);
  return false;
}

bool SetLogLevel(std::string_view level) {
  std::string name(level);
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  if (name.empty()) name = "info";
  spdlog::level::level_enum parsed = spdlog::level::from_str(name);
  if (parsed == spdlog::level::off && name != "off") return false;
  spdlog::set_level(parsed);
  return true;
}

}  // namespace zerotap
