#include "agent/process/command_name.h"

#include <algorithm>
#include <array>
#include <utility>

#include "agent/process/command_name_rules.h"
#include "agent/process/path_name.h"

namespace zerotap {
namespace command_name {
namespace {

bool IsVersionElement(std::string_view element) {
  return element.size() > 1 && element.front() == 'v' &&
         element.find_first_not_of("0123456789", 1) == std::string_view::npos;
}

// The last element of a Go import path that says something: "github.com/acme/shop/cmd/server/v2" ->
// "shop".
std::string NameFromImportPath(std::string_view path) {
  while (!path.empty()) {
    size_t slash = path.rfind('/');
    std::string_view element = path.substr(slash + 1);
    bool is_host = slash == std::string_view::npos && element.find('.') != std::string_view::npos;
    bool generic = IsVersionElement(element) || IsGenericStem(element) ||
                   IsOneOf(element, {"cmd", "server", "service", "cli", "bin"});
    if (!generic && !is_host && !element.empty()) {
      // gopkg.in/foo.v2
      size_t dot = element.rfind('.');
      if (dot != std::string_view::npos && IsVersionElement(element.substr(dot + 1))) {
        element = element.substr(0, dot);
      }
      return std::string(element);
    }
    if (slash == std::string_view::npos) break;
    path = path.substr(0, slash);
  }
  return {};
}

}  // namespace

CommandName NameGo(const Command& command) {
  if (!command.binary.go) return {};
  const GoBuildInfo& go = *command.binary.go;
  CommandName result;
  // Built from files by name: only the module, if any, has a name.
  if (go.package_path != "command-line-arguments")
    result.name = NameFromImportPath(go.package_path);
  if (result.name.empty()) result.name = NameFromImportPath(go.module_path);
  return result;
}

CommandName NameShell(const Command& command) {
  size_t index = FirstOperand(command.arguments, {"-o", "+o", "-O", "--rcfile", "--init-file"});
  for (size_t i = 0; i < index && i < command.arguments.size(); ++i) {
    // -c takes its commands from the next argument: there is no script.
    std::string_view option = command.arguments[i];
    if (option.size() > 1 && option[0] == '-' && option[1] != '-' &&
        option.find('c') != std::string_view::npos) {
      return {};
    }
  }
  if (index >= command.arguments.size()) return {};
  const std::string& script = command.arguments[index];
  return {NameFromScript(script, command.facts.working_directory, {".sh", ".bash", ".zsh", ".ksh"}),
          script, false};
}

CommandName NameDotnet(const Command& command) {
  Arguments arguments = command.arguments;
  auto from_assembly = [](const std::string& path) {
    return CommandName{std::string(WithoutExtension(BaseName(path), {".dll", ".exe"})), path,
                       false};
  };
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string_view argument = arguments[i];
    if (EndsWith(argument, ".dll") && argument.front() != '-') {
      // The SDK's own commands are assemblies too: their operand is the application's project.
      bool host = IsOneOf(BaseName(argument), {"dotnet.dll", "MSBuild.dll", "vstest.console.dll",
                                               "dotnet-watch.dll", "VBCSCompiler.dll"});
      if (!host) return from_assembly(arguments[i]);
    }
    if (IsOneOf(argument, {"--depsfile", "--runtimeconfig", "--additionalprobingpath",
                           "--fx-version", "--roll-forward"})) {
      ++i;
    }
  }
  std::string_view project = OptionValue(arguments, {"--project", "-p"});
  if (!project.empty()) {
    return {std::string(WithoutExtension(BaseName(project), {".csproj", ".fsproj", ".vbproj"})), "",
            false};
  }
  if (!arguments.empty() && IsOneOf(arguments[0], {"run", "watch"})) {
    return {ApplicationDirectory(command.facts.working_directory), "", false};
  }
  return {};
}

CommandName NamePerl(const Command& command) {
  if (!command.title.empty()) {
    // starman master /srv/shop/app.psgi
    std::string_view program = command.title.substr(0, command.title.find_first_of(" :"));
    return {std::string(BaseName(program)), "", false};
  }
  for (const std::string& argument : command.arguments) {
    if (StartsWith(argument, "-e") || StartsWith(argument, "-E")) return {};
    if (EndsWith(argument, ".psgi")) {
      return {NameFromScript(argument, command.facts.working_directory, {".psgi"}), argument,
              false};
    }
  }
  size_t index = FirstOperand(command.arguments, {"-I"});
  if (index >= command.arguments.size()) return {};
  const std::string& script = command.arguments[index];
  return {NameFromScript(script, command.facts.working_directory, {".pl", ".cgi"}), script, false};
}

CommandName NameErlang(const Command& command) {
  std::string_view release = command.facts.Environment("RELEASE_NAME");
  if (!release.empty()) return {std::string(release), "", false};
  for (size_t i = 0; i + 1 < command.arguments.size(); ++i) {
    std::string_view argument = command.arguments[i];
    std::string_view value = command.arguments[i + 1];
    if (argument == "-s" && value == "rabbit") return {"rabbitmq", "", false};
  }
  std::string_view node = OptionValue(command.arguments, {"-sname", "-name", "--sname", "--name"});
  return {std::string(node.substr(0, node.find('@'))), "", false};
}

}  // namespace command_name

