#include "agent/app/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "agent/app/version.h"

namespace zerotap {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Command = CommandLine::Command;

CommandLine Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "zerotap");
  return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

TEST(CommandLine, NothingMeansRun) {
  CommandLine line = Parse({});
  EXPECT_EQ(line.command, Command::kRun);
  EXPECT_EQ(line.duration_seconds, 0u);
  EXPECT_FALSE(line.overrides.endpoint.has_value());
}

TEST(CommandLine, RunOptionsWithAndWithoutTheCommand) {
  for (const bool named : {true, false}) {
    std::vector<const char*> arguments = {"--config",
                                          "c.yaml",
                                          "--exporter",
                                          "otlp,console",
                                          "--endpoint",
                                          "http://a:1",
                                          "--capture-tier=b",
                                          "--record",
                                          "r",
                                          "--log-level",
                                          "debug",
                                          "--health",
                                          "off",
                                          "--duration",
                                          "7",
                                          "--sampler",
                                          "always_off"};
    if (named) arguments.insert(arguments.begin(), "run");
    CommandLine line = Parse(arguments);
    ASSERT_EQ(line.command, Command::kRun) << line.output;
    EXPECT_EQ(line.overrides.config_path, "c.yaml");
    EXPECT_EQ(line.overrides.exporters, "otlp,console");
    EXPECT_EQ(line.overrides.endpoint, "http://a:1");
    EXPECT_EQ(line.overrides.capture_tier, "b");
    EXPECT_EQ(line.overrides.log_level, "debug");
    EXPECT_EQ(line.overrides.health, "off");
    EXPECT_EQ(line.overrides.sampler, "always_off");
    EXPECT_EQ(line.record_path, "r");
    EXPECT_EQ(line.duration_seconds, 7u);
  }
}

TEST(CommandLine, Replay) {
  CommandLine line = Parse({"replay", "--metrics", "file.ztrec"});
  EXPECT_EQ(line.command, Command::kReplay);
  EXPECT_EQ(line.replay.files, std::vector<std::string>{"file.ztrec"});
  EXPECT_TRUE(line.replay.metrics);
  EXPECT_EQ(line.replay.ends, EndChoice::kAuto);
}

TEST(CommandLine, ReplayOfCaptures) {
  CommandLine line = Parse({"replay", "--ends", "both", "a.pcap", "b.pcapng", "-"});
  EXPECT_EQ(line.replay.files, (std::vector<std::string>{"a.pcap", "b.pcapng", "-"}));
  EXPECT_EQ(line.replay.ends, EndChoice::kBoth);
  EXPECT_EQ(Parse({"replay", "--ends", "most", "a"}).exit_code, kExitBadConfig);
  EXPECT_EQ(Parse({"replay"}).exit_code, kExitBadConfig);
}

TEST(CommandLine, RecordedPayload) {
  EXPECT_EQ(Parse({"run", "--record", "r"}).record_payload, RecordedPayload::kAll);
  EXPECT_EQ(Parse({"--record", "r", "--record-payload", "none"}).record_payload, RecordedPayload::kNone);
  EXPECT_EQ(Parse({"run", "--record", "r", "--record-payload", "redacted"}).record_payload,
            RecordedPayload::kRedacted);
  EXPECT_EQ(Parse({"run", "--record-payload", "redacted"}).exit_code, kExitBadConfig);
  EXPECT_EQ(Parse({"run", "--record", "r", "--record-payload", "some"}).exit_code, kExitBadConfig);
}

TEST(CommandLine, PrintConfig) {
  CommandLine line = Parse({"print-config", "--endpoint", "http://a:1"});
  EXPECT_EQ(line.command, Command::kPrintConfig);
  EXPECT_EQ(line.overrides.endpoint, "http://a:1");
}

TEST(CommandLine, Doctor) {
  CommandLine line = Parse({"doctor", "--json", "--all", "--capture-tier", "b"});
  EXPECT_EQ(line.command, Command::kDoctor);
  EXPECT_TRUE(line.doctor_json);
  EXPECT_TRUE(line.doctor_all);
  EXPECT_EQ(line.overrides.capture_tier, "b");
  EXPECT_FALSE(Parse({"doctor"}).doctor_json);
}

TEST(CommandLine, EveryCommandHasExamplesAndExitCodes) {
  const std::string all = Parse({"--help-all"}).output;
  for (const char* command : {"run", "replay", "doctor", "print-config"}) {
    const CommandLine line = Parse({command, "--help"});
    EXPECT_EQ(line.exit_code, kExitOk);
    EXPECT_THAT(line.output, HasSubstr("Examples:\n  "));
    EXPECT_THAT(line.output, HasSubstr("Exit codes: 0 "));
    EXPECT_THAT(Parse({"--help"}).output, HasSubstr(std::string("\n  ") + command + " "));
    EXPECT_THAT(all, HasSubstr(command));
  }
  EXPECT_THAT(all, HasSubstr("--json"));
}

TEST(CommandLine, VersionIsThatOfTheBuild) {
  CommandLine line = Parse({"--version"});
  EXPECT_EQ(line.command, Command::kExit);
  EXPECT_EQ(line.exit_code, kExitOk);
  EXPECT_EQ(line.output, "zerotap " + std::string(kVersion) + "\n");
  std::ifstream file(std::string(ZEROTAP_SOURCE_DIR) + "/CMakeLists.txt");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_THAT(text.str(), HasSubstr("project(zerotap VERSION " + std::string(kVersion) + " "));
}

TEST(CommandLine, HelpOfTheProgramAndOfItsCommands) {
  CommandLine line = Parse({"--help"});
  EXPECT_EQ(line.command, Command::kExit);
  EXPECT_EQ(line.exit_code, kExitOk);
  for (const char* text :
       {"replay", "print-config", "--record FILE", "--sampler NAME[=RATIO]", "Exit codes"}) {
    EXPECT_THAT(line.output, HasSubstr(text));
  }
  EXPECT_THAT(Parse({"run", "--help"}).output, HasSubstr("Usage: zerotap run [OPTIONS]"));
  EXPECT_THAT(Parse({"replay", "--help"}).output, HasSubstr("--metrics"));
  EXPECT_THAT(Parse({"replay", "--help"}).output, Not(HasSubstr("--endpoint")));
}

struct Wrong {
  std::vector<const char*> arguments;
  const char* message;
};
class WrongTest : public testing::TestWithParam<Wrong> {};
TEST_P(WrongTest, SaysWhatIsWrong) {
  CommandLine line = Parse(GetParam().arguments);
  EXPECT_EQ(line.command, Command::kExit);
  EXPECT_EQ(line.exit_code, kExitBadConfig);
  EXPECT_THAT(line.output, HasSubstr(GetParam().message));
}
INSTANTIATE_TEST_SUITE_P(
    Usage, WrongTest,
    testing::Values(Wrong{{"repaly"}, "repaly"}, Wrong{{"replay"}, "FILE is required"},
                    Wrong{{"--no-such-flag"}, "--no-such-flag"}, Wrong{{"--config"}, "--config"},
                    Wrong{{"--duration", "0"}, "at least 1"},
                    Wrong{{"--duration", "-5"}, "--duration"},
                    Wrong{{"--duration", "1e3"}, "whole number of seconds"},
                    Wrong{{"--record", "x", "replay", "y"}, "go with run only"},
                    Wrong{{"print-config", "--record", "x"}, "--record"},
                    Wrong{{"run", "replay", "x"}, "replay"}));

}  // namespace
}  // namespace zerotap
