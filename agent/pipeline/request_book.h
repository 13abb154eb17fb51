// Between the two halves of a pipeline: connections with their parsers (ConnectionShard) say what requests begin and end,
// and the book (Pipeline) relates them to each other and counts them.
//
// Of a connection the book uses only what does not change once it is described (its id and addresses) and the place of its
// ledger row, which nobody else uses. Everything else comes with the call: the connection may be further on by then.
#pragma once

#include <cstdint>

#include "agent/connection/connection.h"
#include "agent/harm/harm_ladder.h"
#include "agent/protocols/exchange.h"
#include "agent/traces/context_correlator.h"
#include "bpf/abi/control.h"

namespace zerotap {

class RequestBook {
 public:
  virtual ~RequestBook() = default;
  // `origin` lacks what only the book knows.
  virtual WorkId Begin(Connection& connection, const Protocol& protocol, WorkOrigin& origin,
                       const RequestStart& start) = 0;
  // `answering_tid`: the thread that sent last since the request began.
  virtual void End(Connection& connection, const Exchange& exchange, uint32_t answering_tid) = 0;
  // `by_rules`: it is left out on purpose, and `reason` says nothing.
  virtual void Drop(Connection& connection, WorkId work, DropReason reason, bool by_rules) = 0;
  // So many requests of which nothing else is known.
  virtual void Count(Connection& connection, const Protocol& protocol, Role role, uint32_t tgid,
                     uint64_t requests) = 0;
  // The connection's ledger row was for something else.
  virtual void ForgetRow(Connection& connection) = 0;
  virtual void Decide(uint64_t connection_id, const zt_verdict& verdict) = 0;
};

// What a process is to its connections.
struct ProcessStanding {
  bool traced = true;
  HarmRung rung = HarmRung::kFull;
  bool was_unwatched = false;  // for a time: connections may be older than they look
};

class ProcessStandings {
 public:
  virtual ~ProcessStandings() = default;
  // Changes nothing when the process is known already.
  virtual ProcessStanding StandingOf(uint32_t tgid) = 0;
  virtual bool IsKnown(uint32_t tgid) const = 0;
  // Of those that are known.
  virtual bool IsUntraced(uint32_t tgid) const = 0;
  virtual bool IsDetached(uint32_t tgid) const = 0;
};

}  // namespace zerotap
