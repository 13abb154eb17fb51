// W3C Trace Context (https://www.w3.org/TR/trace-context/, level 1) and B3 as far as we read it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace zerotap {

struct TraceId {
  uint64_t high = 0;  // the first eight bytes on the wire, big-endian
  uint64_t low = 0;

  bool valid() const { return (high | low) != 0; }
  bool operator==(const TraceId&) const = default;
  std::string Hex() const;                  // 32 lower-case digits
  std::array<uint8_t, 16> Bytes() const;    // wire order
};

struct SpanId {
  uint64_t value = 0;  // the eight bytes on the wire, big-endian

  bool valid() const { return value != 0; }
  bool operator==(const SpanId&) const = default;
  std::string Hex() const;  // 16 lower-case digits
  std::array<uint8_t, 8> Bytes() const;
};

constexpr uint8_t kTraceFlagSampled = 0x01;

struct TraceContext {
  TraceId trace_id;
  SpanId span_id;
  uint8_t flags = 0;

  bool valid() const { return trace_id.valid() && span_id.valid(); }
  bool sampled() const { return (flags & kTraceFlagSampled) != 0; }
  bool operator==(const TraceContext&) const = default;
};

// Value of a `traceparent` header (section 3.2.2). Empty when it must be ignored: wrong length or
// digits, version ff, all-zero ids. A higher version is read by its version-00 prefix.
std::optional<TraceContext> ParseTraceparent(std::string_view value);

}  // namespace zerotap
