// A shared mapping that is undone with its owner.
#pragma once

#include <sys/mman.h>
#include <sys/types.h>

#include <cstddef>
#include <utility>

namespace zerotap {

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
  explicit operator bool() const { return address_ != nullptr; }
  template <typename T>
  T* As() const {
    return static_cast<T*>(address_);
  }

 private:
  size_t size_ = 0;
  void* address_ = nullptr;
};

}  // namespace zerotap
