// Where kernel records come from (ring buffer or recording) and how verdicts go back.
#pragma once

#include <cstdint>
#include <functional>

#include "agent/base/bytes.h"
#include "agent/base/result.h"
#include "bpf/abi/control.h"
#include "bpf/abi/event.h"

namespace zerotap {

class EventSource {
 public:
  virtual ~EventSource() = default;
  // Hands every record that is ready to `handler` (bytes are borrowed for the call, at least 8-byte aligned) and returns how
  // many there were. Waits up to `timeout_ms` for the first.
  virtual Result<size_t> Drain(int timeout_ms, const std::function<void(ByteSpan)>& handler) = 0;
  // Lets records gather for `ns`, or for less when the source finds that they are wanted sooner.
  virtual void Pause(uint64_t ns) = 0;
  // How long a record may be there before Drain gives it.
  virtual uint64_t settle_ns() const { return 0; }
};

class CaptureControl {
 public:
  virtual ~CaptureControl() = default;
  // Cheap (a memory store), may be lost when two live connections share a slot: repeat when data keeps coming.
  virtual void SetVerdict(uint64_t connection_id, const zt_verdict& verdict) = 0;
  virtual void SetProcessPolicy(uint32_t tgid, zt_process_policy policy) = 0;
  virtual void ForgetProcess(uint32_t tgid) = 0;
};

}  // namespace zerotap
