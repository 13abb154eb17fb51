#include "tests/bpf/conformance/witness.h"

#include <sys/stat.h>

namespace zerotap::conformance {

Result<std::unique_ptr<Witness>> Witness::Create(CaptureTier tier) {
  CaptureOptions options;
  options.tier = tier;
  options.exclude_self = false;
  // Everything is wanted: content is judged byte by byte.
  options.detect_budget_kib = 1024 * 1024;
  auto capture = BpfCapture::Create(options);
  if (!capture) return tl::unexpected(capture.error());
  struct stat status {};
  if (::stat("/proc/self/ns/net", &status) != 0) return FailErrno("/proc/self/ns/net");
  return std::unique_ptr<Witness>(
      new Witness(std::move(*capture), static_cast<uint32_t>(status.st_ino)));
}

void Witness::Take(ByteSpan record) {
  ++records_;
  const auto* header = reinterpret_cast<const zt_event_header*>(record.data());
  switch (header->kind) {
    case ZT_EVENT_CONNECTION_OPENED: {
      const auto* event = reinterpret_cast<const zt_connection_opened_event*>(record.data());
      SeenEnd& end = ends_[event->connection_id];
      if (!end.data.empty() && end.opened_count == 0 && event->netns == netns_)
        malformed_.push_back("data came before the opened record");
      end.opened = *event;
      ++end.opened_count;
      break;
    }
    case ZT_EVENT_DATA: {
      const auto* event = reinterpret_cast<const zt_data_event*>(record.data());
      if (record.size() != sizeof(*event) + event->head + event->tail ||
          uint64_t{event->head} + event->tail > event->length) {
        malformed_.push_back("a data record whose sizes contradict each other");
        break;
      }
      ends_[event->connection_id].data.push_back(
          {*event, std::string(reinterpret_cast<const char*>(event + 1),
                               record.size() - sizeof(*event))});
      break;
    }
    case ZT_EVENT_CONNECTION_SHUTDOWN: {
      const auto* event = reinterpret_cast<const zt_connection_shutdown_event*>(record.data());
      ends_[event->connection_id].shutdowns.push_back(*event);
      break;
    }
    case ZT_EVENT_CONNECTION_CLOSED: {
      const auto* event = reinterpret_cast<const zt_connection_closed_event*>(record.data());
      ends_[event->connection_id].closed.push_back(*event);
      break;
    }
    case ZT_EVENT_PROCESS_EXEC:
      ++exec_records_;
      break;
    case ZT_EVENT_PROCESS_FORK:
    case ZT_EVENT_PROCESS_EXIT:
      break;
    default:
      malformed_.push_back("a record of kind " + std::to_string(header->kind));
  }
}

void Witness::Collect() {
  while (true) {
    auto count = capture_->Drain(0, [this](ByteSpan record) { Take(record); });
    if (!count) Die(count.error().message);
    if (*count == 0) return;
  }
}

const SeenEnd* Witness::Find(const End& end) const {
  for (auto entry = ends_.rbegin(); entry != ends_.rend(); ++entry) {
    const zt_connection_opened_event& opened = entry->second.opened;
    if (entry->second.opened_count == 0 || opened.family != end.told_family) continue;
    bool same = end.remote_port != 0
                    ? opened.netns == netns_ && opened.local_port == end.local_port &&
                          opened.remote_port == end.remote_port
                    : opened.socket_inode == end.inode;
    if (same) return &entry->second;
  }
  return nullptr;
}

void Witness::Clear() {
  Collect();
  ends_.clear();
}

}  // namespace zerotap::conformance
