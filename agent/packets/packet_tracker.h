// All connections of a capture: packets in, kernel records out (bpf/abi/event.h), so that the
// pipeline behind does not know the difference. Pure: time comes with the packets, memory is
// bounded, what is given up is counted.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "agent/packets/packet.h"
#include "agent/packets/tcp_connection.h"

namespace zerotap {

// Which ends of a connection become spans. A wire shows both, and the host that captured has one of
// them, mostly.
enum class EndChoice : uint8_t {
  kAuto,  // both where both are on one host, the end of the capturing host where the capture says
          // it, else the server's
  kBoth,
  kClient,
  kServer,
};

struct PacketOptions {
  EndChoice ends = EndChoice::kAuto;
  TcpConnectionOptions connection;
  size_t max_connections = 65536;
  size_t max_held_bytes = 64 * 1024 * 1024;  // of all connections
  size_t max_addresses = 65536;              // that get a name of their own
};

class PacketTracker final : private EndDescriber {
 public:
  explicit PacketTracker(const PacketOptions& options, RecordHandler handler);
  ~PacketTracker() override;
  PacketTracker(const PacketTracker&) = delete;
  PacketTracker& operator=(const PacketTracker&) = delete;

  void OnPacket(const RawPacket& packet);
  // The capture is over: what is still waited for does not come.
  void Flush();

  // Who a process number of the records stands for: "10.0.0.5:8080" where it serves, "10.0.0.9"
  // where it connects. Empty when it was not given out.
  const std::string& NameOf(uint32_t tgid) const;

  const PacketStats& stats() const { return stats_; }
  size_t live_connections() const { return connections_.size(); }
  size_t held_bytes() const { return held_bytes_; }
  uint64_t now_ns() const { return now_ns_; }

 private:
  struct FlowKey {
    uint8_t family = 0;
    PacketAddress low, high;
    bool operator==(const FlowKey&) const = default;
  };
  struct FlowHash {
    size_t operator()(const FlowKey& key) const;
  };
  struct Flow {
    std::unique_ptr<TcpConnection> connection;
    std::list<FlowKey>::iterator recency;
    size_t held_bytes = 0;
    bool waiting = false;
  };
  using Flows = std::unordered_map<FlowKey, Flow, FlowHash>;

  void Describe(ConnectionEnds& ends, int client, const bool (&local)[2]) override;
  void OnSegment(const TcpSegment& segment);
  void Insert(const FlowKey& key, const TcpSegment& segment);
  void Replace(Flow& flow, const TcpSegment& segment);
  std::unique_ptr<TcpConnection> NewConnection(const TcpSegment& segment);
  void Update(const FlowKey& key, Flow& flow);
  void ExpireSome();
  void Listens(const PacketAddress& address);
  bool IsListener(const PacketAddress& address) const;
  uint32_t NumberOf(uint8_t family, const PacketAddress& address, bool serves);

  const PacketOptions options_;
  const RecordHandler handler_;
  PacketStats stats_;
  Flows connections_;
  std::list<FlowKey> recent_;   // the most recent last
  std::list<FlowKey> waiting_;  // with something missing, looked at in turn
  size_t held_bytes_ = 0;
  uint64_t now_ns_ = 0;
  uint64_t last_connection_id_ = 0;
  std::unordered_set<std::string> listeners_;
  std::unordered_map<std::string, uint32_t> numbers_;
  std::unordered_map<uint32_t, std::string> names_;
};

}  // namespace zerotap
