#include "agent/capture/feature_probes.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <optional>

#include "agent/capture/syscall_table.h"
#include "bpf/abi/control.h"
#include "bpf/abi/measure.h"
// The skeleton's types come from the ABI headers.
#include "bpf/zerotap.skel.h"

namespace zerotap {
namespace {

// From 7.2 on programs on syscalls/ events run preemptible and are skipped meanwhile, which nothing
// but a measurement shows (docs/adr/0006): the one place that asks for a version.
bool SyscallEventsLose() {
  utsname name{};
  unsigned major = 0, minor = 0;
  if (::uname(&name) != 0 || std::sscanf(name.release, "%u.%u", &major, &minor) != 2) return false;
  return major > 7 || (major == 7 && minor >= 2);
}

void PlanSyscalls(const SyscallOptions& options, const Result<Tracefs>& tracefs,
                  FeaturePlan& plan) {
  if (!options.enabled || options.names.empty()) return;
  if (!tracefs) {
    plan.remarks.push_back("syscall latency is off: " + tracefs.error().message);
    return;
  }
  std::vector<FeatureLink> links;
  const auto add = [&](const char* program, const char* group,
                       const std::string& name) -> std::optional<Error> {
    Result<uint64_t> id = tracefs->EventId(group, name);
    if (!id) return id.error();
    links.push_back({program, *id});
    return std::nullopt;
  };
  plan.syscalls_raw = SyscallEventsLose();
  if (plan.syscalls_raw) {
    std::optional<Error> error = add("syscall_exit", "raw_syscalls", "sys_exit");
    if (!error) error = add("syscall_enter", "raw_syscalls", "sys_enter");
    if (error) {
      plan.remarks.push_back("syscall latency is off: " + error->message);
      return;
    }
    plan.remarks.push_back(
        "syscall latency on this kernel costs every system call of the host about 80 ns; before "
        "7.2 it is about 20 ns");
  } else {
    for (const std::string& name : options.names) {
      const NamedSyscall* call = FindSyscall(name);
      if (call == nullptr) continue;
      const std::string suffix(call->tracepoint);
      std::optional<Error> error = add("syscall_exit", "syscalls", "sys_exit_" + suffix);
      if (!error) error = add("syscall_enter", "syscalls", "sys_enter_" + suffix);
      if (error) {
        plan.remarks.push_back("latency of " + name + " is not measured: " + error->message);
      }
    }
    // An exit without its enter would be no harm, only useless.
    if (links.empty()) return;
  }
  plan.programs.insert(plan.programs.end(), {"syscall_enter", "syscall_exit"});
  plan.links.insert(plan.links.end(), links.begin(), links.end());
  plan.syscalls = true;
}

}  // namespace

FeaturePlan PlanFeatures(const CaptureOptions& options, const btf*,
                         const Result<Tracefs>& tracefs) {
  FeaturePlan plan;
  PlanSyscalls(options.syscalls, tracefs, plan);
  if (options.tcp.enabled) {
    // Their hooks are there wherever the capture itself runs.
    plan.programs.insert(plan.programs.end(),
                         {"tcp_health_state", "tcp_health_destroyed", "survey_sockets"});
    plan.tcp = true;
  }
  return plan;
}

void PrepareFeatures(const CaptureOptions& options, const FeaturePlan& plan,
                     zerotap_bpf& skeleton) {
  auto& maps = skeleton.maps;
  for (bpf_map* map : {maps.syscall_starts, maps.syscall_durations}) {
    bpf_map__set_autocreate(map, plan.syscalls);
  }
  for (bpf_map* map : {maps.tcp_sockets, maps.tcp_measures}) {
    bpf_map__set_autocreate(map, plan.tcp);
  }
  if (plan.tcp) {
    bpf_map__set_max_entries(maps.tcp_sockets, static_cast<uint32_t>(options.max_connections));
    bpf_map__set_max_entries(maps.tcp_measures, static_cast<uint32_t>(options.tcp.max_series));
  }
  if (plan.syscalls) {
    bpf_map__set_max_entries(maps.syscall_durations,
                             static_cast<uint32_t>(options.syscalls.max_series));
    skeleton.rodata->zt_syscalls_raw = plan.syscalls_raw ? 1 : 0;
    for (const std::string& name : options.syscalls.names) {
      const NamedSyscall* call = FindSyscall(name);
      if (call == nullptr || call->number >= ZT_MEASURE_SYSCALLS) continue;
      skeleton.rodata->zt_syscalls_wanted[call->number / 64] |= 1ull << (call->number % 64);
    }
  }
}

Status AttachFeatures(LoadedProbes& probes) {
  for (const FeatureLink& wanted : probes.features.links) {
    bpf_program* program =
        bpf_object__find_program_by_name(probes.skeleton->obj, wanted.program.c_str());
    if (program == nullptr) return Fail("the BPF object has no program " + wanted.program);
    Result<LinkPtr> link = AttachToEvent(program, wanted.event_id, 0);
    if (!link) return tl::unexpected(link.error());
    probes.links.push_back(std::move(*link));
  }
  return {};
}

}  // namespace zerotap
