#include "agent/app/doctor.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "agent/app/command_line.h"
#include "agent/app/runner.h"
#include "agent/base/log.h"
#include "agent/process/process_survey.h"
#include "agent/process/process_table.h"
#include "agent/protocols/protocol.h"

namespace zerotap {
namespace {

constexpr uint16_t kOtlpPorts[] = {4317, 4318};

std::string RuntimeText(RuntimeKind kind) {
  switch (kind) {
    case RuntimeKind::kNative:
      return "native";
    case RuntimeKind::kGo:
      return "Go";
    case RuntimeKind::kRust:
      return "Rust";
    case RuntimeKind::kNode:
      return "Node";
    case RuntimeKind::kDeno:
      return "Deno";
    case RuntimeKind::kBun:
      return "Bun";
    case RuntimeKind::kPython:
      return "Python";
    case RuntimeKind::kJava:
      return "Java";
    case RuntimeKind::kRuby:
      return "Ruby";
    case RuntimeKind::kPhp:
      return "PHP";
    case RuntimeKind::kPerl:
      return "Perl";
    case RuntimeKind::kErlang:
      return "Erlang";
    case RuntimeKind::kDotnet:
      return ".NET";
    case RuntimeKind::kShell:
      return "shell";
  }
  return "native";
}

std::vector<std::string> EnabledProtocolNames(const Config& config) {
  std::vector<std::string> names;
  const std::vector<std::string>& disabled = config.pipeline.disabled_protocols;
  for (const Protocol& protocol : Protocols()) {
    if (std::find(disabled.begin(), disabled.end(), protocol.name) == disabled.end()) {
      names.emplace_back(protocol.name);
    }
  }
  return names;
}

void NoteTls(const ProcessDescription& process, const ProcessSurvey& survey,
             ProcessFinding& finding) {
  std::string libraries;
  for (const std::string& name : survey.tls_libraries) {
    libraries += (libraries.empty() ? "" : ", ") + name;
  }
  if (libraries.empty() && process.binary.runtime == RuntimeKind::kJava) libraries = "the JVM's own";
  if (libraries.empty() && survey.tls_connections == 0) return;
  std::string text =
      libraries.empty() ? std::string() : libraries + ": what it encrypts is not read";
  if (survey.tls_connections > 0) {
    text += fmt::format("{}{} of its {} TCP connections {} a port of TLS", text.empty() ? "" : "; ",
                        survey.tls_connections, survey.tcp_connections,
                        survey.tls_connections == 1 ? "has" : "have");
  }
  finding.blind.push_back({"tls", std::move(text)});
}

void NoteOwnTelemetry(const ProcessDescription& process, const ProcessSurvey& survey,
                      const RunningAgent& agent, ProcessFinding& finding) {
  auto seen = agent.own_spans.find(process.facts.pid);
  if (seen != agent.own_spans.end()) {
    finding.blind.push_back(
        {"own_spans", fmt::format("it exports spans of its own: the running zerotap has left {} "
                                  "requests to them; RED metrics are made",
                                  seen->second)});
    return;
  }
  std::string hint = OwnTelemetryHint(process.facts);
  for (uint16_t port : kOtlpPorts) {
    if (!hint.empty()) break;
    if (std::binary_search(survey.remote_ports.begin(), survey.remote_ports.end(), port)) {
      hint = fmt::format("a connection to port {}", port);
    }
  }
  if (hint.empty()) return;
  finding.blind.push_back(
      {"own_spans", "it seems to export spans of its own (" + hint +
                        "): once that is seen, over HTTP without TLS, zerotap makes none of it"});
}

ProcessFinding FindingOf(const ProcessDescription& process, const ProcessSurvey& survey,
                         const Config& config, const RunningAgent& agent,
                         const std::string& tier) {
  ProcessFinding finding;
  finding.pid = process.facts.pid;
  finding.service = process.service.name;
  finding.runtime = RuntimeText(process.binary.runtime);
  finding.executable = process.facts.executable;
  finding.container = process.container;
  finding.systemd_unit = process.systemd_unit;
  finding.listening = survey.listening;
  finding.tcp_connections = survey.tcp_connections;
  finding.unix_connections = survey.unix_connections;
  finding.traced = process.left_out_by.empty();
  if (!finding.traced) {
    finding.blind.push_back({"excluded", "left out by " + process.left_out_by});
    return finding;
  }
  if (!survey.readable) {
    finding.blind.push_back({"not_readable",
                             "its descriptors and mappings may not be looked at: run the doctor as "
                             "root, or with CAP_SYS_PTRACE"});
  }
  if (!survey.is_32_bit) finding.captured = EnabledProtocolNames(config);
  NoteTls(process, survey, finding);
  if (survey.io_uring) {
    finding.blind.push_back(
        {"io_uring", tier == "b" ? "what passes through its ring is not seen at all in tier b"
                                 : "what passes through its ring has lengths and times, no bytes"});
  }
  if (survey.is_32_bit) {
    finding.blind.push_back({"32_bit", "of 32-bit programs no bytes are read"});
  }
  if (config.pipeline.exclude_otel_instrumented) {
    NoteOwnTelemetry(process, survey, agent, finding);
  }
  return finding;
}

}  // namespace

Status CheckProcesses(const Config& config, const std::string& root, const RunningAgent& agent,
                      bool all_processes, DoctorReport& report) {
  ProcessTableOptions options = ProcessTableOptionsOf(config);
  options.root = root;
  Result<std::unique_ptr<ProcessTable>> table = ProcessTable::Create(options);
  if (!table) return tl::unexpected<Error>(table.error());
  ProcessSurveyor surveyor(root);
  for (uint32_t pid : surveyor.Processes()) {
    if (pid == options.targets.own_pid) continue;
    const ProcessSurvey survey = surveyor.Survey(pid);
    if (!all_processes && !survey.has_sockets()) {
      ++(survey.readable ? report.processes_without_sockets : report.processes_not_readable);
      continue;
    }
    std::optional<ProcessDescription> process = (*table)->Describe(pid);
    if (!process) continue;  // gone meanwhile
    report.processes.push_back(FindingOf(*process, survey, config, agent, report.tier));
  }
  return {};
}

int RunDoctor(const LoadedConfig& loaded, const DoctorOptions& options, std::FILE* out) {
  DoctorReport report;
  const CaptureOptions capture = CaptureOptionsOf(loaded.config);
  CheckKernel(
      ReadKernelFacts(capture.btf), loaded.config.capture,
      [&capture](CaptureTier tier) { return TryTier(tier, capture); }, report);
  CheckConfiguration(loaded, report);
  const RunningAgent agent = AskRunningAgent(loaded.config, report);
  if (Status status = CheckProcesses(loaded.config, "/", agent, options.all_processes, report);
      !status) {
    spdlog::error("{}", status.error().message);
    return kExitBadConfig;
  }
  const std::string text = options.json ? DoctorJson(report) : DoctorText(report);
  std::fwrite(text.data(), 1, text.size(), out);
  if (std::fflush(out) != 0) return kExitRuntimeFailure;
  return report.would_capture ? kExitOk : kExitNotPermitted;
}

}  // namespace zerotap
