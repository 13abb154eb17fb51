// A recording through the very same pipeline: for `zerotap replay` and for the tests.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
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

// The record of an answer about a thread.
RecordedThread RecordThread(uint32_t tgid, uint32_t tid, const std::optional<ThreadTimes>& times);

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
Status ReplayFile(const std::string& path, PipelineOptions options,
                  const std::function<void(std::vector<Span>&&)>& on_spans,
                  const std::function<void(Pipeline&)>& on_end);

}  // namespace zerotap
