// Ways in which the shards of a pipeline may be run, from tame to wild: RunShards for tests.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "agent/pipeline/pipeline.h"

namespace zerotap::testing {

// One after the other in any order.
inline RunShards RunShuffled(uint32_t seed) {
  return [random = std::mt19937(seed)](size_t count, const std::function<void(size_t)>& job) mutable {
    std::vector<size_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    for (size_t i : order) job(i);
  };
}

// At the same time, each begun when it likes. `runs` counts how often.
inline RunShards RunInThreads(uint32_t seed, uint64_t* runs = nullptr) {
  return [random = std::mt19937(seed), runs](size_t count, const std::function<void(size_t)>& job) mutable {
    if (runs != nullptr) ++*runs;
    std::vector<std::thread> threads;
    for (size_t i = 0; i < count; ++i) {
      const auto stall = std::chrono::microseconds(random() % 4 == 0 ? random() % 300 : 0);
      threads.emplace_back([&job, i, stall] {
        if (stall.count() > 0) std::this_thread::sleep_for(stall);
        job(i);
      });
    }
    for (std::thread& thread : threads) thread.join();
  };
}

}  // namespace zerotap::testing
