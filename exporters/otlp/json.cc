#include "exporters/otlp/json.h"

#include <charconv>
#include <cmath>
#include <unordered_map>
#include <variant>
#include <vector>

#include "exporters/otlp/encoder.h"
#include "exporters/utf8.h"

namespace zerotap::otlp {
namespace {

// Appends JSON; commas come by themselves.
class JsonWriter {
 public:
  void BeginObject() { Open('{'); }
  void EndObject() { out_ += '}'; }
  void BeginArray() { Open('['); }
  void EndArray() { out_ += ']'; }

  JsonWriter& Key(std::string_view key) {
    String(key);
    out_ += ':';
    return *this;
  }
  void String(std::string_view text) {
    Separate();
    out_ += '"';
    Escape(text);
    out_ += '"';
  }
  // 64-bit integers are strings in JSON.
  template <typename Integer>
  void Quoted(Integer value) {
    Separate();
    out_ += '"';
    Digits(value);
    out_ += '"';
  }
  template <typename Integer>
  void Number(Integer value) {
    Separate();
    Digits(value);
  }
  void Double(double value) {
    if (std::isnan(value)) return String("NaN");
    if (std::isinf(value)) return String(value > 0 ? "Infinity" : "-Infinity");
    Number(value);
  }
  void Bool(bool value) {
    Separate();
    out_ += value ? "true" : "false";
  }
  std::string Take() { return std::move(out_); }

 private:
  void Open(char bracket) {
    Separate();
    out_ += bracket;
  }
  void Separate() {
    if (out_.empty()) return;
    char last = out_.back();
    if (last != '{' && last != '[' && last != ':') out_ += ',';
  }
  template <typename Value>
  void Digits(Value value) {
    char digits[32];
    auto result = std::to_chars(digits, digits + sizeof(digits), value);
    out_.append(digits, result.ptr);
  }
  static bool IsPlain(char character) {
    return character >= 0x20 && character < 0x7f && character != '"' && character != '\\';
  }
  void Escape(std::string_view text) {
    constexpr char kHex[] = "0123456789abcdef";
    while (true) {
      size_t plain = 0;
      while (plain < text.size() && IsPlain(text[plain])) ++plain;
      out_.append(text.substr(0, plain));
      text.remove_prefix(plain);
      if (text.empty()) return;
      auto byte = static_cast<uint8_t>(text.front());
      size_t length = 1;
      if (byte == '"' || byte == '\\') {
        out_ += '\\';
        out_ += static_cast<char>(byte);
      } else if (byte < 0x20 || byte == 0x7f) {
        out_ += "\\u00";
        out_ += kHex[byte >> 4];
        out_ += kHex[byte & 15];
      } else if (DecodeUtf8(text, length) == kInvalidCodePoint) {
        out_ += "\xEF\xBF\xBD";
      } else {
        out_.append(text.substr(0, length));
      }
      text.remove_prefix(length);
    }
  }

