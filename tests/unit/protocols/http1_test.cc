// What the HTTP/1.x parser reports: fields, sizes, times, and what it does at its limits and at
// holes.
#include "agent/protocols/http1.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/parser_harness.h"

namespace zerotap {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

std::string Get(std::string_view path) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: a\r\n\r\n";
}

Outcome Observe(const Conversation& talk, const ParserOptions& options = ParserOptions()) {
  Outcome outcome = RunConversation(kHttp1Protocol, talk, options);
  EXPECT_THAT(outcome.violations, IsEmpty());
  EXPECT_EQ(outcome.begun, outcome.exchanges.size() + outcome.drops.size());
  return outcome;
}

// The only exchange of a request with these header lines, each ended by CRLF.
RecordedExchange WithRequestHeaders(std::string_view headers, const ParserOptions& options = {}) {
  Conversation talk(Role::kServer);
  talk.Client("GET / HTTP/1.1\r\n" + std::string(headers) + "\r\n").Server(kOk).Close();
  Outcome outcome = Observe(talk, options);
  EXPECT_THAT(outcome.exchanges, SizeIs(1));
  return outcome.exchanges.empty() ? RecordedExchange() : outcome.exchanges[0];
}

// ---- Fields, times and sizes ----------------------------------------------------------------

TEST(Http1FieldsTest, ReportsWhoWhenAndWhere) {
  Conversation talk(Role::kClient);
  talk.At(5000).Thread(11).Client("GET /x HT").At(6000).Thread(12, false).Context(77, 66);
  talk.Client(
      "TP/1.0\r\nHost: api.example:8080\r\nUser-Agent: curl/8\r\nX-Request-ID: r-1\r\n\r\n");
  talk.At(9000).Thread(13).Server("HTTP/1.0 302 Found\r\nContent-Length: 3\r\n\r\n1");
  talk.At(9500).Server("23").Close();
  Outcome outcome = Observe(talk);
  ASSERT_THAT(outcome.exchanges, SizeIs(1));
  const RecordedExchange& exchange = outcome.exchanges[0];
  EXPECT_EQ(exchange.start_ns, 5000u);
  EXPECT_EQ(exchange.end_ns, 9500 + Conversation::kTransferNs);
  EXPECT_EQ(exchange.tid, 12u);  // completed the head
  EXPECT_FALSE(exchange.blocking);
  EXPECT_EQ(exchange.context_id, 77u);
  EXPECT_EQ(exchange.parent_context_id, 66u);
  EXPECT_EQ(exchange.request_offset, 0u);
  EXPECT_EQ(exchange.method, "GET");
  EXPECT_EQ(exchange.target, "/x");
  EXPECT_EQ(exchange.version, "1.0");
  EXPECT_EQ(exchange.scheme, "http");
  EXPECT_EQ(exchange.host, "api.example:8080");
  EXPECT_EQ(exchange.user_agent, "curl/8");
  EXPECT_EQ(exchange.request_id, "r-1");
  EXPECT_EQ(exchange.http_status, 302);
  EXPECT_EQ(exchange.request_body_size, 0u);
  EXPECT_EQ(exchange.response_body_size, 3u);
  EXPECT_FALSE(exchange.upgraded);
}

TEST(Http1FieldsTest, OffsetOfALaterRequestIsThatOfItsFirstByte) {
  Conversation talk(Role::kServer);
  talk.Client(Get("/1") + "\r\n" + Get("/2")).Server(std::string(kOk) + std::string(kOk)).Close();
  Outcome outcome = Observe(talk);
  ASSERT_THAT(outcome.exchanges, SizeIs(2));
  EXPECT_EQ(outcome.exchanges[1].request_offset, Get("/1").size() + 2);
}

TEST(Http1FieldsTest, SizesLeaveOutTheFraming) {
  Conversation talk(Role::kServer);
  talk.Client("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10;x=y\r\n" +
              std::string(16, 'd') + "\r\n0\r\nT: 1\r\n\r\n");
  talk.Server("HTTP/1.1 200 OK\r\n\r\nuntil the end").ServerEnd();
  Outcome outcome = Observe(talk);
  ASSERT_THAT(outcome.exchanges, SizeIs(1));
  EXPECT_EQ(outcome.exchanges[0].request_body_size, 19u);
  EXPECT_EQ(outcome.exchanges[0].response_body_size, 13u);
}

