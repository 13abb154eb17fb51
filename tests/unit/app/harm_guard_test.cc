#include "agent/app/harm_guard.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <map>

#include "agent/app/ledger_json.h"
#include "tests/support/record_builder.h"

namespace zerotap {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

class FakeControl : public CaptureControl {
 public:
  void SetVerdict(uint64_t, const zt_verdict&) override {}
  void SetProcessPolicy(uint32_t tgid, zt_process_policy policy) override { policies[tgid] = policy; }
  void ForgetProcess(uint32_t tgid) override { policies.erase(tgid); }
  std::map<uint32_t, zt_process_policy> policies;
};

// Each process spends a second of CPU time a second.
class HarmGuardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto created = Pipeline::Create({}, control_, [this](uint32_t tgid) {
      auto resource = std::make_shared<Resource>();
      resource->service_name = "service-" + std::to_string(tgid);
      return std::optional(TracedProcess{tgid, tgid != left_out_, resource});
    });
    ASSERT_TRUE(created);
    pipeline_ = std::move(*created);
  }
  void Start(double budget) {
    HarmHooks hooks;
    hooks.take = [this](std::vector<ProcessCost>& out) {
      if (ticks_++ % every_ != 0) return;
      for (const ProcessCost& cost : costs_) out.push_back(cost);
    };
    hooks.prices = {100, 20};
    hooks.cpu_ns = [this](uint32_t tgid) -> std::optional<uint64_t> {
      if (tgid == gone_) return std::nullopt;
      return now_ns_;
    };
    guard_ = std::make_unique<HarmGuard>(budget, hooks, *pipeline_);
  }
  void Know(uint32_t tgid) {
    testing::ConnectionEnd end;
    end.id = tgid;
    end.tgid = tgid;
    end.client_port = static_cast<uint16_t>(tgid);
    pipeline_->HandleRecord(end.Opened(1).bytes());
  }
  void Run(int seconds) {
    for (int i = 0; i < seconds; ++i) guard_->Tick(now_ns_ += kSecond);
  }

  FakeControl control_;
  std::unique_ptr<Pipeline> pipeline_;
  std::vector<ProcessCost> costs_;
  std::unique_ptr<HarmGuard> guard_;
  uint32_t left_out_ = 0, gone_ = 0;
  uint32_t every_ = 1, ticks_ = 0;  // which ticks find samples
  uint64_t now_ns_ = 1000 * kSecond;
};

