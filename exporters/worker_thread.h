// A thread that can be waited for with a deadline. Signals stay with the threads that handle them,
// so it blocks all.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace zerotap {

class WorkerThread {
 public:
  // `name`: at most 15 characters, as ps shows it.
  WorkerThread(const char* name, std::function<void()> body) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // the new thread inherits it
    thread_ = std::thread([this, name, body = std::move(body)] {
      pthread_setname_np(pthread_self(), name);
      body();
      std::lock_guard lock(mutex_);
      done_ = true;
      finished_.notify_all();
    });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ~WorkerThread() { Join(); }
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;

  // False when the thread still runs at the deadline.
  bool WaitUntil(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    return finished_.wait_until(lock, deadline, [this] { return done_; });
  }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable finished_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace zerotap
