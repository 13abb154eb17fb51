// The kernel side, loaded and attached: a source of records and the way back for verdicts.
//
// Everything hangs on file descriptors of this process; nothing is pinned, so that even kill -9
// leaves nothing behind. Create and Drain belong to one thread; SetVerdict, SetProcessPolicy,
// ForgetProcess and ReadCounters may be called from any.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/capture/measure_reader.h"
#include "agent/events/event_source.h"
#include "bpf/abi/wait.h"

namespace zerotap {

enum class CaptureTier {
  kAuto,
  kA,  // sock_send_length and sock_recv_length, kernel 6.3 and later
  kB,  // the exit of every system call, kernel 5.10 and later
};

// Latency of system calls by process. Any listener puts every call of the host on a slower path, so
// it is off unless asked for.
struct SyscallOptions {
  bool enabled = false;
  std::vector<std::string> names;  // of MeasurableSyscalls()
  size_t max_series = 4096;        // combinations of process, call and error
};

// How TCP connections do, by process.
struct TcpOptions {
  bool enabled = false;
  size_t max_series = 4096;  // combinations of process, what is counted, and error
};

struct CaptureOptions {
  CaptureTier tier = CaptureTier::kAuto;
  std::string btf;  // a file with the running kernel's BTF; empty: where systems have it
  size_t ring_bytes = 16u << 20;  // of all rings together, rounded up to a power of two
  uint32_t rings = 0;             // a power of two; 0: by the number of CPUs
  size_t max_connections = 65536;
  uint32_t detect_budget_kib = 32;  // of each run, until a connection's protocol is known
  uint32_t detect_edge_bytes = 64;
  SyscallOptions syscalls;
  TcpOptions tcp;
  bool waits = false;  // sum up what threads wait for
  bool exclude_self = true;  // this process's own connections are left out on both ends
};

// What was chosen, for the log and for the operator.
struct CaptureReport {
  CaptureTier tier = CaptureTier::kA;
  std::string attach_form;           // "tracepoint", "BTF tracepoint"
  std::vector<std::string> unseen;   // what this tier cannot see or show, one sentence each
  std::vector<std::string> remarks;  // why something better was not taken, with the remedy
  size_t rings = 1;
  uint64_t load_ns = 0;
  uint64_t seed_ns = 0;
};

struct ProgramStatistics {
  std::string name;
  uint64_t recursion_misses = 0;  // runs that the kernel skipped: lost events
  uint64_t run_count = 0;         // with kernel.bpf_stats_enabled only
  uint64_t run_time_ns = 0;
  uint32_t verified_instructions = 0;
};

struct CaptureCounters {
  std::array<uint64_t, ZT_COUNTER_COUNT> kernel{};  // index: enum zt_counter
  std::vector<ProgramStatistics> programs;
  uint64_t ring_bytes = 0;  // of all rings
  uint64_t ring_used_bytes = 0;
  uint64_t malformed_records = 0;  // with a size that cannot be

  uint64_t recursion_misses() const;
};

// What the hooks did in a process since the last time, scaled up from what was sampled.
struct ProcessCost {
  uint32_t tgid = 0;
  uint64_t handled = 0;     // events that were captured or counted
  uint64_t handled_ns = 0;  // what they took, without what an ignored one takes too
  uint64_t ignored = 0;     // of ignored connections, or all of an ignored process
};

// What one event takes on this machine, from entering the hook to leaving it.
struct EventPrices {
  double ignored_ns = 0;   // of an ignored connection
  double detached_ns = 0;  // of an ignored process
};

// The name of a counter in metrics, in snake_case.
const char* CounterName(zt_counter counter);

class BpfCapture : public EventSource, public CaptureControl {
 public:
  // Errors say what is missing and what to do about it.
  static Result<std::unique_ptr<BpfCapture>> Create(const CaptureOptions& options);
  ~BpfCapture() override;

  const CaptureReport& report() const;

  // Records come without a wake-up for each, so a wait may take `timeout_ms` even though some are
  // there by then; it ends early when the ring fills up or a process starts. Returns after a
  // bounded number of records, so that the caller's other duties get their turn.
  Result<size_t> Drain(int timeout_ms, const std::function<void(ByteSpan)>& handler) override;
  // Ends early for the same reasons, and only for those, whatever the ring holds.
  void Pause(uint64_t ns) override;
  uint64_t settle_ns() const override;

  void SetVerdict(uint64_t connection_id, const zt_verdict& verdict) override;
  void SetProcessPolicy(uint32_t tgid, zt_process_policy policy) override;
  void ForgetProcess(uint32_t tgid) override;

  // Policies also end by themselves when their process exits.
  bool HasProcessPolicy(uint32_t tgid) const;

  CaptureCounters ReadCounters() const;

  // Since the last call; who shares his places with two others that are busy is not among them
  // (ZT_COUNTER_COSTS_FULL). One thread.
  void TakeCosts(std::vector<ProcessCost>& out);
  // Measured when the hooks were attached; empty with exclude_self off.
  const EventPrices& prices() const;

  // Of the ring buffers: ready when the kernel side calls its reader before the reader's time. Borrowed.
  std::vector<int> ring_fds() const;

  // What this thread has waited for; empty when it never did for long, or that is off. One thread.
  std::optional<zt_thread_waits> ReadThreadWaits(uint32_t tid) const;
  bool has_thread_waits() const;

  // Looks at every open TCP connection, so that TakeMeasures knows of the long-lived ones.
  Status SurveySockets();
  // What was counted by process since the last call; nothing where that is off. One thread.
  void TakeMeasures(std::vector<MeasureDelta>& out);
  // The process ended, or nothing is wanted of it: the next TakeMeasures is the last with it.
  void ForgetMeasures(uint32_t tgid);

 private:
  struct State;
  explicit BpfCapture(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace zerotap
