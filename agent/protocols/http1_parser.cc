#include "agent/protocols/http1_parser.h"

#include <algorithm>
#include <vector>

#include "agent/protocols/otlp_export.h"
#include "agent/telemetry/trace_context.h"

namespace zerotap {
namespace {

constexpr size_t kMaxTraceStateBytes = 2048;
constexpr size_t kMaxOverflow = 65536;
constexpr size_t kMaxPendingBytes = 1024 * 1024;
constexpr size_t kCheckedPrefix = 128;

constexpr char kOverflowHead = 1;
constexpr char kOverflowConnect = 2;

DropReason ReasonOf(const Gap& gap) {
  return gap.lost ? DropReason::kRingFull : DropReason::kCaptureGap;
}

// While a start line is not whole, its first bytes tell early whether it can become one. The prefix
// that is looked at does not depend on how the bytes were cut.
template <typename Match>
bool IsImplausible(const HeadAssembler& head, size_t fed, Match match) {
  if (head.has_first_line() || head.text().size() - fed >= kCheckedPrefix) return false;
  return match(head.text().substr(0, kCheckedPrefix)) == LineMatch::kNo;
}

// Wanted header fields of the message at hand. One set for all connections of a thread: nothing in
// it outlives the call that fills it, and no call comes within another.
struct Scratch {
  std::vector<HeaderField> captured;
  std::vector<HeaderField> request_headers;
  std::vector<HeaderField> response_headers;
};
Scratch& ScratchOfThread() {
  static thread_local Scratch scratch;
  return scratch;
}

}  // namespace

Http1Parser::Http1Parser(Role role, bool from_first_byte, const ParserOptions& options,
                         ExchangeSink& sink)
    : options_(options), sink_(sink), role_(role) {
  synced_ = from_first_byte;
  verified_ = from_first_byte;
  request_.exact = from_first_byte;
  response_.exact = from_first_byte;
}

// ---- Input ----------------------------------------------------------------------------------

ParseStatus Http1Parser::OnData(Direction direction, const Chunk& chunk) {
  if (status_ != ParseStatus::kOk || chunk.bytes.empty()) return status_;
  const bool is_request = direction == RequestDirection(role_);
  const Spoke speaker = is_request ? Spoke::kRequest : Spoke::kResponse;
  Stream& stream = is_request ? request_ : response_;
  if (spoke_last_ != speaker && spoke_last_ != Spoke::kNobody) {
    // The direction flipped: a message may begin here.
    if (is_request) {
      fresh_ = true;
      if (stream.stage != Stage::kBody) EndHiddenResponse();
    }
    bool amid_head = stream.stage == Stage::kHead && stream.head->has_first_line();
    if (!stream.exact && !amid_head) {
      stream.head.Release();
      stream.stage = Stage::kStart;
    }
  }
  spoke_last_ = speaker;
  Step step = is_request ? ReadRequests(AsText(chunk.bytes), chunk)
                         : ReadResponses(AsText(chunk.bytes), chunk);
  stream.last_ns = chunk.end_ns;
  return step == Step::kOk ? ParseStatus::kOk : Stop(step);
}

ParseStatus Http1Parser::OnGap(Direction direction, const Gap& gap) {
  if (status_ != ParseStatus::kOk || gap.length == 0) return status_;
  const bool is_request = direction == RequestDirection(role_);
  if (!gap.lost) {
    // It is reported where it happened; a lost one is only noticed later.
    if (is_request && spoke_last_ == Spoke::kResponse && request_.stage != Stage::kBody) {
      EndHiddenResponse();
    }
    spoke_last_ = is_request ? Spoke::kRequest : Spoke::kResponse;
    if (is_request) fresh_ = false;
  }
  if (is_request) {
    OnRequestGap(gap);
  } else {
    OnResponseGap(gap);
  }
  if (!gap.lost) (is_request ? request_ : response_).last_ns = gap.end_ns;
  return status_;
}

void Http1Parser::OnEnd(Direction direction, EndReason reason, uint64_t time_ns) {
  if (status_ != ParseStatus::kOk) return;
  // A client may close its half and still wait for the response.
  if (direction == RequestDirection(role_) && reason == EndReason::kFin) return;
  EndAll(reason, time_ns);
}

void Http1Parser::OnClose(EndReason reason, uint64_t time_ns) {
  if (status_ == ParseStatus::kOk) EndAll(reason, time_ns);
}

void Http1Parser::Abandon(DropReason reason) { DropAll(reason); }

// A new one would take the first request for one that finds nothing outstanding.
bool Http1Parser::StartAnew(DropReason reason) {
  if (!pipelined_ || status_ != ParseStatus::kOk) return false;
  MissRequests(reason, 0);
  MissResponses(reason);
  paired_ = false;
  spoke_last_ = Spoke::kNobody;
  fresh_ = true;
  return true;
}

size_t Http1Parser::MemorySize() const {
  return sizeof(*this) + request_.head.MemorySize() + response_.head.MemorySize() +
         pending_.MemorySize() + (overflow_ ? overflow_->capacity() : 0);
}

// ---- Requests -------------------------------------------------------------------------------

Http1Parser::Step Http1Parser::ReadRequests(std::string_view bytes, const Chunk& chunk) {
  const char* const begin = bytes.data();
  Stream& in = request_;
  while (!bytes.empty()) {
    if (in.stage == Stage::kStart) {
      // Empty lines before a request are ignored (RFC 9112 section 2.2).
      size_t start = bytes.find_first_not_of("\r\n");
      if (start == std::string_view::npos) return Step::kOk;
      bytes.remove_prefix(start);
      in.first_ns = chunk.start_ns;
      in.first_offset = chunk.offset + static_cast<uint64_t>(bytes.data() - begin);
      head_fresh_ = fresh_;
      fresh_ = false;
      RequestHead head;
      HeadResult result = ParseRequestHead(bytes.substr(0, options_.max_head_bytes),
                                           {options_.request_headers, ScratchOfThread().captured}, head);
      if (result == HeadResult::kInvalid) return RefuseRequest();
      if (result == HeadResult::kComplete) {
        Step step = OnRequestHead(head, bytes.substr(0, head.size), chunk);
        if (step != Step::kOk) return step;
        bytes.remove_prefix(head.size);
        continue;
      }
      in.head.Start(options_.max_head_bytes);
      in.stage = Stage::kHead;
    }
    fresh_ = false;
    if (in.stage == Stage::kSearch) return Step::kOk;
    if (in.stage == Stage::kBody) {
      bytes.remove_prefix(in.body.Consume(bytes));
      if (in.body.invalid()) return Step::kInvalid;
      if (in.body.done()) FinishRequestBody();
      continue;
    }
    const bool had_first_line = in.head->has_first_line();
    size_t fed = in.head->Feed(bytes);
    bytes.remove_prefix(fed);
    RequestHead head;
    if (in.head->too_long() || IsImplausible(in.head.assembler(), fed, MatchRequestLine)) return RefuseRequest();
    if (!had_first_line && in.head->has_first_line() &&
        !ParseRequestLine(in.head->first_line(), head)) {
      return RefuseRequest();
    }
    if (!in.head->done()) return Step::kOk;
    if (ParseRequestHead(in.head->text(), {options_.request_headers, ScratchOfThread().captured}, head) !=
        HeadResult::kComplete) {
      return RefuseRequest();
    }
    Step step = OnRequestHead(head, in.head->text(), chunk);
    in.head.Release();
    if (step != Step::kOk) return step;
  }
  return Step::kOk;
}

Http1Parser::Step Http1Parser::OnRequestHead(const RequestHead& head, std::string_view text,
                                             const Chunk& chunk) {
  // Where a message may begin, the rest of a cut method or of a body may stand before one as well.
  if (!request_.exact && !IsUnmistakableMethod(head.method)) return RefuseRequest();
  EndHiddenResponse();
  const FramingFields& framing = head.framing;
  // RFC 9112 section 6.3: the server cannot know where such a request ends.
  const bool invalid = framing.has_coding ? !framing.chunked_last : framing.length_invalid;
  const bool answered_already = orphan_ns_ != 0 && request_.first_ns < orphan_ns_;
  const bool may_pair = !invalid && !answered_already && MayPair(head_fresh_);
  asked_ = true;
  orphan_answers_gap_ = false;

  WorkId work = ReportRequest(head, text, chunk);
  body_owner_ = 0;
  if (invalid) {
    sink_.DropRequest(work, DropReason::kInvalid);
    return Step::kInvalid;
  }
  if (answered_already) {
    sink_.DropRequest(work, DropReason::kCaptureGap);
    fresh_ = true;  // its response came before it
  } else if (!may_pair) {
    sink_.DropRequest(work, loss_reason_);
  } else {
    Enqueue(work, head, chunk);
  }

  request_.exact = true;
  if (framing.has_coding) {
    request_.body.StartChunked();
  } else {
    request_.body.StartLength(framing.has_length ? framing.length : 0);
  }
  request_.stage = Stage::kBody;
  if (request_.body.done()) FinishRequestBody();
  return Step::kOk;
}

WorkId Http1Parser::ReportRequest(const RequestHead& head, std::string_view text,
                                  const Chunk& chunk) {
  RequestStart start;
  start.start_ns = request_.first_ns;
  start.request_offset = request_.first_offset;
  start.tgid = chunk.tgid;
  start.tid = chunk.tid;
  start.blocking = chunk.blocking;
  start.context_id = chunk.context_id;
  start.parent_context_id = chunk.parent_context_id;
  start.otlp_export = OtlpExportOf(head.method, head.target, head.content_type);
  std::string joined;
  // More than one traceparent is none (W3C Trace Context section 3.2).
  if (head.traceparent_count == 1) start.trace_context = ParseTraceparent(head.traceparent);
  if (start.trace_context && head.tracestate_count > 0) {
    start.trace_state = head.tracestate;
    if (head.tracestate_count > 1) {
      joined = JoinFieldValues(text, "tracestate", kMaxTraceStateBytes);
      start.trace_state = joined;
    }
    if (start.trace_state.size() > kMaxTraceStateBytes ||
        start.trace_state.find('\n') != std::string_view::npos) {
      start.trace_state = {};
    }
  }
  return sink_.BeginRequest(start);
}

void Http1Parser::Enqueue(WorkId work, const RequestHead& head, const Chunk& chunk) {
  if (HasOverflow() || pending_.size() >= options_.max_requests_in_flight ||
      pending_bytes_ >= kMaxPendingBytes) {
    sink_.DropRequest(work, DropReason::kParserLimit);
    if (!overflow_) overflow_ = std::make_unique<std::string>();
    if (overflow_->size() >= kMaxOverflow) {
      pipelined_ = true;
      LosePairing(DropReason::kParserLimit, 0);
    } else {
      overflow_->push_back(static_cast<char>((head.method == "HEAD" ? kOverflowHead : 0) |
                                             (head.method == "CONNECT" ? kOverflowConnect : 0)));
    }
    return;
  }
  PendingRequest& request = pending_.Push();
  request.work = work;
  request.start_ns = request_.first_ns;
  request.request_offset = request_.first_offset;
  request.tgid = chunk.tgid;
  request.tid = chunk.tid;
  request.Store(head, ScratchOfThread().captured, options_.max_target_bytes);
  pending_bytes_ += request.fields.text_bytes();
  body_owner_ = work;
}

void Http1Parser::FinishRequestBody() {
  if (body_owner_ != 0 && !pending_.empty() && pending_.back().work == body_owner_) {
    pending_.back().body_size = request_.body.size();
  }
  body_owner_ = 0;
  request_.stage = Stage::kStart;
}

Http1Parser::Step Http1Parser::RefuseRequest() {
  request_.head.Release();
  if (request_.exact) return Step::kInvalid;
  request_.stage = Stage::kSearch;
  return Step::kOk;
}

// ---- Responses ------------------------------------------------------------------------------

Http1Parser::Step Http1Parser::ReadResponses(std::string_view bytes, const Chunk& chunk) {
  const char* const begin = bytes.data();
  Stream& in = response_;
  while (!bytes.empty()) {
    if (in.stage == Stage::kStart) {
      size_t start = bytes.find_first_not_of("\r\n");
      if (start == std::string_view::npos) return Step::kOk;
      bytes.remove_prefix(start);
      in.first_ns = chunk.start_ns;
      in.first_offset = chunk.offset + static_cast<uint64_t>(bytes.data() - begin);
      ResponseHead head;
      HeadResult result = ParseResponseHead(bytes.substr(0, options_.max_head_bytes),
                                            {options_.response_headers, ScratchOfThread().captured}, head);
      if (result == HeadResult::kInvalid) return RefuseResponse();
      if (result == HeadResult::kComplete) {
        Step step = OnResponseHead(head, chunk);
        if (step != Step::kOk) return step;
        bytes.remove_prefix(head.size);
        continue;
      }
      in.head.Start(options_.max_head_bytes);
      in.stage = Stage::kHead;
    }
    if (in.stage == Stage::kSearch) return Step::kOk;
    if (in.stage == Stage::kBody) {
      bytes.remove_prefix(in.body.Consume(bytes));
      if (in.body.invalid()) return RefuseResponse();
      if (in.body.done()) FinishResponse(chunk.end_ns, {}, /*incomplete=*/end_uncertain_);
      continue;
    }
    const bool had_first_line = in.head->has_first_line();
    size_t fed = in.head->Feed(bytes);
    bytes.remove_prefix(fed);
    ResponseHead head;
    if (in.head->too_long() || IsImplausible(in.head.assembler(), fed, MatchStatusLine)) return RefuseResponse();
    if (!had_first_line && in.head->has_first_line() &&
        !ParseStatusLine(in.head->first_line(), head)) {
      return RefuseResponse();
    }
    if (!in.head->done()) return Step::kOk;
    if (ParseResponseHead(in.head->text(), {options_.response_headers, ScratchOfThread().captured}, head) !=
        HeadResult::kComplete) {
      return RefuseResponse();
    }
    Step step = OnResponseHead(head, chunk);
    in.head.Release();
    if (step != Step::kOk) return step;
  }
  return Step::kOk;
}

Http1Parser::Step Http1Parser::OnResponseHead(const ResponseHead& head, const Chunk& chunk) {
  // Interim responses (RFC 9110 section 15.2); the final one follows.
  if (head.status < 200 && head.status != 101) {
    response_.stage = Stage::kStart;
    return Step::kOk;
  }
  if (pending_.size() + OverflowSize() >= 2) {
    if (!verified_) {
      // Several requests at once, and older ones may have passed unseen: which one is answered
      // cannot be told.
      DropAll(DropReason::kCaptureGap);
      LosePairing(DropReason::kCaptureGap, 0);
    }
    pipelined_ = true;
  }
  return pending_.empty() ? OnOrphanResponse(head, chunk) : OnPairedResponse(head, chunk);
}

Http1Parser::Step Http1Parser::OnPairedResponse(const ResponseHead& head, const Chunk& chunk) {
  PendingRequest& request = pending_.front();
  paired_ = true;
  head_cut_ = false;
  asked_ = false;
  end_uncertain_ = false;
  response_.exact = true;
  status_code_ = head.status;
  request.response_fields.Clear();
  request.response_fields.AddHeaders(ScratchOfThread().captured);
  if (head.status == 101 || (request.is_connect && head.status < 300)) {
    response_.body.StartEmpty();
    EmitFront(chunk.end_ns, {}, /*incomplete=*/false);
    return Step::kDone;
  }
  return StartResponseBody(head, request.is_head, chunk);
}

Http1Parser::Step Http1Parser::OnOrphanResponse(const ResponseHead& head, const Chunk& chunk) {
  paired_ = false;
  if (head.status == 101) return Step::kDone;
  if (HasOverflow()) {
    char request = (*overflow_)[overflow_first_++];
    if (OverflowSize() == 0) ClearOverflow();
    response_.exact = true;
    if ((request & kOverflowConnect) != 0 && head.status < 300) return Step::kDone;
    return StartResponseBody(head, (request & kOverflowHead) != 0, chunk);
  }
  // It may answer a HEAD request, so where it ends is not certain.
  response_.exact = false;
  if (synced_) {
    LosePairing(DropReason::kCaptureGap, 0);
  } else if (!asked_) {
    alternations_ = std::max(alternations_, 1u);
  }
  asked_ = false;
  orphan_answers_gap_ = true;
  orphan_ns_ = response_.first_ns;
  return StartResponseBody(head, /*without_body=*/false, chunk);
}

// RFC 9112 section 6.3.
Http1Parser::Step Http1Parser::StartResponseBody(const ResponseHead& head, bool without_body,
                                                 const Chunk& chunk) {
  const FramingFields& framing = head.framing;
  if (without_body || head.status == 204 || head.status == 304) {
    response_.body.StartEmpty();
  } else if (framing.has_coding) {
    if (framing.chunked_last) {
      response_.body.StartChunked();
    } else {
      response_.body.StartUntilEnd();
    }
  } else if (framing.length_invalid) {
    return RefuseResponse();
  } else if (framing.has_length) {
    response_.body.StartLength(framing.length);
  } else {
    response_.body.StartUntilEnd();
  }
  response_.stage = Stage::kBody;
  if (response_.body.done()) FinishResponse(chunk.end_ns, {}, /*incomplete=*/false);
  return Step::kOk;
}

void Http1Parser::FinishResponse(uint64_t end_ns, std::string_view transport_error,
                                 bool incomplete) {
  // The end of one whose framing was lost was recognised by its looks only.
  if (!response_.body.size() || incomplete) response_.exact = false;
  response_.stage = Stage::kStart;
  if (!paired_) return;
  EmitFront(end_ns, transport_error, incomplete);
  paired_since_sync_ = true;
}

Http1Parser::Step Http1Parser::RefuseResponse() {
  response_.head.Release();
  const bool awaited = !pending_.empty();
  if (awaited && response_.exact) return Step::kInvalid;
  if (awaited || HasOverflow()) {
    DropAll(DropReason::kCaptureGap);
    LosePairing(DropReason::kCaptureGap, 1);
  }
  paired_ = false;
  response_.exact = false;
  response_.stage = Stage::kSearch;
  return Step::kOk;
}

// ---- Holes ----------------------------------------------------------------------------------

void Http1Parser::OnRequestGap(const Gap& gap) {
  if (request_.stage == Stage::kBody) {
    uint64_t taken = request_.body.Skip(gap.length);
    if (request_.body.done()) FinishRequestBody();
    if (taken == gap.length && !request_.body.framing_lost()) return;
  } else if (request_.stage == Stage::kHead && request_.head->has_first_line()) {
    RequestStart start;
    start.start_ns = request_.first_ns;
    start.request_offset = request_.first_offset;
    start.tgid = gap.tgid;
    start.tid = gap.tid;
    sink_.DropRequest(sink_.BeginRequest(start), ReasonOf(gap));
  }
  // A request whose response was seen alone is accounted for. Otherwise a response may still be
  // outstanding; if it was lost as well, the next one will not be paired anyway.
  const bool outstanding = gap.lost && !orphan_answers_gap_;
  MissRequests(ReasonOf(gap), outstanding ? 1 : 0);
}

void Http1Parser::OnResponseGap(const Gap& gap) {
  if (response_.stage != Stage::kBody) {
    if (!KeepResponseOfStatusLine(gap)) MissResponses(ReasonOf(gap));
    return;
  }
  const bool was_lost = response_.body.framing_lost();
  uint64_t taken = response_.body.Skip(gap.length);
  const uint64_t end_ns = gap.lost ? response_.last_ns : gap.end_ns;
  if (response_.body.done()) {
    const bool beyond = taken < gap.length;
    FinishResponse(end_ns, {}, gap.lost || beyond);
    if (beyond) MissResponses(ReasonOf(gap));
  } else if (response_.body.framing_lost()) {
    if (paired_ && pending_.size() == 1 && !HasOverflow() && !gap.lost) {
      // The response itself is known and its end may still show. (After a lost gap it may be that
      // of another one.)
      if (!was_lost && !synced_) end_uncertain_ = true;  // or that of a request that was missed
      LosePairing(ReasonOf(gap), 0);
      return;
    }
    if (paired_) FinishResponse(end_ns, {}, /*incomplete=*/true);
    MissResponses(ReasonOf(gap));
  }
}

// A head that is longer than what is captured of a response: its status is known; that it was
// whole shows when the client speaks again.
bool Http1Parser::KeepResponseOfStatusLine(const Gap& gap) {
  if (gap.lost || response_.stage != Stage::kHead || !response_.head->has_first_line()) {
    return false;
  }
  if (pending_.size() != 1 || HasOverflow()) return false;
  ResponseHead head;
  if (!ParseStatusLine(response_.head->first_line(), head) || head.status < 200) return false;
  if (pending_.front().is_connect && head.status < 300) return false;
  response_.head.Release();
  paired_ = true;
  asked_ = false;
  end_uncertain_ = !synced_;
  head_cut_ = true;
  status_code_ = head.status;
  pending_.front().response_fields.Clear();
  response_.body.StartUntilEnd();
  response_.stage = Stage::kBody;
  LosePairing(ReasonOf(gap), 0);
  return true;
}

void Http1Parser::MissRequests(DropReason reason, uint32_t alternations) {
  asked_ = true;
  LosePairing(reason, alternations);
  request_.head.Release();
  request_.exact = false;
  request_.stage = Stage::kStart;
  body_owner_ = 0;
}

void Http1Parser::MissResponses(DropReason reason) {
  const bool several = pending_.size() + OverflowSize() >= 2;
  DropAll(reason);
  LosePairing(reason, several ? 1 : 0);
  response_.head.Release();
  response_.exact = false;
  response_.stage = Stage::kStart;
}

// ---- Pairing --------------------------------------------------------------------------------

bool Http1Parser::MayPair(bool fresh) {
  if (synced_) {
    if (fresh && pending_.empty() && !HasOverflow() && paired_since_sync_) verified_ = true;
    return true;
  }
  if (pipelined_ || HasOverflow()) return false;
  if (!fresh || !pending_.empty()) {
    alternations_ = std::max(alternations_, 1u);
    return false;
  }
  if (alternations_ > 0) {
    --alternations_;
    return false;
  }
  synced_ = true;
  verified_ = false;
  paired_since_sync_ = false;
  if (response_.stage != Stage::kStart || !response_.exact) {
    response_.head.Release();
    response_.exact = false;
    response_.stage = Stage::kSearch;
  }
  paired_ = false;
  return true;
}

void Http1Parser::LosePairing(DropReason reason, uint32_t alternations) {
  synced_ = false;
  loss_reason_ = reason;
  alternations_ = std::max(alternations_, alternations);
}

void Http1Parser::EmitFront(uint64_t end_ns, std::string_view transport_error, bool incomplete) {
  const PendingRequest& request = pending_.front();
  HttpFields http;
  request.Fill(http);
  Scratch& scratch = ScratchOfThread();
  request.fields.ViewHeaders(scratch.request_headers);
  http.request_headers = scratch.request_headers;
  if (paired_) {
    http.status_code = status_code_;
    if (!head_cut_) http.response_body_size = response_.body.size();
    request.response_fields.ViewHeaders(scratch.response_headers);
    http.response_headers = scratch.response_headers;
    http.upgraded = status_code_ == 101 || (request.is_connect && status_code_ < 300);
  }
  Exchange exchange;
  exchange.role = role_;
  exchange.work = request.work;
  exchange.start_ns = request.start_ns;
  exchange.end_ns = std::max(end_ns, request.start_ns);
  exchange.request_offset = request.request_offset;
  exchange.tgid = request.tgid;
  exchange.tid = request.tid;
  exchange.transport_error = transport_error;
  exchange.incomplete = incomplete;
  exchange.http = &http;
  sink_.EndExchange(exchange);
  PopOldest();
}

// A response whose end was not seen is over when its client has something else to say.
void Http1Parser::EndHiddenResponse() {
  if (!paired_ || response_.stage != Stage::kBody) return;
  if (head_cut_ || response_.body.framing_lost()) {
    FinishResponse(response_.last_ns, {}, /*incomplete=*/true);
  }
}

void Http1Parser::EndAll(EndReason reason, uint64_t time_ns) {
  const std::string_view error = reason == EndReason::kReset     ? "connection_reset"
                                 : reason == EndReason::kTimeout ? "timeout"
                                                                 : "connection_closed";
  if (paired_ && !pending_.empty() && response_.stage == Stage::kBody) {
    if (head_cut_) {
      DropOldest(DropReason::kCaptureGap);
    } else if (!response_.body.framing_lost()) {
      bool proper = reason == EndReason::kFin && response_.body.End();
      FinishResponse(time_ns, proper ? std::string_view() : error, /*incomplete=*/false);
    } else {
      FinishResponse(response_.last_ns, {}, /*incomplete=*/true);
    }
  }
  paired_ = false;
  while (!pending_.empty()) EmitFront(time_ns, error, /*incomplete=*/false);
  ClearOverflow();
  response_.head.Release();
  response_.exact = false;
  response_.stage = Stage::kSearch;
}

void Http1Parser::PopOldest() {
  pending_bytes_ -= pending_.front().fields.text_bytes();
  pending_.PopFront();
  paired_ = false;
}

void Http1Parser::DropOldest(DropReason reason) {
  sink_.DropRequest(pending_.front().work, reason);
  PopOldest();
}

void Http1Parser::DropAll(DropReason reason) {
  while (!pending_.empty()) DropOldest(reason);
  ClearOverflow();
}

void Http1Parser::ClearOverflow() {
  overflow_.reset();
  overflow_first_ = 0;
}

ParseStatus Http1Parser::Stop(Step step) {
  DropAll(DropReason::kInvalid);
  status_ = step == Step::kDone ? ParseStatus::kDone : ParseStatus::kInvalid;
  return status_;
}

}  // namespace zerotap
