// Threads that help the pipeline's thread with its shards. They have nothing to do but when it asks for it, and it goes on
// when they are done: what they work on is then its own again, so that nothing else needs a lock.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace zerotap {

class ShardThreads {
 public:
  // So many besides the one that calls Run.
  explicit ShardThreads(size_t helpers);
  ~ShardThreads();
  ShardThreads(const ShardThreads&) = delete;
  ShardThreads& operator=(const ShardThreads&) = delete;

  // Calls `job` with 0 to `count` - 1, each once, here and on whichever threads are awake by then. Returns when all calls
  // have. From one thread.
  void Run(size_t count, const std::function<void(size_t)>& job);

 private:
  void Help(size_t number);
  void TakeTurns(size_t count, const std::function<void(size_t)>& job);

  std::atomic<size_t> next_{0};  // job of the round
  std::mutex mutex_;             // guards what follows
  std::condition_variable wake_;
  std::condition_variable idle_;
  const std::function<void(size_t)>* job_ = nullptr;  // null: the round is over
  size_t count_ = 0;
  uint64_t round_ = 0;
  size_t helping_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace zerotap
