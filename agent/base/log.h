// Logging for the edge rooms (app, capture, process, exporters, http). Pure rooms count instead of logging.
// Payload bytes, SQL and header values are never logged.
#pragma once

#include <spdlog/spdlog.h>

namespace zerotap {

// Logs go to standard error so that standard output carries spans alone. `level` is one of trace, debug,
// info, warn, error, off (OTEL_LOG_LEVEL); an unknown word leaves info and returns false.
bool SetUpLogging(std::string_view level);
// May be called while other threads log.
bool SetLogLevel(std::string_view level);

}  // namespace zerotap
