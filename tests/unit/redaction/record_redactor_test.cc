#include "agent/redaction/record_redactor.h"

#include <gtest/gtest.h>

#include "tests/support/record_builder.h"

namespace zerotap {
namespace {

using namespace testing;
constexpr uint64_t kKey = 12345;

// What the payload of a record became.
std::string PayloadOf(ByteSpan record) {
  zt_data_event data;
  std::memcpy(&data, record.data(), sizeof(data));
  EXPECT_EQ(data.header.size, record.size());
  EXPECT_LE(uint64_t{data.head} + data.tail, record.size() - sizeof(data));
  return std::string(AsText(record.subspan(sizeof(data))));
}

class Redactor : public ::testing::Test {
 protected:
  std::string Send(std::string_view text) { return PayloadOf(redactor_.Redact(end_.Send(++now_, text).bytes())); }
  std::string Read(std::string_view text) { return PayloadOf(redactor_.Redact(end_.Read(++now_, text).bytes())); }

  RecordRedactor redactor_{RecordedPayload::kRedacted, kKey};
  ConnectionEnd end_{.id = 1};
  uint64_t now_ = 0;
};

TEST_F(Redactor, HttpKeepsItsFraming) {
  EXPECT_EQ(Read("POST /users/4711?token=abc HTTP/1.1\r\nHost: shop.example\r\nX-Api-Key: secret\r\n"
                 "Authorization: Basic Zm9v\r\nContent-Length: 6\r\nConnection: keep-alive\r\n\r\nsecret"),
            "POST /xxxxx/xxxx?xxxxx=xxx HTTP/1.1\r\nHost: xxxxxxxxxxxx\r\nX-xxxxxxx: xxxxxx\r\n"
            "Authorization: xxxxx xxxx\r\nContent-Length: 6\r\nConnection: keep-alive\r\n\r\nxxxxxx");
  EXPECT_EQ(Send("HTTP/1.1 200 Fine\r\nSet-Cookie: id=secret\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "6;a=secret\r\nsecret\r\n0\r\nX-Sum: secret\r\n\r\n"),
            "HTTP/1.1 200 xxxx\r\nSet-Cookie: xxxxxxxxx\r\nTransfer-Encoding: chunked\r\n\r\n"
            "6;xxxxxxxx\r\nxxxxxx\r\n0\r\nX-xxx: xxxxxx\r\n\r\n");
}

TEST_F(Redactor, HttpFollowsMessagesThatAreNotWhole) {
  EXPECT_EQ(Read("HEAD /a HTTP/1.1\r\nContent-Le"), "HEAD /x HTTP/1.1\r\nContent-Le");
  EXPECT_EQ(Read("ngth: 3\r\n\r\nabcGET /b HTTP/1.1\r\n\r\n"), "ngth: 3\r\n\r\nxxxGET /x HTTP/1.1\r\n\r\n");
  // No body after HEAD, whatever the length says.
  EXPECT_EQ(Send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"),
            "HTTP/1.1 200 xx\r\nContent-Length: 100\r\n\r\nHTTP/1.1 404 xxx xxxxx\r\nContent-Length: 2\r\n\r\nxx");
}

TEST_F(Redactor, HttpValuesThatFrameNothingAreBlankedToo) {
  EXPECT_EQ(Read("GET / HTTP/1.1\r\nContent-Length: secret\r\nConnection: secret, close\r\nTraceparent: 00-secret\r\n\r\n"),
            "GET / HTTP/1.1\r\nContent-Length: xxxxxx\r\nConnection: xxxxxx, close\r\nTraceparent: 00-xxxxxx\r\n\r\n");
  const std::string traced =
      "GET / HTTP/1.1\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
  EXPECT_EQ(Read(traced), traced);
}

TEST_F(Redactor, AfterAnUpgradeNothingIsKept) {
  Read("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
  Send("HTTP/1.1 101 Switching Protocols\r\n\r\n");
  EXPECT_EQ(Send("HTTP/1.1 200 OK\r\n"), std::string(17, 'x'));
  Read("frame");
  EXPECT_EQ(Send("HTTP/1.1 200 OK\r\n"), std::string(17, 'x'));
}

TEST_F(Redactor, WhatIsNotKnownIsBlankedWhole) {
  EXPECT_EQ(Send("\x16\x03\x01 secret HTTP/1.1 200"), std::string(23, '\0'));
  EXPECT_EQ(Read("+OK secret\r\n"), std::string(12, '\0'));
  EXPECT_EQ(Read("GET / HTTP/1.1\r\n\r\n"), std::string(18, '\0'));  // the rest of a run is no beginning
}

TEST_F(Redactor, PeekedAndRepeatedBytesAreBlankedAndDoNotCount) {
  Record peek = end_.Data(1, ZT_DIRECTION_INGRESS, 0, "GET /a HTTP/1.1\r\n\r\n");
  peek.As<zt_data_event>().flags |= ZT_DATA_PEEK;
  EXPECT_EQ(PayloadOf(redactor_.Redact(peek.bytes())), std::string(19, '\0'));
  EXPECT_EQ(Read("GET /a HTTP/1.1\r\n\r\n"), "GET /x HTTP/1.1\r\n\r\n");
  EXPECT_EQ(PayloadOf(redactor_.Redact(end_.Data(1, ZT_DIRECTION_INGRESS, 0, "GET /a HTTP/1.1\r\n\r\n").bytes())),
            std::string(19, '\0'));
}

TEST_F(Redactor, ABodyThatWasCountedOnlyIsCounted) {
  Record record = end_.Data(1, ZT_DIRECTION_INGRESS, 0, "PUT /a HTTP/1.1\r\nContent-Length: 1000\r\n\r\nstartend");
  auto& data = record.As<zt_data_event>();
  data.head -= 3;
  data.tail = 3;
  data.length = data.head - 5 + 1000;
  end_.received = data.length;
  const std::string text = PayloadOf(redactor_.Redact(record.bytes()));
  EXPECT_EQ(text, "PUT /x HTTP/1.1\r\nContent-Length: 1000\r\n\r\nxxxxxxxx");
  EXPECT_EQ(Read("GET /b HTTP/1.1\r\n\r\n"), "GET /x HTTP/1.1\r\n\r\n");
}

TEST_F(Redactor, LostBytesBlankTheRestOfTheRun) {
  Read("GET /a HTTP/1.1\r\n\r\n");
  end_.received += 10;
  EXPECT_EQ(Read("name: secret\r\n\r\n"), std::string(16, 'x'));
  Send("HTTP/1.1 204 No\r\n\r\n");
  EXPECT_EQ(Read("GET /c HTTP/1.1\r\n\r\n"), "GET /x HTTP/1.1\r\n\r\n");
}

TEST_F(Redactor, LongLinesCostNoMoreThanTheirLength) {
  const std::string target(60'000, '/'), value(60'000, 'v'), name(60'000, 'n');
  Read("GET / HTTP/1.1\r\n\r\n");
  for (int i = 0; i < 50; ++i) {
    const std::string head = "GET " + target + " HTTP/1.1\r\nConnection: " + value + "\r\n" + name + ": " + value + "\r\n\r\n";
    const std::string blank = Read(head);
    ASSERT_EQ(blank.size(), head.size());
    ASSERT_EQ(blank.find('v'), std::string::npos);
    ASSERT_EQ(blank.find('n', 60'100), std::string::npos);
  }
}

TEST_F(Redactor, PostgresKeepsWhatSqlIs) {
  EXPECT_EQ(Send(std::string("\0\0\0\x1b\0\3\0\0user\0alice\0other\0x1\0\0", 29).substr(0, 27)),
            std::string("\0\0\0\x1b\0\3\0\0user\0xxxxx\0xxxxx\0xx\0\0", 29).substr(0, 27));
  EXPECT_EQ(Read(std::string("R\0\0\0\x0c\0\0\0\5saltZ\0\0\0\5I", 19)), std::string("R\0\0\0\x0c\0\0\0\5\0\0\0\0Z\0\0\0\5I", 19));
  const std::string query = "SELECT name FROM t WHERE id = 4711 AND x = 'O''Brien $1'";
  const std::string blank = "SELECT xxxx FROM x WHERE xx = 0000 AND x = 'x''xxxxx $0'";
  ASSERT_EQ(query.size(), blank.size());
  const std::string length("\0\0\0", 3);
  const std::string head = "Q" + length + static_cast<char>(query.size() + 5);
  EXPECT_EQ(Send(head + query + '\0'), head + blank + '\0');
  EXPECT_EQ(Read(std::string("D\0\0\0\x0e\0\1\0\0\0\4okayC\0\0\0\x0eSELECT 12\0", 30)),
            std::string("D\0\0\0\x0e\0\1\0\0\0\0\0\0\0\0C\0\0\0\x0eSELECT 12\0", 30));
  EXPECT_EQ(Read(std::string("E\0\0\0\x1dSERROR\0C42P01\0Mno secret\0\0", 30)),
            std::string("E\0\0\0\x1dSERROR\0C42P01\0Mxx xxxxxx\0\0", 30));
}

TEST_F(Redactor, PostgresNamesStayDifferent) {
  auto parse = [](const std::string& name) {
    std::string body = name + '\0' + "SELECT 1" + std::string(3, '\0');
    return "P" + std::string(3, '\0') + static_cast<char>(body.size() + 4) + body;
  };
  const std::string one = Send(parse("S_1")), again = Send(parse("S_1")), two = Send(parse("S_2"));
  EXPECT_EQ(one, again);
  EXPECT_NE(one, two);
  EXPECT_EQ(one.find("S_1"), std::string::npos);
  EXPECT_EQ(one.substr(9), two.substr(9));
}

TEST_F(Redactor, PostgresKeepsNoMoreThanATagAndANameCanBe) {
  Send(std::string("Q\0\0\0\x05\0", 6));
  const std::string tag = "SELECT 4711" + std::string(60, ' ') + '\0';
  const std::string blank = "SELECT 0000" + std::string(60, ' ') + '\0';
  const std::string head = "C" + std::string(3, '\0') + static_cast<char>(tag.size() + 4);
  EXPECT_EQ(Read(head + tag), head + blank);
  EXPECT_EQ(Read(std::string("C\0\0\0\x0eOK\0""4711\0\0\0", 15)),
            std::string("C\0\0\0\x0exx\0""0000\0\0\0", 15));
  const std::string name(100, 'n');
  const std::string body = name + '\0' + "SELECT 1" + std::string(3, '\0');
  const std::string kept =
      Send("P" + std::string(3, '\0') + static_cast<char>(body.size() + 4) + body);
  EXPECT_EQ(kept.substr(5 + 64, 36), std::string(36, '_'));
  EXPECT_EQ(kept.substr(5, 64).find('_'), std::string::npos);
}

TEST_F(Redactor, PostgresWordsAtTheEdgesOfRecordsAreBlanked) {
  EXPECT_EQ(Send(std::string("Q\0\0\0\x10SELECT FRO", 15)), std::string("Q\0\0\0\x10SELECT xxx", 15));
  EXPECT_EQ(Send(std::string("M\0Q\0\0\0\x05\0", 8)), std::string("x\0Q\0\0\0\x05\0", 8));
}

TEST_F(Redactor, PostgresParametersAndPasswords) {
  EXPECT_EQ(Send(std::string("B\0\0\0\x14\0\0\0\0\0\1\0\0\0\4abcd\0\0", 21)), "B" + std::string(3, '\0') + "\x14" + std::string(16, '\0'));
  EXPECT_EQ(Send(std::string("p\0\0\0\x0bsecret\0", 12)), std::string("p\0\0\0\x0b\0\0\0\0\0\0\0", 12));
  EXPECT_EQ(Send(std::string("d\0\0\0\x0asecret", 11)), std::string("d\0\0\0\x0a\0\0\0\0\0\0", 11));
}

TEST(RecordRedactor, OtherRecordsSayNothingOfProcesses) {
  RecordRedactor redactor(RecordedPayload::kRedacted, kKey);
  Record exec = MakeRecord<zt_process_exec_event>(ZT_EVENT_PROCESS_EXEC, 1);
  auto& event = exec.As<zt_process_exec_event>();
  event.args_size = 20;
  std::strcpy(event.args, "--password=secret");
  std::strcpy(event.filename, "/home/alice/app");
  std::strcpy(event.comm, "app");
  event.tgid = 7;
  zt_process_exec_event kept;
  std::memcpy(&kept, redactor.Redact(exec.bytes()).data(), sizeof(kept));
  EXPECT_EQ(kept.tgid, 7u);
  EXPECT_EQ(kept.args_size, 0u);
  EXPECT_EQ(std::string(kept.args, sizeof(kept.args)), std::string(sizeof(kept.args), '\0'));
  EXPECT_EQ(kept.filename[0], '\0');
  EXPECT_EQ(kept.comm[0], '\0');

  Record opened = ConnectionEnd{.id = 3}.Opened(1);
  std::strcpy(opened.As<zt_connection_opened_event>().unix_path, "/run/alice.sock");
  zt_connection_opened_event after;
  std::memcpy(&after, redactor.Redact(opened.bytes()).data(), sizeof(after));
  EXPECT_STREQ(after.unix_path, "/xxx/xxxxxxxxxx");
  EXPECT_EQ(after.first_out, opened.As<zt_connection_opened_event>().first_out);

  Record unknown = MakeRecord<zt_event_header>(99, 1, 20);
  EXPECT_TRUE(redactor.Redact(unknown.bytes()).empty());
  EXPECT_TRUE(redactor.Redact(ByteSpan()).empty());
}

TEST(RecordRedactor, NoPayloadAtAll) {
  RecordRedactor redactor(RecordedPayload::kNone, kKey);
  ConnectionEnd end{.id = 1};
  ByteSpan record = redactor.Redact(end.Send(1, "GET / HTTP/1.1\r\n\r\n").bytes());
  ASSERT_EQ(record.size(), sizeof(zt_data_event));
  zt_data_event data;
  std::memcpy(&data, record.data(), sizeof(data));
  EXPECT_EQ(data.length, 18u);
  EXPECT_EQ(data.head + data.tail, 0u);
}

TEST(RecordRedactor, AllIsTheRecordItself) {
  RecordRedactor redactor(RecordedPayload::kAll, kKey);
  Record record = ConnectionEnd{.id = 1}.Send(1, "secret");
  EXPECT_EQ(redactor.Redact(record.bytes()).data(), record.bytes().data());
}

TEST(RecordRedactor, ARecordThatClaimsTooMuchIsBlankedWhole) {
  RecordRedactor redactor(RecordedPayload::kRedacted, kKey);
  Record record = ConnectionEnd{.id = 1}.Send(1, "GET / HTTP/1.1\r\n\r\n");
  record.As<zt_data_event>().head = 5000;
  ByteSpan after = redactor.Redact(record.bytes());
  EXPECT_EQ(AsText(after.subspan(sizeof(zt_data_event))), std::string_view(std::string(18, '\0')));
}

}  // namespace
}  // namespace zerotap
