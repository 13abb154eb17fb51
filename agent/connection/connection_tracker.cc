#include "agent/connection/connection_tracker.h"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

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
      context_{protocols_, parser_options, listener} {}

ConnectionTracker::~ConnectionTracker() {
  while (oldest_ != nullptr) delete std::exchange(oldest_, oldest_->newer);
}

Connection& ConnectionTracker::Find(uint64_t connection_id, uint64_t now_ns) {
  if (last_ != nullptr && last_->id() == connection_id) {
    last_->last_active_ns = now_ns;
    return *last_;
  }
  Connection* found = connections_.Find(connection_id);
  if (found == nullptr) return Insert(connection_id, now_ns);
  if (found != newest_) {
    Unlink(*found);
    LinkNewest(*found);
  }
  last_ = found;
  last_->last_active_ns = now_ns;
  return *last_;
}

const Connection* ConnectionTracker::FindExisting(uint64_t connection_id) const {
  return connections_.Find(connection_id);
}

Connection& ConnectionTracker::Insert(uint64_t connection_id, uint64_t now_ns) {
  while (connections_.size() >= options_.max_connections && oldest_ != nullptr) {
    Evict(*oldest_, DropReason::kEvicted);
  }
  last_ = std::make_unique<Connection>(connection_id, context_).release();
  last_->last_active_ns = now_ns;
  LinkNewest(*last_);
  connections_.Put(*last_);
  return *last_;
}

void ConnectionTracker::Unlink(Connection& connection) {
  (connection.older != nullptr ? connection.older->newer : oldest_) = connection.newer;
  (connection.newer != nullptr ? connection.newer->older : newest_) = connection.older;
}

void ConnectionTracker::LinkNewest(Connection& connection) {
  connection.older = newest_;
  connection.newer = nullptr;
  (newest_ != nullptr ? newest_->newer : oldest_) = &connection;
  newest_ = &connection;
}

ConnectionTracker::ConnectionsByKey& ConnectionTracker::OthersOf(const Connection& connection) {
  return connection.family() == ZT_FAMILY_UNIX ? unix_by_key_ : tcp_by_key_;
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
  if (connection.family() == ZT_FAMILY_UNIX) without_close_.push_back(connection.id());
  if (connection.own_key() == 0) return;
  ConnectionsByKey& others = OthersOf(connection);
  others.Put(connection);
  Connection* other = connection.peer_key() == 0 ? nullptr : others.Find(connection.peer_key());
  if (other == nullptr || other == &connection) return;
  connection.peer = other;
  if (connection.peer->peer != nullptr) connection.peer->peer->peer = nullptr;
  connection.peer->peer = &connection;
}

void ConnectionTracker::OnShutdown(const zt_connection_shutdown_event& shutdown) {
  // The peer's FIN reaches the kernel before the process has read what came before it: the reading side ends
  // with the read that returns 0 (a data record with EOF) or with the close.
  if (shutdown.direction != ZT_DIRECTION_EGRESS) return;
  Connection* connection = connections_.Find(shutdown.connection_id);
  if (connection == nullptr) return;
  if ((shutdown.flags & ZT_DATA_SKIPPED) != 0) connection->OnSkipped(0);
  connection->OnShutdown(Direction::kEgress, shutdown.header.time_ns);
}

void ConnectionTracker::OnEndOfStream(Connection& connection, uint64_t time_ns) {
  if (connection.family() == ZT_FAMILY_UNIX && connection.peer != nullptr) {
    connection.peer->OnShutdown(Direction::kEgress, time_ns);
    connection.CompareWithPeer();
  }
}

void ConnectionTracker::OnClosed(const zt_connection_closed_event& closed) {
  Connection* connection = connections_.Find(closed.connection_id);
  if (connection == nullptr) return;
  EndReason reason = EndReason::kFin;
  if (closed.error == ETIMEDOUT || closed.error == EHOSTUNREACH) {
    reason = EndReason::kTimeout;
  } else if (closed.error != 0) {
    reason = EndReason::kReset;
  }
  connection->CompareTotals(closed);
  connection->OnClosed(reason, closed.header.time_ns);
  Remove(*connection);
}

void ConnectionTracker::Remove(Connection& connection) {
  if (connection.peer != nullptr) connection.peer->peer = nullptr;
  OthersOf(connection).Erase(connection);
  if (last_ == &connection) last_ = nullptr;
  waiting_.erase(connection.id());
  Unlink(connection);
  connections_.Erase(connection);
  const std::unique_ptr<Connection> owned(&connection);
}

void ConnectionTracker::Advance(uint64_t now_ns) {
  for (auto id = waiting_.begin(); id != waiting_.end();) {
    Connection* connection = connections_.Find(*id);
    if (connection != nullptr) connection->Expire(now_ns);
    bool done = connection == nullptr || !connection->waiting();
    id = done ? waiting_.erase(id) : std::next(id);
  }
  for (int checked = 0; checked < kIdleChecksPerAdvance && !without_close_.empty(); ++checked) {
    uint64_t id = without_close_.front();
    Connection* found = connections_.Find(id);
    if (found == nullptr) {
      without_close_.pop_front();
      continue;
    }
    Connection& connection = *found;
    if (connection.ended_either() && connection.in_flight == 0 &&
        now_ns > connection.last_active_ns + options_.unix_linger_ns) {
      connection.OnClosed(EndReason::kFin, connection.last_active_ns);
      Remove(connection);
      without_close_.pop_front();
    } else {
      without_close_.splice(without_close_.end(), without_close_, without_close_.begin());
    }
  }
}

void ConnectionTracker::Finish(DropReason reason) {
  ForEach([reason](Connection& connection) { connection.Ignore(reason); });
}

void ConnectionTracker::Evict(Connection& connection, DropReason reason) {
  connection.Ignore(reason);
  ++evicted_;
  Remove(connection);
}

size_t ConnectionTracker::LimitMemory(size_t bytes, DropReason reason) {
  size_t held = MemorySize();
  if (held <= bytes) return 0;
  const uint64_t evicted_before = evicted_;
  const size_t much = bytes / kMuchPart;
  std::vector<std::pair<size_t, Connection*>> large;
  ForEach([&](Connection& connection) {
    if (MemoryOf(connection) > much) large.emplace_back(MemoryOf(connection), &connection);
  });
  std::sort(large.begin(), large.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second->id() < b.second->id();
  });
  const auto give_up = [&](Connection& connection) {
    const size_t size = MemoryOf(connection);
    held -= std::min(held, size);
    Evict(connection, reason);
  };
  for (const auto& [size, connection] : large) {
    if (held <= bytes) break;
    give_up(*connection);
  }
  while (held > bytes && oldest_ != nullptr) give_up(*oldest_);
  return evicted_ - evicted_before;
}

size_t ConnectionTracker::MemoryOf(const Connection& connection) {
  // The second: its places in the tables, and what the heap needs for itself.
  return connection.MemorySize() + 64;
}

size_t ConnectionTracker::MemorySize() const {
  size_t total = 0;
  connections_.ForEach([&total](const Connection& connection) { total += MemoryOf(connection); });
  return total;
}

}  // namespace zerotap
