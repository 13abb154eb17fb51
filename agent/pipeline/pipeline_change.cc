// What may change of a pipeline while it runs: its options, and for how much a process is watched.
#include <algorithm>
#include <utility>

#include "agent/base/hash.h"
#include "agent/pipeline/pipeline_state.h"

namespace zerotap {
namespace {

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
  assembler.known_methods = options.known_methods;
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

Status Pipeline::Reconfigure(const PipelineOptions& wanted, bool processes_changed) {
  State& state = *state_;
  state.shards.Flush();
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
  options.known_methods = wanted.known_methods;
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
  if (processes_changed || ports_changed) state.shards.Reconsider(state.somebody_came_back);
  return {};
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

// Its connections may outlive it. False: nothing was known of it.
bool Pipeline::State::EraseProcess(uint32_t tgid) {
  auto found = processes.find(tgid);
  if (found == processes.end()) return false;
  const bool detached = found->second.rung == HarmRung::kDetached;
  latest_process = nullptr;
  processes.erase(found);
  if (detached) shards.Resume(tgid);
  return true;
}

void Pipeline::SetHarmRung(uint32_t tgid, HarmRung rung) {
  state_->shards.Flush();
  State::Process& process = state_->ProcessOf(tgid);
  const HarmRung former = std::exchange(process.rung, rung);
  if (former == rung) return;
  if (rung == HarmRung::kDetached) {
    process.was_unwatched = true;
    state_->shards.Suspend(tgid);
  }
  if (former == HarmRung::kDetached) state_->shards.Resume(tgid);
  if (process.identity.traced) state_->control.SetProcessPolicy(tgid, PolicyOf(rung));
}

}  // namespace zerotap
