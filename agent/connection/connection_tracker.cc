#include "agent/connection/connection_tracker.h"

#include <algorithm>
#include <cerrno>

namespace zerotap {
namespace {

constexpr int kIdleChecksPerAdvance = 16;
// A connection that holds more than this part of what all may hold goes first.
constexpr size_t kMuchPart = 256;

}  // namespace

ConnectionTracker::ConnectionTracker(const TrackerOptions& options,
                                     std::span<const Protocol* const> protocols,
                                     const ParserOptions& parser_options, RequestListener& listener)
    : options_(options),
      protocols_(protocols.begin(), protocols.end()),
      parser_options_(parser_options),
      listener_(listener) {}

ConnectionTracker::~ConnectionTracker() = default;

Connection& ConnectionTracker::Find(uint64_t connection_id, uint64_t now_ns) {
  if (last_ != nullptr && last_->id() == connection_id) {
    last_->last_active_ns = now_ns;
    return *last_;
  }
  auto found = connections_.find(connection_id);
  if (found == connections_.end()) return Insert(connection_id, now_ns);
  recent_.splice(recent_.end(), recent_, found->second.recency);
  last_ = found->second.connection.get();
  last_->last_active_ns = now_ns;
  return *last_;
}

const Connection* ConnectionTracker::FindExisting(uint64_t connection_id) const {
  auto found = connections_.find(connection_id);
  return found == connections_.end() ? nullptr : found->second.connection.get();
}

Connection& ConnectionTracker::Insert(uint64_t connection_id, uint64_t now_ns) {
  while (connections_.size() >= options_.max_connections && !recent_.empty()) {
    Evict(connections_.find(recent_.front()), DropReason::kEvicted);
  }
  recent_.push_back(connection_id);
  Entry entry{std::make_unique<Connection>(connection_id, protocols_, parser_options_, listener_),
              std::prev(recent_.end())};
  last_ = entry.connection.get();
  last_->last_active_ns = now_ns;
  connections_.emplace(connection_id, std::move(entry));
  return *last_;
}

Connection& ConnectionTracker::OnOpened(const zt_connection_opened_event& opened) {
  Connection& connection = Find(opened.connection_id, opened.header.time_ns);
  if (!connection.described()) {
    connection.Describe(opened);
    LinkPeer(connection);
  }
  return connection;
}

void ConnectionTracker::LinkPeer(Connection& connection) {
  if (connection.family() == ZT_FAMILY_UNIX) {
    without_close_.push_back(connection.id());
    if (connection.socket_inode() == 0) return;
    by_inode_[connection.socket_inode()] = &connection;
    auto other = by_inode_.find(connection.peer_inode());
    if (connection.peer_inode() == 0 || other == by_inode_.end()) return;
    connection.peer = other->second;
  } else {
    if (connection.own_pair() == 0) return;
    by_pair_[connection.own_pair()] = &connection;
    auto other = by_pair_.find(connection.peer_pair());
    if (other == by_pair_.end() || other->second == &connection) return;
    connection.peer = other->second;
  }
  if (connection.peer->peer != nullptr) connection.peer->peer->peer = nullptr;
  connection.peer->peer = &connection;
}

void ConnectionTracker::OnShutdown(const zt_connection_shutdown_event& shutdown) {
  // The peer's FIN reaches the kernel before the process has read what came before it: the reading side ends
  // with the read that returns 0 (a data record with EOF) or with the close.
  if (shutdown.direction != ZT_DIRECTION_EGRESS) return;
  auto found = connections_.find(shutdown.connection_id);
  if (found == connections_.end()) return;
  Connection& connection = *found->second.connection;
  if ((shutdown.flags & ZT_DATA_SKIPPED) != 0) connection.OnSkipped(0);
  connection.OnShutdown(Direction::kEgress, shutdown.header.time_ns);
}

void ConnectionTracker::OnEndOfStream(Connection& connection, uint64_t time_ns) {
  if (connection.family() == ZT_FAMILY_UNIX && connection.peer != nullptr) {
    connection.peer->OnShutdown(Direction::kEgress, time_ns);
    connection.CompareWithPeer();
  }
}

void ConnectionTracker::OnClosed(const zt_connection_closed_event& closed) {
  auto found = connections_.find(closed.connection_id);
  if (found == connections_.end()) return;
  EndReason reason = EndReason::kFin;
  if (closed.error == ETIMEDOUT || closed.error == EHOSTUNREACH) {
    reason = EndReason::kTimeout;
  } else if (closed.error != 0) {
    reason = EndReason::kReset;
  }
  found->second.connection->CompareTotals(closed);
  found->second.connection->OnClosed(reason, closed.header.time_ns);
  Remove(found);
}

void ConnectionTracker::Remove(std::unordered_map<uint64_t, Entry>::iterator entry) {
  Connection& connection = *entry->second.connection;
  if (connection.peer != nullptr) connection.peer->peer = nullptr;
  auto forget = [&connection](auto& index, uint64_t key) {
    auto found = index.find(key);
    if (found != index.end() && found->second == &connection) index.erase(found);
  };
  if (connection.family() == ZT_FAMILY_UNIX) {
    forget(by_inode_, connection.socket_inode());
  } else {
    forget(by_pair_, connection.own_pair());
  }
  if (last_ == &connection) last_ = nullptr;
  waiting_.erase(connection.id());
  recent_.erase(entry->second.recency);
  if (keeps_removed_) removed_.push_back(std::move(entry->second.connection));
  connections_.erase(entry);
}

void ConnectionTracker::Advance(uint64_t now_ns) {
  for (auto id = waiting_.begin(); id != waiting_.end();) {
    auto found = connections_.find(*id);
    if (found != connections_.end()) found->second.connection->Expire(now_ns);
    bool done = found == connections_.end() || !found->second.connection->waiting();
    id = done ? waiting_.erase(id) : std::next(id);
  }
  for (int checked = 0; checked < kIdleChecksPerAdvance && !without_close_.empty(); ++checked) {
    uint64_t id = without_close_.front();
    auto found = connections_.find(id);
    if (found == connections_.end()) {
      without_close_.pop_front();
      continue;
    }
    Connection& connection = *found->second.connection;
    if (connection.ended_either() && connection.in_flight == 0 &&
        now_ns > connection.last_active_ns + options_.unix_linger_ns) {
      connection.OnClosed(EndReason::kFin, connection.last_active_ns);
      Remove(found);
      without_close_.pop_front();
    } else {
      without_close_.splice(without_close_.end(), without_close_, without_close_.begin());
    }
  }
}

void ConnectionTracker::Finish(DropReason reason) {
  for (auto& [id, entry] : connections_) entry.connection->Ignore(reason);
}

void ConnectionTracker::Evict(std::unordered_map<uint64_t, Entry>::iterator entry,
                              DropReason reason) {
  entry->second.connection->Ignore(reason);
  ++evicted_;
  Remove(entry);
}

size_t ConnectionTracker::LimitMemory(size_t bytes, DropReason reason) {
  size_t held = MemorySize();
  if (held <= bytes) return 0;
  const uint64_t evicted_before = evicted_;
  const size_t much = bytes / kMuchPart;
  std::vector<uint64_t> large;
  for (const auto& [id, entry] : connections_) {
    if (MemoryOf(entry) > much) large.push_back(id);
  }
  const auto give_up = [&](std::unordered_map<uint64_t, Entry>::iterator entry) {
    const size_t size = MemoryOf(entry->second);
    held -= std::min(held, size);
    Evict(entry, reason);
  };
  for (uint64_t id : large) {
    if (held <= bytes) break;
    give_up(connections_.find(id));
  }
  while (held > bytes && !recent_.empty()) give_up(connections_.find(recent_.front()));
  return evicted_ - evicted_before;
}

size_t ConnectionTracker::MemoryOf(const Entry& entry) {
  // The second: its places in the tables.
  return sizeof(Entry) + 128 + entry.connection->MemorySize();
}

size_t ConnectionTracker::MemorySize() const {
  size_t total = 0;
  for (const auto& [id, entry] : connections_) total += MemoryOf(entry);
  return total;
}

}  // namespace zerotap