TEST(Http1FieldsTest, CloseDelimitedResponseEndsAtTheFin) {
  Conversation talk(Role::kClient);
  talk.Client("GET / HTTP/1.0\r\n\r\n").Server("HTTP/1.0 200 OK\r\n\r\nx").At(50000).ServerEnd();
  Outcome outcome = Observe(talk);
  ASSERT_THAT(outcome.exchanges, SizeIs(1));
  EXPECT_EQ(outcome.exchanges[0].end_ns, 50000 + Conversation::kTransferNs);
  EXPECT_EQ(outcome.exchanges[0].transport_error, "");
}

TEST(Http1FieldsTest, RequestBodyThatNeverEndedHasNoSize) {
  Conversation talk(Role::kServer);
  talk.Client("PUT / HTTP/1.1\r\nContent-Length: 10\r\n\r\n123").Server(kOk).Close();
  Outcome outcome = Observe(talk);
  ASSERT_THAT(outcome.exchanges, SizeIs(1));
  EXPECT_EQ(outcome.exchanges[0].request_body_size, std::nullopt);
}

TEST(Http1FieldsTest, HostOfTheTargetComesBeforeTheHeader) {
  Conversation talk(Role::kServer);
  talk.Client("GET http://u:p@real.example:81/x HTTP/1.1\r\nHost: other\r\n\r\n").Server(kOk);
  talk.Client("CONNECT tunnel.example:443 HTTP/1.1\r\nHost: tunnel.example\r\n\r\n").Server("HTTP/1.1 200 OK\r\n\r\n");
  Outcome outcome = Observe(talk);
  ASSERT_THAT(outcome.exchanges, SizeIs(2));
  EXPECT_EQ(outcome.exchanges[0].host, "real.example:81");
  EXPECT_EQ(outcome.exchanges[1].host, "tunnel.example:443");
  EXPECT_TRUE(outcome.exchanges[1].upgraded);
}

TEST(Http1FieldsTest, LongTargetIsCut) {
  ParserOptions options;
  options.max_target_bytes = 10;
  Conversation talk(Role::kServer);
  talk.Client(Get("/0123456789abcdef")).Server(kOk);
  Outcome outcome = Observe(talk, options);
  ASSERT_THAT(outcome.exchanges, SizeIs(1));
  EXPECT_EQ(outcome.exchanges[0].target, "/012345678");
}

TEST(Http1FieldsTest, TraceContextIsRead) {
  RecordedExchange exchange = WithRequestHeaders(
      "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
      "tracestate: a=1\r\nTraceState: b=2\r\n");
  ASSERT_TRUE(exchange.trace_context.has_value());
  EXPECT_EQ(exchange.trace_context->trace_id.Hex(), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(exchange.trace_context->span_id.Hex(), "b7ad6b7169203331");
  EXPECT_TRUE(exchange.trace_context->sampled());
  EXPECT_EQ(exchange.trace_state, "a=1,b=2");
}

TEST(Http1FieldsTest, SeveralTraceparentsAreNone) {
  RecordedExchange exchange = WithRequestHeaders(
      "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
      "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203332-01\r\n"
      "tracestate: a=1\r\n");
  EXPECT_FALSE(exchange.trace_context.has_value());
  EXPECT_EQ(exchange.trace_state, "");
}

TEST(Http1FieldsTest, B3InEitherForm) {
  RecordedExchange single = WithRequestHeaders(
      "b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90\r\n");
  EXPECT_EQ(single.b3_trace_id, "80f198ee56343ba864fe8b2a57d3eff7");
  EXPECT_EQ(single.b3_span_id, "e457b5a2e4d86bd1");
  RecordedExchange several = WithRequestHeaders(
      "X-B3-TraceId: 463ac35c9f6413ad\r\nX-B3-SpanId: a2fb4a1d1a96d312\r\nX-B3-Sampled: 1\r\n");
  EXPECT_EQ(several.b3_trace_id, "463ac35c9f6413ad");
  EXPECT_EQ(several.b3_span_id, "a2fb4a1d1a96d312");
  RecordedExchange none = WithRequestHeaders("b3: 0\r\nX-B3-TraceId: zz\r\n");
  EXPECT_EQ(none.b3_trace_id, "");
}

TEST(Http1FieldsTest, ClientAddressFromForwardingHeaders) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"X-Forwarded-For: 203.0.113.7, 10.0.0.1\r\n", "203.0.113.7"},
      {"X-Forwarded-For: 203.0.113.7:4711\r\n", "203.0.113.7"},
      {"X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1"},
      {"X-Forwarded-For: [2001:db8::1]:80\r\n", "2001:db8::1"},
      {"X-Forwarded-For: unknown\r\n", ""},
      {"X-Forwarded-For: <script>\r\n", ""},
      {"Forwarded: for=192.0.2.60;proto=http;by=203.0.113.43\r\n", "192.0.2.60"},
      {"Forwarded: proto=http; For=\"[2001:db8:cafe::17]:4711\", for=10.0.0.1\r\n",
       "2001:db8:cafe::17"},
      {"Forwarded: for=\"192.0.2.43:80\"\r\nX-Forwarded-For: 10.0.0.9\r\n", "192.0.2.43"},
      {"Forwarded: for=_hidden\r\n", ""},
      {"Forwarded: for=\"_a,b\", for=1.2.3.4\r\nX-Forwarded-For: 10.0.0.9\r\n", "10.0.0.9"},
      {"Forwarded: for=\"[::1\r\n", ""},
      {"Forwarded: for\r\n", ""},
  };
  for (const auto& [headers, expected] : cases) {
    EXPECT_EQ(WithRequestHeaders(headers).forwarded_for, expected) << headers;
  }
}

