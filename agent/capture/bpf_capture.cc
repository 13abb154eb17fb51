#include "agent/capture/bpf_capture.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <mutex>
#include <unordered_set>

#include "agent/base/unique_fd.h"
#include "agent/capture/capture_check.h"
#include "agent/capture/map_access.h"
#include "agent/capture/probe_loader.h"
#include "bpf/abi/control.h"
// The skeleton's types come from the ABI headers.
#include "bpf/zerotap.skel.h"

namespace zerotap {
namespace {

// A turn of Drain ends after so many records.
constexpr size_t kMaxRecordsPerDrain = 8192;

struct RingDeleter {
  void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
};

// libbpf's own epoll tells that there is something to read, which under load is always so.
UniqueFd WatchWakeUps(int ring_fd) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  if (epoll && ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, ring_fd, &event) != 0) epoll.Reset();
  return epoll;
}

// A shared mapping that is undone with its owner.
class Mapping {
 public:
  Mapping() = default;
  Mapping(int fd, size_t size, int protection, off_t offset)
      : size_(size), address_(::mmap(nullptr, size, protection, MAP_SHARED, fd, offset)) {
    if (address_ == MAP_FAILED) address_ = nullptr;
  }
  Mapping(Mapping&& other) noexcept { *this = std::move(other); }
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(size_, other.size_);
    std::swap(address_, other.address_);
    return *this;
  }
  ~Mapping() {
    if (address_ != nullptr) ::munmap(address_, size_);
  }
  template <typename T>
  T* As() const {
    return static_cast<T*>(address_);
  }

 private:
  size_t size_ = 0;
  void* address_ = nullptr;
};

}  // namespace

struct BpfCapture::State {
  LoadedProbes probes;
  std::unique_ptr<ring_buffer, RingDeleter> ring;
  UniqueFd wake_ups;  // an epoll of the ring that tells of wake-ups, not of what is there
  Mapping verdicts;
  Mapping policy_slots;
  Mapping counters;
  size_t cpus = 0;
  Mapping consumer_position;
  Mapping producer_position;
  // Who has an entry in the hash: no change is made that tells the kernel side nothing.
  std::mutex listed_mutex;
  std::unordered_set<uint32_t> listed;
  const std::function<void(ByteSpan)>* handler = nullptr;
  size_t drained = 0;
  uint64_t malformed_records = 0;
  MeasureReader syscall_durations{MapAccess()};
  MeasureReader tcp_measures{MapAccess()};
  MapAccess thread_waits;
  MapAccess process_policies;
  bool excludes_self = false;

  // Records come from the caches of the CPUs that wrote them: the next is fetched while this one is
  // handled. The memory behind the ring's end is the ring again.
  static void PrefetchAfter(const void* data, size_t size) {
    constexpr size_t kRecordHeader = BPF_RINGBUF_HDR_SZ;
    constexpr size_t kCacheLine = 64;
    constexpr size_t kLines = 5;  // a data record and a short message
    const char* next = static_cast<const char*>(data) + ((size + kRecordHeader + 7) & ~size_t{7});
    for (size_t line = 0; line < kLines; ++line) __builtin_prefetch(next + line * kCacheLine);
  }

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

  static int OnRecord(void* context, void* data, size_t size) {
    State* state = static_cast<State*>(context);
    const auto* header = static_cast<const zt_event_header*>(data);
    // The room in the ring is one of a few sizes; the record says how much of it is its own.
    if (size < sizeof(*header) || header->size < sizeof(*header) || header->size > size) {
      ++state->malformed_records;
      return 0;
    }
    PrefetchAfter(data, size);
    (*state->handler)(ByteSpan(static_cast<const std::byte*>(data), header->size));
    return ++state->drained < kMaxRecordsPerDrain ? 0 : -ECANCELED;
  }

  Status Consume() {
    int result = ring_buffer__consume(ring.get());
    if (result < 0 && result != -ECANCELED && result != -EINTR)
      return FailErrno("ring buffer", -result);
    return {};
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
  size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));

  state->verdicts = Mapping(bpf_map__fd(maps.verdicts), ZT_VERDICT_SLOTS * sizeof(uint64_t),
                            PROT_READ | PROT_WRITE, 0);
  if (state->verdicts.As<void>() == nullptr) return FailErrno("cannot map the verdicts");
  const auto& programs = state->probes.skeleton->progs;
  const auto access = [](const bpf_map* map, const bpf_program* program) {
    return MapAccess(bpf_map__fd(map), bpf_program__autoload(program) ? bpf_program__fd(program) : -1);
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
  if (state->policy_slots.As<void>() == nullptr) return FailErrno("cannot map the policies");
  state->cpus = bpf_map__max_entries(maps.counters);
  state->counters =
      Mapping(bpf_map__fd(maps.counters), state->cpus * sizeof(zt_counters), PROT_READ, 0);
  if (state->counters.As<void>() == nullptr) return FailErrno("cannot map the counters");
  int ring_fd = bpf_map__fd(maps.events);
  state->consumer_position = Mapping(ring_fd, page, PROT_READ, 0);
  state->producer_position = Mapping(ring_fd, page, PROT_READ, static_cast<off_t>(page));
  state->ring.reset(ring_buffer__new(ring_fd, State::OnRecord, state.get(), nullptr));
  if (!state->ring) return FailErrno("cannot map the ring buffer");
  state->wake_ups = WatchWakeUps(ring_fd);
  if (!state->wake_ups) return FailErrno("cannot wait for the ring buffer");

  std::unique_ptr<BpfCapture> capture(new BpfCapture(std::move(state)));
  capture->state_->excludes_self = options.exclude_self;
  if (options.exclude_self) {
    capture->SetProcessPolicy(static_cast<uint32_t>(::getpid()), ZT_PROCESS_SELF);
  }
  if (Status status = AttachProbes(capture->state_->probes); !status) {
    return tl::unexpected(status.error());
  }
  if (Status status = SeedSockets(capture->state_->probes); !status) {
    return tl::unexpected(status.error());
  }
  return capture;
}

const CaptureReport& BpfCapture::report() const { return state_->probes.report; }

Result<size_t> BpfCapture::Drain(int timeout_ms, const std::function<void(ByteSpan)>& handler) {
  state_->handler = &handler;
  state_->drained = 0;
  if (Status status = state_->Consume(); !status) return tl::unexpected(status.error());
  if (state_->drained == 0 && timeout_ms > 0) {
    int result = ring_buffer__poll(state_->ring.get(), timeout_ms);
    if (result < 0 && result != -ECANCELED && result != -EINTR)
      return FailErrno("ring buffer", -result);
    // Most records come without a wake-up.
    if (state_->drained == 0) {
      if (Status status = state_->Consume(); !status) return tl::unexpected(status.error());
    }
  }
  state_->handler = nullptr;
  return state_->drained;
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

int BpfCapture::ring_fd() const { return bpf_map__fd(state_->probes.skeleton->maps.events); }

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
  const auto* consumer = state_->consumer_position.As<uint64_t>();
  const auto* producer = state_->producer_position.As<uint64_t>();
  if (consumer != nullptr && producer != nullptr) {
    uint64_t consumed = __atomic_load_n(consumer, __ATOMIC_ACQUIRE);
    uint64_t produced = __atomic_load_n(producer, __ATOMIC_ACQUIRE);
    counters.ring_used_bytes = produced > consumed ? produced - consumed : 0;
  }
  counters.malformed_records = state_->malformed_records;
  return counters;
}

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
