#include "agent/protocols/http1_pending.h"

#include <utility>

#include "agent/base/bytes.h"
#include "agent/protocols/http1_fields.h"
#include "agent/protocols/otlp_export.h"

namespace zerotap {
namespace {

constexpr size_t kMaxHostBytes = 256;
constexpr size_t kMaxValueBytes = 1024;
constexpr size_t kKeepTextBytes = 4096;  // more than that is given back after use

// Of this thread's connections: the ones that were answered, for the next to come. The latest
// first, which is still in the CPU's cache.
class SpareRequests {
 public:
  ~SpareRequests() {
    while (first_ != nullptr) delete std::exchange(first_, first_->next);
  }
  PendingRequest* Take() {
    if (first_ == nullptr) return new PendingRequest;
    --count_;
    return std::exchange(first_, first_->next);
  }
  void Give(PendingRequest* request) {
    if (count_ == kMaxSpare) {
      delete request;
      return;
    }
    ++count_;
    request->next = std::exchange(first_, request);
  }

 private:
  static constexpr size_t kMaxSpare = 512;

  PendingRequest* first_ = nullptr;
  size_t count_ = 0;
};

SpareRequests& Spare() {
  static thread_local SpareRequests spare;
  return spare;
}

}  // namespace

void StoredFields::Clear() {
  if (text_.capacity() > kKeepTextBytes) {
    text_ = std::string();
  } else {
    text_.clear();
  }
  headers_.clear();
}

StoredFields::Piece StoredFields::Add(std::string_view value, size_t max_bytes) {
  value = value.substr(0, max_bytes);
  Piece piece{static_cast<uint32_t>(text_.size()), static_cast<uint32_t>(value.size())};
  text_.append(value);
  if (FindNear(value.data(), value.data() + value.size(), '\n') == nullptr) return piece;
  // A folded value is one line.
  for (size_t i = piece.offset; i < text_.size(); ++i) {
    if (text_[i] == '\r' || text_[i] == '\n') text_[i] = ' ';
  }
  return piece;
}

void StoredFields::AddHeaders(const std::vector<HeaderField>& fields) {
  for (const HeaderField& field : fields) {
    headers_.push_back({field.name, Add(field.value, kMaxValueBytes)});
  }
}

void StoredFields::ViewHeaders(std::vector<HeaderField>& out) const {
  out.clear();
  for (const StoredHeader& header : headers_) out.push_back({header.name, View(header.value)});
}

void PendingRequest::Store(const RequestHead& head, const std::vector<HeaderField>& captured,
                           size_t max_target_bytes) {
  fields.Clear();
  body_size.reset();
  version = head.version;
  is_head = head.method == "HEAD";
  is_connect = head.method == "CONNECT";
  otlp_export = OtlpExportOf(head.method, head.target, head.content_type);
  method = fields.Add(head.method, kMaxValueBytes);
  target = fields.Add(head.target, max_target_bytes);
  std::string_view authority = is_connect ? head.target : TargetAuthority(head.target);
  if (authority.empty()) authority = head.host;
  host = fields.Add(authority, kMaxHostBytes);
  user_agent = fields.Add(head.user_agent, kMaxValueBytes);
  request_id = fields.Add(head.request_id, kMaxValueBytes);
  std::string_view client;
  if (!head.forwarded.empty() || !head.x_forwarded_for.empty()) {
    client = ForwardedClient(head.forwarded, head.x_forwarded_for);
  }
  forwarded_for = fields.Add(client, kMaxHostBytes);
  B3Ids ids;
  if (!head.b3.empty() || !head.b3_trace_id.empty()) {
    ids = ReadB3(head.b3, head.b3_trace_id, head.b3_span_id);
  }
  b3_trace_id = fields.Add(ids.trace_id, kMaxValueBytes);
  b3_span_id = fields.Add(ids.span_id, kMaxValueBytes);
  fields.AddHeaders(captured);
}

void PendingRequest::Fill(HttpFields& http) const {
  http.method = fields.View(method);
  http.target = fields.View(target);
  http.scheme = "http";
  http.host = fields.View(host);
  http.user_agent = fields.View(user_agent);
  http.forwarded_for = fields.View(forwarded_for);
  http.b3_trace_id = fields.View(b3_trace_id);
  http.b3_span_id = fields.View(b3_span_id);
  http.request_id = fields.View(request_id);
  http.version = version;
  http.request_body_size = body_size;
  http.otlp_export = otlp_export;
}

PendingQueue::~PendingQueue() {
  while (!empty()) PopFront();
}

PendingRequest& PendingQueue::Push() {
  PendingRequest* request = Spare().Take();
  request->next = nullptr;
  if (last_ == nullptr) {
    first_ = request;
  } else {
    last_->next = request;
  }
  last_ = request;
  ++count_;
  return *request;
}

void PendingQueue::PopFront() {
  PendingRequest* request = std::exchange(first_, first_->next);
  if (first_ == nullptr) last_ = nullptr;
  --count_;
  Spare().Give(request);
}

size_t PendingQueue::MemorySize() const {
  size_t bytes = 0;
  for (const PendingRequest* request = first_; request != nullptr; request = request->next) {
    bytes += sizeof(*request) + request->fields.MemorySize() + request->response_fields.MemorySize();
  }
  return bytes;
}

}  // namespace zerotap
