#include "agent/capture/ring_reader.h"

#include <unistd.h>

#include <cstring>
#include <utility>

namespace zerotap {

Result<RingReader> RingReader::Create(int fd, size_t bytes) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  Mapping consumer(fd, page, PROT_READ | PROT_WRITE, 0);
  if (!consumer) return FailErrno("cannot map the ring buffer's position");
  Mapping producer(fd, page + bytes, PROT_READ, static_cast<off_t>(page));
  if (!producer) return FailErrno("cannot map the ring buffer");
  return RingReader(std::move(consumer), std::move(producer), page, bytes);
}

const void* RingReader::Contents(uint64_t position, size_t length) {
  const size_t begin = position & (size_ - 1);
  if (begin + length <= size_) return data() + begin;
  const size_t first = size_ - begin;
  joined_.resize(length);
  std::memcpy(joined_.data(), data() + begin, first);
  std::memcpy(joined_.data() + first, data(), length - first);
  return joined_.data();
}

uint64_t RingReader::used_bytes() const {
  const uint64_t consumed = __atomic_load_n(consumer(), __ATOMIC_ACQUIRE);
  const uint64_t produced = __atomic_load_n(producer(), __ATOMIC_ACQUIRE);
  return produced > consumed ? produced - consumed : 0;
}

}  // namespace zerotap
