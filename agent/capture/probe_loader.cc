#include "agent/capture/probe_loader.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "agent/base/clock.h"
#include "agent/base/cpu_list.h"
#include "agent/base/log.h"
#include "agent/capture/blind_spots.h"
#include "agent/capture/btf_file.h"
#include "agent/capture/feature_probes.h"
#include "agent/capture/preemption.h"
#include "agent/capture/tracefs.h"
#include "bpf/abi/control.h"
// The skeleton's types come from the ABI headers.
#include "bpf/zerotap.skel.h"

namespace zerotap {

void SkeletonDeleter::operator()(zerotap_bpf* skeleton) const { zerotap_bpf__destroy(skeleton); }
void LinkDeleter::operator()(bpf_link* link) const { bpf_link__destroy(link); }

namespace {

struct Tracepoint {
  const char* program;
  const char* group;
  const char* name;
  uint64_t cookie = 0;
};

// One way to see the bytes of sockets: a set of programs and how they are attached. Directly costs
// an event less than half of what the detour by the perf subsystem does, but loses events where the
// kernel preempts such programs.
struct Variant {
  CaptureTier tier;
  const char* attach_form;
  std::vector<const char*> programs;
  std::vector<const char*> hooks;       // what the kernel must have
  std::vector<Tracepoint> tracepoints;  // to attach to by perf
  enum { kDirect, kDirectAnyway, kByPerf } way;
};

// Where programs that are attached directly can be preempted, those of processes would miss events too.
std::vector<Tracepoint> ByPerf(std::vector<Tracepoint> tracepoints) {
  tracepoints.push_back({"process_exec_perf", "sched", "sched_process_exec"});
  tracepoints.push_back({"process_fork_perf", "sched", "sched_process_fork"});
  tracepoints.push_back({"process_exit_perf", "sched", "sched_process_exit"});
  return tracepoints;
}

const std::vector<Variant>& Variants() {
  using Tier = CaptureTier;
  static const std::vector<const char*> lengths = {"sock_send_length", "sock_recv_length"};
  static const std::vector<const char*> direct = {"tier_a_send", "tier_a_receive"};
  static const std::vector<Variant> variants = {
      {Tier::kA, "raw tracepoint", direct, lengths, {}, Variant::kDirect},
      {Tier::kA, "tracepoint", {}, lengths,
       ByPerf({{"tier_a_length", "sock", "sock_send_length", 0}, {"tier_a_length", "sock", "sock_recv_length", 1}}),
       Variant::kByPerf},
      {Tier::kA, "raw tracepoint", direct, lengths, {}, Variant::kDirectAnyway},
      {Tier::kB, "BTF tracepoint", {"tier_b_exit_btf"}, {"sys_exit"}, {}, Variant::kDirect},
      {Tier::kB, "tracepoint", {}, {}, ByPerf({{"tier_b_exit", "raw_syscalls", "sys_exit"}}), Variant::kByPerf},
      {Tier::kB, "BTF tracepoint", {"tier_b_exit_btf"}, {"sys_exit"}, {}, Variant::kDirectAnyway},
  };
  return variants;
}

const std::vector<const char*>& AlwaysLoaded() {
  static const std::vector<const char*> names = {"tcp_state", "tcp_destroyed", "seed_sockets"};
  return names;
}

// `exit_says_last`: the hook of an exit tells whether it was the last thread's.
std::vector<const char*> ProgramsOf(const Variant& variant, bool exit_says_last) {
  std::vector<const char*> names = AlwaysLoaded();
  names.insert(names.end(), variant.programs.begin(), variant.programs.end());
  for (const Tracepoint& tracepoint : variant.tracepoints) names.push_back(tracepoint.program);
  if (variant.way != Variant::kByPerf) {
    for (const char* name : {"process_exec", "process_fork"}) names.push_back(name);
    names.push_back(exit_says_last ? "process_exit_group" : "process_exit");
  }
  return names;
}

bool HasCapability(unsigned capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[capability / 32].effective >> (capability % 32)) & 1;
}

// Before 5.11 maps are locked memory.
std::string LockedMemoryRemedy() {
  rlimit limit{};
  constexpr unsigned kCapSysResource = 24;
  if (HasCapability(kCapSysResource) || ::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 ||
      limit.rlim_cur == RLIM_INFINITY) {
    return {};
  }
  return "; if this kernel is older than 5.11, the limit on locked memory (" +
         std::to_string(limit.rlim_cur / 1024) +
         " KiB) is too low: add CAP_SYS_RESOURCE, or raise it (ulimit -l unlimited, LimitMEMLOCK=infinity)";
}

thread_local std::string libbpf_output;

int CollectLibbpfOutput(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG) return 0;
  char line[2048];
  int length = std::vsnprintf(line, sizeof(line), format, arguments);
  if (length > 0) libbpf_output += line;
  return 0;
}

