#include "tests/bpf/conformance/verifier_cost.h"

#include <bpf/libbpf.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>

#include "bpf/abi/control.h"
// The skeleton's types come from the ABI headers.
#include "bpf/zerotap.skel.h"

namespace zerotap::conformance {
namespace {

constexpr size_t kLogBytes = 64 * 1024;
constexpr unsigned kLogStatistics = 4;  // BPF_LOG_STATS

struct Destroy {
  void operator()(zerotap_bpf* skeleton) const { zerotap_bpf__destroy(skeleton); }
};

}  // namespace

std::map<std::string, uint64_t> ReadVerifierCosts(const std::vector<std::string>& programs) {
  std::map<std::string, uint64_t> costs;
  std::unique_ptr<zerotap_bpf, Destroy> skeleton(zerotap_bpf__open());
  if (!skeleton) return costs;
  std::map<std::string, std::vector<char>> logs;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton->obj) {
    std::string name = bpf_program__name(program);
    bool wanted = std::find(programs.begin(), programs.end(), name) != programs.end();
    bpf_program__set_autoload(program, wanted);
    if (!wanted) continue;
    std::vector<char>& log = logs[name];
    log.resize(kLogBytes);
    bpf_program__set_log_buf(program, log.data(), log.size());
    bpf_program__set_log_level(program, kLogStatistics);
  }
  if (zerotap_bpf__load(skeleton.get()) != 0) return costs;
  for (const auto& [name, log] : logs) {
    const char* found = std::strstr(log.data(), "processed ");
    unsigned long long count = 0;
    if (found != nullptr && std::sscanf(found, "processed %llu insns", &count) == 1)
      costs[name] = count;
  }
  return costs;
}

}  // namespace zerotap::conformance
