// The backend's half of a session: what is answered.
#include <algorithm>

#include "agent/protocols/postgres_session.h"

namespace zerotap::postgres {
namespace {

constexpr uint32_t kMaxBadFrames = 16;
// How many messages ahead a statement's Execute is looked for; farther ones begin later.
constexpr uint64_t kMaxLookAhead = 8;

// Text of a message that is one NUL-terminated text; empty when its end was not captured.
std::string_view TextBody(std::string_view body) {
  size_t end = body.find('\0');
  return end == std::string_view::npos ? std::string_view() : body.substr(0, end);
}

// Whether the tag ends one result of a replication command, not the command: that has its own name
// as the tag from PostgreSQL 14 on, before it none. No SELECT of SQL is without its row count.
bool IsResultWithin(std::string_view statement, bool truncated, std::string_view tag,
                    bool tag_cut) {
  const bool bare = tag == "SELECT" || tag == "START_STREAMING";
  if (!bare && !tag_cut) return false;
  if (!CommandOfSeveralResults(statement).empty()) return true;
  return truncated && (bare || BeginsLikeCommandOfSeveralResults(statement));
}

bool EndsStatement(char type) {
  return type == 'C' || type == 'I' || type == 's' || type == 'E' || type == 'V';
}

}  // namespace

ParseStatus Session::OnBackendData(const Chunk& chunk) {
  Cursor cursor(chunk);
  backend_seen_ = true;
  if (security_reply_pending_ && OnSecurityReply(cursor) != ParseStatus::kOk) return status_;
  while (cursor.remaining() > 0) {
    if (!backend_.framed()) {
      Tail tail;
      silent_ = false;
      if (backend_.FindReady(cursor, tail) == FrameReader::Step::kNeedMore) return ParseStatus::kOk;
      OnReadyBehindHole(tail, {chunk.end_ns, chunk.tgid, chunk.tid, chunk.blocking, 0, 0});
      continue;
    }
    const bool had_holes = HasHoles();
    Frame frame;
    switch (backend_.Next(cursor, frame)) {
      case FrameReader::Step::kNeedMore:
        return ParseStatus::kOk;
      case FrameReader::Step::kBad:
        if (!had_holes || ++bad_frames_ > kMaxBadFrames) return Invalid();
        silent_ = false;
        break;
      case FrameReader::Step::kFrame:
        OnBackendFrame(frame);
        if (frame.type == 'D' || frame.type == 'd')
          CountRows(frame.type, backend_.PassAlike(cursor));
        break;
    }
  }
  return ParseStatus::kOk;
}

// More of the rows or COPY data whose first one was just handled.
void Session::CountRows(char type, uint64_t count) {
  if (type != 'D' || queue_.empty() || queue_.front().statement == kNone) return;
  Statement& statement = queue_.statement(queue_.front().statement);
  if (!statement.done) statement.rows += count;
}

ParseStatus Session::OnSecurityReply(Cursor& cursor) {
  security_reply_pending_ = false;
  char reply = cursor.text[cursor.position];
  if (reply == 'N') {
    ++cursor.position;
  } else if (reply == 'S' || reply == 'G') {
    DropAll(DropReason::kInvalid);
    status_ = ParseStatus::kDone;
  } else if (reply !=
             'E') {  // an old server says in a message of its own that it does not understand
    return Invalid();
  }
  return status_;
}

void Session::OnBackendFrame(const Frame& frame) {
  switch (frame.type) {
    case 'N':
    case 'A':
    case 'R':
    case 'K':
    case 'v':
      return;
    case 'S':
      OnParameterStatus(frame);
      return;
    default:
      break;
  }
  // It may be that of a piece that was not seen, and make the backend skip what was.
  if (held_ && frame.type == 'E') DropHeld(DropReason::kCaptureGap);
  while (!queue_.empty() && queue_.front().kind == OperationKind::kCopyEnd) PopFront();
  if (queue_.empty()) {
    OnUnpairedFrame(frame);
    return;
  }
  const Operation front = queue_.front();
  switch (front.kind) {
    case OperationKind::kQuery:
      OnQueryAnswer(frame);
      return;
    case OperationKind::kExecute:
      OnExecuteAnswer(frame);
      return;
    case OperationKind::kFunction:
      OnFunctionAnswer(frame);
      return;
    case OperationKind::kStartup:
    case OperationKind::kSync:
      // An error here (a deferred constraint, a refused login) is no statement's.
      if (frame.type == 'E') return;
      if (frame.type != 'Z') break;
      PopFront();
      OnReady(frame.body.empty() ? '\0' : frame.body[0]);
      return;
    case OperationKind::kParse:
    case OperationKind::kBind:
    case OperationKind::kClose: {
      char expected = front.kind == OperationKind::kParse  ? '1'
                      : front.kind == OperationKind::kBind ? '2'
                                                           : '3';
      if (frame.type == 'E') {
        OnBatchError(frame);
        return;
      }
      if (frame.type != expected) break;
      PopFront();
      return;
    }
    case OperationKind::kDescribe:
      if (frame.type == 't') return;
      if (frame.type == 'E') {
        OnBatchError(frame);
        return;
      }
      if (frame.type != 'T' && frame.type != 'n') break;
      if (frame.type == 'T') queue_.statement(front.statement).described = true;
      PopFront();
      return;
    case OperationKind::kCopyEnd:
      return;
  }
  Unexpected(frame);
}

// Nothing that was seen is waiting for an answer.
void Session::OnUnpairedFrame(const Frame& frame) {
  if (pairing_ != Pairing::kSkipping) {
    // An error between requests is the server's goodbye.
    if (frame.type == 'E') return;
    Unexpected(frame);
    return;
  }
  if (frame.type == 'Z') {
    const bool last_skipped =
        exact_skip_ && skipped_ready_points_ > 0 && --skipped_ready_points_ == 0;
    OnReady(frame.body.empty() ? '\0' : frame.body[0]);
    if (last_skipped) {
      pairing_ = Pairing::kKnown;
      silent_ = false;
      batch_failed_ = false;
      copy_in_ = false;
      ++segment_;
    }
    return;
  }
  if (frame.type == 'E' && silent_) return;
  silent_ = false;
  if (frame.type == 'C') ForgetPrepared(ParseCommandTag(TextBody(frame.body)), {}, UINT64_MAX);
  if (count_hidden_ && EndsStatement(frame.type)) {
    RequestStart start;
    start.start_ns = hidden_start_ns_;
    start.request_offset = hidden_offset_;
    start.tgid = frame.mover.tgid;
    start.tid = frame.mover.tid;
    sink_.DropRequest(sink_.BeginRequest(start), hidden_reason_);
  }
}

// An answer to something else than what was asked: the pairing is wrong.
void Session::Unexpected(const Frame& frame) {
  if (pairing_ == Pairing::kKnown) statements_.ClearOlder(UINT64_MAX);
  const bool batch_in_doubt = held_ != nullptr;
  DropAll(HasHoles() || batch_in_doubt ? DropReason::kCaptureGap : DropReason::kInvalid);
  StartSkipping(!batch_in_doubt);
  block_unsure_ = true;
  OnUnpairedFrame(frame);
}

void Session::OnReady(char status) {
  ReleaseHeld();
  if (status == 'I') {
    in_block_ = false;
    if (portals_.size() > 0 && queue_.empty()) portals_.ClearOlder(UINT64_MAX);
  } else if (status == 'T' || status == 'E') {
    if (!in_block_ || block_unsure_) ++block_;
    in_block_ = true;
  }
  block_unsure_ = status == '\0';
  const bool more_skipped =
      pairing_ == Pairing::kSkipping && exact_skip_ && skipped_ready_points_ > 0;
  silent_ = pairing_ != Pairing::kKnown && queue_.empty() && !more_skipped;
}

void Session::OnParameterStatus(const Frame& frame) {
  std::string_view body = frame.body;
  std::optional<std::string_view> name = TakeText(body);
  std::optional<std::string_view> value = name ? TakeText(body) : std::nullopt;
  if (!value) return;
  if (*name == "application_name")
    application_name_ = WithoutCutCharacter(value->substr(0, kMaxNameBytes));
  if (*name == "standard_conforming_strings") standard_strings_ = *value != "off";
}

void Session::PopFront() {
  queue_.Pop();
  BeginFrontIfItsTurn();
}

// Nothing is unanswered before the front: if a statement is sure to be executed (or to fail), it
// begins.
void Session::BeginFrontIfItsTurn() {
  if (queue_.empty()) return;
  const Operation& front = queue_.front();
  if (front.statement == kNone) return;
  Statement& statement = queue_.statement(front.statement);
  if (statement.begun) return;
  if (front.kind != OperationKind::kQuery && front.kind != OperationKind::kFunction) {
    if (!statement.has_execute) return;
    uint64_t sequence = queue_.head();
    uint64_t limit = std::min(queue_.tail(), sequence + kMaxLookAhead);
    while (sequence != limit && queue_.at(sequence).statement == front.statement &&
           queue_.at(sequence).kind != OperationKind::kExecute) {
      ++sequence;
    }
    if (sequence == limit || queue_.at(sequence).statement != front.statement) return;
  }
  Begin(statement);
}

// Goes on to the next statement of a simple query. False: there is none, unless the text says too
// little.
bool Session::NextPart(Statement& statement, bool force) {
  std::string_view whole = texts_.text(statement.text);
  std::string_view part;
  const bool found = statement.splitter.Next(whole, part);
  if (!found && !force && statement.text != kNone && !texts_.truncated(statement.text))
    return false;
  if (found) {
    statement.part_begin = static_cast<uint32_t>(part.data() - whole.data());
    statement.part_size = static_cast<uint32_t>(part.size());
  } else {
    statement.part_begin = static_cast<uint32_t>(whole.size());
    statement.part_size = 0;
    statement.incomplete = true;
    ++statement.parts_past_text;
  }
  statement.offset = statement.text_offset + statement.part_begin + statement.parts_past_text;
  statement.begun = false;
  statement.done = false;
  statement.described = false;
  statement.copy_in = false;
  statement.rows = 0;
  return true;
}

void Session::OnQueryAnswer(const Frame& frame) {
  Statement& statement = queue_.statement(queue_.front().statement);
  if (frame.type == 'Z') {
    if (statement.begun && !statement.done) {
      if (!statement.has_result) {
        Unexpected(frame);
        return;
      }
      std::string_view command = CommandOfSeveralResults(TextOf(statement));
      if (command.empty()) {
        Drop(statement, DropReason::kCaptureGap);
      } else {
        EndWithTag(statement, command, frame.mover);
      }
    }
    PopFront();
    OnReady(frame.body.empty() ? '\0' : frame.body[0]);
    return;
  }
  if (statement.failed) return;
  // An error after the last statement: the implicit transaction failed at its end. Any other answer
  // there belongs to a statement too, the text was understood differently.
  if (statement.done && !NextPart(statement, frame.type != 'E')) {
    statement.failed = true;
    return;
  }
  switch (frame.type) {
    case 'D':
      ++statement.rows;
      break;
    case 'T':
      statement.described = true;
      break;
    case 'C':
    case 'I': {
      std::string_view tag = frame.type == 'C' ? TextBody(frame.body) : std::string_view();
      if (statement.check_tag && !tag.empty() && !TagFits(TextOf(statement), tag)) {
        Unexpected(frame);
        return;
      }
      // The end of one whose earlier result had a tag that could not be read.
      if (statement.parts_past_text > 0 && !statement.begun &&
          !CommandOfSeveralResults(tag).empty()) {
        statement.failed = true;
        return;
      }
      if (frame.cut) CutTag(statement);
      copy_in_ = false;
      const bool truncated = statement.text == kNone || IsTruncated(statement);
      if (frame.type == 'C' && IsResultWithin(TextOf(statement), truncated, tag, frame.cut)) {
        statement.has_result = true;
        break;
      }
      EndWithTag(statement, tag, frame.mover);
      return;
    }
    case 'E':
      EndWithError(statement, ParseErrorFields(frame.body), frame.cut, frame.mover);
      statement.failed = true;
      copy_in_ = false;
      return;
    case 'G':
    case 'W':
      BeginCopyIn();
      break;
    case 'H':
    case 'd':
    case 'c':
      break;
    default:
      Unexpected(frame);
      return;
  }
  Begin(statement);
}

void Session::OnFunctionAnswer(const Frame& frame) {
  Statement& statement = queue_.statement(queue_.front().statement);
  if (frame.type == 'Z') {
    if (!statement.done) {
      Unexpected(frame);
      return;
    }
    PopFront();
    OnReady(frame.body.empty() ? '\0' : frame.body[0]);
    return;
  }
  if (statement.done) {
    if (frame.type != 'E') Unexpected(frame);
    return;
  }
  if (frame.type == 'V') {
    EndWithTag(statement, {}, frame.mover);
  } else if (frame.type == 'E') {
    EndWithError(statement, ParseErrorFields(frame.body), frame.cut, frame.mover);
  } else {
    Unexpected(frame);
  }
}

void Session::OnExecuteAnswer(const Frame& frame) {
  Statement& statement = queue_.statement(queue_.front().statement);
  switch (frame.type) {
    case 'D':
      ++statement.rows;
      return;
    case 'C': {
      std::string_view tag = TextBody(frame.body);
      if (statement.check_tag && !tag.empty() && !TagFits(TextOf(statement), tag)) break;
      if (frame.cut) CutTag(statement);
      EndWithTag(statement, tag, frame.mover);
      copy_in_ = false;
      PopFront();
      return;
    }
    case 'I':
    case 's':
      EndWithTag(statement, {}, frame.mover);
      PopFront();
      return;
    case 'E':
      OnBatchError(frame);
      return;
    case 'G':
    case 'W':
      BeginCopyIn();
      return;
    case 'H':
    case 'd':
    case 'c':
      return;
    default:
      break;
  }
  Unexpected(frame);
}

// The tag was not captured to its end: the statement may have been any.
void Session::CutTag(Statement& statement) {
  statement.incomplete = true;
  // Nor is it known whether more of its rows come, when it may be one of several results.
  if (statement.text == kNone || IsTruncated(statement)) statement.rows_exact = false;
  statements_.ClearOlder(statement.number);
}

void Session::BeginCopyIn() {
  Statement& statement = queue_.statement(queue_.front().statement);
  if (statement.copy_in) return;
  statement.copy_in = true;
  copy_in_ = !queue_.RemoveSyncsBeforeCopyEnd();
}

// The message at the front failed; everything up to the next Sync is skipped.
void Session::OnBatchError(const Frame& frame) {
  copy_in_ = false;
  uint32_t index = queue_.front().statement;
  if (index != kNone && !queue_.statement(index).done) {
    EndWithError(queue_.statement(index), ParseErrorFields(frame.body), frame.cut, frame.mover);
  }
  while (!queue_.empty() && queue_.front().kind != OperationKind::kSync) {
    const Operation& skipped = queue_.front();
    if (skipped.kind == OperationKind::kParse)
      statements_.EraseRegistered(skipped.name_handle, skipped.number);
    if (skipped.statement != kNone) {
      Statement& statement = queue_.statement(skipped.statement);
      if (statement.begun && !statement.done) Drop(statement, DropReason::kInvalid);
    }
    queue_.Pop();
  }
  if (queue_.empty() && pairing_ != Pairing::kSkipping) batch_failed_ = true;
}

// The framing was lost and is found again at a ReadyForQuery. What the hole hid is certain only
// when one request for a ReadyForQuery is outstanding and one statement of it is unanswered.
void Session::OnReadyBehindHole(const Tail& tail, const Mover& mover) {
  if (held_) DropHeld(DropReason::kCaptureGap);
  const bool lost = answers_lost_;
  answers_lost_ = false;
  if (queue_.ready_points() != 1 || pairing_ == Pairing::kSkipping || lost) {
    const bool was_skipping =
        pairing_ == Pairing::kSkipping && queue_.empty() && !exact_skip_ && !lost;
    DropAll(DropReason::kCaptureGap);
    const bool strict = strict_;
    StartSkipping(true);
    if (was_skipping) strict_ = strict;
    exact_skip_ = false;
    block_unsure_ = true;
    OnReady(tail.status);
    return;
  }
  uint64_t ready_point = queue_.head();
  while (!EndsWithReady(queue_.at(ready_point).kind)) ++ready_point;
  switch (queue_.at(ready_point).kind) {
    case OperationKind::kQuery:
      if (ready_point == queue_.head()) ResolveHiddenQuery(tail, mover);
      break;
    case OperationKind::kFunction: {
      Statement& statement = queue_.statement(queue_.at(ready_point).statement);
      if (statement.done || ready_point != queue_.head()) break;
      statement.incomplete = true;
      if (tail.terminal == 'V') EndWithTag(statement, {}, mover);
      if (tail.terminal == 'E') EndWithError(statement, ParseErrorFields(tail.body), false, mover);
      break;
    }
    case OperationKind::kSync:
      ResolveHiddenBatch(ready_point, tail, mover);
      break;
    default:
      break;
  }
  for (uint64_t left = ready_point + 1 - queue_.head(); left > 0; --left) {
    const Operation& operation = queue_.front();
    if (operation.statement != kNone) {
      Statement& statement = queue_.statement(operation.statement);
      if (statement.begun && !statement.done) {
        Drop(statement, DropReason::kCaptureGap);
        block_unsure_ = true;
      }
    }
    queue_.Pop();
  }
  copy_in_ = false;
  BeginFrontIfItsTurn();
  OnReady(tail.status);
}

void Session::ResolveHiddenQuery(const Tail& tail, const Mover& mover) {
  Statement& statement = queue_.statement(queue_.front().statement);
  if (statement.failed) return;
  statement.rows_exact = false;
  statement.incomplete = true;
  if (statement.done && !NextPart(statement, false)) return;
  if (texts_.truncated(statement.text) || statement.text == kNone) {
    // How many statements it has is not known, unless all of this one's answers were to come.
    return;
  }
  if (tail.terminal == 'C' || tail.terminal == 'I') {
    // All were executed; this is the last one's.
    StatementSplitter ahead = statement.splitter;
    std::string_view part;
    while (ahead.Next(texts_.text(statement.text), part)) {
      Drop(statement, DropReason::kCaptureGap);
      block_unsure_ = true;
      NextPart(statement, false);
      ahead = statement.splitter;
    }
    std::string_view tag = tail.terminal == 'C' ? TextBody(tail.body) : std::string_view();
    if (statement.check_tag && !tag.empty() && !TagFits(TextOf(statement), tag)) return;
    std::string_view command = CommandOfSeveralResults(TextOf(statement));
    EndWithTag(statement, command.empty() ? tag : command, mover);
  } else if (tail.terminal == 'E') {
    StatementSplitter ahead = statement.splitter;
    std::string_view part;
    if (!ahead.Next(texts_.text(statement.text), part)) {
      EndWithError(statement, ParseErrorFields(tail.body), false, mover);
    }
  }
}

void Session::ResolveHiddenBatch(uint64_t sync, const Tail& tail, const Mover& mover) {
  uint32_t only = kNone;  // the statement that everything unanswered belongs to
  uint32_t last_execute = kNone;
  bool several = false;
  for (uint64_t sequence = queue_.head(); sequence != sync; ++sequence) {
    const Operation& operation = queue_.at(sequence);
    if (operation.kind == OperationKind::kExecute) last_execute = operation.statement;
    if (operation.statement == kNone) continue;
    several = several || (only != kNone && only != operation.statement);
    only = operation.statement;
  }
  if (tail.terminal == 'C' || tail.terminal == 'I' || tail.terminal == 's') {
    // No error directly before the ReadyForQuery: all were executed.
    if (last_execute == kNone) return;
    for (uint64_t sequence = queue_.head(); sequence != sync; ++sequence) {
      const Operation& operation = queue_.at(sequence);
      if (operation.kind != OperationKind::kExecute || operation.statement == last_execute)
        continue;
      Drop(queue_.statement(operation.statement), DropReason::kCaptureGap);
      block_unsure_ = true;
    }
    Statement& statement = queue_.statement(last_execute);
    statement.rows_exact = false;
    statement.incomplete = true;
    std::string_view tag = tail.terminal == 'C' ? TextBody(tail.body) : std::string_view();
    if (statement.check_tag && !tag.empty() && !TagFits(TextOf(statement), tag)) return;
    EndWithTag(statement, tag, mover);
  } else if (tail.terminal == 'E' && only != kNone && !several) {
    queue_.statement(only).incomplete = true;
    EndWithError(queue_.statement(only), ParseErrorFields(tail.body), false, mover);
  }
}

}  // namespace zerotap::postgres
