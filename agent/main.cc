// The composition root: what was asked for, with which settings, and the exit code. Errors go to
// standard error, so that standard output carries spans alone.
#include <cstdio>
#include <string>
#include <string_view>

#include "agent/app/command_line.h"
#include "agent/app/config.h"
#include "agent/app/config_yaml.h"
#include "agent/app/doctor.h"
#include "agent/app/memory_plan.h"
#include "agent/app/replay_command.h"
#include "agent/app/runner.h"
#include "agent/base/log.h"

namespace {

void Print(std::FILE* stream, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stream);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace zerotap;
  CommandLine line = ParseCommandLine(argc, argv);
  if (line.command == CommandLine::Command::kExit) {
    Print(line.exit_code == kExitOk ? stdout : stderr, line.output);
    return line.exit_code;
  }
  line.overrides.machine = ReadMachineFacts("/");
  const Result<LoadedConfig> loaded = LoadConfig(line.overrides, ProcessEnvironment());
  if (!loaded) {
    Print(stderr,
          "zerotap: wrong configuration, nothing was started:\n" + loaded.error().message + "\n");
    return kExitBadConfig;
  }
  SetUpLogging(loaded->config.log_level);
  for (const std::string& warning : loaded->warnings) spdlog::warn("{}", warning);
  switch (line.command) {
    case CommandLine::Command::kPrintConfig:
      Print(stdout, PrintYamlConfig(loaded->config, &loaded->origins));
      return kExitOk;
    case CommandLine::Command::kDoctor:
      return RunDoctor(*loaded, {line.doctor_json, line.doctor_all}, stdout);
    case CommandLine::Command::kReplay:
      return RunReplay(line.replay, loaded->config, stdout);
    default:
      return RunAgent(*loaded, {line.record_path, line.record_payload, line.duration_seconds, [&line] {
                                  return LoadConfig(line.overrides, ProcessEnvironment());
                                }});
  }
}
