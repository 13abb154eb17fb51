#include "exporters/batcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>

#include "tests/unit/exporters/builders.h"

namespace zerotap {
namespace {

using std::chrono::milliseconds;
using namespace zerotap::testing;  // NOLINT: builders
using Clock = std::chrono::steady_clock;

// What an exporter under test saw; outlives it.
struct Seen {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::vector<uint32_t>> batches;  // ledger rows
  std::vector<uint64_t> times_ns;              // wall clock of each Export
  size_t idle_exports = 0;
  bool blocked = false;
  bool stopped = false;
  bool destroyed = false;
  std::function<ExportOutcome(size_t)> outcome = [](size_t n) { return ExportOutcome{n, 0, 0}; };

  void Block(bool value) {
    {
      std::lock_guard lock(mutex);
      blocked = value;
    }
    changed.notify_all();
  }
  template <typename Condition>
  bool WaitFor(Condition condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, milliseconds(5000), condition);
  }
  bool WaitForBatches(size_t count) {
    return WaitFor([&] { return batches.size() >= count; });
  }
  std::vector<uint32_t> AllRows() {
    std::lock_guard lock(mutex);
    std::vector<uint32_t> rows;
    for (const auto& batch : batches) rows.insert(rows.end(), batch.begin(), batch.end());
    return rows;
  }
};

class FakeSpanExporter : public SpanExporter {
 public:
  explicit FakeSpanExporter(Seen& seen) : seen_(seen) {}
  ~FakeSpanExporter() override {
    std::lock_guard lock(seen_.mutex);
    seen_.destroyed = true;
  }
  std::string_view name() const override { return "fake"; }
  ExportOutcome Export(std::span<const Span> spans) override {
    std::unique_lock lock(seen_.mutex);
    if (spans.empty()) {
      ++seen_.idle_exports;
      seen_.changed.notify_all();
      return {};
    }
    std::vector<uint32_t> rows;
    for (const Span& span : spans) rows.push_back(span.ledger_row);
    seen_.batches.push_back(rows);
    seen_.times_ns.push_back(RealtimeNs());
    seen_.changed.notify_all();
    seen_.changed.wait(lock, [&] { return !seen_.blocked || seen_.stopped; });
    if (seen_.stopped) return ExportOutcome{0, 0, spans.size()};
    return seen_.outcome(spans.size());
  }
  void RequestStop() override {
    std::lock_guard lock(seen_.mutex);
    seen_.stopped = true;
    seen_.changed.notify_all();
  }

 private:
  Seen& seen_;
};

// Counts fates by ledger row: every span must have exactly one.
struct Fates {
  std::mutex mutex;
  std::map<uint32_t, std::vector<SpanFate>> by_row;

  SpanFateCallback Callback() {
    return [this](std::span<const Span> spans, SpanFate fate) {
      std::lock_guard lock(mutex);
      for (const Span& span : spans) by_row[span.ledger_row].push_back(fate);
    };
  }
  size_t Count(SpanFate fate) {
    std::lock_guard lock(mutex);
    size_t count = 0;
    for (const auto& entry : by_row) {
      for (SpanFate one : entry.second) count += one == fate ? 1 : 0;
    }
    return count;
  }
  void ExpectOneEach(size_t spans) {
    std::lock_guard lock(mutex);
    EXPECT_EQ(by_row.size(), spans);
    for (const auto& entry : by_row) EXPECT_EQ(entry.second.size(), 1u) << entry.first;
  }
};

struct Harness {
  Seen seen;
  Fates fates;
  std::shared_ptr<ExportStats> stats = std::make_shared<ExportStats>();
  SpanBatcherOptions options;
  ResourcePtr resource = MakeResource("cart");

