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
constexpr uint32_t kRepeatVerdictEvery = 64;
constexpr size_t kMaxUntoldExporters = 256;
// What a program exports so soon after it was sent an export may be that one passed on. SDKs export
// again after 5 seconds or so.
constexpr uint64_t kPassedOnNs = 10'000'000'000;

bool Contains(const std::vector<uint16_t>& ports, uint16_t port) {
  return std::find(ports.begin(), ports.end(), port) != ports.end();
}

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
  auto found = processes.find(tgid);
  if (found != processes.end()) return found->second;
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
  return processes.emplace(tgid, std::move(process)).first->second;
}

void Pipeline::State::SendVerdict(const Connection& connection, zt_verdict_mode mode,
                                  uint8_t egress_kib, uint8_t ingress_kib, uint8_t edge_bytes) {
  zt_verdict verdict{};
  verdict.tag = zt_verdict_tag(connection.id());
  verdict.mode = static_cast<zt_u8>(mode);
  verdict.egress_budget_kib = egress_kib;
  verdict.ingress_budget_kib = ingress_kib;
  verdict.edge_bytes = edge_bytes;
  control.SetVerdict(connection.id(), verdict);
}

// By a rule: what is in flight is filtered, not dropped.
void Pipeline::State::LeaveOut(Connection& connection) {
  leaving_out = true;
  connection.Ignore(DropReason::kInvalid);
  leaving_out = false;
  SendVerdict(connection, ZT_VERDICT_IGNORE, 0, 0, 0);
  connection.left_out = true;
  connection.suspended = false;
}

// Clients of zerotap's own listeners, and what the port rules leave out.
bool Pipeline::State::LeftOut(const Connection& connection) const {
  if (connection.family() == ZT_FAMILY_UNIX) return false;
  uint16_t local = connection.local().port;
  uint16_t remote = connection.remote().port;
  const std::string_view address = connection.remote_text();
  bool to_this_host =
      address == connection.local_text() || address.starts_with("127.") || address == "::1";
  if (to_this_host && (Contains(options.own_ports, remote) || Contains(options.own_ports, local))) {
    return true;
  }
  if (Contains(options.exclude_ports, local) || Contains(options.exclude_ports, remote)) return true;
  return !options.include_ports.empty() && !Contains(options.include_ports, local) &&
         !Contains(options.include_ports, remote);
}

void Pipeline::State::OnOpened(const zt_connection_opened_event& opened) {
  ++stats.connections_opened;
  Connection& connection = tracker.OnOpened(CertainOf(opened));
  if (opened.tgid != 0) connection.last_tgid = opened.tgid;
  if (LeftOut(connection)) {
    LeaveOut(connection);
  } else if (opened.tgid != 0 && !ProcessOf(opened.tgid).identity.traced) {
    LeaveOut(connection);
  }
}

void Pipeline::State::OnData(const zt_data_event& data, ByteSpan head, ByteSpan tail) {
  stats.lost_events += data.lost_before;
  Connection& connection = tracker.Find(data.connection_id, data.header.time_ns);
  if (connection.suspended && !GoesOnFor(connection, data.tgid)) return;
  if (connection.state() == Connection::State::kIgnored) {
    RepeatVerdict(connection);
    return;
  }
  if (data.tgid != connection.last_tgid) {
    connection.last_tgid = data.tgid;
    if (ProcessOf(data.tgid).rung == HarmRung::kDetached) {
      connection.Suspend();
      return;
    }
  }
  if (data.direction == ZT_DIRECTION_EGRESS && data.length > 0) connection.answering_tid = data.tid;
  connection.OnRecord(data, head, tail);
  tracker.AfterRecord(connection);
  if ((data.flags & ZT_DATA_EOF) != 0) tracker.OnEndOfStream(connection, data.header.time_ns);
  RepeatVerdict(connection);
}

