#include "exporters/otlp/json.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <variant>
#include <vector>

#include "exporters/otlp/json_writer.h"

namespace zerotap::otlp {
namespace {

void WriteValue(std::string_view value, JsonWriter& json) { json.Key("stringValue").String(value); }
void WriteValue(int64_t value, JsonWriter& json) { json.Key("intValue").Quoted(value); }
void WriteValue(double value, JsonWriter& json) { json.Key("doubleValue").Double(value); }
void WriteValue(bool value, JsonWriter& json) { json.Key("boolValue").Bool(value); }
void WriteValue(const std::vector<std::string_view>& values, JsonWriter& json) {
  json.Key("arrayValue").BeginObject();
  json.Key("values").BeginArray();
  for (std::string_view value : values) {
    json.BeginObject();
    WriteValue(value, json);
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
}

void WriteAttributes(const AttributeSet& attributes, JsonWriter& json) {
  if (attributes.empty()) return;
  json.Key("attributes").BeginArray();
  attributes.ForEach([&json](std::string_view key, const auto& value) {
    json.BeginObject();
    json.Key("key").String(key);
    json.Key("value").BeginObject();
    WriteValue(value, json);
    json.EndObject();
    json.EndObject();
  });
  json.EndArray();
}

void WriteSpan(const Span& span, JsonWriter& json) {
  json.BeginObject();
  json.Key("traceId").Hex(span.trace_id.high, span.trace_id.low);
  json.Key("spanId").Hex(span.span_id.value);
  if (!span.trace_state.empty()) json.Key("traceState").String(span.trace_state);
  if (span.parent_span_id.valid()) json.Key("parentSpanId").Hex(span.parent_span_id.value);
  if (span.flags != 0) json.Key("flags").Number(span.flags);
  json.Key("name").String(span.name);
  json.Key("kind").Number(static_cast<int>(span.kind));
  json.Key("startTimeUnixNano").Quoted(span.start_unix_ns);
  json.Key("endTimeUnixNano").Quoted(span.end_unix_ns);
  WriteAttributes(span.attributes, json);
  if (span.dropped_attributes != 0) {
    json.Key("droppedAttributesCount").Number(span.dropped_attributes);
  }
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
    if (exemplar.span_id.valid()) json.Key("spanId").Hex(exemplar.span_id.value);
    if (exemplar.trace_id.valid()) json.Key("traceId").Hex(exemplar.trace_id.high, exemplar.trace_id.low);
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
  if (point.has_extremes) WriteMinMax(point, json);
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

// One request under construction: a text per resource, in the order in which they are first seen.
class JsonRequest {
 public:
  struct Names {
    std::string_view resources;
    std::string_view scopes;
    std::string_view items;
  };

  // `spare`: writers whose memory is used, and to which it goes back.
  JsonRequest(const Names& names, const InstrumentationScope& scope, size_t max_bytes, std::vector<JsonWriter>& spare)
      : names_(names), scope_(scope), max_bytes_(max_bytes), spare_(spare), bytes_(names.resources.size() + 16) {}
  ~JsonRequest() {
    for (Group& group : groups_) GiveBack(std::move(group.items));
  }
  JsonRequest(const JsonRequest&) = delete;
  JsonRequest& operator=(const JsonRequest&) = delete;

  bool empty() const { return groups_.empty(); }

  // Lets `write(json, room)` append one item of at most `room` bytes. False, and nothing stays,
  // when it says that it did not, or when it took more.
  template <typename Write>
  bool Add(const ResourcePtr& resource, const Write& write) {
    auto [found, added] = index_.try_emplace(resource.get(), groups_.size());
    if (added) groups_.push_back({Head(resource), Writer()});
    Group& group = groups_[found->second];
    const size_t before = group.items.size();
    const size_t overhead = added ? group.head.size() + kTail.size() + 1 : 0;
    const size_t used = bytes_ + overhead;
    const bool good = used < max_bytes_ && write(group.items, max_bytes_ - used);
    const size_t grown = group.items.size() - before;
    if (!good || grown > max_bytes_ - used) {
      group.items.Truncate(before);
      if (added) {
        GiveBack(std::move(group.items));
        groups_.pop_back();
        index_.erase(found);
      }
      return false;
    }
    bytes_ = used + grown;
    return true;
  }

  void Build(std::string& body) const {
    body.clear();
    body.reserve(bytes_);
    body.append("{\"").append(names_.resources).append("\":[");
    for (const Group& group : groups_) {
      if (&group != &groups_.front()) body += ',';
      body.append(group.head).append(group.items.text()).append(kTail);
    }
    body += "]}";
  }

 private:
  struct Group {
    std::string head;
    JsonWriter items;
  };
  static constexpr std::string_view kTail = "]}]}";
  static constexpr size_t kMaxSpare = 4;

  JsonWriter Writer() {
    if (spare_.empty()) return {};
    JsonWriter writer = std::move(spare_.back());
    spare_.pop_back();
    return writer;
  }
  void GiveBack(JsonWriter&& writer) {
    if (spare_.size() < kMaxSpare && writer.Clear()) spare_.push_back(std::move(writer));
  }

  // Up to the bracket that the items follow.
  std::string Head(const ResourcePtr& resource) const {
    JsonWriter json;
    json.BeginObject();
    json.Key("resource").BeginObject();
    if (resource != nullptr) WriteAttributes(resource->attributes, json);
    json.EndObject();
    json.Key(names_.scopes).BeginArray();
    json.BeginObject();
    json.Key("scope").BeginObject();
    json.Key("name").String(scope_.name);
    if (!scope_.version.empty()) json.Key("version").String(scope_.version);
    json.EndObject();
    json.Key(names_.items).BeginArray();
    return std::string(json.text());
  }

  const Names names_;
  const InstrumentationScope& scope_;
  const size_t max_bytes_;
  std::vector<JsonWriter>& spare_;
  size_t bytes_;
  std::vector<Group> groups_;
  std::unordered_map<const Resource*, size_t> index_;
};

constexpr JsonRequest::Names kTraceNames = {"resourceSpans", "scopeSpans", "spans"};
constexpr JsonRequest::Names kMetricNames = {"resourceMetrics", "scopeMetrics", "metrics"};

// Points from `first` on while they fit into `room`; how many were written.
template <typename Point>
size_t WritePoints(const MetricDescriptor& descriptor, const std::vector<Point>& points,
                   size_t first, size_t room, JsonWriter& json) {
  constexpr size_t kAfterPoints = 64;  // the end of the metric
  const size_t begin = json.size();
  json.Key("dataPoints").BeginArray();
  size_t written = 0;
  while (first + written < points.size()) {
    const size_t before = json.size();
    json.BeginObject();
    WritePoint(descriptor, points[first + written], json);
    json.EndObject();
    if (json.size() - begin > room - std::min(room, kAfterPoints)) {
      json.Truncate(before);
      break;
    }
    ++written;
  }
  json.EndArray();
  return written;
}

size_t WriteData(const Metric& metric, size_t first, size_t room, JsonWriter& json) {
  const MetricDescriptor& descriptor = *metric.descriptor;
  size_t written = 0;
  switch (descriptor.type) {
    case MetricType::kGauge:
      json.Key("gauge").BeginObject();
      written = WritePoints(descriptor, metric.numbers, first, room, json);
      json.EndObject();
      return written;
    case MetricType::kSum:
      json.Key("sum").BeginObject();
      written = WritePoints(descriptor, metric.numbers, first, room, json);
      break;
    case MetricType::kHistogram:
      json.Key("histogram").BeginObject();
      written = WritePoints(descriptor, metric.histograms, first, room, json);
      break;
    case MetricType::kExponentialHistogram:
      json.Key("exponentialHistogram").BeginObject();
      written = WritePoints(descriptor, metric.exponential_histograms, first, room, json);
      break;
  }
  json.Key("aggregationTemporality").Number(static_cast<int>(metric.temporality));
  if (descriptor.type == MetricType::kSum) json.Key("isMonotonic").Bool(descriptor.monotonic);
  json.EndObject();
  return written;
}

size_t WriteMetric(const Metric& metric, size_t first, size_t room, JsonWriter& json) {
  const size_t begin = json.size();
  json.BeginObject();
  json.Key("name").String(metric.descriptor->name);
  if (!metric.descriptor->description.empty()) {
    json.Key("description").String(metric.descriptor->description);
  }
  if (!metric.descriptor->unit.empty()) json.Key("unit").String(metric.descriptor->unit);
  const size_t head = json.size() - begin;
  const size_t written = WriteData(metric, first, room - std::min(room, head), json);
  json.EndObject();
  return written;
}

}  // namespace

EncodedPart JsonTraceEncoder::Encode(std::span<const Span> spans, std::string& body) {
  body.clear();
  EncodedPart part;
  JsonRequest request(kTraceNames, scope_, max_bytes_, spare_);
  for (const Span& span : spans) {
    const bool added = request.Add(span.resource, [&](JsonWriter& json, size_t) {
      WriteSpan(span, json);
      return true;
    });
    if (!added && !request.empty()) break;
    ++part.consumed;
    if (!added) break;  // alone in a request and still too large
    ++part.encoded;
  }
  if (part.encoded > 0) request.Build(body);
  return part;
}

EncodedPart JsonMetricEncoder::Encode(std::span<const Metric> metrics, MetricCursor& cursor,
                                      std::string& body) const {
  body.clear();
  EncodedPart part;
  std::vector<JsonWriter> none;
  JsonRequest request(kMetricNames, scope_, max_bytes_, none);
  while (cursor.metric < metrics.size()) {
    const Metric& metric = metrics[cursor.metric];
    const size_t count = CountPoints(metric);
    if (cursor.point >= count) {
      ++cursor.metric;
      cursor.point = 0;
      continue;
    }
    size_t written = 0;
    const bool added = request.Add(metric.resource, [&](JsonWriter& json, size_t room) {
      written = WriteMetric(metric, cursor.point, room, json);
      return written > 0;
    });
    if (!added) {
      if (!request.empty()) break;
      ++part.consumed;  // one point that no request can take
      ++cursor.point;
      continue;
    }
    part.consumed += written;
    part.encoded += written;
    cursor.point += written;
    if (cursor.point < count) break;
  }
  if (part.encoded > 0) request.Build(body);
  return part;
}

std::string EncodeTracesJson(std::span<const Span> spans, const InstrumentationScope& scope) {
  std::string body;
  JsonTraceEncoder(scope, std::numeric_limits<size_t>::max()).Encode(spans, body);
  return body.empty() ? R"({"resourceSpans":[]})" : body;
}

std::string EncodeMetricsJson(std::span<const Metric> metrics, const InstrumentationScope& scope) {
  std::string body;
  MetricCursor cursor;
  JsonMetricEncoder(scope, std::numeric_limits<size_t>::max()).Encode(metrics, cursor, body);
  return body.empty() ? R"({"resourceMetrics":[]})" : body;
}

}  // namespace zerotap::otlp
