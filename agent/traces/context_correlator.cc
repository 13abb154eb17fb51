#include "agent/traces/context_correlator.h"

#include <algorithm>

#include "agent/base/hash.h"
#include "agent/traces/ids.h"

namespace zerotap {
namespace {

// Hook times of the two ends may be off by what a hook takes.
constexpr uint64_t kHopSlackNs = 1'000'000;
constexpr size_t kMaxThreads = 16384;
constexpr size_t kMaxSpareHeld = 256;
constexpr size_t kMinKeptWorks = 1024;
constexpr uint64_t kGiveBackEveryNs = 1'000'000'000;
// A trace state is at most this long by the specification; more is not kept.
constexpr size_t kMaxKeptTraceState = 512;

}  // namespace

size_t ContextCorrelator::HopKeyHash::operator()(const HopKey& key) const {
  return CombineHash(CombineHash(key.connection_id, key.offset),
                     uint64_t{key.ordinal} << 1 | (key.of_server_end ? 1 : 0));
}

ContextCorrelator::ContextCorrelator(const CorrelatorOptions& options, Sample sample,
                                     Release release)
    : options_(options), sample_(std::move(sample)), release_(std::move(release)) {}

uint32_t ContextCorrelator::Allocate() {
  uint32_t index;
  if (free_.empty()) {
    index = static_cast<uint32_t>(works_.size());
    works_.emplace_back();
    works_.back().generation = first_generation_;
  } else {
    index = free_.back();
    free_.pop_back();
  }
  Work& work = works_[index];
  work.live = true;
  ++live_works_;
  return index;
}

void ContextCorrelator::FreeIfDone(uint32_t index) {
  Work& work = works_[index];
  if (!work.live || !work.ended || !work.context.resolved || work.in_hop_table) return;
  uint32_t generation = work.generation + 1;
  std::string trace_state;
  trace_state.swap(work.context.trace_state);
  work = Work{};
  work.generation = generation == 0 ? 1 : generation;
  latest_generation_ = std::max(latest_generation_, work.generation);
  if (trace_state.capacity() <= kMaxKeptTraceState) {
    trace_state.clear();
    work.context.trace_state.swap(trace_state);  // for its memory
  }
  free_.push_back(index);
  --live_works_;
}

uint32_t ContextCorrelator::IndexOf(WorkId id) const {
  auto index = static_cast<uint32_t>(id);
  auto generation = static_cast<uint32_t>(id >> 32);
  if (index >= works_.size() || works_[index].generation != generation || !works_[index].live) {
    return kNone;
  }
  return index;
}

const WorkContext* ContextCorrelator::Find(WorkId id) const {
  uint32_t index = IndexOf(id);
  return index == kNone ? nullptr : &works_[index].context;
}

WorkId ContextCorrelator::Begin(const WorkOrigin& origin, const RequestStart& start) {
  uint32_t index = Allocate();
  Work& work = works_[index];
  work.role = origin.role;
  work.tid = start.tid;
  work.tgid = start.tgid;
  work.start_ns = start.start_ns;
  work.exact_positions = origin.exact_positions;
  work.carried = start.trace_context;
  work.context.span_id =
      DeriveSpanId(options_.seed, origin.connection_id, start.request_offset, origin.ordinal);
  work.context.ledger_row = origin.ledger_row;
  work.context.transparent = origin.transparent;
  work.context.shed = origin.shed;
  if (work.carried) work.context.trace_state.assign(start.trace_state);
  now_ns_ = std::max(now_ns_, start.start_ns);
  WorkId id = (uint64_t{work.generation} << 32) | index;
  if (origin.role == Role::kServer) {
    BeginServer(index, origin, start);
  } else {
    BeginClient(index, origin, start);
  }
  return id;
}

void ContextCorrelator::BeginServer(uint32_t index, const WorkOrigin& origin,
                                    const RequestStart& start) {
  EnterThread(index, start);
  if (origin.peer_connection_id == 0 && !origin.await_peer) {
    ResolveAsRootOrCarried(index);
    return;
  }
  Work& work = works_[index];
  work.hop_key =
      origin.peer_connection_id == 0
          ? HopKey{origin.connection_id, start.request_offset, origin.ordinal, true}
          : HopKey{origin.peer_connection_id, start.request_offset, origin.ordinal, false};
  auto client = hops_.find(work.hop_key);
  if (client == hops_.end()) {
    work.waits_for_hop = true;
    hop_waiters_[work.hop_key] = index;
    deadlines_.push_back({now_ns_ + options_.hold_ns, index, work.generation});
  } else if (const uint32_t outer = client->second; JoinsHop(index, outer)) {
    WaitFor(index, outer);
    LeaveHopTable(outer);
  } else {
    ResolveAsRootOrCarried(index);
  }
}

void ContextCorrelator::BeginClient(uint32_t index, const WorkOrigin& origin,
                                    const RequestStart& start) {
  Work& work = works_[index];
  if (work.carried) {
    ResolveAsRootOrCarried(index);
  } else if (uint32_t server = ServedByThread(start.tid, start.tgid); server != kNone) {
    WaitFor(index, server);
  } else {
    ResolveAsRootOrCarried(index);
  }
  if (origin.peer_connection_id == 0 && !origin.expect_peer) return;
  work.hop_key = HopKey{origin.connection_id, start.request_offset, origin.ordinal, false};
  if (!hops_.try_emplace(work.hop_key, index).second) return;
  work.in_hop_table = true;
  auto waiter = hop_waiters_.find(work.hop_key);
  if (waiter == hop_waiters_.end() && origin.peer_connection_id != 0) {
    waiter = hop_waiters_.find(
        HopKey{origin.peer_connection_id, start.request_offset, origin.ordinal, true});
  }
  if (waiter == hop_waiters_.end()) return;
  uint32_t server = waiter->second;
  hop_waiters_.erase(waiter);
  works_[server].waits_for_hop = false;
  if (JoinsHop(server, index)) {
    WaitFor(server, index);
    LeaveHopTable(index);
  } else {
    ResolveAsRootOrCarried(server);
  }
}

// A request has one other end: who was found need not be looked for, and is not kept for longer than its answer takes.
void ContextCorrelator::LeaveHopTable(uint32_t index) {
  Work& work = works_[index];
  if (!work.in_hop_table) return;
  work.in_hop_table = false;
  hops_.erase(work.hop_key);
  FreeIfDone(index);
}

// Positions of AF_UNIX streams that are older than the agent are counted from where we came in, so
// there equal positions alone are no proof: the times must fit too. Where they are proof the times
// are not asked: a call that sends megabytes returns, and is told of, long after the other end has
// read the first of them. A carried context of another trace says that the two are not parent and
// child in the sender's eyes.
bool ContextCorrelator::JoinsHop(uint32_t server, uint32_t client) const {
  const Work& inner = works_[server];
  const Work& outer = works_[client];
  if (!inner.exact_positions || !outer.exact_positions) {
    if (outer.start_ns > inner.start_ns + kHopSlackNs) return false;
    if (outer.ended && outer.end_ns + kHopSlackNs < inner.start_ns) return false;
  }
  if (inner.carried && outer.carried && inner.carried->trace_id != outer.carried->trace_id) {
    return false;
  }
  return true;
}

void ContextCorrelator::WaitFor(uint32_t index, uint32_t parent) {
  Work& work = works_[index];
  Work& outer = works_[parent];
  if (work.role == Role::kServer) {
    outer.context.latest_start_ns = std::min(outer.context.latest_start_ns, work.start_ns);
  }
  if (outer.context.resolved) {
    InheritFrom(index, parent, work.role == Role::kServer);
    return;
  }
  work.next_waiter = outer.first_waiter;
  outer.first_waiter = index;
}

void ContextCorrelator::InheritFrom(uint32_t index, uint32_t parent, bool remote) {
  WorkContext& context = works_[index].context;
  const WorkContext& outer = works_[parent].context;
  context.trace_id = outer.trace_id;
  context.parent_span_id = outer.transparent ? outer.parent_span_id : outer.span_id;
  context.parent_is_remote = (remote || (outer.transparent && outer.parent_is_remote)) &&
                             context.parent_span_id.value != 0;
  context.trace_state = outer.trace_state;
  context.sampled = sample_(context.trace_id, outer.sampled);
  Resolved(index);
}

void ContextCorrelator::ResolveAsRootOrCarried(uint32_t index) {
  Work& work = works_[index];
  WorkContext& context = work.context;
  if (work.carried) {
    context.trace_id = work.carried->trace_id;
    context.parent_span_id = work.carried->span_id;
    context.parent_is_remote = work.role == Role::kServer;
    context.sampled = sample_(context.trace_id, work.carried->sampled());
  } else {
    context.trace_id = DeriveTraceId(options_.seed, context.span_id);
    context.sampled = sample_(context.trace_id, std::nullopt);
  }
  Resolved(index);
}

void ContextCorrelator::Resolved(uint32_t index) {
  Work& work = works_[index];
  work.context.resolved = true;
  if (work.held) {
    std::unique_ptr<Span> span = std::move(work.held);
    --held_spans_;
    held_bytes_ -= sizeof(Span) + span->MemorySize();
    FillIdentity(work.context, *span);
    release_(std::move(*span), work.context.sampled);
    if (spare_held_.size() < kMaxSpareHeld) spare_held_.push_back(std::move(span));
  }
  uint32_t waiter = work.first_waiter;
  work.first_waiter = kNone;
  while (waiter != kNone) {
    uint32_t next = works_[waiter].next_waiter;
    works_[waiter].next_waiter = kNone;
    InheritFrom(waiter, index, works_[waiter].role == Role::kServer);
    waiter = next;
  }
  FreeIfDone(index);
}

void ContextCorrelator::FillIdentity(const WorkContext& context, Span& span) {
  span.trace_id = context.trace_id;
  span.span_id = context.span_id;
  span.parent_span_id = context.parent_span_id;
  span.trace_state = context.trace_state;
  span.flags = kSpanFlagHasIsRemote | (context.parent_is_remote ? kSpanFlagIsRemote : 0) |
               (context.sampled ? kTraceFlagSampled : 0);
}

void ContextCorrelator::EnterThread(uint32_t index, const RequestStart& start) {
  if (start.tid == 0) return;
  if (threads_.size() >= kMaxThreads && !threads_.contains(start.tid)) {
    // Forgetting only loses parents: works that are on a thread check that it still knows them.
    threads_.clear();
  }
  Thread& thread = threads_[start.tid];
  if (thread.unanswered > 0 || !start.blocking) thread.unreliable = true;
  ++thread.unanswered;
  thread.current = index;
  works_[index].on_thread = true;
}

void ContextCorrelator::LeaveThread(uint32_t index) {
  Work& work = works_[index];
  if (!work.on_thread) return;
  work.on_thread = false;
  auto found = threads_.find(work.tid);
  if (found == threads_.end() || found->second.unanswered == 0) return;
  Thread& thread = found->second;
  --thread.unanswered;
  if (thread.current == index) thread.current = kNone;
  if (thread.unanswered == 0 && !thread.unreliable) threads_.erase(found);
}

uint32_t ContextCorrelator::ServedByThread(uint32_t tid, uint32_t tgid) const {
  auto found = threads_.find(tid);
  if (found == threads_.end()) return kNone;
  const Thread& thread = found->second;
  if (thread.unreliable || thread.unanswered != 1 || thread.current == kNone) return kNone;
  if (thread.current >= works_.size()) return kNone;
  // A thread's number may come again in another process while the request is still open.
  return works_[thread.current].tgid == tgid ? thread.current : kNone;
}

std::optional<ServingThread> ContextCorrelator::ServedBy(WorkId id) const {
  const uint32_t index = IndexOf(id);
  if (index == kNone || !works_[index].on_thread) return std::nullopt;
  const Work& work = works_[index];
  if (ServedByThread(work.tid, work.tgid) != index) return std::nullopt;
  return ServingThread{work.tgid, work.tid};
}

void ContextCorrelator::End(WorkId id, uint64_t end_ns) {
  uint32_t index = IndexOf(id);
  if (index == kNone || works_[index].ended) return;
  Work& work = works_[index];
  work.ended = true;
  work.end_ns = end_ns;
  now_ns_ = std::max(now_ns_, end_ns);
  LeaveThread(index);
  if (work.in_hop_table) deadlines_.push_back({now_ns_ + options_.hold_ns, index, work.generation});
  FreeIfDone(index);
}

bool ContextCorrelator::EndHeld(WorkId id, uint64_t end_ns, Span&& span) {
  uint32_t index = IndexOf(id);
  if (index == kNone || held_spans_ >= options_.max_held_spans ||
      held_bytes_ + sizeof(Span) + span.MemorySize() > options_.max_held_bytes) {
    End(id, end_ns);
    return false;
  }
  std::unique_ptr<Span>& held = works_[index].held;
  if (spare_held_.empty()) {
    held = std::make_unique<Span>(std::move(span));
  } else {
    held = std::move(spare_held_.back());
    spare_held_.pop_back();
    *held = std::move(span);
  }
  ++held_spans_;
  held_bytes_ += sizeof(Span) + works_[index].held->MemorySize();
  End(id, end_ns);
  return true;
}

void ContextCorrelator::Advance(uint64_t now_ns) {
  now_ns_ = std::max(now_ns_, now_ns);
  while (!deadlines_.empty() && deadlines_.front().due_ns <= now_ns_) {
    Deadline due = deadlines_.front();
    deadlines_.pop_front();
    if (due.index >= works_.size()) continue;
    Work& work = works_[due.index];
    if (!work.live || work.generation != due.generation) continue;
    if (work.waits_for_hop) {
      work.waits_for_hop = false;
      auto waiter = hop_waiters_.find(work.hop_key);
      if (waiter != hop_waiters_.end() && waiter->second == due.index) hop_waiters_.erase(waiter);
      ++unresolved_parents_;
      ResolveAsRootOrCarried(due.index);
    } else if (work.in_hop_table && work.ended) {
      LeaveHopTable(due.index);
    }
  }
  GiveBackUnused();
}

// What a burst needed: the places behind the last one in use, when few of all are.
void ContextCorrelator::GiveBackUnused() {
  if (now_ns_ < next_give_back_ns_) return;
  next_give_back_ns_ = now_ns_ + kGiveBackEveryNs;
  if (works_.size() <= kMinKeptWorks || live_works_ > works_.size() / 4) return;
  while (works_.size() > kMinKeptWorks && !works_.back().live) works_.pop_back();
  works_.shrink_to_fit();
  first_generation_ = latest_generation_ + 1 == 0 ? 1 : latest_generation_ + 1;
  // The first ones are used first, so that those behind become free.
  std::vector<uint32_t>().swap(free_);
  for (size_t index = works_.size(); index-- > 0;) {
    if (!works_[index].live) free_.push_back(static_cast<uint32_t>(index));
  }
}

void ContextCorrelator::Finish() {
  std::vector<uint32_t> waiting;
  for (const auto& [key, index] : hop_waiters_) waiting.push_back(index);
  std::sort(waiting.begin(), waiting.end());
  hop_waiters_.clear();
  for (uint32_t index : waiting) {
    works_[index].waits_for_hop = false;
    ResolveAsRootOrCarried(index);
  }
}

}  // namespace zerotap
