#include "agent/process/process_survey.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>

#include "agent/process/bounded_file.h"
#include "agent/process/path_name.h"
#include "symbolizers/tls_code.h"

namespace zerotap {
namespace {

constexpr size_t kMaxTableBytes = size_t{32} << 20;
constexpr size_t kMaxMapsBytes = size_t{16} << 20;
// Registered for protocols inside TLS, or by custom so.
constexpr std::array<uint16_t, 10> kTlsPorts = {443, 465, 636, 853, 993, 995, 5671, 6443, 8443, 9443};
constexpr std::array<std::string_view, 8> kTlsLibraries = {
    "libssl.so", "libssl-", "libssl3.so", "libgnutls.so", "libmbedtls.so",
    "libwolfssl.so", "libs2n.so", "libnetty_tcnative"};

std::optional<std::string> ReadWhole(const std::string& path, size_t limit) {
  return ReadFileAt(AT_FDCWD, path.c_str(), limit);
}

struct DirectoryCloser {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

// False when it cannot be read.
template <typename Visit>
bool VisitEntries(const std::string& path, const Visit& visit) {
  std::unique_ptr<DIR, DirectoryCloser> directory(::opendir(path.c_str()));
  if (!directory) return false;
  while (const dirent* entry = ::readdir(directory.get())) visit(entry->d_name);
  return true;
}

std::optional<uint64_t> Number(std::string_view text, int base) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "0100007F:1F90": the port.
std::optional<uint16_t> PortOf(std::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::optional<uint64_t> port = Number(address.substr(colon + 1), 16);
  return port ? std::optional<uint16_t>(static_cast<uint16_t>(*port)) : std::nullopt;
}

bool IsTlsPort(uint16_t port) {
  return std::find(kTlsPorts.begin(), kTlsPorts.end(), port) != kTlsPorts.end();
}

template <typename T>
void AddOnce(const T& value, std::vector<T>& list) {
  if (std::find(list.begin(), list.end(), value) == list.end()) list.push_back(value);
}

}  // namespace

ProcessSurveyor::ProcessSurveyor(std::string root)
    : proc_((root == "/" ? std::string() : std::move(root)) + "/proc/") {}

std::vector<uint32_t> ProcessSurveyor::Processes() const {
  std::vector<uint32_t> pids;
  VisitEntries(proc_, [&](std::string_view name) {
    std::optional<uint64_t> pid = Number(name, 10);
    if (!pid) return;
    std::optional<std::string> command =
        ReadWhole(proc_ + std::string(name) + "/cmdline", 1);
    // Kernel threads and zombies have none.
    if (command && !command->empty()) pids.push_back(static_cast<uint32_t>(*pid));
  });
  std::sort(pids.begin(), pids.end());
  return pids;
}

void ProcessSurveyor::AddTcp(const std::string& text, SocketTable& table) {
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);  // the headings
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
    fields >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >>
        timeout >> inode;
    const std::optional<uint16_t> local_port = PortOf(local);
    const std::optional<uint16_t> remote_port = PortOf(remote);
    const std::optional<uint64_t> number = Number(inode, 10);
    const bool listens = state == "0A";
    if (!local_port || !remote_port || !number || (!listens && state != "01" && state != "08")) {
      continue;
    }
    Socket socket;
    socket.state = listens ? SocketState::kListening : SocketState::kConnected;
    socket.local_port = *local_port;
    socket.remote_port = *remote_port;
    table.emplace(*number, std::move(socket));
  }
}

void ProcessSurveyor::AddUnix(const std::string& text, SocketTable& table) {
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string address, references, protocol, flags, type, state, inode, path;
    fields >> address >> references >> protocol >> flags >> type >> state >> inode >> path;
    const std::optional<uint64_t> number = Number(inode, 10);
    if (!number || type != "0001") continue;  // SOCK_STREAM
    const bool listens = (Number(flags, 16).value_or(0) & 0x10000) != 0;
    if (!listens && state != "03") continue;
    Socket socket;
    socket.state = listens ? SocketState::kListening : SocketState::kConnected;
    socket.is_unix = true;
    socket.path = path;
    table.emplace(*number, std::move(socket));
  }
}

const ProcessSurveyor::SocketTable& ProcessSurveyor::TableOf(const std::string& process,
                                                             const std::string& network_namespace) {
  auto known = tables_.find(network_namespace);
  if (known != tables_.end()) return known->second;
  SocketTable table;
  for (const char* name : {"net/tcp", "net/tcp6"}) {
    if (auto text = ReadWhole(process + name, kMaxTableBytes)) AddTcp(*text, table);
  }
  if (auto text = ReadWhole(process + "net/unix", kMaxTableBytes)) AddUnix(*text, table);
  return tables_.emplace(network_namespace, std::move(table)).first->second;
}

