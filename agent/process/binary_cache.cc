#include "agent/process/binary_cache.h"

#include <sys/stat.h>

#include <iterator>

namespace zerotap {

BinaryFacts BinaryCache::Inspect(std::string_view executable, const std::string& file) {
  BinaryFacts named;
  named.runtime = RuntimeFromName(executable);
  // Interpreters are known by name: nothing to read.
  if (named.runtime != RuntimeKind::kNative || capacity_ == 0) return named;
  struct stat info{};
  if (stat(file.c_str(), &info) != 0) return named;
  Key key(info.st_dev, info.st_ino, info.st_size, info.st_mtim.tv_sec,
          info.st_mtim.tv_nsec ^ info.st_ctim.tv_nsec, std::string(executable));
  auto known = entries_.find(key);
  if (known != entries_.end()) {
    order_.splice(order_.end(), order_, known->second.order);
    return known->second.facts;
  }
  if (entries_.size() >= capacity_) {
    entries_.erase(order_.front());
    order_.pop_front();
  }
  BinaryFacts facts = InspectBinary(executable, file);
  order_.push_back(key);
  entries_.emplace(std::move(key), Entry{facts, std::prev(order_.end())});
  return facts;
}

}  // namespace zerotap
