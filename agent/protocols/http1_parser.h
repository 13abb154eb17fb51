// The state of one HTTP/1.x connection: two streams of messages and the requests that wait for
// their responses.
//
// Responses come in the order of their requests, so pairing is counting, and it must never be off
// by one. While nothing was missed (`synced_`), the n-th final response belongs to the n-th
// request. A hole that may hide a response drops every request in flight; a hole that may hide a
// request leaves those before it and drops those after it. Then requests are dropped until one
// arrives when nothing can be outstanding: the response direction spoke last and no request was
// left. That proves it only for a client which does not pipeline; with one that was seen
// pipelining, pairing is not taken up again.
// A response without a request is stepped over. When a request that is reported later had started
// before it, it was the answer to that one, which is dropped then.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "agent/protocols/http1_body.h"
#include "agent/protocols/http1_head.h"
#include "agent/protocols/http1_pending.h"
#include "agent/protocols/protocol.h"

namespace zerotap {

class Http1Parser final : public Parser {
 public:
  Http1Parser(Role role, bool from_first_byte, const ParserOptions& options, ExchangeSink& sink);

  ParseStatus OnData(Direction direction, const Chunk& chunk) override;
  ParseStatus OnGap(Direction direction, const Gap& gap) override;
  void OnEnd(Direction direction, EndReason reason, uint64_t time_ns) override;
  void OnClose(EndReason reason, uint64_t time_ns) override;
  void Abandon(DropReason reason) override;
  bool StartAnew(DropReason reason) override;
  size_t MemorySize() const override;

 private:
  enum class Stage : uint8_t {
    kStart,  // at the beginning of a message, or where one may begin
    kHead,   // inside a head that came in pieces
    kBody,
    kSearch,  // somewhere unknown; nothing is read until a message may begin again
  };
  // One direction.
  struct Stream {
    HeadPieces head;
    BodyFramer body;
    uint64_t first_ns = 0;  // of the message
    uint64_t first_offset = 0;
    uint64_t last_ns = 0;  // of the last byte that was seen
    Stage stage = Stage::kStart;
    // Whether the position of the message start follows from framing. If not, what does not look
    // like a message is skipped instead of being an error.
    bool exact = true;
  };
  // What became of a head or body.
  enum class Step : uint8_t { kOk, kInvalid, kDone };

  Step ReadRequests(std::string_view bytes, const Chunk& chunk);
  Step ReadResponses(std::string_view bytes, const Chunk& chunk);
  Step OnRequestHead(const RequestHead& head, std::string_view text, const Chunk& chunk);
  Step OnResponseHead(const ResponseHead& head, const Chunk& chunk);
  Step OnPairedResponse(const ResponseHead& head, const Chunk& chunk);
  Step OnOrphanResponse(const ResponseHead& head, const Chunk& chunk);
  Step StartResponseBody(const ResponseHead& head, bool without_body, const Chunk& chunk);

  void OnRequestGap(const Gap& gap);
  void OnResponseGap(const Gap& gap);
  bool KeepResponseOfStatusLine(const Gap& gap);
  void MissRequests(DropReason reason, uint32_t alternations);
  void MissResponses(DropReason reason);

  // Whether the request that just came may be paired: no response to an older one can still be
  // outstanding that is not accounted for. `fresh`: the response direction spoke last before it.
  bool MayPair(bool fresh);
  void LosePairing(DropReason reason, uint32_t alternations);
  WorkId ReportRequest(const RequestHead& head, std::string_view text, const Chunk& chunk);
  void Enqueue(WorkId work, const RequestHead& head, const Chunk& chunk);
  void FinishRequestBody();
  void FinishResponse(uint64_t end_ns, std::string_view transport_error, bool incomplete);
  void EndHiddenResponse();
  // Reports the oldest request with what is known of its response.
  void EmitFront(uint64_t end_ns, std::string_view transport_error, bool incomplete);
  void EndAll(EndReason reason, uint64_t time_ns);
  void DropAll(DropReason reason);
  ParseStatus Stop(Step step);
  bool HasOverflow() const { return overflow_ != nullptr; }
  size_t OverflowSize() const { return HasOverflow() ? overflow_->size() - overflow_first_ : 0; }
  void ClearOverflow();
  void DropOldest(DropReason reason);
  void PopOldest();
  Step RefuseRequest();
  Step RefuseResponse();

  // In the order of their sizes: there may be very many parsers.
  const ParserOptions& options_;
  ExchangeSink& sink_;

  Stream request_;
  Stream response_;
  PendingQueue pending_;
  // Requests above the limit, dropped but to be answered after those in `pending_`: what decides
  // about the framing of their responses, one byte each. Null: there are none.
  std::unique_ptr<std::string> overflow_;
  size_t pending_bytes_ = 0;  // text held by pending_
  WorkId body_owner_ = 0;     // whose body the request stream is in
  uint64_t orphan_ns_ = 0;    // when the last response without a request started
  uint32_t overflow_first_ = 0;
  uint32_t alternations_ = 0;  // requests to pass over before pairing is taken up again

  // The response that is being read.
  uint16_t status_code_ = 0;
  bool paired_ = false;         // belongs to pending_.front(); else nobody waits for it
  bool head_cut_ = false;       // of its head only the status line is known
  bool end_uncertain_ = false;  // its framing was lost, and so was perhaps another one's beginning

  // Pairing; see the top of this file.
  bool synced_ = false;
  bool verified_ = false;  // nothing was missed so far, or pairing has proven itself since
  bool paired_since_sync_ = false;
  bool pipelined_ = false;           // this client sends requests before the previous response
  bool asked_ = true;                // a request came since the last final response started
  bool orphan_answers_gap_ = false;  // no request came since a response without one
  DropReason loss_reason_ = DropReason::kCaptureGap;

  enum class Spoke : uint8_t { kNobody, kRequest, kResponse };
  Spoke spoke_last_ = Spoke::kNobody;
  bool fresh_ = true;       // the response direction spoke since the last byte of a request
  bool head_fresh_ = true;  // it did so before the request head being read

  const Role role_;
  ParseStatus status_ = ParseStatus::kOk;
};

}  // namespace zerotap
