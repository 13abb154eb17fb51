#include "agent/pipeline/pipeline.h"

#include <algorithm>
#include <utility>

#include "agent/base/hash.h"
#include "agent/events/event.h"
#include "agent/pipeline/pipeline_state.h"
#include "agent/processors/request_target.h"
#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

// Records of a process may still come shortly after its exit record (the close of its connections).
constexpr uint64_t kExitedProcessKeepNs = 10'000'000'000;
constexpr uint64_t kGiveBackEveryNs = 10'000'000'000;
constexpr size_t kMaxUntoldExporters = 256;
// What a program exports so soon after it was sent an export may be that one passed on. SDKs export
// again after 5 seconds or so.
constexpr uint64_t kPassedOnNs = 10'000'000'000;

}  // namespace

TracedProcess UnknownProcess(uint32_t tgid) {
  auto resource = std::make_shared<Resource>();
  resource->service_name = "unknown_service";
  resource->pid = tgid;
  resource->attributes.Add(semconv::kServiceName, resource->service_name);
  resource->attributes.Add(semconv::kProcessPid, int64_t{tgid});
  return TracedProcess{tgid, true, std::move(resource)};
}

Pipeline::State::Process& Pipeline::State::ProcessOf(uint32_t tgid) {
  if (latest_process != nullptr && latest_process->first == tgid) return latest_process->second;
  auto found = processes.find(tgid);
  if (found != processes.end()) return (latest_process = &*found)->second;
  Process process;
  process.was_unwatched = unwatched_before.contains(tgid) || unwatched_unknown;
  std::optional<TracedProcess> identity = resolve(tgid);
  process.identity = identity ? std::move(*identity) : UnknownProcess(tgid);
  process.identity.tgid = tgid;
  // The kernel side finds out about those faster of which it was told something.
  control.SetProcessPolicy(tgid, process.identity.traced ? ZT_PROCESS_TRACE : ZT_PROCESS_IGNORE);
  if (process.identity.traced) {
    process.service_key = HashText(process.identity.resource->service_name);
  }
  return (latest_process = &*processes.emplace(tgid, std::move(process)).first)->second;
}

uint32_t Pipeline::State::LedgerRow(Connection& connection, const Protocol& protocol, Role role,
                                    uint32_t tgid) {
  if (!connection.ledger_row_known || connection.ledger_tgid != tgid) {
    const Process& process = ProcessOf(tgid);
    connection.ledger_row_known = true;
    connection.ledger_tgid = tgid;
    connection.ledger_protocol = &protocol;
    connection.ledger_role = role;
    const ResourcePtr& resource = process.identity.resource;
    connection.ledger_row =
        ledger.RowFor(resource ? std::string_view(resource->service_name) : "(not traced)", tgid,
                      protocol.name, role);
  }
  return connection.ledger_row;
}

WorkId Pipeline::State::Begin(Connection& connection, const Protocol& protocol, WorkOrigin& origin,
                              const RequestStart& start) {
  origin.ledger_row = LedgerRow(connection, protocol, origin.role, start.tgid);
  if (origin.role == Role::kServer && start.otlp_export != OtlpExport::kNone) {
    ProcessOf(start.tgid);
    processes[start.tgid].asked_to_relay_ns = start.start_ns;
  }
  const Process& process = ProcessOf(start.tgid);
  const bool own_span = options.exclude_otel_instrumented &&
                        (start.otlp_export != OtlpExport::kNone || process.own_spans);
  // Settled now, since from now on others may name it as their parent.
  origin.shed = !own_span && process.rung >= HarmRung::kMetrics;
  origin.transparent = own_span || origin.shed;
  ledger.Seen(origin.ledger_row);
  const WorkId work = correlator.Begin(origin, start);
  if (origin.role == Role::kServer && start.blocking) waits.Begin(work, start.start_ns);
  return work;
}

void Pipeline::State::Drop(Connection& connection, WorkId work, DropReason reason, bool by_rules) {
  const WorkContext* context = correlator.Find(work);
  const uint32_t row = context != nullptr ? context->ledger_row : connection.ledger_row;
  if (by_rules) {
    ledger.Filtered(row, FilterReason::kRules);
  } else {
    ledger.Dropped(row, reason);
    if (reason == DropReason::kHarmBudget) CountUntimed(connection, 1);
  }
  waits.Drop(work);
  correlator.Drop(work);
}

