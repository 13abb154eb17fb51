#include "agent/base/bounded_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

namespace zerotap {
namespace {

using std::chrono::milliseconds;

TEST(BoundedQueue, FirstInFirstOut) {
  BoundedQueue<int> queue(3);
  for (int i = 1; i <= 3; ++i) EXPECT_FALSE(queue.Push(i).has_value());
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(queue.Pop(milliseconds(0)), i);
  EXPECT_FALSE(queue.Pop(milliseconds(0)).has_value());
}

TEST(BoundedQueue, AFullQueueGivesBackItsOldest) {
  BoundedQueue<std::unique_ptr<int>> queue(2);
  queue.Push(std::make_unique<int>(1));
  queue.Push(std::make_unique<int>(2));
  auto dropped = queue.Push(std::make_unique<int>(3));
  ASSERT_TRUE(dropped.has_value());
  EXPECT_EQ(**dropped, 1);
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(**queue.Pop(milliseconds(0)), 2);
}

TEST(BoundedQueue, NoCapacityRefusesEverything) {
  BoundedQueue<int> queue(0);
  EXPECT_EQ(queue.Push(1), 1);
  EXPECT_EQ(queue.size(), 0u);
}

TEST(BoundedQueue, AClosedQueueRefusesButCanBeDrained) {
  BoundedQueue<int> queue(2);
  queue.Push(1);
  queue.Close();
  EXPECT_EQ(queue.Push(2), 2);
  EXPECT_EQ(queue.Pop(milliseconds(0)), 1);
  EXPECT_FALSE(queue.Pop(std::chrono::hours(1)).has_value()) << "does not wait";
}

TEST(BoundedQueue, CloseWakesAWaitingReader) {
  BoundedQueue<int> queue(1);
  std::thread reader([&] { EXPECT_FALSE(queue.Pop(std::chrono::hours(1)).has_value()); });
  queue.Close();
  reader.join();
}

TEST(BoundedQueue, NothingIsLostOrDoubledBetweenThreads) {
  BoundedQueue<int> queue(16);
  constexpr int kItems = 20000;
  uint64_t read_sum = 0;
  uint64_t dropped_sum = 0;
  std::thread reader([&] {
    while (std::optional<int> item = queue.Pop(std::chrono::hours(1))) read_sum += static_cast<uint64_t>(*item);
  });
  for (int i = 1; i <= kItems; ++i) {
    if (std::optional<int> dropped = queue.Push(i)) dropped_sum += static_cast<uint64_t>(*dropped);
  }
  queue.Close();
  reader.join();
  EXPECT_EQ(read_sum + dropped_sum, uint64_t{kItems} * (kItems + 1) / 2);
}

}  // namespace
}  // namespace zerotap
