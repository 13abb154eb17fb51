#include "agent/telemetry/trace_context.h"

namespace zerotap {
namespace {

constexpr char kDigits[] = "0123456789abcdef";

void AppendHex(std::string& out, uint64_t value) {
  for (int shift = 60; shift >= 0; shift -= 4) out.push_back(kDigits[(value >> shift) & 0xF]);
}

// Lower-case only: section 3.2.2.3 forbids upper-case digits.
std::optional<uint64_t> ParseHex(std::string_view text) {
  uint64_t value = 0;
  for (char c : text) {
    uint64_t digit;
    if (c >= '0' && c <= '9') {
      digit = static_cast<uint64_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<uint64_t>(c - 'a' + 10);
    } else {
      return std::nullopt;
    }
    value = (value << 4) | digit;
  }
  return value;
}

template <size_t N>
void StoreBigEndian(std::array<uint8_t, N>& out, size_t offset, uint64_t value) {
  for (size_t i = 0; i < 8; ++i) out[offset + i] = static_cast<uint8_t>(value >> (56 - 8 * i));
}

}  // namespace

std::string TraceId::Hex() const {
  std::string out;
  out.reserve(32);
  AppendHex(out, high);
  AppendHex(out, low);
  return out;
}

std::array<uint8_t, 16> TraceId::Bytes() const {
  std::array<uint8_t, 16> out;
  StoreBigEndian(out, 0, high);
  StoreBigEndian(out, 8, low);
  return out;
}

std::string SpanId::Hex() const {
  std::string out;
  out.reserve(16);
  AppendHex(out, value);
  return out;
}

std::array<uint8_t, 8> SpanId::Bytes() const {
  std::array<uint8_t, 8> out;
  StoreBigEndian(out, 0, value);
  return out;
}

std::optional<TraceContext> ParseTraceparent(std::string_view value) {
  // version "-" trace-id "-" parent-id "-" trace-flags: 2 + 1 + 32 + 1 + 16 + 1 + 2
  constexpr size_t kSize = 55;
  if (value.size() < kSize || value[2] != '-' || value[35] != '-' || value[52] != '-') {
    return std::nullopt;
  }
  auto version = ParseHex(value.substr(0, 2));
  auto high = ParseHex(value.substr(3, 16));
  auto low = ParseHex(value.substr(19, 16));
  auto span = ParseHex(value.substr(36, 16));
  auto flags = ParseHex(value.substr(53, 2));
  if (!version || !high || !low || !span || !flags || *version == 0xFF) return std::nullopt;
  if (*version == 0 && value.size() != kSize) return std::nullopt;
  if (*version != 0 && value.size() > kSize && value[kSize] != '-') return std::nullopt;
  TraceContext context{{*high, *low}, {*span}, static_cast<uint8_t>(*flags)};
  if (!context.valid()) return std::nullopt;
  return context;
}

}  // namespace zerotap
