#include "exporters/console_exporter.h"

#include <algorithm>
#include <utility>

#include "exporters/otlp/encoder.h"

namespace zerotap {
namespace {

constexpr size_t kMaxRemembered = 8192;
constexpr size_t kNone = static_cast<size_t>(-1);

}  // namespace

ConsoleSpanExporter::ConsoleSpanExporter(std::shared_ptr<ConsoleOutput> output,
                                         ConsoleOptions options)
    : output_(std::move(output)), options_(std::move(options)), format_(output_->color()) {}

ConsoleSpanExporter::~ConsoleSpanExporter() { PrintDue(options_.monotonic_ns(), true); }

ExportOutcome ConsoleSpanExporter::Export(std::span<const Span> spans) {
  uint64_t now = options_.monotonic_ns();
  if (output_->closed()) return ExportOutcome{0, 0, spans.size()};
  bool written = true;
  for (const Span& span : spans) {
    auto [found, added] = held_.try_emplace(span.trace_id);
    HeldTrace& trace = found->second;
    if (added) trace.held_since_ns = now;
    trace.lines.push_back(MakeConsoleLine(span, options_.max_details_columns));
    if (!span.parent_span_id.valid()) trace.has_root = true;
    if (++held_spans_ >= options_.max_held_spans) written = PrintDue(now, true) && written;
  }
  written = PrintDue(now, false) && written;
  return written ? ExportOutcome{spans.size(), 0, 0} : ExportOutcome{0, 0, spans.size()};
}

// Prints the traces whose root is here or that have waited long enough, earliest first.
bool ConsoleSpanExporter::PrintDue(uint64_t now_ns, bool all) {
  std::vector<std::vector<ConsoleLine>> due;
  for (auto entry = held_.begin(); entry != held_.end();) {
    HeldTrace& trace = entry->second;
    if (!all && !trace.has_root && now_ns - trace.held_since_ns < options_.hold_ns) {
      ++entry;
      continue;
    }
    std::stable_sort(trace.lines.begin(), trace.lines.end(),
                     [](const ConsoleLine& a, const ConsoleLine& b) {
                       return a.start_unix_ns < b.start_unix_ns;
                     });
    held_spans_ -= trace.lines.size();
    due.push_back(std::move(trace.lines));
    entry = held_.erase(entry);
  }
  if (due.empty()) return true;
  std::sort(due.begin(), due.end(),
            [](const std::vector<ConsoleLine>& a, const std::vector<ConsoleLine>& b) {
              const ConsoleLine& x = a.front();
              const ConsoleLine& y = b.front();
              if (x.start_unix_ns != y.start_unix_ns) return x.start_unix_ns < y.start_unix_ns;
              return x.span_id.value < y.span_id.value;
            });
  std::string out;
  if (!header_printed_) out = format_.Header();
  header_printed_ = true;
  for (std::vector<ConsoleLine>& lines : due) AppendTrace(lines, out);
  return output_->Write(out);
}

void ConsoleSpanExporter::AppendTrace(std::vector<ConsoleLine>& lines, std::string& out) {
  std::unordered_map<uint64_t, size_t> by_id;
  for (size_t i = 0; i < lines.size(); ++i) by_id.try_emplace(lines[i].span_id.value, i);
  // Children as linked lists, in order of start because `lines` is.
  std::vector<size_t> first_child(lines.size(), kNone);
  std::vector<size_t> last_child(lines.size(), kNone);
  std::vector<size_t> next_sibling(lines.size(), kNone);
  std::vector<bool> has_parent_here(lines.size(), false);
  for (size_t i = 0; i < lines.size(); ++i) {
    auto parent = by_id.find(lines[i].parent_span_id.value);
    if (!lines[i].parent_span_id.valid() || parent == by_id.end() || parent->second == i) continue;
    size_t p = parent->second;
    has_parent_here[i] = true;
    (first_child[p] == kNone ? first_child[p] : next_sibling[last_child[p]]) = i;
    last_child[p] = i;
  }

  std::vector<bool> printed(lines.size(), false);
  struct Step {
    size_t index;
    size_t depth;
  };
  auto print_tree = [&](size_t root) {
    size_t depth = 0;
    bool unseen = false;
    if (lines[root].parent_span_id.valid()) {
      auto known = printed_depths_.find(lines[root].parent_span_id.value);
      unseen = known == printed_depths_.end();
      depth = unseen ? 0 : known->second + 1;
    }
    std::vector<Step> steps{Step{root, depth}};
    while (!steps.empty()) {
      Step step = steps.back();
      steps.pop_back();
      if (printed[step.index]) continue;
      printed[step.index] = true;
      format_.AppendSpan(lines[step.index], step.depth, unseen && step.index == root, out);
      Remember(lines[step.index].span_id, step.depth);
      size_t mark = steps.size();
      for (size_t child = first_child[step.index]; child != kNone; child = next_sibling[child]) {
        steps.push_back(Step{child, step.depth + 1});
      }
      std::reverse(steps.begin() + static_cast<std::ptrdiff_t>(mark), steps.end());
    }
  };
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!has_parent_here[i]) print_tree(i);
  }
  // Spans that are their own ancestors: wrong, but not lost.
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!printed[i]) print_tree(i);
  }
}

void ConsoleSpanExporter::Remember(SpanId id, size_t depth) {
  if (printed_depths_.size() >= kMaxRemembered) printed_depths_.clear();
  printed_depths_[id.value] = depth;
}

ConsoleMetricExporter::ConsoleMetricExporter(std::shared_ptr<ConsoleOutput> output,
                                             ConsoleOptions options)
    : output_(std::move(output)),
      options_(std::move(options)),
      format_(output_->color()),
      last_printed_ns_(options_.monotonic_ns()) {}

ExportOutcome ConsoleMetricExporter::Export(std::span<const Metric> metrics) {
  uint64_t points = otlp::CountPoints(metrics);
  summary_.Add(metrics);
  uint64_t now = options_.monotonic_ns();
  uint64_t passed = now - last_printed_ns_;
  // A collection that comes a little early must not wait for the next one.
  if (passed < options_.summary_interval_ns / 10 * 9) return ExportOutcome{points, 0, 0};
  last_printed_ns_ = now;
  std::string table = format_.RedTable(summary_.Take(), static_cast<double>(passed) / 1e9,
                                       options_.max_summary_rows);
  bool written = table.empty() ? !output_->closed() : output_->Write(table);
  return written ? ExportOutcome{points, 0, 0} : ExportOutcome{0, 0, points};
}

}  // namespace zerotap
