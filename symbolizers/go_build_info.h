// What the Go linker says of a program: its toolchain's version and its module, from the
// .go.buildinfo section.
#pragma once

#include <optional>
#include <string>

#include "symbolizers/elf_file.h"

namespace zerotap {

struct GoBuildInfo {
  std::string go_version;  // "go1.22.3"
  std::string
      package_path;  // of package main; "command-line-arguments" when built from a list of files
  std::string module_path;     // empty when built without modules
  std::string module_version;  // "(devel)" or a tag
};

// Empty when the file is no Go program.
std::optional<GoBuildInfo> ReadGoBuildInfo(const ElfFile& elf);

}  // namespace zerotap
