// Spans and metrics for the tests of this room.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "agent/telemetry/exporter.h"
#include "agent/telemetry/metric.h"
#include "agent/telemetry/semconv.h"
#include "agent/telemetry/span.h"

namespace zerotap::testing {

inline constexpr uint64_t kSecond = 1'000'000'000;
inline constexpr uint64_t kMillisecond = 1'000'000;
inline constexpr uint64_t kStart = 1'700'000'000 * kSecond;  // 2023-11-14T22:13:20Z

inline ResourcePtr MakeResource(const std::string& service, uint32_t pid = 1) {
  auto resource = std::make_shared<Resource>();
  resource->service_name = service;
  resource->pid = pid;
  resource->attributes.Add(semconv::kServiceName, service);
  resource->attributes.Add(semconv::kProcessPid, static_cast<int64_t>(pid));
  return resource;
}

// Ids are made of `id`; a duration of one millisecond.
inline Span MakeSpan(uint64_t id, ResourcePtr resource, std::string name = "GET /") {
  Span span;
  span.trace_id = {0x0102030405060708, id};
  span.span_id = {id};
  span.kind = SpanKind::kServer;
  span.start_unix_ns = kStart + id * kMillisecond;
  span.end_unix_ns = span.start_unix_ns + kMillisecond;
  span.name = std::move(name);
  span.resource = std::move(resource);
  span.ledger_row = static_cast<uint32_t>(id);
  return span;
}

inline std::vector<Span> MakeSpans(uint64_t first_id, size_t count, const ResourcePtr& resource) {
  std::vector<Span> spans;
  for (size_t i = 0; i < count; ++i) spans.push_back(MakeSpan(first_id + i, resource));
  return spans;
}

// The golden HTTP server span: every attribute that one has in practice.
inline Span MakeHttpServerSpan(uint64_t id, ResourcePtr resource) {
  Span span = MakeSpan(id, std::move(resource), "GET /cart/{id}");
  AttributeSet& attributes = span.attributes;
  attributes.Add(semconv::kHttpRequestMethod, "GET");
  attributes.Add(semconv::kHttpMethod, "GET");
  attributes.Add(semconv::kUrlScheme, "http");
  attributes.Add(semconv::kUrlPath, "/cart/4711");
  attributes.Add(semconv::kUrlQuery, "full=1");
  attributes.Add(semconv::kHttpRoute, "/cart/{id}");
  attributes.Add(semconv::kHttpResponseStatusCode, int64_t{200});
  attributes.Add(semconv::kHttpStatusCode, int64_t{200});
  attributes.Add(semconv::kClientAddress, "10.0.0.7");
  attributes.Add(semconv::kNetworkPeerAddress, "10.0.0.7");
  attributes.Add(semconv::kNetworkPeerPort, int64_t{40312});
  attributes.Add(semconv::kNetworkProtocolVersion, "1.1");
  attributes.Add(semconv::kUserAgentOriginal, "curl/7.88.1");
  attributes.Add(semconv::kServerAddress, "shop.example");
  attributes.Add(semconv::kServerPort, int64_t{8080});
  return span;
}

inline constexpr double kBounds[] = {0.005, 0.01, 0.1, 1};
inline constexpr MetricDescriptor kServerDuration{semconv::kHttpServerRequestDuration,
                                                  "s",
                                                  "Duration of HTTP server requests.",
                                                  MetricType::kHistogram,
                                                  true,
                                                  kBounds};
inline constexpr MetricDescriptor kServerDurationExponential{
    semconv::kHttpServerRequestDuration, "s", "", MetricType::kExponentialHistogram, true, {}};
inline constexpr MetricDescriptor kRequestsTotal{"test.requests",  "{request}", "",
                                                 MetricType::kSum, true,        {}};
inline constexpr MetricDescriptor kLevel{"test.level", "", "", MetricType::kGauge, false, {}};

inline HistogramPoint MakeHistogramPoint(std::vector<uint64_t> bucket_counts,
                                         const std::string& route = "/") {
  HistogramPoint point;
  point.start_unix_ns = kStart;
  point.time_unix_ns = kStart + 10 * kSecond;
  point.bucket_counts = std::move(bucket_counts);
  for (uint64_t count : point.bucket_counts) point.count += count;
  point.sum = 0.25;
  point.min = 0.001;
  point.max = 0.2;
  point.attributes.Add(semconv::kHttpRequestMethod, "GET");
  point.attributes.Add(semconv::kHttpRoute, route);
  return point;
}

// As a batcher does: until every span has its fate.
inline ExportOutcome ExportAll(SpanExporter& exporter, std::span<const Span> spans) {
  ExportOutcome total;
  do {
    const ExportOutcome outcome = exporter.Export(spans);
    const uint64_t done = outcome.exported + outcome.rejected + outcome.failed + outcome.unsent;
    EXPECT_TRUE(spans.empty() || done > 0);
    EXPECT_LE(done, spans.size());
    if (done == 0 || done > spans.size()) break;
    total.exported += outcome.exported;
    total.rejected += outcome.rejected;
    total.failed += outcome.failed;
    total.unsent += outcome.unsent;
    spans = spans.subspan(done);
  } while (!spans.empty());
  return total;
}

}  // namespace zerotap::testing
