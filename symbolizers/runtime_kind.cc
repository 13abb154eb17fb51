#include "symbolizers/runtime_kind.h"

#include <array>
#include <utility>

namespace zerotap {
namespace {

constexpr size_t kMaxComment = 4096;

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

// "python3.11" -> "python", "php-fpm8.2" -> "php-fpm", "node-20" -> "node".
std::string_view WithoutVersion(std::string_view name) {
  size_t end = name.find_last_not_of("0123456789.");
  if (end == std::string_view::npos) return name;
  name = name.substr(0, end + 1);
  if (name.size() > 1 && name.back() == '-') name.remove_suffix(1);
  return name;
}

constexpr std::array<std::pair<std::string_view, RuntimeKind>, 29> kInterpreters{{
    {"node", RuntimeKind::kNode},        {"nodejs", RuntimeKind::kNode},
    {"deno", RuntimeKind::kDeno},        {"bun", RuntimeKind::kBun},
    {"bunx", RuntimeKind::kBun},         {"python", RuntimeKind::kPython},
    {"pypy", RuntimeKind::kPython},      {"java", RuntimeKind::kJava},
    {"javaw", RuntimeKind::kJava},       {"ruby", RuntimeKind::kRuby},
    {"truffleruby", RuntimeKind::kRuby}, {"php", RuntimeKind::kPhp},
    {"php-fpm", RuntimeKind::kPhp},      {"php-cgi", RuntimeKind::kPhp},
    {"lsphp", RuntimeKind::kPhp},        {"frankenphp", RuntimeKind::kPhp},
    {"perl", RuntimeKind::kPerl},        {"beam.smp", RuntimeKind::kErlang},
    {"dotnet", RuntimeKind::kDotnet},    {"sh", RuntimeKind::kShell},
    {"bash", RuntimeKind::kShell},       {"dash", RuntimeKind::kShell},
    {"ash", RuntimeKind::kShell},        {"zsh", RuntimeKind::kShell},
    {"ksh", RuntimeKind::kShell},        {"mksh", RuntimeKind::kShell},
    {"fish", RuntimeKind::kShell},       {"tcsh", RuntimeKind::kShell},
    {"csh", RuntimeKind::kShell},
}};

// Programs that embed a runtime link its library.
RuntimeKind RuntimeFromLibrary(std::string_view library) {
  if (StartsWith(library, "libpython")) return RuntimeKind::kPython;
  if (StartsWith(library, "libnode.so")) return RuntimeKind::kNode;
  if (StartsWith(library, "libjli.so") || StartsWith(library, "libjvm.so")) {
    return RuntimeKind::kJava;
  }
  if (StartsWith(library, "libruby")) return RuntimeKind::kRuby;
  if (StartsWith(library, "libphp")) return RuntimeKind::kPhp;
  if (StartsWith(library, "libperl.so")) return RuntimeKind::kPerl;
  if (StartsWith(library, "libhostfxr") || StartsWith(library, "libcoreclr")) {
    return RuntimeKind::kDotnet;
  }
  return RuntimeKind::kNative;
}

RuntimeKind RuntimeFromLayout(const ElfFile& elf) {
  // PyInstaller keeps the frozen program in a section of this name.
  if (elf.FindSection("pydata") != nullptr) return RuntimeKind::kPython;
  for (const std::string& library : elf.NeededLibraries()) {
    RuntimeKind kind = RuntimeFromLibrary(library);
    if (kind != RuntimeKind::kNative) return kind;
  }
  // .NET ahead-of-time programs keep their modules list in sections of these names.
  if (elf.FindSection("__modules") != nullptr && elf.FindSection("__managedcode") != nullptr) {
    return RuntimeKind::kDotnet;
  }
  if (const ElfSection* comment = elf.FindSection(".comment")) {
    std::string compilers = elf.ReadSection(*comment, kMaxComment);
    if (compilers.find("rustc version") != std::string::npos) return RuntimeKind::kRust;
  }
  return RuntimeKind::kNative;
}

}  // namespace

RuntimeKind RuntimeFromName(std::string_view executable) {
  std::string_view name = executable.substr(executable.rfind('/') + 1);
  for (std::string_view candidate : {name, WithoutVersion(name)}) {
    for (const auto& [interpreter, kind] : kInterpreters) {
      if (candidate == interpreter) return kind;
    }
  }
  return RuntimeKind::kNative;
}

BinaryFacts InspectBinary(std::string_view executable, const std::string& file) {
  BinaryFacts facts;
  facts.runtime = RuntimeFromName(executable);
  // Interpreters are what their name says; FrankenPHP is a Go program, but it is PHP that it runs.
  if (facts.runtime != RuntimeKind::kNative) return facts;
  Result<ElfFile> elf = ElfFile::Open(file);
  if (!elf) return facts;
  facts.go = ReadGoBuildInfo(*elf);
  facts.runtime = facts.go ? RuntimeKind::kGo : RuntimeFromLayout(*elf);
  return facts;
}

}  // namespace zerotap