TEST(Http1FieldsTest, OnlyAllowListedHeadersAndNeverSecrets) {
  ParserOptions options;
  options.request_headers = {"x-tenant", "authorization", "cookie", "x-api-key", "my_header"};
  options.response_headers = {"content-type", "set-cookie"};
  Conversation talk(Role::kServer);
  talk.Client(
      "GET / HTTP/1.1\r\nX-Tenant: t1\r\nAuthorization: Bearer x\r\nCookie: c=1\r\n"
      "X-API-Key: k\r\nx-tenant:\r\n t2\r\nMy_Header: v\r\nOther: o\r\n\r\n");
  talk.Server("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: s=1\r\n");
  talk.Server("Content-Length: 0\r\n\r\n");
  Outcome outcome = Observe(talk, options);
  ASSERT_THAT(outcome.exchanges, SizeIs(1));
  EXPECT_THAT(outcome.exchanges[0].request_headers,
              ElementsAre(Pair("x-tenant", "t1"), Pair("x-tenant", "t2"), Pair("my_header", "v")));
  EXPECT_THAT(outcome.exchanges[0].response_headers,
              ElementsAre(Pair("content-type", "text/html")));
}

TEST(Http1FieldsTest, UpgradeEndsWithTheLastByteOfItsHead) {
  Conversation talk(Role::kServer);
  talk.Client("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
  talk.At(7000).Server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi");
  talk.At(90000).Server("\x88").Close(EndReason::kReset);
  Outcome outcome = Observe(talk);
  EXPECT_EQ(outcome.status, ParseStatus::kDone);
  ASSERT_THAT(outcome.exchanges, SizeIs(1));
  EXPECT_TRUE(outcome.exchanges[0].upgraded);
  EXPECT_EQ(outcome.exchanges[0].end_ns, 7000 + Conversation::kTransferNs);
}

// ---- Limits and nonsense --------------------------------------------------------------------

TEST(Http1LimitsTest, HeadOfSixtyKilobytesIsReadWhole) {
  std::string head = "POST /big HTTP/1.1\r\n";
  while (head.size() < 60 * 1024) head += "X-Filler: " + std::string(100, 'f') + "\r\n";
  head += "User-Agent: late\r\nContent-Length: 3\r\n\r\n";
  for (size_t piece : {size_t{1} << 20, size_t{16384}, size_t{1000}, size_t{1}}) {
    Conversation talk(Role::kServer);
    talk.Client(head + "abc").Server(kOk).Client(Get("/next")).Server(kOk).Close();
    Outcome outcome = Observe(CutEvery(talk, piece));
    EXPECT_THAT(outcome.Summaries(), ElementsAre("POST /big 200", "GET /next 200"));
    EXPECT_EQ(outcome.exchanges[0].user_agent, "late");
    EXPECT_EQ(outcome.exchanges[0].request_body_size, 3u);
  }
}

TEST(Http1LimitsTest, HeadersAboveTheCapAreLeftOutButFramingIsRight) {
  ParserOptions options;
  options.max_head_bytes = 2048;
  std::string head = "POST /big HTTP/1.1\r\nHost: early\r\n";
  while (head.size() < 5000) head += "X-Filler: " + std::string(90, 'f') + "\r\n";
  head += "X-One-Line: " + std::string(9000, 'g') +
          "\r\nContent-Length: 3\r\nX-Request-ID: late\r\n\r\n";
  Conversation talk(Role::kServer);
  talk.Client(head + "abc").Server(kOk).Client(Get("/next")).Server(kOk).Close();
  Outcome whole = Observe(talk, options);
  EXPECT_THAT(whole.Summaries(), ElementsAre("POST /big 200", "GET /next 200"));
  EXPECT_EQ(whole.exchanges[0].host, "early");
  EXPECT_EQ(whole.exchanges[0].request_id, "");
  EXPECT_EQ(whole.exchanges[0].request_body_size, 3u);
  EXPECT_LT(whole.largest_memory, 16 * 1024u);
  for (size_t piece : {1, 5, 1024, 2048, 2049}) {
    EXPECT_EQ(Observe(CutEvery(talk, piece), options).exchanges, whole.exchanges) << piece;
  }
}

TEST(Http1LimitsTest, EndlessHeadDoesNotGrowMemory) {
  Conversation talk(Role::kServer);
  talk.Client("GET / HTTP/1.1\r\n");
  for (int i = 0; i < 2000; ++i)
    talk.Client("X-Header-" + std::to_string(i) + ": " + std::string(500, 'x') + "\r\n");
  for (int i = 0; i < 1000; ++i) talk.Client("Content-Length: 5\r\n" + std::string(500, 'x'));
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.exchanges, IsEmpty());
  EXPECT_LT(outcome.largest_memory, 160 * 1024u);
}