void Pipeline::State::Count(Connection& connection, const Protocol& protocol, Role role,
                            uint32_t tgid, uint64_t requests) {
  ledger.SeenAndDropped(LedgerRow(connection, protocol, role, tgid), DropReason::kHarmBudget,
                        requests);
  CountUntimed(connection, requests);
}

void Pipeline::State::CountUntimed(const Connection& connection, uint64_t requests) {
  if (connection.ledger_protocol == nullptr) return;
  const Process& process = ProcessOf(connection.ledger_tgid);
  // Of a program that exports metrics of its own no durations are recorded either.
  if (options.exclude_otel_instrumented && process.own_metrics) return;
  const std::string_view role = connection.ledger_role == Role::kClient ? "client" : "server";
  untimed.Add(process.identity.resource, connection.ledger_protocol->name, role, requests,
              UnixTime(now_ns));
}

void Pipeline::State::Decide(uint64_t connection_id, const zt_verdict& verdict) {
  control.SetVerdict(connection_id, verdict);
}

void Pipeline::State::Enrich(Exchange& exchange, HttpFields& http, DatabaseFields& database,
                             const Process& process) {
  if (exchange.http != nullptr) {
    http = *exchange.http;
    exchange.http = &http;
    const RequestTarget target = SplitTarget(http.method, http.target);
    http_texts = HttpTexts{target.path, target.query, {}};
    if (exchange.role == Role::kServer && http.method != "CONNECT") {
      http.route = routes.Normalize(process.service_key, target.path);
    }
  }
  if (exchange.database != nullptr) {
    database = *exchange.database;
    exchange.database = &database;
    if (!database.query_text.empty()) {
      const SanitizedSql& sanitized = sql->Sanitize(database.query_text, database.query_text_truncated);
      database.sanitized_text = sanitized.text;
      database.summary = sanitized.summary;
      database.operation = sanitized.operation;
    }
  }
}

void Pipeline::State::BuildSpan(const Exchange& exchange, const ConnectionFacts& facts,
                                const Process& process, uint32_t ledger_row, Span& span) {
  if (exchange.http != nullptr) {
    std::string_view query = std::exchange(http_texts.query, {});  // not redacted yet
    query_scratch.clear();
    url_scratch.clear();
    if (exchange.role == Role::kServer) {
      redactor.AppendQuery(query, query_scratch);
      http_texts.query = query_scratch;
    } else {
      std::string_view host = exchange.http->host;
      std::string_view authority = host.empty() ? facts.peer_address : host;
      if (authority.empty()) authority = "localhost";
      redactor.AppendUrl(exchange.http->scheme, authority, http_texts.path, query, url_scratch);
      http_texts.full = url_scratch;
    }
    AssembleHttpSpan(exchange, http_texts, facts, assembler, span);
  } else {
    AssembleDatabaseSpan(exchange, facts, assembler, span);
  }
  span.start_unix_ns = UnixTime(exchange.start_ns);
  span.end_unix_ns = UnixTime(exchange.end_ns);
  span.resource = process.identity.resource;
  span.ledger_row = ledger_row;
}

