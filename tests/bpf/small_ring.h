// io_uring without its library: submissions one at a time.
#pragma once

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "agent/base/unique_fd.h"

namespace zerotap {

class SmallRing {
 public:
  explicit SmallRing(uint32_t flags = 0) {
    io_uring_params parameters{};
    parameters.flags = flags;
    parameters.sq_thread_idle = 2000;
    fd_.Reset(static_cast<int>(::syscall(SYS_io_uring_setup, 4, &parameters)));
    error_ = fd_ ? 0 : errno;
    if (!fd_) return;
    offsets_ = parameters;
    size_t size = parameters.sq_off.array + parameters.sq_entries * sizeof(uint32_t);
    size_t completion_size = parameters.cq_off.cqes + parameters.cq_entries * sizeof(io_uring_cqe);
    submission_ = Map(size, IORING_OFF_SQ_RING);
    completion_ = Map(completion_size, IORING_OFF_CQ_RING);
    entries_ = reinterpret_cast<io_uring_sqe*>(
        Map(parameters.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
  }
  explicit operator bool() const { return static_cast<bool>(fd_) && entries_ != nullptr; }
  int error() const { return error_; }

  // What the operation returned; `flags` are IOSQE_*.
  int Run(uint8_t opcode, int fd, void* buffer, uint32_t size, uint8_t flags = 0) {
    int submitted = Submit(opcode, fd, buffer, size, flags);
    return submitted < 0 ? submitted : Wait();
  }

  int Submit(uint8_t opcode, int fd, void* buffer, uint32_t size, uint8_t flags = 0) {
    uint32_t& tail = *At(submission_, offsets_.sq_off.tail);
    uint32_t index = tail & *At(submission_, offsets_.sq_off.ring_mask);
    std::memset(&entries_[index], 0, sizeof(entries_[index]));
    entries_[index].opcode = opcode;
    entries_[index].flags = flags;
    entries_[index].fd = fd;
    entries_[index].addr = reinterpret_cast<uint64_t>(buffer);
    entries_[index].len = size;
    At(submission_, offsets_.sq_off.array)[index] = index;
    __atomic_store_n(&tail, tail + 1, __ATOMIC_RELEASE);
    if ((offsets_.flags & IORING_SETUP_SQPOLL) != 0) {
      // The kernel's thread takes it, if it is awake.
      if ((__atomic_load_n(At(submission_, offsets_.sq_off.flags), __ATOMIC_ACQUIRE) &
           IORING_SQ_NEED_WAKEUP) == 0)
        return 0;
      return Enter(1, 0, IORING_ENTER_SQ_WAKEUP);
    }
    return Enter(1, 0, 0);
  }

  int Wait() {
    uint32_t& head = *At(completion_, offsets_.cq_off.head);
    uint32_t* tail = At(completion_, offsets_.cq_off.tail);
    while (__atomic_load_n(tail, __ATOMIC_ACQUIRE) == head) {
      int waited = Enter(0, 1, IORING_ENTER_GETEVENTS);
      if (waited < 0 && waited != -EINTR) return waited;
    }
    auto* completions = reinterpret_cast<io_uring_cqe*>(completion_ + offsets_.cq_off.cqes);
    int result = completions[head & *At(completion_, offsets_.cq_off.ring_mask)].res;
    __atomic_store_n(&head, head + 1, __ATOMIC_RELEASE);
    return result;
  }

 private:
  int Enter(unsigned submit, unsigned complete, unsigned flags) {
    long result =
        ::syscall(SYS_io_uring_enter, fd_.get(), submit, complete, flags, nullptr, 0);
    return result < 0 ? -errno : static_cast<int>(result);
  }
  char* Map(size_t size, off_t offset) {
    void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), offset);
    return address == MAP_FAILED ? nullptr
                                 : static_cast<char*>(address);  // for the test's lifetime
  }
  static uint32_t* At(char* base, uint32_t offset) {
    return reinterpret_cast<uint32_t*>(base + offset);
  }
  UniqueFd fd_;
  int error_ = 0;
  io_uring_params offsets_{};
  char* submission_ = nullptr;
  char* completion_ = nullptr;
  io_uring_sqe* entries_ = nullptr;
};

}  // namespace zerotap
