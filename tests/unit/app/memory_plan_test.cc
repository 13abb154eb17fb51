// The limit of memory: the worst cases of all parts, added up, and where the limit comes from.
#include "agent/app/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "agent/app/memory_watch.h"

namespace zerotap {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kMiB = uint64_t{1} << 20;

Config Usual() {
  Config config;
  config.exports.traces = {"otlp"};
  config.exports.metrics = {"otlp"};
  return config;
}

// Applies the limit to `config`, whose keys in `set` are the user's.
Status Apply(Config& config, const std::vector<std::string>& set = {}, MachineFacts machine = {0, 2},
             std::vector<std::string>* warnings = nullptr) {
  ConfigOrigins origins;
  for (const std::string& key : set) origins[key] = "a file";
  std::vector<std::string> ignored;
  return ApplyMemoryLimit(machine, origins, config, warnings != nullptr ? *warnings : ignored);
}

TEST(MemoryPlanTest, TheWorstCasesOfAllPartsFitIntoEveryLimitThatIsTaken) {
  size_t taken = 0;
  for (unsigned cpus : {1u, 2u, 8u, 64u, 512u}) {
    for (uint64_t limit = 32; limit <= 4096; limit += limit < 512 ? 7 : 301) {
      for (bool syscalls : {false, true}) {
        for (const char* histogram : {"explicit", "exponential"}) {
          Config config = Usual();
          config.exports.traces = {"otlp", "file"};
          config.syscalls.enabled = syscalls;
          config.metrics.histogram = histogram;
          config.memory.limit_bytes = limit * kMiB;
          if (!Apply(config, {"memory.limit"}, {0, cpus, cpus})) continue;
          ++taken;
          EXPECT_LE(PlanMemory(config).total(), limit * kMiB)
              << limit << " MiB, " << cpus << " CPUs: " << PlanMemory(config).Text();
          EXPECT_GE(config.capture.ring_bytes, 256u << 10);
          EXPECT_GE(config.capture.max_connections, 1024u);
          EXPECT_GE(config.exports.queue_bytes, kMiB);
          EXPECT_GE(config.memory.metric_queue_points, 100u);
        }
      }
    }
  }
  EXPECT_GT(taken, 500u);
}

TEST(MemoryPlanTest, MoreMayBeHeldWhereMoreIsAllowed) {
  Config small = Usual(), large = Usual();
  small.memory.limit_bytes = 128 * kMiB;
  large.memory.limit_bytes = 512 * kMiB;
  ASSERT_TRUE(Apply(small));
  ASSERT_TRUE(Apply(large));
  EXPECT_LT(small.capture.max_connections, large.capture.max_connections);
  EXPECT_LT(small.exports.queue_bytes, large.exports.queue_bytes);
  EXPECT_LT(small.memory.connection_bytes, large.memory.connection_bytes);
  EXPECT_LT(small.pipeline.max_held_bytes, large.pipeline.max_held_bytes);
}

TEST(MemoryPlanTest, WithoutALimitThereIsOneOfTheControlGroupOrOfTheProgram) {
  Config config = Usual();
  ASSERT_TRUE(Apply(config));
  EXPECT_EQ(config.memory.limit_bytes, 256 * kMiB);
  EXPECT_LE(KernelMemory(config), 39 * kMiB) << "at worst; what is in use is measured by tests/soak/run --scale";
  config = Usual();
  ASSERT_TRUE(Apply(config, {}, {160 * kMiB, 2}));
  EXPECT_EQ(config.memory.limit_bytes, 140 * kMiB);
  EXPECT_LE(PlanMemory(config).total(), 140 * kMiB);
}

TEST(MemoryPlanTest, ATooLowLimitIsRefusedWithTheLeastThatWouldDo) {
  Config config = Usual();
  config.memory.limit_bytes = 33 * kMiB;
  Status status = Apply(config, {"memory.limit"});
  ASSERT_FALSE(status.has_value());
  EXPECT_THAT(status.error().message, HasSubstr("memory.limit: 33MiB is too little"));
  const std::string text = status.error().message;
  const std::string mark = "set it to ";
  const uint64_t least = std::strtoull(text.c_str() + text.find(mark) + mark.size(), nullptr, 10);
  ASSERT_GT(least, 33u);
  config = Usual();
  config.memory.limit_bytes = least * kMiB;
  EXPECT_TRUE(Apply(config, {"memory.limit"}).has_value()) << least;
  config = Usual();
  config.memory.limit_bytes = (least - 1) * kMiB;
  EXPECT_FALSE(Apply(config, {"memory.limit"}).has_value()) << least;
}

TEST(MemoryPlanTest, WhatWasSetStaysAndRaisesALimitThatWasNot) {
  Config config = Usual();
  config.exports.queue_bytes = 1024 * kMiB;
  std::vector<std::string> warnings;
  ASSERT_TRUE(Apply(config, {"export.queue_memory"}, {0, 2}, &warnings));
  EXPECT_EQ(config.exports.queue_bytes, 1024 * kMiB);
  EXPECT_GT(config.memory.limit_bytes, 1024 * kMiB);
  EXPECT_LE(PlanMemory(config).total(), config.memory.limit_bytes);
  EXPECT_THAT(warnings, IsEmpty());

  config = Usual();
  config.exports.queue_bytes = 1024 * kMiB;
  ASSERT_TRUE(Apply(config, {"export.queue_memory"}, {512 * kMiB, 2}, &warnings));
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("its control group may use 512MiB"));

