// A pipeline's connections, or a part of them: records in, requests that begin and end out, verdicts back. The two ends of a
// connection are in one shard.
//
// Shards share nothing that any of them changes while it handles records, as long as the processes in these are known
// (ProcessStandings): so several can do that at the same time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "agent/connection/connection_tracker.h"
#include "agent/events/event.h"
#include "agent/pipeline/pipeline.h"
#include "agent/pipeline/request_book.h"

namespace zerotap {

// Counts of one shard; the sums are in PipelineStats.
struct ShardStats {
  uint64_t connections_opened = 0;
  uint64_t connections_ignored = 0;
  uint64_t lost_events = 0;
};

class ConnectionShard final : private RequestListener {
 public:
  // All but `max_connections` must outlive the shard. `options` may change between two calls.
  ConnectionShard(const PipelineOptions& options, size_t max_connections,
                  std::span<const Protocol* const> protocols, ProcessStandings& processes,
                  Ledger& ledger, RequestBook& book);

  // A record of a connection.
  void Handle(const Event& event) {
    if (event.data != nullptr) {
      OnData(*event.data, event.head, event.tail);
    } else if (event.opened != nullptr) {
      OnOpened(*event.opened);
    } else if (event.shutdown != nullptr) {
      tracker_.OnShutdown(*event.shutdown);
    } else if (event.closed != nullptr) {
      OnClosed(*event.closed);
    }
  }

  // Rules over processes or ports have changed. `somebody_came_back`: a process is traced that was not.
  void Reconsider(bool somebody_came_back);
  void Suspend(uint32_t tgid);
  void Resume(uint32_t tgid);

  void Advance(uint64_t now_ns) { tracker_.Advance(now_ns); }
  void Finish() { tracker_.Finish(DropReason::kShutdown); }

  ConnectionTracker& tracker() { return tracker_; }
  const ConnectionTracker& tracker() const { return tracker_; }
  const ShardStats& stats() const { return stats_; }

 private:
  WorkId BeginRequest(Connection& connection, const RequestStart& start) override;
  void EndExchange(Connection& connection, const Exchange& exchange) override;
  void DropRequest(Connection& connection, WorkId work, DropReason reason) override;
  void OnProtocolKnown(Connection& connection, const Protocol* protocol) override;
  void OnUnseen(Connection&, uint64_t bytes) override { ledger_.Unseen(bytes); }
  void OnCounted(Connection& connection, uint64_t requests) override;

  void OnOpened(const zt_connection_opened_event& opened);
  zt_connection_opened_event CertainOf(const zt_connection_opened_event& opened);
  void OnData(const zt_data_event& data, ByteSpan head, ByteSpan tail);
  void OnClosed(const zt_connection_closed_event& closed);
  bool GoesOnFor(Connection& connection, uint32_t tgid);
  void ResumeConnection(Connection& connection);
  bool LeftOut(const Connection& connection) const;
  void LeaveOut(Connection& connection);
  void SendVerdict(const Connection& connection, zt_verdict_mode mode, uint8_t egress_kib,
                   uint8_t ingress_kib, uint8_t edge_bytes);
  void SendProtocolVerdict(const Connection& connection);
  void RepeatVerdict(Connection& connection);

  const PipelineOptions& options_;
  ProcessStandings& processes_;
  Ledger& ledger_;
  RequestBook& book_;
  ConnectionTracker tracker_;
  ShardStats stats_;
  bool leaving_out_ = false;
};

}  // namespace zerotap
