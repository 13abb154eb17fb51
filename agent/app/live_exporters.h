// The exporters in force. They can be replaced while spans come: the former ones end in the
// background, and their counts stay in the sums.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "agent/app/exporter_set.h"

namespace zerotap {

class LiveExporters {
 public:
  // `ledger` must outlive it.
  static Result<std::unique_ptr<LiveExporters>> Create(const Config& config, Ledger& ledger);

  // From one thread; never wait for a receiver.
  void PushSpans(std::vector<Span>&& spans);
  void PushMetrics(std::vector<Metric>&& metrics);

  // Those that a changed configuration asks for. Nothing changes yet.
  Result<std::shared_ptr<ExporterSet>> Prepare(const Config& config);
  // From one other thread. Spans that wait go to the new ones (ExporterSet::HandOver). The former
  // ones have `patience` for what is on its way.
  void Replace(std::shared_ptr<ExporterSet> next, std::chrono::milliseconds patience);

  // Afterwards nothing may be pushed.
  void Shutdown(std::chrono::steady_clock::time_point deadline);

  // Any thread.
  std::vector<ExporterCounts> Counts() const;

 private:
  struct Former {
    std::shared_ptr<ExporterSet> set;
    std::thread sending;
    std::shared_ptr<std::atomic<bool>> done;
  };
  void ForgetDone();

  LiveExporters(std::unique_ptr<ExporterSet> set, Ledger& ledger)
      : ledger_(ledger), current_(std::move(set)) {}

  Ledger& ledger_;
  mutable std::mutex mutex_;  // guards what follows
  std::shared_ptr<ExporterSet> current_;
  std::vector<Former> former_;
  std::vector<ExporterCounts> past_;  // of those that are done
};

}  // namespace zerotap
