// A finished span, as OTLP has it (opentelemetry-proto trace/v1/trace.proto).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "agent/telemetry/attributes.h"
#include "agent/telemetry/resource.h"
#include "agent/telemetry/trace_context.h"

namespace zerotap {

enum class SpanKind : uint8_t { kInternal = 1, kServer = 2, kClient = 3, kProducer = 4, kConsumer = 5 };
enum class SpanStatus : uint8_t { kUnset = 0, kOk = 1, kError = 2 };

// Span.flags bits above the eight W3C trace flags.
constexpr uint32_t kSpanFlagHasIsRemote = 0x100;
constexpr uint32_t kSpanFlagIsRemote = 0x200;

struct Span {
  TraceId trace_id;
  SpanId span_id;
  SpanId parent_span_id;  // invalid = root
  std::string trace_state;
  uint32_t flags = 0;
  SpanKind kind = SpanKind::kInternal;
  SpanStatus status = SpanStatus::kUnset;
  uint64_t start_unix_ns = 0;
  uint64_t end_unix_ns = 0;
  std::string name;
  AttributeSet attributes;
  uint32_t dropped_attributes = 0;  // left out because there were too many
  ResourcePtr resource;  // never null on an exported span
  uint32_t ledger_row = 0;  // where pipeline/Ledger accounts for it; exporters pass it back untouched

  // Of a spent span, for the next one: a giant's memory is not kept.
  static constexpr size_t kMaxSpareBytes = 4096;

  // Bytes held beside its own.
  size_t MemorySize() const {
    return name.capacity() + trace_state.capacity() + attributes.MemorySize();
  }

  // As new, but with the memory that its texts and attributes had.
  void Reset() {
    trace_id = {};
    span_id = parent_span_id = {};
    trace_state.clear();
    flags = 0;
    kind = SpanKind::kInternal;
    status = SpanStatus::kUnset;
    start_unix_ns = end_unix_ns = 0;
    name.clear();
    attributes.Clear();
    dropped_attributes = 0;
    resource.reset();
    ledger_row = 0;
  }

  // Keeps the first `limit` attributes and counts the others.
  void LimitAttributes(size_t limit) {
    if (attributes.size() <= limit) return;
    dropped_attributes = static_cast<uint32_t>(attributes.size() - limit);
    attributes.Truncate(limit);
  }
};

}  // namespace zerotap
