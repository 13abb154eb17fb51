// A small language for protocol tests: what client and server say, at what time, with automatic
// offsets; the same conversation cut elsewhere, with its beginning missing or with ranges dropped;
// and a sink that records what the parser reports and checks its contract. Needs no test framework,
// so fuzzers use it too.
//
//   Conversation talk(Role::kServer);
//   talk.Client("GET / HTTP/1.1\r\n\r\n").Server("HTTP/1.1 204 No Content\r\n\r\n").Close();
//   Outcome outcome = RunConversation(kHttp1Protocol, talk);
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/protocols/exchange.h"
#include "agent/protocols/protocol.h"

namespace zerotap {

// ---- What a parser reported
// -------------------------------------------------------------------------------

// An Exchange (and the RequestStart it belongs to) with everything owned.
struct RecordedExchange {
  using Headers = std::vector<std::pair<std::string, std::string>>;

  Role role = Role::kUnknown;
  uint64_t start_ns = 0;
  uint64_t end_ns = 0;
  uint64_t request_offset = 0;
  uint32_t tgid = 0;
  uint32_t tid = 0;
  bool blocking = false;
  uint64_t context_id = 0;
  uint64_t parent_context_id = 0;
  std::optional<TraceContext> trace_context;
  std::string trace_state;
  std::string transport_error;
  bool incomplete = false;
  bool is_http = false;

  std::string method, target, scheme, host, user_agent, forwarded_for, b3_trace_id, b3_span_id,
      request_id, version;
  uint16_t http_status = 0;
  std::optional<uint64_t> request_body_size, response_body_size;
  Headers request_headers, response_headers;
  bool upgraded = false;

  std::string system, name_space, user, application_name, query_text, command_tag, sql_state;
  bool query_text_truncated = false;
  std::optional<uint64_t> rows_returned, rows_affected;
  uint64_t transaction = 0;
  uint16_t default_port = 0;

  bool operator==(const RecordedExchange&) const = default;

  // One line, for comparing and for failure messages: "GET / 200", "INSERT 0 1 [SELECT 1]".
  std::string Summary() const {
    std::string text = is_http ? method + " " + target + " " + std::to_string(http_status)
                               : command_tag + sql_state + " [" + query_text + "]";
    if (!transport_error.empty()) text += " !" + transport_error;
    return text;
  }
};

struct RecordedDrop {
  uint64_t request_offset = 0;
  DropReason reason = DropReason::kCount;
  bool operator==(const RecordedDrop&) const = default;
};

// Records, and notes every breach of the contract of ExchangeSink in `violations`.
class RecordingSink : public ExchangeSink {
 public:
  explicit RecordingSink(Role role) : role_(role) {}

  WorkId BeginRequest(const RequestStart& start) override {
    RecordedExchange begun;
    begun.start_ns = start.start_ns;
    begun.request_offset = start.request_offset;
    begun.tgid = start.tgid;
    begun.tid = start.tid;
    begun.blocking = start.blocking;
    begun.context_id = start.context_id;
    begun.parent_context_id = start.parent_context_id;
    begun.trace_context = start.trace_context;
    begun.trace_state = start.trace_state;
    open_.emplace(++last_work_, std::move(begun));
    return last_work_;
  }

  void EndExchange(const Exchange& exchange) override {
    auto found = open_.find(exchange.work);
    if (found == open_.end()) {
      violations.push_back("EndExchange for a request that is not open");
      return;
    }
    RecordedExchange done = std::move(found->second);
    open_.erase(found);
    if (done.start_ns != exchange.start_ns)
      violations.push_back("start_ns differs from BeginRequest");
    if (done.request_offset != exchange.request_offset)
      violations.push_back("offset differs from BeginRequest");
    if (exchange.role != role_) violations.push_back("wrong role");
    if (exchange.end_ns < exchange.start_ns) violations.push_back("ends before it starts");
    if ((exchange.http == nullptr) == (exchange.database == nullptr)) {
      violations.push_back("not exactly one of http and database");
    }
    done.role = exchange.role;
    done.end_ns = exchange.end_ns;
    done.tgid = exchange.tgid;
    done.tid = exchange.tid;
    done.transport_error = exchange.transport_error;
    done.incomplete = exchange.incomplete;
    if (exchange.http != nullptr) CopyHttp(*exchange.http, done);
    if (exchange.database != nullptr) CopyDatabase(*exchange.database, done);
    exchanges.push_back(std::move(done));
  }

