#include "agent/capture/bpf_capture.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <unordered_set>

#include "agent/base/clock.h"
#include "agent/base/unique_fd.h"
#include "agent/capture/capture_check.h"
#include "agent/capture/cost_reader.h"
#include "agent/capture/event_rings.h"
#include "agent/capture/map_access.h"
#include "agent/capture/mapping.h"
#include "agent/capture/probe_loader.h"
#include "bpf/abi/control.h"
// The skeleton's types come from the ABI headers.
#include "bpf/zerotap.skel.h"

namespace zerotap {
namespace {

// A turn of Drain ends after so many records.
constexpr size_t kMaxRecordsPerDrain = 8192;

UniqueFd Watch(const std::vector<int>& rings, uint32_t events) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = events;
  for (int ring : rings) {
    if (epoll && ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, ring, &event) != 0) epoll.Reset();
  }
  return epoll;
}

}  // namespace

struct BpfCapture::State {
  LoadedProbes probes;
  std::vector<Mapping> ring_memory;
  EventRings rings;
  UniqueFd unread;    // an epoll of the rings that tells that there is something to read
  UniqueFd wake_ups;  // and one that tells of wake-ups: under load there always is something
  Mapping verdicts;
  Mapping policy_slots;
  Mapping counters;
  size_t cpus = 0;
  // Who has an entry in the hash: no change is made that tells the kernel side nothing.
  std::mutex listed_mutex;
  std::unordered_set<uint32_t> listed;
  Mapping costs;
  std::unique_ptr<CostReader> cost_reader;
  EventPrices prices;
  MeasureReader syscall_durations{MapAccess()};
  MeasureReader tcp_measures{MapAccess()};
  MapAccess thread_waits;
  MapAccess process_policies;
  bool excludes_self = false;

  // Being traced is what happens without an entry, too.
  bool MustBeListed(uint32_t tgid, zt_process_policy policy) {
    std::lock_guard lock(listed_mutex);
    if (policy == ZT_PROCESS_TRACE) return listed.count(tgid) != 0;
    listed.insert(tgid);
    return true;
  }
  bool Unlist(uint32_t tgid) {
    std::lock_guard lock(listed_mutex);
    return listed.erase(tgid) != 0;
  }

  std::vector<int> RingFds() const {
    std::vector<int> fds = {bpf_map__fd(probes.skeleton->maps.events)};
    for (const UniqueFd& ring : probes.further_rings) fds.push_back(ring.get());
    return fds;
  }

  // The reader's position is a page of its own, then come the kernel side's and the data. These could be mapped twice in a
  // row, and would count twice in resident memory.
  Status MapRings() {
    const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    const size_t size = probes.ring_bytes / probes.report.rings;
    for (int fd : RingFds()) {
      Mapping reader(fd, page, PROT_READ | PROT_WRITE, 0);
      Mapping writer(fd, page + size, PROT_READ, static_cast<off_t>(page));
      if (!reader || !writer) {
        return FailErrno("cannot map the ring buffer");
      }
      rings.Add({reader.As<uint64_t>(), writer.As<uint64_t>(), writer.As<std::byte>() + page, size});
      ring_memory.push_back(std::move(reader));
      ring_memory.push_back(std::move(writer));
    }
    unread = Watch(RingFds(), EPOLLIN);
    wake_ups = Watch(RingFds(), EPOLLIN | EPOLLET);
    if (!unread || !wake_ups) return FailErrno("cannot wait for the ring buffer");
    return {};
  }

  size_t Take(const std::function<void(ByteSpan)>& handler) {
    return rings.Take(rings.count() > 1 ? MonotonicNs() : 0, kMaxRecordsPerDrain, handler);
  }
};

uint64_t CaptureCounters::recursion_misses() const {
  uint64_t sum = 0;
  for (const ProgramStatistics& program : programs) sum += program.recursion_misses;
  return sum;
}

const char* CounterName(zt_counter counter) {
  switch (counter) {
    case ZT_COUNTER_DATA_EVENTS:
      return "data_events";
    case ZT_COUNTER_RING_FULL:
      return "ring_full";
    case ZT_COUNTER_CONNECTION_MAP_FULL:
      return "connection_map_full";
    case ZT_COUNTER_PAYLOAD_FAULT:
      return "payload_fault";
    case ZT_COUNTER_NO_PAYLOAD:
      return "no_payload";
    case ZT_COUNTER_IGNORED_EVENTS:
      return "ignored_events";
    case ZT_COUNTER_UNKNOWN_CALL:
      return "unknown_call";
    case ZT_COUNTER_IOVEC_TRUNCATED:
      return "iovec_truncated";
    case ZT_COUNTER_COMPAT_CALL:
      return "compat_call";
    case ZT_COUNTER_UNSEEN_CALL:
      return "unseen_call";
    case ZT_COUNTER_MEASURES_FULL:
      return "measures_full";
    case ZT_COUNTER_SYSCALL_START_UNKNOWN:
      return "syscall_start_unknown";
    case ZT_COUNTER_TCP_OWNER_UNKNOWN:
      return "tcp_owner_unknown";
    case ZT_COUNTER_COSTS_FULL:
      return "costs_full";
    case ZT_COUNTER_COUNT:
      break;
  }
  return "unknown";
}