  Harness() { options.tick = milliseconds(20); }
  std::unique_ptr<SpanBatcher> Make() {
    return std::make_unique<SpanBatcher>(std::make_unique<FakeSpanExporter>(seen), options, stats,
                                         fates.Callback());
  }
};

Clock::time_point In(int ms) { return Clock::now() + milliseconds(ms); }

TEST(NextTickTest, IsTheNextMultipleOfThePeriod) {
  EXPECT_EQ(NextTickNs(0, 1000), 1000u);
  EXPECT_EQ(NextTickNs(999, 1000), 1000u);
  EXPECT_EQ(NextTickNs(1000, 1000), 2000u);
  EXPECT_EQ(NextTickNs(kStart + 1, kSecond), kStart + kSecond);
}

TEST(SpanBatcherTest, SendsAllSpansOfATickInOneExport) {
  constexpr uint64_t kTick = 300 * kMillisecond;
  // A machine that is busy may come late to the pushes or to the export: then it shows nothing, and another try is made.
  bool in_one = false;
  bool aligned = false;
  for (int tries = 0; tries < 10 && !(in_one && aligned); ++tries) {
    Harness harness;
    harness.options.tick = milliseconds(kTick / kMillisecond);
    auto batcher = harness.Make();
    // Right after a tick, so that the pushes are all before the next one.
    std::this_thread::sleep_for(std::chrono::nanoseconds(NextTickNs(RealtimeNs(), kTick) - RealtimeNs()));
    for (uint64_t i = 0; i < 10; ++i) batcher->Push(MakeSpans(i * 10 + 1, 10, harness.resource));
    ASSERT_TRUE(harness.seen.WaitForBatches(1));
    {
      std::lock_guard lock(harness.seen.mutex);
      in_one = harness.seen.batches[0].size() == 100;
      aligned = harness.seen.times_ns[0] % kTick < kTick / 2;  // to the wall clock
    }
    batcher->Shutdown(In(2000));
    harness.fates.ExpectOneEach(100);
    EXPECT_EQ(harness.fates.Count(SpanFate::kExported), 100u);
    EXPECT_EQ(harness.stats->Snapshot().exported, 100u);
    EXPECT_EQ(harness.stats->Snapshot().queued, 0u);
  }
  EXPECT_TRUE(in_one);
  EXPECT_TRUE(aligned);
}

TEST(SpanBatcherTest, KeepsTheOrder) {
  Harness harness;
  harness.options.max_batch_spans = 7;
  auto batcher = harness.Make();
  for (uint64_t i = 0; i < 20; ++i) batcher->Push(MakeSpans(i * 5, 5, harness.resource));
  batcher->Shutdown(In(5000));
  auto rows = harness.seen.AllRows();
  ASSERT_EQ(rows.size(), 100u);
  EXPECT_TRUE(std::is_sorted(rows.begin(), rows.end()));
  for (const auto& batch : harness.seen.batches) EXPECT_LE(batch.size(), 7u);
}

TEST(SpanBatcherTest, ALargeQueueDoesNotWaitForTheTick) {
  Harness harness;
  harness.options.tick = milliseconds(3'600'000);
  harness.options.max_batch_bytes = 20'000;
  auto batcher = harness.Make();
  auto spans = MakeSpans(1, 200, harness.resource);
  size_t bytes = 0;
  for (const Span& span : spans) bytes += EstimateMemory(span);
  ASSERT_GT(bytes, 40'000u);
  batcher->Push(std::move(spans));
  ASSERT_TRUE(harness.seen.WaitForBatches(2));
  batcher->Shutdown(In(5000));
  harness.fates.ExpectOneEach(200);
  for (const auto& batch : harness.seen.batches) {
    EXPECT_LE(batch.size() * sizeof(Span), 20'000u);
  }
}

TEST(SpanBatcherTest, AFullQueueDropsTheOldestAndCountsThemExactly) {
  Harness harness;
  harness.options.max_queue_spans = 100;
  harness.seen.Block(true);
  auto batcher = harness.Make();
  batcher->Push(MakeSpans(1, 10, harness.resource));
  ASSERT_TRUE(harness.seen.WaitForBatches(1));  // these are with the exporter, which hangs
  for (uint64_t i = 0; i < 25; ++i) batcher->Push(MakeSpans(11 + i * 10, 10, harness.resource));
  EXPECT_EQ(harness.fates.Count(SpanFate::kQueueDropped), 150u);
  EXPECT_EQ(harness.stats->Snapshot().dropped, 150u);
  EXPECT_EQ(harness.stats->Snapshot().queued, 100u);
  EXPECT_EQ(harness.stats->Snapshot().in_flight, 10u);
  harness.seen.Block(false);
  batcher->Shutdown(In(5000));
  harness.fates.ExpectOneEach(260);
  EXPECT_EQ(harness.fates.Count(SpanFate::kExported), 110u);
  std::lock_guard lock(harness.fates.mutex);
  for (uint32_t row = 11; row <= 160; ++row) {
    EXPECT_EQ(harness.fates.by_row[row][0], SpanFate::kQueueDropped) << row;
  }
}

TEST(SpanBatcherTest, TheQueueIsBoundedInBytesToo) {
  Harness harness;
  harness.options.tick = milliseconds(3'600'000);
  harness.options.max_queue_bytes = 50'000;
  auto batcher = harness.Make();
  for (uint64_t id = 1; id <= 20; ++id) {
    std::vector<Span> one = MakeSpans(id, 1, harness.resource);
    one[0].attributes.Add("large", std::string(10'000, 'x'));
    batcher->Push(std::move(one));
  }
  EXPECT_GE(harness.stats->Snapshot().dropped, 15u);
  EXPECT_LE(harness.stats->Snapshot().queued, 5u);
  batcher->Shutdown(In(5000));
  harness.fates.ExpectOneEach(20);
}

TEST(SpanBatcherTest, SheddingGivesUpTheOlderHalfAndAccountsForIt) {
  Harness harness;
  harness.options.tick = milliseconds(3'600'000);
  auto batcher = harness.Make();
  batcher->Push(MakeSpans(1, 11, harness.resource));
  batcher->Shed();
  EXPECT_EQ(harness.fates.Count(SpanFate::kShed), 6u);
  EXPECT_EQ(harness.stats->Snapshot().queued, 5u);
  EXPECT_EQ(harness.stats->Snapshot().dropped, 6u);
  batcher->Shutdown(In(5000));
  harness.fates.ExpectOneEach(11);
  EXPECT_EQ(harness.fates.Count(SpanFate::kExported), 5u);
  EXPECT_EQ(harness.fates.by_row[6][0], SpanFate::kShed);
  EXPECT_EQ(harness.fates.by_row[7][0], SpanFate::kExported);
}

TEST(SpanBatcherTest, OneSpanLargerThanTheQueueIsDroppedNotLooped) {
  Harness harness;
  harness.options.max_queue_bytes = 1000;
  auto batcher = harness.Make();
  std::vector<Span> one = MakeSpans(1, 1, harness.resource);
  one[0].name.assign(100'000, 'x');
  batcher->Push(std::move(one));
  EXPECT_EQ(harness.fates.Count(SpanFate::kQueueDropped), 1u);
}

TEST(SpanBatcherTest, OutcomesBecomeFatesInOrder) {
  Harness harness;
  harness.seen.outcome = [](size_t n) { return ExportOutcome{n - 5, 2, 3}; };
  auto batcher = harness.Make();
  batcher->Push(MakeSpans(1, 10, harness.resource));
  batcher->Shutdown(In(5000));
  harness.fates.ExpectOneEach(10);
  EXPECT_EQ(harness.fates.by_row[5][0], SpanFate::kExported);
  EXPECT_EQ(harness.fates.by_row[6][0], SpanFate::kRejected);
  EXPECT_EQ(harness.fates.by_row[8][0], SpanFate::kFailed);
  auto stats = harness.stats->Snapshot();
  EXPECT_EQ(stats.exported, 5u);
  EXPECT_EQ(stats.rejected, 2u);
  EXPECT_EQ(stats.failed, 3u);
}

TEST(SpanBatcherTest, AnExporterThatMiscountsCannotBreakTheLedger) {
  Harness harness;
  harness.seen.outcome = [](size_t) { return ExportOutcome{1'000'000, 7, 7}; };
  auto batcher = harness.Make();
  batcher->Push(MakeSpans(1, 10, harness.resource));
  batcher->Shutdown(In(5000));
  harness.fates.ExpectOneEach(10);
  EXPECT_EQ(harness.stats->Snapshot().exported, 10u);
}

TEST(SpanBatcherTest, WhatComesBackToARetiredOneIsPassedOn) {
  Harness first, second, third;
  first.options.tick = milliseconds(60'000);
  second.options.tick = milliseconds(60'000);
  auto oldest = first.Make();
  auto middle = second.Make();
  auto latest = third.Make();
  oldest->Push(MakeSpans(1, 10, first.resource));
  // Two changes in a row: what the oldest gives back late comes to one that is retired as well.
  std::vector<Span> waiting = oldest->Retire([&](std::vector<Span>&& spans) { middle->Push(std::move(spans)); });
  EXPECT_EQ(waiting.size(), 10u);
  EXPECT_TRUE(
      middle->Retire([&](std::vector<Span>&& spans) { latest->Push(std::move(spans)); }).empty());
  middle->Push(std::move(waiting));
  oldest->Push(MakeSpans(11, 5, first.resource));
  oldest->Shutdown(In(5000));
  middle->Shutdown(In(5000));
  latest->Shutdown(In(5000));
  third.fates.ExpectOneEach(15);
  EXPECT_EQ(third.fates.Count(SpanFate::kExported), 15u);
  first.fates.ExpectOneEach(0);
  second.fates.ExpectOneEach(0);
}

TEST(SpentSpansTest, GiantsAreNotKept) {
  SpentSpans spent;
  std::vector<Span> spans(2);
  spans[0].name = std::string(Span::kMaxSpareBytes + 1, 'x');
  spans[1].name = std::string(100, 'x');
  spent.Put(spans);
  std::vector<Span> kept;
  spent.Take(kept);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_LE(kept[0].MemorySize(), Span::kMaxSpareBytes);
}

TEST(SpanBatcherTest, SpansThatHaveTheirFateComeBackEmptyWithTheirMemory) {
  Harness harness;
  harness.options.max_queue_spans = 20;
  harness.options.spent = std::make_shared<SpentSpans>(25);
  harness.seen.Block(true);
  auto batcher = harness.Make();
  batcher->Push(MakeSpans(1, 10, harness.resource));
  ASSERT_TRUE(harness.seen.WaitForBatches(1));  // these are with the exporter, which hangs
  std::vector<Span> spent;
  harness.options.spent->Take(spent);
  EXPECT_TRUE(spent.empty());
  batcher->Push(MakeSpans(11, 30, harness.resource));
  harness.options.spent->Take(spent);
  EXPECT_EQ(spent.size(), 10u);  // pushed out
  harness.seen.Block(false);
  batcher->Shutdown(In(5000));
  harness.fates.ExpectOneEach(40);
  std::vector<Span> exported;
  harness.options.spent->Take(exported);
  EXPECT_EQ(exported.size(), 25u);  // of 30, as many as there is room for
  exported.insert(exported.end(), std::make_move_iterator(spent.begin()), std::make_move_iterator(spent.end()));
  for (const Span& span : exported) {
    EXPECT_GT(span.attributes.MemorySize(), 0u);
    EXPECT_TRUE(span.attributes.empty());
    EXPECT_EQ(span.name, "");
    EXPECT_EQ(span.resource, nullptr);
    EXPECT_FALSE(span.trace_id.valid());
    EXPECT_EQ(span.start_unix_ns, 0u);
    EXPECT_EQ(span.ledger_row, 0u);
  }
}

TEST(SpanBatcherTest, ShutdownFlushesWithoutWaitingForTheTick) {
  Harness harness;
  harness.options.tick = milliseconds(3'600'000);
  auto batcher = harness.Make();
  batcher->Push(MakeSpans(1, 10, harness.resource));
  auto start = Clock::now();
  batcher->Shutdown(In(10'000));
  EXPECT_LT(Clock::now() - start, milliseconds(5000));
  EXPECT_EQ(harness.fates.Count(SpanFate::kExported), 10u);
  EXPECT_TRUE(harness.seen.destroyed);
  EXPECT_FALSE(harness.seen.stopped);
}

TEST(SpanBatcherTest, ShutdownKeepsItsDeadlineAndReportsTheRestAsFailed) {
  Harness harness;
  harness.options.max_batch_spans = 10;
  harness.seen.Block(true);
  auto batcher = harness.Make();
  batcher->Push(MakeSpans(1, 100, harness.resource));
  ASSERT_TRUE(harness.seen.WaitForBatches(1));
  auto start = Clock::now();
  batcher->Shutdown(In(200));
  auto took = Clock::now() - start;
  EXPECT_GE(took, milliseconds(200));
  EXPECT_LT(took, milliseconds(5000));
  harness.fates.ExpectOneEach(100);
  EXPECT_EQ(harness.fates.Count(SpanFate::kFailed), 100u);
  EXPECT_TRUE(harness.seen.stopped);
  batcher->Shutdown(In(200));  // again: nothing to do
  batcher->Push(MakeSpans(1001, 5, harness.resource));
  EXPECT_EQ(harness.fates.Count(SpanFate::kFailed), 105u) << "too late, but accounted for";
  EXPECT_EQ(harness.stats->Snapshot().failed, 105u);
}

TEST(SpanBatcherTest, DestructionDoesNotWaitForAHangingExporter) {
  Harness harness;
  harness.seen.Block(true);
  auto batcher = harness.Make();
  batcher->Push(MakeSpans(1, 3, harness.resource));
  ASSERT_TRUE(harness.seen.WaitForBatches(1));
  auto start = Clock::now();
  batcher.reset();
  EXPECT_LT(Clock::now() - start, milliseconds(5000));
  harness.fates.ExpectOneEach(3);
}

TEST(SpanBatcherTest, TicksWhenIdleOnlyWhenAsked) {
  Harness harness;
  harness.options.tick_when_idle = true;
  auto batcher = harness.Make();
  EXPECT_TRUE(harness.seen.WaitFor([&] { return harness.seen.idle_exports >= 3; }));
  batcher.reset();
  Harness quiet;
  auto other = quiet.Make();
  std::this_thread::sleep_for(milliseconds(100));
  other.reset();
  EXPECT_EQ(quiet.seen.idle_exports, 0u);
}

TEST(SpanBatcherTest, AClockThatIsSetBackDoesNotStopTheTicks) {
  Harness harness;
  auto clock = std::make_shared<std::atomic<int64_t>>(0);
  harness.options.realtime_ns = [clock] {
    return static_cast<uint64_t>(static_cast<int64_t>(RealtimeNs()) + clock->load());
  };
  auto batcher = harness.Make();
  batcher->Push(MakeSpans(1, 1, harness.resource));
  ASSERT_TRUE(harness.seen.WaitForBatches(1));
  clock->store(-int64_t{1'000'000} * kSecond);
  batcher->Push(MakeSpans(2, 1, harness.resource));
  EXPECT_TRUE(harness.seen.WaitForBatches(2));
  batcher->Shutdown(In(1000));
}

TEST(SpanBatcherTest, ManyThreadsPushWhileItExportsDropsAndStops) {
  Harness harness;
  harness.options.tick = milliseconds(1);
  harness.options.max_queue_spans = 200;
  harness.options.max_batch_spans = 50;
  auto batcher = harness.Make();
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kPushes = 200;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&batcher, &harness, t] {
      for (uint64_t i = 0; i < kPushes; ++i) {
        batcher->Push(MakeSpans((t * kPushes + i) * 10, 10, harness.resource));
        if (i % 16 == 0) harness.stats->Snapshot();
      }
    });
  }
  std::this_thread::sleep_for(milliseconds(5));
  batcher->Shutdown(In(20));  // in the middle: pushes go on and are refused
  for (std::thread& thread : threads) thread.join();
  harness.fates.ExpectOneEach(kThreads * kPushes * 10);
  auto stats = harness.stats->Snapshot();
  EXPECT_EQ(stats.exported + stats.rejected + stats.failed + stats.dropped,
            kThreads * kPushes * 10);
  EXPECT_EQ(stats.queued, 0u);
  EXPECT_EQ(stats.in_flight, 0u);
}

class FakeMetricExporter : public MetricExporter {
 public:
  explicit FakeMetricExporter(Seen& seen) : seen_(seen) {}
  std::string_view name() const override { return "fake"; }
  ExportOutcome Export(std::span<const Metric> metrics) override {
    std::unique_lock lock(seen_.mutex);
    size_t points = 0;
    std::vector<uint32_t> rows;
    for (const Metric& metric : metrics) {
      points += metric.numbers.size();
      for (const NumberPoint& point : metric.numbers) {
        rows.push_back(static_cast<uint32_t>(std::get<int64_t>(point.value)));
      }
    }
    seen_.batches.push_back(rows);
    seen_.changed.notify_all();
    seen_.changed.wait(lock, [&] { return !seen_.blocked || seen_.stopped; });
    if (seen_.stopped) return ExportOutcome{0, 0, points};
    return seen_.outcome(points);
  }
  void RequestStop() override {
    std::lock_guard lock(seen_.mutex);
    seen_.stopped = true;
    seen_.changed.notify_all();
  }

 private:
  Seen& seen_;
};

// One collection with two points of the value `number`.
std::vector<Metric> Collection(int64_t number) {
  std::vector<Metric> metrics(1);
  metrics[0].descriptor = &kRequestsTotal;
  NumberPoint point;
  point.value = number;
  metrics[0].numbers = {point, point};
  return metrics;
}

TEST(MetricBatcherTest, ExportsEveryCollectionInOrder) {
  Seen seen;
  auto stats = std::make_shared<ExportStats>();
  MetricBatcher batcher(std::make_unique<FakeMetricExporter>(seen), {}, stats);
  batcher.Push(Collection(1));
  batcher.Push({});
  batcher.Push(Collection(2));
  batcher.Shutdown(In(5000));
  EXPECT_EQ(seen.AllRows(), (std::vector<uint32_t>{1, 1, 2, 2}));
  EXPECT_EQ(stats->Snapshot().exported, 4u);
  EXPECT_EQ(stats->Snapshot().queued, 0u);
}

TEST(MetricBatcherTest, TheQueueIsBoundedInPointsToo) {
  Seen seen;
  seen.Block(true);
  auto stats = std::make_shared<ExportStats>();
  MetricBatcherOptions options;
  options.max_queued_points = 5;
  MetricBatcher batcher(std::make_unique<FakeMetricExporter>(seen), options, stats);
  batcher.Push(Collection(1));
  ASSERT_TRUE(seen.WaitForBatches(1));
  for (int64_t i = 2; i <= 6; ++i) batcher.Push(Collection(i));  // of two points each
  EXPECT_EQ(stats->Snapshot().queued, 4u);
  EXPECT_EQ(stats->Snapshot().dropped, 6u);
  seen.Block(false);
  batcher.Shutdown(In(5000));
  EXPECT_EQ(seen.AllRows(), (std::vector<uint32_t>{1, 1, 5, 5, 6, 6}));
}

TEST(MetricBatcherTest, DropsTheOldestCollectionAndStopsInTime) {
  Seen seen;
  seen.Block(true);
  auto stats = std::make_shared<ExportStats>();
  MetricBatcherOptions options;
  options.max_queued_collections = 2;
  MetricBatcher batcher(std::make_unique<FakeMetricExporter>(seen), options, stats);
  batcher.Push(Collection(1));
  ASSERT_TRUE(seen.WaitForBatches(1));
  for (int64_t i = 2; i <= 6; ++i) batcher.Push(Collection(i));
  EXPECT_EQ(stats->Snapshot().dropped, 6u);
  EXPECT_EQ(stats->Snapshot().queued, 4u);
  auto start = Clock::now();
  batcher.Shutdown(In(100));
  EXPECT_LT(Clock::now() - start, milliseconds(5000));
  batcher.Push(Collection(7));
  EXPECT_EQ(stats->Snapshot().failed, 2u + 4u + 2u);
  EXPECT_EQ(stats->Snapshot().queued, 0u);
}

}  // namespace
}  // namespace zerotap
