#include "agent/pipeline/pipeline.h"

#include <algorithm>
#include <deque>
#include <unordered_map>
#include <utility>

#include "agent/base/hash.h"
#include "agent/connection/connection_tracker.h"
#include "agent/events/event.h"
#include "agent/pipeline/sql_cache.h"
#include "agent/telemetry/semconv.h"
#include "agent/traces/context_correlator.h"
#include "agent/traces/span_assembler.h"

namespace zerotap {
namespace {

// Records of a process may still come shortly after its exit record (the close of its connections).
constexpr uint64_t kExitedProcessKeepNs = 10'000'000'000;
constexpr size_t kSqlCacheStatements = 2048;
constexpr uint32_t kRepeatVerdictEvery = 64;

bool Contains(const std::vector<uint16_t>& ports, uint16_t port) {
  return std::find(ports.begin(), ports.end(), port) != ports.end();
}

// Path and query of a request target in any of the four forms of RFC 9112 section 3.2.
struct Target {
  std::string_view path;
  std::string_view query;
};
Target SplitTarget(std::string_view target) {
  size_t scheme = target.find("://");
  if (scheme != std::string_view::npos && scheme < target.find('/')) {
    size_t slash = target.find('/', scheme + 3);
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  Target result;
  size_t question = target.find('?');
  result.path = target.substr(0, question);
  if (question != std::string_view::npos) result.query = target.substr(question + 1);
  return result;
}

std::vector<const Protocol*> EnabledProtocols(const std::vector<std::string>& disabled) {
  std::vector<const Protocol*> enabled;
  for (const Protocol& protocol : Protocols()) {
    if (std::find(disabled.begin(), disabled.end(), protocol.name) == disabled.end()) {
      enabled.push_back(&protocol);
    }
  }
  return enabled;
}

CorrelatorOptions CorrelatorOptionsOf(const PipelineOptions& options) {
  CorrelatorOptions result;
  result.seed = options.id_seed;
  result.hold_ns = options.hold_ns;
  result.max_held_spans = options.max_held_spans;
  return result;
}

TrackerOptions TrackerOptionsOf(const PipelineOptions& options) {
  TrackerOptions result;
  result.max_connections = options.max_connections;
  return result;
}

}  // namespace

struct Pipeline::State final : RequestListener {
  State(const PipelineOptions& pipeline_options, CaptureControl& capture_control,
        ResolveProcess resolve_process, Sampler trace_sampler, RouteNormalizer route_normalizer)
      : options(pipeline_options),
        control(capture_control),
        resolve(std::move(resolve_process)),
        sampler(std::move(trace_sampler)),
        routes(std::move(route_normalizer)),
        redactor(options.redaction),
        red(options.red),
        sql(kSqlCacheStatements, options.parser.max_query_bytes),
        protocols(EnabledProtocols(options.disabled_protocols)),
        tracker(TrackerOptionsOf(options), protocols, options.parser, *this),
        correlator(
            CorrelatorOptionsOf(options),
            [this](const TraceId& id, std::optional<bool> parent) {
              return sampler.ShouldSample(id, parent);
            },
            [this](Span&& span, bool sampled) { Emit(std::move(span), sampled); }) {
    assembler.legacy_attributes = options.legacy_attributes;
    assembler.attribute_value_limit = options.attribute_value_limit;
  }

  struct Process {
    TracedProcess identity;
    uint64_t service_key = 0;
  };

  // RequestListener
  WorkId BeginRequest(Connection& connection, const RequestStart& start) override;
  void EndExchange(Connection& connection, const Exchange& exchange) override;
  void DropRequest(Connection& connection, WorkId work, DropReason reason) override;
  void OnProtocolKnown(Connection& connection, const Protocol* protocol) override;

