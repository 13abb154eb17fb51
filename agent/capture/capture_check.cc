#include "agent/capture/capture_check.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "agent/capture/btf_file.h"
#include "agent/capture/probe_loader.h"
#include "agent/capture/tracefs.h"

namespace zerotap {
namespace {

constexpr std::pair<const char*, unsigned> kCapabilities[] = {
    {"CAP_BPF", 39},        {"CAP_PERFMON", 38},         {"CAP_SYS_ADMIN", 21},
    {"CAP_SYS_PTRACE", 19}, {"CAP_DAC_READ_SEARCH", 2}, {"CAP_SYS_RESOURCE", 24}};

std::string FirstLine(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "none [integrity] confidentiality": the word in brackets.
std::string Bracketed(const std::string& text) {
  const size_t begin = text.find('[');
  const size_t end = text.find(']');
  if (begin == std::string::npos || end == std::string::npos || end < begin) return {};
  return text.substr(begin + 1, end - begin - 1);
}

}  // namespace

bool InInitialPidNamespace() {
  // The inode of the initial one is fixed (include/linux/proc_ns.h, PROC_PID_INIT_INO).
  constexpr ino_t kInitialPidNamespace = 0xEFFFFFFC;
  struct stat namespace_file {};
  return ::stat("/proc/self/ns/pid", &namespace_file) != 0 ||
         namespace_file.st_ino == kInitialPidNamespace;
}

bool KernelFacts::Has(const std::string& capability) const {
  for (const auto& [name, held] : capabilities) {
    if (name == capability) return held;
  }
  return false;
}

KernelFacts ReadKernelFacts(const std::string& btf) {
  KernelFacts facts;
  utsname system{};
  if (::uname(&system) == 0) {
    facts.release = system.release;
    facts.machine = system.machine;
    unsigned major = 0;
    unsigned minor = 0;
    if (std::sscanf(system.release, "%u.%u", &major, &minor) == 2) {
      facts.is_5_10 = major > 5 || (major == 5 && minor >= 10);
      facts.charges_memlock = major < 5 || (major == 5 && minor < 11);
    }
  }
  const Result<std::string> path = FindKernelBtf(btf);
  const Result<BtfPtr> types = path.and_then(ReadKernelBtf);
  if (types) {
    facts.btf = *path;
  } else {
    facts.why_no_btf = types.error().message;
  }
  if (const Result<Tracefs> tracefs = Tracefs::Open()) {
    facts.tracefs = tracefs->detached() ? "not mounted, zerotap uses an instance of its own" : "mounted";
  }
  facts.lockdown = Bracketed(FirstLine("/sys/kernel/security/lockdown"));
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
    facts.memlock_bytes = limit.rlim_cur == RLIM_INFINITY ? ~uint64_t{0} : limit.rlim_cur;
  }
  facts.in_initial_pid_namespace = InInitialPidNamespace();
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  const bool known = ::syscall(SYS_capget, &header, data) == 0;
  for (const auto& [name, number] : kCapabilities) {
    const bool held = known && ((data[number / 32].effective >> (number % 32)) & 1) != 0;
    facts.capabilities.emplace_back(name, held);
  }
  return facts;
}

TierCheck TryTier(CaptureTier tier, const CaptureOptions& options) {
  TierCheck check;
  check.tier = tier;
  CaptureOptions small = options;
  small.tier = tier;
  small.rings = PlanRings(options).count;
  small.ring_bytes = 256u << 10;
  small.max_connections = 1024;
  Result<LoadedProbes> probes = LoadProbes(small);
  if (!probes) {
    check.why_not = probes.error().message;
    return check;
  }
  if (Status status = AttachProbes(*probes); !status) {
    check.why_not = status.error().message;
    return check;
  }
  check.works = true;
  check.report = std::move(probes->report);
  return check;
}

}  // namespace zerotap
