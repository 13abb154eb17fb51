#include "agent/protocols/postgres_session.h"

#include <algorithm>

namespace zerotap::postgres {
namespace {

std::string_view TransportError(EndReason reason) {
  switch (reason) {
    case EndReason::kReset:
      return "connection_reset";
    case EndReason::kTimeout:
      return "timeout";
    case EndReason::kFin:
      break;
  }
  return "connection_closed";
}

bool OneOf(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// Of one batch whose beginning is in doubt.
constexpr size_t kMaxHeldEnds = 16;

// DataRow messages are counted; what the tag says is better where a gap may hide some.
void FillRows(const Statement& statement, const CommandTag& tag, DatabaseFields& fields) {
  const bool rows_came = statement.rows_exact && (statement.rows > 0 || statement.described);
  std::string_view verb = tag.command.substr(0, tag.command.find(' '));
  if (tag.rows && OneOf(verb, {"SELECT", "FETCH", "MOVE"})) {
    // CREATE TABLE AS and SELECT INTO say SELECT too, but return nothing.
    bool stored = verb == "SELECT" && *tag.rows > 0 && statement.rows_exact && statement.rows == 0;
    (stored ? fields.rows_affected : fields.rows_returned) = tag.rows;
    return;
  }
  if (tag.rows) fields.rows_affected = tag.rows;
  if (rows_came) fields.rows_returned = statement.rows;
}

}  // namespace

Session::Session(Role role, bool from_first_byte, const ParserOptions& options, ExchangeSink& sink)
    : role_(role),
      options_(options),
      sink_(sink),
      frontend_(Side::kFrontend,
                static_cast<uint32_t>(std::min<size_t>(options.max_query_bytes, 1 << 20))),
      backend_(Side::kBackend, 0),
      statements_(texts_, options.max_prepared_statements),
      portals_(texts_, options.max_prepared_statements),
      queue_(texts_, std::max<size_t>(options.max_requests_in_flight, 1)) {
  if (from_first_byte) {
    frontend_.set_startup(true);
  } else {
    frontend_.LoseFraming();
    backend_.LoseFraming();
    pairing_ = Pairing::kSkipping;
    silent_ = true;
  }
}

ParseStatus Session::OnData(Direction direction, const Chunk& chunk) {
  if (status_ != ParseStatus::kOk || ended_ || chunk.bytes.empty()) return status_;
  return direction == RequestDirection(role_) ? OnFrontendData(chunk) : OnBackendData(chunk);
}

ParseStatus Session::OnGap(Direction direction, const Gap& gap) {
  if (status_ != ParseStatus::kOk || ended_ || gap.length == 0) return status_;
  Frame frame;
  if (direction == RequestDirection(role_)) {
    if (frontend_.at_boundary()) OnFrontendFrameBegins();
    frame_lost_bytes_ = frame_lost_bytes_ || gap.lost;
    const bool was_framed = frontend_.framed();
    if (frontend_.Skip(gap, frame)) {
      ParseStatus status = OnFrontendFrame(frame);
      if (status != ParseStatus::kOk) return status;
    }
    if (!frontend_.framed() && (was_framed || pairing_ == Pairing::kSkipping)) {
      OnFrontendHidden(gap.offset, gap.start_ns, gap.lost);
    }
    return status_;
  }
  backend_seen_ = true;
  security_reply_pending_ = false;
  if (gap.lost && !queue_.empty() && queue_.front().statement != kNone) {
    queue_.statement(queue_.front().statement).incomplete = true;
  }
  if (backend_.Skip(gap, frame)) OnBackendFrame(frame);
  if (!backend_.framed()) {
    silent_ = false;
    answers_lost_ = answers_lost_ || gap.lost;
  }
  return status_;
}

void Session::OnEnd(Direction direction, EndReason reason, uint64_t time_ns) {
  // A frontend that has said its last word may still be answered.
  if (direction == RequestDirection(role_) && reason == EndReason::kFin) return;
  FinishAll(reason, time_ns);
}

void Session::OnClose(EndReason reason, uint64_t time_ns) { FinishAll(reason, time_ns); }

void Session::Abandon(DropReason reason) {
  DropAll(reason);
  ended_ = true;
}

void Session::FinishAll(EndReason reason, uint64_t time_ns) {
  if (ended_) return;
  ended_ = true;
  if (held_) DropHeld(DropReason::kCaptureGap);
  while (!queue_.empty()) {
    uint32_t index = queue_.front().statement;
    if (index != kNone) {
      Statement& statement = queue_.statement(index);
      if (statement.begun && !statement.done) {
        // Behind a hole in the answers it may have been answered, and what was answered of a batch
        // that was not seen to begin may be something else.
        if (backend_.framed() && !held_) {
          EndWithTransportError(statement, reason, time_ns);
        } else {
          Drop(statement, DropReason::kCaptureGap);
        }
      }
    }
    queue_.Pop();
  }
}

ParseStatus Session::Invalid() {
  DropAll(DropReason::kInvalid);
  status_ = ParseStatus::kInvalid;
  return status_;
}

void Session::DropAll(DropReason reason) {
  if (held_) DropHeld(reason);
  held_.reset();
  while (!queue_.empty()) {
    uint32_t index = queue_.front().statement;
    if (index != kNone) {
      Statement& statement = queue_.statement(index);
      if (statement.begun && !statement.done) Drop(statement, reason);
    }
    queue_.Pop();
  }
  copy_in_ = false;
}

void Session::StartSkipping(bool strict) {
  if (held_) DropHeld(DropReason::kCaptureGap);
  held_.reset();
  if (pairing_ != Pairing::kSkipping) {
    pairing_ = Pairing::kSkipping;
    strict_ = false;
    count_hidden_ = false;
    exact_skip_ = false;
    copy_hidden_ = false;
  }
  strict_ = strict_ || strict;
  silent_ = false;
  frame_counts_ = false;
}

void Session::CountHidden(DropReason reason, uint64_t offset, uint64_t start_ns) {
  count_hidden_ = true;
  hidden_reason_ = reason;
  hidden_offset_ = offset;
  hidden_start_ns_ = start_ns;
}

void Session::Begin(Statement& statement) {
  if (statement.begun) return;
  RequestStart start;
  start.start_ns = statement.start_ns;
  start.request_offset = statement.offset;
  start.tgid = statement.mover.tgid;
  start.tid = statement.mover.tid;
  start.blocking = statement.mover.blocking;
  start.context_id = statement.mover.context_id;
  start.parent_context_id = statement.mover.parent_context_id;
  statement.begun = true;
  statement.work = sink_.BeginRequest(start);
}

void Session::Drop(Statement& statement, DropReason reason) {
  Begin(statement);
  statement.done = true;
  sink_.DropRequest(statement.work, reason);
  // It may have made prepared statements, or unmade them.
  char buffer[16];
  std::string_view keyword = FirstKeyword(TextOf(statement), buffer);
  for (std::string_view command : {"DEALLOCATE", "DISCARD", "PREPARE"}) {
    if (keyword == command ||
        (IsTruncated(statement) && command.substr(0, keyword.size()) == keyword)) {
      statements_.ClearOlder(statement.number);
    }
  }
  if (statement.text == kNone) statements_.ClearOlder(statement.number);
}

std::string_view Session::TextOf(const Statement& statement) const {
  if (!statement.in_parts) return texts_.text(statement.text);
  return texts_.text(statement.text).substr(statement.part_begin, statement.part_size);
}

bool Session::IsTruncated(const Statement& statement) const {
  const bool whole_part =
      statement.in_parts && statement.part_size > 0 && statement.splitter.at_semicolon();
  return texts_.truncated(statement.text) && !whole_part;
}

void Session::FillFields(const Statement& statement, DatabaseFields& fields) const {
  fields.system = "postgresql";
  fields.name_space = database_;
  fields.user = user_;
  fields.application_name = application_name_;
  fields.query_text = TextOf(statement);
  fields.query_text_truncated = IsTruncated(statement);
  fields.transaction = in_block_ ? block_ : 0;
  fields.default_port = 5432;
}

void Session::End(Statement& statement, const DatabaseFields& fields, const Mover& mover,
                  std::string_view transport_error) {
  Begin(statement);
  if (statement.unproven) {
    Drop(statement, DropReason::kCaptureGap);
    return;
  }
  statement.done = true;
  Exchange exchange;
  exchange.role = role_;
  exchange.work = statement.work;
  exchange.start_ns = statement.start_ns;
  exchange.end_ns = std::max(mover.end_ns, statement.start_ns);
  exchange.request_offset = statement.offset;
  exchange.tgid = statement.mover.tgid;
  exchange.tid = statement.mover.tid;
  exchange.transport_error = transport_error;
  exchange.incomplete = statement.incomplete;
  exchange.database = &fields;
  if (held_) {
    Hold(exchange, fields);
  } else {
    sink_.EndExchange(exchange);
  }
}

void Session::Hold(const Exchange& exchange, const DatabaseFields& fields) {
  if (held_->size() == kMaxHeldEnds) {
    sink_.DropRequest(exchange.work, DropReason::kCaptureGap);
    return;
  }
  held_->push_back({exchange, fields, std::string(fields.query_text),
                    std::string(fields.command_tag)});
}

// The answers up to a ReadyForQuery were those to what was seen, and no others.
void Session::ReleaseHeld() {
  if (!held_) return;
  for (HeldEnd& end : *held_) {
    end.fields.query_text = end.query_text;
    end.fields.command_tag = end.command_tag;
    end.fields.name_space = database_;
    end.fields.user = user_;
    end.fields.application_name = application_name_;
    end.exchange.database = &end.fields;
    sink_.EndExchange(end.exchange);
  }
  held_.reset();
}

// The batch stays in doubt.
void Session::DropHeld(DropReason reason) {
  for (const HeldEnd& end : *held_) sink_.DropRequest(end.exchange.work, reason);
  held_->clear();
}

void Session::EndWithTag(Statement& statement, std::string_view text, const Mover& mover) {
  CommandTag tag = ParseCommandTag(text);
  BeforeTag(tag);
  DatabaseFields fields;
  FillFields(statement, fields);
  fields.command_tag = text;
  FillRows(statement, tag, fields);
  End(statement, fields, mover, {});
  AfterTag(tag, TextOf(statement));
  ForgetPrepared(tag, IsTruncated(statement) ? std::string_view() : TextOf(statement),
                 statement.number);
}

void Session::EndWithError(Statement& statement, const ErrorFields& error, bool cut,
                           const Mover& mover) {
  if (held_) {
    // See OnBackendFrame.
    Drop(statement, DropReason::kCaptureGap);
    return;
  }
  if (error.sql_state.empty()) {
    Drop(statement, cut ? DropReason::kCaptureGap : DropReason::kInvalid);
    return;
  }
  DatabaseFields fields;
  FillFields(statement, fields);
  fields.status_code = error.sql_state;
  End(statement, fields, mover, {});
}

void Session::EndWithTransportError(Statement& statement, EndReason reason, uint64_t time_ns) {
  DatabaseFields fields;
  FillFields(statement, fields);
  Mover mover;
  mover.end_ns = time_ns;
  End(statement, fields, mover, TransportError(reason));
}

void Session::BeforeTag(const CommandTag& tag) {
  if (in_block_ || !OneOf(tag.command, {"BEGIN", "START TRANSACTION"})) return;
  in_block_ = true;
  block_unsure_ = false;
  ++block_;
}

void Session::AfterTag(const CommandTag& tag, std::string_view text) {
  if (!in_block_ || !OneOf(tag.command, {"COMMIT", "ROLLBACK", "PREPARE TRANSACTION"})) return;
  switch (ClassifyBlockEnd(text)) {
    case BlockEnd::kEnds:
      in_block_ = false;
      break;
    case BlockEnd::kChains:
      ++block_;
      break;
    case BlockEnd::kSavepoint:
      break;
    case BlockEnd::kUnknown:
      // ROLLBACK may be one to a savepoint: the next ReadyForQuery tells.
      if (tag.command != "ROLLBACK") in_block_ = false;
      break;
  }
}

// `text` is empty when it is not known to its end. Whatever cannot be told apart is forgotten.
void Session::ForgetPrepared(const CommandTag& tag, std::string_view text, uint64_t number) {
  if (!OneOf(tag.command, {"DEALLOCATE", "DEALLOCATE ALL", "DISCARD ALL", "PREPARE"})) return;
  char buffer[64];
  std::string_view name;
  if (tag.command == "DEALLOCATE" || tag.command == "PREPARE") name = PreparedName(text, buffer);
  if (name.empty()) {
    statements_.ClearOlder(number);
  } else {
    statements_.EraseOlder(name, number);
  }
}

size_t Session::MemorySize() const {
  return sizeof(*this) + frontend_.MemorySize() + backend_.MemorySize() + texts_.MemorySize() +
         statements_.MemorySize() + portals_.MemorySize() + queue_.MemorySize() +
         database_.capacity() + user_.capacity() + application_name_.capacity() + HeldSize();
}

size_t Session::HeldSize() const {
  if (!held_) return 0;
  size_t size = held_->capacity() * sizeof(HeldEnd);
  for (const HeldEnd& end : *held_) size += end.query_text.capacity() + end.command_tag.capacity();
  return size;
}

}  // namespace zerotap::postgres
