#include "agent/app/doctor_host.h"

#include <fmt/format.h>
#include <httplib.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "agent/app/config_units.h"
#include "agent/app/exporter_set.h"
#include "agent/app/version.h"
#include "exporters/otlp/endpoint.h"

namespace zerotap {
namespace {

constexpr std::chrono::milliseconds kReceiverTimeout{3000};
constexpr time_t kAgentTimeoutSeconds = 1;

void Add(DoctorReport& report, std::string name, Finding finding, std::string text,
         std::string remedy = {}) {
  report.host.push_back({std::move(name), finding, std::move(text), std::move(remedy)});
}

void CheckRights(const KernelFacts& facts, DoctorReport& report) {
  const bool may_load =
      facts.Has("CAP_SYS_ADMIN") || (facts.Has("CAP_BPF") && facts.Has("CAP_PERFMON"));
  const bool may_read = facts.Has("CAP_SYS_PTRACE") && facts.Has("CAP_DAC_READ_SEARCH");
  std::string held;
  std::string missing;
  for (const auto& [name, has] : facts.capabilities) {
    std::string& list = has ? held : missing;
    list += (list.empty() ? "" : " ") + name;
  }
  const std::string text = (held.empty() ? "none of those that matter" : held) +
                           (missing.empty() ? "" : "; not " + missing);
  if (!may_load) {
    Add(report, "capabilities", Finding::kBad, text,
        "run as root (sudo zerotap), or with CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and "
        "CAP_DAC_READ_SEARCH; deploy/zerotap.service lists them");
  } else if (!may_read) {
    Add(report, "capabilities", Finding::kNote, text,
        "without CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH processes of other users have no more than "
        "their command's name");
  } else {
    Add(report, "capabilities", Finding::kGood, text);
  }
}

void CheckMemlock(const KernelFacts& facts, const CaptureConfig& config, DoctorReport& report) {
  const std::string limit =
      facts.memlock_bytes == ~uint64_t{0} ? "unlimited" : ByteSizeText(facts.memlock_bytes);
  if (!facts.charges_memlock) {
    Add(report, "memlock", Finding::kGood, limit + ", which this kernel does not ask of BPF maps");
  } else if (facts.memlock_bytes < config.ring_bytes * 2 && !facts.Has("CAP_SYS_RESOURCE")) {
    Add(report, "memlock", Finding::kBad, limit + " is less than the maps need",
        "ulimit -l unlimited, or CAP_SYS_RESOURCE; later kernels (5.11) do not ask");
  } else {
    Add(report, "memlock", Finding::kGood, limit);
  }
}

std::string TierText(const TierCheck& check) {
  if (!check.works) return check.why_not;
  std::string text = "loads and attaches as " + check.report.attach_form;
  for (const std::string& remark : check.report.remarks) text += "; " + remark;
  return text;
}

void CheckTiers(const CaptureConfig& config, const std::function<TierCheck(CaptureTier)>& try_tier,
                DoctorReport& report) {
  for (const CaptureTier tier : {CaptureTier::kA, CaptureTier::kB}) {
    const std::string name = tier == CaptureTier::kA ? "a" : "b";
    const TierCheck check = try_tier(tier);
    const bool asked_for = config.tier == "auto" || config.tier == name;
    const bool chosen = check.works && asked_for && report.tier.empty();
    if (chosen) {
      report.tier = name;
      report.blind_everywhere = check.report.unseen;
    }
    std::string text = TierText(check);
    if (chosen) text += config.tier == "auto" ? "; chosen" : "; chosen by capture.tier";
    const bool wanted_in_vain = !check.works && config.tier == name;
    Add(report, "tier_" + name,
        check.works      ? Finding::kGood
        : wanted_in_vain ? Finding::kBad
                         : Finding::kNote,
        std::move(text), wanted_in_vain ? "capture.tier: auto takes what works" : "");
  }
  if (report.tier.empty() && config.tier == "auto") report.host.back().finding = Finding::kBad;
}

// By the protocol, proxy and certificates with which zerotap run would send.
void CheckReceiver(const ExportConfig& exports, Signal signal, DoctorReport& report) {
  const bool is_traces = signal == Signal::kTraces;
  const std::string name = is_traces ? "traces_to" : "metrics_to";
  OtlpOptions options = OtlpOptionsOf(exports, signal);
  options.timeout = kReceiverTimeout;
  Result<std::unique_ptr<otlp::Transport>> transport =
      MakeOtlpTransport(options, is_traces ? "traces" : "metrics", kVersion);
  if (!transport) {
    Add(report, name, Finding::kBad, transport.error().message,
        "zerotap run does not start with it: see export.otlp in docs/configuration.md");
    report.would_capture = false;
    return;
  }
  const std::string shown = otlp::WithoutSecrets((*transport)->url());
  // An export of nothing is valid: no bytes of protobuf, an empty object of JSON.
  otlp::OutgoingBody nothing;
  if (options.protocol == "http/json") nothing.bytes = "{}";
  const otlp::Attempt attempt = (*transport)->Post(nothing, kReceiverTimeout);
  const bool refused = attempt.result == otlp::AttemptResult::kBusy ||
                       attempt.result == otlp::AttemptResult::kRefused ||
                       attempt.result == otlp::AttemptResult::kTooLarge;
  if (attempt.result == otlp::AttemptResult::kUnreachable) {
    Add(report, name, Finding::kNote, shown + ": " + attempt.message,
        "zerotap goes on without it and tries again; see that the receiver listens there");
  } else if (refused) {
    Add(report, name, Finding::kNote, shown + " answers " + attempt.message,
        "the receiver's own log says more");
  } else if (!attempt.message.empty()) {
    Add(report, name, Finding::kNote, shown + ": " + attempt.message);
  } else {
    Add(report, name, Finding::kGood, shown + " takes exports (" + options.protocol + ")");
  }
}

std::string Listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

void CheckKernel(const KernelFacts& facts, const CaptureConfig& config,
                 const std::function<TierCheck(CaptureTier)>& try_tier, DoctorReport& report) {
  const std::string kernel = facts.release + " " + facts.machine;
  if (facts.is_5_10) {
    Add(report, "kernel", Finding::kGood, kernel);
  } else {
    Add(report, "kernel", Finding::kBad, kernel, "zerotap needs kernel 5.10 or later");
  }
  if (!facts.btf.empty()) {
    Add(report, "btf", Finding::kGood, facts.btf + (config.btf.empty() ? "" : " (capture.btf)"));
  } else {
    Add(report, "btf", Finding::kBad, facts.why_no_btf,
        config.btf.empty() ? "use a kernel with CONFIG_DEBUG_INFO_BTF=y; in a container mount /sys, or set capture.btf"
                           : "remove capture.btf, or name a copy of this kernel's /sys/kernel/btf/vmlinux");
  }
  if (facts.tracefs.empty()) {
    Add(report, "tracefs", Finding::kNote, "not mounted, or not readable",
        "root may use it; else mount -t tracefs tracefs /sys/kernel/tracing");
  } else {
    Add(report, "tracefs", Finding::kGood, facts.tracefs);
  }
  if (facts.lockdown == "confidentiality") {
    Add(report, "lockdown", Finding::kBad, facts.lockdown,
        "it forbids BPF to read memory: boot with lockdown=integrity");
  } else {
    Add(report, "lockdown", Finding::kGood, facts.lockdown.empty() ? "none" : facts.lockdown);
  }
  if (facts.in_initial_pid_namespace) {
    Add(report, "pid_namespace", Finding::kGood, "the host's");
  } else {
    Add(report, "pid_namespace", Finding::kBad, "one of its own",
        "start it with the host's: docker run --pid=host, or hostPID: true");
  }
  CheckRights(facts, report);
  CheckMemlock(facts, config, report);
  CheckTiers(config, try_tier, report);
  report.would_capture = !report.tier.empty() && facts.in_initial_pid_namespace;
}

void CheckConfiguration(const LoadedConfig& loaded, DoctorReport& report) {
  const Config& config = loaded.config;
  Add(report, "config", Finding::kGood,
      loaded.path.empty() ? "no file (--config, ZEROTAP_CONFIG): defaults and variables"
                          : loaded.path);
  for (const std::string& warning : loaded.warnings) {
    Add(report, "config", Finding::kNote, warning);
  }
  if (config.disabled) {
    Add(report, "config", Finding::kBad, "OTEL_SDK_DISABLED is true", "unset it");
    report.would_capture = false;
  }
  Add(report, "ring", Finding::kGood,
      ByteSizeText(config.capture.ring_bytes) + " of kernel memory (capture.ring_size)");
  for (const Signal signal : {Signal::kTraces, Signal::kMetrics}) {
    const std::vector<std::string>& names =
        signal == Signal::kTraces ? config.exports.traces : config.exports.metrics;
    bool is_otlp = false;
    for (const std::string& name : names) is_otlp = is_otlp || name == "otlp";
    if (is_otlp) {
      CheckReceiver(config.exports, signal, report);
    } else {
      Add(report, signal == Signal::kTraces ? "traces_to" : "metrics_to", Finding::kGood,
          Listed(names));
    }
  }
}

RunningAgent AskRunningAgent(const Config& config, DoctorReport& report) {
  RunningAgent agent;
  if (config.health_address == "off") return agent;
  const Result<HostPort> address = ParseHostPort(config.health_address);
  if (!address) return agent;  // LoadConfig has checked it
  try {
    httplib::Client client(address->host == "0.0.0.0" ? "127.0.0.1" : address->host, address->port);
    client.set_connection_timeout(kAgentTimeoutSeconds);
    client.set_read_timeout(kAgentTimeoutSeconds);
    const httplib::Result answer = client.Get("/ledger");
    if (!answer || answer->status != 200) return agent;
    const nlohmann::json ledger = nlohmann::json::parse(answer->body, nullptr, false);
    if (!ledger.is_object() || !ledger.contains("rows") || !ledger["rows"].is_array()) return agent;
    agent.answers = true;
    for (const nlohmann::json& row : ledger["rows"]) {
      const auto filtered = row.find("filtered_by");
      if (filtered == row.end() || !filtered->contains("own_spans")) continue;
      agent.own_spans[row.value("pid", 0u)] += filtered->value("own_spans", uint64_t{0});
    }
  } catch (const std::exception&) {
    return agent;  // somebody else listens there
  }
  Add(report, "running", Finding::kNote, "a zerotap answers on " + config.health_address,
      "one on a host is enough; a second one needs another health.address");
  return agent;
}

}  // namespace zerotap
