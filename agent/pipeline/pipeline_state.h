// What a pipeline consists of. Only for the sources of this room.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "agent/metrics/untimed_requests.h"
#include "agent/pipeline/finished_spans.h"
#include "agent/pipeline/pipeline.h"
#include "agent/pipeline/shard_set.h"
#include "agent/pipeline/sql_cache.h"
#include "agent/traces/context_correlator.h"
#include "agent/traces/span_assembler.h"

namespace zerotap {

inline constexpr size_t kSqlCacheStatements = 2048;

inline CorrelatorOptions CorrelatorOptionsOf(const PipelineOptions& options) {
  CorrelatorOptions result;
  result.seed = options.id_seed;
  result.hold_ns = options.hold_ns;
  result.max_held_spans = options.max_held_spans;
  result.max_held_bytes = options.max_held_bytes;
  return result;
}

struct Pipeline::State final : RequestBook, ProcessStandings {
  State(const PipelineOptions& pipeline_options, CaptureControl& capture_control,
        ResolveProcess resolve_process, Sampler trace_sampler, RouteNormalizer route_normalizer)
      : options(pipeline_options),
        control(capture_control),
        resolve(std::move(resolve_process)),
        sampler(std::move(trace_sampler)),
        routes(std::move(route_normalizer)),
        redactor(options.redaction),
        red(options.red),
        untimed(options.red),
        sql(std::in_place, kSqlCacheStatements, options.parser.max_query_bytes),
        protocols(EnabledProtocols(options.disabled_protocols)),
        shards(options, protocols, *this, ledger, *this),
        correlator(
            CorrelatorOptionsOf(options),
            [this](const TraceId& id, std::optional<bool> parent) {
              return sampler.ShouldSample(id, parent);
            },
            [this](Span&& span, bool sampled) { Emit(std::move(span), sampled); }),
        waits(options.waits, correlator) {
    TakeAssemblerOptions();
  }

  struct Process {
    TracedProcess identity;
    uint64_t service_key = 0;
    HarmRung rung = HarmRung::kFull;
    bool was_unwatched = false;  // for a time: connections may be older than they look
    // Seen exporting these itself.
    bool own_spans = false;
    bool own_metrics = false;
    bool relays = false;  // takes such exports: what it sends may be other programs'
    uint64_t asked_to_relay_ns = 0;  // when it was last sent one, taken or not; 0: never
  };

  // RequestBook
  WorkId Begin(Connection& connection, const Protocol& protocol, WorkOrigin& origin,
               const RequestStart& start) override;
  void End(Connection& connection, const Exchange& exchange, uint32_t answering_tid) override;
  void Drop(Connection& connection, WorkId work, DropReason reason, bool by_rules) override;
  void Count(Connection& connection, const Protocol& protocol, Role role, uint32_t tgid,
             uint64_t requests) override;
  void ForgetRow(Connection& connection) override { connection.ledger_row_known = false; }
  void Decide(uint64_t connection_id, const zt_verdict& verdict) override;

  // ProcessStandings
  ProcessStanding StandingOf(uint32_t tgid) override {
    auto found = processes.find(tgid);
    const Process& process = found != processes.end() ? found->second : ProcessOf(tgid);
    return {process.identity.traced, process.rung, process.was_unwatched};
  }
  bool IsKnown(uint32_t tgid) const override { return processes.contains(tgid); }
  bool IsUntraced(uint32_t tgid) const override {
    auto found = processes.find(tgid);
    return found != processes.end() && !found->second.identity.traced;
  }
  bool IsDetached(uint32_t tgid) const override {
    auto found = processes.find(tgid);
    return found != processes.end() && found->second.rung == HarmRung::kDetached;
  }

  void OnProcess(const Event& event);
  void Exited(uint32_t tgid);
  Process& ProcessOf(uint32_t tgid);
  bool EraseProcess(uint32_t tgid);
  void HandOnUnwatched(uint32_t from, uint32_t to);
  void TakeAssemblerOptions();
  void TakeHeaderList(std::vector<std::string>& list, const std::vector<std::string>& wanted);
  void Reidentify();
  void NoteOtlpExport(const Exchange& exchange);
  uint32_t LedgerRow(Connection& connection, const Protocol& protocol, Role role, uint32_t tgid);
  void CountUntimed(const Connection& connection, uint64_t requests);
  void Enrich(Exchange& exchange, HttpFields& http, DatabaseFields& database,
              const Process& process);
  void BuildSpan(const Exchange& exchange, const ConnectionFacts& facts, const Process& process,
                 uint32_t ledger_row, Span& span);
  void Emit(Span&& span, bool sampled);
  uint64_t UnixTime(uint64_t monotonic_ns) const {
    return monotonic_ns + static_cast<uint64_t>(wall_offset_ns);
  }

  PipelineOptions options;
  CaptureControl& control;
  ResolveProcess resolve;
  Sampler sampler;
  RouteNormalizer routes;
  UrlRedactor redactor;
  RedAggregator red;
  UntimedRequests untimed;
  std::optional<SqlCache> sql;
  std::vector<const Protocol*> protocols;
  AssemblerOptions assembler;
  Ledger ledger;
  ShardSet shards;
  ContextCorrelator correlator;
  WaitTracker waits;
  std::unordered_map<uint32_t, Process> processes;
  // What ProcessOf gave last; null after one was removed. The book's thread only, never a shard's.
  std::pair<const uint32_t, Process>* latest_process = nullptr;
  // Process::was_unwatched of those that have no connection as the program that they are now.
  std::unordered_set<uint32_t> unwatched_before;
  bool unwatched_unknown = false;  // there were too many to remember: it may be anybody
  std::deque<std::pair<uint64_t, uint32_t>> exited;  // (due, tgid)
  FinishedSpans spans;
  std::vector<SelfExporter> self_exporters;  // that nobody was told of yet
  // Names in there are pointed to by requests in flight: lists are kept, and used again.
  std::deque<std::vector<std::string>> former_header_lists;
  bool somebody_came_back = false;
  PipelineStats stats;
  int64_t wall_offset_ns = 0;
  uint64_t now_ns = 0;
  uint64_t next_give_back_ns = 0;
  std::string query_scratch, url_scratch;
  HttpTexts http_texts;
};

}  // namespace zerotap