// The verifier's last words are what matters; the rest can be a megabyte.
std::string LastLines(const std::string& text, size_t count) {
  size_t begin = text.size();
  while (begin > 0 && count > 0) {
    begin = text.rfind('\n', begin - 1);
    if (begin == std::string::npos) return text;
    --count;
  }
  return text.substr(begin);
}

Status CheckRequirements() {
  constexpr unsigned kCapSysAdmin = 21;
  constexpr unsigned kCapPerfmon = 38;
  constexpr unsigned kCapBpf = 39;
  if (!HasCapability(kCapSysAdmin) && !(HasCapability(kCapBpf) && HasCapability(kCapPerfmon))) {
    return Fail(
        "not allowed to load BPF programs; run as root (sudo zerotap), or with the capabilities "
        "CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE");
  }
  if (std::vector<std::string> limits = HostLimits(); !limits.empty()) return Fail(limits.front());
  int ring = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "zt_check", 0, 0, 4096, nullptr);
  if (ring < 0) {
    int error = errno;
    if (error == EPERM) {
      return Fail(
          "the kernel refused a BPF map; check that the container is privileged or has CAP_BPF, "
          "and that its seccomp profile allows bpf(2)" +
          LockedMemoryRemedy());
    }
    return Fail("this kernel has no BPF ring buffer (" + std::string(std::strerror(error)) +
                "); it must be 5.10 or later");
  }
  ::close(ring);
  return {};
}

// Parameters of a BTF tracepoint without the context, or -1 when the kernel does not have it.
int TracepointParameters(const btf* kernel, const std::string& name) {
  int id = btf__find_by_name_kind(kernel, ("btf_trace_" + name).c_str(), BTF_KIND_TYPEDEF);
  if (id < 0) return -1;
  const btf_type* type = btf__type_by_id(kernel, btf__type_by_id(kernel, id)->type);
  if (type == nullptr || !btf_is_ptr(type)) return -1;
  type = btf__type_by_id(kernel, type->type);
  if (type == nullptr || !btf_is_func_proto(type)) return -1;
  return btf_vlen(type) - 1;
}

bool IsAvailable(const btf* kernel, const Variant& variant) {
  for (const char* name : variant.hooks) {
    if (TracepointParameters(kernel, name) < 0) return false;
  }
  return true;
}

// Whether events are missed while bpf(2) works on a map, and the kernel has programs that do it.
bool AccessesMapsByProgram(const Variant& variant, const FeaturePlan& features) {
  return (variant.way == Variant::kByPerf || features.syscalls) &&
         libbpf_probe_bpf_helper(BPF_PROG_TYPE_SYSCALL, BPF_FUNC_map_lookup_percpu_elem, nullptr) == 1;
}

Result<SkeletonPtr> TryLoad(const CaptureOptions& options, const RingPlan& rings,
                            size_t ring_bytes, const Variant& variant, bool exit_says_last,
                            const FeaturePlan& features, const std::vector<std::string>& access) {
  SkeletonPtr skeleton(zerotap_bpf__open());
  if (!skeleton) return FailErrno("cannot open the BPF object");
  const std::vector<const char*> wanted = ProgramsOf(variant, exit_says_last);
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton->obj) {
    const char* name = bpf_program__name(program);
    auto is_it = [name](const std::string& other) { return other == name; };
    bpf_program__set_autoload(program,
                              std::any_of(wanted.begin(), wanted.end(), is_it) ||
                                  std::any_of(access.begin(), access.end(), is_it) ||
                                  std::any_of(features.programs.begin(), features.programs.end(), is_it));
  }
  bpf_map__set_max_entries(skeleton->maps.events, static_cast<uint32_t>(ring_bytes));
  bpf_map__set_max_entries(skeleton->maps.connections,
                           static_cast<uint32_t>(options.max_connections));
  int cpus = libbpf_num_possible_cpus();
  if (cpus < 1) return FailErrno("cannot count the CPUs", -cpus);
  bpf_map__set_max_entries(skeleton->maps.counters, static_cast<uint32_t>(cpus));
  skeleton->rodata->zt_possible_cpus = static_cast<uint32_t>(cpus);
  skeleton->rodata->zt_detect_budget = options.detect_budget_kib * 1024;
  skeleton->rodata->zt_detect_edge = options.detect_edge_bytes;
  skeleton->rodata->zt_ring_bytes = static_cast<uint32_t>(ring_bytes);
  skeleton->rodata->zt_ring_mask = rings.count - 1;
  skeleton->rodata->zt_ring_shift = rings.shift;
  bpf_map__set_autocreate(skeleton->maps.event_rings, rings.count > 1);
  bpf_map__set_max_entries(skeleton->maps.event_rings, rings.count);
  PrepareFeatures(options, features, *skeleton);
  libbpf_output.clear();
  int result = zerotap_bpf__load(skeleton.get());
  if (result != 0) {
    spdlog::debug("loading the BPF programs failed: {}", LastLines(libbpf_output, 20));
    Error error = Error::FromErrno("the kernel did not accept the BPF programs", -result);
    if (result == -EPERM) error.message += LockedMemoryRemedy();
    return tl::unexpected(error);
  }
  return skeleton;
}

