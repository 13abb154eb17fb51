#include <gtest/gtest.h>

#include "exporters/log_limiter.h"
#include "exporters/otlp/endpoint.h"
#include "exporters/printable.h"
#include "exporters/retry.h"
#include "exporters/utf8.h"

namespace zerotap {
namespace {

using std::chrono::milliseconds;

TEST(Utf8Test, KnowsValidFromInvalid) {
  for (const char* valid : {"", "a", "plain ascii text", "\u00fc", "\u20ac", "\U0001F600",
                            "12345678\u00e9", "\uD7FF", "\uE000", "\U0010FFFF"}) {
    EXPECT_TRUE(IsValidUtf8(valid)) << valid;
  }
  for (const char* invalid : {"\x80", "\xff", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe2\x82",
                              "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80",
                              "\xf5\x80\x80\x80", "12345678\xe9", "\xc3(", "a\xf0\x9f\x98"}) {
    EXPECT_FALSE(IsValidUtf8(invalid));
    std::string repaired;
    AppendValidUtf8(invalid, repaired);
    EXPECT_TRUE(IsValidUtf8(repaired));
  }
}

TEST(PrintableTest, EscapesWhatCouldMoveATerminal) {
  EXPECT_EQ(Printable("GET /\x1b[2J\x1b]0;owned\x07", 100), "GET /\\x1b[2J\\x1b]0;owned\\x07");
  EXPECT_EQ(Printable("a\r\nb\tc", 100), "a\\r\\nb\\tc");
  EXPECT_EQ(Printable("\u009b31m", 100), "\\u009b31m") << "C1 is an escape sequence too";
  EXPECT_EQ(Printable("\x9b"
                      "31m",
                      100),
            "\\x9b31m");
  EXPECT_EQ(Printable("\u202egnp.exe", 100), "\\u202egnp.exe");
  EXPECT_EQ(Printable("a\u200bb\ufeff", 100), "a\\u200bb\\ufeff");
  EXPECT_EQ(Printable(std::string_view("\0\x7f", 2), 100), "\\x00\\x7f");
  EXPECT_EQ(Printable("gr\u00fc\u00df \u20ac", 100), "gr\u00fc\u00df \u20ac");
}

TEST(PrintableTest, CutsAtColumns) {
  EXPECT_EQ(Printable("abcdef", 6), "abcdef");
  EXPECT_EQ(Printable("abcdefg", 6), "abcde\u2026");
  EXPECT_EQ(Printable("\u00e4\u00f6\u00fc\u00e4", 3), "\u00e4\u00f6\u2026");
  EXPECT_EQ(Printable("abc\x1bxyz", 5), "abc\u2026") << "no half escape";
  EXPECT_EQ(Printable("abc", 0), "");
  EXPECT_EQ(Printable("abc", 1), "\u2026");
}

TEST(LogLimiterTest, OncePerPeriodAndKind) {
  LogLimiter limiter(100);
  EXPECT_TRUE(limiter.Allow("503", 1000));
  EXPECT_FALSE(limiter.Allow("503", 1099));
  EXPECT_TRUE(limiter.Allow("401", 1099));
  EXPECT_TRUE(limiter.Allow("503", 1100));
}

TEST(RetryPolicyTest, BoundsGrowToTheMaximum) {
  RetryOptions options;
  options.initial = milliseconds(100);
  options.maximum = milliseconds(350);
  options.give_up_after = milliseconds(10'000);
  RetryPolicy policy(options, [] { return 0.999999; });
  EXPECT_NEAR(policy.Next(milliseconds(0), std::nullopt)->count(), 100, 1);
  EXPECT_NEAR(policy.Next(milliseconds(0), std::nullopt)->count(), 200, 1);
  EXPECT_NEAR(policy.Next(milliseconds(0), std::nullopt)->count(), 350, 1);
  EXPECT_NEAR(policy.Next(milliseconds(0), std::nullopt)->count(), 350, 1);
}

TEST(RetryPolicyTest, FullJitterMayBeZero) {
  RetryPolicy policy({}, [] { return 0.0; });
  EXPECT_EQ(policy.Next(milliseconds(0), std::nullopt), milliseconds(0));
}

TEST(RetryPolicyTest, WaitsAtLeastAsLongAsTold) {
  RetryPolicy policy({}, [] { return 0.5; });
  EXPECT_GE(*policy.Next(milliseconds(0), milliseconds(5000)), milliseconds(5000));
}

TEST(RetryPolicyTest, GivesUpWhenTheNextAttemptWouldComeTooLate) {
  RetryOptions options;
  options.give_up_after = milliseconds(1000);
  RetryPolicy policy(options, [] { return 0.5; });
  EXPECT_TRUE(policy.Next(milliseconds(500), std::nullopt).has_value());
  EXPECT_FALSE(policy.Next(milliseconds(999), std::nullopt).has_value());
  RetryPolicy told(options, [] { return 0.0; });
  EXPECT_FALSE(told.Next(milliseconds(0), milliseconds(1001)).has_value());
}

TEST(RetryAfterTest, SecondsAndDates) {
  constexpr int64_t kNow = 784'111'777;  // Sun, 06 Nov 1994 08:49:37 GMT
  EXPECT_EQ(ParseRetryAfter("0", kNow), milliseconds(0));
  EXPECT_EQ(ParseRetryAfter("17", kNow), milliseconds(17'000));
  EXPECT_EQ(ParseRetryAfter("Sun, 06 Nov 1994 08:49:47 GMT", kNow), milliseconds(10'000));
  EXPECT_EQ(ParseRetryAfter("Sun, 06 Nov 1994 08:49:07 GMT", kNow), milliseconds(0));
  EXPECT_EQ(ParseRetryAfter("99999999999999999999999", kNow), milliseconds(86'400'000));
  for (const char* wrong : {"", "-1", "1.5", "soon", "Sun, 06 Now 1994 08:49:47 GMT",
                            "Sun, 06 Nov 1994 08:49:47 CET", "Sun, 06 Nov 1994 xx:49:47 GMT"}) {
    EXPECT_FALSE(ParseRetryAfter(wrong, kNow).has_value()) << wrong;
  }
}

TEST(OtlpEndpointTest, TheLoopbackInterfaceIsThisHostAndNothingElse) {
  for (const char* here : {"", "http://localhost:4318", "https://127.0.0.1", "http://user:secret@127.1.2.3:80/v1/traces",
                           "http://[::1]:4318/x", "localhost:4317", "127.0.0.1:4317", "[::1]:4317", "HTTP://localhost"}) {
    EXPECT_TRUE(otlp::LeadsToThisHost(here)) << here;
  }
  for (const char* elsewhere : {"http://collector:4318", "http://10.0.0.1:4318", "http://127.0.0.1.example.com:4318", "localhost.example:4317",
                                "http://[fd00::1]:4318", "http://host/127.0.0.1", "http://localhost@collector:4318", "http://"}) {
    EXPECT_FALSE(otlp::LeadsToThisHost(elsewhere)) << elsewhere;
  }
}

TEST(EndpointTest, BaseGetsTheSignalAppended) {
  EXPECT_EQ(*otlp::SignalUrl("", "", "traces"), "http://localhost:4318/v1/traces");
  EXPECT_EQ(*otlp::SignalUrl("http://c:4318", "", "traces"), "http://c:4318/v1/traces");
  EXPECT_EQ(*otlp::SignalUrl("http://c:4318/", "", "metrics"), "http://c:4318/v1/metrics");
  EXPECT_EQ(*otlp::SignalUrl("https://c/otlp/", "", "traces"), "https://c/otlp/v1/traces");
  EXPECT_EQ(*otlp::SignalUrl("HTTPS://[::1]:1/a?b=c#d", "", "traces"),
            "https://[::1]:1/a/v1/traces?b=c");
}

TEST(EndpointTest, SignalEndpointIsVerbatim) {
  EXPECT_EQ(*otlp::SignalUrl("http://ignored", "http://c:4318/custom", "traces"),
            "http://c:4318/custom");
  EXPECT_EQ(*otlp::SignalUrl("", "http://c:4318", "traces"), "http://c:4318/");
  EXPECT_EQ(*otlp::SignalUrl("", "http://c:4318/x/", "traces"), "http://c:4318/x/");
}

TEST(EndpointTest, WrongOnesAreRefusedWithAReason) {
  for (const char* wrong :
       {"localhost:4318", "ftp://c", "http://", "http://:4318", "http://a b", "http://a\r\nX: y"}) {
    EXPECT_FALSE(otlp::SignalUrl(wrong, "", "traces").has_value()) << wrong;
  }
  EXPECT_NE(otlp::SignalUrl("localhost:4318", "", "traces").error().message.find("http://"),
            std::string::npos);
}

TEST(EndpointTest, MessagesShowNoSecrets) {
  EXPECT_EQ(otlp::WithoutSecrets("https://user:secret@c:1/p?key=secret#x"), "https://c:1/p");
  EXPECT_EQ(otlp::Origin("https://user:secret@c:1/p"), "https://c:1");
  EXPECT_EQ(otlp::SignalUrl("user:secret@c", "", "traces").error().message.find("secret"),
            std::string::npos);
  EXPECT_EQ(otlp::SignalUrl("http://user:secret@", "", "traces").error().message.find("secret"),
            std::string::npos);
}

}  // namespace
}  // namespace zerotap
