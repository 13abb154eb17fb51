// Accounts for every request that was seen, to the unit, by process, protocol and role:
//   seen = emitted + filtered + sampled_out + sum(dropped by reason) + in flight.
// In flight includes spans that wait in an export queue. Written by the pipeline thread (Seen ... )
// and by the export threads (what became of a queued span), so counts are atomics; rows are never
// removed while the agent runs; when there are too many, further processes are counted in one row
// per (service, protocol, role).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agent/protocols/exchange.h"

namespace zerotap {

// Why a request is left out on purpose. Names appear in the ledger and in metrics.
enum class FilterReason : uint8_t {
  kRules,       // the rules of the configuration leave its process or its connection out
  kOtlpExport,  // it carried telemetry to a receiver
  kOwnSpans,    // its process makes and exports spans of its own
  kCount,
};
std::string_view FilterReasonName(FilterReason reason);  // snake_case, stable

struct LedgerCounts {
  uint64_t seen = 0;
  uint64_t emitted = 0;
  uint64_t sampled_out = 0;
  std::array<uint64_t, static_cast<size_t>(FilterReason::kCount)> filtered_by{};
  std::array<uint64_t, static_cast<size_t>(DropReason::kCount)> dropped{};

  uint64_t filtered() const;
  uint64_t dropped_total() const;
  uint64_t in_flight() const {
    return seen - emitted - filtered() - sampled_out - dropped_total();
  }
  void Add(const LedgerCounts& other);
};

struct LedgerRow {
  std::string service;
  uint32_t pid = 0;  // 0: several processes
  std::string protocol;
  Role role = Role::kUnknown;
  LedgerCounts counts;
};

class Ledger {
 public:
  // Beyond the first, new processes share a row per service (pid 0); beyond the second, new
  // services share a row per protocol and role.
  static constexpr uint32_t kMaxProcessRows = 4096;
  static constexpr uint32_t kMaxServiceRows = 8192;
  static constexpr std::string_view kOtherServices = "(other services)";

  Ledger();
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // The row for these; stable for the life of the ledger. Pipeline thread only.
  uint32_t RowFor(std::string_view service, uint32_t pid, std::string_view protocol, Role role);

  // Any thread that was given the row. A row that never was handed out is ignored.
  void Seen(uint32_t row) { Bump(row, &Row::seen); }
  void Emitted(uint32_t row) { Bump(row, &Row::emitted); }
  void Filtered(uint32_t row, FilterReason reason) {
    Row* target = At(row);
    if (target != nullptr && reason < FilterReason::kCount) {
      target->filtered_by[static_cast<size_t>(reason)].fetch_add(1, std::memory_order_release);
    }
  }
  void SampledOut(uint32_t row) { Bump(row, &Row::sampled_out); }
  void Dropped(uint32_t row, DropReason reason) {
    Row* target = At(row);
    if (target != nullptr && reason < DropReason::kCount) {
      target->dropped[static_cast<size_t>(reason)].fetch_add(1, std::memory_order_release);
    }
  }

  // Requests of which nothing but their number is known.
  void SeenAndDropped(uint32_t row, DropReason reason, uint64_t count) {
    Row* target = At(row);
    if (target == nullptr || reason >= DropReason::kCount) return;
    target->seen.fetch_add(count, std::memory_order_release);
    target->dropped[static_cast<size_t>(reason)].fetch_add(count, std::memory_order_release);
  }

  // Bytes of followed streams that passed without a record. What requests were in them nobody knows, so they stand
  // beside the rows and not in them.
  void Unseen(uint64_t bytes) { unseen_bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  uint64_t unseen_bytes() const { return unseen_bytes_.load(std::memory_order_relaxed); }

  // Any thread.
  std::vector<LedgerRow> Snapshot() const;
  LedgerCounts Total() const;

 private:
  using Counter = std::atomic<uint64_t>;
  struct Row {
    std::string service;
    uint32_t pid = 0;
    std::string protocol;
    Role role = Role::kUnknown;
    Counter seen{0}, emitted{0}, sampled_out{0};
    std::array<Counter, static_cast<size_t>(FilterReason::kCount)> filtered_by{};
    std::array<Counter, static_cast<size_t>(DropReason::kCount)> dropped{};
  };
  // Rows live in chunks that never move, found through atomic pointers: threads count into them
  // while the pipeline thread adds more, without a lock.
  static constexpr uint32_t kChunkRows = 64;
  static constexpr uint32_t kMaxRows = 8256;
  static_assert(kMaxRows % kChunkRows == 0 && kMaxRows > kMaxServiceRows);

  Row* At(uint32_t row) const {
    if (row >= kMaxRows || row >= count_.load(std::memory_order_acquire)) return nullptr;
    return chunks_[row / kChunkRows].load(std::memory_order_acquire) + row % kChunkRows;
  }
  void Bump(uint32_t row, Counter Row::*counter) {
    if (Row* target = At(row)) (target->*counter).fetch_add(1, std::memory_order_release);
  }
  const uint32_t* Find(std::string_view service, uint32_t pid, std::string_view protocol,
                       Role role);
  uint32_t NewRow(std::string_view service, uint32_t pid, std::string_view protocol, Role role);
  static LedgerCounts Read(const Row& row);

  std::array<std::atomic<Row*>, kMaxRows / kChunkRows> chunks_{};
  std::atomic<uint32_t> count_{0};  // rows published
  Counter unseen_bytes_{0};
  std::unordered_map<std::string, uint32_t> index_;  // pipeline thread only, like key_
  std::string key_;
};

}  // namespace zerotap
