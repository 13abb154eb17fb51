#include "agent/protocols/otlp_export.h"

#include <algorithm>

namespace zerotap {
namespace {

bool StartsWithoutCase(std::string_view text, std::string_view lower) {
  if (text.size() < lower.size()) return false;
  for (size_t i = 0; i < lower.size(); ++i) {
    const char c = text[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c) != lower[i]) return false;
  }
  return true;
}

// "application/json; charset=utf-8" is application/json, "application/jsonl" is not.
bool IsMediaType(std::string_view value, std::string_view type) {
  if (!StartsWithoutCase(value, type)) return false;
  return value.size() == type.size() ||
         std::string_view("; \t").find(value[type.size()]) != std::string_view::npos;
}

}  // namespace

OtlpExport OtlpExportOf(std::string_view method, std::string_view target,
                        std::string_view content_type) {
  if (method != "POST") return OtlpExport::kNone;
  std::string_view path = target.substr(0, target.find_first_of("?#"));
  if (IsMediaType(content_type, "application/json")) {
    // Other programs have a /api/v1/logs that takes JSON too.
    if (path.starts_with("/otlp/")) path.remove_prefix(std::string_view("/otlp").size());
    if (std::count(path.begin(), path.end(), '/') != 2) return OtlpExport::kNone;
  } else if (!IsMediaType(content_type, "application/x-protobuf")) {
    return OtlpExport::kNone;
  }
  if (path.ends_with("/v1/traces")) return OtlpExport::kTraces;
  if (path.ends_with("/v1/metrics")) return OtlpExport::kMetrics;
  if (path.ends_with("/v1/logs")) return OtlpExport::kLogs;
  return OtlpExport::kNone;
}

}  // namespace zerotap
