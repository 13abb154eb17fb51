#include "agent/metrics/exponential_histogram.h"

#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <numeric>
#include <random>

namespace zerotap {
namespace {

using Histogram = ExponentialHistogram;

uint64_t Sum(const std::vector<uint64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

TEST(ExponentialHistogramIndex, PowersOfTwoEndTheirBucketAtEveryScale) {
  for (int32_t scale = Histogram::kMinScale; scale <= Histogram::kMaxScale; ++scale) {
    for (int exponent : {-1074, -1022, -500, -8, -1, 0, 1, 2, 8, 500, 1023}) {
      double value = std::ldexp(1.0, exponent);
      int64_t expected = scale >= 0 ? (int64_t{exponent} << scale) - 1 : (exponent - 1) >> -scale;
      EXPECT_EQ(Histogram::IndexOf(value, scale), expected) << scale << " " << exponent;
      if (exponent < 1023) {
        double above = std::nextafter(value, DBL_MAX);
        int64_t next = scale >= 0 ? int64_t{exponent} << scale : exponent >> -scale;
        if (exponent > -1022) {
          EXPECT_EQ(Histogram::IndexOf(above, scale), next) << scale << " " << exponent;
        }
      }
    }
  }
}

TEST(ExponentialHistogramIndex, ValuesLieWithinTheirBucket) {
  std::mt19937_64 random(11);
  std::uniform_real_distribution<double> exponent(-40, 40);
  for (int i = 0; i < 20000; ++i) {
    double value = std::exp2(exponent(random));
    for (int32_t scale : {-3, 0, 1, 4, 10}) {
      int32_t index = Histogram::IndexOf(value, scale);
      double lower = std::exp2(std::ldexp(index, -scale));
      double upper = std::exp2(std::ldexp(index + 1, -scale));
      EXPECT_GT(value, lower * (1 - 1e-12));
      EXPECT_LE(value, upper * (1 + 1e-12));
    }
  }
}

TEST(ExponentialHistogramIndex, ACoarserScaleMergesPairs) {
  std::mt19937_64 random(12);
  std::uniform_real_distribution<double> exponent(-20, 20);
  for (int i = 0; i < 5000; ++i) {
    double value = std::exp2(exponent(random));
    for (int32_t scale = 12; scale > -10; --scale) {
      EXPECT_EQ(Histogram::IndexOf(value, scale) >> 1, Histogram::IndexOf(value, scale - 1)) << value;
    }
  }
}

TEST(ExponentialHistogram, OneValueHasTheFinestScale) {
  Histogram histogram;
  histogram.Record(0.25);
  histogram.Record(0.25);
  EXPECT_EQ(histogram.scale(), 20);
  EXPECT_EQ(histogram.offset(), (-2 * (1 << 20)) - 1);
  EXPECT_EQ(histogram.Counts(), std::vector<uint64_t>{2});
}

TEST(ExponentialHistogram, EmptyAndZeroOnly) {
  Histogram histogram;
  EXPECT_TRUE(histogram.Counts().empty());
  histogram.Record(0);
  EXPECT_EQ(histogram.zero_count(), 1u);
  EXPECT_TRUE(histogram.Counts().empty());
  EXPECT_EQ(histogram.offset(), 0);
}

TEST(ExponentialHistogram, SpreadValuesLoseScaleNotCounts) {
  Histogram histogram;
  std::mt19937_64 random(13);
  std::uniform_real_distribution<double> exponent(-17, 6);  // ten microseconds to a minute
  std::vector<double> values;
  for (int i = 0; i < 5000; ++i) {
    values.push_back(std::exp2(exponent(random)));
    histogram.Record(values.back());
  }
  std::vector<uint64_t> counts = histogram.Counts();
  EXPECT_LE(counts.size(), 160u);
  EXPECT_GT(counts.size(), 80u) << "no more scale is given up than needed";
  EXPECT_EQ(Sum(counts), values.size());
  std::vector<uint64_t> expected(counts.size());
  for (double value : values) {
    int32_t bucket = Histogram::IndexOf(value, histogram.scale()) - histogram.offset();
    ASSERT_GE(bucket, 0);
    ASSERT_LT(static_cast<size_t>(bucket), expected.size());
    ++expected[static_cast<size_t>(bucket)];
  }
  EXPECT_EQ(counts, expected) << "as if recorded at the final scale from the start";
}

TEST(ExponentialHistogram, TheWholeRangeOfDoublesFits) {
  Histogram histogram;
  histogram.Record(DBL_TRUE_MIN);
  histogram.Record(DBL_MAX);
  histogram.Record(1);
  EXPECT_EQ(Sum(histogram.Counts()), 3u);
  EXPECT_LE(histogram.Counts().size(), 160u);
  EXPECT_GE(histogram.scale(), Histogram::kMinScale);
}

TEST(ExponentialHistogram, ResetStartsAtTheFinestScaleAgain) {
  Histogram histogram;
  histogram.Record(1e-6);
  histogram.Record(1e6);
  histogram.Record(0);
  EXPECT_LT(histogram.scale(), 20);
  histogram.Reset();
  EXPECT_EQ(histogram.scale(), 20);
  EXPECT_EQ(histogram.zero_count(), 0u);
  EXPECT_TRUE(histogram.Counts().empty());
}

}  // namespace
}  // namespace zerotap
