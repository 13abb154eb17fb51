#include "exporters/otlp/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/unit/exporters/builders.h"

namespace zerotap::otlp {
namespace {

using namespace zerotap::testing;  // NOLINT: builders

TEST(TracesJsonTest, GoldenLine) {
  Span span = MakeSpan(1, MakeResource("cart", 42), "GET /cart/{id}");
  span.trace_id = {0x0102030405060708, 0x090a0b0c0d0e0f10};
  span.span_id = {0x1112131415161718};
  span.parent_span_id = {0x2122232425262728};
  span.trace_state = "a=b";
  span.flags = 0x301;
  span.status = SpanStatus::kError;
  span.dropped_attributes = 7;
  span.attributes.Add("text", "a\"b\\c\n\x01\xff\u00fc");
  span.attributes.Add("int", int64_t{9'007'199'254'740'993});
  span.attributes.Add("double", 0.1);
  span.attributes.Add("bool", true);
  span.attributes.Add("list", std::vector<std::string_view>{"a", "b"});

  EXPECT_EQ(
      EncodeTracesJson({&span, 1}, {"zerotap", "1.2.3"}),
      R"({"resourceSpans":[{"resource":{"attributes":[)"
      R"({"key":"service.name","value":{"stringValue":"cart"}},)"
      R"({"key":"process.pid","value":{"intValue":"42"}}]},)"
      R"("scopeSpans":[{"scope":{"name":"zerotap","version":"1.2.3"},"spans":[{)"
      R"("traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"1112131415161718",)"
      R"("traceState":"a=b","parentSpanId":"2122232425262728","flags":769,)"
      R"("name":"GET /cart/{id}","kind":2,)"
      R"("startTimeUnixNano":"1700000000001000000","endTimeUnixNano":"1700000000002000000",)"
      R"("attributes":[{"key":"text","value":{"stringValue":"a\"b\\c\u000a\u0001)"
      "\uFFFD\u00fc"
      R"("}},{"key":"int","value":{"intValue":"9007199254740993"}},)"
      R"({"key":"double","value":{"doubleValue":0.1}},)"
      R"({"key":"bool","value":{"boolValue":true}},)"
      R"({"key":"list","value":{"arrayValue":{"values":[{"stringValue":"a"},{"stringValue":"b"}]}}}],)"
      R"("droppedAttributesCount":7,)"
      R"("status":{"code":2}}]}]}]})");
}

TEST(TracesJsonTest, GroupsByResourceAndIsTheSameEveryTime) {
  auto cart = MakeResource("cart");
  auto shop = MakeResource("shop");
  std::vector<Span> spans = {MakeSpan(1, shop), MakeSpan(2, cart), MakeSpan(3, shop)};
  std::string line = EncodeTracesJson(spans);
  EXPECT_EQ(line, EncodeTracesJson(spans));
  EXPECT_EQ(line.find('\n'), std::string::npos);
  auto parsed = nlohmann::json::parse(line);
  ASSERT_EQ(parsed["resourceSpans"].size(), 2u);
  EXPECT_EQ(parsed["resourceSpans"][0]["scopeSpans"][0]["spans"].size(), 2u);
  EXPECT_EQ(parsed["resourceSpans"][0]["resource"]["attributes"][0]["value"]["stringValue"],
            "shop");
  EXPECT_EQ(parsed["resourceSpans"][1]["scopeSpans"][0]["spans"][0]["spanId"], "0000000000000002");
  EXPECT_FALSE(parsed["resourceSpans"][0]["scopeSpans"][0]["spans"][0].contains("parentSpanId"));
}

TEST(TracesJsonTest, AnyBytesGiveValidJson) {
  Span span = MakeSpan(1, MakeResource("cart"));
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  span.name = all;
  span.attributes.Add("all", all);
  std::string line = EncodeTracesJson({&span, 1});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_TRUE(nlohmann::json::accept(line));
}

TEST(MetricsJsonTest, EveryKind) {
  std::vector<Metric> metrics(4);
  auto resource = MakeResource("cart");
  for (Metric& metric : metrics) metric.resource = resource;
  metrics[0].descriptor = &kServerDuration;
  metrics[0].temporality = Temporality::kDelta;
  metrics[0].histograms.push_back(MakeHistogramPoint({1, 2, 3, 4, 5}));
  metrics[0].histograms[0].exemplars.push_back({kStart, 0.5, {1, 2}, {3}});
  metrics[1].descriptor = &kServerDurationExponential;
  ExponentialHistogramPoint exponential;
  exponential.count = 3;
  exponential.scale = -1;
  exponential.zero_count = 1;
  exponential.positive_offset = -4;
  exponential.positive_counts = {2};
  metrics[1].exponential_histograms.push_back(exponential);
  metrics[2].descriptor = &kRequestsTotal;
  NumberPoint number;
  number.value = int64_t{5};
  metrics[2].numbers.push_back(number);
  metrics[3].descriptor = &kLevel;
  number.value = std::numeric_limits<double>::infinity();
  metrics[3].numbers.push_back(number);
  number.value = std::nan("");
  metrics[3].numbers.push_back(number);

  auto parsed = nlohmann::json::parse(EncodeMetricsJson(metrics));

  auto& list = parsed["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
  ASSERT_EQ(list.size(), 4u);
  EXPECT_EQ(list[0]["name"], "http.server.request.duration");
  EXPECT_EQ(list[0]["unit"], "s");
  EXPECT_EQ(list[0]["histogram"]["aggregationTemporality"], 1);
  auto& point = list[0]["histogram"]["dataPoints"][0];
  EXPECT_EQ(point["count"], "15");
  EXPECT_EQ(point["sum"], 0.25);
  EXPECT_EQ(point["min"], 0.001);
  EXPECT_EQ(point["bucketCounts"].dump(), R"(["1","2","3","4","5"])");
  EXPECT_EQ(point["explicitBounds"].dump(), "[0.005,0.01,0.1,1]");
  EXPECT_EQ(point["exemplars"][0]["spanId"], "0000000000000003");
  EXPECT_EQ(point["exemplars"][0]["asDouble"], 0.5);
  auto& exponential_point = list[1]["exponentialHistogram"]["dataPoints"][0];
  EXPECT_EQ(exponential_point["scale"], -1);
  EXPECT_EQ(exponential_point["zeroCount"], "1");
  EXPECT_EQ(exponential_point["positive"].dump(), R"({"bucketCounts":["2"],"offset":-4})");
  EXPECT_EQ(list[2]["sum"]["isMonotonic"], true);
  EXPECT_EQ(list[2]["sum"]["dataPoints"][0]["asInt"], "5");
  EXPECT_EQ(list[3]["gauge"]["dataPoints"][0]["asDouble"], "Infinity");
  EXPECT_EQ(list[3]["gauge"]["dataPoints"][1]["asDouble"], "NaN");
}

TEST(MetricsJsonTest, MetricsWithoutPointsLeaveNoTrace) {
  Metric metric;
  metric.descriptor = &kLevel;
  metric.resource = MakeResource("cart");
  EXPECT_EQ(EncodeMetricsJson({&metric, 1}), R"({"resourceMetrics":[]})");
}

}  // namespace
}  // namespace zerotap::otlp