void ProcessSurveyor::LookAtDescriptors(const std::string& process, ProcessSurvey& survey) {
  std::vector<uint64_t> inodes;
  const std::string folder = process + "fd/";
  survey.readable = VisitEntries(folder, [&](const char* name) {
    const std::optional<std::string> target = ReadLinkAt(AT_FDCWD, (folder + name).c_str());
    if (!target) return;
    if (*target == "anon_inode:[io_uring]") survey.io_uring = true;
    if (!StartsWith(*target, "socket:[")) return;
    if (auto inode = Number(std::string_view(*target).substr(8, target->size() - 9), 10)) {
      inodes.push_back(*inode);
    }
  });
  // One socket may have several descriptors.
  std::sort(inodes.begin(), inodes.end());
  inodes.erase(std::unique(inodes.begin(), inodes.end()), inodes.end());
  if (inodes.empty()) return;
  const std::string space = ReadLinkAt(AT_FDCWD, (process + "ns/net").c_str()).value_or("");
  const SocketTable& table = TableOf(process, space);
  for (uint64_t inode : inodes) {
    auto found = table.find(inode);
    if (found == table.end()) continue;
    const Socket& socket = found->second;
    if (socket.state == SocketState::kListening) {
      if (socket.is_unix) {
        AddOnce(socket.path, survey.unix_paths);
      } else {
        AddOnce(socket.local_port, survey.listening);
      }
    } else if (socket.is_unix) {
      ++survey.unix_connections;
    } else {
      ++survey.tcp_connections;
      if (IsTlsPort(socket.local_port) || IsTlsPort(socket.remote_port)) ++survey.tls_connections;
      AddOnce(socket.remote_port, survey.remote_ports);
    }
  }
  std::sort(survey.listening.begin(), survey.listening.end());
  std::sort(survey.remote_ports.begin(), survey.remote_ports.end());
}

void ProcessSurveyor::LookAtMappings(const std::string& process, ProcessSurvey& survey) {
  const std::optional<std::string> maps = ReadWhole(process + "maps", kMaxMapsBytes);
  if (!maps) return;
  std::istringstream lines(*maps);
  std::string line;
  while (std::getline(lines, line)) {
    const size_t slash = line.find('/');
    if (slash == std::string::npos) continue;
    std::string_view path = std::string_view(line).substr(slash);
    path = path.substr(0, path.find(" (deleted)"));
    const std::string name(BaseName(path));
    for (std::string_view library : kTlsLibraries) {
      if (StartsWith(name, library)) AddOnce(name, survey.tls_libraries);
    }
  }
}

void ProcessSurveyor::LookAtProgram(const std::string& process, ProcessSurvey& survey) {
  const std::string file = process + "exe";
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return;
  const auto key = std::pair<uint64_t, uint64_t>(status.st_dev, status.st_ino);
  auto known = program_tls_.find(key);
  if (known == program_tls_.end()) known = program_tls_.emplace(key, TlsCodeOf(file)).first;
  if (!known->second.empty()) AddOnce(known->second, survey.tls_libraries);
  constexpr size_t kClassAt = 4;
  constexpr char kClass32 = 1;
  const std::optional<std::string> ident = ReadWhole(file, kClassAt + 1);
  survey.is_32_bit = ident && ident->size() > kClassAt && StartsWith(*ident, "\x7f" "ELF") &&
                     (*ident)[kClassAt] == kClass32;
}

ProcessSurvey ProcessSurveyor::Survey(uint32_t pid) {
  ProcessSurvey survey;
  const std::string process = proc_ + std::to_string(pid) + "/";
  LookAtDescriptors(process, survey);
  LookAtMappings(process, survey);
  if (survey.has_sockets()) LookAtProgram(process, survey);
  return survey;
}

std::string OwnTelemetryHint(const ProcessFacts& facts) {
  if (facts.Environment("OTEL_SDK_DISABLED") == "true") return {};
  if (facts.Environment("OTEL_TRACES_EXPORTER") == "none") return {};
  for (std::string_view name :
       {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_TRACES_EXPORTER"}) {
    if (!facts.Environment(name).empty()) return std::string(name) + " in its environment";
  }
  for (const std::string& argument : facts.arguments) {
    if (StartsWith(argument, "-javaagent:") &&
        argument.find("opentelemetry") != std::string::npos) {
      return "its Java agent";
    }
    if (BaseName(argument) == "opentelemetry-instrument") return "opentelemetry-instrument";
    if (argument.find("@opentelemetry/auto-instrumentations-node") != std::string::npos) {
      return "@opentelemetry/auto-instrumentations-node";
    }
  }
  return {};
}

}  // namespace zerotap
