#include "agent/protocols/http1_fields.h"

#include <algorithm>

namespace zerotap {
namespace {

std::string_view TrimBlanks(std::string_view text) {
  auto space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

bool IsHexDigit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// An address or a host name as a proxy may put it there.
bool IsNode(std::string_view text) {
  constexpr size_t kMaxBytes = 253;
  if (text.empty() || text.size() > kMaxBytes || text.front() == '_') return false;
  auto plausible = [](char c) {
    return IsHexDigit(c) || (c >= 'g' && c <= 'z') || (c >= 'G' && c <= 'Z') || c == '.' ||
           c == ':' || c == '-' || c == '%' || c == '_';
  };
  if (!std::all_of(text.begin(), text.end(), plausible)) return false;
  return text != "unknown" && text != "Unknown" && text != "UNKNOWN";
}

// "1.2.3.4:80", "[::1]:80", "::1", "host" without their port.
std::string_view NodeWithoutPort(std::string_view text) {
  text = TrimBlanks(text);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    text = TrimBlanks(text.substr(1, text.size() - 2));
  }
  if (!text.empty() && text.front() == '[') {
    size_t end = text.find(']');
    text = end == std::string_view::npos ? std::string_view() : text.substr(1, end - 1);
  } else if (size_t colon = text.find(':'); colon != std::string_view::npos) {
    bool only_one = text.find(':', colon + 1) == std::string_view::npos;
    if (only_one) text = text.substr(0, colon);
  }
  return IsNode(text) ? text : std::string_view();
}

// Up to the separator that is not inside quotes.
std::string_view UpTo(std::string_view text, char separator) {
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && quoted) {
      ++i;
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (text[i] == separator && !quoted) {
      return text.substr(0, i);
    }
  }
  return text;
}

bool IsHex(std::string_view text) { return std::all_of(text.begin(), text.end(), IsHexDigit); }
bool IsB3TraceId(std::string_view text) {
  return (text.size() == 16 || text.size() == 32) && IsHex(text);
}
bool IsB3SpanId(std::string_view text) { return text.size() == 16 && IsHex(text); }

}  // namespace

std::string_view ForwardedClient(std::string_view forwarded, std::string_view x_forwarded_for) {
  std::string_view element = UpTo(forwarded, ',');
  while (!element.empty()) {
    std::string_view pair = UpTo(element, ';');
    element.remove_prefix(std::min(element.size(), pair.size() + 1));
    pair = TrimBlanks(pair);
    if (pair.size() < 4 || (pair[0] | 0x20) != 'f' || (pair[1] | 0x20) != 'o' ||
        (pair[2] | 0x20) != 'r') {
      continue;
    }
    std::string_view value = TrimBlanks(pair.substr(3));
    if (value.empty() || value.front() != '=') continue;
    std::string_view node = NodeWithoutPort(value.substr(1));
    if (!node.empty()) return node;
  }
  return NodeWithoutPort(x_forwarded_for.substr(0, x_forwarded_for.find(',')));
}

B3Ids ReadB3(std::string_view b3, std::string_view x_trace_id, std::string_view x_span_id) {
  if (size_t dash = b3.find('-'); dash != std::string_view::npos) {
    B3Ids ids{b3.substr(0, dash), b3.substr(dash + 1, 16)};
    bool ends = b3.size() <= dash + 17 || b3[dash + 17] == '-';
    if (ends && IsB3TraceId(ids.trace_id) && IsB3SpanId(ids.span_id)) return ids;
  }
  if (IsB3TraceId(x_trace_id) && IsB3SpanId(x_span_id)) return {x_trace_id, x_span_id};
  return {};
}

std::string_view TargetAuthority(std::string_view target) {
  if (target.starts_with('/')) return {};
  size_t scheme = target.find("://");
  if (scheme == std::string_view::npos || scheme == 0 || scheme > 16) return {};
  // A "://" inside a path or a query does not make an absolute form.
  if (target.substr(0, scheme).find_first_of("/?*#") != std::string_view::npos) return {};
  std::string_view rest = target.substr(scheme + 3);
  std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
  size_t at = authority.rfind('@');
  return at == std::string_view::npos ? authority : authority.substr(at + 1);
}

}  // namespace zerotap
