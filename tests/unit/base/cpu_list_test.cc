#include "agent/base/cpu_list.h"

#include <gtest/gtest.h>

namespace zerotap {
namespace {

TEST(CpuListTest, TheLastNumberIsTheLastCpu) {
  EXPECT_EQ(LastCpuOf("0\n"), 0u);
  EXPECT_EQ(LastCpuOf("0-63\n"), 63u);
  EXPECT_EQ(LastCpuOf("0-3,8"), 8u);
  EXPECT_EQ(LastCpuOf("0,2,4-6"), 6u);
}

TEST(CpuListTest, WhatIsNoListHasNone) {
  for (const char* text : {"", "\n", "0-", "0-x", "0-3x", "many"}) EXPECT_EQ(LastCpuOf(text), std::nullopt) << text;
}

}  // namespace
}  // namespace zerotap
