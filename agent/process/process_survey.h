// What of a process decides how much of its traffic can be seen: its sockets, the TLS libraries that it
// has mapped, io_uring, its word size. For people who ask (zerotap doctor), not for the agent's own path:
// it reads every descriptor and mapping of the process.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agent/process/process.h"

namespace zerotap {

struct ProcessSurvey {
  bool readable = false;  // its descriptors and mappings may be looked at
  std::vector<uint16_t> listening;      // TCP ports, sorted, each once
  std::vector<uint16_t> remote_ports;   // of established TCP connections that it may have opened
  std::vector<std::string> unix_paths;  // that it listens on
  size_t tcp_connections = 0;
  size_t unix_connections = 0;
  size_t tls_connections = 0;              // of the TCP ones, those with a port where TLS is the custom
  std::vector<std::string> tls_libraries;  // "libssl.so.3", "OpenSSL in the program", "crypto/tls"
  bool io_uring = false;
  bool is_32_bit = false;

  bool has_sockets() const {
    return !listening.empty() || !unix_paths.empty() || tcp_connections + unix_connections > 0;
  }
};

class ProcessSurveyor {
 public:
  // `root` holds proc/.
  explicit ProcessSurveyor(std::string root = "/");

  // Process ids below <root>/proc, in order. Kernel threads are left out.
  std::vector<uint32_t> Processes() const;
  ProcessSurvey Survey(uint32_t pid);

 private:
  enum class SocketState : uint8_t { kListening, kConnected };
  struct Socket {
    SocketState state = SocketState::kConnected;
    bool is_unix = false;
    uint16_t local_port = 0;
    uint16_t remote_port = 0;
    std::string path;
  };
  using SocketTable = std::unordered_map<uint64_t, Socket>;  // by inode

  const SocketTable& TableOf(const std::string& process, const std::string& network_namespace);
  static void AddTcp(const std::string& text, SocketTable& table);
  static void AddUnix(const std::string& text, SocketTable& table);
  void LookAtDescriptors(const std::string& process, ProcessSurvey& survey);
  void LookAtMappings(const std::string& process, ProcessSurvey& survey);
  void LookAtProgram(const std::string& process, ProcessSurvey& survey);

  std::string proc_;
  std::map<std::string, SocketTable> tables_;  // by network namespace
  std::map<std::pair<uint64_t, uint64_t>, std::string> program_tls_;  // by device and inode
};

// Whether the program shows that it exports telemetry of its own, from its environment and its command:
// what says so, empty when nothing does.
std::string OwnTelemetryHint(const ProcessFacts& facts);

}  // namespace zerotap
