// Which trace a request belongs to and who its parent is. A parent is named only on proof:
//
//   server request: the client end on this host that sent the very bytes (connection and stream position), else the
//                   traceparent it carries, else it is a root.
//   client request: the traceparent it carries (an SDK put it there), else the server request that this thread is certainly
//                   serving, else it is a root.
//
// "Certainly serving": the thread read that request with a blocking call, has not answered it, and was never seen with two
// unanswered requests at a time. Event loops (Node, nginx, asyncio, Go's netpoller) read with non-blocking sockets and are
// therefore never guessed at. docs/adr/0002 gives the argument.
//
// The two ends of a connection reach us in any order, so a server request whose client end is on this host may wait a
// short time for it; spans that depend on it wait too. Bounded in number and time.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/base/reusing_map.h"
#include "agent/base/ring_queue.h"
#include "agent/protocols/exchange.h"
#include "agent/telemetry/span.h"

namespace zerotap {

struct CorrelatorOptions {
  uint64_t seed = 0;
  uint64_t hold_ns = 200'000'000;
  size_t max_held_spans = 20000;
  size_t max_held_bytes = size_t{16} << 20;
};

// Where a request was seen.
struct WorkOrigin {
  Role role = Role::kUnknown;
  uint64_t connection_id = 0;
  uint64_t peer_connection_id = 0;  // of the other end on this host, 0 = none known
  uint32_t ordinal = 0;             // among the requests that begin at the same offset
  bool expect_peer = false;         // the other end may still become known
  bool await_peer = false;          // and is certainly on this host: a server request waits for it
  bool exact_positions = false;     // both ends count from the same byte: equal positions are proof
  uint32_t ledger_row = 0;          // handed back in WorkContext
  bool transparent = false;         // it gets no span: what it causes hangs on its parent instead
  bool shed = false;                // that, to spare its process; handed back in WorkContext
};

struct WorkContext {
  bool resolved = false;  // the fields below are final
  bool sampled = false;
  bool parent_is_remote = false;  // the parent is in another process
  bool transparent = false;
  bool shed = false;
  TraceId trace_id;
  SpanId span_id;
  SpanId parent_span_id;
  uint64_t latest_start_ns = ~0ull;  // the other end already had the first byte then
  std::string trace_state;
  uint32_t ledger_row = 0;
};

struct ServingThread {
  uint32_t tgid = 0;
  uint32_t tid = 0;
};

class ContextCorrelator {
 public:
  using Sample = std::function<bool(const TraceId&, std::optional<bool> parent_sampled)>;
  // A span that was held: its context is filled in. Called from any of the calls below.
  using Release = std::function<void(Span&& span, bool sampled)>;

  ContextCorrelator(const CorrelatorOptions& options, Sample sample, Release release);

  WorkId Begin(const WorkOrigin& origin, const RequestStart& start);
  // Null when the id is not live.
  const WorkContext* Find(WorkId id) const;
  // The request has its answer.
  void End(WorkId id, uint64_t end_ns);
  // Like End, for work that is not resolved: `span` is released once it is. False (span untouched) when too many wait.
  bool EndHeld(WorkId id, uint64_t end_ns, Span&& span);
  void Drop(WorkId id) { End(id, 0); }

  // The one thread that is serving this request for certain; empty when there is none, or when it has ended.
  std::optional<ServingThread> ServedBy(WorkId id) const;

  void Advance(uint64_t now_ns);
  // Resolves everything that waits with what is known now.
  void Finish();

  // A span's identity fields from its context.
  static void FillIdentity(const WorkContext& context, Span& span);

  // May change at any time.
  void SetLimits(uint64_t hold_ns, size_t max_held_spans) {
    options_.hold_ns = hold_ns;
    options_.max_held_spans = max_held_spans;
  }

  size_t held_spans() const { return held_spans_; }
  size_t held_bytes() const { return held_bytes_; }
  uint64_t unresolved_parents() const { return unresolved_parents_; }
  size_t live_works() const { return live_works_; }
  // Places for requests that are kept, used or not.
  size_t kept_works() const { return works_.size(); }

 private:
  static constexpr uint32_t kNone = ~0u;

  // Where a request begins: a parent is found by this and nothing less, for a hash may meet another's.
  struct HopKey {
    uint64_t connection_id = 0;  // of the client end
    uint64_t offset = 0;
    uint32_t ordinal = 0;
    bool of_server_end = false;  // the client end is not known yet: connection_id is the server's
    bool operator==(const HopKey&) const = default;
  };
  struct HopKeyHash {
    size_t operator()(const HopKey& key) const;
  };
  using HopTable = ReusingMap<HopKey, uint32_t, HopKeyHash>;

  struct Work {
    uint32_t generation = 1;
    bool live = false;
    bool ended = false;
    bool in_hop_table = false;
    bool waits_for_hop = false;
    bool on_thread = false;
    bool exact_positions = false;
    Role role = Role::kUnknown;
    uint32_t tid = 0;
    uint32_t tgid = 0;
    HopKey hop_key;
    uint64_t start_ns = 0;
    uint64_t end_ns = 0;
    uint32_t first_waiter = kNone;  // works that wait for this one's context
    uint32_t next_waiter = kNone;
    std::optional<TraceContext> carried;
    std::unique_ptr<Span> held;
    WorkContext context;
  };
  struct Deadline {
    uint64_t due_ns;
    uint32_t index;
    uint32_t generation;
  };
  struct Thread {
    uint32_t current = kNone;
    uint32_t unanswered = 0;
    bool unreliable = false;
  };

  uint32_t Allocate();
  void GiveBackUnused();
  void FreeIfDone(uint32_t index);
  uint32_t IndexOf(WorkId id) const;
  void BeginServer(uint32_t index, const WorkOrigin& origin, const RequestStart& start);
  void BeginClient(uint32_t index, const WorkOrigin& origin, const RequestStart& start);
  void EnterThread(uint32_t index, const RequestStart& start);
  void LeaveThread(uint32_t index);
  uint32_t ServedByThread(uint32_t tid, uint32_t tgid) const;
  bool JoinsHop(uint32_t server, uint32_t client) const;
  void InheritFrom(uint32_t index, uint32_t parent, bool remote);
  void WaitFor(uint32_t index, uint32_t parent);
  void LeaveHopTable(uint32_t index);
  void ResolveAsRootOrCarried(uint32_t index);
  void Resolved(uint32_t index);

  CorrelatorOptions options_;
  const Sample sample_;
  const Release release_;
  std::deque<Work> works_;
  std::vector<uint32_t> free_;
  uint32_t latest_generation_ = 0;  // of a work that is no more
  uint32_t first_generation_ = 1;   // of a new place: later than that of one that had its number
  uint64_t next_give_back_ns_ = 0;
  std::vector<std::unique_ptr<Span>> spare_held_;  // moved out of, for the next one that is held
  HopTable hops_;         // client requests
  HopTable hop_waiters_;  // server requests that wait for one of them
  ReusingMap<uint32_t, Thread> threads_;
  RingQueue<Deadline> deadlines_;
  uint64_t now_ns_ = 0;
  size_t held_spans_ = 0;
  size_t held_bytes_ = 0;
  size_t live_works_ = 0;
  uint64_t unresolved_parents_ = 0;
};

}  // namespace zerotap
