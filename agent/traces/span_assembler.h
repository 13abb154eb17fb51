// Exchange -> Span and metric attributes, by the semantic conventions of its family (HTTP, database). Attribute order is
// part of the contract with SigNoz: the last of several address keys wins there (client.address before server.address on
// servers; net.peer.name last on clients).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "agent/protocols/exchange.h"
#include "agent/telemetry/metric.h"
#include "agent/telemetry/span.h"

namespace zerotap {

// What the connection adds to an exchange. Borrowed for the call.
struct ConnectionFacts {
  std::string_view peer_address;  // IP text, empty when unknown or AF_UNIX
  uint16_t peer_port = 0;
  std::string_view local_address;
  uint16_t local_port = 0;
  std::string_view unix_path;     // AF_UNIX: the listening path
};

// What the processors made of an HTTP request. Borrowed for the call.
struct HttpTexts {
  std::string_view path;   // without query
  std::string_view query;  // redacted
  std::string_view full;   // redacted url.full, client only
};

struct AssemblerOptions {
  bool legacy_attributes = true;
  size_t attribute_value_limit = 0;  // characters of a text value, 0 = no limit
  std::span<const std::string> known_methods;  // of HTTP; none: those of the conventions. Borrowed
};

// The attributes of one recording into a RED histogram; borrows from the exchange and the facts.
struct MetricSample {
  const MetricDescriptor* descriptor = nullptr;  // null: this exchange is in no metric
  std::array<MetricAttribute, 10> attributes;
  size_t count = 0;
  template <typename Value>  // std::string_view or int64_t
  void Add(std::string_view key, Value value) {
    MetricAttribute& attribute = attributes[count++];
    attribute.key = key;
    attribute.value.template emplace<Value>(value);
  }
};

// Host and port of an authority ("example.com:8080", "[::1]:80"); port 0 when it has none.
struct Authority {
  std::string_view host;
  uint16_t port = 0;
};
Authority SplitAuthority(std::string_view authority);

// Everything of `span` but ids, resource and times.
void AssembleHttpSpan(const Exchange& exchange, const HttpTexts& texts, const ConnectionFacts& facts,
                      const AssemblerOptions& options, Span& span);
void AssembleDatabaseSpan(const Exchange& exchange, const ConnectionFacts& facts,
                          const AssemblerOptions& options, Span& span);

MetricSample HttpMetricSample(const Exchange& exchange, const ConnectionFacts& facts,
                              const AssemblerOptions& options);
MetricSample DatabaseMetricSample(const Exchange& exchange, const ConnectionFacts& facts);

}  // namespace zerotap
