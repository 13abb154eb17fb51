#include "agent/processors/sampler.h"

#include <gtest/gtest.h>

#include <random>

namespace zerotap {
namespace {

Sampler Make(std::string_view name, std::string_view argument = "") {
  Result<Sampler> sampler = Sampler::Create(name, argument);
  EXPECT_TRUE(sampler.has_value()) << name << " " << argument;
  return *sampler;
}
constexpr TraceId kSmall{1, 0};
constexpr TraceId kLarge{1, ~uint64_t{0}};

TEST(Sampler, ConstantSamplersIgnoreTheParent) {
  for (std::optional<bool> parent : {std::optional<bool>(), std::optional(true), std::optional(false)}) {
    EXPECT_TRUE(Make("always_on").ShouldSample(kSmall, parent));
    EXPECT_FALSE(Make("always_off").ShouldSample(kLarge, parent));
  }
}

TEST(Sampler, ParentBasedSamplersFollowTheParentAndDecideRoots) {
  EXPECT_TRUE(Make("parentbased_always_on").ShouldSample(kSmall, {}));
  EXPECT_FALSE(Make("parentbased_always_on").ShouldSample(kSmall, false));
  EXPECT_FALSE(Make("parentbased_always_off").ShouldSample(kLarge, {}));
  EXPECT_TRUE(Make("parentbased_always_off").ShouldSample(kLarge, true));
  EXPECT_TRUE(Make("parentbased_traceidratio", "0").ShouldSample(kSmall, true));
  EXPECT_FALSE(Make("parentbased_traceidratio", "1").ShouldSample(kSmall, false));
}

TEST(Sampler, RatioLooksAtTheLowest56Bits) {
  Sampler half = Make("traceidratio", "0.5");
  uint64_t threshold = uint64_t{1} << 55;
  EXPECT_TRUE(half.ShouldSample(TraceId{0, threshold}, {}));
  EXPECT_FALSE(half.ShouldSample(TraceId{~uint64_t{0}, threshold - 1}, {}));
  EXPECT_FALSE(half.ShouldSample(TraceId{0, 0xFF00000000000000ull}, {})) << "the top byte does not count";
  EXPECT_TRUE(half.ShouldSample(TraceId{0, threshold}, false)) << "not parent based";
}

TEST(Sampler, RatioEndsAreExact) {
  EXPECT_TRUE(Make("traceidratio").ShouldSample(kSmall, {})) << "1 by default";
  EXPECT_TRUE(Make("traceidratio", "1").ShouldSample(kSmall, {}));
  EXPECT_FALSE(Make("traceidratio", "0").ShouldSample(kLarge, {}));
  EXPECT_TRUE(Make("traceidratio", "1e-16").ShouldSample(kLarge, {}));
}

TEST(Sampler, RatioKeepsItsShareAndMoreOfItKeepsASuperset) {
  std::mt19937_64 random(3);
  Sampler tenth = Make("traceidratio", "0.1");
  Sampler third = Make("traceidratio", "0.333");
  int kept = 0;
  for (int i = 0; i < 100000; ++i) {
    TraceId id{random(), random()};
    bool in_tenth = tenth.ShouldSample(id, {});
    kept += in_tenth;
    if (in_tenth) {
      EXPECT_TRUE(third.ShouldSample(id, {}));
    }
  }
  EXPECT_NEAR(kept, 10000, 400);
}

TEST(Sampler, ErrorsNameTheBadValueAndTheAllowedOnes) {
  Result<Sampler> sampler = Sampler::Create("ratio", "");
  ASSERT_FALSE(sampler.has_value());
  EXPECT_NE(sampler.error().message.find("\"ratio\""), std::string::npos);
  for (const char* name : {"always_on", "always_off", "traceidratio", "parentbased_always_on",
                           "parentbased_always_off", "parentbased_traceidratio"}) {
    EXPECT_NE(sampler.error().message.find(name), std::string::npos);
    EXPECT_TRUE(Sampler::Create(name, "").has_value());
  }
  EXPECT_FALSE(Sampler::Create("", "").has_value());
  for (const char* ratio : {"-0.1", "1.1", "abc", "0.5x", " 0.5", "nan", "inf", "50%"}) {
    Result<Sampler> bad = Sampler::Create("traceidratio", ratio);
    ASSERT_FALSE(bad.has_value()) << ratio;
    EXPECT_NE(bad.error().message.find(ratio), std::string::npos);
    EXPECT_NE(bad.error().message.find("0 to 1"), std::string::npos);
  }
}

}  // namespace
}  // namespace zerotap
