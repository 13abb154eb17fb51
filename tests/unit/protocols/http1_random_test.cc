// Well-formed conversations at random, captured with holes of all kinds: an exchange that is
// reported is a right one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "agent/base/hash.h"
#include "agent/protocols/http1.h"
#include "tests/support/parser_harness.h"

namespace zerotap {
namespace {

class Generator {
 public:
  explicit Generator(uint64_t seed) : state_(MixHash(seed + 1)) {}

  uint64_t Below(uint64_t limit) {
    state_ += 0x9E3779B97F4A7C15ull;
    return MixHash(state_) % limit;
  }
  bool Chance(uint64_t one_in) { return Below(one_in) == 0; }

  // `depth`: how many requests are sent at once.
  Conversation Talk(uint64_t depth) {
    Conversation talk(Chance(2) ? Role::kClient : Role::kServer);
    const int batches = 3 + static_cast<int>(Below(5));
    int number = 0;
    for (int batch = 0; batch < batches; ++batch) {
      std::string requests;
      std::string responses;
      for (uint64_t i = 0; i < depth; ++i) {
        ++number;
        auto [request, response] = Exchange(number);
        requests += request;
        responses += response;
      }
      for (std::string& piece : Pieces(requests)) talk.Client(piece);
      for (std::string& piece : Pieces(responses)) talk.Server(piece);
    }
    return talk.Close();
  }

 private:
  std::string Text(size_t size) {
    static constexpr std::string_view kLetters = "abc 019\r\n:/-HTP.";
    std::string text;
    for (size_t i = 0; i < size; ++i) text.push_back(kLetters[Below(kLetters.size())]);
    return text;
  }

  std::string Chunked() {
    std::string body;
    for (uint64_t i = Below(4); i > 0; --i) {
      const size_t size = 1 + Below(90);
      char line[32];
      std::snprintf(line, sizeof(line), "%zx%s\r\n", size, Chance(3) ? ";x=y" : "");
      body += line + Text(size) + "\r\n";
    }
    return body + (Chance(3) ? "0\r\nX-Trailer: 1\r\n\r\n" : "0\r\n\r\n");
  }

  std::pair<std::string, std::string> Exchange(int number) {
    static constexpr std::string_view kMethods[] = {"GET", "POST", "HEAD", "DELETE", "PATCH"};
    const std::string method(kMethods[Below(5)]);
    std::string request = method + " /" + std::to_string(number) + " HTTP/1.1\r\nHost: a\r\n";
    if (Chance(2)) request += "User-Agent: " + std::string(Below(60), 'u') + "\r\n";
    if (method == "GET" || method == "HEAD") {
      request += "\r\n";
    } else if (Chance(2)) {
      request += "Transfer-Encoding: chunked\r\n\r\n" + Chunked();
    } else {
      const std::string body = Text(Below(150));
      request += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    }

    int status = 200 + number * 7 % 300;
    if (Chance(8)) status = 204;
    if (Chance(8)) status = 304;
    const bool bodiless = method == "HEAD" || status == 204 || status == 304;
    std::string response = Chance(6) ? "HTTP/1.1 100 Continue\r\n\r\n" : "";
    response += "HTTP/1.1 " + std::to_string(status) + " X\r\n";
    if (Chance(2)) response += "Server: " + std::string(Below(60), 's') + "\r\n";
    if (Chance(2)) {
      response += "Transfer-Encoding: chunked\r\n\r\n" + (bodiless ? "" : Chunked());
    } else {
      const std::string body = Text(Below(200));
      response += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
      if (!bodiless) response += body;
    }
    return {request, response};
  }

  std::vector<std::string> Pieces(const std::string& text) {
    std::vector<std::string> pieces;
    size_t at = 0;
    while (at < text.size()) {
      size_t size = Chance(2) ? text.size() - at : 1 + Below(text.size() - at);
      pieces.push_back(text.substr(at, size));
      at += size;
    }
    return pieces;
  }

