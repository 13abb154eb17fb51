// Which collectors are unreachable now, shared by the exporters of all signals so that each change
// is told once.
#pragma once

#include <mutex>
#include <set>
#include <string>

namespace zerotap::otlp {

class Reachability {
 public:
  // True when this is news.
  bool MarkUnreachable(const std::string& origin) {
    std::lock_guard lock(mutex_);
    return unreachable_.insert(origin).second;
  }
  bool MarkReachable(const std::string& origin) {
    std::lock_guard lock(mutex_);
    return unreachable_.erase(origin) > 0;
  }

 private:
  std::mutex mutex_;
  std::set<std::string> unreachable_;
};

}  // namespace zerotap::otlp
