#include "agent/events/event.h"

namespace zerotap {
namespace {

template <typename T>
const T* ViewAs(ByteSpan bytes) {
  return bytes.size() >= sizeof(T) ? reinterpret_cast<const T*>(bytes.data()) : nullptr;
}

}  // namespace

std::optional<Event> DecodeEvent(ByteSpan bytes) {
  Event event;
  event.header = ViewAs<zt_event_header>(bytes);
  if (event.header == nullptr || event.header->size > bytes.size()) return std::nullopt;
  bytes = bytes.first(event.header->size);
  bool known = false;
  switch (event.header->kind) {
    case ZT_EVENT_CONNECTION_OPENED:
      known = (event.opened = ViewAs<zt_connection_opened_event>(bytes)) != nullptr;
      break;
    case ZT_EVENT_DATA: {
      event.data = ViewAs<zt_data_event>(bytes);
      if (event.data == nullptr) return std::nullopt;
      ByteSpan payload = bytes.subspan(sizeof(zt_data_event));
      uint64_t captured = uint64_t{event.data->head} + event.data->tail;
      if (captured > payload.size() || captured > event.data->length ||
          event.data->direction > ZT_DIRECTION_INGRESS) {
        return std::nullopt;
      }
      event.head = payload.first(event.data->head);
      event.tail = payload.subspan(event.data->head, event.data->tail);
      known = true;
      break;
    }
    case ZT_EVENT_CONNECTION_SHUTDOWN:
      known = (event.shutdown = ViewAs<zt_connection_shutdown_event>(bytes)) != nullptr &&
              event.shutdown->direction <= ZT_DIRECTION_INGRESS;
      break;
    case ZT_EVENT_CONNECTION_CLOSED:
      known = (event.closed = ViewAs<zt_connection_closed_event>(bytes)) != nullptr;
      break;
    case ZT_EVENT_PROCESS_EXEC:
      known = (event.exec = ViewAs<zt_process_exec_event>(bytes)) != nullptr &&
              event.exec->args_size <= ZT_EXEC_ARGS_SIZE;
      break;
    case ZT_EVENT_PROCESS_FORK:
      known = (event.fork = ViewAs<zt_process_fork_event>(bytes)) != nullptr;
      break;
    case ZT_EVENT_PROCESS_EXIT:
      known = (event.exit = ViewAs<zt_process_exit_event>(bytes)) != nullptr;
      break;
    default:
      break;
  }
  if (!known) return std::nullopt;
  return event;
}

}  // namespace zerotap
