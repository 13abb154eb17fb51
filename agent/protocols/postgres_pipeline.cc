#include "agent/protocols/postgres_pipeline.h"

#include <algorithm>
#include <utility>

namespace zerotap::postgres {

uint32_t OperationQueue::NewStatement(uint32_t text) {
  uint32_t index = first_free_;
  uint32_t generation = 0;
  if (index == kNone) {
    index = static_cast<uint32_t>(statements_.size());
    statements_.emplace_back();
  } else {
    first_free_ = statements_[index].next_free;
    generation = statements_[index].generation;
  }
  statements_[index] = Statement();
  statements_[index].generation = generation + 1;
  statements_[index].text = text;
  ++live_statements_;
  return index;
}

void OperationQueue::Push(const Operation& operation) {
  if (tail_ - head_ == ring_.size()) {
    std::vector<Operation> larger(std::max<size_t>(16, ring_.size() * 2));
    for (uint64_t sequence = head_; sequence != tail_; ++sequence) {
      larger[sequence & (larger.size() - 1)] = at(sequence);
    }
    ring_ = std::move(larger);
  }
  const uint64_t sequence = tail_++;
  ring_[sequence & (ring_.size() - 1)] = operation;
  if (operation.statement != kNone) {
    ++statements_[operation.statement].references;
    if (operation.statement != run_statement_) {
      run_statement_ = operation.statement;
      run_begin_ = sequence;
    }
  }
  if (!EndsWithReady(operation.kind)) return;
  ++ready_points_;
  // A simple query inside an unfinished batch is skipped with it.
  bool alone = std::max(head_, batch_begin_) == sequence;
  if (operation.kind == OperationKind::kSync || alone) {
    batch_begin_ = tail_;
    run_statement_ = kNone;
  }
}

bool OperationQueue::LastIsCertain() const {
  const Operation& last = at(tail_ - 1);
  if (EndsWithReady(last.kind)) return batch_begin_ == tail_;
  return last.statement == run_statement_ && run_begin_ <= std::max(head_, batch_begin_);
}

void OperationQueue::Pop() {
  const Operation& operation = front();
  if (EndsWithReady(operation.kind)) --ready_points_;
  uint32_t statement = operation.statement;
  ++head_;
  if (statement != kNone) Unreference(statement);
}

bool OperationQueue::RemoveSyncsBeforeCopyEnd() {
  uint64_t kept = head_ + 1;
  bool copy_ended = false;
  for (uint64_t sequence = kept; sequence != tail_; ++sequence) {
    Operation operation = at(sequence);
    copy_ended = copy_ended || operation.kind == OperationKind::kCopyEnd;
    if (!copy_ended && operation.kind == OperationKind::kSync) {
      --ready_points_;
    } else {
      ring_[kept++ & (ring_.size() - 1)] = operation;
    }
  }
  if (kept != tail_) {
    // Batches have merged: nothing but what is at the front is certain.
    tail_ = kept;
    batch_begin_ = head_;
    run_statement_ = kNone;
  }
  return copy_ended;
}

void OperationQueue::Unreference(uint32_t index) {
  Statement& statement = statements_[index];
  if (--statement.references > 0) return;
  texts_.Release(statement.text);
  statement.text = kNone;
  ++statement.generation;
  statement.next_free = first_free_;
  first_free_ = index;
  --live_statements_;
}

}  // namespace zerotap::postgres
