#include "agent/capture/feature_probes.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "agent/capture/kernel_btf.h"
#include "agent/capture/syscall_table.h"
#include "bpf/abi/control.h"
#include "bpf/abi/measure.h"
#include "bpf/abi/wait.h"
// The skeleton's types come from the ABI headers.
#include "bpf/zerotap.skel.h"

namespace zerotap {
namespace {

// From 7.2 on programs on syscalls/ events run preemptible and are skipped meanwhile, which nothing
// but a measurement shows (docs/adr/0009): the one place that asks for a version.
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
  std::vector<Attachment> links;
  const auto add = [&](const char* program, const char* group,
                       const std::string& name) -> std::optional<Error> {
    Result<uint64_t> id = tracefs->EventId(group, name);
    if (!id) return id.error();
    links.push_back({program, *id, 0});
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

struct WaitOfSyscall {
  const char* name;
  zt_wait_kind kind;
};
// In which calls a thread waits for what. Those that are not here, and cannot be told by their
// descriptor, are ZT_WAIT_OTHER.
constexpr WaitOfSyscall kWaits[] = {
    {"futex", ZT_WAIT_FUTEX},         {"futex_wait", ZT_WAIT_FUTEX},
    {"futex_waitv", ZT_WAIT_FUTEX},   {"fsync", ZT_WAIT_DISK},
    {"fdatasync", ZT_WAIT_DISK},      {"sync", ZT_WAIT_DISK},
    {"syncfs", ZT_WAIT_DISK},         {"sync_file_range", ZT_WAIT_DISK},
    {"msync", ZT_WAIT_DISK},          {"fallocate", ZT_WAIT_DISK},
    {"ftruncate", ZT_WAIT_DISK},      {"truncate", ZT_WAIT_DISK},
    {"open", ZT_WAIT_DISK},           {"openat", ZT_WAIT_DISK},
    {"openat2", ZT_WAIT_DISK},        {"stat", ZT_WAIT_DISK},
    {"lstat", ZT_WAIT_DISK},          {"newfstatat", ZT_WAIT_DISK},
    {"statx", ZT_WAIT_DISK},          {"access", ZT_WAIT_DISK},
    {"getdents64", ZT_WAIT_DISK},     {"mkdir", ZT_WAIT_DISK},
    {"rmdir", ZT_WAIT_DISK},          {"unlink", ZT_WAIT_DISK},
    {"unlinkat", ZT_WAIT_DISK},       {"rename", ZT_WAIT_DISK},
    {"renameat2", ZT_WAIT_DISK},      {"link", ZT_WAIT_DISK},
    {"flock", ZT_WAIT_DISK},          {"pread64", ZT_WAIT_DISK},
    {"pwrite64", ZT_WAIT_DISK},       {"preadv", ZT_WAIT_DISK},
    {"pwritev", ZT_WAIT_DISK},        {"accept", ZT_WAIT_SOCKET},
    {"accept4", ZT_WAIT_SOCKET},      {"connect", ZT_WAIT_SOCKET},
    {"recvfrom", ZT_WAIT_SOCKET},     {"recvmsg", ZT_WAIT_SOCKET},
    {"recvmmsg", ZT_WAIT_SOCKET},     {"sendto", ZT_WAIT_SOCKET},
    {"sendmsg", ZT_WAIT_SOCKET},      {"sendmmsg", ZT_WAIT_SOCKET},
    {"sendfile", ZT_WAIT_SOCKET},     {"poll", ZT_WAIT_POLL},
    {"ppoll", ZT_WAIT_POLL},          {"select", ZT_WAIT_POLL},
    {"pselect6", ZT_WAIT_POLL},       {"epoll_wait", ZT_WAIT_POLL},
    {"epoll_pwait", ZT_WAIT_POLL},    {"epoll_pwait2", ZT_WAIT_POLL},
    {"io_uring_enter", ZT_WAIT_POLL}, {"io_getevents", ZT_WAIT_POLL},
    {"nanosleep", ZT_WAIT_SLEEP},     {"clock_nanosleep", ZT_WAIT_SLEEP},
    {"wait4", ZT_WAIT_CHILD},         {"waitid", ZT_WAIT_CHILD},
    {"read", ZT_WAIT_BY_FILE},        {"readv", ZT_WAIT_BY_FILE},
    {"preadv2", ZT_WAIT_BY_FILE},     {"write", ZT_WAIT_BY_FILE},
    {"writev", ZT_WAIT_BY_FILE},      {"pwritev2", ZT_WAIT_BY_FILE},
    {"ioctl", ZT_WAIT_BY_FILE},
};

}  // namespace

FeaturePlan PlanFeatures(const CaptureOptions& options, const btf* kernel,
                         const Result<Tracefs>& tracefs) {
  FeaturePlan plan;
  PlanSyscalls(options.syscalls, tracefs, plan);
  if (options.tcp.enabled) {
    // Their hooks are there wherever the capture itself runs.
    plan.programs.insert(plan.programs.end(),
                         {"tcp_health_state", "tcp_health_destroyed", "survey_sockets"});
    plan.tcp = true;
  }
  if (options.waits) {
    // The scheduler's own accounts, from which the length of a sleep follows (CONFIG_SCHED_INFO).
    if (MemberOffset(kernel, "task_struct", "sched_info") &&
        MemberOffset(kernel, "sched_info", "last_queued")) {
      plan.programs.insert(plan.programs.end(), {"wait_wakeup", "wait_thread_exit"});
      plan.waits = true;
    } else {
      plan.remarks.push_back("slow spans do not say why: the kernel keeps no CONFIG_SCHED_INFO");
    }
  }
  return plan;
}

std::vector<std::string> MapAccessPrograms(const FeaturePlan& plan) {
  std::vector<std::string> names = {"access_process_policies"};
  if (plan.syscalls) names.push_back("access_syscall_durations");
  if (plan.tcp) names.push_back("access_tcp_measures");
  if (plan.waits) names.push_back("access_thread_waits");
  return names;
}

bool DropFeature(CaptureOptions& options) {
  if (options.waits) return !(options.waits = false);
  if (options.syscalls.enabled) return !(options.syscalls.enabled = false);
  if (options.tcp.enabled) return !(options.tcp.enabled = false);
  return false;
}

std::string WithoutFeatures(const CaptureOptions& wanted, const CaptureOptions& left) {
  std::string text;
  const auto add = [&text](bool lost, const char* what) {
    if (!lost) return;
    if (!text.empty()) text += ", ";
    text += what;
  };
  add(wanted.waits && !left.waits, "waits");
  add(wanted.syscalls.enabled && !left.syscalls.enabled, "syscalls");
  add(wanted.tcp.enabled && !left.tcp.enabled, "tcp");
  return "off, since this kernel refuses it (" + text + ")";
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
  bpf_map__set_autocreate(maps.thread_waits, plan.waits);
  for (const WaitOfSyscall& wait : kWaits) {
    const NamedSyscall* call = FindSyscall(wait.name);
    if (call != nullptr && call->number < ZT_WAIT_SYSCALLS) {
      skeleton.rodata->zt_wait_of_syscall[call->number] = static_cast<uint8_t>(wait.kind);
    }
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

}  // namespace zerotap
