// bench_capture: the kernel side without the rest of the agent, to see what each half costs.
//
//   bench_capture discard|floor [--tier a|b] [--verdict heads|ignore|detect] [--ring-kib N]
//   [--ignore NAME]...
//
// discard: the real programs and a reader that throws records away. It gives the verdict that the
// agent would give (heads: a protocol that is parsed, ignore: one that is not) and leaves out
// executables by name, as a rule does. floor: the same hooks, attached in the same way, with
// programs that return at once. Those are put in at link time, by taking the place of
// bpf_prog_load: the agent has no such option. Prints "ready", and at SIGTERM one JSON line.
#include <bpf/bpf.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "agent/base/clock.h"
#include "agent/capture/bpf_capture.h"

namespace {
bool replace_programs = false;
volatile sig_atomic_t stopping = 0;
void OnSignal(int) { stopping = 1; }
}  // namespace

extern "C" {
int __real_bpf_prog_load(bpf_prog_type type, const char* name, const char* license,
                         const bpf_insn* instructions, size_t count, bpf_prog_load_opts* options);
// libbpf's own probes of what the kernel can do load programs too; those are let through by their
// names.
int __wrap_bpf_prog_load(bpf_prog_type type, const char* name, const char* license,
                         const bpf_insn* instructions, size_t count, bpf_prog_load_opts* options) {
  const bool own = name != nullptr && std::strncmp(name, "libbpf_", 7) != 0 && options != nullptr &&
                   options->func_info_cnt > 0;
  if (!replace_programs || !own) {
    return __real_bpf_prog_load(type, name, license, instructions, count, options);
  }
  bpf_insn empty[2] = {};
  empty[0].code = BPF_ALU64 | BPF_MOV | BPF_K;  // r0 = 0
  empty[1].code = BPF_JMP | BPF_EXIT;
  bpf_prog_load_opts without_lines = *options;
  without_lines.func_info_cnt = 0;
  without_lines.func_info = nullptr;
  without_lines.line_info_cnt = 0;
  without_lines.line_info = nullptr;
  return __real_bpf_prog_load(type, name, license, empty, 2, &without_lines);
}
}

namespace zerotap::bench {
namespace {

constexpr uint64_t kLongestPauseNs = 5'000'000;
constexpr uint64_t kShortestPauseNs = 200'000;
constexpr uint64_t kRecordsPerTurn = 512;

class Reader {
 public:
  Reader(BpfCapture& capture, std::vector<std::string> ignored, zt_verdict_mode mode)
      : capture_(capture), ignored_(std::move(ignored)), mode_(mode) {}

  void Take(ByteSpan record) {
    ++records;
    bytes += record.size();
    zt_event_header header;
    std::memcpy(&header, record.data(), sizeof(header));
    if (header.kind == ZT_EVENT_PROCESS_EXEC && record.size() >= sizeof(zt_process_exec_event)) {
      OnExec(*reinterpret_cast<const zt_process_exec_event*>(record.data()));
    } else if (header.kind == ZT_EVENT_PROCESS_EXIT) {
      const uint32_t tgid = reinterpret_cast<const zt_process_exit_event*>(record.data())->tgid;
      decided_.erase(tgid);
      capture_.ForgetProcess(tgid);
    } else if (header.kind == ZT_EVENT_DATA && mode_ != ZT_VERDICT_DETECT) {
      ++data_records;
      // As seldom as the agent repeats its verdicts, and at once for who is new.
      if (data_records % 64 == 0) Decide(record);
    } else if (header.kind == ZT_EVENT_CONNECTION_OPENED && mode_ != ZT_VERDICT_DETECT) {
      const uint32_t tgid =
          reinterpret_cast<const zt_connection_opened_event*>(record.data())->tgid;
      // What the kernel side is told of whom it watches spares it a lookup.
      if (tgid != 0 && decided_.insert(tgid).second) {
        capture_.SetProcessPolicy(tgid, ZT_PROCESS_TRACE);
      }
      Decide(reinterpret_cast<const zt_connection_opened_event*>(record.data())->connection_id);
    }
  }

  uint64_t records = 0, bytes = 0, data_records = 0;

