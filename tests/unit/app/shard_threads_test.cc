// The threads of the shards, and an agent's loop with several of them: what it records while its threads parse gives the
// same in a replay with one shard.
#include "agent/app/shard_threads.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>

#include "agent/app/memory_plan.h"
#include "agent/app/pipeline_loop.h"
#include "agent/pipeline/replay.h"
#include "agent/telemetry/semconv.h"
#include "tests/support/random_host.h"

namespace zerotap {
namespace {

using testing::RandomHost;

TEST(ShardThreads, EveryJobIsDoneOnceBeforeRunReturns) {
  for (size_t helpers : {0u, 1u, 3u}) {
    ShardThreads threads(helpers);
    for (int round = 0; round < 2000; ++round) {
      const size_t count = 1 + static_cast<size_t>(round) % 7;
      std::vector<int> done(count, 0);  // not atomic: Run says when they may be read
      threads.Run(count, [&done](size_t i) { ++done[i]; });
      ASSERT_EQ(done, std::vector<int>(count, 1)) << helpers << " helpers, round " << round;
    }
  }
}

TEST(ShardThreads, HelpersHelp) {
  ShardThreads threads(1);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  // Each job waits until the other has begun, so that one thread alone would never end.
  std::atomic<int> begun{0};
  threads.Run(2, [&](size_t) {
    {
      std::lock_guard lock(mutex);
      seen.insert(std::this_thread::get_id());
    }
    ++begun;
    while (begun < 2) std::this_thread::yield();
  });
  EXPECT_EQ(seen.size(), 2u);
}

// Gives batches of a made-up host's records, and then nothing.
class HostSource : public EventSource {
 public:
  HostSource(uint32_t seed, int drains) : host_(seed), left_(drains) {}
  Result<size_t> Drain(int timeout_ms, const std::function<void(ByteSpan)>& handler) override {
    size_t count = 0;
    if (left_ > 0) {
      --left_;
      while (count < 1000) {
        for (const testing::Record& record : host_.Next()) {
          handler(record.bytes());
          ++count;
        }
      }
    } else {
      ended = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(timeout_ms));
    }
    return count;
  }
  void Pause(uint64_t) override {}
  std::atomic<bool> ended{false};

