#include "tests/bpf/conformance/witness.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "agent/base/clock.h"

namespace zerotap::conformance {
namespace {

// An end that opened, or that a unix socket is, by its socket and ports: a socket can connect more
// than once.
uint64_t KeyOf(uint64_t inode, uint16_t local, uint16_t remote) {
  return inode << 32 | uint64_t{local} << 16 | remote;
}

// A TCP server's end has no inode before it is accepted, and ports come again: by its sequence
// numbers.
uint64_t PairOf(uint32_t first_out, uint32_t first_in) {
  return uint64_t{first_out} << 32 | first_in;
}

// A protocol that takes whatever comes, so that every stream is followed to its end.
class Follower final : public Parser {
 public:
  ParseStatus OnData(Direction, const Chunk&) override { return ParseStatus::kOk; }
  ParseStatus OnGap(Direction, const Gap&) override { return ParseStatus::kOk; }
  void OnEnd(Direction, EndReason, uint64_t) override {}
  void OnClose(EndReason, uint64_t) override {}
  void Abandon(DropReason) override {}
  size_t MemorySize() const override { return sizeof(*this); }
};

constexpr Protocol kAnything = {
    "anything", [](const DetectInput&) { return DetectResult{Match::kYes, Role::kClient}; },
    [](Role, bool, const ParserOptions&, ExchangeSink&) -> std::unique_ptr<Parser> {
      return std::make_unique<Follower>();
    },
    {}};
const Protocol* const kProtocols[] = {&kAnything};
constexpr uint64_t kLongAgoNs = 1'000'000'000;

}  // namespace

Witness::Witness(std::unique_ptr<BpfCapture> capture, uint32_t netns)
    : capture_(std::move(capture)),
      tracker_(std::make_unique<ConnectionTracker>(TrackerOptions{}, kProtocols, parser_options_,
                                                   listener_)),
      netns_(netns) {}

bool Witness::IsOwn(const zt_connection_opened_event& opened) const {
  if (opened.family != ZT_FAMILY_UNIX) return opened.netns == netns_;
  std::string name = "@conformance-" + std::to_string(::getpid()) + "-";
  return opened.tgid == static_cast<uint32_t>(::getpid()) ||
         name.compare(0, name.size(), opened.unix_path, name.size()) == 0;
}

void Witness::TakeData(const zt_data_event& event) {
  ByteSpan payload(reinterpret_cast<const std::byte*>(&event + 1), event.head + event.tail);
  if (tracker_->FindExisting(event.connection_id) == nullptr) return;  // of another program
  Connection& connection = tracker_->Find(event.connection_id, event.header.time_ns);
  connection.OnRecord(event, payload.first(event.head), payload.subspan(event.head));
  tracker_->AfterRecord(connection);
  if ((event.flags & ZT_DATA_EOF) != 0)
    tracker_->OnEndOfStream(connection, event.header.time_ns);
}

Result<std::unique_ptr<Witness>> Witness::Create(CaptureTier tier, uint32_t rings) {
  CaptureOptions options;
  options.tier = tier;
  options.rings = rings;
  options.exclude_self = false;
  options.tcp.enabled = true;  // for what reads them beside the transfers
  options.waits = true;
  // Everything is wanted: content is judged byte by byte.
  options.detect_budget_kib = 1024 * 1024;
  auto capture = BpfCapture::Create(options);
  if (!capture) return tl::unexpected(capture.error());
  struct stat status {};
  if (::stat("/proc/self/ns/net", &status) != 0) return FailErrno("/proc/self/ns/net");
  std::unique_ptr<Witness> witness(
      new Witness(std::move(*capture), static_cast<uint32_t>(status.st_ino)));
  witness->Collect();
  if (!witness->ends_.empty()) witness->last_old_ = witness->ends_.rbegin()->first;
  return witness;
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
      if (IsOwn(*event)) tracker_->OnOpened(*event);
      end.opened = *event;
      ++end.opened_count;
      uint64_t id = event->connection_id;
      uint64_t& socket =
          by_socket_[KeyOf(event->socket_inode, event->local_port, event->remote_port)];
      socket = std::max(socket, id);
      if (event->family == ZT_FAMILY_UNIX || event->netns != netns_) break;
      uint64_t& pair = by_pair_[PairOf(event->first_out, event->first_in)];
      pair = std::max(pair, id);
      break;
    }
    case ZT_EVENT_DATA: {
      const auto* event = reinterpret_cast<const zt_data_event*>(record.data());
      if (record.size() != sizeof(*event) + event->head + event->tail ||
          uint64_t{event->head} + event->tail > event->length) {
        malformed_.push_back("a data record whose sizes contradict each other");
        break;
      }
      TakeData(*event);
      ends_[event->connection_id].data.push_back(
          {*event, std::string(reinterpret_cast<const char*>(event + 1),
                               record.size() - sizeof(*event))});
      break;
    }
    case ZT_EVENT_CONNECTION_SHUTDOWN: {
      const auto* event = reinterpret_cast<const zt_connection_shutdown_event*>(record.data());
      tracker_->OnShutdown(*event);
      ends_[event->connection_id].shutdowns.push_back(*event);
      break;
    }
    case ZT_EVENT_CONNECTION_CLOSED: {
      const auto* event = reinterpret_cast<const zt_connection_closed_event*>(record.data());
      tracker_->OnClosed(*event);
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
  if (uint64_t ns = capture_->settle_ns(); ns > 0) ::usleep(static_cast<useconds_t>(ns / 1000));
  while (true) {
    auto count = capture_->Drain(0, [this](ByteSpan record) { Take(record); });
    if (!count) Die(count.error().message);
    if (*count == 0) return;
  }
}

const SeenEnd* Witness::Find(const End& end) const {
  if (end.client || end.told_family == ZT_FAMILY_UNIX) {
    auto found = by_socket_.find(KeyOf(end.inode, end.local_port, end.remote_port));
    return found == by_socket_.end() ? nullptr : &ends_.at(found->second);
  }
  const SeenEnd* client = Find(*end.peer);
  if (client == nullptr) return nullptr;
  auto found = by_pair_.find(PairOf(client->opened.first_in, client->opened.first_out));
  return found == by_pair_.end() ? nullptr : &ends_.at(found->second);
}

void Witness::Clear() {
  Collect();
  SettleStreams();
  ends_.erase(ends_.upper_bound(last_old_), ends_.end());
  for (auto* index : {&by_socket_, &by_pair_}) {
    for (auto entry = index->begin(); entry != index->end();)
      entry = entry->second > last_old_ ? index->erase(entry) : std::next(entry);
  }
}

void Witness::SettleStreams() { tracker_->Advance(MonotonicNs() + kLongAgoNs); }

size_t Witness::CountOwn() const {
  uint32_t own = static_cast<uint32_t>(::getpid());
  size_t count = 0;
  for (auto entry = ends_.upper_bound(last_old_); entry != ends_.end(); ++entry) {
    const zt_connection_opened_event& opened = entry->second.opened;
    if (entry->second.opened_count == 0) continue;
    bool ours = opened.family == ZT_FAMILY_UNIX ? opened.tgid == own : opened.netns == netns_;
    count += ours ? 1 : 0;
  }
  return count;
}

}  // namespace zerotap::conformance
