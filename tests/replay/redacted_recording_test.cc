// Every recording under tests/data as `zerotap run --record-payload redacted` would have written it: it replays to the same
// requests, and no word of what was said is left but those of the protocols themselves.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstring>

#include "agent/pipeline/replay.h"
#include "agent/redaction/record_redactor.h"
#include "tests/replay/claims.h"

namespace zerotap {
namespace {

// Words of the protocols and of SQL, as they may stand in any recording of anybody.
const std::set<std::string> kPublicWords = {
    "HTTP", "GET", "HEAD", "POST", "PUT", "CONNECT", "Host", "User", "Agent", "user-agent", "Accept", "Language", "Content", "Length", "Type",
    "Transfer", "Encoding", "chunked", "Connection", "connection", "close", "Upgrade", "upgrade", "websocket", "Expect", "100",
    "continue", "keep", "alive", "Date", "Server", "Last", "Modified", "ETag", "Trailer", "trailer", "Location",
    "user", "database", "application_name", "client_encoding", "ERROR", "NOTICE"};

const std::set<std::string> kSqlWords = {
    "SELECT", "FROM", "WHERE", "INSERT", "INTO", "VALUES", "UPDATE", "SET", "DELETE", "AND", "NOT", "NULL", "COPY", "STDIN",
    "STDOUT", "BEGIN", "COMMIT", "ROLLBACK", "DECLARE", "CURSOR", "FOR", "FETCH", "CLOSE", "FORWARD", "LISTEN", "NOTIFY", "END",
    "COUNT", "WITH", "RETURNING", "ORDER", "LIMIT", "SHOW", "TRANSACTION", "DEALLOCATE", "DISCARD", "ALL", "SAVEPOINT", "RELEASE",
    "TABLE", "CREATE", "DROP", "ANY", "CASE", "THEN", "ELSE", "DO", "MOVE", "FIRST", "DEFAULT", "KEY", "ADD", "LEFT", "JOIN", "AS", "TO", "ASC",
    "CROSS", "GROUP", "LATERAL", "TRUE"};

bool IsWordByte(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Words of three bytes or more that hold a letter.
std::set<std::string> WordsOf(std::string_view text) {
  std::set<std::string> words;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    bool letter = false;
    while (end < text.size() && IsWordByte(text[end])) letter |= !std::isdigit(static_cast<unsigned char>(text[end++]));
    if (end - at >= 3 && letter) words.emplace(text.substr(at, end - at));
    at = std::max(end, at + 1);
  }
  return words;
}

std::string PayloadOf(ByteSpan record) {
  zt_data_event data{};
  if (record.size() < sizeof(data)) return {};
  std::memcpy(&data, record.data(), sizeof(data));
  return data.header.kind == ZT_EVENT_DATA ? std::string(AsText(record.subspan(sizeof(data)))) : std::string();
}

Outcome Play(const RecordingHeader& header, const std::vector<RecordedItem>& items) {
  Outcome outcome;
  Status status = ReplayItems(
      header, items, PipelineOptions{},
      [&outcome](std::vector<Span>&& spans) {
        std::move(spans.begin(), spans.end(), std::back_inserter(outcome.spans));
      },
      [&outcome](Pipeline& pipeline) { outcome.ledger = pipeline.ledger().Total(); });
  EXPECT_TRUE(status) << status.error().message;
  SortByStart(outcome.spans);
  return outcome;
}

// All of a span that is no text of the users: ids, times, kind, outcome, numbers.
std::string Skeleton(const Span& span) {
  std::ostringstream out;
  const std::string_view error = span.attributes.FindText(semconv::kErrorType);
  out << AsText({reinterpret_cast<const std::byte*>(&span.span_id), sizeof(span.span_id)}) << span.start_unix_ns << ' '
      << span.end_unix_ns << ' ' << static_cast<int>(span.kind) << static_cast<int>(span.status) << ' ' << error << ' '
      << span.attributes.FindText(semconv::kHttpRequestMethod) << ' '
      << span.attributes.FindText(semconv::kDbResponseStatusCode);
  for (size_t i = 0; i < span.attributes.size(); ++i) {
    Attribute attribute = span.attributes[i];
    // The port of a Host header is the users' text.
    if (attribute.key == semconv::kServerPort) continue;
    if (const auto* number = std::get_if<int64_t>(&attribute.value)) out << ' ' << attribute.key << '=' << *number;
  }
  return out.str();
}

class Redaction : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto recording = LoadRecording(GetParam());
    ASSERT_TRUE(recording) << recording.error().message;
    recording_ = std::move(*recording);
  }
  std::vector<RecordedItem> Redacted(RecordedPayload payload) {
    RecordRedactor redactor(payload, 99);
    std::vector<RecordedItem> redacted;
    for (RecordedItem item : recording_.items) {
      if (item.kind == RecordedItem::Kind::kRecord) {
        ByteSpan record = redactor.Redact(item.bytes());
        EXPECT_FALSE(record.empty());
        item.record.assign((record.size() + 7) / 8, 0);
        std::memcpy(item.record.data(), record.data(), record.size());
        item.record_size = record.size();
      }
      redacted.push_back(std::move(item));
    }
    return redacted;
  }
  Recording recording_;
};