namespace {

using command_name::Command;
using command_name::IsOneOf;

// Servers whose executable has another name than the service.
constexpr std::array<std::pair<std::string_view, std::string_view>, 2> kKnownServers{{
    {"postgres", "postgresql"},
    {"postmaster", "postgresql"},
}};

// One file that is many programs, chosen by argv[0].
bool IsMultiCall(std::string_view name) {
  return IsOneOf(name, {"busybox", "toybox", "coreutils", "toolbox"});
}

bool IsDynamicLoader(std::string_view name) {
  return StartsWith(name, "ld-linux") || StartsWith(name, "ld-musl") ||
         (StartsWith(name, "ld-") && EndsWith(name, ".so"));
}

bool IsWord(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_' || c == '.';
  });
}

// A process that wrote over its arguments leaves one text with spaces where argv was. Such texts
// hold users, databases and states: names are taken out of them only where their form is known.
std::string_view Title(const ProcessFacts& facts) {
  if (facts.arguments.size() != 1) return {};
  std::string_view text = facts.arguments[0];
  if (text.find(' ') == std::string_view::npos || text == facts.executable) return {};
  return text;
}

CommandName Dispatch(const Command& command) {
  switch (command.binary.runtime) {
    case RuntimeKind::kNode:
      return NameNode(command);
    case RuntimeKind::kDeno:
      return NameDeno(command);
    case RuntimeKind::kBun:
      return NameBun(command);
    case RuntimeKind::kPython:
      return NamePython(command);
    case RuntimeKind::kJava:
      return NameJava(command);
    case RuntimeKind::kRuby:
      return NameRuby(command);
    case RuntimeKind::kPhp:
      return NamePhp(command);
    case RuntimeKind::kPerl:
      return NamePerl(command);
    case RuntimeKind::kErlang:
      return NameErlang(command);
    case RuntimeKind::kDotnet:
      return NameDotnet(command);
    case RuntimeKind::kShell:
      return NameShell(command);
    case RuntimeKind::kGo:
      return NameGo(command);
    case RuntimeKind::kRust:
    case RuntimeKind::kNative:
      return {};
  }
  return {};
}

// The interpreter by the name under which people know it: "node" for node20, "python" for
// python3.11.
std::string_view InterpreterName(RuntimeKind kind, std::string_view executable) {
  switch (kind) {
    case RuntimeKind::kNode:
      return "node";
    case RuntimeKind::kPython:
      return StartsWith(executable, "pypy") ? "pypy" : "python";
    case RuntimeKind::kRuby:
      return StartsWith(executable, "ruby") ? "ruby" : executable;
    case RuntimeKind::kPerl:
      return "perl";
    case RuntimeKind::kErlang:
      return "erlang";
    case RuntimeKind::kPhp:
      return StartsWith(executable, "php-fpm") ? "php-fpm"
             : StartsWith(executable, "php")   ? "php"
                                               : executable;
    default:
      return executable;
  }
}

std::string NameFromExecutable(const ProcessFacts& facts, const BinaryFacts& binary) {
  std::string_view path = facts.executable;
  std::string_view name = BaseName(path);
  if (StartsWith(path, "/memfd:")) {
    // The name of a file in memory is a remark for debuggers; argv[0] is what the program was
    // started as.
    name = path.substr(7);
    if (!facts.arguments.empty() && IsWord(BaseName(facts.arguments[0]))) {
      name = BaseName(facts.arguments[0]);
    }
  }
  if (IsMultiCall(name) && !facts.arguments.empty()) {
    std::string_view applet = BaseName(facts.arguments[0]);
    if (applet == name && facts.arguments.size() > 1) applet = facts.arguments[1];
    if (StartsWith(applet, "-")) applet.remove_prefix(1);  // login shells
    if (IsWord(applet)) return std::string(applet);
  }
  if (IsDynamicLoader(name)) {
    for (size_t i = 1; i < facts.arguments.size(); ++i) {
      if (facts.arguments[i].empty() || facts.arguments[i].front() != '-') {
        return std::string(BaseName(facts.arguments[i]));
      }
      if (IsOneOf(facts.arguments[i], {"--library-path", "--preload", "--argv0", "--audit"})) ++i;
    }
  }
  for (const auto& [executable, service] : kKnownServers) {
    if (name == executable) return std::string(service);
  }
  if (RuntimeFromName(name) == binary.runtime && binary.runtime != RuntimeKind::kNative) {
    return std::string(InterpreterName(binary.runtime, name));
  }
  if (IsGenericStem(name)) {
    std::string directory = ApplicationDirectory(DirectoryName(path));
    if (!directory.empty()) return directory;
  }
  return std::string(name);
}

}  // namespace

CommandName NameFromCommand(const ProcessFacts& facts, const BinaryFacts& binary,
                            const RootDirectory& files) {
  Command command{facts, binary, files, {}, Title(facts)};
  if (facts.arguments.size() > 1) {
    command.arguments = command_name::Arguments(facts.arguments).subspan(1);
  }
  CommandName result = Dispatch(command);
  if (!result.name.empty() || result.is_parents) return result;

  // An interpreter that is alone with one word in argv, which is not its own name, was given a
  // title by its program.
  bool interpreted = RuntimeFromName(facts.executable) != RuntimeKind::kNative &&
                     binary.runtime != RuntimeKind::kShell;
  if (interpreted && facts.arguments.size() == 1) {
    std::string_view word = facts.arguments[0];
    if (IsWord(word) && word.find('/') == std::string_view::npos &&
        RuntimeFromName(word) == RuntimeKind::kNative) {
      result.name = word;
      return result;
    }
  }
  result.name = NameFromExecutable(facts, binary);
  if (result.name.empty()) result.name = facts.comm;
  return result;
}

}  // namespace zerotap
