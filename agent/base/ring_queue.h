// First in, first out, in one block of memory that grows and is used again. std::deque asks for a block every few entries,
// for ever.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

namespace zerotap {

template <typename T>
class RingQueue {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  T& front() { return entries_[first_]; }
  const T& front() const { return entries_[first_]; }

  void push_back(const T& value) {
    if (size_ == entries_.size()) Grow();
    entries_[(first_ + size_) & (entries_.size() - 1)] = value;
    ++size_;
  }
  void pop_front() {
    first_ = (first_ + 1) & (entries_.size() - 1);
    --size_;
    // What a burst needed is given back.
    if (size_ == 0 && entries_.size() > kMaxKept) clear();
  }
  void clear() {
    std::vector<T>().swap(entries_);
    first_ = size_ = 0;
  }

 private:
  static constexpr size_t kMinimum = 16;
  static constexpr size_t kMaxKept = 16384;

  void Grow() {
    std::vector<T> larger(entries_.empty() ? kMinimum : 2 * entries_.size());
    for (size_t i = 0; i < size_; ++i) larger[i] = entries_[(first_ + i) & (entries_.size() - 1)];
    entries_.swap(larger);
    first_ = 0;
  }

  std::vector<T> entries_;  // a power of two, or none
  size_t first_ = 0;
  size_t size_ = 0;
};

}  // namespace zerotap
