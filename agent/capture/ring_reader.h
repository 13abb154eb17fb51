// Reads a BPF ring buffer, mapped once. libbpf maps its data twice in a row, so that a record which goes on at the
// beginning needs no copy; every page then counts twice in the process's resident memory. Here such a record, one in a
// whole turn of the ring, is copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "agent/base/result.h"
#include "agent/capture/mapping.h"

namespace zerotap {

class RingReader {
 public:
  // `fd` is the ring's map, `bytes` its size; both must be as the kernel has them.
  static Result<RingReader> Create(int fd, size_t bytes);

  // Hands the records to `take(const void* data, size_t size)`, in order, until it returns false or there is no more.
  template <typename Take>
  void Consume(const Take& take) {
    uint64_t position = __atomic_load_n(consumer(), __ATOMIC_RELAXED);  // only written here
    while (true) {
      // The writers' line is looked at once for all that it tells of.
      const uint64_t end = __atomic_load_n(producer(), __ATOMIC_ACQUIRE);
      if (position >= end) return;
      while (position < end) {
        const auto* header = reinterpret_cast<const uint32_t*>(data() + (position & (size_ - 1)));
        const uint32_t word = __atomic_load_n(header, __ATOMIC_ACQUIRE);
        if ((word & kBusy) != 0) return;
        const size_t length = word & ~(kBusy | kDiscarded);
        const bool goes_on = (word & kDiscarded) != 0 || take(Contents(position + kHeaderSize, length), length);
        position += (length + kHeaderSize + 7) & ~uint64_t{7};
        __atomic_store_n(consumer(), position, __ATOMIC_RELEASE);
        if (!goes_on) return;
      }
    }
  }

  size_t size() const { return size_; }
  // Written and not read. From any thread.
  uint64_t used_bytes() const;

 private:
  static constexpr uint32_t kBusy = 1u << 31;
  static constexpr uint32_t kDiscarded = 1u << 30;
  static constexpr size_t kHeaderSize = 8;

  RingReader(Mapping consumer, Mapping producer, size_t page, size_t size)
      : consumer_(std::move(consumer)), producer_(std::move(producer)), page_(page), size_(size) {}

  uint64_t* consumer() const { return consumer_.As<uint64_t>(); }
  const uint64_t* producer() const { return producer_.As<uint64_t>(); }
  const char* data() const { return producer_.As<char>() + page_; }
  // Headers never go over the end: all sizes are multiples of theirs.
  const void* Contents(uint64_t position, size_t length);

  Mapping consumer_;
  Mapping producer_;  // its page, then the data
  size_t page_;
  size_t size_;
  std::vector<char> joined_;  // of operator new: aligned for every record
};

}  // namespace zerotap
