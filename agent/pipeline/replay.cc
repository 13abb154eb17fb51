#include "agent/pipeline/replay.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>

#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

ThreadTimes ThreadTimesOf(const RecordedThread& recorded) {
  ThreadTimes times;
  times.at_ns = recorded.header.time_ns;
  times.since_ns = recorded.since_ns;
  times.on_cpu_ns = recorded.on_cpu_ns;
  times.cpu_queue_ns = recorded.cpu_queue_ns;
  std::copy(std::begin(recorded.waits_ns), std::end(recorded.waits_ns), times.waits_ns.begin());
  return times;
}

Result<TracedProcess> ProcessOf(const RecordedProcess& recorded) {
  TracedProcess process;
  process.tgid = recorded.tgid;
  process.traced = recorded.traced;
  if (!recorded.traced) return process;
  Result<ResourcePtr> resource = ResourceFromJson(recorded.resource_json);
  if (!resource) return tl::unexpected<Error>(resource.error());
  process.resource = std::move(*resource);
  return process;
}

}  // namespace

RecordedThread RecordThread(uint32_t tgid, uint32_t tid, const std::optional<ThreadTimes>& times) {
  RecordedThread record{};
  record.header.size = sizeof(record);
  record.header.kind = kRecordedThreadKind;
  record.tgid = tgid;
  record.tid = tid;
  if (!times) return record;
  record.known = 1;
  record.header.time_ns = times->at_ns;
  record.since_ns = times->since_ns;
  record.on_cpu_ns = times->on_cpu_ns;
  record.cpu_queue_ns = times->cpu_queue_ns;
  static_assert(std::size(decltype(record.waits_ns){}) == std::tuple_size_v<decltype(times->waits_ns)>);
  std::copy(times->waits_ns.begin(), times->waits_ns.end(), std::begin(record.waits_ns));
  return record;
}

Result<std::unique_ptr<Replayer>> Replayer::Create(const RecordingHeader& header,
                                                   PipelineOptions options, OnSpans on_spans,
                                                   ResolveProcess resolve) {
  options.id_seed = header.id_seed;
  auto replayer = std::unique_ptr<Replayer>(new Replayer(std::move(on_spans), std::move(resolve)));
  Replayer* self = replayer.get();
  auto pipeline = Pipeline::Create(options, self->control_, [self](uint32_t tgid) {
    auto found = self->processes_.find(tgid);
    if (found != self->processes_.end()) return std::optional(found->second);
    return self->resolve_ ? self->resolve_(tgid) : std::nullopt;
  });
  if (!pipeline) return tl::unexpected<Error>(pipeline.error());
  replayer->pipeline_ = std::move(*pipeline);
  replayer->pipeline_->SetWallOffset(header.realtime_minus_monotonic_ns);
  replayer->pipeline_->SetThreadReader(
      [self](uint32_t tgid, uint32_t tid) -> std::optional<ThreadTimes> {
        auto found = self->threads_.find(tid);
        if (found == self->threads_.end() || found->second.tgid != tgid ||
            found->second.known == 0) {
          return std::nullopt;
        }
        return ThreadTimesOf(found->second);
      });
  return replayer;
}

void Replayer::OnRecord(ByteSpan bytes) {
  zt_event_header header{};
  if (bytes.size() >= sizeof(header)) std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.kind == kRecordedThreadKind) {
    RecordedThread thread{};
    if (bytes.size() < sizeof(thread)) return;
    std::memcpy(&thread, bytes.data(), sizeof(thread));
    pipeline_->Flush();  // what stands before it was asked before
    threads_[thread.tid] = thread;
    return;
  }
  if (header.time_ns > now_ns_) now_ns_ = header.time_ns;
  pipeline_->HandleRecord(bytes);
}

void Replayer::OnProcess(TracedProcess process) {
  pipeline_->Flush();
  processes_[process.tgid] = std::move(process);
}

void Replayer::OnClock(uint64_t now_ns) {
  if (now_ns > now_ns_) now_ns_ = now_ns;
  pipeline_->Advance(now_ns);
  GiveSpans();
}

void Replayer::Finish(const OnEnd& on_end) {
  pipeline_->Finish(now_ns_);
  GiveSpans();
  if (on_end) on_end(*pipeline_);
}

void Replayer::GiveSpans() {
  std::vector<Span> spans;
  pipeline_->TakeSpans(spans);
  if (!spans.empty()) on_spans_(std::move(spans));
}

