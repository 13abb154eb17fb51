// Values of header fields that need more than a copy: who the client is, and B3 ids.
#pragma once

#include <string_view>

namespace zerotap {

// The client's address from the first element of Forwarded (RFC 7239: for="[2001:db8::1]:4711") or
// else of X-Forwarded-For, without port, brackets and quotes. Empty when there is none, or it is
// unknown or obfuscated.
std::string_view ForwardedClient(std::string_view forwarded, std::string_view x_forwarded_for);

struct B3Ids {
  std::string_view trace_id;  // 16 or 32 hex digits
  std::string_view span_id;   // 16
};
// From the single header `b3` (trace-span-sampled-parent) or else from X-B3-TraceId and
// X-B3-SpanId. Both or none.
B3Ids ReadB3(std::string_view b3, std::string_view x_trace_id, std::string_view x_span_id);

// The authority of an absolute-form target, without user information; empty for other forms.
std::string_view TargetAuthority(std::string_view target);

}  // namespace zerotap
