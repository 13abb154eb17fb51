#include "agent/traces/wait_tracker.h"

#include <gtest/gtest.h>

#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint32_t kThread = 5;

class WaitTrackerTest : public testing::Test {
 protected:
  WaitTrackerTest() {
    tracker_.SetReader([this](uint32_t, uint32_t tid) -> std::optional<ThreadTimes> {
      ++reads_;
      EXPECT_TRUE(any_thread_ || tid == kThread);
      return now_;
    });
  }
  // A request that a thread read at `start`.
  WorkId Begin(uint64_t start, bool blocking = true, uint64_t connection = 1,
               uint32_t thread = kThread) {
    WorkOrigin origin;
    origin.role = Role::kServer;
    origin.connection_id = connection;
    RequestStart request;
    request.start_ns = start;
    request.tid = thread;
    request.tgid = thread;
    request.blocking = blocking;
    WorkId work = correlator_.Begin(origin, request);
    tracker_.Begin(work, start);
    return work;
  }
  void At(uint64_t at, uint64_t on_cpu, uint64_t queue, uint64_t disk, uint64_t since = 1) {
    now_.emplace();
    now_->at_ns = at;
    now_->since_ns = since;
    now_->on_cpu_ns = on_cpu;
    now_->cpu_queue_ns = queue;
    now_->waits_ns[static_cast<size_t>(WaitKind::kDisk)] = disk;
  }
  AttributeSet End(WorkId work, uint64_t start, uint64_t end, std::string_view service = "shop") {
    AttributeSet attributes;
    tracker_.End(work, start, end, service, attributes);
    correlator_.End(work, end);
    return attributes;
  }
  static double Value(const AttributeSet& attributes, std::string_view key) {
    for (size_t i = 0; i < attributes.size(); ++i) {
      if (attributes[i].key == key) return std::get<double>(attributes[i].value);
    }
    return -1;
  }

  std::optional<ThreadTimes> now_;
  int reads_ = 0;
  bool any_thread_ = false;
  ContextCorrelator correlator_{
      {}, [](const TraceId&, std::optional<bool>) { return true; }, [](Span&&, bool) {}};
  WaitTracker tracker_{{1000 * kMs, {{"fast-*", 100 * kMs}}}, correlator_};
};

TEST_F(WaitTrackerTest, ASlowRequestSaysWhereItsTimeWent) {
  WorkId work = Begin(100 * kMs);
  At(110 * kMs, 7 * kMs, 3 * kMs, 50 * kMs);
  tracker_.Advance(110 * kMs);
  At(2105 * kMs, 207 * kMs, 103 * kMs, 1650 * kMs);
  AttributeSet attributes = End(work, 100 * kMs, 2100 * kMs);
  EXPECT_EQ(attributes.FindText(semconv::kWaitCause), "disk");
  EXPECT_DOUBLE_EQ(Value(attributes, semconv::kWaitDisk), 1.6);
  EXPECT_DOUBLE_EQ(Value(attributes, semconv::kWaitOnCpu), 0.2);
  EXPECT_DOUBLE_EQ(Value(attributes, semconv::kWaitCpuQueue), 0.1);
  EXPECT_DOUBLE_EQ(Value(attributes, semconv::kWaitUnknown), 0.09);
  EXPECT_EQ(attributes.size(), 5u) << "what is 0 is left out";
}

TEST_F(WaitTrackerTest, FastRequestsAreNeverLookedAt) {
  for (uint64_t i = 1; i <= 100; ++i) {
    WorkId work = Begin(i * 10 * kMs);
    EXPECT_TRUE(End(work, i * 10 * kMs, i * 10 * kMs + kMs).empty());
    tracker_.Advance(i * 10 * kMs + 9 * kMs);
  }
  EXPECT_EQ(reads_, 0);
}

