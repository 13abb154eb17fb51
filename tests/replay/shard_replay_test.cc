// Recordings of real servers through pipelines of several shards: spans with their ids and parents, ledger rows, metrics and
// counts are those of one shard, byte for byte, whole or with records lost, and the spans are the known ones.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>
#include <tuple>

#include "agent/pipeline/replay.h"
#include "tests/replay/claims.h"
#include "tests/support/shard_runners.h"

namespace zerotap {
namespace {

using Items = std::vector<RecordedItem>;

struct Everything {
  std::string spans;
  std::string ledger;
  std::string metrics;
  std::string counts;
  size_t shards = 0;
  uint64_t shared_records = 0;
  bool operator==(const Everything& other) const {
    return std::tie(spans, ledger, metrics, counts) ==
           std::tie(other.spans, other.ledger, other.metrics, other.counts);
  }
};

std::string Text(std::vector<LedgerRow> rows) {
  std::string text;
  for (const LedgerRow& row : rows) {
    text += row.service + ' ' + std::to_string(row.pid) + ' ' + row.protocol + ' ' +
            std::to_string(static_cast<int>(row.role)) + ": " + std::to_string(row.counts.seen) +
            ' ' + std::to_string(row.counts.sampled_out);
    for (uint64_t count : row.counts.filtered_by) text += ' ' + std::to_string(count);
    for (uint64_t count : row.counts.dropped) text += ' ' + std::to_string(count);
    text += '\n';
  }
  return text;
}

Everything Play(const RecordingHeader& header, const Items& items, size_t shards = 1,
                RunShards run = {}) {
  Everything all;
  PipelineOptions options;
  options.shards = shards;
  options.run_shards = std::move(run);
  std::vector<Span> spans;
  Status status = ReplayItems(
      header, items, options,
      [&spans](std::vector<Span>&& taken) {
        std::move(taken.begin(), taken.end(), std::back_inserter(spans));
      },
      [&all](Pipeline& pipeline) {
        all.ledger = Text(pipeline.ledger().Snapshot()) + std::to_string(pipeline.ledger().unseen_bytes());
        std::vector<Metric> metrics;
        pipeline.CollectMetrics(2'000'000'000'000'000'000, metrics);
        all.metrics = otlp::EncodeMetricsJson(metrics);
        const PipelineStats stats = pipeline.stats();
        for (uint64_t count :
             {stats.records, stats.malformed_records, stats.connections_opened,
              stats.connections_evicted, stats.connections_ignored, stats.spans_held,
              stats.parents_unresolved, stats.waits_unwatched, stats.lost_events,
              uint64_t{stats.live_connections}}) {
          all.counts += std::to_string(count) + ' ';
        }
        all.shards = stats.shards;
        all.shared_records = stats.shared_records;
      });
  EXPECT_TRUE(status) << status.error().message;
  SortByStart(spans);
  all.spans = Json(spans);
  return all;
}

bool IsData(const RecordedItem& item) {
  if (item.kind != RecordedItem::Kind::kRecord) return false;
  zt_event_header header;
  std::memcpy(&header, item.record.data(), sizeof(header));
  return header.kind == ZT_EVENT_DATA;
}

// One item in eight is gone, and what is left of their connections says so, as the kernel side does.
Items Damaged(const Items& items, uint32_t seed) {
  std::mt19937 random(seed);
  Items kept;
  std::map<uint64_t, uint32_t> lost;
  for (RecordedItem item : items) {
    if (item.kind == RecordedItem::Kind::kRecord && !IsData(item) && random() % 16 == 0) continue;
    if (IsData(item)) {
      auto* data = reinterpret_cast<zt_data_event*>(item.record.data());
      if (random() % 8 == 0) {
        ++lost[data->connection_id];
        continue;
      }
      data->lost_before += std::exchange(lost[data->connection_id], 0);
    }
    kept.push_back(std::move(item));
  }
  return kept;
}

// Nobody looks at the clock, so that batches are as large as they get.
Items WithoutClock(Items items) {
  std::erase_if(items, [](const RecordedItem& item) { return item.kind == RecordedItem::Kind::kClock; });
  return items;
}

class ShardReplay : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto recording = LoadRecording(GetParam());
    ASSERT_TRUE(recording) << recording.error().message;
    recording_ = std::move(*recording);
  }
  void ExpectTheSame(const Items& items, const std::string& what) {
    const Everything one = Play(recording_.header, items);
    for (size_t shards : {2u, 3u, 4u, 16u}) {
      const auto check = [&](const char* how, RunShards run) {
        const Everything several = Play(recording_.header, items, shards, std::move(run));
        ASSERT_EQ(several.shards, shards);
        ASSERT_EQ(several.spans, one.spans) << what << ", " << shards << " shards " << how;
        ASSERT_EQ(several.ledger, one.ledger) << what << ", " << shards << " shards " << how;
        ASSERT_EQ(several.metrics, one.metrics) << what << ", " << shards << " shards " << how;
        ASSERT_EQ(several.counts, one.counts) << what << ", " << shards << " shards " << how;
      };
      check("in turn", {});
      check("shuffled", testing::RunShuffled(static_cast<uint32_t>(shards)));
    }
  }
  Recording recording_;
};

TEST_P(ShardReplay, GivesExactlyTheKnownSpans) {
  for (size_t shards : {1u, 2u, 4u}) {
    ExpectGolden(GetParam(), Play(recording_.header, recording_.items, shards).spans);
  }
}

TEST_P(ShardReplay, IsTheSameAsWithOneShard) { ExpectTheSame(recording_.items, "whole"); }

TEST_P(ShardReplay, IsTheSameInLargeBatches) {
  ExpectTheSame(WithoutClock(recording_.items), "without clock");
}

TEST_P(ShardReplay, IsTheSameWhenRecordsAreLost) {
  for (uint32_t seed = 1; seed <= 8; ++seed) {
    ExpectTheSame(Damaged(recording_.items, seed), "seed " + std::to_string(seed));
    ExpectTheSame(WithoutClock(Damaged(recording_.items, seed)), "no clock, seed " + std::to_string(seed));
  }
}

TEST_P(ShardReplay, IsTheSameInThreads) {
  const Items items = WithoutClock(recording_.items);
  const Everything one = Play(recording_.header, items);
  uint64_t runs = 0;
  const Everything four = Play(recording_.header, items, 4, testing::RunInThreads(1, &runs));
  EXPECT_TRUE(one == four);
  EXPECT_EQ(runs > 0, four.shared_records > 0);
}

INSTANTIATE_TEST_SUITE_P(Captures, ShardReplay, ::testing::ValuesIn(Scenarios()), ScenarioName);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ShardReplay);

}  // namespace
}  // namespace zerotap
