#include "agent/capture/blind_spots.h"

#include <fstream>

namespace zerotap {

std::vector<std::string> BlindSpots(CaptureTier tier) {
  std::vector<std::string> unseen;
  if (tier == CaptureTier::kA) {
    unseen.push_back("io_uring: lengths and times without the bytes");
    unseen.push_back(
        "received without recvmsg (splice from a socket, TCP_ZEROCOPY_RECEIVE): nothing, a gap in "
        "the stream");
  } else {
    unseen.push_back("io_uring: nothing, a gap in the stream");
  }
  unseen.push_back("sendfile and splice: lengths and times without the bytes");
  unseen.push_back("calls of 32-bit programs: lengths at most");
  unseen.push_back("MPTCP and SMC sockets");
  return unseen;
}

std::vector<std::string> HostLimits() {
  std::vector<std::string> limits;
  // "none [integrity] confidentiality": the brackets mark what is in force.
  std::ifstream file("/sys/kernel/security/lockdown");
  std::string modes;
  std::getline(file, modes);
  if (modes.find("[confidentiality]") != std::string::npos) {
    limits.push_back(
        "the kernel is locked down (confidentiality mode), which forbids BPF programs to read "
        "memory; start it with lockdown=integrity, or without Secure Boot's strict mode");
  }
  return limits;
}

}  // namespace zerotap