  std::string out_;
};

void WriteValue(const AttributeValue& value, JsonWriter& json) {
  json.BeginObject();
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    json.Key("stringValue").String(*text);
  } else if (const auto* number = std::get_if<int64_t>(&value)) {
    json.Key("intValue").Quoted(*number);
  } else if (const auto* real = std::get_if<double>(&value)) {
    json.Key("doubleValue").Double(*real);
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    json.Key("boolValue").Bool(*flag);
  } else {
    json.Key("arrayValue").BeginObject();
    json.Key("values").BeginArray();
    for (std::string_view item : std::get<std::vector<std::string_view>>(value)) {
      json.BeginObject();
      json.Key("stringValue").String(item);
      json.EndObject();
    }
    json.EndArray();
    json.EndObject();
  }
  json.EndObject();
}

void WriteAttributes(const AttributeSet& attributes, JsonWriter& json) {
  if (attributes.empty()) return;
  json.Key("attributes").BeginArray();
  for (size_t i = 0; i < attributes.size(); ++i) {
    Attribute attribute = attributes[i];
    json.BeginObject();
    json.Key("key").String(attribute.key);
    json.Key("value");
    WriteValue(attribute.value, json);
    json.EndObject();
  }
  json.EndArray();
}

void WriteSpan(const Span& span, JsonWriter& json) {
  json.BeginObject();
  json.Key("traceId").String(span.trace_id.Hex());
  json.Key("spanId").String(span.span_id.Hex());
  if (!span.trace_state.empty()) json.Key("traceState").String(span.trace_state);
  if (span.parent_span_id.valid()) json.Key("parentSpanId").String(span.parent_span_id.Hex());
  if (span.flags != 0) json.Key("flags").Number(span.flags);
  json.Key("name").String(span.name);
  json.Key("kind").Number(static_cast<int>(span.kind));
  json.Key("startTimeUnixNano").Quoted(span.start_unix_ns);
  json.Key("endTimeUnixNano").Quoted(span.end_unix_ns);
  WriteAttributes(span.attributes, json);
  if (span.status != SpanStatus::kUnset) {
    json.Key("status").BeginObject();
    json.Key("code").Number(static_cast<int>(span.status));
    json.EndObject();
  }
  json.EndObject();
}

void WriteExemplars(const std::vector<Exemplar>& exemplars, JsonWriter& json) {
  if (exemplars.empty()) return;
  json.Key("exemplars").BeginArray();
  for (const Exemplar& exemplar : exemplars) {
    json.BeginObject();
    json.Key("timeUnixNano").Quoted(exemplar.time_unix_ns);
    json.Key("asDouble").Double(exemplar.value);
    if (exemplar.span_id.valid()) json.Key("spanId").String(exemplar.span_id.Hex());
    if (exemplar.trace_id.valid()) json.Key("traceId").String(exemplar.trace_id.Hex());
    json.EndObject();
  }
  json.EndArray();
}

template <typename Point>
void WritePointTimes(const Point& point, JsonWriter& json) {
  json.Key("startTimeUnixNano").Quoted(point.start_unix_ns);
  json.Key("timeUnixNano").Quoted(point.time_unix_ns);
}

void WriteCounts(std::string_view key, const std::vector<uint64_t>& counts, JsonWriter& json) {
  json.Key(key).BeginArray();
  for (uint64_t count : counts) json.Quoted(count);
  json.EndArray();
}

void WritePoint(const MetricDescriptor&, const NumberPoint& point, JsonWriter& json) {
  WritePointTimes(point, json);
  if (const auto* real = std::get_if<double>(&point.value)) {
    json.Key("asDouble").Double(*real);
  } else {
    json.Key("asInt").Quoted(std::get<int64_t>(point.value));
  }
  WriteAttributes(point.attributes, json);
}

template <typename Point>
void WriteMinMax(const Point& point, JsonWriter& json) {
  if (point.count == 0) return;
  json.Key("min").Double(point.min);
  json.Key("max").Double(point.max);
}

void WritePoint(const MetricDescriptor& descriptor, const HistogramPoint& point, JsonWriter& json) {
  WritePointTimes(point, json);
  json.Key("count").Quoted(point.count);
  json.Key("sum").Double(point.sum);
  WriteCounts("bucketCounts", point.bucket_counts, json);
  json.Key("explicitBounds").BeginArray();
  for (double bound : descriptor.bounds) json.Double(bound);
  json.EndArray();
  WriteExemplars(point.exemplars, json);
  WriteAttributes(point.attributes, json);
  WriteMinMax(point, json);
}

void WritePoint(const MetricDescriptor&, const ExponentialHistogramPoint& point, JsonWriter& json) {
  WriteAttributes(point.attributes, json);
  WritePointTimes(point, json);
  json.Key("count").Quoted(point.count);
  json.Key("sum").Double(point.sum);
  json.Key("scale").Number(point.scale);
  json.Key("zeroCount").Quoted(point.zero_count);
  json.Key("positive").BeginObject();
  json.Key("offset").Number(point.positive_offset);
  WriteCounts("bucketCounts", point.positive_counts, json);
  json.EndObject();
  WriteExemplars(point.exemplars, json);
  WriteMinMax(point, json);
}

template <typename Point>
void WritePoints(const MetricDescriptor& descriptor, const std::vector<Point>& points,
                 JsonWriter& json) {
  json.Key("dataPoints").BeginArray();
  for (const Point& point : points) {
    json.BeginObject();
    WritePoint(descriptor, point, json);
    json.EndObject();
  }
  json.EndArray();
}

void WriteData(const Metric& metric, JsonWriter& json) {
  const MetricDescriptor& descriptor = *metric.descriptor;
  switch (descriptor.type) {
    case MetricType::kGauge:
      json.Key("gauge").BeginObject();
      WritePoints(descriptor, metric.numbers, json);
      json.EndObject();
      return;
    case MetricType::kSum:
      json.Key("sum").BeginObject();
      WritePoints(descriptor, metric.numbers, json);
      break;
    case MetricType::kHistogram:
      json.Key("histogram").BeginObject();
      WritePoints(descriptor, metric.histograms, json);
      break;
    case MetricType::kExponentialHistogram:
      json.Key("exponentialHistogram").BeginObject();
      WritePoints(descriptor, metric.exponential_histograms, json);
      break;
  }
  json.Key("aggregationTemporality").Number(static_cast<int>(metric.temporality));
  if (descriptor.type == MetricType::kSum) json.Key("isMonotonic").Bool(descriptor.monotonic);
  json.EndObject();
}

void WriteItem(const Span& span, JsonWriter& json) { WriteSpan(span, json); }

void WriteItem(const Metric& metric, JsonWriter& json) {
  json.BeginObject();
  json.Key("name").String(metric.descriptor->name);
  if (!metric.descriptor->description.empty()) {
    json.Key("description").String(metric.descriptor->description);
  }
  if (!metric.descriptor->unit.empty()) json.Key("unit").String(metric.descriptor->unit);
  WriteData(metric, json);
  json.EndObject();
}

bool HasContent(const Span&) { return true; }
bool HasContent(const Metric& metric) { return CountPoints(metric) > 0; }

struct RequestNames {
  std::string_view resources;
  std::string_view scopes;
  std::string_view items;
};

template <typename Item>
std::string EncodeRequest(std::span<const Item> items, const InstrumentationScope& scope,
                          const RequestNames& names) {
  std::vector<std::vector<const Item*>> groups;
  std::unordered_map<const Resource*, size_t> index;
  for (const Item& item : items) {
    if (!HasContent(item)) continue;
    auto [found, added] = index.try_emplace(item.resource.get(), groups.size());
    if (added) groups.emplace_back();
    groups[found->second].push_back(&item);
  }

  JsonWriter json;
  json.BeginObject();
  json.Key(names.resources).BeginArray();
  for (const auto& group : groups) {
    json.BeginObject();
    json.Key("resource").BeginObject();
    const ResourcePtr& resource = group.front()->resource;
    if (resource != nullptr) WriteAttributes(resource->attributes, json);
    json.EndObject();
    json.Key(names.scopes).BeginArray();
    json.BeginObject();
    json.Key("scope").BeginObject();
    json.Key("name").String(scope.name);
    if (!scope.version.empty()) json.Key("version").String(scope.version);
    json.EndObject();
    json.Key(names.items).BeginArray();
    for (const Item* item : group) WriteItem(*item, json);
    json.EndArray();
    json.EndObject();
    json.EndArray();
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return json.Take();
}

}  // namespace

std::string EncodeTracesJson(std::span<const Span> spans, const InstrumentationScope& scope) {
  return EncodeRequest(spans, scope, {"resourceSpans", "scopeSpans", "spans"});
}

std::string EncodeMetricsJson(std::span<const Metric> metrics, const InstrumentationScope& scope) {
  return EncodeRequest(metrics, scope, {"resourceMetrics", "scopeMetrics", "metrics"});
}

}  // namespace zerotap::otlp