  void OnOpened(const zt_connection_opened_event& opened);
  void OnData(const zt_data_event& data, ByteSpan head, ByteSpan tail);
  void OnClosed(const zt_connection_closed_event& closed);
  const Process& ProcessOf(uint32_t tgid);
  bool LeftOut(const Connection& connection) const;
  void SendVerdict(const Connection& connection, zt_verdict_mode mode, uint8_t egress_kib,
                   uint8_t ingress_kib, uint8_t edge_bytes);
  void SendProtocolVerdict(const Connection& connection);
  void RepeatVerdict(Connection& connection);
  void IgnoreConnection(Connection& connection);
  uint32_t LedgerRow(Connection& connection, uint32_t tgid);
  void Enrich(Exchange& exchange, HttpFields& http, DatabaseFields& database,
              const Process& process);
  void BuildSpan(const Exchange& exchange, const ConnectionFacts& facts, const Process& process,
                 uint32_t ledger_row, Span& span);
  void Emit(Span&& span, bool sampled);
  uint64_t UnixTime(uint64_t monotonic_ns) const {
    return monotonic_ns + static_cast<uint64_t>(wall_offset_ns);
  }

  const PipelineOptions options;
  CaptureControl& control;
  ResolveProcess resolve;
  Sampler sampler;
  RouteNormalizer routes;
  UrlRedactor redactor;
  RedAggregator red;
  SqlCache sql;
  std::vector<const Protocol*> protocols;
  AssemblerOptions assembler;
  Ledger ledger;
  ConnectionTracker tracker;
  ContextCorrelator correlator;
  std::unordered_map<uint32_t, Process> processes;
  std::deque<std::pair<uint64_t, uint32_t>> exited;  // (due, tgid)
  std::vector<Span> spans;
  PipelineStats stats;
  int64_t wall_offset_ns = 0;
  uint64_t now_ns = 0;
  std::string query_scratch, url_scratch;
  HttpTexts http_texts;
};

const Pipeline::State::Process& Pipeline::State::ProcessOf(uint32_t tgid) {
  auto found = processes.find(tgid);
  if (found != processes.end()) return found->second;
  Process process;
  if (std::optional<TracedProcess> identity = resolve(tgid)) {
    process.identity = std::move(*identity);
  } else {
    auto resource = std::make_shared<Resource>();
    resource->service_name = "unknown_service";
    resource->pid = tgid;
    resource->attributes.Add(semconv::kServiceName, resource->service_name);
    resource->attributes.Add(semconv::kProcessPid, int64_t{tgid});
    process.identity.resource = std::move(resource);
  }
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

void Pipeline::State::IgnoreConnection(Connection& connection) {
  connection.Ignore(DropReason::kInvalid);
  SendVerdict(connection, ZT_VERDICT_IGNORE, 0, 0, 0);
}

// Clients of zerotap's own listeners, and what the port rules leave out.
bool Pipeline::State::LeftOut(const Connection& connection) const {
  if (connection.family() == ZT_FAMILY_UNIX) return false;
  uint16_t local = connection.local().port;
  uint16_t remote = connection.remote().port;
  const std::string& address = connection.remote_text();
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
  Connection& connection = tracker.OnOpened(opened);
  if (LeftOut(connection)) {
    IgnoreConnection(connection);
  } else if (opened.tgid != 0) {
    connection.last_tgid = opened.tgid;
    if (!ProcessOf(opened.tgid).identity.traced) IgnoreConnection(connection);
  }
}

void Pipeline::State::OnData(const zt_data_event& data, ByteSpan head, ByteSpan tail) {
  stats.lost_events += data.lost_before;
  Connection& connection = tracker.Find(data.connection_id, data.header.time_ns);
  if (connection.state() == Connection::State::kIgnored) {
    RepeatVerdict(connection);
    return;
  }
  if (data.tgid != connection.last_tgid) {
    connection.last_tgid = data.tgid;
    ProcessOf(data.tgid);
  }
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
  ledger.Seen(origin.ledger_row);
  return correlator.Begin(origin, start);
}

void Pipeline::State::DropRequest(Connection& connection, WorkId work, DropReason reason) {
  const WorkContext* context = correlator.Find(work);
  ledger.Dropped(context != nullptr ? context->ledger_row : connection.ledger_row, reason);
  correlator.Drop(work);
}

void Pipeline::State::Enrich(Exchange& exchange, HttpFields& http, DatabaseFields& database,
                             const Process& process) {
  if (exchange.http != nullptr) {
    http = *exchange.http;
    exchange.http = &http;
    Target target = SplitTarget(http.target);
    http_texts = HttpTexts{target.path, target.query, {}};
    if (exchange.role == Role::kServer && http.method != "CONNECT") {
      http.route = routes.Normalize(process.service_key, target.path);
    }
  }
  if (exchange.database != nullptr) {
    database = *exchange.database;
    exchange.database = &database;
    if (!database.query_text.empty()) {
      const SanitizedSql& sanitized = sql.Sanitize(database.query_text, database.query_text_truncated);
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
    ledger.Filtered(row);
    correlator.Drop(parsed.work);
    return;
  }
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
  if (sample.descriptor != nullptr) {
    double seconds = static_cast<double>(exchange.end_ns - exchange.start_ns) * 1e-9;
    uint64_t unix_ns = UnixTime(exchange.end_ns);
    Exemplar exemplar{unix_ns, seconds, context->trace_id, context->span_id};
    bool has_exemplar = options.spans_enabled && context->resolved && context->sampled;
    red.Record(process.identity.resource, *sample.descriptor,
               std::span<const Attribute>(sample.attributes.data(), sample.count), seconds, unix_ns,
               has_exemplar ? &exemplar : nullptr);
  }
  if (!options.spans_enabled || (context->resolved && !context->sampled)) {
    ledger.SampledOut(row);
    correlator.End(parsed.work, exchange.end_ns);
    return;
  }
  Span span;
  BuildSpan(exchange, facts, process, row, span);
  if (context->resolved) {
    ContextCorrelator::FillIdentity(*context, span);
    spans.push_back(std::move(span));
    correlator.End(parsed.work, exchange.end_ns);
  } else if (!correlator.EndHeld(parsed.work, exchange.end_ns, std::move(span))) {
    ledger.Dropped(row, DropReason::kHeldLimit);
  }
}

void Pipeline::State::Emit(Span&& span, bool sampled) {
  if (sampled) {
    spans.push_back(std::move(span));
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
    state.processes.erase(event->exec->tgid);
  } else if (event->fork != nullptr) {
    // The number's last owner may have been resolved after its end, when the kernel side had
    // forgotten what was decided of it.
    uint32_t tgid = event->fork->child_tgid;
    if (state.processes.erase(tgid) > 0) state.control.ForgetProcess(tgid);
  } else if (event->exit != nullptr) {
    ForgetProcess(event->exit->tgid);
  }
}

void Pipeline::ForgetProcess(uint32_t tgid) {
  if (!state_->processes.contains(tgid)) return;
  state_->exited.emplace_back(state_->now_ns + kExitedProcessKeepNs, tgid);
}

void Pipeline::Advance(uint64_t now_ns) {
  State& state = *state_;
  state.now_ns = std::max(state.now_ns, now_ns);
  state.tracker.Advance(state.now_ns);
  state.correlator.Advance(state.now_ns);
  while (!state.exited.empty() && state.exited.front().first <= state.now_ns) {
    uint32_t tgid = state.exited.front().second;
    state.exited.pop_front();
    if (state.processes.erase(tgid) > 0) state.control.ForgetProcess(tgid);
  }
}

void Pipeline::Finish(uint64_t now_ns) {
  Advance(now_ns);
  state_->tracker.Finish(DropReason::kShutdown);
  state_->correlator.Finish();
}

void Pipeline::TakeSpans(std::vector<Span>& out) {
  std::vector<Span>& spans = state_->spans;
  if (out.empty()) {
    out.swap(spans);
    return;
  }
  out.insert(out.end(), std::make_move_iterator(spans.begin()),
             std::make_move_iterator(spans.end()));
  spans.clear();
}

void Pipeline::CollectMetrics(uint64_t now_unix_ns, std::vector<Metric>& out) {
  state_->red.Collect(now_unix_ns, out);
}

void Pipeline::SetWallOffset(int64_t realtime_minus_monotonic_ns) {
  state_->wall_offset_ns = realtime_minus_monotonic_ns;
}

Ledger& Pipeline::ledger() { return state_->ledger; }

PipelineStats Pipeline::stats() const {
  PipelineStats stats = state_->stats;
  stats.connections_evicted = state_->tracker.evicted();
  stats.spans_held = state_->correlator.held_spans();
  stats.parents_unresolved = state_->correlator.unresolved_parents();
  stats.live_connections = state_->tracker.size();
  return stats;
}

size_t Pipeline::MemorySize() const { return state_->tracker.MemorySize(); }

}  // namespace zerotap
