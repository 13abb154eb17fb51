// The frontend's half of a session: what is asked.
#include <algorithm>

#include "agent/protocols/postgres_session.h"

namespace zerotap::postgres {
namespace {

// Headers that made no sense, after holes, until the stream is given up.
constexpr uint32_t kMaxBadFrames = 16;

}  // namespace

ParseStatus Session::OnFrontendData(const Chunk& chunk) {
  Cursor cursor(chunk);
  if (!frontend_.framed()) {
    // After a ReadyForQuery that leaves nothing outstanding the frontend begins anew.
    if (!silent_) return ParseStatus::kOk;
    frontend_.Resume();
    // No message has the type 0: the length of a startup packet begins with it.
    frontend_.set_startup(message_number_ == 0 && !backend_seen_ && cursor.text[0] == '\0');
  }
  while (cursor.remaining() > 0) {
    if (frontend_.at_boundary()) OnFrontendFrameBegins();
    const bool had_holes = HasHoles();
    Frame frame;
    switch (frontend_.Next(cursor, frame)) {
      case FrameReader::Step::kNeedMore:
        return ParseStatus::kOk;
      case FrameReader::Step::kBad:
        if (!had_holes || ++bad_frames_ > kMaxBadFrames) return Invalid();
        OnFrontendHidden(frontend_.frame_offset(), frontend_.frame_start_ns(), true);
        return ParseStatus::kOk;
      case FrameReader::Step::kFrame:
        if (OnFrontendFrame(frame) != ParseStatus::kOk) return status_;
        break;
    }
  }
  return ParseStatus::kOk;
}

void Session::OnFrontendFrameBegins() {
  if (pairing_ == Pairing::kSkipping) {
    if (silent_) {
      pairing_ = strict_ ? Pairing::kProbation : Pairing::kBelieved;
      batch_failed_ = false;
      copy_in_ = false;
      ++segment_;
      if (!backend_seen_) {
        backend_.Resume();
        first_batch_ = true;
      } else {
        first_batch_ = false;  // the backend fell silent: this batch begins here
      }
    }
  } else if (silent_) {
    first_batch_ = false;
    // The backend was silent until the frontend spoke again.
    pairing_ = Pairing::kKnown;
    bad_frames_ = 0;
  }
  silent_ = false;
  frame_counts_ = pairing_ != Pairing::kSkipping;
  frame_lost_bytes_ = false;
}

ParseStatus Session::OnFrontendFrame(const Frame& frame) {
  ++message_number_;
  CheckFirstBatch(frame);
  if (frontend_.startup()) return OnStartup(frame);
  switch (frame.type) {
    case 'Q':
      OnQuery(frame);
      break;
    case 'P':
      OnParse(frame);
      break;
    case 'B':
      OnBind(frame);
      break;
    case 'D':
      OnDescribe(frame);
      break;
    case 'E':
      OnExecute(frame);
      break;
    case 'C':
      OnCloseMessage(frame);
      break;
    case 'F':
      OnFunctionCall(frame);
      break;
    case 'S':
      OnSync(frame);
      break;
    case 'H':
      ++segment_;
      break;
    case 'c':
    case 'f':
      if (copy_in_) {
        copy_in_ = false;
      } else {
        Push(OperationKind::kCopyEnd, kNone);
      }
      break;
    default:  // Terminate, CopyData, and answers to authentication requests
      break;
  }
  return status_;
}

ParseStatus Session::OnStartup(const Frame& frame) {
  std::string_view body = frame.body;
  if (frame.cut && body.size() < 4) {
    OnFrontendHidden(frame.offset, frame.start_ns, true);
    frontend_.LoseFraming();
    return ParseStatus::kOk;
  }
  const uint32_t code = body.size() >= 4 ? ReadUint32(body.data()) : 0;
  if (code == kSslRequestCode || code == kGssEncRequestCode) {
    if (frame.length != 4) return Invalid();
    security_reply_pending_ = true;
    return ParseStatus::kOk;
  }
  if (code == kCancelRequestCode) {
    DropAll(DropReason::kInvalid);
    status_ = ParseStatus::kDone;
    return status_;
  }
  if (code >> 16 != kProtocolMajor) return Invalid();
  body.remove_prefix(4);
  while (!body.empty() && body[0] != '\0') {
    std::optional<std::string_view> name = TakeText(body);
    std::optional<std::string_view> value = name ? TakeText(body) : std::nullopt;
    if (!value) break;
    std::string_view kept = WithoutCutCharacter(value->substr(0, kMaxNameBytes));
    if (*name == "user") user_ = kept;
    if (*name == "database") database_ = kept;
    if (*name == "application_name") application_name_ = kept;
  }
  if (database_.empty() && !frame.cut) database_ = user_;
  frontend_.set_startup(false);
  Push(OperationKind::kStartup, kNone);
  return ParseStatus::kOk;
}

uint32_t Session::AddText(std::string_view text, bool truncated) {
  if (text.size() > options_.max_query_bytes) {
    text = WithoutCutCharacter(text.substr(0, options_.max_query_bytes));
    truncated = true;
  }
  uint32_t id = texts_.Add(text, truncated);
  while (id == kNone && (portals_.EvictOldest() || statements_.EvictOldest())) {
    id = texts_.Add(text, truncated);
  }
  return id;
}

bool Session::EnsureRoom(bool for_new_statement) {
  if (!frame_counts_) return false;
  if (queue_.HasRoom(for_new_statement)) return true;
  if (pairing_ == Pairing::kKnown) {
    StartSkipping(false);
    CountHidden(DropReason::kParserLimit, frontend_.frame_offset(), frontend_.frame_start_ns());
    exact_skip_ = true;
    skipped_ready_points_ = 0;
  } else {
    DropAll(DropReason::kParserLimit);
    StartSkipping(true);
  }
  return false;
}

// A Query or FunctionCall does not go on with a batch.
void Session::CheckFirstBatch(const Frame& frame) {
  if (!first_batch_ || pairing_ != Pairing::kBelieved || held_) return;
  if (frame.type == 'Q' || frame.type == 'F') return;
  held_ = std::make_unique<std::vector<HeldEnd>>();
}

bool Session::Push(OperationKind kind, uint32_t statement, uint32_t name_handle) {
  if (statement == kNone && !EnsureRoom(false)) {
    if (exact_skip_ && EndsWithReady(kind)) ++skipped_ready_points_;
    return false;
  }
  queue_.Push({kind, statement, name_handle, message_number_});
  if (EndsWithReady(kind) && pairing_ != Pairing::kKnown && queue_.ready_points() > 1) {
    // Pipelined: what was seen may not be all that is outstanding.
    DropAll(DropReason::kCaptureGap);
    StartSkipping(true);
    return false;
  }
  return true;
}

// A statement that begins with this frame. Takes over the reference to `text`.
uint32_t Session::OpenStatement(const Frame& frame, uint32_t text) {
  if (!EnsureRoom(true)) {
    texts_.Release(text);
    return kNone;
  }
  uint32_t index = queue_.NewStatement(text);
  Statement& statement = queue_.statement(index);
  statement.start_ns = frame.start_ns;
  statement.offset = frame.offset;
  statement.mover = frame.mover;
  statement.number = message_number_;
  statement.unproven = pairing_ == Pairing::kProbation;
  statement.check_tag = pairing_ == Pairing::kBelieved;
  statement.incomplete = frame_lost_bytes_;
  return index;
}

// The statement that a message about this prepared statement or portal belongs to: the one that a
// Parse or Bind of the same segment opened, else a new one. `take`: later messages open their own.
uint32_t Session::JoinStatement(const Frame& frame, NamedEntry* entry, bool take) {
  if (entry == nullptr) return OpenStatement(frame, kNone);
  const bool joins = entry->opening.segment == segment_;
  const Opening opening = entry->opening;
  if (take) entry->opening.segment = 0;
  if (joins && queue_.Alive(entry->unit, entry->unit_generation)) {
    Statement& statement = queue_.statement(entry->unit);
    statement.mover = frame.mover;
    statement.incomplete = statement.incomplete || frame_lost_bytes_;
    return EnsureRoom(false) ? entry->unit : kNone;
  }
  texts_.Retain(entry->text);
  uint32_t index = OpenStatement(frame, entry->text);
  if (joins && index != kNone) {
    // Its opening message was answered already.
    queue_.statement(index).start_ns = opening.start_ns;
    queue_.statement(index).offset = opening.offset;
    entry->unit = index;
    entry->unit_generation = queue_.statement(index).generation;
  }
  return index;
}

// A message that cannot be told apart from others of its kind is as good as not captured.
bool Session::NameHidden(const Frame& frame, bool readable) {
  if (readable || !frame.cut) return false;
  OnFrontendHidden(frame.offset, frame.start_ns, true);
  return true;
}

void Session::OnQuery(const Frame& frame) {
  ++segment_;
  if (batch_failed_ && frame_counts_) return;
  if (!EnsureRoom(true)) {
    Push(OperationKind::kQuery, kNone);
    return;
  }
  size_t end = frame.body.find('\0');
  uint32_t text = AddText(frame.body.substr(0, end), end == std::string_view::npos);
  uint32_t index = OpenStatement(frame, text);
  if (index == kNone) return;
  Statement& statement = queue_.statement(index);
  statement.in_parts = true;
  statement.text_offset = frame.offset + kHeaderBytes;
  statement.splitter = StatementSplitter(standard_strings_);
  std::string_view whole = texts_.text(text);
  std::string_view part;
  if (statement.splitter.Next(whole, part)) {
    statement.part_begin = static_cast<uint32_t>(part.data() - whole.data());
    statement.part_size = static_cast<uint32_t>(part.size());
  }
  if (Push(OperationKind::kQuery, index) && queue_.LastIsCertain()) Begin(queue_.statement(index));
}

void Session::OnParse(const Frame& frame) {
  if (batch_failed_ && frame_counts_) return;
  std::string_view body = frame.body;
  std::optional<std::string_view> name = TakeText(body);
  if (NameHidden(frame, name.has_value())) return;
  uint32_t text = kNone;
  NamedEntry* entry = nullptr;
  if (name) {
    size_t end = body.find('\0');
    text = AddText(body.substr(0, end), end == std::string_view::npos);
    texts_.Retain(text);
    entry = statements_.Set(*name, text, message_number_);
  }
  uint32_t index = OpenStatement(frame, text);
  if (index == kNone) return;
  if (entry != nullptr) {
    entry->opening = {frame.start_ns, frame.offset, segment_};
    entry->unit = index;
    entry->unit_generation = queue_.statement(index).generation;
  }
  Push(OperationKind::kParse, index, entry != nullptr ? entry->handle : kNone);
}

void Session::OnBind(const Frame& frame) {
  if (batch_failed_ && frame_counts_) return;
  std::string_view body = frame.body;
  std::optional<std::string_view> portal_name = TakeText(body);
  std::optional<std::string_view> name = portal_name ? TakeText(body) : std::nullopt;
  if (NameHidden(frame, name.has_value())) return;
  NamedEntry* prepared = name ? statements_.Find(*name) : nullptr;
  uint32_t text = prepared != nullptr ? prepared->text : kNone;
  Opening opening = {frame.start_ns, frame.offset, segment_};
  if (prepared != nullptr && prepared->opening.segment == segment_) opening = prepared->opening;
  uint32_t index = JoinStatement(frame, prepared, true);
  if (portal_name) {
    texts_.Retain(text);
    NamedEntry* portal = portals_.Set(*portal_name, text, message_number_);
    if (portal != nullptr && index != kNone) {
      portal->opening = opening;
      portal->unit = index;
      portal->unit_generation = queue_.statement(index).generation;
    }
  } else {
    portals_.ClearOlder(UINT64_MAX);
  }
  if (index != kNone) Push(OperationKind::kBind, index);
}

void Session::OnDescribe(const Frame& frame) {
  if (!frame_counts_ || batch_failed_) return;
  std::string_view body = frame.body;
  const bool portal = body.substr(0, 1) == "P";
  body.remove_prefix(std::min<size_t>(1, body.size()));
  std::optional<std::string_view> name = TakeText(body);
  if (NameHidden(frame, name.has_value())) return;
  NamedEntry* entry = name ? (portal ? portals_ : statements_).Find(*name) : nullptr;
  uint32_t index = JoinStatement(frame, entry, false);
  if (index != kNone) Push(OperationKind::kDescribe, index);
}

void Session::OnExecute(const Frame& frame) {
  if (!frame_counts_ || batch_failed_) return;
  std::string_view body = frame.body;
  std::optional<std::string_view> name = TakeText(body);
  if (NameHidden(frame, name.has_value())) return;
  uint32_t index = JoinStatement(frame, name ? portals_.Find(*name) : nullptr, true);
  if (index == kNone) return;
  queue_.statement(index).has_execute = true;
  if (Push(OperationKind::kExecute, index) && backend_.framed() && queue_.LastIsCertain()) {
    Begin(queue_.statement(index));
  }
}

void Session::OnCloseMessage(const Frame& frame) {
  if (batch_failed_ && frame_counts_) return;
  std::string_view body = frame.body;
  NameTable& table = body.substr(0, 1) == "P" ? portals_ : statements_;
  body.remove_prefix(std::min<size_t>(1, body.size()));
  std::optional<std::string_view> name = TakeText(body);
  if (NameHidden(frame, name.has_value())) return;
  if (name) table.Erase(*name);
  Push(OperationKind::kClose, kNone);
}

void Session::OnFunctionCall(const Frame& frame) {
  ++segment_;
  if (batch_failed_ && frame_counts_) return;
  if (!EnsureRoom(true)) {
    Push(OperationKind::kFunction, kNone);
    return;
  }
  uint32_t index = OpenStatement(frame, kNone);
  if (index == kNone) return;
  if (Push(OperationKind::kFunction, index) && queue_.LastIsCertain())
    Begin(queue_.statement(index));
}

void Session::OnSync(const Frame&) {
  ++segment_;
  if (copy_in_) return;
  if (frame_counts_) batch_failed_ = false;
  Push(OperationKind::kSync, kNone);
}

void Session::OnFrontendHidden(uint64_t offset, uint64_t start_ns, bool lost) {
  frontend_.set_startup(false);
  // A name that is in use is not given to another statement in a run of messages; lost bytes may be
  // anything.
  portals_.ClearOlder(UINT64_MAX);
  statements_.Erase({});
  if (lost) statements_.ClearOlder(UINT64_MAX);
  if (pairing_ == Pairing::kSkipping) {
    strict_ = strict_ || lost || silent_ || !copy_hidden_;
    silent_ = false;
    exact_skip_ = false;
    return;
  }
  // COPY data is all that can follow COPY data until the frontend says that it ends.
  const bool copying = frontend_.current_type() == 'd' && !lost;
  if (pairing_ != Pairing::kKnown && !copying) DropAll(DropReason::kCaptureGap);
  const bool known = pairing_ == Pairing::kKnown;
  StartSkipping(!copying);
  copy_hidden_ = copying;
  block_unsure_ = block_unsure_ || !copying;
  if (known) CountHidden(DropReason::kCaptureGap, offset, start_ns);
}

}  // namespace zerotap::postgres