TEST_F(HarmGuardTest, TheCostIsTimeAndPrices) {
  Know(7);
  // 100,000 captured events that take 300 ns, and 100 before that: 4 %.
  costs_ = {{.tgid = 7, .handled = 100'000, .handled_ns = 30'000'000}};
  Start(0.041);
  Run(30);
  EXPECT_TRUE(guard_->Counts().limited.empty());
  Start(0.039);
  Run(30);
  ASSERT_EQ(guard_->Counts().limited.size(), 1u);
  EXPECT_EQ(guard_->Counts().limited[0].service, "service-7");
  EXPECT_NEAR(guard_->Counts().limited[0].share, 0.04, 0.001);
}

TEST_F(HarmGuardTest, SecondsWithoutSamplesCountWithTheirCpuTime) {
  Know(7);
  // 8 % of every fourth second: 2 % of its CPU time.
  costs_ = {{.tgid = 7, .ignored = 800'000}};
  every_ = 4;
  Start(0.03);
  Run(120);
  EXPECT_EQ(guard_->Counts().steps_down, (std::array<uint64_t, kHarmRungs>{}));
  Start(0.015);
  Run(120);
  EXPECT_GT(guard_->Counts().steps_down[1], 0u);
}

TEST_F(HarmGuardTest, LateTicksDropNoFigures) {
  Know(7);
  costs_ = {{.tgid = 7, .ignored = 2'000'000}};  // 10 % of two seconds
  Start(0.03);
  for (int i = 0; i < 30; ++i) guard_->Tick(now_ns_ += 2 * kSecond);
  EXPECT_EQ(control_.policies[7], ZT_PROCESS_IGNORE);
}

TEST_F(HarmGuardTest, AProcessThatEndsWhileItIsQuietIsForgotten) {
  Know(7);
  costs_ = {{.tgid = 7, .ignored = 1'000'000}};
  Start(0.03);
  Run(30);
  ASSERT_EQ(guard_->Counts().limited.size(), 1u);
  costs_.clear();
  gone_ = 7;
  Run(1);
  EXPECT_TRUE(guard_->Counts().limited.empty());
}

TEST_F(HarmGuardTest, StepsArePutInForceAndCounted) {
  Know(7);
  Know(8);
  // Ignored events: 10 % on every rung but the last, where they take a fifth of it.
  costs_ = {{.tgid = 7, .ignored = 1'000'000}, {.tgid = 8, .ignored = 1000}};
  Start(0.03);
  Run(30);
  EXPECT_EQ(control_.policies[7], ZT_PROCESS_IGNORE);
  EXPECT_EQ(control_.policies[8], ZT_PROCESS_TRACE);
  HarmCounts counts = guard_->Counts();
  EXPECT_EQ(counts.steps_down, (std::array<uint64_t, kHarmRungs>{0, 1, 1, 1, 1}));
  EXPECT_EQ(counts.excesses, 0u);
  ASSERT_EQ(counts.limited.size(), 1u);
  EXPECT_EQ(counts.limited[0].rung, HarmRung::kDetached);
  const std::string json = LedgerJson({}, 0, counts.limited);
  EXPECT_NE(json.find(R"("limited":[{"service":"service-7","pid":7,"rung":"detached","cpu_share":)"),
            std::string::npos)
      << json;
  costs_.clear();
  Run(90);
  EXPECT_EQ(control_.policies[7], ZT_PROCESS_TRACE);
  EXPECT_EQ(guard_->Counts().steps_up, (std::array<uint64_t, kHarmRungs>{1, 1, 1, 1, 0}));
}

TEST_F(HarmGuardTest, WhoCannotBeLoweredIsSaidOnce) {
  left_out_ = 9;
  Know(7);
  Know(9);
  costs_ = {{.tgid = 7, .ignored = 4'000'000}, {.tgid = 9, .ignored = 4'000'000}};  // 8 % detached
  Start(0.03);
  Run(300);
  EXPECT_EQ(guard_->Counts().excesses, 2u);
  EXPECT_EQ(guard_->Counts().limited.size(), 1u);
  EXPECT_EQ(control_.policies[9], ZT_PROCESS_IGNORE);
}

TEST_F(HarmGuardTest, WhoTurnsOutToBeLeftOutTakesNoSteps) {
  left_out_ = 9;
  costs_ = {{.tgid = 9, .ignored = 2'000'000}};  // not met: that it is left out is known after the first step
  Start(0.03);
  for (int i = 0; i < 60; ++i) {
    Run(1);
    EXPECT_TRUE(guard_->Counts().limited.empty());
  }
  EXPECT_EQ(guard_->Counts().steps_down, (std::array<uint64_t, kHarmRungs>{}));
  EXPECT_EQ(guard_->Counts().steps_up, (std::array<uint64_t, kHarmRungs>{}));
  EXPECT_EQ(control_.policies[9], ZT_PROCESS_IGNORE);
}

TEST_F(HarmGuardTest, AProcessOfWhichNothingWasKnownIsLimitedToo) {
  costs_ = {{.tgid = 7, .ignored = 1'000'000}};
  Start(0.03);
  Run(30);
  EXPECT_EQ(control_.policies[7], ZT_PROCESS_IGNORE);
  EXPECT_EQ(guard_->Counts().limited.at(0).service, "service-7");
}

TEST_F(HarmGuardTest, TheBudgetMayChangeWhileItRuns) {
  Know(7);
  costs_ = {{.tgid = 7, .ignored = 1'000'000}};
  Start(0);
  Run(30);
  EXPECT_EQ(control_.policies[7], ZT_PROCESS_TRACE);
  guard_->SetBudget(0.03);
  Run(30);
  EXPECT_EQ(control_.policies[7], ZT_PROCESS_IGNORE);
  guard_->SetBudget(0);
  EXPECT_EQ(control_.policies[7], ZT_PROCESS_TRACE);
  EXPECT_TRUE(guard_->Counts().limited.empty());
}

TEST_F(HarmGuardTest, AnEndedProcessIsForgotten) {
  Know(7);
  costs_ = {{.tgid = 7, .ignored = 1'000'000}};
  Start(0.03);
  Run(30);
  gone_ = 7;
  Run(1);
  EXPECT_TRUE(guard_->Counts().limited.empty());
}

TEST_F(HarmGuardTest, CpuTimeIsThatOfTheProcess) {
  const std::optional<uint64_t> before = ProcessCpuNs(static_cast<uint32_t>(::getpid()));
  ASSERT_TRUE(before);
  volatile uint64_t sum = 0;
  std::optional<uint64_t> after = before;
  while (*after < *before + 20'000'000) {
    for (uint64_t i = 0; i < 100'000; ++i) sum = sum + i;
    after = ProcessCpuNs(static_cast<uint32_t>(::getpid()));
    ASSERT_TRUE(after);
  }
  EXPECT_FALSE(ProcessCpuNs(0x7ffffff0));
}

}  // namespace
}  // namespace zerotap