 private:
  void Decide(ByteSpan data) {
    Decide(reinterpret_cast<const zt_data_event*>(data.data())->connection_id);
  }
  void Decide(uint64_t connection_id) {
    zt_verdict verdict{};
    verdict.mode = static_cast<zt_u8>(mode_);
    if (mode_ == ZT_VERDICT_HEADS) {
      verdict.egress_budget_kib = verdict.ingress_budget_kib = 4;
      verdict.edge_bytes = 64;
    }
    capture_.SetVerdict(connection_id, verdict);
  }
  void OnExec(const zt_process_exec_event& exec) {
    std::string_view path(exec.filename, ::strnlen(exec.filename, sizeof(exec.filename)));
    path.remove_prefix(path.rfind('/') + 1);
    capture_.ForgetProcess(exec.tgid);
    decided_.erase(exec.tgid);
    for (const std::string& name : ignored_) {
      if (path != name) continue;
      capture_.SetProcessPolicy(exec.tgid, ZT_PROCESS_IGNORE);
      decided_.insert(exec.tgid);
    }
  }

  BpfCapture& capture_;
  const std::vector<std::string> ignored_;
  const zt_verdict_mode mode_;
  std::unordered_set<uint32_t> decided_;  // processes that have a policy
};

int Fail(const std::string& message) {
  std::fprintf(stderr, "bench_capture: %s\n", message.c_str());
  return 2;
}

int Run(const CaptureOptions& options, zt_verdict_mode mode,
        const std::vector<std::string>& ignored) {
  auto capture = BpfCapture::Create(options);
  if (!capture) return Fail(capture.error().message);
  Reader reader(**capture, ignored, mode);
  std::puts("ready");
  std::fflush(stdout);
  uint64_t before = MonotonicNs();
  while (stopping == 0) {
    Result<size_t> count =
        (*capture)->Drain(0, [&reader](ByteSpan record) { reader.Take(record); });
    if (!count) return Fail(count.error().message);
    const uint64_t now = MonotonicNs();
    // The pace of the agent's own loop.
    uint64_t pause = kLongestPauseNs;
    if (*count > 0) pause = (now - before) * kRecordsPerTurn / *count;
    before = now;
    (*capture)->Pause(std::max(kShortestPauseNs, std::min(pause, kLongestPauseNs)));
  }
  const CaptureCounters counters = (*capture)->ReadCounters();
  std::printf("{\"records\": %llu, \"bytes\": %llu, \"lost\": %llu, \"attach_form\": \"%s\"}\n",
              static_cast<unsigned long long>(reader.records),
              static_cast<unsigned long long>(reader.bytes),
              static_cast<unsigned long long>(counters.kernel[ZT_COUNTER_RING_FULL] +
                                              counters.recursion_misses()),
              (*capture)->report().attach_form.c_str());
  return 0;
}

int Main(int argc, char** argv) {
  struct sigaction action {};
  action.sa_handler = OnSignal;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  CaptureOptions options;
  options.tcp.enabled = true;  // the agent's defaults
  options.waits = true;
  zt_verdict_mode mode = ZT_VERDICT_HEADS;
  std::vector<std::string> ignored;
  const std::string what = argc > 1 ? argv[1] : "";
  if (what != "discard" && what != "floor") return Fail("discard or floor?");
  replace_programs = what == "floor";
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string flag = argv[i], value = argv[i + 1];
    if (flag == "--tier" && (value == "a" || value == "b")) {
      options.tier = value == "a" ? CaptureTier::kA : CaptureTier::kB;
    } else if (flag == "--verdict" &&
               (value == "heads" || value == "ignore" || value == "detect")) {
      mode = value == "heads"    ? ZT_VERDICT_HEADS
             : value == "ignore" ? ZT_VERDICT_IGNORE
                                 : ZT_VERDICT_DETECT;
    } else if (flag == "--ring-kib" && std::strtoul(value.c_str(), nullptr, 10) > 0) {
      options.ring_bytes = std::strtoul(value.c_str(), nullptr, 10) * 1024;
    } else if (flag == "--ignore") {
      ignored.push_back(value);
    } else {
      return Fail("unknown option " + flag + " " + value);
    }
  }
  return Run(options, mode, ignored);
}

}  // namespace
}  // namespace zerotap::bench

int main(int argc, char** argv) { return zerotap::bench::Main(argc, argv); }