TEST(Http1LimitsTest, EndlessRequestLineIsInvalid) {
  Conversation talk(Role::kServer);
  for (int i = 0; i < 200; ++i) talk.Client(i == 0 ? "GET /" : std::string(1000, 'x'));
  Outcome outcome = Observe(talk);
  EXPECT_EQ(outcome.status, ParseStatus::kInvalid);
  EXPECT_LT(outcome.largest_memory, 160 * 1024u);
}

TEST(Http1LimitsTest, RequestsAboveTheLimitAreDroppedAndTheOthersStayPaired) {
  ParserOptions options;
  options.max_requests_in_flight = 2;
  Conversation talk(Role::kServer);
  talk.Client(Get("/1") + Get("/2") + "HEAD /3 HTTP/1.1\r\n\r\n" + Get("/4"));
  talk.Server("HTTP/1.1 201 A\r\nContent-Length: 0\r\n\r\n");
  talk.Client(Get("/5"));
  talk.Server(
      "HTTP/1.1 202 A\r\nContent-Length: 0\r\n\r\nHTTP/1.1 203 A\r\nContent-Length: 9\r\n\r\n");
  talk.Server(
      "HTTP/1.1 404 A\r\nContent-Length: 1\r\n\r\n4HTTP/1.1 405 A\r\nContent-Length: 0\r\n\r\n");
  talk.Client(Get("/6")).Server("HTTP/1.1 206 A\r\nContent-Length: 0\r\n\r\n").Close();
  Outcome outcome = Observe(talk, options);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("GET /1 201", "GET /2 202", "GET /6 206"));
  ASSERT_THAT(outcome.drops, SizeIs(3));
  for (const RecordedDrop& drop : outcome.drops) EXPECT_EQ(drop.reason, DropReason::kParserLimit);
}

TEST(Http1LimitsTest, ManyRequestsInFlightAreBounded) {
  Conversation talk(Role::kServer);
  std::string batch;
  for (int i = 0; i < 1000; ++i) batch += Get("/" + std::string(2000, 'x'));
  for (int i = 0; i < 20; ++i) talk.Client(batch);
  Outcome outcome = Observe(talk);
  EXPECT_EQ(outcome.begun, 20000u);
  EXPECT_LT(outcome.largest_memory, 8 * 1024 * 1024u);
}

