#include <gtest/gtest.h>

#include <random>
#include <string>

#include "agent/protocols/postgres.h"
#include "tests/support/postgres_builders.h"

namespace zerotap {
namespace {

using namespace postgres_test;  // NOLINT: the builders are the language of this file
using namespace std::string_literals;

DetectResult Ingress(const std::string& bytes, bool from_first_byte = false) {
  DetectInput input;
  input.ingress = bytes;
  input.ingress_at_run_start = true;
  input.from_first_byte = from_first_byte;
  return kPostgresProtocol.detect(input);
}
DetectResult Egress(const std::string& bytes, bool from_first_byte = false) {
  DetectInput input;
  input.egress = bytes;
  input.egress_at_run_start = true;
  input.from_first_byte = from_first_byte;
  return kPostgresProtocol.detect(input);
}

TEST(PostgresDetectTest, TheFirstPacketTellsTheRole) {
  for (const std::string& first :
       {Startup({{"user", "app"}, {"database", "shop"}}),
        Startup({{"database", "shop"}, {"user", "app"}}),
        Startup({{"anything", "goes"}, {"user", "app"}}), Startup({{"user", "app"}}, 3 << 16 | 2),
        SslRequest(), GssEncRequest(), CancelRequest()}) {
    for (bool from_first_byte : {true, false}) {
      EXPECT_EQ(Ingress(first, from_first_byte).match, Match::kYes);
      EXPECT_EQ(Ingress(first, from_first_byte).role, Role::kServer);
      EXPECT_EQ(Egress(first, from_first_byte).match, Match::kYes);
      EXPECT_EQ(Egress(first, from_first_byte).role, Role::kClient);
    }
    for (size_t size = 0; size < first.size(); ++size) {
      EXPECT_NE(Ingress(first.substr(0, size), true).match, Match::kNo) << size;
    }
  }
}

TEST(PostgresDetectTest, WrongFirstPackets) {
  EXPECT_EQ(Ingress(Startup({{"database", "shop"}}), true).match, Match::kNo);  // without a user
  EXPECT_EQ(Ingress(Startup({{"user", "app"}}, 2 << 16), true).match, Match::kNo);
  EXPECT_EQ(Ingress(Startup({{"user", "app"}}) + "more", true).match, Match::kNo);
  EXPECT_EQ(Ingress(Int32(9) + Int32(80877103) + "x", true).match, Match::kNo);
  EXPECT_EQ(Ingress(Int32(20000) + Int32(3 << 16) + "user", true).match, Match::kNo);
  EXPECT_EQ(Ingress(Query("SELECT 1"), true).match, Match::kNo);  // no connection begins so
}

TEST(PostgresDetectTest, RequestsInTheMiddle) {
  for (const std::string& run :
       {Query("SELECT 1"), Query("  -- a comment\nselect 1"), Query("frobnicate"),
        Statement("SELECT 1") + Sync(),
        Parse("s", "SELECT $1", 1) + DescribeStatement("s") + Flush(),
        Bind("", "s", {"x"}) + Execute() + Sync(),
        Bind("p", "s", {"x", "y"}) + DescribePortal("p") + Execute("p") + Flush(),
        CloseStatement("s") + Parse("t", "SELECT 1") + Sync()}) {
    EXPECT_EQ(Ingress(run).match, Match::kYes);
    EXPECT_EQ(Ingress(run).role, Role::kServer);
    EXPECT_EQ(Egress(run).match, Match::kYes);
    EXPECT_EQ(Egress(run).role, Role::kClient);
    for (size_t size = 0; size < run.size(); ++size)
      EXPECT_NE(Ingress(run.substr(0, size)).match, Match::kNo) << size;
  }
  // Of a long statement only the beginning is captured.
  std::string query = Query("INSERT INTO t VALUES ('" + std::string(100'000, 'x') + "')");
  EXPECT_EQ(Ingress(query.substr(0, 4096)).match, Match::kYes);
}

TEST(PostgresDetectTest, AnswersInTheMiddle) {
  for (const std::string& run :
       {Complete("BEGIN") + Ready('T'),
        RowDescription(3) + Rows(4) + Complete("SELECT 4") + Ready(),
        ParseComplete() + BindComplete() + RowDescription() + Complete("SELECT 0") + Ready(),
        Error("42601") + Ready(), Notice() + Complete("DROP TABLE") + Ready(),
        EmptyQuery() + Ready()}) {
    EXPECT_EQ(Egress(run).match, Match::kYes);
    EXPECT_EQ(Egress(run).role, Role::kServer);
    EXPECT_EQ(Ingress(run).match, Match::kYes);
    EXPECT_EQ(Ingress(run).role, Role::kClient);
  }
  EXPECT_EQ(Egress(Ready()).match, Match::kNeedMore);
}

TEST(PostgresDetectTest, NothingIsSaidOfTheMiddleOfARun) {
  DetectInput input;
  input.egress = "anything";
  EXPECT_EQ(kPostgresProtocol.detect(input).match, Match::kNeedMore);
  EXPECT_EQ(kPostgresProtocol.detect(DetectInput()).match, Match::kNeedMore);
}

TEST(PostgresDetectTest, OtherProtocolsAreRefused) {
  const std::string others[] = {
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
      "POST /x HTTP/1.1\r\n\r\n",
      "DELETE /x HTTP/1.1\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\0\0\x12\4\0\0\0\0\0"s,
      "*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
      "+OK\r\n",
      "$5\r\nhello\r\n",
      "J\0\0\0\x0a"
      "8.0.36\0\x08\0\0\0abcdefgh\0\xff\xff\xff\2\0"s,  // MySQL greeting
      "\x21\0\0\0\3select @@version_comment limit 1"s,  // MySQL COM_QUERY
      "\7\0\0\1\0\0\0\2\0\0\0"s,                        // MySQL OK
      "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"s + std::string(100, 'r'),
      "\x17\x03\x03\0\x20"s + std::string(32, '\xAA'),
      "SSH-2.0-OpenSSH_9.2p1\r\n",
      "EHLO mail.example\r\n",
      "220 mail.example ESMTP\r\n",
      "\0\0\0\x1e\0\x12\0\4\0\0\0\1\0\x0d"
      "client-id-abcd\0"s,  // Kafka ApiVersions
      "\x10\x16\0\4MQTT\4\2\0\x3c\0\x0a"
      "client-id"s,
      "stats\r\n",
      "CONNECT {\"verbose\":false}\r\n",
      "INFO {\"server_id\":\"x\"}\r\n",
      "AMQP\0\0\x09\1"s,
  };
  for (const std::string& other : others) {
    for (bool from_first_byte : {true, false}) {
      for (size_t size = 1; size <= other.size(); ++size) {
        EXPECT_NE(Ingress(other.substr(0, size), from_first_byte).match, Match::kYes) << other;
        EXPECT_NE(Egress(other.substr(0, size), from_first_byte).match, Match::kYes) << other;
      }
      EXPECT_EQ(Ingress(other, from_first_byte).match, Match::kNo) << other;
    }
  }
}

TEST(PostgresDetectTest, RandomBytesAreRefused) {
  std::mt19937 random(7);
  for (int round = 0; round < 200'000; ++round) {
    std::string bytes(1 + random() % 64, '\0');
    // Plain noise, noise that favours type bytes and small lengths, and noise with a right first
    // header.
    const std::string favoured =
        "QPBDECSHXZTRKN123\0\0\0\0\0\0\0\0\0\0\0\0\4\5\6\7\x08\x09\x10\x20IT"s;
    for (char& byte : bytes) {
      byte = round % 3 == 0 ? static_cast<char>(random()) : favoured[random() % favoured.size()];
    }
    if (round % 3 == 2) {
      bytes = Message(favoured[random() % 17], bytes);
      // A valid message may come about by chance only when it is short; then it is one.
      if (bytes[0] == 'Q' || bytes[0] == 'P') continue;
    }
    EXPECT_NE(Ingress(bytes).match, Match::kYes) << ::testing::PrintToString(bytes);
    EXPECT_NE(Egress(bytes, true).match, Match::kYes) << ::testing::PrintToString(bytes);
  }
}

TEST(PostgresDetectTest, BothDirectionsMustAgree) {
  DetectInput input;
  input.egress = "SELECT";
  std::string query = Query("SELECT 1");
  input.egress = query;
  input.ingress = query;
  input.egress_at_run_start = input.ingress_at_run_start = true;
  EXPECT_EQ(kPostgresProtocol.detect(input).match, Match::kNo);
  std::string answer = Complete("BEGIN") + Ready('T');
  input.ingress = answer;
  EXPECT_EQ(kPostgresProtocol.detect(input).match, Match::kYes);
  EXPECT_EQ(kPostgresProtocol.detect(input).role, Role::kClient);
}

}  // namespace
}  // namespace zerotap
