// Recording files: what the kernel sent and what the agent knew of the processes, so that `zerotap replay` gives the same
// spans without root. Layout (host byte order, little-endian machines only):
//   "ZTREC\0\0\1"  8 bytes, the last is the format version
//   u64 id seed, i64 realtime - monotonic (ns)
//   records, each 8-byte aligned: either a kernel record (bpf/abi/event.h) or
//   kind 0x1001: a process: zt_event_header, u32 tgid, u32 traced, JSON text of the resource attributes, zero padding.
//   kind 0x1002: the pipeline's clock moved on: zt_event_header alone (time_ns).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/unique_fd.h"
#include "agent/events/event_source.h"

namespace zerotap {

struct RecordingHeader {
  uint64_t id_seed = 0;
  int64_t realtime_minus_monotonic_ns = 0;
};

struct RecordedProcess {
  uint32_t tgid = 0;
  bool traced = true;
  std::string_view resource_json;
};

// Appends; a write error stops the recording and is returned once by Flush (the agent goes on without it).
class RecordingWriter {
 public:
  static Result<std::unique_ptr<RecordingWriter>> Create(const std::string& path, const RecordingHeader& header);
  ~RecordingWriter();
  void WriteRecord(ByteSpan record);
  void WriteProcess(const RecordedProcess& process);
  void WriteClock(uint64_t now_ns);
  Status Flush();

 private:
  explicit RecordingWriter(UniqueFd fd) : fd_(std::move(fd)) {}
  void Append(ByteSpan bytes);
  UniqueFd fd_;
  std::vector<std::byte> buffer_;
  int write_error_ = 0;
};

struct RecordingCallbacks {
  std::function<void(ByteSpan)> on_record;
  std::function<void(const RecordedProcess&)> on_process;
  std::function<void(uint64_t now_ns)> on_clock;
};

class RecordingReader {
 public:
  // True for the first bytes of a recording, of whatever format version.
  static bool HasMagic(ByteSpan first_bytes);
  static Result<std::unique_ptr<RecordingReader>> Open(const std::string& path);
  // The same from what is open already; `already_read` was taken from it.
  static Result<std::unique_ptr<RecordingReader>> Open(UniqueFd fd, const std::string& name,
                                                       std::string_view already_read);
  const RecordingHeader& header() const { return header_; }
  // Reads to the end. A record cut short at the end of the file is not an error (the agent may have been killed).
  Status ReadAll(const RecordingCallbacks& callbacks);

 private:
  RecordingReader(UniqueFd fd, RecordingHeader header) : fd_(std::move(fd)), header_(header) {}
  UniqueFd fd_;
  RecordingHeader header_;
};

}  // namespace zerotap