TEST(Http1LimitsTest, ConflictingLengthsAreInvalid) {
  for (std::string_view headers :
       {"Content-Length: 1\r\nContent-Length: 2\r\n", "Content-Length: -1\r\n",
        "Content-Length: 1, 2\r\n", "Content-Length: 99999999999999999999\r\n",
        "Content-Length:\r\n", "Transfer-Encoding: gzip\r\n"}) {
    Conversation talk(Role::kServer);
    talk.Client("POST / HTTP/1.1\r\n" + std::string(headers) + "\r\n").Server(kOk);
    Outcome outcome = Observe(talk);
    EXPECT_EQ(outcome.status, ParseStatus::kInvalid) << headers;
    EXPECT_THAT(outcome.exchanges, IsEmpty());
    EXPECT_THAT(outcome.drops, ElementsAre(RecordedDrop{0, DropReason::kInvalid}));
  }
}

TEST(Http1LimitsTest, NonsenseDropsWhatIsInFlight) {
  Conversation in_request(Role::kServer);
  in_request.Client(Get("/1")).Client("\x16\x03\x01 binary");
  Conversation in_response(Role::kServer);
  in_response.Client(Get("/1")).Server("SSH-2.0-OpenSSH\r\n");
  Conversation in_chunk(Role::kServer);
  in_chunk.Client(Get("/1")).Server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n");
  for (const Conversation& talk : {in_request, in_response, in_chunk}) {
    Outcome outcome = Observe(talk);
    EXPECT_EQ(outcome.status, ParseStatus::kInvalid);
    EXPECT_THAT(outcome.exchanges, IsEmpty());
    EXPECT_THAT(outcome.drops, ElementsAre(RecordedDrop{0, DropReason::kInvalid}));
  }
}

TEST(Http1LimitsTest, BodyOfAHeadResponseThatShouldNotBeThereIsSkipped) {
  Conversation talk(Role::kServer);
  talk.Client("HEAD /1 HTTP/1.1\r\n\r\n");
  talk.Server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  talk.Client(Get("/2")).Server(kOk).Close();
  EXPECT_THAT(Observe(talk).Summaries(), ElementsAre("HEAD /1 200", "GET /2 200"));
}

TEST(Http1LimitsTest, AbandonDropsWithItsReason) {
  Conversation talk(Role::kClient);
  talk.Client(Get("/1") + Get("/2")).Abandon(DropReason::kEvicted);
  Outcome outcome = Observe(talk);
  ASSERT_THAT(outcome.drops, SizeIs(2));
  EXPECT_EQ(outcome.drops[0].reason, DropReason::kEvicted);
}

// ---- Starting in the middle -----------------------------------------------------------------

TEST(Http1MidStreamTest, ResponseToAnUnseenRequestIsSkipped) {
  Conversation talk(Role::kClient);
  talk.set_from_first_byte(false);
  talk.Server(
      "HTTP/1.1 500 No\r\nContent-Length: 40\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n "
      "ab");
  talk.Client(Get("/1")).Server(kOk).Close();
  EXPECT_THAT(Observe(talk).Summaries(), ElementsAre("GET /1 200"));
}

TEST(Http1MidStreamTest, BodyInProgressIsSkipped) {
  Conversation talk(Role::kServer);
  talk.set_from_first_byte(false);
  talk.Server("rest of some body\r\nHTTP/1.1 200 OK\r\n\r\n").Server("more of it");
  talk.Client(Get("/1")).Server(kOk).Client(Get("/2")).Server(kOk).Close();
  EXPECT_THAT(Observe(talk).Summaries(), ElementsAre("GET /1 200", "GET /2 200"));
}

