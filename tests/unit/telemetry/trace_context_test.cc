#include "agent/telemetry/trace_context.h"

#include <gtest/gtest.h>

namespace zerotap {
namespace {

constexpr char kValid[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

TEST(Traceparent, Version00) {
  std::optional<TraceContext> context = ParseTraceparent(kValid);
  ASSERT_TRUE(context.has_value());
  EXPECT_EQ(context->trace_id.Hex(), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(context->span_id.Hex(), "b7ad6b7169203331");
  EXPECT_EQ(context->flags, 1);
  EXPECT_TRUE(context->sampled());
}

TEST(Traceparent, FlagsAreKeptAndOnlyTheLowestMeansSampled) {
  auto flags = [](const char* digits) {
    std::string text = kValid;
    text.replace(53, 2, digits);
    return ParseTraceparent(text);
  };
  EXPECT_FALSE(flags("00")->sampled());
  EXPECT_TRUE(flags("03")->sampled());
  EXPECT_EQ(flags("fe")->flags, 0xfe);
  EXPECT_FALSE(flags("fe")->sampled());
}

TEST(Traceparent, HigherVersionsAreReadByTheirPrefix) {
  std::string text = kValid;
  text.replace(0, 2, "01");
  EXPECT_TRUE(ParseTraceparent(text).has_value());
  EXPECT_TRUE(ParseTraceparent(text + "-what-the-future-brings").has_value());
  EXPECT_TRUE(ParseTraceparent(text + "-").has_value());
  EXPECT_FALSE(ParseTraceparent(text + "x").has_value());
  text.replace(0, 2, "fe");
  EXPECT_TRUE(ParseTraceparent(text).has_value());
}

TEST(Traceparent, MalformedOnesAreIgnored) {
  const std::string valid = kValid;
  auto with = [&valid](size_t at, std::string_view part) {
    std::string text = valid;
    return text.replace(at, part.size(), part);
  };
  const std::string bad[] = {
      "",
      "00",
      valid.substr(0, 54),
      valid + "-extra",                                     // version 00 has a fixed length
      valid + " ",
      " " + valid,
      with(0, "ff"),                                        // forbidden version
      with(0, "0g"),
      with(0, "FE"),                                        // upper case
      with(3, "00000000000000000000000000000000"),          // no trace
      with(36, "0000000000000000"),                         // no span
      with(3, "0AF7651916CD43DD8448EB211C80319C"),
      with(36, "B7AD6B7169203331"),
      with(3, "0xf7651916cd43dd"),
      with(53, "0x"),
      with(53, "-1"),
      with(2, "_"),
      with(35, ":"),
      with(52, " "),
  };
  for (const std::string& text : bad) EXPECT_FALSE(ParseTraceparent(text).has_value()) << text;
}

TEST(Traceparent, EveryByteThatIsNotADigitOrDashInPlaceIsRefused) {
  const std::string valid = kValid;
  for (size_t at = 0; at < valid.size(); ++at) {
    for (int c = 0; c < 256; ++c) {
      bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
      bool dash_here = at == 2 || at == 35 || at == 52;
      if (dash_here ? c == '-' : digit) continue;
      std::string text = valid;
      text[at] = static_cast<char>(c);
      EXPECT_FALSE(ParseTraceparent(text).has_value()) << at << " " << c;
    }
  }
}

TEST(TraceIds, BytesAreInWireOrder) {
  TraceId trace{0x0102030405060708ull, 0x090A0B0C0D0E0F10ull};
  std::array<uint8_t, 16> bytes = trace.Bytes();
  for (size_t i = 0; i < bytes.size(); ++i) EXPECT_EQ(bytes[i], i + 1);
  EXPECT_EQ(trace.Hex(), "0102030405060708090a0b0c0d0e0f10");
  SpanId span{0xFF00000000000001ull};
  EXPECT_EQ(span.Bytes()[0], 0xFF);
  EXPECT_EQ(span.Bytes()[7], 0x01);
  EXPECT_EQ(span.Hex(), "ff00000000000001");
}

TEST(TraceIds, OnlyAllZerosIsInvalid) {
  EXPECT_FALSE(TraceId().valid());
  EXPECT_TRUE((TraceId{0, 1}).valid());
  EXPECT_TRUE((TraceId{1, 0}).valid());
  EXPECT_FALSE(SpanId().valid());
  EXPECT_FALSE((TraceContext{{1, 1}, {}, 0}).valid());
}

}  // namespace
}  // namespace zerotap
