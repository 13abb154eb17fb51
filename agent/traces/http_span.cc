// HTTP by docs/http/http-spans.md and http-metrics.md of the semantic conventions v1.44.0.
#include <algorithm>
#include <array>
#include <string>

#include "agent/telemetry/semconv.h"
#include "agent/traces/attribute_text.h"
#include "agent/traces/span_assembler.h"

namespace zerotap {
namespace {

constexpr std::array<std::string_view, 10> kKnownMethods = {
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"};

constexpr std::array<double, 14> kHttpBounds = {0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25,
                                                0.5,   0.75, 1,     2.5,  5,     7.5, 10};
constexpr MetricDescriptor kServerDuration = {semconv::kHttpServerRequestDuration,
                                              "s",
                                              "Duration of HTTP server requests.",
                                              MetricType::kHistogram,
                                              true,
                                              kHttpBounds};
constexpr MetricDescriptor kClientDuration = {semconv::kHttpClientRequestDuration,
                                              "s",
                                              "Duration of HTTP client requests.",
                                              MetricType::kHistogram,
                                              true,
                                              kHttpBounds};

bool IsKnownMethod(std::string_view method, const AssemblerOptions& options) {
  if (options.known_methods.empty()) {
    return std::find(kKnownMethods.begin(), kKnownMethods.end(), method) != kKnownMethods.end();
  }
  return std::find(options.known_methods.begin(), options.known_methods.end(), method) !=
         options.known_methods.end();
}

// Status codes have three digits; texts for them live for ever so that metrics can borrow them.
std::string_view StatusText(uint16_t code) {
  static const auto* const texts = [] {
    auto* all = new std::array<std::array<char, 3>, 900>;
    for (uint16_t i = 0; i < 900; ++i) {
      uint16_t value = static_cast<uint16_t>(i + 100);
      (*all)[i] = {static_cast<char>('0' + value / 100), static_cast<char>('0' + value / 10 % 10),
                   static_cast<char>('0' + value % 10)};
    }
    return all;
  }();
  if (code < 100 || code > 999) return {};
  const auto& text = (*texts)[code - 100];
  return {text.data(), text.size()};
}

std::string_view ErrorType(const Exchange& exchange) {
  if (!exchange.transport_error.empty()) return exchange.transport_error;
  uint16_t threshold = exchange.role == Role::kServer ? 500 : 400;
  uint16_t code = exchange.http->status_code;
  return code >= threshold ? StatusText(code) : std::string_view{};
}

struct Server {
  std::string_view address;
  uint16_t port = 0;
};

bool BeginsWithScheme(std::string_view target, std::string_view lower) {
  return target.size() >= lower.size() &&
         std::equal(lower.begin(), lower.end(), target.begin(), [](char wanted, char c) {
           return wanted == (c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c);
         });
}

// The port that a target of the absolute form (as proxies get it) means when it says none. 0: there
// is no such target, or nobody knows.
uint16_t ImpliedPort(std::string_view target) {
  if (BeginsWithScheme(target, "http://") || BeginsWithScheme(target, "ws://")) return 80;
  if (BeginsWithScheme(target, "https://") || BeginsWithScheme(target, "wss://")) return 443;
  return 0;
}

// The name the client used where it is known, never the peer's address when a name is.
Server ServerOf(const Exchange& exchange, const ConnectionFacts& facts) {
  bool is_server = exchange.role == Role::kServer;
  Authority authority = SplitAuthority(exchange.http->host);
  Server server{authority.host, authority.port};
  if (server.address.empty()) server.address = is_server ? facts.local_address : facts.peer_address;
  if (server.address.empty()) server.address = facts.unix_path;
  if (server.port == 0) server.port = ImpliedPort(exchange.http->target);
  if (server.port == 0) server.port = is_server ? facts.local_port : facts.peer_port;
  return server;
}

void AddHeaders(std::string_view prefix, std::span<const HeaderField> headers, AttributeSet& out) {
  for (size_t i = 0; i < headers.size(); ++i) {
    bool seen = false;
    std::vector<std::string_view> values;
    for (size_t j = 0; j < headers.size(); ++j) {
      if (headers[j].name != headers[i].name) continue;
      seen |= j < i;
      values.push_back(headers[j].value);
    }
    if (!seen) out.AddOwnedKey(std::string(prefix).append(headers[i].name), values);
  }
}

}  // namespace

Authority SplitAuthority(std::string_view authority) {
  size_t at = authority.rfind('@');
  if (at != std::string_view::npos) authority.remove_prefix(at + 1);
  Authority result{authority, 0};
  size_t colon = authority.rfind(':');
  if (!authority.empty() && authority.front() == '[') {
    size_t close = authority.find(']');
    if (close == std::string_view::npos) return result;
    result.host = authority.substr(1, close - 1);
    if (colon != close + 1) return result;
  } else {
    if (colon == std::string_view::npos || authority.find(':') != colon) return result;
    result.host = authority.substr(0, colon);
  }
  uint32_t port = 0;
  for (char c : authority.substr(colon + 1)) {
    if (c < '0' || c > '9' || port > 65535) return result;
    port = port * 10 + static_cast<uint32_t>(c - '0');
  }
  if (port <= 65535) result.port = static_cast<uint16_t>(port);
  return result;
}

void AssembleHttpSpan(const Exchange& exchange, const HttpTexts& texts,
                      const ConnectionFacts& facts, const AssemblerOptions& options, Span& span) {
  const HttpFields& http = *exchange.http;
  const bool is_server = exchange.role == Role::kServer;
  const bool known = IsKnownMethod(http.method, options);
  const std::string_view method = known ? http.method : std::string_view("_OTHER");
  const std::string_view error = ErrorType(exchange);
  const Server server = ServerOf(exchange, facts);
  auto cut = [&options](std::string_view text) {
    return CutText(text, options.attribute_value_limit);
  };

  span.kind = is_server ? SpanKind::kServer : SpanKind::kClient;
  span.status = error.empty() ? SpanStatus::kUnset : SpanStatus::kError;
  span.name.assign(known ? http.method : std::string_view("HTTP"));
  if (is_server && !http.route.empty()) span.name.append(1, ' ').append(http.route);

  AttributeSet& out = span.attributes;
  out.Reserve(24, 320);
  out.Add(semconv::kHttpRequestMethod, method);
  if (!known) out.Add(semconv::kHttpRequestMethodOriginal, cut(http.method));
  if (options.legacy_attributes) out.Add(semconv::kHttpMethod, method);
  if (is_server) {
    out.Add(semconv::kUrlScheme, http.scheme);
    if (!texts.path.empty()) out.Add(semconv::kUrlPath, cut(texts.path));
    if (!texts.query.empty()) out.Add(semconv::kUrlQuery, cut(texts.query));
    if (!http.route.empty()) out.Add(semconv::kHttpRoute, http.route);
  } else {
    out.Add(semconv::kUrlFull, cut(texts.full));
  }
  if (http.status_code != 0) {
    out.Add(semconv::kHttpResponseStatusCode, int64_t{http.status_code});
    if (options.legacy_attributes) out.Add(semconv::kHttpStatusCode, int64_t{http.status_code});
  }
  if (is_server) {
    std::string_view client =
        http.forwarded_for.empty() ? facts.peer_address : http.forwarded_for;
    if (!client.empty()) out.Add(semconv::kClientAddress, cut(client));
  }
  if (!facts.peer_address.empty()) {
    out.Add(semconv::kNetworkPeerAddress, facts.peer_address);
    out.Add(semconv::kNetworkPeerPort, int64_t{facts.peer_port});
  } else if (!facts.unix_path.empty()) {
    out.Add(semconv::kNetworkTransport, "unix");
  }
  if (!http.version.empty()) out.Add(semconv::kNetworkProtocolVersion, http.version);
  if (is_server && !http.user_agent.empty()) {
    out.Add(semconv::kUserAgentOriginal, cut(http.user_agent));
  }
  if (!server.address.empty()) out.Add(semconv::kServerAddress, cut(server.address));
  if (server.port != 0) out.Add(semconv::kServerPort, int64_t{server.port});
  if (!is_server && options.legacy_attributes && !server.address.empty()) {
    out.Add(semconv::kNetPeerName, cut(server.address));
  }
  if (!error.empty()) out.Add(semconv::kErrorType, error);
  if (http.request_body_size && *http.request_body_size > 0) {
    out.Add(semconv::kHttpRequestBodySize, static_cast<int64_t>(*http.request_body_size));
  }
  if (http.response_body_size) {
    out.Add(semconv::kHttpResponseBodySize, static_cast<int64_t>(*http.response_body_size));
  }
  if (!http.b3_trace_id.empty()) out.Add(semconv::kB3TraceId, cut(http.b3_trace_id));
  if (!http.b3_span_id.empty()) out.Add(semconv::kB3SpanId, cut(http.b3_span_id));
  if (!http.request_id.empty()) out.Add(semconv::kRequestId, cut(http.request_id));
  if (!http.request_headers.empty()) {
    AddHeaders(semconv::kHttpRequestHeaderPrefix, http.request_headers, out);
  }
  if (!http.response_headers.empty()) {
    AddHeaders(semconv::kHttpResponseHeaderPrefix, http.response_headers, out);
  }
  if (exchange.incomplete) out.Add(semconv::kCaptureIncomplete, true);
}

MetricSample HttpMetricSample(const Exchange& exchange, const ConnectionFacts& facts,
                              const AssemblerOptions& options) {
  const HttpFields& http = *exchange.http;
  MetricSample sample;
  const bool is_server = exchange.role == Role::kServer;
  sample.descriptor = is_server ? &kServerDuration : &kClientDuration;
  sample.Add(semconv::kHttpRequestMethod,
             IsKnownMethod(http.method, options) ? http.method : std::string_view("_OTHER"));
  if (is_server) {
    sample.Add(semconv::kUrlScheme, http.scheme);
    if (!http.route.empty()) sample.Add(semconv::kHttpRoute, http.route);
  }
  if (http.status_code != 0) {
    sample.Add(semconv::kHttpResponseStatusCode, int64_t{http.status_code});
  }
  std::string_view error = ErrorType(exchange);
  if (!error.empty()) sample.Add(semconv::kErrorType, error);
  if (!http.version.empty()) sample.Add(semconv::kNetworkProtocolVersion, http.version);
  if (!is_server) {
    Server server = ServerOf(exchange, facts);
    if (!server.address.empty()) sample.Add(semconv::kServerAddress, server.address);
    if (server.port != 0) sample.Add(semconv::kServerPort, int64_t{server.port});
  }
  return sample;
}

}  // namespace zerotap
