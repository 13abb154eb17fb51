// What zerotap doctor found, and how it is shown.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace zerotap {

enum class Finding : uint8_t {
  kGood,
  kNote,  // capture works, and something is worth knowing
  kBad,   // capture does not work because of it
};

struct HostCheck {
  std::string name;  // snake_case, stable
  Finding finding = Finding::kGood;
  std::string text;
  std::string remedy;  // what to do; empty when there is nothing to do
};

// Something of a process that gives no span, or only a part of one.
struct BlindSpot {
  std::string kind;  // tls, io_uring, 32_bit, own_spans, excluded, not_readable
  std::string text;
};

struct ProcessFinding {
  uint32_t pid = 0;
  std::string service;
  std::string runtime;
  std::string executable;
  std::string container;
  std::string systemd_unit;
  std::vector<uint16_t> listening;
  size_t tcp_connections = 0;
  size_t unix_connections = 0;
  bool traced = false;
  std::vector<std::string> captured;  // protocols; empty when it is not traced
  std::vector<BlindSpot> blind;
};

struct DoctorReport {
  bool would_capture = false;
  std::string tier;  // a, b; empty when none works
  std::vector<HostCheck> host;
  std::vector<std::string> blind_everywhere;  // what the chosen tier cannot see of any process
  std::vector<ProcessFinding> processes;
  // Not listed:
  size_t processes_without_sockets = 0;
  size_t processes_not_readable = 0;
};

std::string DoctorText(const DoctorReport& report);
std::string DoctorJson(const DoctorReport& report);

}  // namespace zerotap
