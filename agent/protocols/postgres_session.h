// One PostgreSQL connection: pairs what the frontend asks with what the backend answers.
//
// The backend answers in order, and ends each Sync, Query and FunctionCall with one ReadyForQuery.
// Frontend messages wait in a queue; each answer belongs to the message at its front. An error in
// the extended protocol skips everything up to the next Sync. When messages were not captured, the
// pairing stops (kSkipping) until a ReadyForQuery is followed by a frontend message, and is then
// believed rather than known until the backend falls silent once more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/protocols/postgres_frames.h"
#include "agent/protocols/postgres_messages.h"
#include "agent/protocols/postgres_pipeline.h"
#include "agent/protocols/postgres_store.h"
#include "agent/protocols/protocol.h"

namespace zerotap::postgres {

class Session final : public Parser {
 public:
  Session(Role role, bool from_first_byte, const ParserOptions& options, ExchangeSink& sink);

  ParseStatus OnData(Direction direction, const Chunk& chunk) override;
  ParseStatus OnGap(Direction direction, const Gap& gap) override;
  void OnEnd(Direction direction, EndReason reason, uint64_t time_ns) override;
  void OnClose(EndReason reason, uint64_t time_ns) override;
  void Abandon(DropReason reason) override;
  size_t MemorySize() const override;

 private:
  enum class Pairing : uint8_t {
    kKnown,
    kBelieved,   // nothing was seen to be outstanding when it began; exchanges count
    kProbation,  // as above after lost bytes; exchanges are dropped
    kSkipping,   // answers beyond the queue belong to messages that were not seen
  };

  // postgres_frontend.cc
  ParseStatus OnFrontendData(const Chunk& chunk);
  void OnFrontendFrameBegins();
  void CheckFirstBatch(const Frame& frame);
  ParseStatus OnFrontendFrame(const Frame& frame);
  ParseStatus OnStartup(const Frame& frame);
  void OnQuery(const Frame& frame);
  void OnParse(const Frame& frame);
  void OnBind(const Frame& frame);
  void OnDescribe(const Frame& frame);
  void OnExecute(const Frame& frame);
  void OnCloseMessage(const Frame& frame);
  void OnFunctionCall(const Frame& frame);
  void OnSync(const Frame& frame);
  void OnFrontendHidden(uint64_t offset, uint64_t start_ns, bool lost);
  uint32_t OpenStatement(const Frame& frame, uint32_t text);
  uint32_t JoinStatement(const Frame& frame, NamedEntry* entry, bool take);
  // False: there is no room.
  bool Push(OperationKind kind, uint32_t statement, uint32_t name_handle = kNone);
  bool EnsureRoom(bool for_new_statement);
  bool NameHidden(const Frame& frame, bool readable);
  uint32_t AddText(std::string_view text, bool truncated);

  // postgres_backend.cc
  ParseStatus OnBackendData(const Chunk& chunk);
  void CountRows(char type, uint64_t count);
  ParseStatus OnSecurityReply(Cursor& cursor);
  void OnBackendFrame(const Frame& frame);
  void OnUnpairedFrame(const Frame& frame);
  void OnQueryAnswer(const Frame& frame);
  void OnFunctionAnswer(const Frame& frame);
  void OnExecuteAnswer(const Frame& frame);
  void OnBatchError(const Frame& frame);
  void OnParameterStatus(const Frame& frame);
  void OnReady(char status);
  void OnReadyBehindHole(const Tail& tail, const Mover& mover);
  void ResolveHiddenQuery(const Tail& tail, const Mover& mover);
  void ResolveHiddenBatch(uint64_t sync, const Tail& tail, const Mover& mover);
  void Unexpected(const Frame& frame);
  void BeginCopyIn();
  void CutTag(Statement& statement);
  void PopFront();
  void BeginFrontIfItsTurn();
  bool NextPart(Statement& statement, bool force);