TEST_P(Redaction, ReplaysToTheSameRequests) {
  Outcome truth = Play(recording_.header, recording_.items);
  Outcome outcome = Play(recording_.header, Redacted(RecordedPayload::kRedacted));
  for (size_t i = 0; i < outcome.spans.size() && outcome.spans.size() != truth.spans.size(); ++i) {
    ASSERT_EQ(Skeleton(outcome.spans[i]), Skeleton(truth.spans[i])) << Claim(truth.spans[i]) << " is missing";
  }
  ASSERT_EQ(outcome.spans.size(), truth.spans.size());
  for (size_t i = 0; i < truth.spans.size(); ++i) {
    EXPECT_EQ(Skeleton(outcome.spans[i]), Skeleton(truth.spans[i]));
    EXPECT_EQ(outcome.spans[i].parent_span_id, truth.spans[i].parent_span_id);
    EXPECT_EQ(outcome.spans[i].trace_id, truth.spans[i].trace_id);
  }
}

TEST_P(Redaction, LeavesNoWordThatIsNotPublic) {
  std::set<std::string> before, after;
  for (const RecordedItem& item : recording_.items) before.merge(WordsOf(PayloadOf(item.bytes())));
  for (const RecordedItem& item : Redacted(RecordedPayload::kRedacted)) after.merge(WordsOf(PayloadOf(item.bytes())));
  EXPECT_GT(before.size(), 5u);
  for (const std::string& word : after) {
    const bool blank = word.find_first_not_of("x0") == std::string::npos;
    std::string upper = word;
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    // Types and lengths of messages may look like letters before a word, and so may blanked text.
    bool is_public = false;
    for (size_t skip = 0; skip < word.size() && !is_public; ++skip) {
      if (skip > 2 && word.find_first_not_of("x0") < skip) break;
      const std::string rest = word.substr(skip);
      // A record may end in the middle of a public word.
      is_public = kSqlWords.contains(upper.substr(skip)) ||
                  std::any_of(kPublicWords.begin(), kPublicWords.end(),
                              [&rest](const std::string& known) { return rest.size() >= 3 && known.starts_with(rest); });
    }
    const bool sqlstate = word.size() == 6 && word[0] == 'C' && word == upper;
    EXPECT_TRUE(blank || sqlstate || !before.contains(word) || is_public) << word;
  }
}

TEST_P(Redaction, WithoutPayloadThereIsNothing) {
  std::vector<RecordedItem> items = Redacted(RecordedPayload::kNone);
  for (const RecordedItem& item : items) EXPECT_EQ(PayloadOf(item.bytes()), "");
  EXPECT_EQ(Play(recording_.header, items).spans.size(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Captures, Redaction, ::testing::ValuesIn(Scenarios()), ScenarioName);

}  // namespace
}  // namespace zerotap
