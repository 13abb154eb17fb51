// Finds objects that live elsewhere by a number which they hold themselves. Open addressing, 9 bytes
// a place: where there are very many objects, the nodes of a std::unordered_map would weigh as much
// as what they lead to.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace zerotap {

// `KeyOf` gives an object's number, which does not change while the object is in the table.
template <typename T, typename KeyOf>
class PointerTable {
 public:
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  T* Find(uint64_t key) const {
    if (size_ == 0) return nullptr;
    const uint64_t hash = HashOf(key);
    for (size_t place = HomeOf(hash);; place = (place + 1) & mask_) {
      if (tags_[place] == kFree) return nullptr;
      if (tags_[place] == TagOf(hash) && KeyOf()(*objects_[place]) == key) return objects_[place];
    }
  }

  // Takes the place of another one with its number.
  void Put(T& object) {
    if ((size_ + 1) * 4 > tags_.size() * 3) Resize(tags_.empty() ? kLeast : 2 * tags_.size());
    const uint64_t key = KeyOf()(object);
    const uint64_t hash = HashOf(key);
    size_t place = HomeOf(hash);
    while (tags_[place] != kFree) {
      if (tags_[place] == TagOf(hash) && KeyOf()(*objects_[place]) == key) {
        objects_[place] = &object;
        return;
      }
      place = (place + 1) & mask_;
    }
    tags_[place] = TagOf(hash);
    objects_[place] = &object;
    ++size_;
  }

  // Only if it is that very object which is found by its number.
  void Erase(const T& object) {
    if (size_ == 0) return;
    size_t place = HomeOf(HashOf(KeyOf()(object)));
    while (objects_[place] != &object) {
      if (tags_[place] == kFree) return;
      place = (place + 1) & mask_;
    }
    // Those behind it move up, so that a search may end at a free place.
    for (size_t next = (place + 1) & mask_; tags_[next] != kFree; next = (next + 1) & mask_) {
      const size_t home = HomeOf(HashOf(KeyOf()(*objects_[next])));
      if (((next - home) & mask_) < ((next - place) & mask_)) continue;
      tags_[place] = tags_[next];
      objects_[place] = objects_[next];
      place = next;
    }
    tags_[place] = kFree;
    objects_[place] = nullptr;
    --size_;
    if (size_ * 8 < tags_.size() && tags_.size() > kLeast) Resize(tags_.size() / 2);
  }

  template <typename Visit>
  void ForEach(const Visit& visit) const {
    for (size_t place = 0; place < tags_.size(); ++place) {
      if (tags_[place] != kFree) visit(*objects_[place]);
    }
  }

  size_t MemorySize() const { return tags_.capacity() * (sizeof(uint8_t) + sizeof(T*)); }

 private:
  static constexpr uint8_t kFree = 0;
  static constexpr size_t kLeast = 16;

  // Knuth's multiplicative hashing: of the product the upper bits are the best.
  static uint64_t HashOf(uint64_t key) { return key * 0x9E3779B97F4A7C15ull; }
  size_t HomeOf(uint64_t hash) const { return hash >> shift_; }
  static uint8_t TagOf(uint64_t hash) { return static_cast<uint8_t>(hash >> 16 | 1); }

  void Resize(size_t places) {
    std::vector<uint8_t> tags(places, kFree);
    std::vector<T*> objects(places, nullptr);
    tags.swap(tags_);
    objects.swap(objects_);
    mask_ = places - 1;
    shift_ = static_cast<uint32_t>(64 - std::countr_zero(places));
    for (size_t i = 0; i < tags.size(); ++i) {
      if (tags[i] == kFree) continue;
      size_t place = HomeOf(HashOf(KeyOf()(*objects[i])));
      while (tags_[place] != kFree) place = (place + 1) & mask_;
      tags_[place] = tags[i];
      objects_[place] = objects[i];
    }
  }

  std::vector<uint8_t> tags_;  // a power of two, or none
  std::vector<T*> objects_;
  size_t mask_ = 0;
  uint32_t shift_ = 0;
  size_t size_ = 0;
};

}  // namespace zerotap
