#include "agent/app/thread_times.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace zerotap {
namespace {

class ThreadTimesTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "thread_times_" + std::to_string(::getpid());
    std::filesystem::create_directories(root_ + "/10/task/11");
    std::ofstream(root_ + "/10/task/11/schedstat") << "123456789 987654 42\n";
    waits_.tgid = 10;
    waits_.since_ns = 5;
    waits_.waits_ns[ZT_WAIT_DISK] = 77;
    waits_.on_cpu_ns = 1;
    waits_.cpu_queue_ns = 2;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  std::string root_;
  zt_thread_waits waits_{};
};

TEST_F(ThreadTimesTest, OfALivingThread) {
  std::optional<ThreadTimes> times = MakeThreadTimes(root_, 10, 11, 99, waits_);
  ASSERT_TRUE(times);
  EXPECT_EQ(times->at_ns, 99u);
  EXPECT_EQ(times->since_ns, 5u);
  EXPECT_EQ(times->on_cpu_ns, 123456789u);
  EXPECT_EQ(times->cpu_queue_ns, 987654u);
  EXPECT_EQ(times->waits_ns[static_cast<size_t>(WaitKind::kDisk)], 77u);
}

TEST_F(ThreadTimesTest, OfOneThatHasNotWaited) {
  std::optional<ThreadTimes> times = MakeThreadTimes(root_, 10, 11, 99, std::nullopt);
  ASSERT_TRUE(times);
  EXPECT_EQ(times->since_ns, 0u);
  EXPECT_EQ(times->on_cpu_ns, 123456789u);
}

TEST_F(ThreadTimesTest, OfOneThatIsGoneTheKernelSideKnowsAllOrNothing) {
  EXPECT_FALSE(MakeThreadTimes(root_, 10, 12, 99, waits_));
  waits_.ended = 1;
  std::optional<ThreadTimes> times = MakeThreadTimes(root_, 10, 12, 99, waits_);
  ASSERT_TRUE(times);
  EXPECT_EQ(times->on_cpu_ns, 1u);
  EXPECT_EQ(times->cpu_queue_ns, 2u);
}

TEST_F(ThreadTimesTest, SleepThatTheKernelTookForWaitingForACpuIsNot) {
  waits_.slept_in_queue_ns = 987'000;
  EXPECT_EQ(MakeThreadTimes(root_, 10, 11, 99, waits_)->cpu_queue_ns, 654u);
  waits_.slept_in_queue_ns = 1'000'000;
  EXPECT_EQ(MakeThreadTimes(root_, 10, 11, 99, waits_)->cpu_queue_ns, 0u);
  waits_.ended = 1;
  waits_.cpu_queue_ns = 1'000'005;
  EXPECT_EQ(MakeThreadTimes(root_, 10, 11, 99, waits_)->cpu_queue_ns, 5u);
  waits_.tgid = 20;
  EXPECT_EQ(MakeThreadTimes(root_, 10, 11, 99, waits_)->cpu_queue_ns, 987654u);
}

TEST_F(ThreadTimesTest, SumsOfAnotherProcessAreNotMine) {
  waits_.tgid = 20;
  std::optional<ThreadTimes> times = MakeThreadTimes(root_, 10, 11, 99, waits_);
  ASSERT_TRUE(times);
  EXPECT_EQ(times->waits_ns[static_cast<size_t>(WaitKind::kDisk)], 0u);
}

}  // namespace
}  // namespace zerotap
