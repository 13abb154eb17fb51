// Requests of one connection that wait for their responses, oldest first. What they are kept in is
// shared by all connections: one that is quiet holds none of it, and in a steady state nothing is
// allocated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/protocols/exchange.h"
#include "agent/protocols/http1_head.h"

namespace zerotap {

// Header fields with everything that must outlive the chunk they came in.
class StoredFields {
 public:
  struct Piece {
    uint32_t offset = 0;
    uint32_t size = 0;
  };

  void Clear();
  Piece Add(std::string_view value, size_t max_bytes);
  void AddHeaders(const std::vector<HeaderField>& fields);
  std::string_view View(Piece piece) const { return {text_.data() + piece.offset, piece.size}; }
  void ViewHeaders(std::vector<HeaderField>& out) const;
  size_t text_bytes() const { return text_.size(); }
  size_t MemorySize() const {
    return text_.capacity() + headers_.capacity() * sizeof(StoredHeader);
  }

 private:
  struct StoredHeader {
    std::string_view name;  // of the configuration
    Piece value;
  };
  std::string text_;
  std::vector<StoredHeader> headers_;
};

struct PendingRequest {
  WorkId work = 0;
  uint64_t start_ns = 0;
  uint64_t request_offset = 0;
  uint32_t tgid = 0;
  uint32_t tid = 0;
  bool is_head = false;      // its response has no body
  bool is_connect = false;   // a 2xx leaves HTTP
  OtlpExport otlp_export = OtlpExport::kNone;
  std::string_view version;  // constant text
  std::optional<uint64_t> body_size;
  PendingRequest* next = nullptr;  // in its queue
  StoredFields fields;
  StoredFields response_fields;  // of the response that is being read
  StoredFields::Piece method, target, host, user_agent, forwarded_for, b3_trace_id, b3_span_id,
      request_id;

  // Takes over what the head says. The host may be a part of the target.
  void Store(const RequestHead& head, const std::vector<HeaderField>& captured,
             size_t max_target_bytes);
  void Fill(HttpFields& http) const;
};

class PendingQueue {
 public:
  PendingQueue() = default;
  ~PendingQueue();
  PendingQueue(const PendingQueue&) = delete;
  PendingQueue& operator=(const PendingQueue&) = delete;

  size_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  PendingRequest& front() { return *first_; }
  PendingRequest& back() { return *last_; }
  // To be filled; values of its last use are still there.
  PendingRequest& Push();
  void PopFront();
  size_t MemorySize() const;

 private:
  PendingRequest* first_ = nullptr;
  PendingRequest* last_ = nullptr;
  size_t count_ = 0;
};

}  // namespace zerotap
