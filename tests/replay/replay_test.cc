// Recordings of real servers (tests/data/<protocol>/<scenario>.capture, made with `zerotap run --record`) through the real
// pipeline:
//   exact     the spans are those of <scenario>.spans.json, byte for byte
//   recut     cutting every data record in two, at each of several places, changes nothing
//   dropped   with records missing there may be fewer spans, never another one
//   midstream with the beginning missing, likewise
//   ledger    everything seen is accounted for
// Set ZEROTAP_UPDATE_GOLDEN=1 to write the .spans.json files anew; read the difference before committing it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>

#include "agent/pipeline/replay.h"
#include "tests/replay/claims.h"

namespace zerotap {
namespace {

Outcome Play(const RecordingHeader& header, const std::vector<RecordedItem>& items) {
  Outcome outcome;
  Status status = ReplayItems(
      header, items, PipelineOptions{},
      [&outcome](std::vector<Span>&& spans) {
        std::move(spans.begin(), spans.end(), std::back_inserter(outcome.spans));
      },
      [&outcome](Pipeline& pipeline) { outcome.ledger = pipeline.ledger().Total(); });
  EXPECT_TRUE(status) << status.error().message;
  // Exporting is not part of a replay: what came out is what is in flight for the ledger.
  EXPECT_EQ(outcome.ledger.in_flight(), outcome.spans.size());
  SortByStart(outcome.spans);
  return outcome;
}

// The same record as two, cut after `at` bytes of its captured head.
std::vector<RecordedItem> Recut(const std::vector<RecordedItem>& items, size_t at) {
  std::vector<RecordedItem> out;
  for (const RecordedItem& item : items) {
    zt_data_event data{};
    bool is_data = false;
    if (item.kind == RecordedItem::Kind::kRecord && item.record_size >= sizeof(data)) {
      std::memcpy(&data, item.record.data(), sizeof(data));
      is_data = data.header.kind == ZT_EVENT_DATA && (data.flags & ZT_DATA_PEEK) == 0;
    }
    if (!is_data || data.head < 2) {
      out.push_back(item);
      continue;
    }
    uint32_t cut = 1 + static_cast<uint32_t>(at % (data.head - 1));
    const auto* payload = reinterpret_cast<const std::byte*>(item.record.data()) + sizeof(data);
    auto piece = [&](uint32_t from, uint32_t length, uint32_t head, uint32_t tail) {
      zt_data_event part = data;
      part.offset += from;
      part.length = length;
      part.head = head;
      part.tail = tail;
      part.lost_before = from == 0 ? data.lost_before : 0;
      if (from == 0) part.flags &= static_cast<zt_u8>(~ZT_DATA_EOF);
      part.header.size = static_cast<uint32_t>(sizeof(part)) + head + tail;
      RecordedItem cut_item;
      cut_item.record_size = part.header.size;
      cut_item.record.resize((cut_item.record_size + 7) / 8);
      auto* bytes = reinterpret_cast<std::byte*>(cut_item.record.data());
      std::memcpy(bytes, &part, sizeof(part));
      std::memcpy(bytes + sizeof(part), payload + from, head + tail);
      out.push_back(std::move(cut_item));
    };
    piece(0, cut, cut, 0);
    piece(cut, data.length - cut, data.head - cut, data.tail);
  }
  return out;
}

bool IsData(const RecordedItem& item) {
  if (item.kind != RecordedItem::Kind::kRecord) return false;
  zt_event_header header;
  std::memcpy(&header, item.record.data(), sizeof(header));
  return header.kind == ZT_EVENT_DATA;
}

class Replay : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto recording = LoadRecording(GetParam());
    ASSERT_TRUE(recording) << recording.error().message;
    recording_ = std::move(*recording);
    truth_ = Play(recording_.header, recording_.items);
  }
  Recording recording_;
  Outcome truth_;
};

TEST_P(Replay, GivesExactlyTheKnownSpans) {
  ExpectGolden(GetParam(), Json(truth_.spans));
}

TEST_P(Replay, IsTheSameHoweverItIsCut) {
  std::string whole = Json(truth_.spans);
  for (size_t at : {0u, 1u, 2u, 3u, 5u, 8u, 13u, 21u, 34u, 55u, 89u, 144u, 233u, 377u}) {
    std::string cut = Json(Play(recording_.header, Recut(recording_.items, at)).spans);
    ASSERT_EQ(cut, whole) << "cut after " << at;
  }
}

TEST_P(Replay, NeverInventsWhenRecordsAreLost) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    std::vector<RecordedItem> kept;
    std::map<uint64_t, uint32_t> lost;
    for (RecordedItem item : recording_.items) {
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
    ExpectNothingFalse(truth_, Play(recording_.header, kept), "seed " + std::to_string(seed));
  }
}

TEST_P(Replay, NeverInventsWhenTheBeginningIsMissing) {
  size_t records = recording_.items.size();
  for (size_t parts = 1; parts < 12; ++parts) {
    size_t skip = records * parts / 12;
    std::vector<RecordedItem> kept;
    for (size_t i = 0; i < records; ++i) {
      bool is_record = recording_.items[i].kind == RecordedItem::Kind::kRecord;
      if (i >= skip || !is_record) kept.push_back(recording_.items[i]);
    }
    ExpectNothingFalse(truth_, Play(recording_.header, kept), "skipped " + std::to_string(skip));
  }
}

// Messages of one batch come in several writes here, and each connection is joined right before one.
TEST(ReplayJoinedLate, NodePostgresLosesNothingOfWhatBeginsAfterwards) {
  auto recording = LoadRecording(ZEROTAP_SOURCE_DIR "/tests/data/postgresql/node_postgres.capture");
  ASSERT_TRUE(recording) << recording.error().message;
  const Outcome truth = Play(recording->header, recording->items);
  uint64_t compared = 0;
  for (const Span& first : truth.spans) {
    if (first.kind != SpanKind::kClient) continue;
    const uint64_t from_ns =
        first.start_unix_ns - static_cast<uint64_t>(recording->header.realtime_minus_monotonic_ns);
    std::vector<RecordedItem> kept;
    for (const RecordedItem& item : recording->items) {
      zt_data_event data{};
      if (IsData(item)) std::memcpy(&data, item.record.data(), sizeof(data));
      if (item.kind != RecordedItem::Kind::kRecord || data.start_ns >= from_ns) kept.push_back(item);
    }
    // The error of an end's first batch may be that of pieces before it; that of a simple query (one
    // without parameters) cannot.
    std::set<std::string> begun;
    size_t expected = 0;
    for (const Span& span : truth.spans) {
      if (span.start_unix_ns < first.start_unix_ns) continue;
      const bool is_first = begun.insert(span.resource->service_name).second;
      const bool batch_failed =
          span.attributes.Has(semconv::kDbResponseStatusCode) &&
          span.attributes.FindText(semconv::kDbQueryText).find('$') != std::string_view::npos;
      if (!is_first || !batch_failed) ++expected;
    }
    const Outcome late = Play(recording->header, kept);
    EXPECT_EQ(late.spans.size(), expected) << "from statement " << compared;
    ExpectNothingFalse(truth, late, "joined late");
    ++compared;
  }
  EXPECT_EQ(compared, 41u);
}

INSTANTIATE_TEST_SUITE_P(Captures, Replay, ::testing::ValuesIn(Scenarios()), ScenarioName);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Replay);

}  // namespace
}  // namespace zerotap
