// Recognition of HTTP/1.x, and that nothing else is taken for it.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "agent/base/hash.h"
#include "agent/protocols/http1.h"
#include "agent/protocols/http1_head.h"
#include "tests/support/parser_harness.h"

namespace zerotap {
namespace {

DetectResult DetectEgress(std::string_view text) {
  DetectInput input;
  input.egress = text;
  input.egress_at_run_start = true;
  return kHttp1Protocol.detect(input);
}

TEST(Http1DetectTest, RoleFollowsFromWhoAsks) {
  for (bool request : {true, false}) {
    for (bool egress : {true, false}) {
      DetectInput input;
      std::string_view text = request ? "GET / HTTP/1.1\r\n" : "HTTP/1.1 200 OK\r\n";
      (egress ? input.egress : input.ingress) = text;
      (egress ? input.egress_at_run_start : input.ingress_at_run_start) = true;
      DetectResult result = kHttp1Protocol.detect(input);
      EXPECT_EQ(result.match, Match::kYes);
      EXPECT_EQ(result.role, request == egress ? Role::kClient : Role::kServer);
    }
  }
}

TEST(Http1DetectTest, PrefixesAreUndecided) {
  for (std::string_view whole : {"GET /path?x=1 HTTP/1.1\r\n", "\r\nOPTIONS * HTTP/1.0\r\n",
                                 "HTTP/1.1 200 OK\r\n", "get! [::1]:80 HTTP/1.1\n"}) {
    size_t decided = whole.find("200");
    decided = decided == std::string_view::npos ? whole.size() : decided + 4;
    for (size_t size = 0; size < decided; ++size) {
      EXPECT_EQ(DetectEgress(whole.substr(0, size)).match, Match::kNeedMore)
          << whole.substr(0, size);
    }
    EXPECT_EQ(DetectEgress(whole).match, Match::kYes) << whole;
  }
}

TEST(Http1DetectTest, AControlCharacterAnywhereInATargetIsNoRequest) {
  for (size_t size = 1; size <= 50; ++size) {
    for (size_t at = 1; at < size; ++at) {
      for (int c = 0; c <= 0xFF; ++c) {
        if (c == '\n' || c == '\r' || c == ' ') continue;  // these end the line or the target
        std::string target(size, 'a');
        target[0] = '/';
        target[at] = static_cast<char>(c);
        const bool control = (c < 0x20 && c != '\t') || c == 0x7F;
        RequestHead head;
        const std::string line = "GET " + target + " HTTP/1.1";
        const bool is_request = ParseRequestLine(line, head);
        ASSERT_EQ(is_request, !control) << size << " " << at << " " << c;
        if (is_request && c != '\t') {
          ASSERT_EQ(head.target, target);
        }
      }
    }
  }
}

TEST(Http1DetectTest, AFieldsColonIsFoundAtAnyDistance) {
  const std::vector<std::string> wanted;
  std::vector<HeaderField> fields;
  for (size_t name = 1; name < 40; ++name) {
    for (size_t value = 0; value < 40; ++value) {
      // A line without a colon, before one with it, is no field.
      const std::string text = "HTTP/1.1 200 OK\r\n" + std::string(name, 'n') + "\r\n" +
                               std::string(name, 'x') + ":" + std::string(value, ' ') +
                               "\r\ncontent-length:" + std::string(value, ' ') + "17\r\n\r\n";
      const std::vector<char> copy(text.begin(), text.end());  // nothing may be read behind it
      ResponseHead head;
      ASSERT_EQ(ParseResponseHead({copy.data(), copy.size()}, {wanted, fields}, head), HeadResult::kComplete);
      ASSERT_EQ(head.size, text.size());
      ASSERT_TRUE(head.framing.has_length);
      ASSERT_EQ(head.framing.length, 17u);
    }
  }
}

TEST(Http1DetectTest, OtherProtocolsAreRefused) {
  const std::vector<std::string> others = {
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "OPTIONS rtsp://example.com/media RTSP/1.0\r\n",
      "RTSP/1.0 200 OK\r\n",
      "INVITE sip:bob@example.com SIP/2.0\r\n",
      "SIP/2.0 200 OK\r\n",
      "SSH-2.0-OpenSSH_9.2\r\n",
      "220 mail.example.com ESMTP\r\n",
      "EHLO client.example\r\n",
      "*3\r\n$3\r\nSET\r\n",
      "GET key\r\n",
      "get key1 key2\r\n",
      "ICY 200 OK\r\n",
      "HTTP/2 200\r\n",
      "HTTP/1.2 200 OK\r\n",
      "HTTP/1.1 20x OK\r\n",
      "HTTP/1.1 2000 OK\r\n",
      "HTTP/1.1 099 OK\r\n",
      "GET / HTTP/1.1x\r\n",
      "GET /HTTP/1.1\r\n",
      "GET  HTTP/1.1\r\n",
      " GET / HTTP/1.1\r\n",
      "{\"method\":\"GET / HTTP/1.1\"}\r\n",
      std::string("\x16\x03\x01\x02\x00\x01", 6),
      std::string("\x00\x00\x00\x08\x04\xd2\x16\x2f", 8),
      std::string(70, 'A') + " / HTTP/1.1\r\n",
      "GET " + std::string(20000, 'a'),
  };
  for (const std::string& text : others) EXPECT_EQ(DetectEgress(text).match, Match::kNo) << text;
}

TEST(Http1DetectTest, BothDirectionsMustMakeSenseFromTheFirstByte) {
  DetectInput input;
  input.egress = "GET / HTTP/1.1\r\n";
  input.ingress = "SSH-2.0-OpenSSH\r\n";
  input.egress_at_run_start = input.ingress_at_run_start = true;
  input.from_first_byte = true;
  EXPECT_EQ(kHttp1Protocol.detect(input).match, Match::kNo);
  // Later the other direction may be amid a body.
  input.from_first_byte = false;
  EXPECT_EQ(kHttp1Protocol.detect(input).match, Match::kYes);
  input.ingress = "GET / HTTP/1.1\r\n";
  EXPECT_EQ(kHttp1Protocol.detect(input).match, Match::kNo);
}

TEST(Http1DetectTest, DirectionThatIsNotAtARunStartSaysNothing) {
  DetectInput input;
  input.egress = "GET / HTTP/1.1\r\n";
  EXPECT_EQ(kHttp1Protocol.detect(input).match, Match::kNeedMore);
}

// Bytes and characters at random, and words of HTTP in random order.
TEST(Http1DetectTest, RandomInputIsNeverTakenForHttp) {
  uint64_t state = 1;
  auto next = [&state] { return state = MixHash(state + 0x9E3779B97F4A7C15ull); };
  const std::vector<std::string> words = {"GET",  " ",    "/",   "HTTP/",  "1.1", "\r\n",
                                          "HTTP", "/1.",  "200", "host: ", "\n",  "\r",
                                          "*",    "POST", ":",   "HTTP/1", "."};
  for (int round = 0; round < 200000; ++round) {
    std::string text;
    switch (round % 3) {
      case 0:
        for (int i = 0; i < 16; ++i) {
          uint64_t word = next();
          text.append(reinterpret_cast<const char*>(&word), 8);
        }
        break;
      case 1:
        for (int i = 0; i < 128; ++i) text.push_back(static_cast<char>(' ' + next() % 95));
        text += "\r\n";
        break;
      default:
        for (int i = 0; i < 6; ++i) text += words[next() % words.size()];
        // By chance that may be HTTP; what must never happen is a match without its signature.
        if (text.find(" HTTP/1.") != std::string::npos || text.find("HTTP/1.") <= 4) continue;
    }
    ASSERT_NE(DetectEgress(text).match, Match::kYes) << text;
  }
}

// A parser that was started by mistake must not report anything either.
TEST(Http1DetectTest, RandomInputGivesNoExchange) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 300; ++round) {
    Conversation talk(round % 2 == 0 ? Role::kClient : Role::kServer);
    talk.set_from_first_byte(round % 3 == 0);
    for (int step = 0; step < 20; ++step) {
      std::string text(random() % 2000, '\0');
      for (char& c : text) c = static_cast<char>(random());
      if (random() % 2 == 0) {
        talk.Client(text);
      } else {
        talk.Server(text);
      }
      if (random() % 8 == 0) talk.ServerGap(1 + random() % 1000, random() % 2 == 0);
    }
    talk.Close();
    Outcome outcome = RunConversation(kHttp1Protocol, talk);
    ASSERT_TRUE(outcome.exchanges.empty());
    ASSERT_TRUE(outcome.violations.empty());
    ASSERT_EQ(outcome.begun, 0u);
  }
}

}  // namespace
}  // namespace zerotap
