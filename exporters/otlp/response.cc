#include "exporters/otlp/response.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "opentelemetry/proto/collector/trace/v1/trace_service.pb.h"

namespace zerotap::otlp {
namespace {

using google::protobuf::internal::WireFormatLite;
using Json = nlohmann::json;

constexpr int64_t kMaxDelaySeconds = 86'400;
// Parsed, a megabyte of "[" takes eighty. No response is as long.
constexpr size_t kMaxJsonBytes = size_t{256} << 10;

// The fields of one message, in order; everything that is not asked for is skipped.
class FieldReader {
 public:
  explicit FieldReader(std::string_view message)
      : input_(reinterpret_cast<const uint8_t*>(message.data()),
               static_cast<int>(std::min<size_t>(message.size(), INT32_MAX))) {}

  // False at the end, and when the rest cannot be read.
  bool Next() {
    while (uint32_t tag = input_.ReadTag()) {
      number = WireFormatLite::GetTagFieldNumber(tag);
      bytes.clear();
      varint = 0;
      switch (WireFormatLite::GetTagWireType(tag)) {
        case WireFormatLite::WIRETYPE_LENGTH_DELIMITED: {
          uint32_t size = 0;
          return input_.ReadVarint32(&size) && input_.ReadString(&bytes, static_cast<int>(size));
        }
        case WireFormatLite::WIRETYPE_VARINT:
          return input_.ReadVarint64(&varint);
        default:
          if (!WireFormatLite::SkipField(&input_, tag)) return false;
      }
    }
    return false;
  }

  int number = 0;
  std::string bytes;
  uint64_t varint = 0;

 private:
  google::protobuf::io::CodedInputStream input_;
};

// google.protobuf.Duration { 1: seconds, 2: nanos }
std::chrono::milliseconds ReadDuration(std::string_view bytes) {
  FieldReader fields(bytes);
  int64_t seconds = 0;
  int64_t nanos = 0;
  while (fields.Next()) {
    if (fields.number == 1) seconds = static_cast<int64_t>(fields.varint);
    if (fields.number == 2) nanos = static_cast<int64_t>(fields.varint);
  }
  seconds = std::clamp<int64_t>(seconds, 0, kMaxDelaySeconds);
  nanos = std::clamp<int64_t>(nanos, 0, 999'999'999);
  return std::chrono::milliseconds(seconds * 1000 + (nanos + 999'999) / 1'000'000);
}

// google.protobuf.Any { 1: type_url, 2: value } of google.rpc.RetryInfo { 1: retry_delay }
std::optional<std::chrono::milliseconds> ReadRetryInfo(std::string_view any) {
  constexpr std::string_view kType = "/google.rpc.RetryInfo";
  FieldReader fields(any);
  std::string type;
  std::string value;
  while (fields.Next()) {
    if (fields.number == 1) type = fields.bytes;
    if (fields.number == 2) value = fields.bytes;
  }
  if (type.size() < kType.size() || type.substr(type.size() - kType.size()) != kType) {
    return std::nullopt;
  }
  FieldReader info(value);
  std::chrono::milliseconds delay{0};
  while (info.Next()) {
    if (info.number == 1) delay = ReadDuration(info.bytes);
  }
  return delay;
}

uint64_t NotNegative(int64_t value) { return value > 0 ? static_cast<uint64_t>(value) : 0; }

// 64-bit integers are strings in OTLP's JSON, but receivers may read and write numbers.
int64_t JsonInteger(const Json& value) {
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_string()) return 0;
  const std::string& text = value.get_ref<const std::string&>();
  int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

std::optional<ExportResponse> ReadProtobufResponse(std::string_view body) {
  opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse parsed;
  if (body.size() > INT32_MAX ||
      !parsed.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return std::nullopt;
  }
  const auto& partial = parsed.partial_success();
  return ExportResponse{NotNegative(partial.rejected_spans()), partial.error_message()};
}

std::optional<ExportResponse> ReadJsonResponse(std::string_view body) {
  if (body.size() > kMaxJsonBytes) return std::nullopt;
  const Json parsed = Json::parse(body, nullptr, false);
  if (!parsed.is_object()) return std::nullopt;
  ExportResponse response;
  const auto partial = parsed.find("partialSuccess");
  if (partial == parsed.end() || !partial->is_object()) return response;
  for (const char* name : {"rejectedSpans", "rejectedDataPoints"}) {
    const auto rejected = partial->find(name);
    if (rejected != partial->end()) response.rejected = NotNegative(JsonInteger(*rejected));
  }
  const auto message = partial->find("errorMessage");
  if (message != partial->end() && message->is_string()) {
    response.message = message->get<std::string>();
  }
  return response;
}

RpcStatus ReadProtobufStatus(std::string_view body) {
  RpcStatus status;
  FieldReader fields(body);
  while (fields.Next()) {
    if (fields.number == 2) status.message = fields.bytes;
    if (fields.number != 3) continue;
    if (auto delay = ReadRetryInfo(fields.bytes)) status.retry_delay = delay;
  }
  return status;
}

std::string ReadJsonStatusMessage(std::string_view body) {
  if (body.size() > kMaxJsonBytes) return {};
  const Json parsed = Json::parse(body, nullptr, false);
  if (!parsed.is_object()) return {};
  const auto message = parsed.find("message");
  return message != parsed.end() && message->is_string() ? message->get<std::string>() : "";
}

}  // namespace zerotap::otlp