  uint64_t state_;
};

// Some whole transfers in a row are missing, as when the ring was full.
Conversation WithoutSomeSteps(const Conversation& talk, Generator& random) {
  std::vector<size_t> edges = {0};
  for (const Step& step : talk.steps()) edges.push_back(edges.back() + step.bytes.size());
  const size_t first = random.Below(edges.size());
  const size_t last = std::min(edges.size() - 1, first + 1 + random.Below(5));
  return WithoutRange(talk, edges[first], edges[last], /*lost=*/true);
}

class Http1RandomTest : public ::testing::TestWithParam<uint64_t /*depth*/> {
 protected:
  static constexpr uint64_t kRounds = 1000;
};

TEST_P(Http1RandomTest, WholeConversationsAreReadWhole) {
  for (uint64_t seed = 0; seed < kRounds / 4; ++seed) {
    Generator random(seed);
    Conversation talk = random.Talk(GetParam());
    Outcome whole = RunConversation(kHttp1Protocol, talk);
    ASSERT_EQ(whole.status, ParseStatus::kOk) << seed;
    ASSERT_TRUE(whole.drops.empty()) << seed;
    ASSERT_EQ(whole.exchanges.size() % GetParam(), 0u) << seed;
    ASSERT_GE(whole.exchanges.size(), 3 * GetParam()) << seed;
    for (size_t i = 0; i < whole.exchanges.size(); ++i) {
      ASSERT_EQ(whole.exchanges[i].target, "/" + std::to_string(i + 1)) << seed;
      ASSERT_EQ(whole.exchanges[i].transport_error, "") << seed;
    }
    ASSERT_EQ(RunConversation(kHttp1Protocol, CutEvery(talk, 1 + random.Below(9))).exchanges,
              whole.exchanges)
        << seed;
  }
}

TEST_P(Http1RandomTest, LostEventsGiveNothingFalse) {
  size_t kept = 0;
  size_t all = 0;
  for (uint64_t seed = 0; seed < kRounds; ++seed) {
    Generator random(seed);
    Conversation talk = random.Talk(GetParam());
    Outcome whole = RunConversation(kHttp1Protocol, talk);
    Conversation holed = WithoutSomeSteps(talk, random);
    while (random.Chance(2)) holed = WithoutSomeSteps(holed, random);
    Outcome outcome = RunConversation(kHttp1Protocol, holed);
    ASSERT_EQ(FalseIn(outcome, whole), "") << "seed " << seed;
    kept += outcome.exchanges.size();
    all += whole.exchanges.size();
  }
  // It must not be right by saying nothing.
  EXPECT_GT(kept, all / (GetParam() == 1 ? 3 : 5));
}

TEST_P(Http1RandomTest, SkippedBytesGiveNothingFalse) {
  size_t kept = 0;
  size_t all = 0;
  for (uint64_t seed = 0; seed < kRounds; ++seed) {
    Generator random(seed);
    Conversation talk = random.Talk(GetParam());
    Outcome whole = RunConversation(kHttp1Protocol, talk);
    Conversation holed = talk;
    if (random.Chance(2)) {
      const size_t head = random.Below(200);
      holed = HeadsAndTails(talk, head, random.Below(32));
    } else {
      const size_t from = random.Below(talk.data_bytes());
      holed = WithoutRange(talk, from, from + 1 + random.Below(300), /*lost=*/false);
    }
    Outcome outcome = RunConversation(kHttp1Protocol, holed);
    ASSERT_EQ(FalseIn(outcome, whole), "") << "seed " << seed;
    kept += outcome.exchanges.size();
    all += whole.exchanges.size();
  }
  EXPECT_GT(kept, all / (GetParam() == 1 ? 3 : 5));
}

TEST_P(Http1RandomTest, LateStartGivesNothingFalse) {
  for (uint64_t seed = 0; seed < kRounds; ++seed) {
    Generator random(seed);
    Conversation talk = random.Talk(GetParam());
    Outcome whole = RunConversation(kHttp1Protocol, talk);
    size_t skipped = 1 + random.Below(talk.steps().size() - 1);
    // From where the direction flips.
    while (skipped < talk.steps().size() &&
           talk.steps()[skipped].direction == talk.steps()[skipped - 1].direction) {
      ++skipped;
    }
    Outcome outcome = RunConversation(kHttp1Protocol, WithoutStart(talk, skipped));
    ASSERT_EQ(FalseIn(outcome, whole), "") << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(OneAtATime, Http1RandomTest, ::testing::Values(1));
INSTANTIATE_TEST_SUITE_P(Pipelined, Http1RandomTest, ::testing::Values(2, 5));

}  // namespace
}  // namespace zerotap
