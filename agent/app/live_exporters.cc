#include "agent/app/live_exporters.h"

#include <utility>

namespace zerotap {
namespace {

void AddCounts(const std::vector<ExporterCounts>& from, std::vector<ExporterCounts>& to) {
  for (const ExporterCounts& counts : from) {
    ExporterCounts* sum = nullptr;
    for (ExporterCounts& other : to) {
      if (other.exporter == counts.exporter && other.signal == counts.signal) sum = &other;
    }
    if (sum == nullptr) {
      to.push_back(counts);
      continue;
    }
    sum->queued += counts.queued;
    sum->exported += counts.exported;
    sum->rejected += counts.rejected;
    sum->failed += counts.failed;
    sum->dropped += counts.dropped;
    sum->retries += counts.retries;
    sum->bytes_sent += counts.bytes_sent;
    for (const auto& [reason, items] : counts.losses) sum->losses[reason] += items;
  }
}

}  // namespace

Result<std::unique_ptr<LiveExporters>> LiveExporters::Create(const Config& config,
                                                             Ledger& ledger) {
  Result<std::unique_ptr<ExporterSet>> set = ExporterSet::Create(config, ledger);
  if (!set) return tl::unexpected<Error>(set.error());
  return std::unique_ptr<LiveExporters>(new LiveExporters(std::move(*set), ledger));
}

// With the lock: a set that is being replaced must not get spans after its shutdown began.
void LiveExporters::PushSpans(std::vector<Span>&& spans) {
  std::lock_guard lock(mutex_);
  current_->PushSpans(std::move(spans));
}

void LiveExporters::PushMetrics(std::vector<Metric>&& metrics) {
  std::lock_guard lock(mutex_);
  current_->PushMetrics(std::move(metrics));
}

Result<std::shared_ptr<ExporterSet>> LiveExporters::Prepare(const Config& config) {
  Result<std::unique_ptr<ExporterSet>> created = ExporterSet::Create(config, ledger_);
  if (!created) return tl::unexpected<Error>(created.error());
  return std::shared_ptr<ExporterSet>(std::move(*created));
}

void LiveExporters::Replace(std::shared_ptr<ExporterSet> next, std::chrono::milliseconds patience) {
  std::lock_guard lock(mutex_);
  ForgetDone();
  std::shared_ptr<ExporterSet> last = std::exchange(current_, std::move(next));
  last->HandOver(current_);
  Former former;
  former.set = last;
  former.done = std::make_shared<std::atomic<bool>>(false);
  former.sending = std::thread([last, patience, done = former.done] {
    last->Shutdown(std::chrono::steady_clock::now() + patience);
    *done = true;
  });
  former_.push_back(std::move(former));
}

void LiveExporters::ForgetDone() {
  for (Former& former : former_) {
    if (!*former.done) continue;
    former.sending.join();
    AddCounts(former.set->Counts(), past_);
    former.set.reset();
  }
  std::erase_if(former_, [](const Former& former) { return former.set == nullptr; });
}

void LiveExporters::Shutdown(std::chrono::steady_clock::time_point deadline) {
  std::vector<std::thread> threads;
  {
    std::lock_guard lock(mutex_);
    for (Former& former : former_) threads.push_back(std::move(former.sending));
  }
  current_->Shutdown(deadline);
  for (std::thread& thread : threads) {
    if (thread.joinable()) thread.join();
  }
}

std::vector<ExporterCounts> LiveExporters::Counts() const {
  std::vector<ExporterCounts> result;
  std::lock_guard lock(mutex_);
  AddCounts(current_->Counts(), result);
  for (const Former& former : former_) AddCounts(former.set->Counts(), result);
  AddCounts(past_, result);
  return result;
}

}  // namespace zerotap