  void DropRequest(WorkId work, DropReason reason) override {
    auto found = open_.find(work);
    if (found == open_.end()) {
      violations.push_back("DropRequest for a request that is not open");
      return;
    }
    drops.push_back({found->second.request_offset, reason});
    open_.erase(found);
  }

  size_t open_requests() const { return open_.size(); }
  size_t begun_requests() const { return last_work_; }

  std::vector<RecordedExchange> exchanges;
  std::vector<RecordedDrop> drops;
  std::vector<std::string> violations;

 private:
  static void CopyHttp(const HttpFields& from, RecordedExchange& to) {
    to.is_http = true;
    to.method = from.method;
    to.target = from.target;
    to.scheme = from.scheme;
    to.host = from.host;
    to.user_agent = from.user_agent;
    to.forwarded_for = from.forwarded_for;
    to.b3_trace_id = from.b3_trace_id;
    to.b3_span_id = from.b3_span_id;
    to.request_id = from.request_id;
    to.version = from.version;
    to.http_status = from.status_code;
    to.request_body_size = from.request_body_size;
    to.response_body_size = from.response_body_size;
    for (const HeaderField& field : from.request_headers)
      to.request_headers.emplace_back(field.name, field.value);
    for (const HeaderField& field : from.response_headers) {
      to.response_headers.emplace_back(field.name, field.value);
    }
    to.upgraded = from.upgraded;
  }
  static void CopyDatabase(const DatabaseFields& from, RecordedExchange& to) {
    to.system = from.system;
    to.name_space = from.name_space;
    to.user = from.user;
    to.application_name = from.application_name;
    to.query_text = from.query_text;
    to.query_text_truncated = from.query_text_truncated;
    to.command_tag = from.command_tag;
    to.sql_state = from.status_code;
    to.rows_returned = from.rows_returned;
    to.rows_affected = from.rows_affected;
    to.transaction = from.transaction;
    to.default_port = from.default_port;
  }

  const Role role_;
  WorkId last_work_ = 0;
  std::map<WorkId, RecordedExchange> open_;
};

// ---- What is said
// -----------------------------------------------------------------------------------------

struct Step {
  enum class Kind : uint8_t { kData, kGap, kEnd, kClose, kAbandon };
  Kind kind = Kind::kData;
  Direction direction = Direction::kEgress;
  std::string bytes;        // kData
  uint64_t gap_length = 0;  // kGap
  bool lost = false;        // kGap
  uint64_t offset = 0;
  uint64_t start_ns = 0;
  uint64_t end_ns = 0;
  uint32_t tgid = 0;
  uint32_t tid = 0;
  bool blocking = false;
  uint64_t context_id = 0;
  uint64_t parent_context_id = 0;
  EndReason reason = EndReason::kFin;
  DropReason drop_reason = DropReason::kShutdown;
};

// Steps are 1000 ns apart; each takes 10 ns from its first to its last byte.
class Conversation {
 public:
  static constexpr uint64_t kStepNs = 1000;
  static constexpr uint64_t kTransferNs = 10;

  // `role` of the end that is captured.
  explicit Conversation(Role role) : role_(role) {}

  Conversation& Client(std::string_view text) { return Say(RequestDirection(role_), text); }
  Conversation& Server(std::string_view text) {
    return Say(Opposite(RequestDirection(role_)), text);
  }
  // Bytes that passed and were not captured: skipped on purpose, or lost.
  Conversation& ClientGap(uint64_t length, bool lost = false) {
    return Skip(RequestDirection(role_), length, lost);
  }
  Conversation& ServerGap(uint64_t length, bool lost = false) {
    return Skip(Opposite(RequestDirection(role_)), length, lost);
  }
  Conversation& ClientEnd(EndReason reason = EndReason::kFin) {
    return End(RequestDirection(role_), reason);
  }
  Conversation& ServerEnd(EndReason reason = EndReason::kFin) {
    return End(Opposite(RequestDirection(role_)), reason);
  }
  Conversation& Close(EndReason reason = EndReason::kFin) {
    Step& step = Add(Step::Kind::kClose, Direction::kEgress);
    step.reason = reason;
    return *this;
  }
  Conversation& Abandon(DropReason reason) {
    Add(Step::Kind::kAbandon, Direction::kEgress).drop_reason = reason;
    return *this;
  }
  // For the steps that follow.
  Conversation& At(uint64_t time_ns) {
    now_ns_ = time_ns;
    return *this;
  }
  Conversation& Thread(uint32_t tid, bool blocking = true) {
    tid_ = tid;
    blocking_ = blocking;
    return *this;
  }
  Conversation& Context(uint64_t context_id, uint64_t parent_context_id = 0) {
    context_id_ = context_id;
    parent_context_id_ = parent_context_id;
    return *this;
  }