std::string ResourceToJson(const Resource& resource) {
  nlohmann::json pairs = nlohmann::json::array();
  for (size_t i = 0; i < resource.attributes.size(); ++i) {
    Attribute attribute = resource.attributes[i];
    nlohmann::json value =
        std::visit([](const auto& typed) { return nlohmann::json(typed); }, attribute.value);
    pairs.push_back({attribute.key, std::move(value)});
  }
  return pairs.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<ResourcePtr> ResourceFromJson(std::string_view text) {
  nlohmann::json pairs = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!pairs.is_array()) return Fail("recorded resource is not a JSON array");
  auto resource = std::make_shared<Resource>();
  for (const nlohmann::json& pair : pairs) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string()) {
      return Fail("recorded resource attribute is not a [key, value] pair");
    }
    const auto& key = pair[0].get_ref<const std::string&>();
    const nlohmann::json& value = pair[1];
    if (value.is_string()) {
      resource->attributes.AddOwnedKey(key, value.get_ref<const std::string&>());
    } else if (value.is_number_integer()) {
      resource->attributes.AddOwnedKeyOf(key, AttributeValue(value.get<int64_t>()));
    } else if (value.is_number()) {
      resource->attributes.AddOwnedKeyOf(key, AttributeValue(value.get<double>()));
    } else if (value.is_boolean()) {
      resource->attributes.AddOwnedKeyOf(key, AttributeValue(value.get<bool>()));
    } else if (value.is_array()) {
      std::vector<std::string_view> items;
      for (const nlohmann::json& item : value) {
        if (!item.is_string()) return Fail("recorded resource list has an item that is no text");
        items.push_back(item.get_ref<const std::string&>());
      }
      resource->attributes.AddOwnedKeyOf(key, AttributeValue(std::move(items)));
    } else {
      return Fail("recorded resource attribute " + key + " has an unknown type");
    }
    if (key == semconv::kProcessPid && value.is_number_integer()) {
      resource->pid = static_cast<uint32_t>(value.get<int64_t>());
    }
  }
  resource->service_name = std::string(resource->attributes.FindText(semconv::kServiceName));
  if (resource->service_name.empty()) return Fail("recorded resource has no service.name");
  return ResourcePtr(std::move(resource));
}

Result<Recording> LoadRecording(const std::string& path) {
  Result<std::unique_ptr<RecordingReader>> reader = RecordingReader::Open(path);
  if (!reader) return tl::unexpected<Error>(reader.error());
  Recording recording;
  recording.header = (*reader)->header();
  Status broken;
  RecordingCallbacks callbacks;
  callbacks.on_record = [&recording](ByteSpan bytes) {
    RecordedItem item;
    item.record.resize((bytes.size() + 7) / 8);
    item.record_size = bytes.size();
    std::memcpy(item.record.data(), bytes.data(), bytes.size());
    recording.items.push_back(std::move(item));
  };
  callbacks.on_process = [&recording, &broken](const RecordedProcess& recorded) {
    Result<TracedProcess> process = ProcessOf(recorded);
    if (!process) {
      broken = tl::unexpected<Error>(process.error());
      return;
    }
    RecordedItem item;
    item.kind = RecordedItem::Kind::kProcess;
    item.process = std::move(*process);
    recording.items.push_back(std::move(item));
  };
  callbacks.on_clock = [&recording](uint64_t now_ns) {
    RecordedItem item;
    item.kind = RecordedItem::Kind::kClock;
    item.now_ns = now_ns;
    recording.items.push_back(std::move(item));
  };
  Status read = (*reader)->ReadAll(callbacks);
  if (!read) return tl::unexpected<Error>(read.error());
  if (!broken) return tl::unexpected<Error>(broken.error());
  return recording;
}

Status ReplayItems(const RecordingHeader& header, const std::vector<RecordedItem>& items,
                   PipelineOptions options,
                   const std::function<void(std::vector<Span>&&)>& on_spans,
                   const std::function<void(Pipeline&)>& on_end) {
  auto replayer = Replayer::Create(header, std::move(options), on_spans);
  if (!replayer) return tl::unexpected<Error>(replayer.error());
  for (const RecordedItem& item : items) {
    switch (item.kind) {
      case RecordedItem::Kind::kRecord:
        (*replayer)->OnRecord(item.bytes());
        break;
      case RecordedItem::Kind::kProcess:
        (*replayer)->OnProcess(item.process);
        break;
      case RecordedItem::Kind::kClock:
        (*replayer)->OnClock(item.now_ns);
        break;
    }
  }
  (*replayer)->Finish(on_end);
  return {};
}

Status ReplayFile(const std::string& path, PipelineOptions options,
                  const std::function<void(std::vector<Span>&&)>& on_spans,
                  const std::function<void(Pipeline&)>& on_end) {
  Result<std::unique_ptr<RecordingReader>> reader = RecordingReader::Open(path);
  if (!reader) return tl::unexpected<Error>(reader.error());
  return ReplayReader(**reader, std::move(options), on_spans, on_end);
}

Status ReplayReader(RecordingReader& reader, PipelineOptions options,
                    const std::function<void(std::vector<Span>&&)>& on_spans,
                    const std::function<void(Pipeline&)>& on_end) {
  auto replayer = Replayer::Create(reader.header(), std::move(options), on_spans);
  if (!replayer) return tl::unexpected<Error>(replayer.error());
  Status broken;
  RecordingCallbacks callbacks;
  callbacks.on_record = [&replayer](ByteSpan bytes) { (*replayer)->OnRecord(bytes); };
  callbacks.on_process = [&replayer, &broken](const RecordedProcess& recorded) {
    Result<TracedProcess> process = ProcessOf(recorded);
    if (process) {
      (*replayer)->OnProcess(std::move(*process));
    } else {
      broken = tl::unexpected<Error>(process.error());
    }
  };
  callbacks.on_clock = [&replayer](uint64_t now_ns) { (*replayer)->OnClock(now_ns); };
  Status read = reader.ReadAll(callbacks);
  (*replayer)->Finish(on_end);
  return read ? broken : read;
}

}  // namespace zerotap
