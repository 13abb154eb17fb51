// A capture of this very process, sockets to let it see, and what it saw sorted by connection.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/base/unique_fd.h"
#include "agent/capture/bpf_capture.h"

namespace zerotap {

struct SeenData {
  zt_data_event event;
  std::string payload;
};

// What was told of one end of a connection.
struct SeenConnection {
  zt_connection_opened_event opened{};
  int opened_count = 0;
  std::vector<SeenData> data;
  std::vector<zt_connection_shutdown_event> shutdowns;
  std::vector<zt_connection_closed_event> closed;

  std::vector<SeenData> In(zt_direction direction) const;
};

enum class Transport { kTcp4, kTcp6, kUnix, kUnixPair };
const char* Name(Transport transport);

// A connected pair; for all but kUnixPair the second was accepted from a listening socket.
struct SocketPair {
  UniqueFd client;
  UniqueFd server;
  std::string path;   // of the unix listener
  uint16_t port = 0;  // of the TCP listener
};

// Byte at `position` of a stream: tells any place of the first 64 KiB from any other nearby.
char PatternByte(uint64_t position);
std::string Pattern(uint64_t position, size_t size);

uint64_t InodeOf(int fd);

// What a connection of this process can be found by, even when its socket is gone.
struct SocketName {
  uint64_t inode = 0;
  uint16_t local_port = 0;  // TCP; an end that was told of before it was accepted has no inode
  uint16_t remote_port = 0;
};
SocketName NameOf(int fd);

class CaptureFixture {
 public:
  // Null with a reason when this machine cannot.
  static std::unique_ptr<CaptureFixture> Create(CaptureTier tier, std::string* reason,
                                                CaptureOptions options = OwnProcessSeen());
  static CaptureOptions OwnProcessSeen() {
    CaptureOptions options;
    options.detect_budget_kib = 4;  // so that a test need not send much to pass it
    options.exclude_self = false;
    return options;
  }

  BpfCapture& capture() { return *capture_; }
  // Takes in everything that was written to the ring until now.
  void Collect();
  // The newest connection of that name, or null.
  const SeenConnection* Find(const SocketName& name);
  const SeenConnection* Find(int fd) { return Find(NameOf(fd)); }
  const std::map<uint64_t, SeenConnection>& connections() const { return connections_; }
  const std::vector<std::string>& process_records() const { return process_records_; }
  void Clear();

 private:
  explicit CaptureFixture(std::unique_ptr<BpfCapture> capture) : capture_(std::move(capture)) {}
  void Take(ByteSpan record);
  std::unique_ptr<BpfCapture> capture_;
  std::map<uint64_t, SeenConnection> connections_;
  std::vector<std::string> process_records_;
};

SocketPair Connect(Transport transport);
// The two steps of it, for what happens in between. Returns the listening socket.
UniqueFd Listen(Transport transport, SocketPair& pair);

// The records of one direction are exactly the pattern's bytes 0..total: adjoining, and what was
// captured is right. Returns how many bytes were captured.
size_t ExpectStream(const SeenConnection& connection, zt_direction direction, uint64_t total,
                    uint64_t from = 0);

}  // namespace zerotap
