// The shards of a pipeline. With one, everything is a call. With several, records are gathered, each shard handles its own
// of them (all at the same time, if somebody runs them so), and then the book is told what they said, in the order of the
// records. So the outcome is that of one shard, however the shards are interleaved (ADR 14).
//
// A record is handled alone, after all before it, when its outcome hangs on what the book does with those: when its process
// is not known, or its connection appears a second time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "agent/events/event.h"
#include "agent/pipeline/connection_shard.h"
#include "agent/pipeline/request_log.h"

namespace zerotap {

class ShardSet {
 public:
  using OnHandled = std::function<void(ByteSpan record)>;

  ShardSet(const PipelineOptions& options, std::span<const Protocol* const> protocols,
           ProcessStandings& processes, Ledger& ledger, RequestBook& book);

  // A record of a connection. With several shards its outcome may have to wait for Flush.
  void Handle(const Event& event, ByteSpan bytes) {
    if (only_) {
      only_->Handle(event);
      if (on_handled_) on_handled_(bytes);
    } else {
      Queue(event, bytes);
    }
  }
  void Flush() {
    if (!queued_.empty()) HandleQueued();
  }
  // Is told of each record once it has been handled.
  void SetOnHandled(OnHandled on_handled) { on_handled_ = std::move(on_handled); }
  const OnHandled& on_handled() const { return on_handled_; }

  // As those of ConnectionShard, for all of them and after a Flush.
  void Reconsider(bool somebody_came_back);
  void Suspend(uint32_t tgid);
  void Resume(uint32_t tgid);
  void Advance(uint64_t now_ns);
  void Finish();
  size_t LimitMemory(size_t bytes);

  size_t MemorySize() const;
  void AddTo(PipelineStats& stats) const;

  // So many shards may be asked for.
  static constexpr size_t kMaxShards = 16;
  // What is gathered at most, and what a shard may say before the book hears of it, all in all.
  static constexpr size_t kBatchBytes = size_t{1} << 20;
  static constexpr size_t kLaneBytes = 4 * RequestLog::kFullBytes;

 private:
  // A shard with its part of what was gathered.
  struct alignas(64) Lane {
    RequestLog log;
    std::unique_ptr<ConnectionShard> shard;
    std::vector<uint32_t> records;  // places in queued_
    size_t handled = 0;             // of records
    size_t delivered = 0;
  };
  struct Queued {
    Event event;
    ByteSpan bytes;
    uint32_t lane = 0;
  };

  template <typename Call>
  void ForEachShard(const Call& call);
  void Queue(const Event& event, ByteSpan bytes);
  bool StandsAlone(const Event& event);
  uint32_t LaneFor(const Event& event);
  uint32_t LaneOfNew(const zt_connection_opened_event& opened);
  bool IsKnown(uint32_t tgid);
  void HandleQueued();
  size_t Handled() const;
  void RunLanes(size_t left);
  void RunLane(Lane& lane);
  void Bury(Lane& lane);

  const PipelineOptions& options_;
  ProcessStandings& processes_;
  RequestBook& book_;
  OnHandled on_handled_;
  std::unique_ptr<ConnectionShard> only_;      // this,
  std::vector<std::unique_ptr<Lane>> lanes_;   // or these
  std::vector<Queued> queued_;
  std::unique_ptr<uint64_t[]> batch_;  // the records of queued_
  size_t batch_words_ = 0;
  std::unordered_map<uint64_t, uint32_t> lane_of_;  // by connection, of all that the shards have
  std::unordered_map<uint64_t, uint32_t> new_inodes_;  // AF_UNIX: of connections that are queued
  uint32_t known_tgid_ = 0;
  uint64_t shared_records_ = 0;
};

}  // namespace zerotap
