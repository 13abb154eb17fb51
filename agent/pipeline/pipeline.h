// Events in, telemetry out: decode, track connections, parse, process, correlate, aggregate, sample.
//
// One thread; no clock, no I/O of its own: times come with the events and with Advance. The same class serves the live
// agent and `zerotap replay`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/base/bytes.h"
#include "agent/events/event_source.h"
#include "agent/harm/harm_ladder.h"
#include "agent/metrics/red_aggregator.h"
#include "agent/pipeline/ledger.h"
#include "agent/processors/route_normalizer.h"
#include "agent/processors/sampler.h"
#include "agent/processors/url_redactor.h"
#include "agent/protocols/protocol.h"
#include "agent/telemetry/metric.h"
#include "agent/telemetry/span.h"
#include "agent/telemetry/thread_times.h"
#include "agent/traces/wait_tracker.h"

namespace zerotap {

// Calls `job` with 0 to `count` - 1, at the same time if it can, and returns when all calls have.
using RunShards = std::function<void(size_t count, const std::function<void(size_t)>& job)>;

struct PipelineOptions {
  ParserOptions parser;
  RouteOptions routes;
  UrlRedactorOptions redaction;
  RedOptions red;
  std::string sampler = "parentbased_always_on";
  std::string sampler_argument;
  bool legacy_attributes = true;          // the older names that SigNoz pages read, besides the stable ones
  bool spans_enabled = true;              // false: metrics only
  std::vector<uint16_t> own_ports;        // zerotap's own listeners: their clients are not traced
  std::vector<uint16_t> include_ports;    // when not empty: only connections with one of these on either end
  std::vector<uint16_t> exclude_ports;
  std::vector<std::string> disabled_protocols;
  // Programs that export OTLP themselves: no second span, and their export calls are no requests.
  bool exclude_otel_instrumented = true;
  size_t max_connections = 65536;
  size_t max_held_spans = 20000;          // waiting for the other end's context
  size_t max_held_bytes = size_t{16} << 20;
  uint64_t hold_ns = 200'000'000;         // for at most this long
  std::vector<std::string> known_methods;  // of HTTP, in place of the conventions' list; none: that list
  size_t attribute_value_limit = 0;       // characters of a text attribute, 0 = no limit
  size_t attribute_count_limit = 128;     // of one span
  WaitOptions waits;                      // of slow requests; only with SetThreadReader
  size_t shards = 1;                      // parts that can parse at the same time, at most 16
  RunShards run_shards;                   // who has them do that; empty: one after the other
  uint64_t id_seed = 0;                   // ids derive from it and from where the request stood in its stream
};

// What the pipeline knows of a process; see agent/process/process.h for how it is found.
struct TracedProcess {
  uint32_t tgid = 0;
  bool traced = true;
  ResourcePtr resource;
};
// What stands for a process that is gone and unknown.
TracedProcess UnknownProcess(uint32_t tgid);
// Called once per process when its first connection appears; may read /proc. Empty: the process is gone and unknown.
using ResolveProcess = std::function<std::optional<TracedProcess>(uint32_t tgid)>;

// A process that was seen exporting telemetry of its own.
struct SelfExporter {
  uint32_t tgid = 0;
  std::string service;
  OtlpExport signal = OtlpExport::kNone;  // kTraces or kMetrics
};

struct PipelineStats {
  uint64_t records = 0;
  uint64_t malformed_records = 0;
  uint64_t connections_opened = 0;
  uint64_t connections_evicted = 0;
  uint64_t connections_ignored = 0;   // no protocol recognised
  uint64_t spans_held = 0;            // now
  uint64_t parents_unresolved = 0;    // held spans whose other end did not show up in time
  uint64_t waits_unwatched = 0;       // requests whose waits are unknown because too many were open
  uint64_t lost_events = 0;           // said by the kernel on data records
  size_t live_connections = 0;
  size_t shards = 1;
  uint64_t shared_records = 0;        // that shards handled at the same time
};

class Pipeline {
 public:
  // `control` must outlive the pipeline.
  static Result<std::unique_ptr<Pipeline>> Create(const PipelineOptions& options,
                                                  CaptureControl& control, ResolveProcess resolve);
  ~Pipeline();

  // One kernel record. `bytes` is 8-byte aligned and borrowed. With several shards what follows from it may wait for Flush,
  // which all calls that depend on it do, but for those that take what is finished: these come after Advance.
  void HandleRecord(ByteSpan bytes);
  void Flush();
  // Is told of each record once it has been handled, in the order in which they came.
  void SetOnHandled(std::function<void(ByteSpan)> on_handled);
  // Processes that the app learned of by exec/exit events go through here too, so that state is freed.
  void ForgetProcess(uint32_t tgid);
  // Call at least every 100 ms with the current CLOCK_MONOTONIC time: releases held spans, ends idle state.
  void Advance(uint64_t now_ns);
  // Everything in flight is accounted as dropped{shutdown}; held spans are released.
  void Finish(uint64_t now_ns);

  // Finished spans since the last call are appended to `out`.
  void TakeSpans(std::vector<Span>& out);
  // Spans that nobody needs any more, emptied (Span::Reset): the next ones are made in their memory, as far as there is use
  // for it. `spent` is empty afterwards.
  void Recycle(std::vector<Span>& spent);
  void CollectMetrics(uint64_t now_unix_ns, std::vector<Metric>& out);

  // Takes what may change while it runs; the rest of `options` (ids, kernel-side sizes, what metrics are) is left as it
  // was. Requests in flight go on, but for those whose process or connection is left out from now on: these are
  // filtered. `processes_changed`: who processes are must be asked again. Nothing changes when it fails.
  Status Reconfigure(const PipelineOptions& options, bool processes_changed);

  // For how much a process is watched from now on. Full again once it runs another program.
  void SetHarmRung(uint32_t tgid, HarmRung rung);
  // What the pipeline knows of a process; empty when it had no connection.
  const TracedProcess* FindProcess(uint32_t tgid) const;

  // Each process is told of once per signal.
  std::vector<SelfExporter> TakeSelfExporters();

  // Gives up connections until the state of all holds at most `bytes`; the requests in flight on them are dropped. Says
  // how many. To be called now and then.
  size_t LimitMemory(size_t bytes);

  // What to add to CLOCK_MONOTONIC times to get Unix time.
  void SetWallOffset(int64_t realtime_minus_monotonic_ns);

  // Where slow requests ask about their thread. Without, their spans do not say why they were slow.
  void SetThreadReader(ReadThreadTimes read);

  Ledger& ledger();
  PipelineStats stats() const;
  size_t MemorySize() const;

 private:
  struct State;
  explicit Pipeline(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace zerotap
