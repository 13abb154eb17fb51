// What may change of a pipeline while it runs: its options, and for how much a process is watched.
#include <algorithm>
#include <utility>

#include "agent/base/hash.h"
#include "agent/pipeline/pipeline_state.h"

namespace zerotap {
namespace {

constexpr uint8_t kDetectEdgeBytes = 64;
constexpr size_t kMaxUnwatchedBefore = 65536;

zt_process_policy PolicyOf(HarmRung rung) {
  switch (rung) {
    case HarmRung::kHeads:
      return ZT_PROCESS_HEADS;
    case HarmRung::kMetrics:
      return ZT_PROCESS_SHORT_HEADS;
    case HarmRung::kCounts:
      return ZT_PROCESS_COUNT;
    case HarmRung::kDetached:
      return ZT_PROCESS_IGNORE;
    case HarmRung::kFull:
    case HarmRung::kCount:
      break;
  }
  return ZT_PROCESS_TRACE;
}

}  // namespace

void Pipeline::State::TakeAssemblerOptions() {
  assembler.legacy_attributes = options.legacy_attributes;
  assembler.attribute_value_limit = options.attribute_value_limit;
}

void Pipeline::State::TakeHeaderList(std::vector<std::string>& list,
                                     const std::vector<std::string>& wanted) {
  if (list == wanted) return;
  std::vector<std::string> next = wanted;
  auto former = std::find(former_header_lists.begin(), former_header_lists.end(), wanted);
  if (former != former_header_lists.end()) {
    next = std::move(*former);
    former_header_lists.erase(former);
  }
  former_header_lists.push_back(std::move(list));
  list = std::move(next);
}

bool Pipeline::State::IsOfUntraced(const Connection& connection) const {
  auto found = processes.find(connection.last_tgid);
  return found != processes.end() && !found->second.identity.traced;
}

// Rules over processes have changed.
void Pipeline::State::Reidentify() {
  for (auto& [tgid, process] : processes) {
    std::optional<TracedProcess> identity = resolve(tgid);
    const bool was_traced = process.identity.traced;
    if (!identity && was_traced) continue;  // gone: these are its late events
    process.identity = identity ? std::move(*identity) : UnknownProcess(tgid);
    if (process.identity.traced) {
      process.was_unwatched = process.was_unwatched || !was_traced;
      if (!was_traced) control.ForgetProcess(tgid);
      if (!was_traced && process.rung != HarmRung::kFull) {
        control.SetProcessPolicy(tgid, PolicyOf(process.rung));
      }
      somebody_came_back = somebody_came_back || !was_traced;
      process.service_key = HashText(process.identity.resource->service_name);
    } else if (was_traced) {
      control.SetProcessPolicy(tgid, ZT_PROCESS_IGNORE);
    }
  }
}

void Pipeline::State::ReconsiderConnections() {
  tracker.ForEach([this](Connection& connection) {
    connection.ledger_tgid = 0;  // its process may have another name
    const bool leave_out = LeftOut(connection) || IsOfUntraced(connection);
    const bool watched =
        connection.state() != Connection::State::kIgnored || connection.suspended;
    if (leave_out && !connection.left_out && watched) {
      LeaveOut(connection);
    } else if (!leave_out && connection.left_out) {
      connection.left_out = false;
      connection.Reconsider();
      SendVerdict(connection, ZT_VERDICT_DETECT, 0, 0, kDetectEdgeBytes);
      auto process = processes.find(connection.last_tgid);
      if (process != processes.end() && process->second.rung == HarmRung::kDetached) {
        connection.Suspend();
      }
    } else if (somebody_came_back && connection.untouched()) {
      // Accepted connections are nobody's before their first byte, and that one may have passed unseen.
      connection.Reconsider();
    }
  });
}

Status Pipeline::Reconfigure(const PipelineOptions& wanted, bool processes_changed) {
  State& state = *state_;
  PipelineOptions& options = state.options;
  Result<Sampler> sampler = Sampler::Create(wanted.sampler, wanted.sampler_argument);
  if (!sampler) return tl::unexpected<Error>(sampler.error());
  // What the normalizer has learned of services goes only with rules that differ.
  if (!(options.routes == wanted.routes)) {
    Result<RouteNormalizer> routes = RouteNormalizer::Create(wanted.routes);
    if (!routes) return tl::unexpected<Error>(routes.error());
    state.routes = std::move(*routes);
    options.routes = wanted.routes;
  }
  state.sampler = std::move(*sampler);
  options.sampler = wanted.sampler;
  options.sampler_argument = wanted.sampler_argument;

  // Parsers read these through a reference.
  ParserOptions& parser = options.parser;
  state.TakeHeaderList(parser.request_headers, wanted.parser.request_headers);
  state.TakeHeaderList(parser.response_headers, wanted.parser.response_headers);
  parser.max_head_bytes = wanted.parser.max_head_bytes;
  parser.max_target_bytes = wanted.parser.max_target_bytes;
  parser.max_requests_in_flight = wanted.parser.max_requests_in_flight;
  parser.max_prepared_statements = wanted.parser.max_prepared_statements;
  if (parser.max_query_bytes != wanted.parser.max_query_bytes) {
    parser.max_query_bytes = wanted.parser.max_query_bytes;
    state.sql.emplace(kSqlCacheStatements, parser.max_query_bytes);
  }

  options.redaction = wanted.redaction;
  state.redactor = UrlRedactor(options.redaction);
  options.legacy_attributes = wanted.legacy_attributes;
  options.attribute_value_limit = wanted.attribute_value_limit;
  options.attribute_count_limit = wanted.attribute_count_limit;
  state.TakeAssemblerOptions();
  options.spans_enabled = wanted.spans_enabled;
  options.exclude_otel_instrumented = wanted.exclude_otel_instrumented;
  options.hold_ns = wanted.hold_ns;
  options.max_held_spans = wanted.max_held_spans;
  state.correlator.SetLimits(options.hold_ns, options.max_held_spans);

  const bool ports_changed = options.include_ports != wanted.include_ports ||
                             options.exclude_ports != wanted.exclude_ports;
  options.include_ports = wanted.include_ports;
  options.exclude_ports = wanted.exclude_ports;
  state.somebody_came_back = false;
  if (processes_changed) state.Reidentify();
  if (processes_changed || ports_changed) state.ReconsiderConnections();
  return {};
}

// The kernel side counts the bytes of an AF_UNIX connection from where it first looked at it, and
// does not look at those of processes that are not watched.
zt_connection_opened_event Pipeline::State::CertainOf(const zt_connection_opened_event& opened) {
  zt_connection_opened_event certain = opened;
  if (opened.family == ZT_FAMILY_UNIX && opened.tgid != 0 && ProcessOf(opened.tgid).was_unwatched) {
    certain.flags |= ZT_OPENED_MIDSTREAM;
    certain.flags &= static_cast<uint8_t>(~ZT_OPENED_POSITIONS_EXACT);
  }
  return certain;
}

// A new program, or a fork, has the connections that were open while nobody looked at them.
void Pipeline::State::HandOnUnwatched(uint32_t from, uint32_t to) {
  bool unwatched = unwatched_before.contains(from);
  if (auto found = processes.find(from); found != processes.end()) {
    unwatched = found->second.was_unwatched || !found->second.identity.traced;
  }
  if (!unwatched) {
    unwatched_before.erase(to);
  } else if (unwatched_before.size() < kMaxUnwatchedBefore) {
    unwatched_before.insert(to);
  } else {
    unwatched_unknown = true;
  }
}

void Pipeline::State::OnCounted(Connection& connection, uint64_t requests) {
  ledger.SeenAndDropped(LedgerRow(connection, connection.last_tgid), DropReason::kHarmBudget,
                        requests);
}

void Pipeline::State::SuspendConnections(uint32_t tgid) {
  tracker.ForEach([tgid](Connection& connection) {
    if (connection.last_tgid == tgid) connection.Suspend();
  });
}

void Pipeline::State::ResumeConnections(uint32_t tgid) {
  tracker.ForEach([this, tgid](Connection& connection) {
    if (connection.last_tgid == tgid && connection.suspended) ResumeConnection(connection);
  });
}

// What the kernel side was told of its protocol is as old as what is known here.
void Pipeline::State::ResumeConnection(Connection& connection) {
  connection.Resume();
  SendVerdict(connection, ZT_VERDICT_DETECT, 0, 0, kDetectEdgeBytes);
}

// A suspended connection may be shared by processes (pre-forked, or handed over) of which one is
// detached. It waits for the one that was last seen with it.
bool Pipeline::State::GoesOnFor(Connection& connection, uint32_t tgid) {
  if (tgid == connection.last_tgid) return false;
  if (ProcessOf(tgid).rung == HarmRung::kDetached) {
    connection.last_tgid = tgid;
    return false;
  }
  ResumeConnection(connection);
  return true;
}

// Its connections may outlive it. False: nothing was known of it.
bool Pipeline::State::EraseProcess(uint32_t tgid) {
  auto found = processes.find(tgid);
  if (found == processes.end()) return false;
  const bool detached = found->second.rung == HarmRung::kDetached;
  processes.erase(found);
  if (detached) ResumeConnections(tgid);
  return true;
}

void Pipeline::SetHarmRung(uint32_t tgid, HarmRung rung) {
  State::Process& process = state_->ProcessOf(tgid);
  const HarmRung former = std::exchange(process.rung, rung);
  if (former == rung) return;
  if (rung == HarmRung::kDetached) {
    process.was_unwatched = true;
    state_->SuspendConnections(tgid);
  }
  if (former == HarmRung::kDetached) state_->ResumeConnections(tgid);
  if (process.identity.traced) state_->control.SetProcessPolicy(tgid, PolicyOf(rung));
}

}  // namespace zerotap