BpfCapture::BpfCapture(std::unique_ptr<State> state) : state_(std::move(state)) {}
BpfCapture::~BpfCapture() = default;

Result<std::unique_ptr<BpfCapture>> BpfCapture::Create(const CaptureOptions& options) {
  if (options.exclude_self && !InInitialPidNamespace()) {
    return Fail(
        "zerotap runs in a process-id namespace of its own, where its number and those of other processes are not "
        "the kernel's: it could neither leave itself out nor name anyone. Start it with the host's (docker run "
        "--pid=host, hostPID: true)");
  }
  Result<LoadedProbes> probes = LoadProbes(options);
  if (!probes) return tl::unexpected(probes.error());
  auto state = std::make_unique<State>();
  state->probes = std::move(*probes);
  auto& maps = state->probes.skeleton->maps;

  state->verdicts = Mapping(bpf_map__fd(maps.verdicts), ZT_VERDICT_SLOTS * sizeof(uint64_t),
                            PROT_READ | PROT_WRITE, 0);
  if (!state->verdicts) return FailErrno("cannot map the verdicts");
  const auto& programs = state->probes.skeleton->progs;
  const auto access = [](const bpf_map* map, const bpf_program* program) {
    return MapAccess(bpf_map__fd(map), bpf_program__autoload(program) ? bpf_program__fd(program) : -1,
                     bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_HASH);
  };
  state->process_policies = access(maps.process_policies, programs.access_process_policies);
  if (state->probes.features.syscalls) {
    state->syscall_durations =
        MeasureReader(access(maps.syscall_durations, programs.access_syscall_durations));
  }
  if (state->probes.features.tcp) {
    state->tcp_measures = MeasureReader(access(maps.tcp_measures, programs.access_tcp_measures));
  }
  if (state->probes.features.waits) {
    state->thread_waits = access(maps.thread_waits, programs.access_thread_waits);
  }
  state->policy_slots = Mapping(bpf_map__fd(maps.policy_slots), ZT_POLICY_SLOTS * sizeof(uint64_t),
                                PROT_READ | PROT_WRITE, 0);
  if (!state->policy_slots) return FailErrno("cannot map the policies");
  state->costs = Mapping(bpf_map__fd(maps.costs), ZT_COST_SLOTS * sizeof(zt_cost),
                         PROT_READ | PROT_WRITE, 0);
  if (!state->costs) return FailErrno("cannot map the costs");
  state->cost_reader = std::make_unique<CostReader>(state->costs.As<zt_cost>());
  state->cpus = bpf_map__max_entries(maps.counters);
  state->counters =
      Mapping(bpf_map__fd(maps.counters), state->cpus * sizeof(zt_counters), PROT_READ, 0);
  if (!state->counters) return FailErrno("cannot map the counters");
  if (Status status = state->MapRings(); !status) return tl::unexpected(status.error());

  std::unique_ptr<BpfCapture> capture(new BpfCapture(std::move(state)));
  capture->state_->excludes_self = options.exclude_self;
  CallTimes bare;
  if (options.exclude_self) {
    capture->SetProcessPolicy(static_cast<uint32_t>(::getpid()), ZT_PROCESS_SELF);
    bare = MeasureSocketCall();
  }
  if (Status status = AttachProbes(capture->state_->probes); !status) {
    return tl::unexpected(status.error());
  }
  if (options.exclude_self) {
    EventPrices& prices = capture->state_->prices;
    // zerotap's own connections are left out at the same place as other ignored ones.
    prices.ignored_ns = AddedNs(bare, MeasureSocketCall());
    uint64_t* slot = capture->state_->policy_slots.As<uint64_t>() + zt_policy_slot(::getpid());
    const uint64_t word = zt_policy_word(static_cast<uint32_t>(::getpid()), ZT_PROCESS_IGNORE);
    const uint64_t own = __atomic_exchange_n(slot, word, __ATOMIC_ACQ_REL);
    prices.detached_ns = std::min(AddedNs(bare, MeasureSocketCall()), prices.ignored_ns);
    __atomic_store_n(slot, own, __ATOMIC_RELEASE);
  }
  if (Status status = SeedSockets(capture->state_->probes); !status) {
    return tl::unexpected(status.error());
  }
  return capture;
}

const CaptureReport& BpfCapture::report() const { return state_->probes.report; }

Result<size_t> BpfCapture::Drain(int timeout_ms, const std::function<void(ByteSpan)>& handler) {
  size_t drained = state_->Take(handler);
  if (drained == 0 && timeout_ms > 0) {
    epoll_event event;
    if (::epoll_wait(state_->unread.get(), &event, 1, timeout_ms) < 0 && errno != EINTR) {
      return FailErrno("ring buffer");
    }
    // Most records come without a wake-up.
    drained = state_->Take(handler);
  }
  return drained;
}