TEST(Http1MidStreamTest, UploadInProgressIsSkipped) {
  Conversation talk(Role::kServer);
  talk.set_from_first_byte(false);
  talk.Client("binary upload\r\n").Client(Get("/not-a-request"));
  talk.Server("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
  talk.Client(Get("/1")).Server(kOk).Close();
  EXPECT_THAT(Observe(talk).Summaries(), ElementsAre("GET /1 200"));
}

TEST(Http1MidStreamTest, SeveralRequestsAtOnceAreNotPairedWhenOlderOnesMayBeOutstanding) {
  Conversation talk(Role::kClient);
  talk.set_from_first_byte(false);
  talk.Client(Get("/2") + Get("/3"));
  talk.Server("HTTP/1.1 201 /1\r\nContent-Length: 0\r\n\r\n");
  talk.Server("HTTP/1.1 202 /2\r\nContent-Length: 0\r\n\r\n");
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.exchanges, IsEmpty());
  EXPECT_THAT(outcome.drops, SizeIs(2));
}

TEST(Http1MidStreamTest, UpgradeWithoutItsRequestEndsTheParsing) {
  Conversation talk(Role::kClient);
  talk.set_from_first_byte(false);
  talk.Server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n");
  EXPECT_EQ(Observe(talk).status, ParseStatus::kDone);
}

TEST(Http1MidStreamTest, RequestReportedAfterItsResponseIsNotPairedWithTheNext) {
  // Two threads of a client: the one that reads reports first.
  Conversation talk(Role::kClient);
  talk.At(2000).Server("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
  talk.At(1000).Client(Get("/1"));
  talk.At(5000).Client(Get("/2")).Server(kOk).Client(Get("/3")).Server(kOk).Close();
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("GET /2 200", "GET /3 200"));
  EXPECT_THAT(outcome.drops, ElementsAre(RecordedDrop{0, DropReason::kCaptureGap}));
}

// ---- Holes ----------------------------------------------------------------------------------

TEST(Http1GapTest, BodyInAGapIsExact) {
  Conversation talk(Role::kServer);
  talk.Client("PUT / HTTP/1.1\r\nContent-Length: 5000000000\r\n\r\n").ClientGap(5'000'000'000);
  talk.Server("HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\nab");
  talk.At(77000).ServerGap(2998);
  talk.Client(Get("/2")).Server(kOk).Close();
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("PUT / 200", "GET /2 200"));
  EXPECT_EQ(outcome.exchanges[0].end_ns, 77000 + Conversation::kTransferNs);
  EXPECT_FALSE(outcome.exchanges[0].incomplete);
  EXPECT_EQ(outcome.exchanges[0].request_body_size, 5'000'000'000u);
  EXPECT_EQ(outcome.exchanges[0].response_body_size, 3000u);
  EXPECT_THAT(outcome.drops, IsEmpty());
}

TEST(Http1GapTest, ChunkDataInAGapIsExact) {
  for (uint64_t hidden : {900u, 1000u, 1001u, 1002u}) {
    Conversation talk(Role::kServer);
    std::string rest = std::string(1000, 'd') + "\r\n4\r\nmore\r\n0\r\n\r\n";
    talk.Client(Get("/1")).Server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n");
    talk.ServerGap(hidden).Server(rest.substr(hidden)).Client(Get("/2")).Server(kOk).Close();
    Outcome outcome = Observe(talk);
    EXPECT_THAT(outcome.Summaries(), ElementsAre("GET /1 200", "GET /2 200"));
    EXPECT_FALSE(outcome.exchanges[0].incomplete);
    EXPECT_EQ(outcome.exchanges[0].response_body_size, 1004u);
  }
}

TEST(Http1GapTest, EndOfAChunkedResponseIsRecognisedWhenItsFramingWasLost) {
  for (std::string_view tail :
       {"text\r\n0\r\n\r\n", "text\r\n000;e=1\r\nX-Sum: 1\r\n\r\n", "0\r\n\r\n"}) {
    Conversation talk(Role::kServer);
    talk.Client(Get("/1")).Server(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\nabc");
    talk.ServerGap(5000)
        .Server("amid\r\nthe data")
        .ServerGap(100)
        .At(60000)
        .Server(tail)
        .Client(Get("/2"))
        .Server(kOk)
        .Close();
    for (size_t piece : {100, 1}) {
      Outcome outcome = Observe(CutEvery(talk, piece));
      EXPECT_THAT(outcome.Summaries(), ElementsAre("GET /1 200", "GET /2 200")) << tail;
      EXPECT_EQ(outcome.exchanges[0].end_ns, 60000 + Conversation::kTransferNs);
      EXPECT_FALSE(outcome.exchanges[0].incomplete);
      EXPECT_EQ(outcome.exchanges[0].response_body_size, std::nullopt);
    }
  }
}

TEST(Http1GapTest, ChunkedResponseWithoutVisibleEndEndsWithTheNextRequest) {
  Conversation talk(Role::kServer);
  talk.Client(Get("/1")).Server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\nabc");
  talk.At(60000).ServerGap(5000).At(90000).Client(Get("/2")).Server(kOk).Close();
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("GET /1 200", "GET /2 200"));
  EXPECT_TRUE(outcome.exchanges[0].incomplete);
  EXPECT_EQ(outcome.exchanges[0].end_ns, 60000 + Conversation::kTransferNs);
}

TEST(Http1GapTest, ChunkedResponseWithoutVisibleEndEndsWithTheConnection) {
  Conversation talk(Role::kServer);
  talk.Client(Get("/1")).Server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\nabc");
  talk.At(60000).ServerGap(5000).At(90000).Close();
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("GET /1 200"));
  EXPECT_TRUE(outcome.exchanges[0].incomplete);
  EXPECT_EQ(outcome.exchanges[0].end_ns, 60000 + Conversation::kTransferNs);
}

