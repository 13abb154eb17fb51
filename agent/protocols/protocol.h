// The plug-in point for wire formats: detection and a per-connection parser. One file pair a protocol plus one line in
// registry.cc; nothing else switches over protocols.
//
// Parser contract: input may start mid-stream, stop anywhere and have gaps; state is bounded; hostile bytes must not crash
// it or make it slow (cost linear in bytes); no I/O, no clock, no log. Feeding the same bytes cut at other places gives
// the same exchanges (only times that come from the chunks may differ). When in doubt: no exchange, never a false one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/bytes.h"
#include "agent/protocols/exchange.h"

namespace zerotap {

enum class ParseStatus : uint8_t {
  kOk,       // go on
  kInvalid,  // this is not (or no longer) the protocol; pending requests were dropped; the parser must not be fed again
  kDone,     // the protocol ended on this connection by its own rules (upgrade, TLS); ignore what follows
};

// Bytes at a stream position, contiguous with what was fed before in that direction (else OnGap comes first).
struct Chunk {
  ByteSpan bytes;
  uint64_t offset = 0;    // of bytes[0] in its direction
  uint64_t start_ns = 0;  // send: first byte left; receive: read returned
  uint64_t end_ns = 0;    // send: last byte left; receive: read returned
  uint32_t tgid = 0;
  uint32_t tid = 0;
  bool blocking = false;
  uint64_t context_id = 0;
  uint64_t parent_context_id = 0;
};

// Bytes that passed and are not available.
struct Gap {
  uint64_t offset = 0;
  uint64_t length = 0;    // > 0
  uint64_t start_ns = 0;
  uint64_t end_ns = 0;    // when its last byte passed
  uint32_t tgid = 0;
  uint32_t tid = 0;
  bool lost = false;      // false: skipped on purpose (budget, sendfile), times are right; true: events were lost
};

enum class EndReason : uint8_t {
  kFin,      // orderly end of that direction
  kReset,    // ECONNRESET, EPIPE
  kTimeout,  // ETIMEDOUT
};

class Parser {
 public:
  virtual ~Parser() = default;
  virtual ParseStatus OnData(Direction direction, const Chunk& chunk) = 0;
  virtual ParseStatus OnGap(Direction direction, const Gap& gap) = 0;
  // That direction will bring no more bytes. Close-delimited responses end here, at `time_ns`; a request that can get
  // no answer any more becomes an Exchange with transport_error.
  virtual void OnEnd(Direction direction, EndReason reason, uint64_t time_ns) = 0;
  // Both directions are over: everything in flight ends now as in OnEnd.
  virtual void OnClose(EndReason reason, uint64_t time_ns) = 0;
  // zerotap gives this connection up: every request in flight is dropped with the reason.
  virtual void Abandon(DropReason reason) = 0;
  // So much passed unseen that it goes on as one that joins in the middle. False: a new one is to be made, this one knows
  // nothing of its client that a new one should. Requests that it does not take up are dropped with the reason.
  virtual bool StartAnew(DropReason) { return false; }
  // Bytes of state held, for memory budgets.
  virtual size_t MemorySize() const = 0;
};

// Settings that parsers read; lives as long as the parsers.
struct ParserOptions {
  size_t max_head_bytes = 64 * 1024;      // HTTP start line and headers; longer heads lose their excess headers
  size_t max_target_bytes = 4096;
  size_t max_requests_in_flight = 1024;   // per connection
  size_t max_query_bytes = 16 * 1024;     // query text kept
  size_t max_prepared_statements = 1024;  // per connection, least recently used go first
  std::vector<std::string> request_headers;   // lower case, allow-listed for attributes
  std::vector<std::string> response_headers;
};

// What of each run the kernel should copy up; see bpf/abi/control.h.
struct CapturePolicy {
  uint8_t request_budget_kib = 4;
  uint8_t response_budget_kib = 4;
  uint8_t edge_bytes = 64;
};

// The beginnings of what was seen in each direction; a direction without bytes is empty. `at_run_start` is true when those
// bytes are the first ones after the direction flipped (or of the connection), so that a message should begin there.
struct DetectInput {
  std::string_view egress;
  std::string_view ingress;
  bool egress_at_run_start = false;
  bool ingress_at_run_start = false;
  Role socket_role = Role::kUnknown;  // who connected, a hint: some protocols do not care
  bool from_first_byte = false;       // the connection was seen from its beginning
};

enum class Match : uint8_t { kNo, kNeedMore, kYes };
struct DetectResult {
  Match match = Match::kNo;
  Role role = Role::kUnknown;  // of this end; set when match is kYes
};

struct Protocol {
  std::string_view name;  // "http", "postgresql": ledger, metrics, configuration
  DetectResult (*detect)(const DetectInput& input);
  // `role` is kClient or kServer. `options` and `sink` must outlive the parser.
  std::unique_ptr<Parser> (*make_parser)(Role role, bool from_first_byte,
                                         const ParserOptions& options, ExchangeSink& sink);
  CapturePolicy capture;
};

// In order of detection. The strictest signatures come first.
std::span<const Protocol> Protocols();
// Those without the ones of these names.
std::vector<const Protocol*> EnabledProtocols(const std::vector<std::string>& disabled);

}  // namespace zerotap
