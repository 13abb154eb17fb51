// Facts of executables, read once per file however many processes run it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <tuple>

#include "symbolizers/runtime_kind.h"

namespace zerotap {

// Keyed by device, inode, size and change times, so a replaced or rewritten file is another one.
// Single-threaded.
class BinaryCache {
 public:
  explicit BinaryCache(size_t capacity = 256) : capacity_(capacity) {}

  // `executable` is the path as the process sees it, `file` is where to open it.
  BinaryFacts Inspect(std::string_view executable, const std::string& file);
  size_t size() const { return entries_.size(); }

 private:
  // The name is part of the key: one file under several names may be several programs.
  using Key = std::tuple<uint64_t, uint64_t, int64_t, int64_t, int64_t, std::string>;
  struct Entry {
    BinaryFacts facts;
    std::list<Key>::iterator order;
  };

  size_t capacity_;
  std::map<Key, Entry> entries_;
  std::list<Key> order_;  // least recently used first
};

}  // namespace zerotap
