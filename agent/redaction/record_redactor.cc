#include "agent/redaction/record_redactor.h"

#include <algorithm>
#include <cstring>

namespace zerotap {
namespace {

template <typename T>
T* As(std::vector<uint64_t>& words, size_t size) {
  return size >= sizeof(T) ? reinterpret_cast<T*>(words.data()) : nullptr;
}

template <size_t N>
void Clear(char (&field)[N]) {
  std::memset(field, 0, N);
}

}  // namespace

ByteSpan RecordRedactor::Redact(ByteSpan record) {
  if (payload_ == RecordedPayload::kAll) return record;
  if (record.size() < sizeof(zt_event_header)) return {};
  copy_.assign((record.size() + 7) / 8, 0);
  std::memcpy(copy_.data(), record.data(), record.size());
  auto* header = reinterpret_cast<zt_event_header*>(copy_.data());
  if (header->size < sizeof(zt_event_header) || header->size > record.size()) return {};
  size_ = header->size;
  switch (header->kind) {
    case ZT_EVENT_DATA:
      RedactData(copy_);
      break;
    case ZT_EVENT_CONNECTION_OPENED:
      if (auto* opened = As<zt_connection_opened_event>(copy_, size_)) {
        Clear(opened->comm);
        for (char& c : opened->unix_path) {
          if (c != '\0' && c != '/' && c != '@') c = 'x';
        }
      }
      break;
    case ZT_EVENT_CONNECTION_CLOSED:
      if (auto* closed = As<zt_connection_closed_event>(copy_, size_)) {
        connections_.erase(closed->connection_id);
      }
      break;
    case ZT_EVENT_PROCESS_EXEC:
      if (auto* exec = As<zt_process_exec_event>(copy_, size_)) {
        Clear(exec->comm);
        Clear(exec->filename);
        Clear(exec->args);
        exec->args_size = 0;
      }
      break;
    case ZT_EVENT_CONNECTION_SHUTDOWN:
    case ZT_EVENT_PROCESS_FORK:
    case ZT_EVENT_PROCESS_EXIT:
      break;  // numbers only
    default:
      return {};  // nothing is known of what it says
  }
  return {reinterpret_cast<const std::byte*>(copy_.data()), size_};
}

void RecordRedactor::RedactData(std::vector<uint64_t>& copy) {
  auto* data = As<zt_data_event>(copy, size_);
  if (data == nullptr) return;
  char* payload = reinterpret_cast<char*>(copy.data()) + sizeof(*data);
  const size_t room = size_ - sizeof(*data);
  const bool malformed = uint64_t{data->head} + data->tail > room ||
                         uint64_t{data->head} + data->tail > data->length || data->direction > 1;
  if (payload_ == RecordedPayload::kNone || malformed) {
    std::memset(payload, 0, room);
    if (malformed) return;
    data->head = data->tail = 0;
    data->header.size = sizeof(*data);
    size_ = sizeof(*data);
    return;
  }
  const size_t captured = data->head + data->tail;
  std::memset(payload + captured, 0, room - captured);
  Blank(*data, {payload, captured});
}

void RecordRedactor::Blank(const zt_data_event& data, std::span<char> payload) {
  if (connections_.size() >= kMaxConnections && !connections_.contains(data.connection_id)) {
    connections_.clear();  // they are recognised again, or blanked whole
  }
  Connection& connection = connections_[data.connection_id];
  const int direction = data.direction;
  uint64_t& next = connection.next[direction];
  const bool behind = connection.begun[direction] && data.offset < next;
  if ((data.flags & ZT_DATA_PEEK) != 0 || behind) {
    std::fill(payload.begin(), payload.end(), '\0');
    return;
  }
  if (data.length == 0) return;
  const bool run_start = connection.last_direction != direction;
  const bool gap = connection.begun[direction] && data.offset > next;
  std::span<char> head = payload.first(data.head);
  if (!connection.blanker && run_start) {
    connection.blanker = BlankerFor(direction, {head.data(), head.size()}, key_);
  } else if (connection.blanker && gap) {
    connection.blanker->Gap(direction, data.offset - next);
  }
  connection.last_direction = direction;
  connection.begun[direction] = true;
  next = data.offset + data.length;
  if (!connection.blanker) {
    std::fill(payload.begin(), payload.end(), '\0');
    return;
  }
  connection.blanker->Bytes(direction, head, run_start);
  const uint64_t skipped = data.length - payload.size();
  if (skipped > 0) connection.blanker->Gap(direction, skipped);
  connection.blanker->Bytes(direction, payload.subspan(data.head), false);
}

}  // namespace zerotap
