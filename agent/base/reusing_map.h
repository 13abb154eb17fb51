// A hash map whose entries come and go all the time: what erased ones held is kept for the next ones, so that steady traffic
// allocates nothing. Only keys and values that need no memory of their own.
#pragma once

#include <cstddef>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace zerotap {

template <typename Key, typename Value, typename Hash = std::hash<Key>>
class ReusingMap {
  static_assert(std::is_trivially_destructible_v<Key> && std::is_trivially_destructible_v<Value>);
  using Map = std::unordered_map<Key, Value, Hash>;

 public:
  using iterator = typename Map::iterator;
  using const_iterator = typename Map::const_iterator;

  iterator find(const Key& key) { return map_.find(key); }
  const_iterator find(const Key& key) const { return map_.find(key); }
  bool contains(const Key& key) const { return map_.contains(key); }
  iterator begin() { return map_.begin(); }
  iterator end() { return map_.end(); }
  const_iterator begin() const { return map_.begin(); }
  const_iterator end() const { return map_.end(); }
  size_t size() const { return map_.size(); }
  bool empty() const { return map_.empty(); }

  // As std::unordered_map::try_emplace.
  std::pair<iterator, bool> try_emplace(const Key& key, const Value& value = {}) {
    if (spare_.empty()) return map_.try_emplace(key, value);
    auto& node = spare_.back();
    node.key() = key;
    node.mapped() = value;
    auto inserted = map_.insert(std::move(node));
    if (inserted.inserted) {
      spare_.pop_back();
    } else {
      node = std::move(inserted.node);
    }
    return {inserted.position, inserted.inserted};
  }
  Value& operator[](const Key& key) { return try_emplace(key).first->second; }

  void erase(const_iterator entry) {
    auto node = map_.extract(entry);
    if (spare_.size() < kMaxSpare) spare_.push_back(std::move(node));
  }
  void erase(const Key& key) {
    auto found = map_.find(key);
    if (found != map_.end()) erase(const_iterator(found));
  }
  void clear() {
    map_.clear();
    spare_.clear();
  }

 private:
  static constexpr size_t kMaxSpare = 1024;
  Map map_;
  std::vector<typename Map::node_type> spare_;
};

}  // namespace zerotap