TEST(Http1GapTest, LostChunkedRequestBodyDoesNotTouchItsExchange) {
  Conversation talk(Role::kServer);
  talk.Client("PUT /1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\nabc").ClientGap(100000);
  talk.Client("end of a read\r\n0\r\n\r\n").Server(kOk).Client(Get("/2")).Server(kOk).Close();
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("PUT /1 200", "GET /2 200"));
  EXPECT_EQ(outcome.exchanges[0].request_body_size, std::nullopt);
}

TEST(Http1GapTest, GapInARequestHeadDropsThatRequestOnly) {
  Conversation talk(Role::kServer);
  talk.Client(Get("/1")).Server(kOk);
  talk.Client("GET /2 HTTP/1.1\r\nCookie: ").ClientGap(40000).Client("end\r\n\r\n").Server(kOk);
  talk.Client(Get("/3")).Server(kOk).Close();
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("GET /1 200", "GET /3 200"));
  EXPECT_THAT(outcome.drops, ElementsAre(RecordedDrop{Get("/1").size(), DropReason::kCaptureGap}));
}

TEST(Http1GapTest, AResponseHeadLongerThanWhatIsCapturedKeepsItsStatus) {
  Conversation talk(Role::kServer);
  talk.Client(Get("/1")).Server("HTTP/1.1 404 No\r\nLink: ").ServerGap(9000).Server("\r\n\r\nbody");
  talk.Client(Get("/2")).Server(kOk).Client(Get("/3")).Server(kOk).Close();
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("GET /1 404", "GET /2 200", "GET /3 200"));
  EXPECT_TRUE(outcome.exchanges[0].incomplete);
  EXPECT_THAT(outcome.drops, ElementsAre());
}

TEST(Http1GapTest, GapInAStatusLineDropsItsRequestOnly) {
  Conversation talk(Role::kServer);
  talk.Client(Get("/1")).Server("HTTP/1.1 20").ServerGap(9000).Server("\r\n\r\n");
  talk.Client(Get("/2")).Server(kOk).Close();
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("GET /2 200"));
  EXPECT_THAT(outcome.drops, ElementsAre(RecordedDrop{0, DropReason::kCaptureGap}));
}

TEST(Http1GapTest, OfSeveralAnswersALongHeadHidesAll) {
  Conversation talk(Role::kServer);
  talk.Client(Get("/1") + Get("/2")).Server("HTTP/1.1 200 OK\r\nLink: ").ServerGap(9000);
  talk.Server("\r\n\r\n").Close();
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre());
  EXPECT_EQ(outcome.drops.size(), 2u);
}

TEST(Http1GapTest, LostRequestLeavesItsResponseUnpaired) {
  Conversation talk(Role::kServer);
  talk.Client(Get("/1")).Server("HTTP/1.1 201 A\r\nContent-Length: 0\r\n\r\n");
  // The request to which this is the response was lost; that shows with the next one.
  talk.Server("HTTP/1.1 202 A\r\nContent-Length: 0\r\n\r\n");
  talk.ClientGap(30, /*lost=*/true)
      .Client(Get("/3"))
      .Server("HTTP/1.1 203 A\r\nContent-Length: 0\r\n\r\n");
  talk.Close();
  EXPECT_THAT(Observe(talk).Summaries(), ElementsAre("GET /1 201", "GET /3 203"));
}