uint64_t BpfCapture::settle_ns() const {
  return state_->rings.count() > 1 ? EventRings::kClockSlackNs : 0;
}

void BpfCapture::Pause(uint64_t ns) {
  constexpr uint64_t kSecond = 1'000'000'000;
  const timespec time{static_cast<time_t>(ns / kSecond), static_cast<long>(ns % kSecond)};
  epoll_event event;
  if (::epoll_pwait2(state_->wake_ups.get(), &event, 1, &time, nullptr) < 0 && errno != EINTR) {
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);  // before 5.11
  }
}

void BpfCapture::SetVerdict(uint64_t connection_id, const zt_verdict& verdict) {
  zt_verdict stored = verdict;
  stored.tag = zt_verdict_tag(connection_id);
  uint64_t word;
  static_assert(sizeof(word) == sizeof(stored));
  std::memcpy(&word, &stored, sizeof(word));
  // One store, so that the kernel never sees half a verdict.
  __atomic_store_n(state_->verdicts.As<uint64_t>() + zt_verdict_slot(connection_id), word,
                   __ATOMIC_RELEASE);
}

void BpfCapture::SetProcessPolicy(uint32_t tgid, zt_process_policy policy) {
  if (state_->excludes_self && tgid == static_cast<uint32_t>(::getpid())) policy = ZT_PROCESS_SELF;
  if (state_->MustBeListed(tgid, policy)) {
    state_->process_policies.WritePolicy(tgid, policy);
  }
  // After the hash, as the hook of a process's end empties the hash first. One that ends in between
  // leaves its word in the slot until its record is handled (ForgetProcess).
  __atomic_store_n(state_->policy_slots.As<uint64_t>() + zt_policy_slot(tgid),
                   zt_policy_word(tgid, policy), __ATOMIC_RELEASE);
}

void BpfCapture::ForgetProcess(uint32_t tgid) {
  uint64_t* slot = state_->policy_slots.As<uint64_t>() + zt_policy_slot(tgid);
  if (__atomic_load_n(slot, __ATOMIC_RELAXED) >> 32 == tgid) {
    __atomic_store_n(slot, uint64_t{0}, __ATOMIC_RELEASE);
  }
  if (!state_->Unlist(tgid)) return;
  state_->process_policies.ErasePolicy(tgid);
}

bool BpfCapture::HasProcessPolicy(uint32_t tgid) const {
  uint32_t policy = 0;
  return bpf_map_lookup_elem(bpf_map__fd(state_->probes.skeleton->maps.process_policies), &tgid,
                             &policy) == 0;
}

std::vector<int> BpfCapture::ring_fds() const { return state_->RingFds(); }

CaptureCounters BpfCapture::ReadCounters() const {
  CaptureCounters counters;
  zerotap_bpf* skeleton = state_->probes.skeleton.get();
  for (size_t cpu = 0; cpu < state_->cpus; ++cpu) {
    const auto& line = state_->counters.As<zt_counters>()[cpu];
    for (size_t index = 0; index < ZT_COUNTER_COUNT; ++index) {
      counters.kernel[index] += __atomic_load_n(&line.value[index], __ATOMIC_RELAXED);
    }
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton->obj) {
    if (!bpf_program__autoload(program)) continue;
    bpf_prog_info info{};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size) != 0) continue;
    ProgramStatistics statistics;
    statistics.name = bpf_program__name(program);
    statistics.recursion_misses = info.recursion_misses;
    statistics.run_count = info.run_cnt;
    statistics.run_time_ns = info.run_time_ns;
    statistics.verified_instructions = info.verified_insns;
    counters.programs.push_back(std::move(statistics));
  }
  counters.ring_bytes = state_->probes.ring_bytes;
  counters.ring_used_bytes = state_->rings.used_bytes();
  counters.malformed_records = state_->rings.malformed_records();
  return counters;
}

void BpfCapture::TakeCosts(std::vector<ProcessCost>& out) { state_->cost_reader->Take(out); }

const EventPrices& BpfCapture::prices() const { return state_->prices; }

bool BpfCapture::has_thread_waits() const { return state_->probes.features.waits; }

std::optional<zt_thread_waits> BpfCapture::ReadThreadWaits(uint32_t tid) const {
  return state_->thread_waits.ReadWaits(tid);
}

Status BpfCapture::SurveySockets() {
  if (!state_->probes.features.tcp) return {};
  zerotap_bpf* skeleton = state_->probes.skeleton.get();
  ++skeleton->bss->zt_survey;
  return WalkWith(skeleton->progs.survey_sockets, "the open connections");
}

void BpfCapture::TakeMeasures(std::vector<MeasureDelta>& out) {
  state_->syscall_durations.Take(out);
  state_->tcp_measures.Take(out);
}

void BpfCapture::ForgetMeasures(uint32_t tgid) {
  state_->syscall_durations.Forget(tgid);
  state_->tcp_measures.Forget(tgid);
}

}  // namespace zerotap
