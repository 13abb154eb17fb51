// A checked view over one kernel record: kind and sizes are verified once, here, so that later stages may trust them.
#pragma once

#include <optional>
#include <string_view>

#include "agent/base/bytes.h"
#include "bpf/abi/event.h"

namespace zerotap {

// Borrows the record's memory. Exactly one pointer is set.
struct Event {
  const zt_event_header* header = nullptr;
  const zt_connection_opened_event* opened = nullptr;
  const zt_data_event* data = nullptr;
  const zt_connection_shutdown_event* shutdown = nullptr;
  const zt_connection_closed_event* closed = nullptr;
  const zt_process_exec_event* exec = nullptr;
  const zt_process_fork_event* fork = nullptr;
  const zt_process_exit_event* exit = nullptr;
  ByteSpan head;  // data events: the captured first bytes
  ByteSpan tail;  // and the captured last ones
};

// Empty when the record is too short for what it claims, or of an unknown kind. `bytes` must be 8-byte aligned.
std::optional<Event> DecodeEvent(ByteSpan bytes);

// Text of a fixed-size field up to its NUL, or whole when there is none.
template <size_t N>
std::string_view FieldText(const char (&field)[N]) {
  std::string_view text(field, N);
  return text.substr(0, text.find('\0'));
}

}  // namespace zerotap
