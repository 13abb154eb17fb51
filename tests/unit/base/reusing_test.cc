// Containers that keep the memory of what has left them.
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>

#include "agent/base/reusing_map.h"
#include "agent/base/ring_queue.h"

namespace zerotap {
namespace {

TEST(ReusingMapTest, HoldsWhatAMapHolds) {
  std::mt19937 random(1);
  ReusingMap<uint32_t, uint64_t> map;
  std::map<uint32_t, uint64_t> truth;
  for (int i = 0; i < 100'000; ++i) {
    const uint32_t key = random() % 3000;
    if (random() % 2 == 0) {
      auto [entry, added] = map.try_emplace(key, i);
      auto [known, is_new] = truth.try_emplace(key, i);
      ASSERT_EQ(added, is_new);
      ASSERT_EQ(entry->first, key);
      ASSERT_EQ(entry->second, known->second);
    } else {
      map.erase(key);
      truth.erase(key);
    }
    ASSERT_EQ(map.size(), truth.size());
  }
  for (const auto& [key, value] : truth) {
    ASSERT_TRUE(map.contains(key));
    ASSERT_EQ(map.find(key)->second, value);
  }
  size_t count = 0;
  for (const auto& [key, value] : map) count += truth.at(key) == value ? 1 : 0;
  EXPECT_EQ(count, truth.size());
}

TEST(ReusingMapTest, AnEntryInFormerMemoryIsNew) {
  ReusingMap<uint32_t, uint64_t> map;
  map[7] = 70;
  map.erase(map.find(7));
  EXPECT_TRUE(map.empty());
  EXPECT_EQ(map[8], 0u);
  EXPECT_FALSE(map.contains(7));
  map.clear();
  EXPECT_FALSE(map.contains(8));
}

TEST(RingQueueTest, IsFirstInFirstOut) {
  std::mt19937 random(1);
  RingQueue<int> queue;
  std::deque<int> truth;
  for (int i = 0; i < 200'000; ++i) {
    // Grows to some ten thousand, and is drained.
    if (random() % 100 < (i < 100'000 ? 60u : 35u)) {
      queue.push_back(i);
      truth.push_back(i);
    } else if (!truth.empty()) {
      ASSERT_EQ(queue.front(), truth.front());
      queue.pop_front();
      truth.pop_front();
    }
    ASSERT_EQ(queue.size(), truth.size());
  }
  while (!truth.empty()) {
    ASSERT_EQ(queue.front(), truth.front());
    queue.pop_front();
    truth.pop_front();
  }
  EXPECT_TRUE(queue.empty());
  queue.push_back(5);
  EXPECT_EQ(queue.front(), 5);
}

}  // namespace
}  // namespace zerotap