// A verdict may be lost to another connection that shares its slot.
void Pipeline::State::RepeatVerdict(Connection& connection) {
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

void Pipeline::State::OnClosed(const zt_connection_closed_event& closed) {
  // The closed record's total includes what data records have already said.
  const Connection* connection = tracker.FindExisting(closed.connection_id);
  uint64_t said = connection != nullptr ? connection->lost_records() : 0;
  if (closed.lost_events > said) stats.lost_events += closed.lost_events - said;
  tracker.OnClosed(closed);
}

void Pipeline::State::OnProtocolKnown(Connection& connection, const Protocol* protocol) {
  if (protocol == nullptr) {
    if (connection.protocol() == nullptr) ++stats.connections_ignored;
    SendVerdict(connection, ZT_VERDICT_IGNORE, 0, 0, 0);
    return;
  }
  connection.ledger_tgid = 0;  // its row was for what the connection carried before
  SendProtocolVerdict(connection);
}

void Pipeline::State::SendProtocolVerdict(const Connection& connection) {
  const CapturePolicy& policy = connection.protocol()->capture;
  bool is_client = connection.role() == Role::kClient;
  SendVerdict(connection, ZT_VERDICT_HEADS,
              is_client ? policy.request_budget_kib : policy.response_budget_kib,
              is_client ? policy.response_budget_kib : policy.request_budget_kib,
              policy.edge_bytes);
}

uint32_t Pipeline::State::LedgerRow(Connection& connection, uint32_t tgid) {
  if (connection.ledger_tgid != tgid || tgid == 0) {
    const Process& process = ProcessOf(tgid);
    connection.ledger_tgid = tgid;
    const ResourcePtr& resource = process.identity.resource;
    connection.ledger_row =
        ledger.RowFor(resource ? std::string_view(resource->service_name) : "(not traced)", tgid,
                      connection.protocol()->name, connection.role());
  }
  return connection.ledger_row;
}

WorkId Pipeline::State::BeginRequest(Connection& connection, const RequestStart& start) {
  WorkOrigin origin;
  origin.role = connection.role();
  origin.connection_id = connection.id();
  origin.ledger_row = LedgerRow(connection, start.tgid);
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
                      start.start_ns < connection.opened_ns() + options.hold_ns;
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
  if (origin.role == Role::kServer) connection.answering_tid = 0;
  if (origin.role == Role::kServer && start.blocking) waits.Begin(work, start.start_ns);
  return work;
}

void Pipeline::State::DropRequest(Connection& connection, WorkId work, DropReason reason) {
  const WorkContext* context = correlator.Find(work);
  const uint32_t row = context != nullptr ? context->ledger_row : connection.ledger_row;
  if (leaving_out) {
    ledger.Filtered(row, FilterReason::kRules);
  } else {
    ledger.Dropped(row, reason);
  }
  waits.Drop(work);
  correlator.Drop(work);
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

void Pipeline::State::EndExchange(Connection& connection, const Exchange& parsed) {
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

  MetricSample sample = exchange.http != nullptr ? HttpMetricSample(exchange, facts)
                                                 : DatabaseMetricSample(exchange, facts);
  if (sample.descriptor != nullptr && !own_metrics) {
    double seconds = static_cast<double>(exchange.end_ns - exchange.start_ns) * 1e-9;
    uint64_t unix_ns = UnixTime(exchange.end_ns);
    Exemplar exemplar{unix_ns, seconds, context->trace_id, context->span_id};
    bool has_exemplar = options.spans_enabled && !context->transparent && context->resolved &&
                        context->sampled;
    red.Record(process.identity.resource, *sample.descriptor,
               std::span<const Attribute>(sample.attributes.data(), sample.count), seconds, unix_ns,
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
  if (connection.answering_tid != parsed.tid) waits.Drop(parsed.work);
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
  if (!event) {
    ++state.stats.malformed_records;
    return;
  }
  state.now_ns = std::max(state.now_ns, event->header->time_ns);
  if (event->data != nullptr) {
    state.OnData(*event->data, event->head, event->tail);
  } else if (event->opened != nullptr) {
    state.OnOpened(*event->opened);
  } else if (event->shutdown != nullptr) {
    state.tracker.OnShutdown(*event->shutdown);
  } else if (event->closed != nullptr) {
    state.OnClosed(*event->closed);
  } else if (event->exec != nullptr) {
    state.HandOnUnwatched(event->exec->tgid, event->exec->tgid);
    state.EraseProcess(event->exec->tgid);
  } else if (event->fork != nullptr) {
    // Something may have been decided of the number's last owner after its end, when the kernel
    // side had forgotten it; and not here alone.
    uint32_t tgid = event->fork->child_tgid;
    state.EraseProcess(tgid);
    state.HandOnUnwatched(event->fork->parent_tgid, tgid);
    state.control.ForgetProcess(tgid);
  } else if (event->exit != nullptr) {
    ForgetProcess(event->exit->tgid);
  }
}

const TracedProcess* Pipeline::FindProcess(uint32_t tgid) const {
  auto found = state_->processes.find(tgid);
  return found == state_->processes.end() ? nullptr : &found->second.identity;
}

void Pipeline::ForgetProcess(uint32_t tgid) {
  if (!state_->processes.contains(tgid) && !state_->unwatched_before.contains(tgid)) return;
  state_->exited.emplace_back(state_->now_ns + kExitedProcessKeepNs, tgid);
}

void Pipeline::Advance(uint64_t now_ns) {
  State& state = *state_;
  state.now_ns = std::max(state.now_ns, now_ns);
  state.tracker.Advance(state.now_ns);
  state.correlator.Advance(state.now_ns);
  state.waits.Advance(state.now_ns);
  while (!state.exited.empty() && state.exited.front().first <= state.now_ns) {
    uint32_t tgid = state.exited.front().second;
    state.exited.pop_front();
    state.unwatched_before.erase(tgid);
    if (state.EraseProcess(tgid)) state.control.ForgetProcess(tgid);
  }
}

void Pipeline::Finish(uint64_t now_ns) {
  Advance(now_ns);
  state_->tracker.Finish(DropReason::kShutdown);
  state_->correlator.Finish();
}

void Pipeline::TakeSpans(std::vector<Span>& out) { state_->spans.Take(out); }
void Pipeline::Recycle(std::vector<Span>& spent) { state_->spans.Recycle(spent); }

void Pipeline::CollectMetrics(uint64_t now_unix_ns, std::vector<Metric>& out) {
  state_->red.Collect(now_unix_ns, out);
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
  stats.connections_evicted = state_->tracker.evicted();
  stats.spans_held = state_->correlator.held_spans();
  stats.parents_unresolved = state_->correlator.unresolved_parents();
  stats.waits_unwatched = state_->waits.unwatched();
  stats.live_connections = state_->tracker.size();
  return stats;
}

size_t Pipeline::LimitMemory(size_t bytes) {
  return state_->tracker.LimitMemory(bytes, DropReason::kMemoryLimit);
}
size_t Pipeline::MemorySize() const { return state_->tracker.MemorySize(); }

}  // namespace zerotap