// With the programs that work on maps, else without.
Result<SkeletonPtr> TryLoad(const CaptureOptions& options, const RingPlan& rings,
                            size_t ring_bytes, const Variant& variant, bool exit_says_last,
                            const FeaturePlan& features) {
  if (AccessesMapsByProgram(variant, features)) {
    Result<SkeletonPtr> skeleton = TryLoad(options, rings, ring_bytes, variant, exit_says_last,
                                           features, MapAccessPrograms(features));
    if (skeleton) return skeleton;
  }
  return TryLoad(options, rings, ring_bytes, variant, exit_says_last, features, {});
}

// The first ring is the skeleton's own.
Status MakeFurtherRings(LoadedProbes& probes, size_t ring_bytes) {
  const int all = bpf_map__fd(probes.skeleton->maps.event_rings);
  for (uint32_t index = 0; probes.report.rings > 1 && index < probes.report.rings; ++index) {
    int ring = bpf_map__fd(probes.skeleton->maps.events);
    if (index > 0) {
      probes.further_rings.emplace_back(bpf_map_create(BPF_MAP_TYPE_RINGBUF, "events", 0, 0,
                                                       static_cast<uint32_t>(ring_bytes), nullptr));
      ring = probes.further_rings.back().get();
      if (ring < 0) return FailErrno("cannot make a ring buffer");
    }
    if (bpf_map_update_elem(all, &index, &ring, BPF_ANY) != 0) {
      return FailErrno("cannot give a CPU its ring buffer");
    }
  }
  return {};
}

const char* TierName(CaptureTier tier) { return tier == CaptureTier::kA ? "A" : "B"; }

Result<std::vector<Attachment>> AttachmentsOf(const Variant& variant, const Result<Tracefs>& tracefs) {
  std::vector<Attachment> attachments;
  for (const Tracepoint& tracepoint : variant.tracepoints) {
    if (!tracefs) return tl::unexpected(tracefs.error());
    Result<uint64_t> id = tracefs->EventId(tracepoint.group, tracepoint.name);
    if (!id) return tl::unexpected(id.error());
    attachments.push_back({tracepoint.program, *id, tracepoint.cookie});
  }
  return attachments;
}

