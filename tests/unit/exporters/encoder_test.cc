#include "exporters/otlp/encoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb.h"
#include "tests/unit/exporters/builders.h"

namespace zerotap::otlp {
namespace {

using opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
using opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
namespace wire = opentelemetry::proto;
using namespace zerotap::testing;  // NOLINT: builders

ExportTraceServiceRequest ParseTraces(const std::string& body) {
  ExportTraceServiceRequest request;
  EXPECT_TRUE(request.ParseFromString(body));
  // The writer must produce what the official one does: canonical lengths, no unknown fields.
  EXPECT_EQ(request.ByteSizeLong(), body.size());
  EXPECT_EQ(request.SerializeAsString(), body);
  return request;
}

ExportTraceServiceRequest EncodeAll(std::span<const Span> spans) {
  TraceEncoder encoder({"zerotap", "1.2.3"});
  std::string body;
  EncodedPart part = encoder.Encode(spans, body);
  EXPECT_EQ(part.consumed, spans.size());
  EXPECT_EQ(part.encoded, spans.size());
  return ParseTraces(body);
}

std::string BigEndian(std::initializer_list<int> bytes) {
  std::string text;
  for (int byte : bytes) text += static_cast<char>(byte);
  return text;
}

TEST(TraceEncoderTest, EveryFieldOfASpan) {
  Span span = MakeSpan(9, MakeResource("cart", 42), "GET /cart/{id}");
  span.trace_id = {0x0102030405060708, 0x090a0b0c0d0e0f10};
  span.span_id = {0x1112131415161718};
  span.parent_span_id = {0x2122232425262728};
  span.trace_state = "vendor=a:1";
  span.flags = 0x301;
  span.kind = SpanKind::kClient;
  span.dropped_attributes = 300;
  span.status = SpanStatus::kError;
  span.start_unix_ns = 1'700'000'000'123'456'789;
  span.end_unix_ns = 1'700'000'000'987'654'321;

  ExportTraceServiceRequest request = EncodeAll({&span, 1});

  ASSERT_EQ(request.resource_spans_size(), 1);
  const auto& resource = request.resource_spans(0).resource();
  ASSERT_EQ(resource.attributes_size(), 2);
  EXPECT_EQ(resource.attributes(0).key(), "service.name");
  EXPECT_EQ(resource.attributes(0).value().string_value(), "cart");
  EXPECT_EQ(resource.attributes(1).value().int_value(), 42);
  ASSERT_EQ(request.resource_spans(0).scope_spans_size(), 1);
  const auto& scope_spans = request.resource_spans(0).scope_spans(0);
  EXPECT_EQ(scope_spans.scope().name(), "zerotap");
  EXPECT_EQ(scope_spans.scope().version(), "1.2.3");
  ASSERT_EQ(scope_spans.spans_size(), 1);
  const wire::trace::v1::Span& parsed = scope_spans.spans(0);
  EXPECT_EQ(parsed.trace_id(), BigEndian({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}));
  EXPECT_EQ(parsed.span_id(), BigEndian({0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18}));
  EXPECT_EQ(parsed.parent_span_id(), BigEndian({0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28}));
  EXPECT_EQ(parsed.trace_state(), "vendor=a:1");
  EXPECT_EQ(parsed.flags(), 0x301u);
  EXPECT_EQ(parsed.name(), "GET /cart/{id}");
  EXPECT_EQ(parsed.kind(), wire::trace::v1::Span::SPAN_KIND_CLIENT);
  EXPECT_EQ(parsed.start_time_unix_nano(), 1'700'000'000'123'456'789u);
  EXPECT_EQ(parsed.end_time_unix_nano(), 1'700'000'000'987'654'321u);
  EXPECT_EQ(parsed.status().code(), wire::trace::v1::Status::STATUS_CODE_ERROR);
  EXPECT_EQ(parsed.status().message(), "");
  EXPECT_EQ(parsed.dropped_attributes_count(), 300u);
}

TEST(TraceEncoderTest, ARootWithoutStatusLeavesTheFieldsOut) {
  Span span = MakeSpan(1, MakeResource("cart"));
  ExportTraceServiceRequest request = EncodeAll({&span, 1});
  const auto& parsed = request.resource_spans(0).scope_spans(0).spans(0);
  EXPECT_EQ(parsed.parent_span_id(), "");
  EXPECT_FALSE(parsed.has_status());
  EXPECT_EQ(parsed.trace_state(), "");
  EXPECT_EQ(parsed.flags(), 0u);
}

TEST(TraceEncoderTest, KindsAndStatusesHaveTheNumbersOfTheProto) {
  std::vector<Span> spans;
  for (SpanKind kind : {SpanKind::kInternal, SpanKind::kServer, SpanKind::kClient,
                        SpanKind::kProducer, SpanKind::kConsumer}) {
    spans.push_back(MakeSpan(1, nullptr));
    spans.back().kind = kind;
    spans.back().status = SpanStatus::kOk;
  }
  auto request = EncodeAll(spans);
  const auto& parsed = request.resource_spans(0).scope_spans(0).spans();
  EXPECT_EQ(parsed[0].kind(), wire::trace::v1::Span::SPAN_KIND_INTERNAL);
  EXPECT_EQ(parsed[1].kind(), wire::trace::v1::Span::SPAN_KIND_SERVER);
  EXPECT_EQ(parsed[2].kind(), wire::trace::v1::Span::SPAN_KIND_CLIENT);
  EXPECT_EQ(parsed[3].kind(), wire::trace::v1::Span::SPAN_KIND_PRODUCER);
  EXPECT_EQ(parsed[4].kind(), wire::trace::v1::Span::SPAN_KIND_CONSUMER);
  EXPECT_EQ(parsed[0].status().code(), wire::trace::v1::Status::STATUS_CODE_OK);
}

TEST(TraceEncoderTest, AttributesKeepTheirOrderTypeAndValue) {
  Span span = MakeSpan(1, MakeResource("cart"));
  AttributeSet& attributes = span.attributes;
  attributes.Add("z.text", "value");
  attributes.Add("a.empty", "");
  attributes.Add("m.int", int64_t{-5});
  attributes.Add("int.max", std::numeric_limits<int64_t>::max());
  attributes.Add("int.min", std::numeric_limits<int64_t>::min());
  attributes.Add("zero", int64_t{0});
  attributes.Add("double", 0.25);
  attributes.Add("yes", true);
  attributes.Add("no", false);
  attributes.Add("list", std::vector<std::string_view>{"one", "", "three"});
  attributes.Add("empty.list", std::vector<std::string_view>{});
  attributes.AddOwnedKey("http.request.header." + std::string("x-a"), std::string(70'000, 'v'));

  auto request = EncodeAll({&span, 1});

  const auto& parsed = request.resource_spans(0).scope_spans(0).spans(0).attributes();
  ASSERT_EQ(parsed.size(), 12);
  EXPECT_EQ(parsed[0].key(), "z.text");
  EXPECT_EQ(parsed[0].value().string_value(), "value");
  EXPECT_TRUE(parsed[1].value().has_string_value());
  EXPECT_EQ(parsed[1].value().string_value(), "");
  EXPECT_EQ(parsed[2].value().int_value(), -5);
  EXPECT_EQ(parsed[3].value().int_value(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(parsed[4].value().int_value(), std::numeric_limits<int64_t>::min());
  EXPECT_TRUE(parsed[5].value().has_int_value());
  EXPECT_EQ(parsed[6].value().double_value(), 0.25);
  EXPECT_TRUE(parsed[7].value().bool_value());
  EXPECT_TRUE(parsed[8].value().has_bool_value());
  EXPECT_FALSE(parsed[8].value().bool_value());
  ASSERT_EQ(parsed[9].value().array_value().values_size(), 3);
  EXPECT_EQ(parsed[9].value().array_value().values(0).string_value(), "one");
  EXPECT_TRUE(parsed[9].value().array_value().values(1).has_string_value());
  EXPECT_EQ(parsed[9].value().array_value().values(2).string_value(), "three");
  EXPECT_TRUE(parsed[10].value().has_array_value());
  EXPECT_EQ(parsed[11].key(), "http.request.header.x-a");
  EXPECT_EQ(parsed[11].value().string_value().size(), 70'000u);
}

// A receiver refuses the whole request for one byte that is not UTF-8.
TEST(TraceEncoderTest, TextsThatAreNotUtf8AreRepaired) {
  Span span = MakeSpan(1, MakeResource("cart"), "GET /\xff");
  span.trace_state = "a=\xc0\x80";
  span.attributes.Add(semconv::kUrlPath, "/caf\xe9/\xe2\x82");
  span.attributes.Add("list", std::vector<std::string_view>{"\xed\xa0\x80"});
  span.attributes.AddOwnedKey("key\x80", "gr\xc3\xbc\xc3\x9f");

  auto request = EncodeAll({&span, 1});

  const auto& parsed = request.resource_spans(0).scope_spans(0).spans(0);
  EXPECT_EQ(parsed.name(), "GET /\uFFFD");
  EXPECT_EQ(parsed.trace_state(), "a=\uFFFD\uFFFD");
  EXPECT_EQ(parsed.attributes(0).value().string_value(), "/caf\uFFFD/\uFFFD\uFFFD");
  EXPECT_EQ(parsed.attributes(1).value().array_value().values(0).string_value(),
            "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(parsed.attributes(2).key(), "key\uFFFD");
  EXPECT_EQ(parsed.attributes(2).value().string_value(), "gr\u00fc\u00df");
}

TEST(TraceEncoderTest, GroupsByResourceInTheOrderTheyAreSeen) {
  auto cart = MakeResource("cart");
  auto shop = MakeResource("shop");
  std::vector<Span> spans = {MakeSpan(1, shop), MakeSpan(2, cart), MakeSpan(3, shop),
                             MakeSpan(4, cart), MakeSpan(5, shop)};
  auto request = EncodeAll(spans);
  ASSERT_EQ(request.resource_spans_size(), 2);
  const auto& first = request.resource_spans(0);
  EXPECT_EQ(first.resource().attributes(0).value().string_value(), "shop");
  ASSERT_EQ(first.scope_spans(0).spans_size(), 3);
  EXPECT_EQ(first.scope_spans(0).spans(2).span_id().back(), 5);
  EXPECT_EQ(request.resource_spans(1).scope_spans(0).spans_size(), 2);
}

TEST(TraceEncoderTest, MessageLengthsOfEverySize) {
  // Around the borders of one-, two-, three- and four-byte lengths.
  TraceEncoder encoder;
  std::string body;
  for (size_t size : {0, 1, 60, 80, 100, 127, 128, 129, 200, 16'000, 16'300, 16'383, 16'384, 16'400,
                      70'000, 2'097'000, 2'097'152, 2'100'000}) {
    Span span = MakeSpan(1, MakeResource("s"), std::string(size, 'n'));
    ASSERT_EQ(encoder.Encode({&span, 1}, body).encoded, 1u);
    auto request = ParseTraces(body);
    EXPECT_EQ(request.resource_spans(0).scope_spans(0).spans(0).name().size(), size);
  }
}

TEST(TraceEncoderTest, SplitsAtTheLimitAndLosesNothing) {
  auto cart = MakeResource("cart");
  auto shop = MakeResource("shop");
  std::vector<Span> spans;
  for (uint64_t id = 1; id <= 20'000; ++id) {
    spans.push_back(MakeHttpServerSpan(id, id % 3 == 0 ? cart : shop));
  }
  TraceEncoder encoder;
  std::string body;
  std::span<const Span> rest = spans;
  std::vector<bool> seen(spans.size() + 1, false);
  size_t requests = 0;
  size_t bytes = 0;
  while (!rest.empty()) {
    EncodedPart part = encoder.Encode(rest, body);
    ASSERT_EQ(part.consumed, part.encoded);
    ASSERT_GT(part.encoded, 0u);
    ASSERT_LE(body.size(), kMaxRequestBytes);
    // All but the last are full.
    if (part.consumed < rest.size()) {
      EXPECT_GT(body.size(), kMaxRequestBytes - 2000);
    }
    size_t in_request = 0;
    ExportTraceServiceRequest request = ParseTraces(body);
    for (const auto& resource_spans : request.resource_spans()) {
      for (const auto& span : resource_spans.scope_spans(0).spans()) {
        size_t id = 0;
        for (char c : span.span_id()) id = id << 8 | static_cast<uint8_t>(c);
        EXPECT_FALSE(seen[id]);
        seen[id] = true;
        ++in_request;
      }
    }
    EXPECT_EQ(in_request, part.encoded);
    rest = rest.subspan(part.consumed);
    bytes += body.size();
    ++requests;
  }
  EXPECT_EQ(requests, bytes / kMaxRequestBytes + 1) << "as few as possible";
  EXPECT_EQ(std::count(seen.begin() + 1, seen.end(), true), 20'000);
}

TEST(TraceEncoderTest, ManyResourcesCountTowardsTheLimit) {
  TraceEncoder encoder({}, 10'000);
  std::vector<Span> spans;
  for (uint64_t id = 1; id <= 600; ++id) {
    spans.push_back(MakeSpan(id, MakeResource(std::string(200, 's'), static_cast<uint32_t>(id))));
  }
  std::span<const Span> rest = spans;
  std::string body;
  size_t encoded = 0;
  while (!rest.empty()) {
    EncodedPart part = encoder.Encode(rest, body);
    ASSERT_GT(part.encoded, 20u);
    ASSERT_LE(body.size(), 10'000u);
    auto request = ParseTraces(body);
    for (const auto& resource_spans : request.resource_spans()) {
      EXPECT_EQ(resource_spans.scope_spans(0).spans_size(), 1) << "no empty envelope";
    }
    encoded += part.encoded;
    rest = rest.subspan(part.consumed);
  }
  EXPECT_EQ(encoded, 600u);
}

TEST(TraceEncoderTest, ASpanLargerThanARequestIsLeftOutAndCounted) {
  auto resource = MakeResource("cart");
  std::vector<Span> spans = MakeSpans(1, 3, resource);
  spans[1].name.assign(5'000, 'x');
  TraceEncoder encoder({}, 4'000);
  std::string body;
  EncodedPart part = encoder.Encode(spans, body);
  EXPECT_EQ(part.consumed, 1u);
  EXPECT_EQ(part.encoded, 1u);
  part = encoder.Encode(std::span<const Span>(spans).subspan(1), body);
  EXPECT_EQ(part.consumed, 1u);
  EXPECT_EQ(part.encoded, 0u);
  part = encoder.Encode(std::span<const Span>(spans).subspan(2), body);
  EXPECT_EQ(part.consumed, 1u);
  EXPECT_EQ(part.encoded, 1u);
  EXPECT_EQ(ParseTraces(body).resource_spans(0).scope_spans(0).spans(0).span_id().back(), 3);
  part = encoder.Encode(std::span<const Span>(spans).subspan(1, 1), body);
  EXPECT_EQ(part.consumed, 1u);
  EXPECT_EQ(part.encoded, 0u);
  EXPECT_TRUE(body.empty()) << "no request without spans";
}

TEST(TraceEncoderTest, ResourcesThatComeAndGoAreNotConfused) {
  TraceEncoder encoder;
  std::string body;
  for (int i = 0; i < 2'000; ++i) {
    std::string service = "service-" + std::to_string(i);
    // Freed at once: its address may be used again by the next one.
    Span span = MakeSpan(1, MakeResource(service));
    ASSERT_EQ(encoder.Encode({&span, 1}, body).encoded, 1u);
    span.resource = nullptr;
    ExportTraceServiceRequest request;
    ASSERT_TRUE(request.ParseFromString(body));
    ASSERT_EQ(request.resource_spans(0).resource().attributes(0).value().string_value(), service);
  }
}

ExportMetricsServiceRequest EncodeMetrics(std::span<const Metric> metrics) {
  MetricEncoder encoder({"zerotap", "1.2.3"});
  MetricCursor cursor;
  std::string body;
  EncodedPart part = encoder.Encode(metrics, cursor, body);
  EXPECT_EQ(part.encoded, CountPoints(metrics));
  ExportMetricsServiceRequest request;
  EXPECT_TRUE(request.ParseFromString(body));
  EXPECT_EQ(request.SerializeAsString(), body);
  return request;
}

TEST(MetricEncoderTest, Histogram) {
  Metric metric;
  metric.descriptor = &kServerDuration;
  metric.resource = MakeResource("cart");
  metric.temporality = Temporality::kDelta;
  metric.histograms.push_back(MakeHistogramPoint({1, 2, 3, 4, 5}, "/a"));
  metric.histograms.push_back(MakeHistogramPoint({0, 0, 0, 0, 0}, "/b"));
  metric.histograms[0].exemplars.push_back({kStart + 7, 0.125, {1, 2}, {3}});

  auto request = EncodeMetrics({&metric, 1});

  const auto& scope_metrics = request.resource_metrics(0).scope_metrics(0);
  EXPECT_EQ(scope_metrics.scope().version(), "1.2.3");
  ASSERT_EQ(scope_metrics.metrics_size(), 1);
  const auto& parsed = scope_metrics.metrics(0);
  EXPECT_EQ(parsed.name(), "http.server.request.duration");
  EXPECT_EQ(parsed.unit(), "s");
  EXPECT_EQ(parsed.description(), "Duration of HTTP server requests.");
  EXPECT_EQ(parsed.histogram().aggregation_temporality(),
            wire::metrics::v1::AGGREGATION_TEMPORALITY_DELTA);
  ASSERT_EQ(parsed.histogram().data_points_size(), 2);
  const auto& point = parsed.histogram().data_points(0);
  EXPECT_EQ(point.start_time_unix_nano(), kStart);
  EXPECT_EQ(point.time_unix_nano(), kStart + 10 * kSecond);
  EXPECT_EQ(point.count(), 15u);
  EXPECT_EQ(point.sum(), 0.25);
  EXPECT_EQ(point.min(), 0.001);
  EXPECT_EQ(point.max(), 0.2);
  EXPECT_EQ(std::vector<uint64_t>(point.bucket_counts().begin(), point.bucket_counts().end()),
            (std::vector<uint64_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(std::vector<double>(point.explicit_bounds().begin(), point.explicit_bounds().end()),
            (std::vector<double>{0.005, 0.01, 0.1, 1}));
  EXPECT_EQ(point.attributes(1).value().string_value(), "/a");
  ASSERT_EQ(point.exemplars_size(), 1);
  EXPECT_EQ(point.exemplars(0).time_unix_nano(), kStart + 7);
  EXPECT_EQ(point.exemplars(0).as_double(), 0.125);
  EXPECT_EQ(point.exemplars(0).trace_id(),
            BigEndian({0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2}));
  EXPECT_EQ(point.exemplars(0).span_id(), BigEndian({0, 0, 0, 0, 0, 0, 0, 3}));
  EXPECT_FALSE(parsed.histogram().data_points(1).has_min()) << "nothing was recorded";
}

TEST(MetricEncoderTest, ExponentialHistogram) {
  Metric metric;
  metric.descriptor = &kServerDurationExponential;
  metric.resource = MakeResource("cart");
  metric.temporality = Temporality::kCumulative;
  ExponentialHistogramPoint point;
  point.start_unix_ns = kStart;
  point.time_unix_ns = kStart + 1;
  point.count = 401;
  point.sum = 2.5;
  point.min = -1;
  point.max = 4;
  point.scale = -3;
  point.zero_count = 1;
  point.positive_offset = -70;
  point.positive_counts = {100, 300};
  point.attributes.Add("k", "v");
  point.exemplars.push_back({kStart, 1, {1, 1}, {1}});
  metric.exponential_histograms.push_back(point);

  auto request = EncodeMetrics({&metric, 1});

  const auto& parsed =
      request.resource_metrics(0).scope_metrics(0).metrics(0).exponential_histogram();
  EXPECT_EQ(parsed.aggregation_temporality(),
            wire::metrics::v1::AGGREGATION_TEMPORALITY_CUMULATIVE);
  const auto& out = parsed.data_points(0);
  EXPECT_EQ(out.count(), 401u);
  EXPECT_EQ(out.sum(), 2.5);
  EXPECT_EQ(out.scale(), -3);
  EXPECT_EQ(out.zero_count(), 1u);
  EXPECT_EQ(out.positive().offset(), -70);
  EXPECT_EQ(out.positive().bucket_counts(0), 100u);
  EXPECT_EQ(out.positive().bucket_counts(1), 300u);
  EXPECT_EQ(out.min(), -1);
  EXPECT_EQ(out.max(), 4);
  EXPECT_EQ(out.attributes(0).value().string_value(), "v");
  EXPECT_EQ(out.exemplars_size(), 1);
}

TEST(MetricEncoderTest, SumAndGauge) {
  auto resource = MakeResource("zerotap");
  NumberPoint integer;
  integer.time_unix_ns = kStart;
  integer.value = int64_t{-7};
  NumberPoint real;
  real.value = 1.5;
  std::vector<Metric> metrics(3);
  metrics[0].descriptor = &kRequestsTotal;
  metrics[0].resource = resource;
  metrics[0].numbers = {integer, real};
  metrics[1].descriptor = &kLevel;
  metrics[1].resource = resource;
  metrics[1].numbers = {integer};
  metrics[2].descriptor = &kLevel;  // without points: must not appear
  metrics[2].resource = MakeResource("other");

  auto request = EncodeMetrics(metrics);

  ASSERT_EQ(request.resource_metrics_size(), 1);
  const auto& parsed = request.resource_metrics(0).scope_metrics(0).metrics();
  ASSERT_EQ(parsed.size(), 2);
  EXPECT_TRUE(parsed[0].sum().is_monotonic());
  EXPECT_EQ(parsed[0].sum().aggregation_temporality(),
            wire::metrics::v1::AGGREGATION_TEMPORALITY_CUMULATIVE);
  EXPECT_EQ(parsed[0].sum().data_points(0).as_int(), -7);
  EXPECT_EQ(parsed[0].sum().data_points(1).as_double(), 1.5);
  EXPECT_EQ(parsed[1].gauge().data_points(0).as_int(), -7);
}

TEST(MetricEncoderTest, SplitsAMetricOverRequestsAndLosesNoPoint) {
  std::vector<Metric> metrics(3);
  for (size_t m = 0; m < metrics.size(); ++m) {
    metrics[m].descriptor = &kServerDuration;
    metrics[m].resource = MakeResource("service-" + std::to_string(m));
    for (int i = 0; i < 300; ++i) {
      metrics[m].histograms.push_back(
          MakeHistogramPoint({1, 0, 0, 0, 0}, "/" + std::to_string(m) + "/" + std::to_string(i)));
    }
  }
  MetricEncoder encoder({}, 20'000);
  MetricCursor cursor;
  std::string body;
  std::set<std::string> routes;
  size_t left = CountPoints(metrics);
  ASSERT_EQ(left, 900u);
  while (left > 0) {
    EncodedPart part = encoder.Encode(metrics, cursor, body);
    ASSERT_GT(part.encoded, 0u);
    ASSERT_EQ(part.encoded, part.consumed);
    ASSERT_LE(body.size(), 20'000u);
    left -= part.consumed;
    ExportMetricsServiceRequest request;
    ASSERT_TRUE(request.ParseFromString(body));
    for (const auto& resource_metrics : request.resource_metrics()) {
      for (const auto& metric : resource_metrics.scope_metrics(0).metrics()) {
        EXPECT_EQ(metric.name(), "http.server.request.duration");
        EXPECT_EQ(metric.histogram().aggregation_temporality(),
                  wire::metrics::v1::AGGREGATION_TEMPORALITY_CUMULATIVE);
        EXPECT_GT(metric.histogram().data_points_size(), 0);
        for (const auto& point : metric.histogram().data_points()) {
          EXPECT_TRUE(routes.insert(point.attributes(1).value().string_value()).second);
        }
      }
    }
  }
  EXPECT_EQ(routes.size(), 900u);
}

}  // namespace
}  // namespace zerotap::otlp