 private:
  RandomHost host_;
  int left_;
};

class NoControl : public CaptureControl {
 public:
  void SetVerdict(uint64_t, const zt_verdict&) override {}
  void SetProcessPolicy(uint32_t, zt_process_policy) override {}
  void ForgetProcess(uint32_t) override {}
};

std::vector<std::string> Sorted(const std::vector<Span>& spans) {
  std::vector<std::string> lines;
  for (const Span& span : spans) {
    lines.push_back(span.resource->service_name + ' ' + span.name + ' ' +
                    std::to_string(span.start_unix_ns) + '-' + std::to_string(span.end_unix_ns) +
                    ' ' + std::to_string(span.trace_id.low) + ' ' +
                    std::to_string(span.span_id.value) + " < " +
                    std::to_string(span.parent_span_id.value) + ' ' + std::to_string(span.flags));
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

using Rows = std::map<std::tuple<std::string, uint32_t, std::string, Role>, std::array<uint64_t, 4>>;
Rows RowsOf(const Ledger& ledger) {
  Rows rows;
  for (const LedgerRow& row : ledger.Snapshot()) {
    rows[{row.service, row.pid, row.protocol, row.role}] = {
        row.counts.seen, row.counts.filtered(), row.counts.sampled_out, row.counts.dropped_total()};
  }
  return rows;
}

TEST(ShardLoop, WhatItsThreadsMadeIsWhatAReplayWithOneShardMakes) {
  const std::string path =
      (std::filesystem::temp_directory_path() / ("zerotap-shards-" + std::to_string(::getpid())))
          .string();
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    PipelineLoopOptions options;
    options.agent_resource = MakeAgentResource({});
    options.pipeline.id_seed = seed;
    options.pipeline.shards = 3;
    auto recording = RecordingWriter::Create(path, {seed, 0});
    ASSERT_TRUE(recording) << recording.error().message;
    HostSource source(seed, 12);
    NoControl control;
    ProcessHooks hooks;
    hooks.resolve = [](uint32_t tgid) -> std::optional<TracedProcess> {
      if (tgid == RandomHost::kFirstProcess) return std::nullopt;
      if (tgid == RandomHost::kFirstProcess + 1) return TracedProcess{tgid, false, nullptr};
      auto resource = std::make_shared<Resource>();
      resource->service_name = "service-" + std::to_string(tgid);
      resource->pid = tgid;
      resource->attributes.Add(semconv::kServiceName, resource->service_name);
      return TracedProcess{tgid, true, resource};
    };
    std::vector<Span> live;
    TelemetrySinks sinks;
    sinks.spans = [&live](std::vector<Span>&& spans) {
      for (Span& span : spans) live.push_back(std::move(span));
    };
    auto loop = PipelineLoop::Create(options, source, control, hooks, sinks, {}, std::move(*recording));
    ASSERT_TRUE(loop) << loop.error().message;
    (*loop)->Start();
    while (!source.ended) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    // Between two records, whatever the threads have done.
    ASSERT_TRUE((*loop)->Reconfigure([&](const PipelineLoop::Target& target) {
      return target.pipeline.Reconfigure(options.pipeline, false);
    }));
    (*loop)->Stop();
    const PipelineStats stats = (*loop)->Snapshot().pipeline;
    EXPECT_EQ(stats.shards, 3u);
    EXPECT_GT(stats.shared_records, 4000u);

    std::vector<Span> replayed;
    Rows rows;
    const Status status = ReplayFile(
        path, PipelineOptions{},
        [&replayed](std::vector<Span>&& spans) {
          for (Span& span : spans) replayed.push_back(std::move(span));
        },
        [&rows](Pipeline& pipeline) { rows = RowsOf(pipeline.ledger()); });
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_GT(live.size(), 500u);
    ASSERT_EQ(Sorted(live), Sorted(replayed)) << "seed " << seed;
    EXPECT_EQ(RowsOf((*loop)->ledger()), rows);
  }
  std::filesystem::remove(path);
}

TEST(ShardPlan, ShardsFollowFromTheCpusUnlessTheyAreAskedFor) {
  Config config;
  for (const auto& [cpus, shards] : {std::pair(1u, 1u), {2u, 1u}, {8u, 1u}, {16u, 1u}, {17u, 4u}, {512u, 4u}}) {
    config.memory.cpus = 512;  // a virtual machine may have room for so many
    config.memory.online_cpus = cpus;
    config.shards = 0;
    EXPECT_EQ(PipelineShards(config), shards) << cpus << " CPUs";
    config.shards = 7;
    EXPECT_EQ(PipelineShards(config), 7u) << cpus << " CPUs";
  }
}

TEST(ShardPlan, WhatIsGatheredCountsAsMemory) {
  Config one, four;
  one.memory.limit_bytes = four.memory.limit_bytes = uint64_t{256} << 20;
  four.shards = 4;
  std::vector<std::string> warnings;
  ASSERT_TRUE(ApplyMemoryLimit({0, 2}, {}, one, warnings));
  ASSERT_TRUE(ApplyMemoryLimit({0, 2}, {}, four, warnings));
  EXPECT_GT(one.memory.connection_bytes, four.memory.connection_bytes);
  EXPECT_LE(PlanMemory(four).total(), four.memory.limit_bytes);
  EXPECT_NE(PlanMemory(four).Text().find("shards (pipeline.shards)"), std::string::npos);
  EXPECT_EQ(PlanMemory(one).Text().find("shards"), std::string::npos);
}

}  // namespace
}  // namespace zerotap
