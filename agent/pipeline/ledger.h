// Accounts for every request that was seen, to the unit, by process, protocol and role:
//   seen = emitted + filtered + sampled_out + sum(dropped by reason) + in flight.
// In flight includes spans that wait in an export queue. Written by the pipeline thread (Seen ... ) and by the export
// threads (what became of a queued span), so counts are relaxed atomics; rows are never removed while the agent runs, rows of
// processes that ended are folded into one row per (service, protocol, role) when there are too many.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agent/protocols/exchange.h"

namespace zerotap {

struct LedgerCounts {
  uint64_t seen = 0;
  uint64_t emitted = 0;
  uint64_t filtered = 0;
  uint64_t sampled_out = 0;
  std::array<uint64_t, static_cast<size_t>(DropReason::kCount)> dropped{};

  uint64_t dropped_total() const;
  uint64_t in_flight() const { return seen - emitted - filtered - sampled_out - dropped_total(); }
};

struct LedgerRow {
  std::string service;
  uint32_t pid = 0;  // 0: several that ended
  std::string protocol;
  Role role = Role::kUnknown;
  LedgerCounts counts;
};

class Ledger {
 public:
  Ledger();

  // The row for these; stable for the life of the ledger. Pipeline thread only.
  uint32_t RowFor(std::string_view service, uint32_t pid, std::string_view protocol, Role role);

  void Seen(uint32_t row) { Bump(rows_[row].seen); }
  void Emitted(uint32_t row) { Bump(rows_[row].emitted); }
  void Filtered(uint32_t row) { Bump(rows_[row].filtered); }
  void SampledOut(uint32_t row) { Bump(rows_[row].sampled_out); }
  void Dropped(uint32_t row, DropReason reason) {
    Bump(rows_[row].dropped[static_cast<size_t>(reason)]);
  }

  // Any thread.
  std::vector<LedgerRow> Snapshot() const;
  LedgerCounts Total() const;

 private:
  using Counter = std::atomic<uint64_t>;
  struct Row {
    std::string service;
    uint32_t pid;
    std::string protocol;
    Role role;
    Counter seen{0}, emitted{0}, filtered{0}, sampled_out{0};
    std::array<Counter, static_cast<size_t>(DropReason::kCount)> dropped{};
  };
  static void Bump(Counter& counter) { counter.fetch_add(1, std::memory_order_relaxed); }
  static LedgerCounts Read(const Row& row);

  mutable std::mutex mutex_;  // guards the growth of rows_ against Snapshot
  std::deque<Row> rows_;
  std::unordered_map<std::string, uint32_t> index_;
};

}  // namespace zerotap
