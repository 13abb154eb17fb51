// What parsers produce: requests that begin and Exchanges (one request with its response) that end.
//
// Everything textual is borrowed from the parser and valid only during the sink call. Times are CLOCK_MONOTONIC
// nanoseconds. A parser reports each request exactly once: BeginRequest, then exactly one of EndExchange or
// DropRequest for the returned id. That is what the ledger counts.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "agent/telemetry/trace_context.h"

namespace zerotap {

// Relative to the process whose socket end was captured.
enum class Direction : uint8_t { kEgress = 0, kIngress = 1 };
constexpr Direction Opposite(Direction d) {
  return d == Direction::kEgress ? Direction::kIngress : Direction::kEgress;
}

// Which end of the protocol this process plays on this connection.
enum class Role : uint8_t { kUnknown = 0, kClient = 1, kServer = 2 };
constexpr Direction RequestDirection(Role role) {
  return role == Role::kClient ? Direction::kEgress : Direction::kIngress;
}

// Why a request that was seen gives no span. Names appear in the ledger and in metrics.
enum class DropReason : uint8_t {
  kCaptureGap,       // bytes that are needed to tell what happened were not captured
  kRingFull,         // the kernel side found no room in the ring
  kParserLimit,      // more requests in flight on one connection than are kept
  kInvalid,          // the stream stopped making sense
  kEvicted,          // the connection table was full
  kShutdown,         // still in flight when zerotap stopped
  kSpanQueueFull,    // the export queue dropped its oldest
  kExportRejected,   // the receiver refused it
  kExportFailed,     // retries were used up
  kHeldLimit,        // too many spans were waiting for their parent's context
  kMemoryLimit,      // zerotap came near its limit of memory
  kHarmBudget,       // its process is watched for less: zerotap would cost it too much
  kCount,
};
std::string_view DropReasonName(DropReason reason);  // snake_case, stable

// What a request of OTLP over HTTP carries: telemetry that its sender made itself.
enum class OtlpExport : uint8_t { kNone, kTraces, kMetrics, kLogs };

using WorkId = uint64_t;  // 0 = none

// A request whose head is known.
struct RequestStart {
  uint64_t start_ns = 0;       // first byte: received (server) or sent (client)
  uint64_t request_offset = 0;  // stream offset of its first byte in the request direction
  uint32_t tgid = 0;           // who read or wrote the bytes that completed the head
  uint32_t tid = 0;
  bool blocking = false;       // that call was a blocking one
  uint64_t context_id = 0;     // runtime task, 0 = unknown
  uint64_t parent_context_id = 0;
  std::optional<TraceContext> trace_context;  // carried in the request (traceparent)
  std::string_view trace_state;
  OtlpExport otlp_export = OtlpExport::kNone;
};

struct HeaderField {
  std::string_view name;  // lower case
  std::string_view value;
};

// Fields of the HTTP semantic conventions.
struct HttpFields {
  std::string_view method;  // as sent
  std::string_view target;  // request-target as sent; cut at the parser's cap
  std::string_view scheme;  // "http"
  std::string_view host;    // authority of the target if it has one, else Host; with port if given
  std::string_view user_agent;
  std::string_view forwarded_for;  // client address from Forwarded or X-Forwarded-For, without port
  std::string_view b3_trace_id;
  std::string_view b3_span_id;
  std::string_view request_id;     // X-Request-ID
  std::string_view version;        // "1.0", "1.1"
  uint16_t status_code = 0;        // 0 = no response head was seen: never invented
  std::optional<uint64_t> request_body_size;   // on the wire, without framing
  std::optional<uint64_t> response_body_size;
  std::span<const HeaderField> request_headers;   // allow-listed ones only
  std::span<const HeaderField> response_headers;
  OtlpExport otlp_export = OtlpExport::kNone;
  bool upgraded = false;           // 101 or CONNECT 2xx: the connection left HTTP with this exchange
  // Filled by the pipeline's processors.
  std::string_view route;          // low-cardinality, empty = none
};

// Fields of the database semantic conventions.
struct DatabaseFields {
  std::string_view system;            // db.system.name, e.g. "postgresql"
  std::string_view name_space;        // db.namespace (database), empty = unknown
  std::string_view user;
  std::string_view application_name;
  std::string_view query_text;        // raw, literals included: must pass the obfuscator; empty = unknown
  bool query_text_truncated = false;
  std::string_view command_tag;       // e.g. "INSERT 0 1", as the server said; empty = none
  std::string_view status_code;       // SQLSTATE of an error, empty = success
  std::optional<uint64_t> rows_returned;
  std::optional<uint64_t> rows_affected;
  uint64_t transaction = 0;           // number of the transaction block on this connection, 0 = none
  uint16_t default_port = 0;
  // Filled by the pipeline's processors.
  std::string_view sanitized_text;
  std::string_view summary;
  std::string_view operation;         // first keyword, upper case
};

struct Exchange {
  Role role = Role::kUnknown;
  WorkId work = 0;
  uint64_t start_ns = 0;  // first byte of the request
  uint64_t end_ns = 0;    // last byte of the response (or the cut)
  uint64_t request_offset = 0;
  uint32_t tgid = 0;
  uint32_t tid = 0;
  // Low-cardinality reason when the transport failed ("connection_reset", "connection_closed", ...); status-code
  // errors are not put here. Empty = none.
  std::string_view transport_error;
  // The capture has a hole inside this exchange: times or sizes may be cut short, identity and status are right.
  bool incomplete = false;
  // Exactly one is set.
  const HttpFields* http = nullptr;
  const DatabaseFields* database = nullptr;
};

class ExchangeSink {
 public:
  virtual ~ExchangeSink() = default;
  virtual WorkId BeginRequest(const RequestStart& start) = 0;
  virtual void EndExchange(const Exchange& exchange) = 0;
  virtual void DropRequest(WorkId work, DropReason reason) = 0;
};

}  // namespace zerotap
