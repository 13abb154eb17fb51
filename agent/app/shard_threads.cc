#include "agent/app/shard_threads.h"

#include <pthread.h>

#include <string>

namespace zerotap {

ShardThreads::ShardThreads(size_t helpers) {
  for (size_t i = 1; i <= helpers; ++i) {
    threads_.emplace_back([this, i] { Help(i); });
  }
}

ShardThreads::~ShardThreads() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ShardThreads::Run(size_t count, const std::function<void(size_t)>& job) {
  {
    std::lock_guard lock(mutex_);
    next_.store(0, std::memory_order_relaxed);
    job_ = &job;
    count_ = count;
    ++round_;
  }
  wake_.notify_all();
  TakeTurns(count, job);
  // Every job has been taken. Who wakes up later finds none.
  std::unique_lock lock(mutex_);
  job_ = nullptr;
  idle_.wait(lock, [this] { return helping_ == 0; });
}

void ShardThreads::TakeTurns(size_t count, const std::function<void(size_t)>& job) {
  while (true) {
    const size_t i = next_.fetch_add(1, std::memory_order_relaxed);
    if (i >= count) return;
    job(i);
  }
}

void ShardThreads::Help(size_t number) {
  pthread_setname_np(pthread_self(), ("zt-shard-" + std::to_string(number)).c_str());
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this, seen] { return stopping_ || round_ != seen; });
    if (stopping_) return;
    seen = round_;
    if (job_ == nullptr) continue;
    const std::function<void(size_t)>& job = *job_;
    const size_t count = count_;
    ++helping_;
    lock.unlock();
    TakeTurns(count, job);
    lock.lock();
    if (--helping_ == 0) idle_.notify_one();
  }
}

}  // namespace zerotap
