// What the kernel side costs: nanoseconds of BPF program time per socket call, by the kernel's own
// account, and what a call takes with and without it. Usage: bpf_cost [a|b]. Reads its own traffic
// only. bpf_cost rings: what two CPUs that write at once cost each other. bpf_cost floor: what of it
// no program can do without.
#include <bpf/bpf.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "agent/capture/bpf_capture.h"
#include "tests/bpf/cost_calls.h"

namespace zerotap {
namespace {

struct Sum {
  uint64_t runs = 0;
  uint64_t time = 0;
};
Sum ProgramTime(const BpfCapture& capture) {
  Sum sum;
  for (const ProgramStatistics& program : capture.ReadCounters().programs) {
    if (program.name.rfind("tier_", 0) != 0) continue;
    sum.runs += program.run_count;
    sum.time += program.run_time_ns;
  }
  return sum;
}

// Nanoseconds of a program's run while `writers` threads, each on a CPU of its own, write to `rings`.
Result<double> RunTogether(CaptureOptions options, uint32_t rings, int writers) {
  constexpr int kCalls = 150'000;
  constexpr size_t kSize = 64;
  options.rings = rings;
  auto capture = BpfCapture::Create(options);
  if (!capture) return tl::unexpected(capture.error());
  std::vector<std::thread> threads;
  std::atomic<int> running{writers};
  UniqueFd statistics(::bpf_enable_stats(BPF_STATS_RUN_TIME));
  const Sum before = ProgramTime(**capture);
  for (int writer = 0; writer < writers; ++writer) {
    threads.emplace_back([&running, writer] {
      cpu_set_t cpus;
      CPU_ZERO(&cpus);
      CPU_SET(writer, &cpus);
      if (::sched_setaffinity(0, sizeof(cpus), &cpus) != 0) std::abort();
      const Pair pair = UnixPair();
      char bytes[kSize] = {};
      for (int call = 0; call < kCalls; ++call) {
        if (::write(pair.first.get(), bytes, kSize) < 0) std::abort();
        if (::read(pair.second.get(), bytes, kSize) < 0) std::abort();
      }
      --running;
    });
  }
  while (running > 0) {
    if (!(*capture)->Drain(0, [](ByteSpan) {})) break;
    ::usleep(2000);
  }
  for (std::thread& thread : threads) thread.join();
  const Sum after = ProgramTime(**capture);
  return static_cast<double>(after.time - before.time) /
         static_cast<double>(std::max<uint64_t>(1, after.runs - before.runs));
}

// What the lock of a ring costs who shares it. Medians of interleaved runs.
int CompareRings(CaptureOptions options) {
  constexpr int kRounds = 5;
  struct Case {
    const char* what;
    uint32_t rings;
    int writers;
    std::vector<double> runs;
  };
  Case cases[] = {{"one CPU, one ring", 1, 1, {}},
                  {"two CPUs, one ring", 1, 2, {}},
                  {"two CPUs, two rings", 2, 2, {}},
                  {"one CPU, two rings", 2, 1, {}}};
  for (int round = 0; round < kRounds; ++round) {
    for (Case& one : cases) {
      Result<double> run = RunTogether(options, one.rings, one.writers);
      if (!run) {
        std::fprintf(stderr, "%s\n", run.error().message.c_str());
        return 1;
      }
      one.runs.push_back(*run);
    }
  }
  for (Case& one : cases) {
    std::sort(one.runs.begin(), one.runs.end());
    std::printf("%-24s %6.0f program ns (%.0f to %.0f)\n", one.what, one.runs[kRounds / 2],
                one.runs.front(), one.runs.back());
  }
  return 0;
}

int Main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "rings") == 0) {
    CaptureOptions options;
    options.exclude_self = false;
    return CompareRings(options);
  }
  if (argc > 1 && std::strcmp(argv[1], "floor") == 0) return MeasureFloor();
  std::vector<Pair> pairs;
  const char* names[] = {"unix", "tcp"};
  pairs.push_back(UnixPair());
  pairs.push_back(TcpPair());
  double bare[2];
  for (int i = 0; i < 2; ++i) bare[i] = RunCalls(pairs[i], 256, nullptr);

  CaptureOptions options;
  options.exclude_self = false;
  if (argc > 1) options.tier = std::strcmp(argv[1], "b") == 0 ? CaptureTier::kB : CaptureTier::kA;
  auto capture = BpfCapture::Create(options);
  if (!capture) {
    std::fprintf(stderr, "%s\n", capture.error().message.c_str());
    return 1;
  }
  std::printf("tier %s by %s\n%-6s %-28s %10s %10s %10s\n",
              (*capture)->report().tier == CaptureTier::kA ? "A" : "B",
              (*capture)->report().attach_form.c_str(), "", "", "program ns", "call ns", "bare ns");
  auto measure = [&](int which, const char* what, size_t size, bool gathered = false) {
    auto drain = [&capture] { (void)(*capture)->Drain(0, [](ByteSpan) {}); };
    double call = RunCalls(pairs[which], size, drain, gathered);
    UniqueFd statistics(::bpf_enable_stats(BPF_STATS_RUN_TIME));
    Sum before = ProgramTime(**capture);
    RunCalls(pairs[which], size, drain, gathered);
    Sum after = ProgramTime(**capture);
    double runs = static_cast<double>(std::max<uint64_t>(1, after.runs - before.runs));
    std::printf("%-6s %-28s %10.0f %10.0f %10.0f\n", names[which], what,
                static_cast<double>(after.time - before.time) / runs, call, bare[which]);
  };
  for (int which : {0, 1}) {
    // As the agent does with whom it watches: it spares the hooks a lookup.
    (*capture)->SetProcessPolicy(static_cast<uint32_t>(::getpid()), ZT_PROCESS_TRACE);
    // Learn the connections' numbers from their records.
    std::vector<uint64_t> ids;
    auto learn = [&ids](ByteSpan record) {
      const auto* event = reinterpret_cast<const zt_data_event*>(record.data());
      if (event->header.kind == ZT_EVENT_DATA && event->tgid == static_cast<uint32_t>(::getpid())) {
        ids.push_back(event->connection_id);
      }
    };
    char byte = 'x';
    (void)(*capture)->Drain(0, [](ByteSpan) {});
    if (::write(pairs[which].first.get(), &byte, 1) != 1 ||
        ::read(pairs[which].second.get(), &byte, 1) != 1)
      return 1;
    // With several rings what was written just now comes with a later turn.
    for (int turn = 0; turn < 100 && ids.size() < 2; ++turn) {
      (void)(*capture)->Drain(0, learn);
      ::usleep(1000);
    }
    if (ids.size() < 2) {
      std::fprintf(stderr, "a send and a receive left no two records\n");
      return 1;
    }
    auto verdict = [&](zt_verdict_mode mode) {
      zt_verdict wanted{};
      wanted.mode = static_cast<zt_u8>(mode);
      for (uint64_t id : ids) (*capture)->SetVerdict(id, wanted);
    };
    verdict(ZT_VERDICT_ALL);
    measure(which, "256 B captured", 256);
    measure(which, "256 B captured, sent in two", 256, true);
    verdict(ZT_VERDICT_HEADS);
    measure(which, "256 B, length only", 256);
    verdict(ZT_VERDICT_IGNORE);
    measure(which, "ignored connection", 256);
    (*capture)->SetProcessPolicy(static_cast<uint32_t>(::getpid()), ZT_PROCESS_IGNORE);
    measure(which, "ignored process", 256);
    (*capture)->ForgetProcess(static_cast<uint32_t>(::getpid()));
  }
  return 0;
}

}  // namespace
}  // namespace zerotap

int main(int argc, char** argv) { return zerotap::Main(argc, argv); }
