// Names of the system calls whose latency can be measured, and their numbers on this architecture.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace zerotap {

struct NamedSyscall {
  std::string_view name;        // as in section 2 of the manual and in `strace`
  std::string_view tracepoint;  // of sys_enter_X and sys_exit_X; the kernel has a few other names
  uint32_t number = 0;
};

// Ordered by name. Calls that this architecture does not have are not in it.
std::span<const NamedSyscall> MeasurableSyscalls();
// Null when it is not one of them.
const NamedSyscall* FindSyscall(std::string_view name);
// "read"; "syscall_999" for a number that is not in the table.
std::string SyscallName(uint32_t number);
// "ENOENT"; also the kernel's own codes for calls that a signal interrupts ("ERESTARTSYS").
std::string ErrnoName(uint32_t error);

}  // namespace zerotap