void Pipeline::State::End(Connection& connection, const Exchange& parsed, uint32_t answering_tid) {
  const WorkContext* context = correlator.Find(parsed.work);
  uint32_t row = context != nullptr ? context->ledger_row : connection.ledger_row;
  const Process& process = ProcessOf(parsed.tgid);
  if (!process.identity.traced || context == nullptr) {
    ledger.Filtered(row, FilterReason::kRules);
    waits.Drop(parsed.work);
    correlator.Drop(parsed.work);
    return;
  }
  if (options.exclude_otel_instrumented && parsed.http != nullptr &&
      parsed.http->otlp_export != OtlpExport::kNone) {
    NoteOtlpExport(parsed);
    ledger.Filtered(row, FilterReason::kOtlpExport);
    waits.Drop(parsed.work);
    correlator.End(parsed.work, parsed.end_ns);
    return;
  }
  const bool own_metrics = options.exclude_otel_instrumented && process.own_metrics;
  Exchange exchange = parsed;
  HttpFields http;
  DatabaseFields database;
  Enrich(exchange, http, database, process);
  // The other end already had the bytes: our hook's time can only be late.
  exchange.start_ns = std::min(exchange.start_ns, context->latest_start_ns);
  exchange.end_ns = std::max(exchange.end_ns, exchange.start_ns);

  ConnectionFacts facts;
  facts.peer_address = connection.remote_text();
  facts.peer_port = connection.remote().port;
  facts.local_address = connection.local_text();
  facts.local_port = connection.local().port;
  facts.unix_path = connection.unix_path();

  MetricSample sample = exchange.http != nullptr ? HttpMetricSample(exchange, facts, assembler)
                                                 : DatabaseMetricSample(exchange, facts);
  if (sample.descriptor != nullptr && !own_metrics) {
    double seconds = static_cast<double>(exchange.end_ns - exchange.start_ns) * 1e-9;
    uint64_t unix_ns = UnixTime(exchange.end_ns);
    Exemplar exemplar{unix_ns, seconds, context->trace_id, context->span_id};
    bool has_exemplar = options.spans_enabled && !context->transparent && context->resolved &&
                        context->sampled;
    red.Record(process.identity.resource, *sample.descriptor,
               std::span<const MetricAttribute>(sample.attributes.data(), sample.count), seconds, unix_ns,
               has_exemplar ? &exemplar : nullptr);
  }
  if (context->transparent && !context->shed) {
    ledger.Filtered(row, FilterReason::kOwnSpans);
    waits.Drop(parsed.work);
    correlator.End(parsed.work, exchange.end_ns);
    return;
  }
  if (!options.spans_enabled || (context->resolved && !context->sampled)) {
    ledger.SampledOut(row);
    waits.Drop(parsed.work);
    correlator.End(parsed.work, exchange.end_ns);
    return;
  }
  if (context->shed) {
    ledger.Dropped(row, DropReason::kHarmBudget);
    waits.Drop(parsed.work);
    correlator.End(parsed.work, exchange.end_ns);
    return;
  }
  Span& span = spans.Append();
  BuildSpan(exchange, facts, process, row, span);
  // Who read it may have handed it on, and have waited for something else since.
  if (answering_tid != parsed.tid) waits.Drop(parsed.work);
  waits.End(parsed.work, exchange.start_ns, exchange.end_ns,
            process.identity.resource->service_name, span.attributes);
  span.LimitAttributes(options.attribute_count_limit);
  if (context->resolved) {
    ContextCorrelator::FillIdentity(*context, span);
    correlator.End(parsed.work, exchange.end_ns);
    return;
  }
  if (!correlator.EndHeld(parsed.work, exchange.end_ns, spans.TakeBack())) {
    ledger.Dropped(row, DropReason::kHeldLimit);
  }
}

// Only what a receiver took says anything of a program: everybody may be sent everything.
void Pipeline::State::NoteOtlpExport(const Exchange& exchange) {
  const uint16_t status = exchange.http->status_code;
  const OtlpExport signal = exchange.http->otlp_export;
  auto found = processes.find(exchange.tgid);
  if (found == processes.end() || status < 200 || status > 299) return;
  Process& process = found->second;
  // A collector, or a proxy in front of one: its exports say nothing of spans of its own.
  if (exchange.role == Role::kServer) process.relays = true;
  if (process.relays) process.own_spans = process.own_metrics = false;
  const uint64_t asked_ns = process.asked_to_relay_ns;
  if (process.relays || (asked_ns != 0 && exchange.start_ns < asked_ns + kPassedOnNs)) return;
  bool* seen = signal == OtlpExport::kTraces    ? &process.own_spans
               : signal == OtlpExport::kMetrics ? &process.own_metrics
                                                : nullptr;
  if (seen == nullptr || *seen) return;
  *seen = true;
  if (self_exporters.size() < kMaxUntoldExporters && process.identity.resource) {
    self_exporters.push_back({exchange.tgid, process.identity.resource->service_name, signal});
  }
}

void Pipeline::State::Emit(Span&& span, bool sampled) {
  if (sampled) {
    spans.Append(std::move(span));
  } else {
    ledger.SampledOut(span.ledger_row);
  }
}

Result<std::unique_ptr<Pipeline>> Pipeline::Create(const PipelineOptions& options,
                                                   CaptureControl& control,
                                                   ResolveProcess resolve) {
  Result<Sampler> sampler = Sampler::Create(options.sampler, options.sampler_argument);
  if (!sampler) return tl::unexpected<Error>(sampler.error());
  Result<RouteNormalizer> routes = RouteNormalizer::Create(options.routes);
  if (!routes) return tl::unexpected<Error>(routes.error());
  return std::unique_ptr<Pipeline>(
      new Pipeline(std::make_unique<State>(options, control, std::move(resolve),
                                           std::move(*sampler), std::move(*routes))));
}

Pipeline::Pipeline(std::unique_ptr<State> state) : state_(std::move(state)) {}
Pipeline::~Pipeline() = default;

