// A recording through the very same pipeline: for `zerotap replay` and for the tests.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agent/base/result.h"
#include "agent/events/recording.h"
#include "agent/pipeline/pipeline.h"
#include "agent/telemetry/resource.h"

namespace zerotap {

// Resource attributes as recorded: a JSON array of [key, value] pairs, in order.
std::string ResourceToJson(const Resource& resource);
// The error names what is wrong; hostile text gives an error, never an exception.
Result<ResourcePtr> ResourceFromJson(std::string_view json);

// Hands records to a pipeline of their own and its spans to `on_spans` as they come.
class Replayer {
 public:
  using OnSpans = std::function<void(std::vector<Span>&&)>;
  using OnEnd = std::function<void(Pipeline&)>;

  // `resolve` is asked about processes that OnProcess did not tell of; it may be empty.
  static Result<std::unique_ptr<Replayer>> Create(const RecordingHeader& header,
                                                  PipelineOptions options, OnSpans on_spans,
                                                  ResolveProcess resolve = {});
  void OnRecord(ByteSpan bytes);
  void OnProcess(TracedProcess process);
  void OnClock(uint64_t now_ns);
  void Finish(const OnEnd& on_end);

 private:
  // In a replay nobody listens.
  class NoControl final : public CaptureControl {
   public:
    void SetVerdict(uint64_t, const zt_verdict&) override {}
    void SetProcessPolicy(uint32_t, zt_process_policy) override {}
    void ForgetProcess(uint32_t) override {}
  };

  Replayer(OnSpans on_spans, ResolveProcess resolve)
      : on_spans_(std::move(on_spans)), resolve_(std::move(resolve)) {}
  void GiveSpans();

  const OnSpans on_spans_;
  const ResolveProcess resolve_;
  NoControl control_;
  std::unordered_map<uint32_t, TracedProcess> processes_;
  std::unique_ptr<Pipeline> pipeline_;
  uint64_t now_ns_ = 0;
};

// One item of a recording, in memory.
struct RecordedItem {
  enum class Kind { kRecord, kProcess, kClock };
  Kind kind = Kind::kRecord;
  std::vector<uint64_t> record;  // 8-byte aligned storage
  size_t record_size = 0;
  TracedProcess process;
  uint64_t now_ns = 0;

  ByteSpan bytes() const { return {reinterpret_cast<const std::byte*>(record.data()), record_size}; }
};

struct Recording {
  RecordingHeader header;
  std::vector<RecordedItem> items;
};
Result<Recording> LoadRecording(const std::string& path);

// Feeds the items to a new pipeline; `on_spans` gets finished spans as they come, and at the end `on_end` sees the pipeline.
// `options.id_seed` is replaced by the recording's.
Status ReplayItems(const RecordingHeader& header, const std::vector<RecordedItem>& items,
                   PipelineOptions options,
                   const std::function<void(std::vector<Span>&&)>& on_spans,
                   const std::function<void(Pipeline&)>& on_end);
// The same from a file, without holding it in memory.
Status ReplayReader(RecordingReader& reader, PipelineOptions options,
                    const std::function<void(std::vector<Span>&&)>& on_spans,
                    const std::function<void(Pipeline&)>& on_end);
Status ReplayFile(const std::string& path, PipelineOptions options,
                  const std::function<void(std::vector<Span>&&)>& on_spans,
                  const std::function<void(Pipeline&)>& on_end);

}  // namespace zerotap