  Role role() const { return role_; }
  bool from_first_byte() const { return from_first_byte_; }
  void set_from_first_byte(bool value) { from_first_byte_ = value; }
  const std::vector<Step>& steps() const { return steps_; }
  std::vector<Step>& steps() { return steps_; }
  size_t data_bytes() const {
    size_t count = 0;
    for (const Step& step : steps_) count += step.bytes.size();
    return count;
  }

 private:
  Step& Add(Step::Kind kind, Direction direction) {
    Step step;
    step.kind = kind;
    step.direction = direction;
    step.offset = offsets_[static_cast<size_t>(direction)];
    step.start_ns = now_ns_;
    step.end_ns = now_ns_ + kTransferNs;
    step.tgid = 1;
    step.tid = tid_;
    step.blocking = blocking_;
    step.context_id = context_id_;
    step.parent_context_id = parent_context_id_;
    now_ns_ += kStepNs;
    steps_.push_back(std::move(step));
    return steps_.back();
  }
  Conversation& Say(Direction direction, std::string_view text) {
    Add(Step::Kind::kData, direction).bytes = text;
    offsets_[static_cast<size_t>(direction)] += text.size();
    return *this;
  }
  Conversation& Skip(Direction direction, uint64_t length, bool lost) {
    Step& step = Add(Step::Kind::kGap, direction);
    step.gap_length = length;
    step.lost = lost;
    offsets_[static_cast<size_t>(direction)] += length;
    return *this;
  }
  Conversation& End(Direction direction, EndReason reason) {
    Add(Step::Kind::kEnd, direction).reason = reason;
    return *this;
  }

