#include "agent/base/pointer_table.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/base/short_text.h"

namespace zerotap {
namespace {

struct Thing {
  uint64_t key;
};
struct KeyOf {
  uint64_t operator()(const Thing& thing) const { return thing.key; }
};
using Table = PointerTable<Thing, KeyOf>;

TEST(PointerTableTest, FindsWhatAMapFinds) {
  std::mt19937_64 random(1);
  Table table;
  std::unordered_map<uint64_t, std::unique_ptr<Thing>> map;
  for (int step = 0; step < 200'000; ++step) {
    // Few numbers, so that they come and go; some of them dense, some far apart.
    const bool growing = step < 100'000;
    uint64_t key = random() % 5000;
    if (key % 2 == 0) key <<= 40;
    if (random() % 8 < (growing ? 6u : 2u)) {
      auto thing = std::make_unique<Thing>(Thing{key});
      table.Put(*thing);
      map[key] = std::move(thing);
    } else if (auto found = map.find(key); found != map.end()) {
      table.Erase(*found->second);
      map.erase(found);
    }
    ASSERT_EQ(table.size(), map.size());
    const uint64_t other = random() % 2 == 0 ? key : random() % 5000;
    const auto expected = map.find(other);
    ASSERT_EQ(table.Find(other), expected == map.end() ? nullptr : expected->second.get());
  }
  size_t visited = 0;
  table.ForEach([&](Thing& thing) {
    EXPECT_EQ(map.at(thing.key).get(), &thing);
    ++visited;
  });
  EXPECT_EQ(visited, map.size());
}

TEST(PointerTableTest, AnotherOneWithTheSameNumberTakesThePlace) {
  Table table;
  Thing first{7}, second{7};
  table.Put(first);
  table.Put(second);
  EXPECT_EQ(table.size(), 1u);
  table.Erase(first);  // it is not that one
  EXPECT_EQ(table.Find(7), &second);
  table.Erase(second);
  EXPECT_EQ(table.Find(7), nullptr);
  EXPECT_TRUE(table.empty());
}

TEST(PointerTableTest, GivesBackWhatManyNeeded) {
  Table table;
  std::vector<Thing> things;
  for (uint64_t key = 1; key <= 10'000; ++key) things.push_back({key});
  for (Thing& thing : things) table.Put(thing);
  EXPECT_LE(table.MemorySize(), 10'000u * 9 * 8 / 3);
  while (things.size() > 1) {
    table.Erase(things.back());
    things.pop_back();
  }
  EXPECT_LE(table.MemorySize(), 32u * 9);
  EXPECT_EQ(table.Find(1), &things.front());
}

TEST(ShortTextTest, HoldsTextsOfAnyLengthUpToItsLimit) {
  ShortText text;
  EXPECT_EQ(text.view(), "");
  for (size_t length : {3u, 15u, 16u, 39u, 255u, 0u, 40u, 7u}) {
    const std::string expected(length, static_cast<char>('a' + length % 26));
    text.Set(expected);
    EXPECT_EQ(text.view(), expected);
    EXPECT_EQ(text.MemorySize(), length > 15 ? length : 0);
  }
  text.Set(std::string(300, 'x'));
  EXPECT_EQ(text.view(), std::string(255, 'x'));
}

}  // namespace
}  // namespace zerotap