void Pipeline::HandleRecord(ByteSpan bytes) {
  State& state = *state_;
  ++state.stats.records;
  std::optional<Event> event = DecodeEvent(bytes);
  if (event && (event->data != nullptr || event->opened != nullptr || event->shutdown != nullptr ||
                event->closed != nullptr)) {
    state.now_ns = std::max(state.now_ns, event->header->time_ns);
    state.shards.Handle(*event, bytes);
    return;
  }
  state.shards.Flush();
  if (event) {
    state.OnProcess(*event);
  } else {
    ++state.stats.malformed_records;
  }
  if (state.shards.on_handled()) state.shards.on_handled()(bytes);
}

void Pipeline::State::OnProcess(const Event& event) {
  now_ns = std::max(now_ns, event.header->time_ns);
  if (event.exec != nullptr) {
    HandOnUnwatched(event.exec->tgid, event.exec->tgid);
    EraseProcess(event.exec->tgid);
  } else if (event.fork != nullptr) {
    // Something may have been decided of the number's last owner after its end, when the kernel
    // side had forgotten it; and not here alone.
    uint32_t tgid = event.fork->child_tgid;
    EraseProcess(tgid);
    HandOnUnwatched(event.fork->parent_tgid, tgid);
    control.ForgetProcess(tgid);
  } else if (event.exit != nullptr) {
    Exited(event.exit->tgid);
  }
}

void Pipeline::State::Exited(uint32_t tgid) {
  if (!processes.contains(tgid) && !unwatched_before.contains(tgid)) return;
  exited.emplace_back(now_ns + kExitedProcessKeepNs, tgid);
}

const TracedProcess* Pipeline::FindProcess(uint32_t tgid) const {
  auto found = state_->processes.find(tgid);
  return found == state_->processes.end() ? nullptr : &found->second.identity;
}

void Pipeline::ForgetProcess(uint32_t tgid) {
  state_->shards.Flush();
  state_->Exited(tgid);
}

void Pipeline::Advance(uint64_t now_ns) {
  State& state = *state_;
  state.now_ns = std::max(state.now_ns, now_ns);
  state.shards.Advance(state.now_ns);
  state.correlator.Advance(state.now_ns);
  state.waits.Advance(state.now_ns);
  while (!state.exited.empty() && state.exited.front().first <= state.now_ns) {
    uint32_t tgid = state.exited.front().second;
    state.exited.pop_front();
    state.unwatched_before.erase(tgid);
    if (state.EraseProcess(tgid)) state.control.ForgetProcess(tgid);
  }
  if (state.now_ns >= state.next_give_back_ns) {
    state.next_give_back_ns = state.now_ns + kGiveBackEveryNs;
    state.spans.GiveBackUnused();
  }
}

void Pipeline::Finish(uint64_t now_ns) {
  Advance(now_ns);
  state_->shards.Finish();
  state_->correlator.Finish();
}

void Pipeline::TakeSpans(std::vector<Span>& out) { state_->spans.Take(out); }
void Pipeline::Recycle(std::vector<Span>& spent) { state_->spans.Recycle(spent); }

void Pipeline::Flush() { state_->shards.Flush(); }
void Pipeline::SetOnHandled(std::function<void(ByteSpan)> on_handled) {
  state_->shards.SetOnHandled(std::move(on_handled));
}

void Pipeline::CollectMetrics(uint64_t now_unix_ns, std::vector<Metric>& out) {
  state_->shards.Flush();
  state_->red.Collect(now_unix_ns, out);
  state_->untimed.Collect(now_unix_ns, out);
}

void Pipeline::SetWallOffset(int64_t realtime_minus_monotonic_ns) {
  state_->wall_offset_ns = realtime_minus_monotonic_ns;
}

std::vector<SelfExporter> Pipeline::TakeSelfExporters() {
  return std::exchange(state_->self_exporters, {});
}

void Pipeline::SetThreadReader(ReadThreadTimes read) { state_->waits.SetReader(std::move(read)); }
Ledger& Pipeline::ledger() { return state_->ledger; }

PipelineStats Pipeline::stats() const {
  PipelineStats stats = state_->stats;
  state_->shards.AddTo(stats);
  stats.spans_held = state_->correlator.held_spans();
  stats.parents_unresolved = state_->correlator.unresolved_parents();
  stats.waits_unwatched = state_->waits.unwatched();
  return stats;
}

size_t Pipeline::LimitMemory(size_t bytes) {
  return state_->shards.LimitMemory(bytes);
}
size_t Pipeline::MemorySize() const { return state_->shards.MemorySize(); }

}  // namespace zerotap
