#include "agent/app/command_line.h"

#include <CLI/CLI.hpp>

#include "agent/app/version.h"

namespace zerotap {
namespace {

constexpr const char* kDescription =
    "zerotap turns the HTTP and PostgreSQL traffic of unmodified programs into OpenTelemetry spans "
    "and RED metrics.";

constexpr const char* kFooter =
    "[NAME] is the variable that sets the same. Settings come from the command line, then OTEL_* "
    "variables, then\n"
    "the YAML file, then defaults; `zerotap print-config` shows the result and "
    "docs/configuration.md explains\n"
    "each. Without any endpoint spans are printed on the terminal.\n"
    "\n"
    "Examples:\n"
    "  zerotap                                        watch this host on the terminal\n"
    "  zerotap --endpoint http://127.0.0.1:4318       send to a collector or to SigNoz\n"
    "  zerotap --exporter otlp,console --sampler parentbased_traceidratio=0.1\n"
    "  zerotap run --record /tmp/today.ztrec          keep what the kernel sent\n"
    "  zerotap replay /tmp/today.ztrec                its spans again, without root\n"
    "  zerotap replay /tmp/today.pcap                 the spans of what tcpdump -w captured\n"
    "  zerotap doctor                                 what would be captured, and what not\n"
    "  zerotap COMMAND --help                         the options of one command\n"
    "\n"
    "Signals of run: SIGINT, SIGTERM stop it in order, SIGHUP reads the YAML file again.\n"
    "Exit codes: 0 ended as asked, 1 failed while running, 2 wrong configuration or usage,\n"
    "            3 a privilege or a kernel feature is missing\n";

constexpr const char* kRunFooter =
    "Examples:\n"
    "  zerotap run --config /etc/zerotap/zerotap.yaml\n"
    "  zerotap run --endpoint https://ingest.eu.signoz.cloud:443 --log-level warn\n"
    "  zerotap run --exporter otlp,console --duration 60\n"
    "\n"
    "Exit codes: 0 ended by a signal or --duration, 1 failed while running, 2 wrong configuration,\n"
    "            3 a privilege or a kernel feature is missing\n";

constexpr const char* kReplayFooter =
    "Examples:\n"
    "  zerotap replay /tmp/today.ztrec > spans.jsonl\n"
    "  tcpdump -i any -w - port 8080 | zerotap replay -\n"
    "  zerotap replay --metrics --sampler always_on /tmp/today.ztrec\n"
    "\n"
    "Exit codes: 0 all of it was read, 1 the file is broken, 2 wrong configuration or usage\n";

constexpr const char* kDoctorFooter =
    "Loads and attaches the kernel side once, for a moment, and asks each receiver to take an empty\n"
    "export. Without root it looks at what it may and says what it may not.\n"
    "\n"
    "Examples:\n"
    "  sudo zerotap doctor\n"
    "  sudo zerotap doctor --config /etc/zerotap/zerotap.yaml --json | jq '.processes[].blind'\n"
    "\n"
    "Exit codes: 0 zerotap run would capture, 2 wrong configuration or usage,\n"
    "            3 it would not: a privilege or a kernel feature is missing\n";

constexpr const char* kPrintConfigFooter =
    "Each value is followed by where it came from: a line of the file, a variable, a flag or default.\n"
    "The output is a configuration again; header values and passwords are masked with ***.\n"
    "\n"
    "Examples:\n"
    "  zerotap print-config --config /etc/zerotap/zerotap.yaml\n"
    "\n"
    "Exit codes: 0 the configuration is good, 2 it is not\n";

// An option that takes one of a few words.
template <typename Value>
void AddChoice(CLI::App& app, const std::string& name, Value& value,
               const std::vector<std::pair<std::string, Value>>& choices,
               const std::string& description) {
  std::vector<std::string> words;
  std::string shown;
  for (const auto& [word, meaning] : choices) {
    words.push_back(word);
    shown += (shown.empty() ? "" : "|") + word;
  }
  app.add_option_function<std::string>(
         name,
         [&value, choices](const std::string& given) {
           for (const auto& [word, meaning] : choices) {
             if (word == given) value = meaning;
           }
         },
         description)
      ->check(CLI::IsMember(words).description(""))
      ->type_name(shown);
}

// What every command reads.
void AddCommonOptions(CLI::App& app, ConfigOverrides& overrides) {
  app.add_option("--config", overrides.config_path, "YAML file with settings [ZEROTAP_CONFIG]")
      ->type_name("FILE");
  app.add_option("--sampler", overrides.sampler,
                 "Which traces are kept, for example parentbased_traceidratio=0.1; metrics always "
                 "count all "
                 "[OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG]")
      ->type_name("NAME[=RATIO]");
  app.add_option(
         "--log-level", overrides.log_level,
         "trace, debug, info, warn, error or off; the log goes to standard error [OTEL_LOG_LEVEL]")
      ->type_name("LEVEL");
}

void AddConfigOptions(CLI::App& app, ConfigOverrides& overrides) {
  AddCommonOptions(app, overrides);
  app.add_option("--exporter", overrides.exporters,
                 "Where spans and metrics go, a comma list of otlp, console, file, none "
                 "[OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER]")
      ->type_name("LIST");
  app.add_option("--endpoint", overrides.endpoint,
                 "Base URL of an OTLP receiver, for example http://127.0.0.1:4318 "
                 "[OTEL_EXPORTER_OTLP_ENDPOINT; OTEL_EXPORTER_OTLP_PROTOCOL: http/protobuf, "
                 "http/json, grpc]")
      ->type_name("URL");
  app.add_option(
         "--capture-tier", overrides.capture_tier,
         "How the kernel is watched: a (6.3 and later), b (5.10 and later), auto tries a, then b")
      ->type_name("a|b|auto");
  app.add_option("--health", overrides.health,
                 "Address of /livez, /readyz, /metrics and /ledger, 127.0.0.1:8686 unless set; off "
                 "for none")
      ->type_name("HOST:PORT|off");
}

void AddRunOptions(CLI::App& app, CommandLine& line) {
  AddConfigOptions(app, line.overrides);
  app.add_option("--record", line.record_path,
                 "Also write what the kernel sent to FILE, for zerotap replay; it holds payload "
                 "bytes, so only its "
                 "owner may read it; see --record-payload")
      ->type_name("FILE");
  AddChoice(app, "--record-payload", line.record_payload,
            {{"all", RecordedPayload::kAll},
             {"redacted", RecordedPayload::kRedacted},
             {"none", RecordedPayload::kNone}},
            "What of requests and responses the recording holds: all; redacted, which replays to "
            "the same requests and holds no values, names or arguments; none, which replays to "
            "nothing");
  app.add_option("--duration", line.duration_seconds,
                 "Stop after so many seconds; without it at SIGINT or SIGTERM")
      ->check(CLI::Validator(
          [](std::string& text) {
            return text.empty() || text.size() > 9 ||
                           text.find_first_not_of("0123456789") != std::string::npos ||
                           text.find_first_not_of('0') == std::string::npos
                       ? "\"" + text + "\" must be a whole number of seconds, at least 1"
                       : std::string();
          },
          ""))
      ->type_name("SECONDS");
}

void AddReplayOptions(CLI::App& app, CommandLine& line) {
  app.add_option("FILE", line.replay.files,
                 "Files written by --record, or pcap and pcapng captures (tcpdump -w); - for "
                 "standard input")
      ->required();
  app.add_flag("--metrics", line.replay.metrics, "Also print the RED metrics, after the spans");
  AddChoice(app, "--ends", line.replay.ends,
            {{"auto", EndChoice::kAuto},
             {"both", EndChoice::kBoth},
             {"client", EndChoice::kClient},
             {"server", EndChoice::kServer}},
            "Of captures: whose spans. auto: both where both are on one host, else the end of the "
            "capturing host, else the server's");
  AddCommonOptions(app, line.overrides);
}

CommandLine Exit(std::string output, int code) {
  CommandLine line;
  line.command = CommandLine::Command::kExit;
  line.output = std::move(output);
  line.exit_code = code;
  return line;
}

}  // namespace

CommandLine ParseCommandLine(int argc, const char* const* argv) {
  CommandLine line;
  CLI::App app(kDescription, "zerotap");
  // Exceptions of CLI11 end here.
  try {
    app.set_version_flag("--version", "zerotap " + std::string(kVersion));
    app.require_subcommand(0, 1);
    AddRunOptions(app, line);
    CLI::App* run = app.add_subcommand(
        "run", "Watch this host until stopped (the default command; needs root)");
    AddRunOptions(*run, line);
    CLI::App* replay = app.add_subcommand("replay",
                                          "Put recordings and packet captures through the same "
                                          "pipeline, without root: OTLP JSON lines on standard "
                                          "output");
    AddReplayOptions(*replay, line);
    CLI::App* doctor = app.add_subcommand(
        "doctor",
        "Say what would be captured here, of which processes, what would not, and why; watches "
        "nothing");
    doctor->add_flag("--json", line.doctor_json, "As JSON, for programs");
    doctor->add_flag("--all", line.doctor_all, "List processes without sockets too");
    AddConfigOptions(*doctor, line.overrides);
    CLI::App* print = app.add_subcommand(
        "print-config", "Show the settings in force as YAML, with secrets masked, and end");
    AddConfigOptions(*print, line.overrides);
    run->footer(kRunFooter);
    replay->footer(kReplayFooter);
    doctor->footer(kDoctorFooter);
    print->footer(kPrintConfigFooter);
    app.set_help_all_flag("--help-all", "Print this and the options of all commands");
    app.footer(kFooter);
    app.parse(argc, argv);
    if (*replay) {
      line.command = CommandLine::Command::kReplay;
    } else if (*doctor) {
      line.command = CommandLine::Command::kDoctor;
    } else if (*print) {
      line.command = CommandLine::Command::kPrintConfig;
    }
    if (line.record_path.empty() && line.record_payload != RecordedPayload::kAll) {
      return Exit("zerotap: --record-payload goes with --record only\n", kExitBadConfig);
    }
    if (line.command != CommandLine::Command::kRun &&
        (!line.record_path.empty() || line.duration_seconds != 0)) {
      return Exit("zerotap: --record and --duration go with run only\n", kExitBadConfig);
    }
    return line;
  } catch (const CLI::CallForVersion& version) {
    return Exit(std::string(version.what()) + "\n", kExitOk);
  } catch (const CLI::CallForHelp&) {
    for (CLI::App* subcommand : app.get_subcommands()) {
      return Exit(subcommand->help("zerotap"), kExitOk);
    }
    return Exit(app.help(), kExitOk);
  } catch (const CLI::CallForAllHelp&) {
    return Exit(app.help("", CLI::AppFormatMode::All), kExitOk);
  } catch (const CLI::ParseError& error) {
    return Exit("zerotap: " + std::string(error.what()) + "\nSee zerotap --help.\n",
                kExitBadConfig);
  }
}

}  // namespace zerotap
