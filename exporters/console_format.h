// How spans and RED tables look on a terminal. Pure: the same input gives the same text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/telemetry/span.h"

namespace zerotap {

// One span, ready but for its place in the tree. Everything in it is printable.
struct ConsoleLine {
  TraceId trace_id;
  SpanId span_id;
  SpanId parent_span_id;
  uint64_t start_unix_ns = 0;
  SpanKind kind = SpanKind::kInternal;
  bool error = false;
  int http_status = 0;
  uint64_t duration_ns = 0;
  std::string service;  // with the pid
  std::string name;
  std::string status;
  std::string peer;
  std::string details;  // SQL, path or URL
};

ConsoleLine MakeConsoleLine(const Span& span, size_t max_details_columns);

// One row of the RED table.
struct RedRow {
  std::string service;
  std::string operation;
  SpanKind kind = SpanKind::kInternal;
  uint64_t count = 0;
  uint64_t errors = 0;
  double mean_seconds = 0;
  double p95_seconds = 0;
};

class ConsoleFormat {
 public:
  explicit ConsoleFormat(bool color) : color_(color) {}

  std::string Header() const;
  // `depth`: steps below the root. `parent_unseen`: it has a parent that was not printed.
  void AppendSpan(const ConsoleLine& line, size_t depth, bool parent_unseen,
                  std::string& out) const;
  // The busiest `max_rows` rows, over `seconds`. Empty without rows.
  std::string RedTable(std::vector<RedRow> rows, double seconds, size_t max_rows) const;

 private:
  void Paint(std::string_view code, std::string_view text, std::string& out) const;

  const bool color_;
};

// "87 µs", "1.24 ms", "12.3 s", "2m03s".
std::string FormatSpanDuration(uint64_t nanoseconds);

}  // namespace zerotap
