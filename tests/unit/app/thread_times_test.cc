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
  std::optional<ThreadTimes> Make(uint32_t tgid, uint32_t tid,
                                  const std::optional<zt_thread_waits>& waits) {
    return MakeThreadTimes(root_, tgid, tid, 99, [&] { return waits; });
  }
  std::string root_;
  zt_thread_waits waits_{};
};

TEST_F(ThreadTimesTest, OfALivingThread) {
  std::optional<ThreadTimes> times = Make(10, 11, waits_);
  ASSERT_TRUE(times);
  EXPECT_EQ(times->at_ns, 99u);
  EXPECT_EQ(times->since_ns, 5u);
  EXPECT_EQ(times->on_cpu_ns, 123456789u);
  EXPECT_EQ(times->cpu_queue_ns, 987654u);
  EXPECT_EQ(times->waits_ns[static_cast<size_t>(WaitKind::kDisk)], 77u);
}

TEST_F(ThreadTimesTest, OfOneThatHasNotWaited) {
  std::optional<ThreadTimes> times = Make(10, 11, std::nullopt);
  ASSERT_TRUE(times);
  EXPECT_EQ(times->since_ns, 0u);
  EXPECT_EQ(times->on_cpu_ns, 123456789u);
}

TEST_F(ThreadTimesTest, OfOneThatIsGoneTheKernelSideKnowsAllOrNothing) {
  EXPECT_FALSE(Make(10, 12, waits_));
  waits_.ended = 1;
  std::optional<ThreadTimes> times = Make(10, 12, waits_);
  ASSERT_TRUE(times);
  EXPECT_EQ(times->on_cpu_ns, 1u);
  EXPECT_EQ(times->cpu_queue_ns, 2u);
}

TEST_F(ThreadTimesTest, SleepThatTheKernelTookForWaitingForACpuIsNot) {
  waits_.slept_in_queue_ns = 987'000;
  waits_.slept_last_ns = 87'000;
  waits_.queue_before_last_ns = 987'653;
  EXPECT_EQ(Make(10, 11, waits_)->cpu_queue_ns, 654u);
  waits_.ended = 1;
  waits_.cpu_queue_ns = 1'000'005;
  EXPECT_EQ(Make(10, 11, waits_)->cpu_queue_ns, 13'005u);
  waits_.tgid = 20;
  EXPECT_EQ(Make(10, 11, waits_)->cpu_queue_ns, 987'654u);
}

TEST_F(ThreadTimesTest, SleepOfAThreadThatWasJustWokenIsNotInTheKernelsSumYet) {
  waits_.slept_in_queue_ns = 987'000;
  waits_.slept_last_ns = 87'000;
  waits_.queue_before_last_ns = 987'654;
  EXPECT_EQ(Make(10, 11, waits_)->cpu_queue_ns, 87'654u);
  // Woken between the two readings, after the kernel's sum was read.
  waits_.queue_before_last_ns = 987'700;
  EXPECT_EQ(Make(10, 11, waits_)->cpu_queue_ns, 87'654u);
}

TEST_F(ThreadTimesTest, SumsOfAnotherProcessAreNotMine) {
  waits_.tgid = 20;
  std::optional<ThreadTimes> times = Make(10, 11, waits_);
  ASSERT_TRUE(times);
  EXPECT_EQ(times->waits_ns[static_cast<size_t>(WaitKind::kDisk)], 0u);
}

}  // namespace
}  // namespace zerotap
