#include "agent/pipeline/shard_set.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "agent/base/hash.h"

namespace zerotap {
namespace {

// Fewer records than that are handled sooner than others are woken for them.
constexpr size_t kWorthSharing = 64;
// Of small ones.
constexpr size_t kBatchRecords = 4096;
constexpr size_t kBatchWords = ShardSet::kBatchBytes / sizeof(uint64_t);

template <typename T>
const T* Moved(const T* pointer, const std::byte* from, const std::byte* to) {
  if (pointer == nullptr) return nullptr;
  return reinterpret_cast<const T*>(to + (reinterpret_cast<const std::byte*>(pointer) - from));
}

// The same of a copy of the record.
Event Moved(const Event& event, const std::byte* from, const std::byte* to) {
  Event moved;
  moved.header = Moved(event.header, from, to);
  moved.opened = Moved(event.opened, from, to);
  moved.data = Moved(event.data, from, to);
  moved.shutdown = Moved(event.shutdown, from, to);
  moved.closed = Moved(event.closed, from, to);
  moved.head = {Moved(event.head.data(), from, to), event.head.size()};
  moved.tail = {Moved(event.tail.data(), from, to), event.tail.size()};
  return moved;
}

}  // namespace

ShardSet::ShardSet(const PipelineOptions& options, std::span<const Protocol* const> protocols,
                   ProcessStandings& processes, Ledger& ledger, RequestBook& book)
    : options_(options), processes_(processes), book_(book) {
  const size_t count = std::clamp<size_t>(options.shards, 1, kMaxShards);
  if (count == 1) {
    only_ = std::make_unique<ConnectionShard>(options, options.max_connections, protocols,
                                              processes, ledger, book);
    return;
  }
  const size_t max_connections = (options.max_connections + count - 1) / count;
  for (size_t i = 0; i < count; ++i) {
    auto lane = std::make_unique<Lane>();
    lane->shard = std::make_unique<ConnectionShard>(options, max_connections, protocols, processes,
                                                    ledger, lane->log);
    lane->shard->tracker().KeepRemoved();
    lanes_.push_back(std::move(lane));
  }
  batch_ = std::make_unique<uint64_t[]>(kBatchWords);
}

void ShardSet::Queue(const Event& event, ByteSpan bytes) {
  const size_t words = (bytes.size() + sizeof(uint64_t) - 1) / sizeof(uint64_t);
  const bool alone = StandsAlone(event) || words > kBatchWords;
  // Before its lane is looked for: a connection that is given up loses it then.
  if (alone || batch_words_ + words > kBatchWords || queued_.size() >= kBatchRecords) Flush();
  const uint32_t lane = LaneFor(event);
  lanes_[lane]->records.push_back(static_cast<uint32_t>(queued_.size()));
  if (words > kBatchWords) {
    queued_.push_back({event, bytes, lane});
  } else {
    auto* copy = reinterpret_cast<std::byte*>(batch_.get() + batch_words_);
    std::memcpy(copy, bytes.data(), bytes.size());
    batch_words_ += words;
    queued_.push_back({Moved(event, bytes.data(), copy), ByteSpan(copy, bytes.size()), lane});
  }
  if (alone) Flush();
}

bool ShardSet::StandsAlone(const Event& event) {
  if (event.data != nullptr) return !IsKnown(event.data->tgid);
  if (event.opened == nullptr) return false;
  return (event.opened->tgid != 0 && !IsKnown(event.opened->tgid)) ||
         lane_of_.contains(event.opened->connection_id);
}

uint32_t ShardSet::LaneFor(const Event& event) {
  const uint64_t id = event.data != nullptr       ? event.data->connection_id
                      : event.opened != nullptr   ? event.opened->connection_id
                      : event.shutdown != nullptr ? event.shutdown->connection_id
                                                  : event.closed->connection_id;
  auto found = lane_of_.find(id);
  if (found != lane_of_.end()) return found->second;
  // Of a connection that nobody knows these say nothing.
  if (event.data == nullptr && event.opened == nullptr) return 0;
  const uint32_t lane = event.opened != nullptr
                            ? LaneOfNew(*event.opened)
                            : static_cast<uint32_t>(MixHash(id) % lanes_.size());
  lane_of_.emplace(id, lane);
  return lane;
}

// That of its other end, if there is one: both ends of a TCP connection have the same two numbers. One of AF_UNIX is linked
// to the one that it names and that is known by then, and to no other.
uint32_t ShardSet::LaneOfNew(const zt_connection_opened_event& opened) {
  const auto choose = [this](uint64_t hash) { return static_cast<uint32_t>(hash % lanes_.size()); };
  if (opened.family != ZT_FAMILY_UNIX) {
    if (opened.first_out == 0 && opened.first_in == 0) return choose(MixHash(opened.connection_id));
    const auto [low, high] = std::minmax(opened.first_out, opened.first_in);
    return choose(CombineHash(low, high));
  }
  uint32_t lane = choose(MixHash(opened.socket_inode != 0 ? opened.socket_inode
                                                          : opened.connection_id));
  if (opened.socket_inode == 0) return lane;
  if (opened.peer_inode != 0) {
    if (auto queued = new_inodes_.find(opened.peer_inode); queued != new_inodes_.end()) {
      lane = queued->second;
    } else {
      for (uint32_t i = 0; i < lanes_.size(); ++i) {
        if (lanes_[i]->shard->tracker().HasInode(opened.peer_inode)) lane = i;
      }
    }
  }
  new_inodes_[opened.socket_inode] = lane;
  return lane;
}

bool ShardSet::IsKnown(uint32_t tgid) {
  if (tgid == known_tgid_ && tgid != 0) return true;
  if (!processes_.IsKnown(tgid)) return false;
  known_tgid_ = tgid;
  return true;
}

void ShardSet::RunLane(Lane& lane) {
  while (lane.handled < lane.records.size() && !lane.log.full()) {
    const uint32_t record = lane.records[lane.handled];
    lane.log.SetRecord(record);
    lane.shard->Handle(queued_[record].event);
    ++lane.handled;
  }
}

// Of what was gathered.
size_t ShardSet::Handled() const {
  size_t records = 0;
  for (const std::unique_ptr<Lane>& lane : lanes_) records += lane->handled;
  return records;
}

void ShardSet::RunLanes(size_t left) {
  const auto busy = std::count_if(lanes_.begin(), lanes_.end(), [](const auto& lane) {
    return lane->handled < lane->records.size();
  });
  if (options_.run_shards && left >= kWorthSharing && busy > 1) {
    const size_t before = Handled();
    options_.run_shards(lanes_.size(), [this](size_t i) { RunLane(*lanes_[i]); });
    shared_records_ += Handled() - before;
    return;
  }
  for (const std::unique_ptr<Lane>& lane : lanes_) RunLane(*lane);
}

void ShardSet::HandleQueued() {
  for (size_t next = 0; next < queued_.size();) {
    RunLanes(queued_.size() - next);
    // The lane of the next record has been told of all before it, so it always gets further.
    for (; next < queued_.size(); ++next) {
      Lane& lane = *lanes_[queued_[next].lane];
      if (lane.delivered == lane.handled) break;
      ++lane.delivered;
      lane.log.Deliver(static_cast<uint32_t>(next), book_);
      if (on_handled_) on_handled_(queued_[next].bytes);
    }
  }
  queued_.clear();
  batch_words_ = 0;
  new_inodes_.clear();
  known_tgid_ = 0;
  for (const std::unique_ptr<Lane>& lane : lanes_) {
    lane->records.clear();
    lane->handled = lane->delivered = 0;
    Bury(*lane);
  }
}

// Connections that the shard has given up were kept for the book.
void ShardSet::Bury(Lane& lane) {
  ConnectionTracker& tracker = lane.shard->tracker();
  for (const std::unique_ptr<Connection>& removed : tracker.removed()) {
    // Late records may have made another one of that number.
    if (tracker.FindExisting(removed->id()) == nullptr) lane_of_.erase(removed->id());
  }
  tracker.ForgetRemoved();
}

template <typename Call>
void ShardSet::ForEachShard(const Call& call) {
  if (only_) return call(*only_);
  Flush();
  known_tgid_ = 0;
  for (const std::unique_ptr<Lane>& lane : lanes_) {
    call(*lane->shard);
    lane->log.DeliverAll(book_);
    Bury(*lane);
  }
}

void ShardSet::Reconsider(bool somebody_came_back) {
  ForEachShard([=](ConnectionShard& shard) { shard.Reconsider(somebody_came_back); });
}
void ShardSet::Suspend(uint32_t tgid) {
  ForEachShard([=](ConnectionShard& shard) { shard.Suspend(tgid); });
}
void ShardSet::Resume(uint32_t tgid) {
  ForEachShard([=](ConnectionShard& shard) { shard.Resume(tgid); });
}
void ShardSet::Advance(uint64_t now_ns) {
  ForEachShard([=](ConnectionShard& shard) { shard.Advance(now_ns); });
}
void ShardSet::Finish() {
  ForEachShard([](ConnectionShard& shard) { shard.Finish(); });
}

// Each shard gives up the same part of what it holds.
size_t ShardSet::LimitMemory(size_t bytes) {
  Flush();
  const size_t held = MemorySize();
  if (held <= bytes) return 0;
  const double part = static_cast<double>(bytes) / static_cast<double>(held);
  size_t given_up = 0;
  ForEachShard([&](ConnectionShard& shard) {
    ConnectionTracker& tracker = shard.tracker();
    const size_t allowed =
        only_ ? bytes : static_cast<size_t>(static_cast<double>(tracker.MemorySize()) * part);
    given_up += tracker.LimitMemory(allowed, DropReason::kMemoryLimit);
  });
  return given_up;
}

size_t ShardSet::MemorySize() const {
  if (only_) return only_->tracker().MemorySize();
  size_t total = 0;
  for (const std::unique_ptr<Lane>& lane : lanes_) total += lane->shard->tracker().MemorySize();
  return total;
}

void ShardSet::AddTo(PipelineStats& stats) const {
  stats.shards = std::max<size_t>(1, lanes_.size());
  stats.shared_records = shared_records_;
  const auto add = [&stats](const ConnectionShard& shard) {
    stats.connections_opened += shard.stats().connections_opened;
    stats.connections_ignored += shard.stats().connections_ignored;
    stats.lost_events += shard.stats().lost_events;
    stats.connections_evicted += shard.tracker().evicted();
    stats.live_connections += shard.tracker().size();
  };
  if (only_) add(*only_);
  for (const std::unique_ptr<Lane>& lane : lanes_) add(*lane->shard);
}

}  // namespace zerotap