  Role role_;
  bool from_first_byte_ = true;
  uint64_t now_ns_ = kStepNs;
  uint64_t offsets_[2] = {0, 0};
  uint32_t tid_ = 7;
  bool blocking_ = true;
  uint64_t context_id_ = 0;
  uint64_t parent_context_id_ = 0;
  std::vector<Step> steps_;
};

// ---- The same conversation, captured differently
// ----------------------------------------------------------

// `length` bytes of a data step from `from` on.
inline Step SliceOf(const Step& step, size_t from, size_t length) {
  Step slice;
  slice.direction = step.direction;
  slice.bytes = step.bytes.substr(from, length);
  slice.offset = step.offset + from;
  slice.start_ns = step.start_ns;
  slice.end_ns = step.end_ns;
  slice.tgid = step.tgid;
  slice.tid = step.tid;
  slice.blocking = step.blocking;
  slice.context_id = step.context_id;
  slice.parent_context_id = step.parent_context_id;
  return slice;
}

// One more cut before data byte number `position` (of all data bytes in order). Times are kept, so
// the exchanges must be equal to the last field.
inline Conversation CutAt(const Conversation& talk, size_t position) {
  Conversation cut = talk;
  cut.steps().clear();
  size_t passed = 0;
  for (const Step& step : talk.steps()) {
    size_t size = step.bytes.size();
    if (step.kind == Step::Kind::kData && position > passed && position < passed + size) {
      cut.steps().push_back(SliceOf(step, 0, position - passed));
      cut.steps().push_back(SliceOf(step, position - passed, size));
    } else {
      cut.steps().push_back(step);
    }
    passed += size;
  }
  return cut;
}

// Pieces of `size` bytes.
inline Conversation CutEvery(const Conversation& talk, size_t size) {
  Conversation cut = talk;
  cut.steps().clear();
  for (const Step& step : talk.steps()) {
    if (step.kind != Step::Kind::kData || step.bytes.size() <= size) {
      cut.steps().push_back(step);
      continue;
    }
    for (size_t from = 0; from < step.bytes.size(); from += size) {
      cut.steps().push_back(SliceOf(step, from, size));
    }
  }
  return cut;
}

// Neighbouring data of one direction in one chunk. Times of the merged parts become those of the
// whole.
inline Conversation Joined(const Conversation& talk) {
  Conversation joined = talk;
  joined.steps().clear();
  for (const Step& step : talk.steps()) {
    std::vector<Step>& out = joined.steps();
    if (step.kind == Step::Kind::kData && !out.empty() && out.back().kind == Step::Kind::kData &&
        out.back().direction == step.direction) {
      out.back().bytes += step.bytes;
      out.back().end_ns = step.end_ns;
    } else {
      out.push_back(step);
    }
  }
  return joined;
}

// The agent came when the first `steps` steps had passed. Offsets stay those of the connection.
inline Conversation WithoutStart(const Conversation& talk, size_t steps) {
  Conversation rest = talk;
  rest.steps().erase(rest.steps().begin(),
                     rest.steps().begin() + static_cast<std::ptrdiff_t>(steps));
  rest.set_from_first_byte(steps == 0);
  return rest;
}

// Data bytes [from, to) (of all data bytes in order) were not captured. When `lost`, the hole is
// noticed as the connection tracker would: with the next data in that direction, at the latest when
// it ends; its true times are unknown. Otherwise it is reported in its place.
inline Conversation WithoutRange(const Conversation& talk, size_t from, size_t to, bool lost) {
  Conversation holed = talk;
  holed.steps().clear();
  std::vector<Step>& out = holed.steps();
  std::optional<Step> hole[2];
  uint64_t last_ns[2] = {0, 0};
  size_t passed = 0;
  auto append = [&](const Step& step) {
    size_t index = static_cast<size_t>(step.direction);
    bool whole_connection = step.kind == Step::Kind::kClose;
    for (size_t i = 0; i < 2; ++i) {
      if (!hole[i] || step.kind == Step::Kind::kAbandon || (i != index && !whole_connection))
        continue;
      hole[i]->end_ns = step.start_ns;
      out.push_back(*hole[i]);
      hole[i].reset();
    }
    last_ns[index] = step.end_ns;
    out.push_back(step);
  };
  for (const Step& step : talk.steps()) {
    size_t size = step.bytes.size();
    size_t begin = std::clamp(from, passed, passed + size) - passed;
    size_t end = std::clamp(to, passed, passed + size) - passed;
    passed += size;
    if (step.kind != Step::Kind::kData || begin >= end) {
      append(step);
      continue;
    }
    if (begin > 0) append(SliceOf(step, 0, begin));
    Step gap = SliceOf(step, begin, 0);
    gap.kind = Step::Kind::kGap;
    gap.lost = lost;
    gap.gap_length = end - begin;
    std::optional<Step>& waiting = hole[static_cast<size_t>(step.direction)];
    if (!lost) {
      out.push_back(gap);
    } else if (waiting) {
      waiting->gap_length += gap.gap_length;
    } else {
      gap.start_ns = last_ns[static_cast<size_t>(step.direction)];
      waiting = gap;
    }
    if (end < size) append(SliceOf(step, end, size));
  }
  return holed;
}

// What the kernel leaves of each data step under a capture budget: the first `head` and the last
// `tail` bytes, a skipped gap between them.
inline Conversation HeadsAndTails(const Conversation& talk, size_t head, size_t tail) {
  Conversation trimmed = talk;
  trimmed.steps().clear();
  for (const Step& step : talk.steps()) {
    size_t size = step.bytes.size();
    if (step.kind != Step::Kind::kData || size <= head + tail) {
      trimmed.steps().push_back(step);
      continue;
    }
    if (head > 0) trimmed.steps().push_back(SliceOf(step, 0, head));
    Step gap = SliceOf(step, head, 0);
    gap.kind = Step::Kind::kGap;
    gap.gap_length = size - head - tail;
    trimmed.steps().push_back(gap);
    if (tail > 0) trimmed.steps().push_back(SliceOf(step, size - tail, tail));
  }
  return trimmed;
}

// ---- Running it
// -------------------------------------------------------------------------------------------

struct Outcome {
  std::vector<RecordedExchange> exchanges;
  std::vector<RecordedDrop> drops;
  std::vector<std::string> violations;  // must be empty
  size_t begun = 0;
  ParseStatus status = ParseStatus::kOk;
  size_t open_before_end = 0;  // requests still in flight when the conversation was over
  size_t largest_memory = 0;   // of MemorySize() after any step

