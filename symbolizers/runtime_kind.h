// Which language runtime a program is, from its name and what its ELF file says cheaply.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "symbolizers/go_build_info.h"

namespace zerotap {

enum class RuntimeKind : uint8_t {
  kNative,  // compiled code without a runtime that we know
  kGo,
  kRust,
  kNode,
  kDeno,
  kBun,
  kPython,
  kJava,
  kRuby,
  kPhp,
  kPerl,
  kErlang,
  kDotnet,
  kShell,
};

struct BinaryFacts {
  RuntimeKind runtime = RuntimeKind::kNative;
  std::optional<GoBuildInfo> go;
};

// By the file name of an interpreter, versions included (python3.11, php-fpm8.2, node20); kNative
// for all others.
RuntimeKind RuntimeFromName(std::string_view executable);

// `executable` is the path as the process sees it, `file` is where to open it (/proc/PID/exe). What
// cannot be read leaves what the name says.
BinaryFacts InspectBinary(std::string_view executable, const std::string& file);

}  // namespace zerotap
