// Frontend messages that wait for their answers, in order, and the statements they belong to. A
// statement becomes an exchange; the Parse, Bind, Describe and Execute messages that one execution
// needs share one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "agent/protocols/exchange.h"
#include "agent/protocols/postgres_frames.h"
#include "agent/protocols/postgres_sql.h"
#include "agent/protocols/postgres_store.h"

namespace zerotap::postgres {

struct Statement {
  // Where its first message begins, who moved its last one.
  uint64_t start_ns = 0;
  uint64_t offset = 0;
  Mover mover;
  uint64_t number = 0;      // of its first message
  uint32_t text = kNone;    // owned reference
  uint32_t references = 0;  // operations in the queue
  uint32_t generation = 0;
  uint32_t next_free = kNone;

  WorkId work = 0;
  bool begun = false;  // the sink knows it
  bool done = false;   // and it was ended or dropped
  bool has_execute = false;
  bool unproven = false;  // the pairing with answers is not certain: to be dropped
  bool check_tag =
      false;  // the pairing is believed, not known: an answer that does not fit ends it
  bool incomplete = false;
  bool failed = false;     // simple query: an error came
  bool described = false;  // a row description came
  bool has_result = false;  // one of the several of a replication command was completed
  bool rows_exact = true;
  uint64_t rows = 0;  // DataRow messages

  // Simple query: which part of the text is being executed.
  bool in_parts = false;
  bool copy_in = false;  // CopyInResponse or CopyBothResponse came
  StatementSplitter splitter;
  uint64_t text_offset = 0;  // of the query text in the stream
  uint32_t part_begin = 0;
  uint32_t part_size = 0;
  uint32_t parts_past_text = 0;
};

enum class OperationKind : uint8_t {
  kStartup,
  kQuery,
  kFunction,
  kParse,
  kBind,
  kDescribe,
  kExecute,
  kClose,
  kCopyEnd,  // CopyDone or CopyFail: no answer of its own, but Syncs before it get none either
  kSync,
};

// Whether the backend answers it with a ReadyForQuery in the end.
constexpr bool EndsWithReady(OperationKind kind) {
  return kind == OperationKind::kStartup || kind == OperationKind::kQuery ||
         kind == OperationKind::kFunction || kind == OperationKind::kSync;
}

struct Operation {
  OperationKind kind = OperationKind::kSync;
  uint32_t statement = kNone;
  uint32_t name_handle = kNone;  // kParse: what it registered
  uint64_t number = 0;           // of the message
};

class OperationQueue {
 public:
  OperationQueue(TextPool& texts, size_t max_statements)
      : texts_(texts), max_statements_(max_statements), max_operations_(6 * max_statements + 64) {}

  bool empty() const { return head_ == tail_; }
  uint64_t head() const { return head_; }  // sequence number of the first operation
  uint64_t tail() const { return tail_; }  // of the next one to come
  size_t ready_points() const { return ready_points_; }
  const Operation& at(uint64_t sequence) const { return ring_[sequence & (ring_.size() - 1)]; }
  const Operation& front() const { return at(head_); }
  Statement& statement(uint32_t index) { return statements_[index]; }
  bool Alive(uint32_t index, uint32_t generation) const {
    return index < statements_.size() && statements_[index].generation == generation &&
           statements_[index].references > 0;
  }

  bool HasRoom(bool for_new_statement) const {
    return tail_ - head_ < max_operations_ &&
           (!for_new_statement || live_statements_ < max_statements_);
  }
  // A new statement; it lives while operations refer to it. Takes over the reference to `text`.
  uint32_t NewStatement(uint32_t text);
  void Push(const Operation& operation);
  // Statements that nothing refers to any more are freed.
  void Pop();
  // COPY from the client has begun at the front: the backend ignores every Sync up to the end of
  // the data. True: that end is in the queue already.
  bool RemoveSyncsBeforeCopyEnd();

  // Whether the statement of the last operation, its Execute, is sure to get an answer: nothing of
  // another statement in its batch is unanswered.
  bool LastIsCertain() const;

  size_t MemorySize() const {
    return ring_.capacity() * sizeof(Operation) + statements_.capacity() * sizeof(Statement);
  }

 private:
  void Unreference(uint32_t index);

  TextPool& texts_;
  const size_t max_statements_;
  const size_t max_operations_;
  std::vector<Operation> ring_;  // size is a power of two
  uint64_t head_ = 0;
  uint64_t tail_ = 0;
  size_t ready_points_ = 0;
  std::vector<Statement> statements_;
  uint32_t first_free_ = kNone;
  size_t live_statements_ = 0;
  uint64_t batch_begin_ = 0;        // an error before this does not skip what follows it
  uint32_t run_statement_ = kNone;  // since run_begin_ all operations are of this statement
  uint64_t run_begin_ = 0;
};

}  // namespace zerotap::postgres
