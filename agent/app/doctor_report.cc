#include "agent/app/doctor_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

namespace zerotap {
namespace {

using Json = nlohmann::ordered_json;

std::string_view FindingName(Finding finding) {
  switch (finding) {
    case Finding::kGood:
      return "good";
    case Finding::kNote:
      return "note";
    case Finding::kBad:
      break;
  }
  return "bad";
}

std::string_view Mark(Finding finding) {
  switch (finding) {
    case Finding::kGood:
      return "ok  ";
    case Finding::kNote:
      return "note";
    case Finding::kBad:
      break;
  }
  return "BAD ";
}

// Names of services and containers come from other programs: nothing of them reaches the terminal as a
// control character.
std::string Printable(std::string_view text) {
  std::string result;
  for (char c : text) {
    result += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return result;
}

std::string Ports(const std::vector<uint16_t>& ports) {
  constexpr size_t kShown = 4;
  std::string text;
  for (size_t i = 0; i < ports.size() && i < kShown; ++i) {
    text += (i == 0 ? "" : " ") + std::to_string(ports[i]);
  }
  if (ports.size() > kShown) text += fmt::format(" +{}", ports.size() - kShown);
  return text.empty() ? "-" : text;
}

void AppendHost(const DoctorReport& report, std::string& out) {
  out += "This host\n";
  for (const HostCheck& check : report.host) {
    out += fmt::format("  {} {:<14} {}\n", Mark(check.finding), check.name, Printable(check.text));
    if (!check.remedy.empty()) out += fmt::format("{:22}-> {}\n", "", Printable(check.remedy));
  }
  if (report.blind_everywhere.empty()) return;
  out += "\nNot seen in any process\n";
  for (const std::string& text : report.blind_everywhere) out += "  " + text + "\n";
}

void AppendProcesses(const DoctorReport& report, std::string& out) {
  size_t widest = 7;
  for (const ProcessFinding& process : report.processes) {
    widest = std::max(widest, std::min<size_t>(process.service.size(), 32));
  }
  out += fmt::format("\n{:>8}  {:<{}}  {:<8}  {:<22}  {:>11}  {}\n", "PID", "SERVICE", widest,
                     "RUNTIME", "LISTENS ON", "CONNECTIONS", "CAPTURED");
  for (const ProcessFinding& process : report.processes) {
    std::string captured;
    for (const std::string& name : process.captured) {
      captured += (captured.empty() ? "" : ", ") + name;
    }
    out += fmt::format("{:>8}  {:<{}}  {:<8}  {:<22}  {:>11}  {}\n", process.pid,
                       Printable(process.service).substr(0, 32), widest, process.runtime,
                       Ports(process.listening), process.tcp_connections + process.unix_connections,
                       captured.empty() ? "nothing" : captured);
    for (const BlindSpot& blind : process.blind) {
      out += fmt::format("{:10}{}: {}\n", "", blind.kind, Printable(blind.text));
    }
  }
  out += fmt::format("\n{} processes listed; {} without sockets are not (--all)\n",
                     report.processes.size(), report.processes_without_sockets);
  if (report.processes_not_readable != 0) {
    out += fmt::format("{} processes may not be looked at: run the doctor as root, or with {}\n",
                       report.processes_not_readable, "CAP_SYS_PTRACE");
  }
}

}  // namespace

std::string DoctorText(const DoctorReport& report) {
  std::string out;
  AppendHost(report, out);
  AppendProcesses(report, out);
  out += report.would_capture
             ? fmt::format("\nzerotap run would capture here, in tier {}.\n", report.tier)
             : std::string("\nzerotap run would not capture here: see what is BAD above.\n");
  return out;
}

std::string DoctorJson(const DoctorReport& report) {
  Json out;
  out["would_capture"] = report.would_capture;
  out["tier"] = report.tier.empty() ? Json() : Json(report.tier);
  Json host = Json::array();
  for (const HostCheck& check : report.host) {
    Json entry;
    entry["name"] = check.name;
    entry["finding"] = FindingName(check.finding);
    entry["text"] = check.text;
    if (!check.remedy.empty()) entry["remedy"] = check.remedy;
    host.push_back(std::move(entry));
  }
  out["host"] = std::move(host);
  out["blind_everywhere"] = report.blind_everywhere;
  Json processes = Json::array();
  for (const ProcessFinding& process : report.processes) {
    Json entry;
    entry["pid"] = process.pid;
    entry["service"] = process.service;
    entry["runtime"] = process.runtime;
    entry["executable"] = process.executable;
    if (!process.container.empty()) entry["container"] = process.container;
    if (!process.systemd_unit.empty()) entry["systemd_unit"] = process.systemd_unit;
    entry["listening"] = process.listening;
    entry["tcp_connections"] = process.tcp_connections;
    entry["unix_connections"] = process.unix_connections;
    entry["traced"] = process.traced;
    entry["captured"] = process.captured;
    Json blind = Json::array();
    for (const BlindSpot& spot : process.blind) {
      blind.push_back({{"kind", spot.kind}, {"text", spot.text}});
    }
    entry["blind"] = std::move(blind);
    processes.push_back(std::move(entry));
  }
  out["processes"] = std::move(processes);
  out["processes_without_sockets"] = report.processes_without_sockets;
  out["processes_not_readable"] = report.processes_not_readable;
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace zerotap