Result<LinkPtr> AttachToEvent(bpf_program* program, uint64_t event_id, uint64_t cookie) {
  perf_event_attr attributes{};
  attributes.type = PERF_TYPE_TRACEPOINT;
  attributes.size = sizeof(attributes);
  attributes.config = event_id;
  // The program runs for every CPU and process, whatever the event is bound to.
  UniqueFd event(static_cast<int>(
      ::syscall(SYS_perf_event_open, &attributes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!event) return FailErrno("perf_event_open for a tracepoint");
  LIBBPF_OPTS(bpf_perf_event_opts, cookie_option, .bpf_cookie = cookie);
  LinkPtr link(bpf_program__attach_perf_event_opts(program, event.get(), &cookie_option));
  if (!link) return FailErrno("cannot attach to a tracepoint");
  event.Release();  // the link's now
  return link;
}

Status AttachAll(const std::vector<Attachment>& attachments, LoadedProbes& probes) {
  for (const Attachment& attachment : attachments) {
    bpf_program* program =
        bpf_object__find_program_by_name(probes.skeleton->obj, attachment.program.c_str());
    if (program == nullptr) return Fail("the BPF object has no program " + attachment.program);
    Result<LinkPtr> link = AttachToEvent(program, attachment.event_id, attachment.cookie);
    if (!link) return tl::unexpected(link.error());
    probes.links.push_back(std::move(*link));
  }
  return {};
}

void AddOnce(std::vector<std::string>& texts, const std::string& text) {
  if (std::find(texts.begin(), texts.end(), text) == texts.end()) texts.push_back(text);
}

}  // namespace

size_t RoundUpRingBytes(size_t bytes) {
  size_t rounded = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  while (rounded < bytes && rounded < (size_t{1} << 30)) rounded *= 2;
  return rounded;
}

// A ring has one lock for all who write to it, and its cache lines go from one to the other: for each CPU its own, on large hosts
// for CPUs with neighbouring numbers, which mostly share a cache.
RingPlan PlanRings(uint32_t wanted, size_t cpus, size_t numbers, size_t total_bytes) {
  constexpr size_t kRings = 8;  // the reader looks at the front of each for every record
  constexpr size_t kMostCpusPerRing = 8;
  constexpr size_t kSmallestRing = 2 << 20;  // one CPU may do all the work: 20 ms of a busy one
  cpus = std::max<size_t>(cpus, 1);
  numbers = std::max(numbers, cpus);
  size_t count = wanted;
  if (count == 0) {
    count = std::max(std::min(std::bit_ceil(cpus), kRings), std::bit_ceil((cpus + kMostCpusPerRing - 1) / kMostCpusPerRing));
    count = std::min(count, std::max<size_t>(total_bytes / kSmallestRing, 1));
  }
  const size_t pages = total_bytes / static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  count = std::clamp<size_t>(std::bit_floor(count), 1, std::max<size_t>(pages, 1));
  RingPlan plan;
  plan.count = static_cast<uint32_t>(count);
  while ((std::bit_ceil(numbers) >> plan.shift) > count) ++plan.shift;
  return plan;
}

namespace {

// One more than the highest number of a CPU that is online; 1 if nobody tells.
size_t CpuNumbers() {
  std::ifstream file("/sys/devices/system/cpu/online");
  std::string list;
  std::getline(file, list);
  return LastCpuOf(list).value_or(0) + 1;
}

}  // namespace

RingPlan PlanRings(const CaptureOptions& options) {
  const long cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
  return PlanRings(options.rings, cpus > 0 ? static_cast<size_t>(cpus) : 1, CpuNumbers(),
                   RoundUpRingBytes(options.ring_bytes));
}

Result<LoadedProbes> LoadProbes(const CaptureOptions& options) {
  if (Status status = CheckRequirements(); !status) return tl::unexpected(status.error());
  libbpf_set_print(CollectLibbpfOutput);
  uint64_t begin = MonotonicNs();
  Result<std::string> btf_path = FindKernelBtf(options.btf);
  if (!btf_path) return tl::unexpected(btf_path.error());
  Result<BtfPtr> types = ReadKernelBtf(*btf_path);
  if (!types) return tl::unexpected(types.error());
  const btf* kernel = types->get();
  const KernelBtfScope scope(*btf_path);
  bool exit_says_last = TracepointParameters(kernel, "sched_process_exit") >= 2;
  Result<Tracefs> tracefs = Tracefs::Open();

  LoadedProbes probes;
  probes.ring_bytes = RoundUpRingBytes(options.ring_bytes);
  const RingPlan rings = PlanRings(options);
  const size_t ring_bytes = probes.ring_bytes / rings.count;
  probes.report.rings = rings.count;
  probes.features = PlanFeatures(options, kernel, tracefs);
  Error last_error{"no capture tier fits this kernel; it must be 5.10 or later", 0};
  for (const Variant& variant : Variants()) {
    if (options.tier != CaptureTier::kAuto && options.tier != variant.tier) continue;
    if (!IsAvailable(kernel, variant)) {
      AddOnce(probes.report.remarks,
              std::string("tier ") + TierName(variant.tier) + ": this kernel lacks its hooks");
      continue;
    }
    if (variant.way == Variant::kDirect &&
        DirectProgramsArePreemptible(kernel, variant.hooks.front())) {
      continue;
    }
    Result<std::vector<Attachment>> attachments = AttachmentsOf(variant, tracefs);
    if (!attachments) {
      last_error = attachments.error();
      AddOnce(probes.report.remarks, last_error.message);
      continue;
    }
    Result<SkeletonPtr> skeleton =
        TryLoad(options, rings, ring_bytes, variant, exit_says_last, probes.features);
    // What was asked for besides must not keep the agent from capturing.
    CaptureOptions reduced = options;
    FeaturePlan fewer;
    while (!skeleton && DropFeature(reduced)) {
      fewer = PlanFeatures(reduced, kernel, tracefs);
      Result<SkeletonPtr> again =
          TryLoad(reduced, rings, ring_bytes, variant, exit_says_last, fewer);
      if (!again) continue;
      fewer.remarks.push_back(WithoutFeatures(options, reduced) + ": " + skeleton.error().message);
      skeleton = std::move(again);
      probes.features = std::move(fewer);
    }
    if (!skeleton) {
      last_error = skeleton.error();
      probes.report.remarks.push_back(std::string("tier ") + TierName(variant.tier) + " as " +
                                      variant.attach_form + ": " + last_error.message);
      continue;
    }
    probes.skeleton = std::move(*skeleton);
    if (Status status = MakeFurtherRings(probes, ring_bytes); !status) {
      return tl::unexpected(status.error());
    }
    probes.report.tier = variant.tier;
    probes.report.attach_form = variant.attach_form;
    if (variant.way == Variant::kDirectAnyway) {
      probes.report.remarks.push_back(
          "attached directly although this kernel preempts such programs, or may: events can be "
          "lost, which recursion_misses counts. Mount tracefs to avoid it");
    }
    if ((variant.way == Variant::kByPerf || probes.features.syscalls) &&
        !bpf_program__autoload(probes.skeleton->progs.access_process_policies)) {
      probes.report.remarks.push_back(
          "this kernel has no programs that work on these maps (6.1 has): where it preempts itself, events "
          "can be missed while the agent does so, which recursion_misses counts");
    }
    probes.report.unseen = BlindSpots(variant.tier);
    probes.attachments = std::move(*attachments);
    const std::vector<std::string>& remarks = probes.features.remarks;
    probes.report.remarks.insert(probes.report.remarks.end(), remarks.begin(), remarks.end());
    if (!probes.attachments.empty() && tracefs->detached()) {
      probes.report.remarks.push_back(
          "tracefs is not mounted on this host; using an instance of our own");
    }
    probes.report.load_ns = MonotonicNs() - begin;
    return probes;
  }
  if (options.tier == CaptureTier::kA && last_error.errno_value == 0) {
    return Fail("capture tier A needs kernel 6.3 or later; use --capture-tier=auto");
  }
  std::string why;
  for (const std::string& remark : probes.report.remarks) why += "; " + remark;
  return tl::unexpected(Error{last_error.message + why, last_error.errno_value});
}

Status AttachProbes(LoadedProbes& probes) {
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, probes.skeleton->obj) {
    if (!bpf_program__autoload(program) || program == probes.skeleton->progs.seed_sockets ||
        program == probes.skeleton->progs.survey_sockets) {
      continue;
    }
    if (bpf_program__type(program) == BPF_PROG_TYPE_TRACEPOINT ||
        bpf_program__type(program) == BPF_PROG_TYPE_SYSCALL) {
      continue;
    }
    LinkPtr link(bpf_program__attach(program));
    if (!link) {
      Error error =
          FailErrno(std::string("cannot attach ") + bpf_program__section_name(program)).value();
      // What was asked for besides must not keep the agent from capturing.
      const std::vector<std::string>& features = probes.features.programs;
      if (std::find(features.begin(), features.end(), bpf_program__name(program)) ==
          features.end()) {
        return tl::unexpected(std::move(error));
      }
      AddOnce(probes.report.remarks, error.message);
      continue;
    }
    probes.links.push_back(std::move(link));
  }
  if (Status status = AttachAll(probes.attachments, probes); !status) return status;
  if (Status status = AttachAll(probes.features.links, probes); !status) {
    AddOnce(probes.report.remarks, status.error().message);
  }
  return {};
}

Status WalkWith(bpf_program* program, const char* what) {
  LinkPtr link(bpf_program__attach_iter(program, nullptr));
  if (!link) return FailErrno(std::string("cannot walk ") + what);
  UniqueFd iterator(bpf_iter_create(bpf_link__fd(link.get())));
  if (!iterator) return FailErrno(std::string("cannot walk ") + what);
  char nothing[64];
  while (true) {
    ssize_t count = ::read(iterator.get(), nothing, sizeof(nothing));
    if (count == 0) return {};
    if (count < 0 && errno != EINTR && errno != EAGAIN)
      return FailErrno(std::string("walking ") + what);
  }
}

Status SeedSockets(LoadedProbes& probes) {
  uint64_t begin = MonotonicNs();
  Status status = WalkWith(probes.skeleton->progs.seed_sockets, "the open sockets");
  if (!status) return status;
  probes.skeleton->bss->zt_seeded = 1;
  probes.report.seed_ns = MonotonicNs() - begin;
  return {};
}

}  // namespace zerotap
