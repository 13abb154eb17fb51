// bpf_cost floor: nanoseconds of the programs of floor.bpf.c, with one step more each time.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cstdio>
#include <memory>

#include "floor.skel.h"
#include "tests/bpf/cost_calls.h"
#include "tests/bpf/floor.h"

namespace zerotap {
namespace {

constexpr size_t kSize = 256;
constexpr int kRounds = 5;

struct Deleter {
  void operator()(floor_bpf* skeleton) const { floor_bpf::destroy(skeleton); }
  void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
};

struct Case {
  const char* what;
  uint32_t steps;
  std::vector<double> runs;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Nanoseconds of a run of the programs; less than 0 if they cannot be had.
double Measure(const Pair& pair, uint32_t steps) {
  std::unique_ptr<floor_bpf, Deleter> skeleton(floor_bpf::open());
  if (!skeleton) return -1;
  skeleton->rodata->floor_steps = steps;
  if (floor_bpf::load(skeleton.get()) != 0 || floor_bpf::attach(skeleton.get()) != 0) return -1;
  std::unique_ptr<ring_buffer, Deleter> ring(
      ring_buffer__new(bpf_map__fd(skeleton->maps.floor_events),
                       [](void*, void*, size_t) { return 0; }, nullptr, nullptr));
  if (!ring) return -1;
  UniqueFd statistics(::bpf_enable_stats(BPF_STATS_RUN_TIME));
  RunCalls(pair, kSize, [&ring] { ring_buffer__consume(ring.get()); });
  uint64_t runs = 0;
  uint64_t time = 0;
  for (const bpf_program* program : {skeleton->progs.floor_send, skeleton->progs.floor_receive}) {
    bpf_prog_info info{};
    uint32_t size = sizeof(info);
    if (::bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size) != 0) return -1;
    runs += info.run_cnt;
    time += info.run_time_ns;
  }
  return runs == 0 ? -1 : static_cast<double>(time) / static_cast<double>(runs);
}

}  // namespace

int MeasureFloor() {
  const uint32_t registers = FLOOR_TASK | FLOOR_REGISTERS;
  const uint32_t known = registers | FLOOR_STATE;
  const uint32_t timed = known | FLOOR_CLOCK;
  const uint32_t recorded = timed | FLOOR_RECORD;
  const Pair pairs[2] = {UnixPair(), TcpPair()};
  std::printf("%-6s %-44s %10s %10s\n", "", "", "program ns", "step ns");
  for (int which : {0, 1}) {
    Case cases[] = {{"empty program", 0, {}},
                    {"+ the running task", FLOOR_TASK, {}},
                    {"+ registers of its call", registers, {}},
                    {"+ state of the socket, by one lookup", known, {}},
                    {"+ one look at the clock", timed, {}},
                    {"+ room in the ring, taken and given over", recorded, {}},
                    {"+ a record's header filled", recorded | FLOOR_HEADER, {}},
                    {"+ 256 bytes of the program's memory copied",
                     recorded | FLOOR_HEADER | FLOOR_PAYLOAD, {}}};
    for (int round = 0; round < kRounds; ++round) {
      for (Case& one : cases) {
        const double run = Measure(pairs[which], one.steps);
        if (run < 0) {
          std::fprintf(stderr, "the programs of the floor cannot be loaded here\n");
          return 1;
        }
        one.runs.push_back(run);
      }
    }
    double before = Median(cases[0].runs);
    for (const Case& one : cases) {
      const double now = Median(one.runs);
      std::printf("%-6s %-44s %10.0f %+10.0f\n", which == 0 ? "unix" : "tcp", one.what, now,
                  now - before);
      before = now;
    }
  }
  return 0;
}

}  // namespace zerotap