  std::vector<std::string> Summaries() const {
    std::vector<std::string> result;
    for (const RecordedExchange& exchange : exchanges) result.push_back(exchange.Summary());
    return result;
  }
};

// What is still in flight at the end is abandoned (DropReason::kShutdown), so begun = exchanges +
// drops always.
inline Outcome RunConversation(const Protocol& protocol, const Conversation& talk,
                               const ParserOptions& options = ParserOptions()) {
  RecordingSink sink(talk.role());
  std::unique_ptr<Parser> parser =
      protocol.make_parser(talk.role(), talk.from_first_byte(), options, sink);
  Outcome outcome;
  for (const Step& step : talk.steps()) {
    switch (step.kind) {
      case Step::Kind::kData: {
        // An exact-size copy, so that a sanitizer sees a read past the end and a borrow that
        // outlives the call.
        std::vector<std::byte> copy(AsBytes(step.bytes).begin(), AsBytes(step.bytes).end());
        copy.shrink_to_fit();
        Chunk chunk{copy,     step.offset,   step.start_ns,   step.end_ns,           step.tgid,
                    step.tid, step.blocking, step.context_id, step.parent_context_id};
        outcome.status = parser->OnData(step.direction, chunk);
        break;
      }
      case Step::Kind::kGap:
        outcome.status =
            parser->OnGap(step.direction, {step.offset, step.gap_length, step.start_ns, step.end_ns,
                                           step.tgid, step.tid, step.lost});
        break;
      case Step::Kind::kEnd:
        parser->OnEnd(step.direction, step.reason, step.end_ns);
        break;
      case Step::Kind::kClose:
        parser->OnClose(step.reason, step.end_ns);
        if (sink.open_requests() != 0) sink.violations.push_back("requests open after OnClose");
        break;
      case Step::Kind::kAbandon:
        parser->Abandon(step.drop_reason);
        if (sink.open_requests() != 0) sink.violations.push_back("requests open after Abandon");
        break;
    }
    outcome.largest_memory = std::max(outcome.largest_memory, parser->MemorySize());
    if (outcome.status != ParseStatus::kOk) {
      if (sink.open_requests() != 0)
        sink.violations.push_back("requests open after the protocol ended");
      break;
    }
  }
  outcome.open_before_end = sink.open_requests();
  if (outcome.status == ParseStatus::kOk) parser->Abandon(DropReason::kShutdown);
  if (sink.open_requests() != 0) sink.violations.push_back("requests open at the end");
  outcome.exchanges = std::move(sink.exchanges);
  outcome.drops = std::move(sink.drops);
  outcome.violations = std::move(sink.violations);
  outcome.begun = sink.begun_requests();
  return outcome;
}

// What `part` says that `whole` does not; empty when nothing is. Times must be right too, except
// for the end of an exchange that is marked incomplete.
inline std::string FalseIn(const Outcome& part, const Outcome& whole) {
  for (const std::string& violation : part.violations) return violation;
  if (part.begun != part.exchanges.size() + part.drops.size()) return "requests unaccounted for";
  auto at = whole.exchanges.begin();
  for (const RecordedExchange& exchange : part.exchanges) {
    at = std::find_if(at, whole.exchanges.end(), [&](RecordedExchange truth) {
      if (exchange.incomplete) {
        truth.end_ns = exchange.end_ns;
        truth.transport_error = exchange.transport_error;
      }
      return exchange.request_offset == truth.request_offset &&
             exchange.Summary() == truth.Summary() && exchange.start_ns == truth.start_ns &&
             exchange.end_ns == truth.end_ns;
    });
    if (at == whole.exchanges.end()) {
      return exchange.Summary() + " at " + std::to_string(exchange.request_offset) + " from " +
             std::to_string(exchange.start_ns) + " to " + std::to_string(exchange.end_ns);
    }
    ++at;
  }
  return {};
}

}  // namespace zerotap
