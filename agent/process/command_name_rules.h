// The rules per runtime behind command_name.h. Each takes the arguments after argv[0]; an empty
// name means that the command line shows no more than the interpreter.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "agent/process/command_name.h"

namespace zerotap::command_name {

using Arguments = std::span<const std::string>;

struct Command {
  const ProcessFacts& facts;
  const BinaryFacts& binary;
  const RootDirectory& files;
  Arguments arguments;     // after argv[0]
  std::string_view title;  // argv[0] when the process wrote a text over its arguments, else empty
};

CommandName NameNode(const Command& command);
CommandName NameDeno(const Command& command);
CommandName NameBun(const Command& command);
CommandName NamePython(const Command& command);
CommandName NameJava(const Command& command);
CommandName NameRuby(const Command& command);
CommandName NamePhp(const Command& command);
CommandName NamePerl(const Command& command);
CommandName NameErlang(const Command& command);
CommandName NameDotnet(const Command& command);
CommandName NameShell(const Command& command);
CommandName NameGo(const Command& command);

// Whether `argument` is one of `words`.
inline bool IsOneOf(std::string_view argument, std::initializer_list<std::string_view> words) {
  for (std::string_view word : words) {
    if (argument == word) return true;
  }
  return false;
}

// The value of an option given as "--name value" or "--name=value"; empty when it is not there.
inline std::string_view OptionValue(Arguments arguments,
                                    std::initializer_list<std::string_view> names) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string_view argument = arguments[i];
    for (std::string_view name : names) {
      if (argument == name) {
        return i + 1 < arguments.size() ? std::string_view(arguments[i + 1]) : std::string_view();
      }
      if (argument.size() > name.size() && argument.substr(0, name.size()) == name &&
          argument[name.size()] == '=') {
        return argument.substr(name.size() + 1);
      }
    }
  }
  return {};
}

// Index of the first argument that is neither an option nor the value of one of `with_value`;
// arguments.size() when there is none. "--" ends the options.
inline size_t FirstOperand(Arguments arguments,
                           std::initializer_list<std::string_view> with_value) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string_view argument = arguments[i];
    if (argument == "--") return i + 1 < arguments.size() ? i + 1 : arguments.size();
    if (argument.size() < 2 || argument.front() != '-') return i;
    if (IsOneOf(argument, with_value)) ++i;
  }
  return arguments.size();
}

// The last text in square brackets of a process title ("gunicorn: master [shop]").
inline std::string_view Bracketed(std::string_view title) {
  size_t close_mark = title.rfind(']');
  if (close_mark == std::string_view::npos) return {};
  size_t open_mark = title.rfind('[', close_mark);
  if (open_mark == std::string_view::npos) return {};
  return title.substr(open_mark + 1, close_mark - open_mark - 1);
}

}  // namespace zerotap::command_name
