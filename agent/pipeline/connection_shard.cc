#include "agent/pipeline/connection_shard.h"

#include <algorithm>

namespace zerotap {
namespace {

constexpr uint32_t kRepeatVerdictEvery = 64;
constexpr uint8_t kDetectEdgeBytes = 64;

bool Contains(const std::vector<uint16_t>& ports, uint16_t port) {
  return std::find(ports.begin(), ports.end(), port) != ports.end();
}

}  // namespace

ConnectionShard::ConnectionShard(const PipelineOptions& options, size_t max_connections,
                                 std::span<const Protocol* const> protocols,
                                 ProcessStandings& processes, Ledger& ledger, RequestBook& book)
    : options_(options),
      processes_(processes),
      ledger_(ledger),
      book_(book),
      tracker_(TrackerOptions{.max_connections = max_connections}, protocols, options.parser,
               *this) {}

void ConnectionShard::SendVerdict(const Connection& connection, zt_verdict_mode mode,
                                  uint8_t egress_kib, uint8_t ingress_kib, uint8_t edge_bytes) {
  zt_verdict verdict{};
  verdict.tag = zt_verdict_tag(connection.id());
  verdict.mode = static_cast<zt_u8>(mode);
  verdict.egress_budget_kib = egress_kib;
  verdict.ingress_budget_kib = ingress_kib;
  verdict.edge_bytes = edge_bytes;
  book_.Decide(connection.id(), verdict);
}

// By a rule: what is in flight is filtered, not dropped.
void ConnectionShard::LeaveOut(Connection& connection) {
  leaving_out_ = true;
  connection.Ignore(DropReason::kInvalid);
  leaving_out_ = false;
  SendVerdict(connection, ZT_VERDICT_IGNORE, 0, 0, 0);
  connection.left_out = true;
  connection.suspended = false;
}

// Clients of zerotap's own listeners, and what the port rules leave out.
bool ConnectionShard::LeftOut(const Connection& connection) const {
  if (connection.family() == ZT_FAMILY_UNIX) return false;
  uint16_t local = connection.local().port;
  uint16_t remote = connection.remote().port;
  const std::string_view address = connection.remote_text();
  bool to_this_host =
      address == connection.local_text() || address.starts_with("127.") || address == "::1";
  if (to_this_host && (Contains(options_.own_ports, remote) || Contains(options_.own_ports, local))) {
    return true;
  }
  if (Contains(options_.exclude_ports, local) || Contains(options_.exclude_ports, remote)) return true;
  return !options_.include_ports.empty() && !Contains(options_.include_ports, local) &&
         !Contains(options_.include_ports, remote);
}

// The kernel side counts the bytes of an AF_UNIX connection from where it first looked at it, and
// does not look at those of processes that are not watched.
zt_connection_opened_event ConnectionShard::CertainOf(const zt_connection_opened_event& opened) {
  zt_connection_opened_event certain = opened;
  if (opened.family == ZT_FAMILY_UNIX && opened.tgid != 0 &&
      processes_.StandingOf(opened.tgid).was_unwatched) {
    certain.flags |= ZT_OPENED_MIDSTREAM;
    certain.flags &= static_cast<uint8_t>(~ZT_OPENED_POSITIONS_EXACT);
  }
  return certain;
}

void ConnectionShard::OnOpened(const zt_connection_opened_event& opened) {
  ++stats_.connections_opened;
  Connection& connection = tracker_.OnOpened(CertainOf(opened));
  if (opened.tgid != 0) connection.last_tgid = opened.tgid;
  if (LeftOut(connection)) {
    LeaveOut(connection);
  } else if (opened.tgid != 0 && !processes_.StandingOf(opened.tgid).traced) {
    LeaveOut(connection);
  }
}

void ConnectionShard::OnData(const zt_data_event& data, ByteSpan head, ByteSpan tail) {
  stats_.lost_events += data.lost_before;
  Connection& connection = tracker_.Find(data.connection_id, data.header.time_ns);
  if (connection.suspended && !GoesOnFor(connection, data.tgid)) return;
  if (connection.state() == Connection::State::kIgnored) {
    RepeatVerdict(connection);
    return;
  }
  if (data.tgid != connection.last_tgid) {
    connection.last_tgid = data.tgid;
    if (processes_.StandingOf(data.tgid).rung == HarmRung::kDetached) {
      connection.Suspend();
      return;
    }
  }
  if (data.direction == ZT_DIRECTION_EGRESS && data.length > 0) connection.answering_tid = data.tid;
  connection.OnRecord(data, head, tail);
  tracker_.AfterRecord(connection);
  if ((data.flags & ZT_DATA_EOF) != 0) tracker_.OnEndOfStream(connection, data.header.time_ns);
  RepeatVerdict(connection);
}

// A verdict may be lost to another connection that shares its slot.
void ConnectionShard::RepeatVerdict(Connection& connection) {
  if (connection.state() == Connection::State::kDetecting ||
      ++connection.records_since_verdict % kRepeatVerdictEvery != 0) {
    return;
  }
  if (connection.state() == Connection::State::kParsing) {
    SendProtocolVerdict(connection);
  } else {
    SendVerdict(connection, ZT_VERDICT_IGNORE, 0, 0, 0);
  }
}

void ConnectionShard::OnClosed(const zt_connection_closed_event& closed) {
  // The closed record's total includes what data records have already said.
  const Connection* connection = tracker_.FindExisting(closed.connection_id);
  uint64_t said = connection != nullptr ? connection->lost_records() : 0;
  if (closed.lost_events > said) stats_.lost_events += closed.lost_events - said;
  tracker_.OnClosed(closed);
}

void ConnectionShard::OnProtocolKnown(Connection& connection, const Protocol* protocol) {
  if (protocol == nullptr) {
    if (connection.protocol() == nullptr) ++stats_.connections_ignored;
    SendVerdict(connection, ZT_VERDICT_IGNORE, 0, 0, 0);
    return;
  }
  book_.ForgetRow(connection);
  SendProtocolVerdict(connection);
}

void ConnectionShard::SendProtocolVerdict(const Connection& connection) {
  const CapturePolicy& policy = connection.protocol()->capture;
  bool is_client = connection.role() == Role::kClient;
  SendVerdict(connection, ZT_VERDICT_HEADS,
              is_client ? policy.request_budget_kib : policy.response_budget_kib,
              is_client ? policy.response_budget_kib : policy.request_budget_kib,
              policy.edge_bytes);
}

WorkId ConnectionShard::BeginRequest(Connection& connection, const RequestStart& start) {
  WorkOrigin origin;
  origin.role = connection.role();
  origin.connection_id = connection.id();
  if (connection.begin_offset == start.request_offset) {
    origin.ordinal = ++connection.begin_ordinal;
  } else {
    connection.begin_offset = start.request_offset;
    connection.begin_ordinal = 0;
  }
  if (connection.peer != nullptr && connection.peer->state() != Connection::State::kIgnored) {
    origin.peer_connection_id = connection.peer->id();
  }
  // The kernel tells of the two ends in any order, so a peer that is not known yet may still come.
  origin.expect_peer = connection.peer == nullptr;
  origin.exact_positions = connection.family() != ZT_FAMILY_UNIX || !connection.midstream();
  // A unix socket's other end is on this host. Its first send may be told of after it was read, and answered.
  origin.await_peer = origin.expect_peer && connection.family() == ZT_FAMILY_UNIX &&
                      start.start_ns < connection.opened_ns() + options_.hold_ns;
  if (origin.role == Role::kServer) connection.answering_tid = 0;
  return book_.Begin(connection, *connection.protocol(), origin, start);
}

void ConnectionShard::EndExchange(Connection& connection, const Exchange& exchange) {
  book_.End(connection, exchange, connection.answering_tid);
}

void ConnectionShard::DropRequest(Connection& connection, WorkId work, DropReason reason) {
  book_.Drop(connection, work, reason, leaving_out_);
}

void ConnectionShard::OnCounted(Connection& connection, uint64_t requests) {
  book_.Count(connection, *connection.protocol(), connection.role(), connection.last_tgid,
              requests);
}

void ConnectionShard::Reconsider(bool somebody_came_back) {
  tracker_.ForEach([this, somebody_came_back](Connection& connection) {
    book_.ForgetRow(connection);  // its process may have another name
    const bool leave_out = LeftOut(connection) || processes_.IsUntraced(connection.last_tgid);
    const bool watched =
        connection.state() != Connection::State::kIgnored || connection.suspended;
    if (leave_out && !connection.left_out && watched) {
      LeaveOut(connection);
    } else if (!leave_out && connection.left_out) {
      connection.left_out = false;
      connection.Reconsider();
      SendVerdict(connection, ZT_VERDICT_DETECT, 0, 0, kDetectEdgeBytes);
      if (processes_.IsDetached(connection.last_tgid)) connection.Suspend();
    } else if (somebody_came_back && connection.untouched()) {
      // Accepted connections are nobody's before their first byte, and that one may have passed unseen.
      connection.Reconsider();
    }
  });
}

void ConnectionShard::Suspend(uint32_t tgid) {
  tracker_.ForEach([tgid](Connection& connection) {
    if (connection.last_tgid == tgid) connection.Suspend();
  });
}

void ConnectionShard::Resume(uint32_t tgid) {
  tracker_.ForEach([this, tgid](Connection& connection) {
    if (connection.last_tgid == tgid && connection.suspended) ResumeConnection(connection);
  });
}

// What the kernel side was told of its protocol is as old as what is known here.
void ConnectionShard::ResumeConnection(Connection& connection) {
  connection.Resume();
  SendVerdict(connection, ZT_VERDICT_DETECT, 0, 0, kDetectEdgeBytes);
}

// A suspended connection may be shared by processes (pre-forked, or handed over) of which one is
// detached. It waits for the one that was last seen with it.
bool ConnectionShard::GoesOnFor(Connection& connection, uint32_t tgid) {
  if (tgid == connection.last_tgid) return false;
  if (processes_.StandingOf(tgid).rung == HarmRung::kDetached) {
    connection.last_tgid = tgid;
    return false;
  }
  ResumeConnection(connection);
  return true;
}

}  // namespace zerotap
