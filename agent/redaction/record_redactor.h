// What of a kernel record may go into a recording that is handed on: `zerotap run
// --record-payload`.
//
// Redacted, a recording replays to the same requests with the same sizes, times and outcomes, and
// holds no header value, target, body, SQL value, identifier, parameter or row, no password, no
// command line. What cannot be understood is blanked whole. docs/operations.md lists what stays.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "agent/base/bytes.h"
#include "agent/redaction/blanker.h"
#include "bpf/abi/event.h"

namespace zerotap {

enum class RecordedPayload : uint8_t { kAll, kRedacted, kNone };

class RecordRedactor {
 public:
  // `key` must not be in the recording.
  RecordRedactor(RecordedPayload payload, uint64_t key) : payload_(payload), key_(key) {}

  // The record as it may be written: itself, or a copy that is good until the next call. Empty: not
  // at all.
  ByteSpan Redact(ByteSpan record);

  static constexpr size_t kMaxConnections = 65536;

 private:
  struct Connection {
    std::unique_ptr<Blanker> blanker;
    uint64_t next[2] = {0, 0};
    bool begun[2] = {false, false};
    int last_direction = -1;
  };
  void RedactData(std::vector<uint64_t>& copy);
  void Blank(const zt_data_event& data, std::span<char> payload);

  const RecordedPayload payload_;
  const uint64_t key_;
  std::unordered_map<uint64_t, Connection> connections_;
  std::vector<uint64_t> copy_;
  size_t size_ = 0;  // of the record in copy_
};

}  // namespace zerotap