  // postgres_session.cc
  void Begin(Statement& statement);
  void EndWithTag(Statement& statement, std::string_view tag, const Mover& mover);
  void EndWithError(Statement& statement, const ErrorFields& fields, bool cut, const Mover& mover);
  void EndWithTransportError(Statement& statement, EndReason reason, uint64_t time_ns);
  void End(Statement& statement, const DatabaseFields& fields, const Mover& mover,
           std::string_view transport_error);
  void Hold(const Exchange& exchange, const DatabaseFields& fields);
  void ReleaseHeld();
  void DropHeld(DropReason reason);
  size_t HeldSize() const;
  void Drop(Statement& statement, DropReason reason);
  void DropAll(DropReason reason);
  void FillFields(const Statement& statement, DatabaseFields& fields) const;
  std::string_view TextOf(const Statement& statement) const;
  bool IsTruncated(const Statement& statement) const;
  void ForgetPrepared(const CommandTag& tag, std::string_view text, uint64_t number);
  void BeforeTag(const CommandTag& tag);
  void AfterTag(const CommandTag& tag, std::string_view text);
  void StartSkipping(bool strict);
  void CountHidden(DropReason reason, uint64_t offset, uint64_t start_ns);
  void FinishAll(EndReason reason, uint64_t time_ns);
  ParseStatus Invalid();
  bool HasHoles() const { return frontend_.ever_lost() || backend_.ever_lost(); }

  const Role role_;
  const ParserOptions& options_;
  ExchangeSink& sink_;
  FrameReader frontend_;
  FrameReader backend_;
  TextPool texts_;
  NameTable statements_;
  NameTable portals_;
  OperationQueue queue_;

  std::string database_;
  std::string user_;
  std::string application_name_;
  bool standard_strings_ = true;

  ParseStatus status_ = ParseStatus::kOk;
  bool ended_ = false;
  bool security_reply_pending_ = false;  // one byte answers SSLRequest or GSSENCRequest
  bool backend_seen_ = false;
  bool answers_lost_ =
      false;  // the backend's framing was lost to lost bytes: requests may be lost as well
  uint32_t bad_frames_ = 0;  // since the pairing was known

  Pairing pairing_ = Pairing::kKnown;
  bool silent_ =
      false;  // not kKnown: the last answer was a ReadyForQuery and nothing is outstanding
  bool strict_ = false;       // kSkipping: go on with kProbation
  bool frame_counts_ = true;  // the frontend frame under way began outside kSkipping
  bool frame_lost_bytes_ = false;
  // kSkipping: answers beyond the queue are requests that were hidden by a gap or the limit, and
  // are accounted for.
  bool count_hidden_ = false;
  DropReason hidden_reason_ = DropReason::kCaptureGap;
  uint64_t hidden_offset_ = 0;
  uint64_t hidden_start_ns_ = 0;
  bool copy_hidden_ = false;  // kSkipping only since a gap hides COPY data
  bool exact_skip_ = false;   // every skipped Sync is counted, so the end of the skipping is known
  uint64_t skipped_ready_points_ = 0;

  uint64_t message_number_ = 0;
  uint64_t segment_ = 1;       // messages between two Flush or Sync
  bool batch_failed_ = false;  // the backend skips up to a Sync that was not sent yet
  bool copy_in_ = false;       // the backend reads COPY data

  // Joined in the middle, and the backend was not seen to fall silent: the batch that was seen first
  // may be the rest of one that went out in pieces. Answers to those before are too many for what was
  // seen, which shows at the ReadyForQuery at the latest: until then nothing of it is told. An error
  // hides how many answers there are.
  bool first_batch_ = false;
  struct HeldEnd {
    Exchange exchange;
    DatabaseFields fields;
    std::string query_text;
    std::string command_tag;
  };
  std::unique_ptr<std::vector<HeldEnd>> held_;  // null: no such batch is under way

  bool in_block_ = false;
  bool block_unsure_ = false;  // it may be another one
  uint64_t block_ = 0;
};

// The detection half, postgres_detect.cc.
DetectResult Detect(const DetectInput& input);

}  // namespace zerotap::postgres
