#include "agent/pipeline/ledger.h"

#include <gtest/gtest.h>

#include <thread>

namespace zerotap {
namespace {

TEST(Ledger, ARowPerServiceProcessProtocolAndRole) {
  Ledger ledger;
  uint32_t row = ledger.RowFor("shop", 7, "http", Role::kServer);
  EXPECT_EQ(ledger.RowFor("shop", 7, "http", Role::kServer), row);
  EXPECT_NE(ledger.RowFor("shop", 8, "http", Role::kServer), row);
  EXPECT_NE(ledger.RowFor("shop", 7, "http", Role::kClient), row);
  EXPECT_NE(ledger.RowFor("shop", 7, "postgresql", Role::kServer), row);
  EXPECT_NE(ledger.RowFor("cart", 7, "http", Role::kServer), row);
  std::vector<LedgerRow> rows = ledger.Snapshot();
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(rows[0].service, "shop");
  EXPECT_EQ(rows[0].pid, 7u);
  EXPECT_EQ(rows[0].protocol, "http");
  EXPECT_EQ(rows[0].role, Role::kServer);
}

TEST(Ledger, EveryRequestIsInExactlyOnePlace) {
  Ledger ledger;
  uint32_t row = ledger.RowFor("shop", 7, "http", Role::kServer);
  for (int i = 0; i < 10; ++i) ledger.Seen(row);
  for (int i = 0; i < 4; ++i) ledger.Emitted(row);
  ledger.Filtered(row, FilterReason::kOwnSpans);
  ledger.SampledOut(row);
  ledger.SampledOut(row);
  ledger.Dropped(row, DropReason::kCaptureGap);
  ledger.Dropped(row, DropReason::kHeldLimit);
  LedgerCounts counts = ledger.Snapshot()[0].counts;
  EXPECT_EQ(counts.seen, 10u);
  EXPECT_EQ(counts.emitted, 4u);
  EXPECT_EQ(counts.filtered(), 1u);
  EXPECT_EQ(counts.filtered_by[static_cast<size_t>(FilterReason::kOwnSpans)], 1u);
  EXPECT_EQ(counts.sampled_out, 2u);
  EXPECT_EQ(counts.dropped[static_cast<size_t>(DropReason::kCaptureGap)], 1u);
  EXPECT_EQ(counts.dropped_total(), 2u);
  EXPECT_EQ(counts.in_flight(), 1u);
}

TEST(Ledger, TotalAddsAllRows) {
  Ledger ledger;
  for (uint32_t pid = 1; pid <= 200; ++pid) {
    uint32_t row = ledger.RowFor("shop", pid, "http", Role::kServer);
    ledger.Seen(row);
    ledger.Seen(row);
    ledger.Emitted(row);
    ledger.Dropped(row, DropReason::kInvalid);
  }
  LedgerCounts total = ledger.Total();
  EXPECT_EQ(total.seen, 400u);
  EXPECT_EQ(total.emitted, 200u);
  EXPECT_EQ(total.dropped[static_cast<size_t>(DropReason::kInvalid)], 200u);
  EXPECT_EQ(total.in_flight(), 0u);
}

TEST(Ledger, RowsThatWereNeverHandedOutAreIgnored) {
  Ledger ledger;
  uint32_t row = ledger.RowFor("shop", 7, "http", Role::kServer);
  ledger.Seen(row + 1);
  ledger.Emitted(UINT32_MAX);
  ledger.Dropped(100000, DropReason::kInvalid);
  ledger.Dropped(row, DropReason::kCount);
  EXPECT_EQ(ledger.Total().seen, 0u);
  uint32_t next = ledger.RowFor("cart", 8, "http", Role::kServer);
  EXPECT_EQ(next, row + 1);
  EXPECT_EQ(ledger.Snapshot()[next].counts.seen, 0u);
}

TEST(Ledger, ManyProcessesShareARowPerService) {
  Ledger ledger;
  for (uint32_t pid = 1; pid <= 3 * Ledger::kMaxProcessRows; ++pid) {
    ledger.Seen(ledger.RowFor(pid % 2 == 0 ? "even" : "odd", pid, "http", Role::kServer));
  }
  std::vector<LedgerRow> rows = ledger.Snapshot();
  EXPECT_EQ(rows.size(), Ledger::kMaxProcessRows + 2u);
  uint32_t shared = ledger.RowFor("even", 999999, "http", Role::kServer);
  EXPECT_EQ(rows[shared].pid, 0u);
  EXPECT_EQ(rows[shared].service, "even");
  EXPECT_EQ(rows[shared].counts.seen, uint64_t{Ledger::kMaxProcessRows});
  EXPECT_EQ(rows[ledger.RowFor("odd", 1, "http", Role::kServer)].pid, 1u) << "older rows stay";
  EXPECT_EQ(ledger.Total().seen, 3u * Ledger::kMaxProcessRows);
}

TEST(Ledger, ManyServicesStayBoundedAndCounted) {
  Ledger ledger;
  constexpr uint32_t kServices = 20000;
  for (uint32_t i = 0; i < kServices; ++i) {
    ledger.Seen(ledger.RowFor("service-" + std::to_string(i), i + 1, i % 2 == 0 ? "http" : "postgresql",
                              Role::kClient));
  }
  EXPECT_EQ(ledger.Snapshot().size(), Ledger::kMaxServiceRows + 2u);
  EXPECT_EQ(ledger.Total().seen, uint64_t{kServices});
  EXPECT_EQ(ledger.Snapshot().back().service, Ledger::kOtherServices);
}

TEST(Ledger, ThreadsCountWhileRowsAreAdded) {
  Ledger ledger;
  constexpr uint32_t kRows = 2000;
  std::atomic<uint32_t> published{0};  // stands for the queue that hands spans to the export thread
  std::atomic<bool> stop{false};

  std::thread exporter([&] {
    for (uint32_t next = 0; next < kRows;) {
      uint32_t end = published.load(std::memory_order_acquire);
      for (; next < end; ++next) {
        ledger.Emitted(next);
        ledger.Dropped(next, DropReason::kExportFailed);
      }
      std::this_thread::yield();
    }
  });
  std::thread reader([&] {
    while (!stop.load()) {
      for (const LedgerRow& row : ledger.Snapshot()) {
        EXPECT_EQ(row.service, "s" + std::to_string(row.pid));
        EXPECT_LE(row.counts.emitted + row.counts.dropped_total(), row.counts.seen);
      }
      EXPECT_LE(ledger.Total().in_flight(), uint64_t{kRows} * 3);
      std::this_thread::yield();
    }
  });
  for (uint32_t i = 0; i < kRows; ++i) {
    uint32_t row = ledger.RowFor("s" + std::to_string(i), i, "http", Role::kServer);
    ASSERT_EQ(row, i);
    for (int n = 0; n < 3; ++n) ledger.Seen(row);
    published.store(i + 1, std::memory_order_release);
    if (i % 64 == 0) std::this_thread::yield();
  }
  exporter.join();
  stop = true;
  reader.join();
  LedgerCounts total = ledger.Total();
  EXPECT_EQ(total.seen, uint64_t{kRows} * 3);
  EXPECT_EQ(total.emitted, uint64_t{kRows});
  EXPECT_EQ(total.in_flight(), uint64_t{kRows});
}

}  // namespace
}  // namespace zerotap
