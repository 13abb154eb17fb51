#include "exporters/otlp/encoder.h"

#include <array>
#include <bit>
#include <variant>

namespace zerotap::otlp {
namespace {

template <size_t kSize>
std::string_view AsView(const std::array<uint8_t, kSize>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// trace/v1/trace.proto: message Span.
void WriteSpan(const Span& span, WireBuffer& out) {
  size_t message = out.BeginMessage(kItemTag);
  out.Bytes(BytesTag(1), AsView(span.trace_id.Bytes()));
  out.Bytes(BytesTag(2), AsView(span.span_id.Bytes()));
  WriteText(BytesTag(3), span.trace_state, out);
  if (span.parent_span_id.valid()) out.Bytes(BytesTag(4), AsView(span.parent_span_id.Bytes()));
  WriteText(BytesTag(5), span.name, out);
  out.Varint(VarintTag(6), static_cast<uint64_t>(span.kind));
  out.Fixed64UnlessZero(Fixed64Tag(7), span.start_unix_ns);
  out.Fixed64UnlessZero(Fixed64Tag(8), span.end_unix_ns);
  WriteAttributes(BytesTag(9), span.attributes, out);
  out.VarintUnlessZero(VarintTag(10), span.dropped_attributes);
  if (span.status != SpanStatus::kUnset) {
    size_t status = out.BeginMessage(BytesTag(15));
    out.Varint(VarintTag(3), static_cast<uint64_t>(span.status));
    out.EndMessage(status);
  }
  if (span.flags != 0) {
    char* at = PutVarint(out.Room(6), (16u << 3) | 5);  // field 16, fixed32
    std::memcpy(at, &span.flags, 4);
    out.Commit(at + 4);
  }
  out.EndMessage(message);
}

uint64_t ZigZag(int32_t value) {
  return (static_cast<uint32_t>(value) << 1) ^ static_cast<uint32_t>(value >> 31);
}

// metrics/v1/metrics.proto: message Exemplar.
void WriteExemplars(uint8_t tag, const std::vector<Exemplar>& exemplars, WireBuffer& out) {
  for (const Exemplar& exemplar : exemplars) {
    size_t message = out.BeginMessage(tag);
    out.Fixed64UnlessZero(Fixed64Tag(2), exemplar.time_unix_ns);
    out.Double(Fixed64Tag(3), exemplar.value);
    if (exemplar.span_id.valid()) out.Bytes(BytesTag(4), AsView(exemplar.span_id.Bytes()));
    if (exemplar.trace_id.valid()) out.Bytes(BytesTag(5), AsView(exemplar.trace_id.Bytes()));
    out.EndMessage(message);
  }
}

void WritePoint(const MetricDescriptor&, const NumberPoint& point, WireBuffer& out) {
  out.Fixed64UnlessZero(Fixed64Tag(2), point.start_unix_ns);
  out.Fixed64UnlessZero(Fixed64Tag(3), point.time_unix_ns);
  if (const auto* real = std::get_if<double>(&point.value)) {
    out.Double(Fixed64Tag(4), *real);
  } else {
    out.Fixed64(Fixed64Tag(6), static_cast<uint64_t>(std::get<int64_t>(point.value)));
  }
  WriteAttributes(BytesTag(7), point.attributes, out);
}

void WritePoint(const MetricDescriptor& descriptor, const HistogramPoint& point, WireBuffer& out) {
  out.Fixed64UnlessZero(Fixed64Tag(2), point.start_unix_ns);
  out.Fixed64UnlessZero(Fixed64Tag(3), point.time_unix_ns);
  out.Fixed64UnlessZero(Fixed64Tag(4), point.count);
  out.Double(Fixed64Tag(5), point.sum);
  if (!point.bucket_counts.empty()) {
    out.Bytes(BytesTag(6), {reinterpret_cast<const char*>(point.bucket_counts.data()),
                            point.bucket_counts.size() * sizeof(uint64_t)});
  }
  if (!descriptor.bounds.empty()) {
    out.Bytes(BytesTag(7), {reinterpret_cast<const char*>(descriptor.bounds.data()),
                            descriptor.bounds.size_bytes()});
  }
  WriteExemplars(BytesTag(8), point.exemplars, out);
  WriteAttributes(BytesTag(9), point.attributes, out);
  if (point.count > 0 && point.has_extremes) {
    out.Double(Fixed64Tag(11), point.min);
    out.Double(Fixed64Tag(12), point.max);
  }
}

void WritePoint(const MetricDescriptor&, const ExponentialHistogramPoint& point, WireBuffer& out) {
  WriteAttributes(BytesTag(1), point.attributes, out);
  out.Fixed64UnlessZero(Fixed64Tag(2), point.start_unix_ns);
  out.Fixed64UnlessZero(Fixed64Tag(3), point.time_unix_ns);
  out.Fixed64UnlessZero(Fixed64Tag(4), point.count);
  out.Double(Fixed64Tag(5), point.sum);
  out.VarintUnlessZero(VarintTag(6), ZigZag(point.scale));
  out.Fixed64UnlessZero(Fixed64Tag(7), point.zero_count);
  size_t positive = out.BeginMessage(BytesTag(8));
  out.VarintUnlessZero(VarintTag(1), ZigZag(point.positive_offset));
  if (!point.positive_counts.empty()) {
    size_t counts = out.BeginMessage(BytesTag(2));
    for (uint64_t count : point.positive_counts) out.Commit(PutVarint(out.Room(10), count));
    out.EndMessage(counts);
  }
  out.EndMessage(positive);
  WriteExemplars(BytesTag(11), point.exemplars, out);
  if (point.count > 0) {
    out.Double(Fixed64Tag(12), point.min);
    out.Double(Fixed64Tag(13), point.max);
  }
}

uint8_t DataTag(MetricType type) {
  switch (type) {
    case MetricType::kGauge:
      return BytesTag(5);
    case MetricType::kSum:
      return BytesTag(7);
    case MetricType::kHistogram:
      return BytesTag(9);
    case MetricType::kExponentialHistogram:
      return BytesTag(10);
  }
  return BytesTag(5);
}

// Writes points from `first` on while they fit. Returns how many were written; nothing of the
// metric stays when zero.
template <typename Point>
size_t WriteMetric(const Metric& metric, const std::vector<Point>& points, size_t first,
                   RequestBuilder& builder) {
  const MetricDescriptor& descriptor = *metric.descriptor;
  WireBuffer& out = builder.Items(metric.resource);
  size_t rollback = out.size();
  size_t message = out.BeginMessage(kItemTag);
  WriteText(BytesTag(1), descriptor.name, out);
  WriteText(BytesTag(2), descriptor.description, out);
  WriteText(BytesTag(3), descriptor.unit, out);
  size_t data = out.BeginMessage(DataTag(descriptor.type));
  size_t written = 0;
  while (first + written < points.size()) {
    size_t before = out.size();
    size_t point = out.BeginMessage(BytesTag(1));
    WritePoint(descriptor, points[first + written], out);
    out.EndMessage(point);
    if (!builder.Fits()) {
      out.Truncate(before);
      break;
    }
    ++written;
  }
  if (written == 0) {
    builder.Undo(rollback);
    return 0;
  }
  if (descriptor.type != MetricType::kGauge) {
    out.Varint(VarintTag(2), static_cast<uint64_t>(metric.temporality));
  }
  if (descriptor.type == MetricType::kSum && descriptor.monotonic) out.Varint(VarintTag(3), 1);
  out.EndMessage(data);
  out.EndMessage(message);
  return written;
}

size_t WriteMetric(const Metric& metric, size_t first, RequestBuilder& builder) {
  switch (metric.descriptor->type) {
    case MetricType::kSum:
    case MetricType::kGauge:
      return WriteMetric(metric, metric.numbers, first, builder);
    case MetricType::kHistogram:
      return WriteMetric(metric, metric.histograms, first, builder);
    case MetricType::kExponentialHistogram:
      return WriteMetric(metric, metric.exponential_histograms, first, builder);
  }
  return 0;
}

}  // namespace

EncodedPart TraceEncoder::Encode(std::span<const Span> spans, std::string& body) {
  body.clear();
  EncodedPart part;
  for (const Span& span : spans) {
    WireBuffer& items = builder_.Items(span.resource);
    size_t before = items.size();
    WriteSpan(span, items);
    if (!builder_.Fits()) {
      builder_.Undo(before);
      if (!builder_.empty()) break;
      ++part.consumed;  // alone in a request and still too large
      break;
    }
    ++part.consumed;
    ++part.encoded;
  }
  if (part.encoded > 0) builder_.Build(body);
  builder_.Clear();
  return part;
}

EncodedPart MetricEncoder::Encode(std::span<const Metric> metrics, MetricCursor& cursor,
                                  std::string& body) {
  body.clear();
  EncodedPart part;
  while (cursor.metric < metrics.size()) {
    const Metric& metric = metrics[cursor.metric];
    size_t count = CountPoints(metric);
    if (cursor.point >= count) {
      ++cursor.metric;
      cursor.point = 0;
      continue;
    }
    size_t written = WriteMetric(metric, cursor.point, builder_);
    part.consumed += written;
    part.encoded += written;
    cursor.point += written;
    if (cursor.point >= count) continue;
    if (!builder_.empty()) break;
    ++part.consumed;  // one point that no request can take
    ++cursor.point;
  }
  if (part.encoded > 0) builder_.Build(body);
  builder_.Clear();
  return part;
}

size_t CountPoints(const Metric& metric) {
  if (metric.descriptor == nullptr) return 0;
  switch (metric.descriptor->type) {
    case MetricType::kSum:
    case MetricType::kGauge:
      return metric.numbers.size();
    case MetricType::kHistogram:
      return metric.histograms.size();
    case MetricType::kExponentialHistogram:
      return metric.exponential_histograms.size();
  }
  return 0;
}

size_t CountPoints(std::span<const Metric> metrics) {
  size_t count = 0;
  for (const Metric& metric : metrics) count += CountPoints(metric);
  return count;
}

}  // namespace zerotap::otlp
