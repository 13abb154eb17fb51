// A useful name from how a process was started: the script, jar, module or package, not the
// interpreter.
#pragma once

#include <string>

#include "agent/process/bounded_file.h"
#include "agent/process/process.h"
#include "symbolizers/runtime_kind.h"

namespace zerotap {

struct CommandName {
  std::string name;  // empty: the command says nothing, not even the executable is known
  std::string
      script;  // what the interpreter runs, as it was given; empty for programs of their own
  bool is_parents =
      false;  // a worker of the same application: its parent process has the better name
};

// `files` is the process's own view of the file system (package.json is read there); one without
// files is allowed.
CommandName NameFromCommand(const ProcessFacts& facts, const BinaryFacts& binary,
                            const RootDirectory& files);

}  // namespace zerotap
