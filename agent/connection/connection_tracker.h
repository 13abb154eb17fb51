// All live connections: finds them by id and by their other end on this host, and keeps their number bounded.
#pragma once

#include <cstdint>
#include <list>
#include <unordered_set>
#include <vector>

#include "agent/base/pointer_table.h"
#include "agent/connection/connection.h"
#include "agent/events/event.h"

namespace zerotap {

struct TrackerOptions {
  size_t max_connections = 65536;
  // An AF_UNIX connection has no close event: one that has ended in a direction and has no request in flight is
  // forgotten after this time of silence. Others stay, idle or not, until the number is reached.
  uint64_t unix_linger_ns = 10'000'000'000;
};

class ConnectionTracker {
 public:
  ConnectionTracker(const TrackerOptions& options, std::span<const Protocol* const> protocols,
                    const ParserOptions& parser_options, RequestListener& listener);
  ~ConnectionTracker();
  ConnectionTracker(const ConnectionTracker&) = delete;
  ConnectionTracker& operator=(const ConnectionTracker&) = delete;

  // The connection of the record; made when it is new (its opened record may have been lost).
  Connection& OnOpened(const zt_connection_opened_event& opened);
  Connection& Find(uint64_t connection_id, uint64_t now_ns);
  const Connection* FindExisting(uint64_t connection_id) const;
  void OnShutdown(const zt_connection_shutdown_event& shutdown);
  // A read of `connection` returned 0. AF_UNIX has no other sign that the peer will send no more.
  void OnEndOfStream(Connection& connection, uint64_t time_ns);
  void OnClosed(const zt_connection_closed_event& closed);

  // `visit` must neither add nor remove connections.
  template <typename Visit>
  void ForEach(const Visit& visit) {
    connections_.ForEach(visit);
  }

  void Advance(uint64_t now_ns);
  // Every connection gives up what is in flight.
  void Finish(DropReason reason);

  // Gives connections up until the others hold at most `bytes`: first those that hold much, then those that were quiet
  // for longest. Says how many.
  size_t LimitMemory(size_t bytes, DropReason reason);

  size_t size() const { return connections_.size(); }
  uint64_t evicted() const { return evicted_; }
  size_t MemorySize() const;

 private:
  struct IdOf {
    uint64_t operator()(const Connection& connection) const { return connection.id(); }
  };
  struct OwnKeyOf {
    uint64_t operator()(const Connection& connection) const { return connection.own_key(); }
  };
  using ConnectionsByKey = PointerTable<Connection, OwnKeyOf>;

  static size_t MemoryOf(const Connection& connection);
  ConnectionsByKey& OthersOf(const Connection& connection);
  void Evict(Connection& connection, DropReason reason);
  Connection& Insert(uint64_t connection_id, uint64_t now_ns);
  void LinkPeer(Connection& connection);
  void Remove(Connection& connection);
  void Unlink(Connection& connection);
  void LinkNewest(Connection& connection);

  const TrackerOptions options_;
  const std::vector<const Protocol*> protocols_;
  const ConnectionContext context_;
  PointerTable<Connection, IdOf> connections_;  // owned
  Connection* oldest_ = nullptr;                // by use
  Connection* newest_ = nullptr;
  std::list<uint64_t> without_close_;    // AF_UNIX ones, checked for idleness in turn
  ConnectionsByKey tcp_by_key_;
  ConnectionsByKey unix_by_key_;
  std::unordered_set<uint64_t> waiting_;  // connections with holes in a stream
  Connection* last_ = nullptr;            // records come in bursts
  uint64_t evicted_ = 0;

 public:
  // A record was added to `connection`: remember whether a hole is open.
  void AfterRecord(Connection& connection) {
    if (connection.waiting()) waiting_.insert(connection.id());
  }
};

}  // namespace zerotap