TEST_F(WaitTrackerTest, WhatIsNotLookedAtForTooManyOthersIsCounted) {
  constexpr uint64_t kYoung = 16384;
  constexpr uint64_t kWatched = 4096;
  At(100 * kMs, 0, 0, 0);
  any_thread_ = true;
  // One request a thread: that of a thread that serves two is nobody's.
  for (uint64_t i = 1; i <= kYoung; ++i) Begin(100 * kMs, true, i, static_cast<uint32_t>(i));
  EXPECT_EQ(tracker_.unwatched(), 0u);
  tracker_.Begin(kYoung + 1, 100 * kMs);
  EXPECT_EQ(tracker_.unwatched(), 1u);
  tracker_.Advance(106 * kMs);
  EXPECT_EQ(tracker_.unwatched(), 1 + kYoung - kWatched);
}

TEST_F(WaitTrackerTest, BelowTheThresholdNothingIsSaid) {
  WorkId work = Begin(100 * kMs);
  At(106 * kMs, 0, 0, 0);
  tracker_.Advance(106 * kMs);
  EXPECT_TRUE(End(work, 100 * kMs, 1099 * kMs).empty());
  EXPECT_EQ(reads_, 1);
}

TEST_F(WaitTrackerTest, AServiceMayHaveAThresholdOfItsOwn) {
  WorkId work = Begin(100 * kMs);
  At(106 * kMs, 0, 0, 0);
  tracker_.Advance(106 * kMs);
  At(300 * kMs, 180 * kMs, 0, 0);
  EXPECT_EQ(End(work, 100 * kMs, 300 * kMs, "fast-one").FindText(semconv::kWaitCause), "on_cpu");
}

TEST_F(WaitTrackerTest, WithoutACertainThreadNothingIsSaid) {
  // An event loop.
  WorkId work = Begin(100 * kMs, false);
  At(106 * kMs, 0, 0, 0);
  tracker_.Advance(106 * kMs);
  EXPECT_EQ(reads_, 0);
  EXPECT_TRUE(End(work, 100 * kMs, 2100 * kMs).empty());
}

TEST_F(WaitTrackerTest, AThreadThatTookASecondRequestMeanwhileProvesNothing) {
  WorkId work = Begin(100 * kMs);
  At(106 * kMs, 0, 0, 0);
  tracker_.Advance(106 * kMs);
  Begin(500 * kMs, true, 2);
  At(2100 * kMs, 1000 * kMs, 0, 0);
  EXPECT_TRUE(End(work, 100 * kMs, 2100 * kMs).empty());
}

TEST_F(WaitTrackerTest, SumsThatBeganAnewSayNothing) {
  WorkId work = Begin(100 * kMs);
  At(106 * kMs, 0, 0, 90 * kMs, 7);
  tracker_.Advance(106 * kMs);
  At(2100 * kMs, 10 * kMs, 0, 500 * kMs, 8);
  EXPECT_TRUE(End(work, 100 * kMs, 2100 * kMs).empty());
}

TEST_F(WaitTrackerTest, ALateFirstReadingSaysNothing) {
  WorkId work = Begin(100 * kMs);
  At(400 * kMs, 0, 0, 0);
  tracker_.Advance(400 * kMs);
  At(2100 * kMs, 1700 * kMs, 0, 0);
  EXPECT_TRUE(End(work, 100 * kMs, 2100 * kMs).empty());
}

TEST_F(WaitTrackerTest, WhatIsReadLateNeverAddsUpToMoreThanTheRequest) {
  WorkId work = Begin(100 * kMs);
  At(105 * kMs, 0, 0, 0);
  tracker_.Advance(105 * kMs);
  At(2120 * kMs, 30 * kMs, 0, 2015 * kMs);
  AttributeSet attributes = End(work, 100 * kMs, 2100 * kMs);
  EXPECT_DOUBLE_EQ(Value(attributes, semconv::kWaitDisk), 1.995);
  EXPECT_EQ(attributes.size(), 2u);
}

TEST_F(WaitTrackerTest, AThreadThatIsGoneWithoutAWord) {
  WorkId work = Begin(100 * kMs);
  At(105 * kMs, 0, 0, 0);
  tracker_.Advance(105 * kMs);
  now_.reset();
  EXPECT_TRUE(End(work, 100 * kMs, 2100 * kMs).empty());
}

}  // namespace
}  // namespace zerotap
