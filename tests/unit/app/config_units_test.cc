#include <gtest/gtest.h>

#include "agent/app/config.h"
#include "agent/app/config_units.h"

namespace zerotap {
namespace {

TEST(ConfigUnits, ParseAndFormat) {
  EXPECT_EQ(ParseByteSize("64MiB"), 64u << 20);
  EXPECT_EQ(ParseByteSize("17"), 17u);
  EXPECT_EQ(ParseByteSize("3 KiB"), 3072u);
  EXPECT_FALSE(ParseByteSize("1.5MiB").has_value());
  EXPECT_FALSE(ParseByteSize("64MB").has_value());
  EXPECT_FALSE(ParseByteSize("99999999999GiB").has_value());
  EXPECT_FALSE(ParseByteSize("").has_value());
  EXPECT_EQ(ParseDuration("200ms"), 200'000'000u);
  EXPECT_EQ(ParseDuration("5m"), 300'000'000'000u);
  EXPECT_EQ(ParseDuration("0s"), 0u);
  EXPECT_FALSE(ParseDuration("5").has_value());
  EXPECT_FALSE(ParseDuration("s").has_value());
  EXPECT_EQ(ByteSizeText(64u << 20), "64MiB");
  EXPECT_EQ(ByteSizeText(1500), "1500B");
  EXPECT_EQ(ByteSizeText(0), "0B");
  EXPECT_EQ(DurationText(1'500'000'000), "1500ms");
  EXPECT_EQ(DurationText(0), "0s");
  EXPECT_FALSE(ParseNumber("nan").has_value());
  EXPECT_FALSE(ParseUnsigned("1x").has_value());
}

TEST(ConfigUnits, HostAndPort) {
  EXPECT_EQ(ParseHostPort("127.0.0.1:80")->host, "127.0.0.1");
  EXPECT_EQ(ParseHostPort("[::1]:81")->host, "::1");
  EXPECT_EQ(ParseHostPort("[::1]:81")->port, 81);
  EXPECT_EQ(ParseHostPort(":82")->host, "0.0.0.0");
  for (const char* bad : {"", "80", "a:", "a:0", "a:65536", "::1:80", "a:b"}) {
    EXPECT_FALSE(ParseHostPort(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace zerotap
