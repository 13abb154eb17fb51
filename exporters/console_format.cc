#include "exporters/console_format.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <optional>
#include <variant>

#include "agent/telemetry/semconv.h"
#include "exporters/printable.h"

namespace zerotap {
namespace {

constexpr std::string_view kDim = "2";
constexpr std::string_view kBold = "1";
constexpr std::string_view kRed = "31";
constexpr std::string_view kGreen = "32";
constexpr std::string_view kYellow = "33";
constexpr std::string_view kCyan = "36";

constexpr size_t kServiceColumns = 22;
constexpr size_t kNameColumns = 44;
constexpr size_t kStatusColumns = 8;
constexpr size_t kPeerColumns = 22;
constexpr size_t kMaxDepth = 12;  // of the indentation

std::optional<int64_t> FindInt(const AttributeSet& attributes, std::string_view key) {
  for (size_t i = 0; i < attributes.size(); ++i) {
    Attribute attribute = attributes[i];
    if (attribute.key != key) continue;
    if (const auto* number = std::get_if<int64_t>(&attribute.value)) return *number;
  }
  return std::nullopt;
}

std::string_view Arrow(SpanKind kind) {
  switch (kind) {
    case SpanKind::kServer:
    case SpanKind::kConsumer:
      return "\u2190";  // comes in
    case SpanKind::kClient:
    case SpanKind::kProducer:
      return "\u2192";  // goes out
    case SpanKind::kInternal:
      break;
  }
  return "\u00b7";
}

// Code points, which is how AppendPrintable counts columns.
size_t Columns(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string PadRight(std::string text, size_t columns) {
  size_t used = Columns(text);
  if (used < columns) text.append(columns - used, ' ');
  return text;
}
std::string PadLeft(std::string text, size_t columns) {
  size_t used = Columns(text);
  if (used < columns) text.insert(0, columns - used, ' ');
  return text;
}

// SQL is often written over many lines.
std::string CollapseSpace(std::string_view text) {
  std::string result;
  for (char c : text) {
    bool space = c == ' ' || c == '\n' || c == '\t' || c == '\r';
    if (space && (result.empty() || result.back() == ' ')) continue;
    result += space ? ' ' : c;
  }
  return result;
}

std::string TimeOfDay(uint64_t unix_ns) {
  auto seconds = static_cast<time_t>(unix_ns / 1'000'000'000u);
  std::tm parts{};
  localtime_r(&seconds, &parts);
  char text[32];
  std::snprintf(text, sizeof(text), "%02d:%02d:%02d.%03d", parts.tm_hour, parts.tm_min,
                parts.tm_sec, static_cast<int>(unix_ns / 1'000'000u % 1000));
  return text;
}

std::string StatusText(const Span& span, int http_status) {
  if (http_status != 0) return std::to_string(http_status);
  std::string_view code = span.attributes.FindText(semconv::kDbResponseStatusCode);
  if (code.empty()) code = span.attributes.FindText(semconv::kErrorType);
  // "closed" and "reset" are told apart in a narrow column.
  constexpr std::string_view kConnection = "connection_";
  if (code.substr(0, kConnection.size()) == kConnection) code.remove_prefix(kConnection.size());
  if (!code.empty()) return Printable(code, kStatusColumns);
  return span.status == SpanStatus::kError ? "error" : "ok";
}

std::string PeerText(const Span& span) {
  const AttributeSet& attributes = span.attributes;
  if (span.kind == SpanKind::kServer) {
    std::string_view address = attributes.FindText(semconv::kClientAddress);
    if (address.empty()) address = attributes.FindText(semconv::kNetworkPeerAddress);
    return Printable(address, kPeerColumns);
  }
  std::string address(attributes.FindText(semconv::kServerAddress));
  std::optional<int64_t> port = FindInt(attributes, semconv::kServerPort);
  if (address.empty()) {
    address = attributes.FindText(semconv::kNetworkPeerAddress);
    port = FindInt(attributes, semconv::kNetworkPeerPort);
  }
  if (port && !address.empty()) address += ":" + std::to_string(*port);
  return Printable(address, kPeerColumns);
}

std::string DetailsText(const Span& span, size_t max_columns) {
  const AttributeSet& attributes = span.attributes;
  std::string_view sql = attributes.FindText(semconv::kDbQueryText);
  if (!sql.empty()) return Printable(CollapseSpace(sql), max_columns);
  std::string_view url = attributes.FindText(semconv::kUrlFull);
  if (!url.empty()) return Printable(url, max_columns);
  std::string path(attributes.FindText(semconv::kUrlPath));
  std::string_view query = attributes.FindText(semconv::kUrlQuery);
  if (!query.empty()) path.append("?").append(query);
  return Printable(path, max_columns);
}

}  // namespace

std::string FormatSpanDuration(uint64_t nanoseconds) {
  char text[48];
  auto value = static_cast<double>(nanoseconds);
  if (nanoseconds < 999'500) {
    std::snprintf(text, sizeof(text), "%.0f \u00b5s", value / 1e3);
  } else if (nanoseconds < 9'995'000) {
    std::snprintf(text, sizeof(text), "%.2f ms", value / 1e6);
  } else if (nanoseconds < 99'950'000) {
    std::snprintf(text, sizeof(text), "%.1f ms", value / 1e6);
  } else if (nanoseconds < 999'500'000) {
    std::snprintf(text, sizeof(text), "%.0f ms", value / 1e6);
  } else if (nanoseconds < 59'950'000'000) {
    std::snprintf(text, sizeof(text), nanoseconds < 9'995'000'000 ? "%.2f s" : "%.1f s",
                  value / 1e9);
  } else {
    uint64_t seconds = (nanoseconds + 500'000'000) / 1'000'000'000;
    std::snprintf(text, sizeof(text), "%" PRIu64 "m%02" PRIu64 "s", seconds / 60, seconds % 60);
  }
  return text;
}

ConsoleLine MakeConsoleLine(const Span& span, size_t max_details_columns) {
  ConsoleLine line;
  line.trace_id = span.trace_id;
  line.span_id = span.span_id;
  line.parent_span_id = span.parent_span_id;
  line.start_unix_ns = span.start_unix_ns;
  line.kind = span.kind;
  line.error = span.status == SpanStatus::kError;
  line.duration_ns =
      span.end_unix_ns > span.start_unix_ns ? span.end_unix_ns - span.start_unix_ns : 0;
  line.http_status =
      static_cast<int>(FindInt(span.attributes, semconv::kHttpResponseStatusCode).value_or(0));
  if (span.resource != nullptr) {
    std::string pid = " (" + std::to_string(span.resource->pid) + ")";
    size_t room = kServiceColumns > pid.size() ? kServiceColumns - pid.size() : 1;
    line.service = Printable(span.resource->service_name, room) + pid;
  }
  line.name = Printable(span.name, kNameColumns);
  line.status = StatusText(span, line.http_status);
  line.peer = PeerText(span);
  line.details = DetailsText(span, max_details_columns);
  return line;
}

void ConsoleFormat::Paint(std::string_view code, std::string_view text, std::string& out) const {
  if (!color_) {
    out += text;
    return;
  }
  out.append("\x1b[").append(code).append("m").append(text).append("\x1b[0m");
}

std::string ConsoleFormat::Header() const {
  std::string text = PadRight("TIME", 12) + "  " + PadLeft("DURATION", 8) + "  " +
                     PadRight("SERVICE (PID)", kServiceColumns) + "  " +
                     PadRight("SPAN", kNameColumns) + "  " + PadRight("STATUS", kStatusColumns) +
                     "  " + PadRight("PEER", kPeerColumns) + "  DETAILS";
  std::string out;
  Paint(kDim, text, out);
  out += '\n';
  return out;
}

void ConsoleFormat::AppendSpan(const ConsoleLine& line, size_t depth, bool parent_unseen,
                               std::string& out) const {
  Paint(kDim, TimeOfDay(line.start_unix_ns), out);
  out += "  ";
  Paint(line.duration_ns >= 1'000'000'000 ? kYellow : kBold,
        PadLeft(FormatSpanDuration(line.duration_ns), 8), out);
  out += "  ";
  Paint(kCyan, PadRight(line.service, kServiceColumns), out);
  out += "  ";

  std::string name(2 * std::min(depth, kMaxDepth), ' ');
  if (parent_unseen) name += "\u2026 ";
  name.append(Arrow(line.kind)).append(" ").append(line.name);
  // What is already printable only needs cutting here.
  out += PadRight(Printable(name, kNameColumns), kNameColumns);
  out += "  ";

  bool client_error = line.http_status >= 400 && line.http_status < 500;
  std::string_view color = line.error ? kRed : client_error ? kYellow : kGreen;
  Paint(color, PadRight(line.status, kStatusColumns), out);
  std::string tail = "  " + PadRight(line.peer, kPeerColumns) + "  " + line.details;
  tail.erase(tail.find_last_not_of(' ') + 1);
  if (!tail.empty()) Paint(kDim, tail, out);
  out += '\n';
}

std::string ConsoleFormat::RedTable(std::vector<RedRow> rows, double seconds,
                                    size_t max_rows) const {
  if (rows.empty() || seconds <= 0) return {};
  std::stable_sort(rows.begin(), rows.end(),
                   [](const RedRow& a, const RedRow& b) { return a.count > b.count; });
  std::string out;
  char text[64];
  std::snprintf(text, sizeof(text), "LAST %.0f s", seconds);
  Paint(kDim,
        PadRight(text, 12) + "  " + PadRight("SERVICE", kServiceColumns) + "  " +
            PadRight("OPERATION", kNameColumns) + "  " + PadLeft("RATE", 10) + "  " +
            PadLeft("ERRORS", 8) + "  " + PadLeft("MEAN", 8) + "  " + PadLeft("~P95", 8),
        out);
  out += '\n';
  size_t shown = std::min(rows.size(), max_rows);
  for (size_t i = 0; i < shown; ++i) {
    const RedRow& row = rows[i];
    out += std::string(14, ' ');
    Paint(kCyan, PadRight(Printable(row.service, kServiceColumns), kServiceColumns), out);
    std::string operation(Arrow(row.kind));
    operation.append(" ").append(row.operation);
    out += "  " + PadRight(Printable(operation, kNameColumns), kNameColumns);
    std::snprintf(text, sizeof(text), "  %8.1f/s  ", static_cast<double>(row.count) / seconds);
    out += text;
    double percent = row.count == 0
                         ? 0
                         : 100.0 * static_cast<double>(row.errors) / static_cast<double>(row.count);
    std::snprintf(text, sizeof(text), "%6.1f %%", percent);
    Paint(row.errors > 0 ? kRed : kGreen, text, out);
    for (double value : {row.mean_seconds, row.p95_seconds}) {
      out += "  " + PadLeft(FormatSpanDuration(static_cast<uint64_t>(value * 1e9)), 8);
    }
    out += '\n';
  }
  if (rows.size() > shown) {
    Paint(kDim, std::string(14, ' ') + "and " + std::to_string(rows.size() - shown) + " more", out);
    out += '\n';
  }
  return out;
}

}  // namespace zerotap
