#include "agent/pipeline/finished_spans.h"

#include <gtest/gtest.h>

#include <vector>

namespace zerotap {
namespace {

void Round(FinishedSpans& spans, size_t count) {
  std::vector<Span> taken;
  for (size_t i = 0; i < count; ++i) spans.Append();
  spans.Take(taken);
  ASSERT_EQ(taken.size(), count);
  spans.Recycle(taken);
}

TEST(FinishedSpansTest, WhatABurstNeededIsGivenBackAndWhatIsUsedStays) {
  FinishedSpans spans;
  Round(spans, 1000);
  EXPECT_EQ(spans.spare(), 1000u);
  spans.GiveBackUnused();  // it was in use
  for (int i = 0; i < 5; ++i) Round(spans, 30);
  EXPECT_EQ(spans.spare(), 1000u);
  spans.GiveBackUnused();
  EXPECT_EQ(spans.spare(), 30u);
  for (int i = 0; i < 5; ++i) {
    Round(spans, 30);
    spans.GiveBackUnused();
    EXPECT_EQ(spans.spare(), 30u);
  }
  spans.GiveBackUnused();
  EXPECT_EQ(spans.spare(), 0u);
}

}  // namespace
}  // namespace zerotap
