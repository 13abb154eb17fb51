// What the agent saw: its capture room watching this process, with the records sorted by
// connection.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/capture/bpf_capture.h"
#include "agent/connection/connection_tracker.h"
#include "tests/bpf/conformance/link.h"

namespace zerotap::conformance {

struct SeenData {
  zt_data_event event;
  std::string payload;
};

// One end of a connection, as told.
struct SeenEnd {
  zt_connection_opened_event opened{};
  int opened_count = 0;
  std::vector<SeenData> data;
  std::vector<zt_connection_shutdown_event> shutdowns;
  std::vector<zt_connection_closed_event> closed;
};

class Witness {
 public:
  static Result<std::unique_ptr<Witness>> Create(CaptureTier tier, uint32_t rings);

  BpfCapture& capture() { return *capture_; }
  CaptureTier tier() const { return capture_->report().tier; }
  // Takes in all that was written until now.
  void Collect();
  // What was told of this end, or null.
  const SeenEnd* Find(const End& end) const;
  // Forgets what belongs to earlier rows, but not the sockets that existed before the capture.
  void Clear();
  // All that will come is here: no hole will be filled any more.
  void SettleStreams();
  // How many ends of this process and its network were told of since.
  size_t CountOwn() const;

  uint64_t records() const { return records_; }
  uint64_t exec_records() const { return exec_records_; }
  // What the agent's connection room finds to have passed without a record.
  uint64_t unseen_bytes() const { return listener_.unseen_bytes; }
  // Records that contradict the format; none is right.
  const std::vector<std::string>& malformed() const { return malformed_; }

 private:
  Witness(std::unique_ptr<BpfCapture> capture, uint32_t netns);
  void Take(ByteSpan record);
  void TakeData(const zt_data_event& event);
  bool IsOwn(const zt_connection_opened_event& opened) const;

  // Nobody asks for requests here.
  struct Listener final : RequestListener {
    WorkId BeginRequest(Connection&, const RequestStart&) override { return {}; }
    void EndExchange(Connection&, const Exchange&) override {}
    void DropRequest(Connection&, WorkId, DropReason) override {}
    void OnProtocolKnown(Connection&, const Protocol*) override {}
    void OnUnseen(Connection&, uint64_t bytes) override { unseen_bytes += bytes; }
    void OnCounted(Connection&, uint64_t) override {}
    uint64_t unseen_bytes = 0;
  };

  std::unique_ptr<BpfCapture> capture_;
  Listener listener_;
  ParserOptions parser_options_;
  std::unique_ptr<ConnectionTracker> tracker_;
  uint32_t netns_;
  std::map<uint64_t, SeenEnd> ends_;  // by connection id: grows with time
  // The newest connection by what its end is found by.
  std::unordered_map<uint64_t, uint64_t> by_socket_, by_pair_;
  uint64_t last_old_ = 0;
  std::vector<std::string> malformed_;
  uint64_t records_ = 0;
  uint64_t exec_records_ = 0;
};

}  // namespace zerotap::conformance
