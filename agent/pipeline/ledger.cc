#include "agent/pipeline/ledger.h"

namespace zerotap {

std::string_view FilterReasonName(FilterReason reason) {
  switch (reason) {
    case FilterReason::kRules:
      return "rules";
    case FilterReason::kOtlpExport:
      return "otlp_export";
    case FilterReason::kOwnSpans:
      return "own_spans";
    case FilterReason::kCount:
      break;
  }
  return "unknown";
}

uint64_t LedgerCounts::filtered() const {
  uint64_t total = 0;
  for (uint64_t count : filtered_by) total += count;
  return total;
}

void LedgerCounts::Add(const LedgerCounts& other) {
  seen += other.seen;
  emitted += other.emitted;
  sampled_out += other.sampled_out;
  for (size_t i = 0; i < filtered_by.size(); ++i) filtered_by[i] += other.filtered_by[i];
  for (size_t i = 0; i < dropped.size(); ++i) dropped[i] += other.dropped[i];
}

uint64_t LedgerCounts::dropped_total() const {
  uint64_t total = 0;
  for (uint64_t count : dropped) total += count;
  return total;
}

Ledger::Ledger() = default;

Ledger::~Ledger() {
  for (std::atomic<Row*>& chunk : chunks_) delete[] chunk.load(std::memory_order_relaxed);
}

uint32_t Ledger::RowFor(std::string_view service, uint32_t pid, std::string_view protocol,
                        Role role) {
  if (const uint32_t* row = Find(service, pid, protocol, role)) return *row;
  uint32_t rows = count_.load(std::memory_order_relaxed);
  if (rows < kMaxProcessRows) return NewRow(service, pid, protocol, role);
  if (const uint32_t* row = Find(service, 0, protocol, role)) return *row;
  if (rows < kMaxServiceRows) return NewRow(service, 0, protocol, role);
  // So many services: these rows are few, for protocols are.
  if (const uint32_t* row = Find(kOtherServices, 0, protocol, role)) return *row;
  if (rows < kMaxRows) return NewRow(kOtherServices, 0, protocol, role);
  return kMaxRows - 1;
}

const uint32_t* Ledger::Find(std::string_view service, uint32_t pid, std::string_view protocol,
                             Role role) {
  key_.assign(reinterpret_cast<const char*>(&pid), sizeof(pid));
  key_.push_back(static_cast<char>(role));
  key_.append(protocol);
  key_.push_back('\0');
  key_.append(service);
  auto found = index_.find(key_);
  return found == index_.end() ? nullptr : &found->second;
}

// Uses the key that the last Find made.
uint32_t Ledger::NewRow(std::string_view service, uint32_t pid, std::string_view protocol,
                        Role role) {
  uint32_t index = count_.load(std::memory_order_relaxed);
  std::atomic<Row*>& slot = chunks_[index / kChunkRows];
  Row* chunk = slot.load(std::memory_order_relaxed);
  if (chunk == nullptr) {
    chunk = new Row[kChunkRows];
    slot.store(chunk, std::memory_order_release);
  }
  Row& row = chunk[index % kChunkRows];
  row.service = service;
  row.pid = pid;
  row.protocol = protocol;
  row.role = role;
  index_.emplace(key_, index);
  count_.store(index + 1, std::memory_order_release);  // publishes the texts too
  return index;
}

// Outcomes are read before what they came from, so that they never add up to more than was seen.
LedgerCounts Ledger::Read(const Row& row) {
  LedgerCounts counts;
  for (size_t i = 0; i < counts.dropped.size(); ++i) {
    counts.dropped[i] = row.dropped[i].load(std::memory_order_acquire);
  }
  counts.sampled_out = row.sampled_out.load(std::memory_order_acquire);
  for (size_t i = 0; i < counts.filtered_by.size(); ++i) {
    counts.filtered_by[i] = row.filtered_by[i].load(std::memory_order_acquire);
  }
  counts.emitted = row.emitted.load(std::memory_order_acquire);
  counts.seen = row.seen.load(std::memory_order_acquire);
  return counts;
}

std::vector<LedgerRow> Ledger::Snapshot() const {
  uint32_t rows = count_.load(std::memory_order_acquire);
  std::vector<LedgerRow> snapshot;
  snapshot.reserve(rows);
  for (uint32_t i = 0; i < rows; ++i) {
    const Row& row = *At(i);
    snapshot.push_back(LedgerRow{row.service, row.pid, row.protocol, row.role, Read(row)});
  }
  return snapshot;
}

LedgerCounts Ledger::Total() const {
  LedgerCounts total;
  uint32_t rows = count_.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < rows; ++i) total.Add(Read(*At(i)));
  return total;
}

}  // namespace zerotap
