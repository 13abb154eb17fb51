#include "agent/capture/syscall_table.h"

#include <sys/syscall.h>

#include <cstring>

namespace zerotap {
namespace {

constexpr NamedSyscall kSyscalls[] = {
#ifdef SYS_accept
    {"accept", "accept", SYS_accept},
#endif
#ifdef SYS_accept4
    {"accept4", "accept4", SYS_accept4},
#endif
#ifdef SYS_access
    {"access", "access", SYS_access},
#endif
#ifdef SYS_bind
    {"bind", "bind", SYS_bind},
#endif
#ifdef SYS_chmod
    {"chmod", "chmod", SYS_chmod},
#endif
#ifdef SYS_clock_nanosleep
    {"clock_nanosleep", "clock_nanosleep", SYS_clock_nanosleep},
#endif
#ifdef SYS_close
    {"close", "close", SYS_close},
#endif
#ifdef SYS_connect
    {"connect", "connect", SYS_connect},
#endif
#ifdef SYS_copy_file_range
    {"copy_file_range", "copy_file_range", SYS_copy_file_range},
#endif
#ifdef SYS_dup
    {"dup", "dup", SYS_dup},
#endif
#ifdef SYS_epoll_ctl
    {"epoll_ctl", "epoll_ctl", SYS_epoll_ctl},
#endif
#ifdef SYS_epoll_pwait
    {"epoll_pwait", "epoll_pwait", SYS_epoll_pwait},
#endif
#ifdef SYS_epoll_pwait2
    {"epoll_pwait2", "epoll_pwait2", SYS_epoll_pwait2},
#endif
#ifdef SYS_epoll_wait
    {"epoll_wait", "epoll_wait", SYS_epoll_wait},
#endif
#ifdef SYS_fallocate
    {"fallocate", "fallocate", SYS_fallocate},
#endif
#ifdef SYS_fcntl
    {"fcntl", "fcntl", SYS_fcntl},
#endif
#ifdef SYS_fdatasync
    {"fdatasync", "fdatasync", SYS_fdatasync},
#endif
#ifdef SYS_flock
    {"flock", "flock", SYS_flock},
#endif
#ifdef SYS_fstat
    {"fstat", "newfstat", SYS_fstat},
#endif
#ifdef SYS_fsync
    {"fsync", "fsync", SYS_fsync},
#endif
#ifdef SYS_ftruncate
    {"ftruncate", "ftruncate", SYS_ftruncate},
#endif
#ifdef SYS_futex
    {"futex", "futex", SYS_futex},
#endif
#ifdef SYS_futex_wait
    {"futex_wait", "futex_wait", SYS_futex_wait},
#endif
#ifdef SYS_futex_waitv
    {"futex_waitv", "futex_waitv", SYS_futex_waitv},
#endif
#ifdef SYS_getdents64
    {"getdents64", "getdents64", SYS_getdents64},
#endif
#ifdef SYS_getrandom
    {"getrandom", "getrandom", SYS_getrandom},
#endif
#ifdef SYS_io_getevents
    {"io_getevents", "io_getevents", SYS_io_getevents},
#endif
#ifdef SYS_io_submit
    {"io_submit", "io_submit", SYS_io_submit},
#endif
#ifdef SYS_io_uring_enter
    {"io_uring_enter", "io_uring_enter", SYS_io_uring_enter},
#endif
#ifdef SYS_ioctl
    {"ioctl", "ioctl", SYS_ioctl},
#endif
#ifdef SYS_link
    {"link", "link", SYS_link},
#endif
#ifdef SYS_listen
    {"listen", "listen", SYS_listen},
#endif
#ifdef SYS_lseek
    {"lseek", "lseek", SYS_lseek},
#endif
#ifdef SYS_lstat
    {"lstat", "newlstat", SYS_lstat},
#endif
#ifdef SYS_madvise
    {"madvise", "madvise", SYS_madvise},
#endif
#ifdef SYS_mkdir
    {"mkdir", "mkdir", SYS_mkdir},
#endif
#ifdef SYS_mmap
    {"mmap", "mmap", SYS_mmap},
#endif
#ifdef SYS_mprotect
    {"mprotect", "mprotect", SYS_mprotect},
#endif
#ifdef SYS_msync
    {"msync", "msync", SYS_msync},
#endif
#ifdef SYS_munmap
    {"munmap", "munmap", SYS_munmap},
#endif
#ifdef SYS_nanosleep
    {"nanosleep", "nanosleep", SYS_nanosleep},
#endif
#ifdef SYS_newfstatat
    {"newfstatat", "newfstatat", SYS_newfstatat},
#endif
#ifdef SYS_open
    {"open", "open", SYS_open},
#endif
#ifdef SYS_openat
    {"openat", "openat", SYS_openat},
#endif
#ifdef SYS_openat2
    {"openat2", "openat2", SYS_openat2},
#endif
#ifdef SYS_pipe2
    {"pipe2", "pipe2", SYS_pipe2},
#endif
#ifdef SYS_poll
    {"poll", "poll", SYS_poll},
#endif
#ifdef SYS_ppoll
    {"ppoll", "ppoll", SYS_ppoll},
#endif
#ifdef SYS_pread64
    {"pread64", "pread64", SYS_pread64},
#endif
#ifdef SYS_preadv
    {"preadv", "preadv", SYS_preadv},
#endif
#ifdef SYS_preadv2
    {"preadv2", "preadv2", SYS_preadv2},
#endif
#ifdef SYS_pselect6
    {"pselect6", "pselect6", SYS_pselect6},
#endif
#ifdef SYS_pwrite64
    {"pwrite64", "pwrite64", SYS_pwrite64},
#endif
#ifdef SYS_pwritev
    {"pwritev", "pwritev", SYS_pwritev},
#endif
#ifdef SYS_pwritev2
    {"pwritev2", "pwritev2", SYS_pwritev2},
#endif
#ifdef SYS_read
    {"read", "read", SYS_read},
#endif
#ifdef SYS_readlink
    {"readlink", "readlink", SYS_readlink},
#endif
#ifdef SYS_readv
    {"readv", "readv", SYS_readv},
#endif
#ifdef SYS_recvfrom
    {"recvfrom", "recvfrom", SYS_recvfrom},
#endif
#ifdef SYS_recvmmsg
    {"recvmmsg", "recvmmsg", SYS_recvmmsg},
#endif
#ifdef SYS_recvmsg
    {"recvmsg", "recvmsg", SYS_recvmsg},
#endif
#ifdef SYS_rename
    {"rename", "rename", SYS_rename},
#endif
#ifdef SYS_renameat2
    {"renameat2", "renameat2", SYS_renameat2},
#endif
#ifdef SYS_rmdir
    {"rmdir", "rmdir", SYS_rmdir},
#endif
#ifdef SYS_sched_yield
    {"sched_yield", "sched_yield", SYS_sched_yield},
#endif
#ifdef SYS_select
    {"select", "select", SYS_select},
#endif
#ifdef SYS_semop
    {"semop", "semop", SYS_semop},
#endif
#ifdef SYS_semtimedop
    {"semtimedop", "semtimedop", SYS_semtimedop},
#endif
#ifdef SYS_sendfile
    {"sendfile", "sendfile64", SYS_sendfile},
#endif
#ifdef SYS_sendmmsg
    {"sendmmsg", "sendmmsg", SYS_sendmmsg},
#endif
#ifdef SYS_sendmsg
    {"sendmsg", "sendmsg", SYS_sendmsg},
#endif
#ifdef SYS_sendto
    {"sendto", "sendto", SYS_sendto},
#endif
#ifdef SYS_setsockopt
    {"setsockopt", "setsockopt", SYS_setsockopt},
#endif
#ifdef SYS_shutdown
    {"shutdown", "shutdown", SYS_shutdown},
#endif
#ifdef SYS_socket
    {"socket", "socket", SYS_socket},
#endif
#ifdef SYS_splice
    {"splice", "splice", SYS_splice},
#endif
#ifdef SYS_stat
    {"stat", "newstat", SYS_stat},
#endif
#ifdef SYS_statx
    {"statx", "statx", SYS_statx},
#endif
#ifdef SYS_sync
    {"sync", "sync", SYS_sync},
#endif
#ifdef SYS_sync_file_range
    {"sync_file_range", "sync_file_range", SYS_sync_file_range},
#endif
#ifdef SYS_syncfs
    {"syncfs", "syncfs", SYS_syncfs},
#endif
#ifdef SYS_tee
    {"tee", "tee", SYS_tee},
#endif
#ifdef SYS_truncate
    {"truncate", "truncate", SYS_truncate},
#endif
#ifdef SYS_unlink
    {"unlink", "unlink", SYS_unlink},
#endif
#ifdef SYS_unlinkat
    {"unlinkat", "unlinkat", SYS_unlinkat},
#endif
#ifdef SYS_vmsplice
    {"vmsplice", "vmsplice", SYS_vmsplice},
#endif
#ifdef SYS_wait4
    {"wait4", "wait4", SYS_wait4},
#endif
#ifdef SYS_waitid
    {"waitid", "waitid", SYS_waitid},
#endif
#ifdef SYS_write
    {"write", "write", SYS_write},
#endif
#ifdef SYS_writev
    {"writev", "writev", SYS_writev},
#endif
};

}  // namespace

std::span<const NamedSyscall> MeasurableSyscalls() { return kSyscalls; }

const NamedSyscall* FindSyscall(std::string_view name) {
  for (const NamedSyscall& call : kSyscalls) {
    if (call.name == name) return &call;
  }
  return nullptr;
}

std::string SyscallName(uint32_t number) {
  for (const NamedSyscall& call : kSyscalls) {
    if (call.number == number) return std::string(call.name);
  }
  return "syscall_" + std::to_string(number);
}

std::string ErrnoName(uint32_t error) {
  // include/linux/errno.h: what a program never sees, since the call is begun anew or ends with EINTR.
  switch (error) {
    case 512:
      return "ERESTARTSYS";
    case 513:
      return "ERESTARTNOINTR";
    case 514:
      return "ERESTARTNOHAND";
    case 516:
      return "ERESTART_RESTARTBLOCK";
    default:
      break;
  }
  const char* name = ::strerrorname_np(static_cast<int>(error));
  return name != nullptr ? std::string(name) : "errno_" + std::to_string(error);
}

}  // namespace zerotap