  config = Usual();
  config.exports.queue_bytes = 1024 * kMiB;
  config.memory.limit_bytes = 256 * kMiB;
  EXPECT_FALSE(Apply(config, {"export.queue_memory", "memory.limit"}).has_value());
}

TEST(MemoryPlanTest, WhatIsNotSetMakesRoomForWhatIs) {
  Config usual = Usual(), config = Usual();
  usual.memory.limit_bytes = config.memory.limit_bytes = 400 * kMiB;
  ASSERT_TRUE(Apply(usual, {"memory.limit"}));
  config.exports.queue_bytes = 200 * kMiB;
  ASSERT_TRUE(Apply(config, {"memory.limit", "export.queue_memory"}));
  EXPECT_EQ(config.memory.limit_bytes, 400 * kMiB);
  EXPECT_EQ(config.exports.queue_bytes, 200 * kMiB);
  EXPECT_LE(PlanMemory(config).total(), 400 * kMiB);
  EXPECT_GE(PlanMemory(config).total(), 380 * kMiB) << "no more is taken away than needed";
  EXPECT_LT(config.memory.connection_bytes, usual.memory.connection_bytes);

  config = Usual();
  config.memory.limit_bytes = 200 * kMiB;
  config.exports.queue_bytes = 200 * kMiB;
  const Status status = Apply(config, {"memory.limit", "export.queue_memory"});
  ASSERT_FALSE(status.has_value());
  const std::string text = status.error().message;
  const std::string mark = "set it to ";
  const uint64_t least = std::strtoull(text.c_str() + text.find(mark) + mark.size(), nullptr, 10);
  for (const uint64_t enough : {least, least - 1}) {
    config = Usual();
    config.memory.limit_bytes = enough * kMiB;
    config.exports.queue_bytes = 200 * kMiB;
    EXPECT_EQ(Apply(config, {"memory.limit", "export.queue_memory"}).has_value(), enough == least) << enough;
  }
}

class ControlGroupTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  const std::string root_ =
      (std::filesystem::temp_directory_path() / ("zerotap-groups-" + std::to_string(::getpid()))).string() + "/";
};

TEST_F(ControlGroupTest, TheLowestLimitOfTheGroupAndThoseAroundItCounts) {
  Write("proc/self/cgroup", "0::/system.slice/zerotap.service\n");
  Write("sys/fs/cgroup/system.slice/zerotap.service/memory.max", "max\n");
  EXPECT_EQ(ControlGroupMemoryLimit(root_), 0u);
  Write("sys/fs/cgroup/system.slice/memory.max", "536870912\n");
  EXPECT_EQ(ControlGroupMemoryLimit(root_), 512 * kMiB);
  Write("sys/fs/cgroup/system.slice/zerotap.service/memory.max", "134217728\n");
  EXPECT_EQ(ControlGroupMemoryLimit(root_), 128 * kMiB);
}

TEST_F(ControlGroupTest, VersionOneSaysNoLimitByAHugeNumber) {
  Write("proc/self/cgroup", "5:cpu,memory:/docker/1\n1:name=systemd:/\n");
  Write("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(ControlGroupMemoryLimit(root_), 0u);
  Write("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "134217728\n");
  EXPECT_EQ(ControlGroupMemoryLimit(root_), 128 * kMiB);
}

TEST_F(ControlGroupTest, TheMachineIsRead) {
  Write("sys/devices/system/cpu/possible", "0-127\n");
  EXPECT_EQ(ReadMachineFacts(root_).cpus, 128u);
  Write("sys/devices/system/cpu/possible", "0\n");
  EXPECT_EQ(ReadMachineFacts(root_).cpus, 1u);
  for (const auto& [list, cpus] : {std::pair("0-3\n", 4u), {"0\n", 1u}, {"0-1,4,8-11\n", 7u}}) {
    Write("sys/devices/system/cpu/online", list);
    EXPECT_EQ(ReadMachineFacts(root_).online_cpus, cpus) << list;
  }
  EXPECT_EQ(ReadMachineFacts(root_).control_group_bytes, 0u);
}

TEST(MemoryWatchTest, NearTheLimitSomethingIsGivenUpAndSaidOnceAMinute) {
  MemoryWatch watch({160 * kMiB, 40 * kMiB, 0});
  EXPECT_FALSE(watch.IsNear(100 * kMiB));
  EXPECT_FALSE(watch.IsNear(110 * kMiB));
  EXPECT_EQ(watch.sheds(), 0u);
  EXPECT_TRUE(watch.IsNear(111 * kMiB));
  EXPECT_EQ(watch.sheds(), 1u);
  EXPECT_EQ(watch.used_bytes(), 151 * kMiB);
  EXPECT_TRUE(watch.MayLog(1'000'000'000));
  EXPECT_FALSE(watch.MayLog(2'000'000'000));
  EXPECT_TRUE(watch.MayLog(61'000'000'000));
  EXPECT_FALSE(MemoryWatch({0, 40 * kMiB, 0}).IsNear(1 << 30)) << "no limit";
}

}  // namespace
}  // namespace zerotap