TEST(Http1GapTest, LostResponseDropsAllInFlightAndPairingComesBack) {
  Conversation talk(Role::kServer);
  talk.Client(Get("/1"));
  talk.Client(Get("/2"))
      .ServerGap(100, /*lost=*/true)
      .Server("HTTP/1.1 202 A\r\nContent-Length: 0\r\n\r\n");
  for (int i = 3; i <= 5; ++i) {
    talk.Client(Get("/" + std::to_string(i)));
    talk.Server("HTTP/1.1 20" + std::to_string(i) + " A\r\nContent-Length: 0\r\n\r\n");
  }
  talk.Close();
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("GET /4 204", "GET /5 205"));
  ASSERT_THAT(outcome.drops, SizeIs(3));
  EXPECT_EQ(outcome.drops[0], (RecordedDrop{0, DropReason::kRingFull}));
}

TEST(Http1GapTest, PairingIsNotResumedWithAClientThatPipelines) {
  Conversation talk(Role::kServer);
  auto response = [](int i) {
    return "HTTP/1.1 20" + std::to_string(i) + " A\r\nContent-Length: 0\r\n\r\n";
  };
  talk.Client(Get("/1") + Get("/2")).Server(response(1)).Client(Get("/3"));
  talk.Server(response(2)).Client(Get("/4")).ServerGap(response(3).size(), /*lost=*/true);
  talk.Client(Get("/5"))
      .Server(response(4))
      .Client(Get("/6"))
      .Server(response(5))
      .Server(response(6));
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("GET /1 201", "GET /2 202"));
  EXPECT_THAT(outcome.drops, SizeIs(4));
}

TEST(Http1GapTest, LostEndOfABodyGivesAnIncompleteExchange) {
  Conversation talk(Role::kServer);
  talk.Client(Get("/1")).At(5000).Server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab");
  talk.At(90000).ServerGap(8, /*lost=*/true);
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("GET /1 200"));
  EXPECT_TRUE(outcome.exchanges[0].incomplete);
  EXPECT_EQ(outcome.exchanges[0].end_ns, 5000 + Conversation::kTransferNs);
}

TEST(Http1GapTest, RequestWithoutPayloadIsNotMistaken) {
  // io_uring or sendfile: the request itself could not be read.
  Conversation talk(Role::kClient);
  talk.ClientGap(50).Server("HTTP/1.1 404 A\r\nContent-Length: 0\r\n\r\n");
  talk.Client(Get("/2")).Server(kOk).Close();
  EXPECT_THAT(Observe(talk).Summaries(), ElementsAre("GET /2 200"));
}

// ---- Ends -----------------------------------------------------------------------------------

TEST(Http1EndTest, RequestOnAConnectionThatTheServerHasClosed) {
  Conversation talk(Role::kClient);
  talk.Client(Get("/1")).Server(kOk).ServerEnd().Client(Get("/2")).Close(EndReason::kReset);
  EXPECT_THAT(Observe(talk).Summaries(), ElementsAre("GET /1 200", "GET /2 0 !connection_reset"));
}

TEST(Http1EndTest, ResetOfTheRequestDirectionEndsWhatIsInFlight) {
  Conversation talk(Role::kServer);
  talk.Client(Get("/1")).ClientEnd(EndReason::kReset).Close(EndReason::kReset);
  Outcome outcome = Observe(talk);
  EXPECT_THAT(outcome.Summaries(), ElementsAre("GET /1 0 !connection_reset"));
  EXPECT_EQ(outcome.exchanges[0].response_body_size, std::nullopt);
}

TEST(Http1EndTest, IdleConnectionThatClosesSaysNothing) {
  Conversation talk(Role::kServer);
  talk.Client(Get("/1")).Server(kOk).Client("GET /unfinished HTT").Close(EndReason::kReset);
  EXPECT_THAT(Observe(talk).Summaries(), ElementsAre("GET /1 200"));
}

}  // namespace
}  // namespace zerotap
