// HTTP/1.x conversations with what must be read from them: whole, cut at every byte, without their
// start and with holes in them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "agent/protocols/http1.h"
#include "tests/support/parser_harness.h"

namespace zerotap {
namespace {

struct Http1Scenario {
  std::string name;
  Conversation (*talk)(Role role);
  std::vector<std::string> expected;  // summaries in the order they end
  ParseStatus status = ParseStatus::kOk;
};

const std::vector<Http1Scenario>& Http1Scenarios() {
  static const std::vector<Http1Scenario> kScenarios = {
      {"OneRequestWithContentLength",
       [](Role role) {
         return Conversation(role)
             .Client("GET /a?b=c HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello")
             .Close();
       },
       {"GET /a?b=c 200"}},
      {"KeepAlive",
       [](Role role) {
         return Conversation(role)
             .Client("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
             .Client("POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
             .Server("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
             .Client("DELETE /3 HTTP/1.1\r\nHost: a\r\n\r\n")
             .Server("HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nbad")
             .Client("GET /4 HTTP/1.1\r\nHost: a\r\n\r\n")
             .Server("HTTP/1.1 500 \r\nContent-Length: 3\r\n\r\nsad")
             .Close();
       },
       {"GET /1 200", "POST /2 201", "DELETE /3 404", "GET /4 500"}},
      {"PipelinedInOneSegment",
       [](Role role) {
         return Conversation(role)
             .Client("GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n")
             .Server(
                 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 404 No\r\n"
                 "Content-Length: 9\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
             .Client("GET /4 HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 204 No Content\r\n\r\n")
             .Close();
       },
       {"GET /1 200", "HEAD /2 404", "GET /3 503", "GET /4 204"}},
      {"PipelinedWithOverlap",
       [](Role role) {
         return Conversation(role)
             .Client("GET /1 HTTP/1.1\r\n\r\n")
             .Client("GET /2 HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
             .Client("GET /3 HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 201 OK\r\nContent-Length: 1\r\n\r\n2")
             .Client("GET /4 HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 202 OK\r\nContent-Length: 1\r\n\r\n3")
             .Server("HTTP/1.1 203 OK\r\nContent-Length: 1\r\n\r\n4")
             .Close();
       },
       {"GET /1 200", "GET /2 201", "GET /3 202", "GET /4 203"}},
      {"ChunkedResponseWithExtensionAndTrailers",
       [](Role role) {
         return Conversation(role)
             .Client("GET /c HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
             .Server("5;name=\"v\"\r\nhello\r\n")
             .Server("A \r\n0123456789\r\n")
             .Server("000\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n")
             .Client("GET /d HTTP/1.1\r\nHost: a\r\n\r\n")
             .Server("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n0\r\n\r\n")
             .Close();
       },
       {"GET /c 200", "GET /d 404"}},
      {"ChunkedRequest",
       [](Role role) {
         return Conversation(role)
             .Client("PUT /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
             .Client("1\r\nd\r\n0\r\n\r\n")
             .Server("HTTP/1.1 204 No Content\r\n\r\n")
             .Client("GET /next HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
             .Close();
       },
       {"PUT /up 204", "GET /next 200"}},
      {"CloseDelimitedResponse",
       [](Role role) {
         return Conversation(role)
             .Client("GET /old HTTP/1.0\r\n\r\n")
             .Server("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nsome ")
             .Server("text")
             .ServerEnd()
             .Close();
       },
       {"GET /old 200"}},
      {"ResponsesWithoutBody",
       [](Role role) {
         return Conversation(role)
             .Client("HEAD /h HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
             .Client("GET /m HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n")
             .Client("GET /n HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 204 No Content\r\n\r\n")
             .Client("HEAD /c HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
             .Client("GET /z HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nz")
             .Close();
       },
       {"HEAD /h 200", "GET /m 304", "GET /n 204", "HEAD /c 200", "GET /z 200"}},
      {"ContinueAndEarlyHints",
       [](Role role) {
         return Conversation(role)
             .Client("POST /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
             .Server("HTTP/1.1 100 Continue\r\n\r\n")
             .Client("data")
             .Server("HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
             .Client("GET /q HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
             .Close();
       },
       {"POST /p 200", "GET /q 200"}},
      {"UpgradeToWebSocket",
       [](Role role) {
         return Conversation(role)
             .Client("GET /a HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
             .Client("GET /chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
             .Server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
             .Client(std::string_view("\x81\x85\x00\x00\x00\x00hello", 11))
             .Server(std::string_view("\x81\x05hello", 7))
             .Close();
       },
       {"GET /a 200", "GET /chat 101"},
       ParseStatus::kDone},
      {"ConnectTunnel",
       [](Role role) {
         return Conversation(role)
             .Client("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
             .Server("HTTP/1.1 200 Connection established\r\n\r\n")
             .Client(std::string_view("\x16\x03\x01\x00\x05hello", 10))
             .Close();
       },
       {"CONNECT example.com:443 200"},
       ParseStatus::kDone},
      {"ConnectRefused",
       [](Role role) {
         return Conversation(role)
             .Client("CONNECT example.com:443 HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno")
             .Client("CONNECT example.com:80 HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
             .Close();
       },
       {"CONNECT example.com:443 407", "CONNECT example.com:80 502"}},
      {"TargetForms",
       [](Role role) {
         return Conversation(role)
             .Client("GET http://user:pw@example.com:8080/x?y HTTP/1.1\r\nHost: proxy\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
             .Client("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
             .Server("HTTP/1.1 204 No Content\r\n\r\n")
             .Close();
       },
       {"GET http://user:pw@example.com:8080/x?y 200", "OPTIONS * 204"}},
      {"AnyMethodToken",
       [](Role role) {
         return Conversation(role)
             .Client("PROPFIND /dav HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 207 Multi-Status\r\nContent-Length: 0\r\n\r\n")
             .Client("M-SEARCH * HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
             .Client("get! /x HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 501 Unsupported\r\nContent-Length: 0\r\n\r\n")
             .Close();
       },
       {"PROPFIND /dav 207", "M-SEARCH * 200", "get! /x 501"}},
      {"LenientLineEndsFoldsAndSpaces",
       [](Role role) {
         return Conversation(role)
             .Client(
                 "\r\n\r\nPOST  /l \tHTTP/1.1 \nHost:\t a \nX-Long: one\n two\n\tthree\n"
                 "CONTENT-LENGTH :  3 \n\nabc\r\n")
             .Server("HTTP/1.1  200  Fine\nContent-length:2,\n 2\n\nok")
             .Client("\nGET /m HTTP/1.1\n\n")
             .Server("HTTP/1.1 200\ntransfer-encoding:chunked\n\n2\nab\n0\n\n")
             .Close();
       },
       {"POST /l 200", "GET /m 200"}},
      {"TransferEncodingWinsOverContentLength",
       [](Role role) {
         return Conversation(role)
             .Client(
                 "POST /t HTTP/1.1\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "1\r\nx\r\n0\r\n\r\n")
             .Server(
                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"
                 "2\r\nyy\r\n0\r\n\r\n")
             .Client("GET /u HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
             .Close();
       },
       {"POST /t 200", "GET /u 200"}},
      {"ResponseBeforeTheRequestIsComplete",
       [](Role role) {
         return Conversation(role)
             .Client("POST /big HTTP/1.1\r\nContent-Length: 10\r\n\r\n01234")
             .Server("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
             .Client("56789")
             .Client("GET /after HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
             .Close();
       },
       {"POST /big 413", "GET /after 200"}},
      {"HalfClosedClientGetsItsResponse",
       [](Role role) {
         return Conversation(role)
             .Client("GET /half HTTP/1.0\r\n\r\n")
             .ClientEnd()
             .Server("HTTP/1.0 200 OK\r\n\r\nbody")
             .ServerEnd()
             .Close();
       },
       {"GET /half 200"}},
      {"ResetBeforeTheResponse",
       [](Role role) {
         return Conversation(role).Client("GET /r HTTP/1.1\r\n\r\n").Close(EndReason::kReset);
       },
       {"GET /r 0 !connection_reset"}},
      {"ClosedBeforeTheResponse",
       [](Role role) {
         return Conversation(role).Client("GET /r HTTP/1.1\r\n\r\n").ServerEnd().Close();
       },
       {"GET /r 0 !connection_closed"}},
      {"TimeoutInsideTheBody",
       [](Role role) {
         return Conversation(role)
             .Client("GET /r HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123")
             .Close(EndReason::kTimeout);
       },
       {"GET /r 200 !timeout"}},
      {"ClosedInsideAChunk",
       [](Role role) {
         return Conversation(role)
             .Client("GET /r HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123")
             .ServerEnd()
             .Close();
       },
       {"GET /r 200 !connection_closed"}},
      {"ClosedInsideTheResponseHead",
       [](Role role) {
         return Conversation(role)
             .Client("GET /r HTTP/1.1\r\n\r\nGET /s HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nContent-Le")
             .ServerEnd()
             .Close();
       },
       {"GET /r 0 !connection_closed", "GET /s 0 !connection_closed"}},
      {"ResetOfACloseDelimitedResponse",
       [](Role role) {
         return Conversation(role)
             .Client("GET /r HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\n\r\nsome")
             .Close(EndReason::kReset);
       },
       {"GET /r 200 !connection_reset"}},
      {"ServerSpeaksUnaskedBeforeClosing",
       [](Role role) {
         return Conversation(role)
             .Client("GET /a HTTP/1.1\r\n\r\n")
             .Server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
             .Server("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
             .ServerEnd()
             .Close();
       },
       {"GET /a 200"}},
  };
  return kScenarios;
}

using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

class Http1ScenarioTest : public ::testing::TestWithParam<std::tuple<size_t /*scenario*/, Role>> {
 protected:
  const Http1Scenario& scenario() const { return Http1Scenarios()[std::get<0>(GetParam())]; }
  // What is false in a partial capture. A client that always keeps a request ahead looks, from any
  // point on, like one that waits for each response: what was outstanding before that point cannot
  // be known, so only the contract is checked.
  std::string Falsehood(const Outcome& part, const Outcome& whole) const {
    if (scenario().name != "PipelinedWithOverlap") return FalseIn(part, whole);
    return part.violations.empty() ? "" : part.violations.front();
  }
  Conversation Talk() const { return scenario().talk(std::get<1>(GetParam())); }
};

TEST_P(Http1ScenarioTest, GivesTheExpectedExchanges) {
  Outcome outcome = RunConversation(kHttp1Protocol, Talk());
  EXPECT_THAT(outcome.violations, IsEmpty());
  EXPECT_THAT(outcome.Summaries(), ElementsAreArray(scenario().expected));
  EXPECT_THAT(outcome.drops, IsEmpty());
  EXPECT_EQ(outcome.status, scenario().status);
  for (const RecordedExchange& exchange : outcome.exchanges) EXPECT_FALSE(exchange.incomplete);
}

TEST_P(Http1ScenarioTest, GivesTheSameCutAtEveryByte) {
  Conversation talk = Talk();
  Outcome whole = RunConversation(kHttp1Protocol, talk);
  for (size_t position = 1; position < talk.data_bytes(); ++position) {
    Outcome cut = RunConversation(kHttp1Protocol, CutAt(talk, position));
    ASSERT_THAT(cut.violations, IsEmpty()) << position;
    ASSERT_EQ(cut.exchanges, whole.exchanges) << position;
    ASSERT_EQ(cut.drops, whole.drops) << position;
  }
  for (size_t size : {1, 2, 3, 7}) {
    Outcome cut = RunConversation(kHttp1Protocol, CutEvery(talk, size));
    ASSERT_THAT(cut.violations, IsEmpty()) << size;
    ASSERT_EQ(cut.exchanges, whole.exchanges) << size;
  }
}

TEST_P(Http1ScenarioTest, SaysNothingFalseWithoutItsStart) {
  Conversation talk = Talk();
  Outcome whole = RunConversation(kHttp1Protocol, talk);
  for (size_t skipped = 1; skipped < talk.steps().size(); ++skipped) {
    if (talk.steps()[skipped].direction == talk.steps()[skipped - 1].direction) continue;
    Outcome late = RunConversation(kHttp1Protocol, WithoutStart(talk, skipped));
    ASSERT_EQ(Falsehood(late, whole), "") << skipped << " steps";
  }
}

TEST_P(Http1ScenarioTest, SaysNothingFalseWithHoles) {
  Conversation talk = Talk();
  Outcome whole = RunConversation(kHttp1Protocol, talk);
  const size_t total = talk.data_bytes();
  for (bool lost : {false, true}) {
    for (size_t size : {size_t{1}, size_t{2}, size_t{9}, size_t{40}, size_t{100}, size_t{200}}) {
      for (size_t from = 0; from < total; ++from) {
        Outcome holed =
            RunConversation(kHttp1Protocol, WithoutRange(talk, from, from + size, lost));
        ASSERT_EQ(Falsehood(holed, whole), "") << from << "+" << size << (lost ? " lost" : "");
      }
    }
    // Whole steps, one or several.
    std::vector<size_t> edges = {0};
    for (const Step& step : talk.steps()) edges.push_back(edges.back() + step.bytes.size());
    for (size_t i = 0; i < edges.size(); ++i) {
      for (size_t j = i + 1; j < edges.size(); ++j) {
        Outcome holed =
            RunConversation(kHttp1Protocol, WithoutRange(talk, edges[i], edges[j], lost));
        ASSERT_EQ(Falsehood(holed, whole), "")
            << edges[i] << ".." << edges[j] << (lost ? " lost" : "");
      }
    }
  }
}

TEST_P(Http1ScenarioTest, SaysNothingFalseWithSmallBudgets) {
  Conversation talk = Talk();
  Outcome whole = RunConversation(kHttp1Protocol, talk);
  for (size_t head = 0; head < 80; head += 5) {
    for (size_t tail : {0, 4, 16}) {
      Outcome trimmed = RunConversation(kHttp1Protocol, HeadsAndTails(talk, head, tail));
      ASSERT_EQ(Falsehood(trimmed, whole), "") << head << " and " << tail;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Http1ScenarioTest,
                         ::testing::Combine(::testing::Range<size_t>(0, Http1Scenarios().size()),
                                            ::testing::Values(Role::kClient, Role::kServer)),
                         [](const ::testing::TestParamInfo<std::tuple<size_t, Role>>& scenario) {
                           return Http1Scenarios()[std::get<0>(scenario.param)].name +
                                  (std::get<1>(scenario.param) == Role::kClient ? "Client"
                                                                                : "Server");
                         });

}  // namespace
}  // namespace zerotap
