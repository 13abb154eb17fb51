#include "agent/packets/packet_tracker.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "agent/base/hash.h"

namespace zerotap {
namespace {

constexpr int kExpirePerPacket = 4;
constexpr uint32_t kOtherAddresses = 1;
const std::string kNoName;

bool IsLoopback(uint8_t family, const PacketAddress& address) {
  if (family == ZT_FAMILY_IPV4) return address.bytes[0] == 127;
  constexpr uint8_t kLoopback6[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return std::memcmp(address.bytes.data(), kLoopback6, sizeof(kLoopback6)) == 0;
}

std::string_view AddressKey(const PacketAddress& address) {
  static_assert(sizeof(PacketAddress) == ZT_ADDRESS_SIZE + sizeof(uint16_t));
  return {reinterpret_cast<const char*>(&address), sizeof(address)};
}

std::string NameText(uint8_t family, const PacketAddress& address, bool serves) {
  char text[INET6_ADDRSTRLEN] = "";
  const bool six = family == ZT_FAMILY_IPV6;
  inet_ntop(six ? AF_INET6 : AF_INET, address.bytes.data(), text, sizeof(text));
  if (!serves) return text;
  return (six ? "[" + std::string(text) + "]" : std::string(text)) + ":" +
         std::to_string(address.port);
}

}  // namespace

size_t PacketTracker::FlowHash::operator()(const FlowKey& key) const {
  return HashText(AddressKey(key.low), HashText(AddressKey(key.high), key.family));
}

PacketTracker::PacketTracker(const PacketOptions& options, RecordHandler handler)
    : options_(options), handler_(std::move(handler)) {
  names_.emplace(kOtherAddresses, "(other addresses)");
}

PacketTracker::~PacketTracker() = default;

void PacketTracker::OnPacket(const RawPacket& packet) {
  ++stats_.packets;
  now_ns_ = std::max(now_ns_, packet.unix_ns);
  TcpSegment segment;
  switch (DecodePacket(packet, segment)) {
    case PacketVerdict::kTcp:
      OnSegment(segment);
      break;
    case PacketVerdict::kOther:
      ++stats_.other;
      break;
    case PacketVerdict::kFragment:
      ++stats_.fragments;
      break;
    case PacketVerdict::kTruncated:
      ++stats_.truncated;
      break;
    case PacketVerdict::kMalformed:
      ++stats_.malformed;
      break;
  }
  ExpireSome();
}

void PacketTracker::OnSegment(const TcpSegment& segment) {
  if (segment.source == segment.destination) {
    ++stats_.malformed;
    return;
  }
  if (segment.syn) Listens(segment.ack ? segment.source : segment.destination);
  FlowKey key{segment.family, segment.source, segment.destination};
  if (key.high < key.low) std::swap(key.low, key.high);
  auto found = connections_.find(key);
  if (found == connections_.end()) {
    if (segment.rst || (!segment.syn && segment.length == 0)) {
      ++stats_.unplaced_packets;
      return;
    }
    Insert(key, segment);
    found = connections_.find(key);
  } else {
    recent_.splice(recent_.end(), recent_, found->second.recency);
    if (found->second.connection->IsSuccessor(segment, now_ns_)) Replace(found->second, segment);
  }
  found->second.connection->OnSegment(segment, now_ns_);
  Update(key, found->second);
  if (held_bytes_ > options_.max_held_bytes) {
    found->second.connection->Flush(now_ns_);
    Update(key, found->second);
  }
}

void PacketTracker::Insert(const FlowKey& key, const TcpSegment& segment) {
  while (connections_.size() >= options_.max_connections && !recent_.empty()) {
    auto oldest = connections_.find(recent_.front());
    if (!oldest->second.connection->closed()) ++stats_.connections_evicted;
    oldest->second.connection->Abandon(now_ns_);
    held_bytes_ -= oldest->second.held_bytes;
    connections_.erase(oldest);
    recent_.pop_front();
  }
  recent_.push_back(key);
  Flow flow;
  flow.connection = NewConnection(segment);
  flow.recency = std::prev(recent_.end());
  connections_.emplace(key, std::move(flow));
}

void PacketTracker::Replace(Flow& flow, const TcpSegment& segment) {
  flow.connection->Abandon(now_ns_);
  flow.connection = NewConnection(segment);
}

std::unique_ptr<TcpConnection> PacketTracker::NewConnection(const TcpSegment& segment) {
  EndDescriber& describer = *this;
  return std::make_unique<TcpConnection>(segment, options_.connection, describer, handler_, stats_);
}

void PacketTracker::Update(const FlowKey& key, Flow& flow) {
  const size_t held = flow.connection->held_bytes();
  held_bytes_ = held_bytes_ - flow.held_bytes + held;
  flow.held_bytes = held;
  if (!flow.waiting && flow.connection->waiting()) {
    flow.waiting = true;
    waiting_.push_back(key);
  }
}

// Silent connections with a hole: their time passes with the packets of the others.
void PacketTracker::ExpireSome() {
  for (int i = 0; i < kExpirePerPacket && !waiting_.empty(); ++i) {
    auto found = connections_.find(waiting_.front());
    if (found == connections_.end()) {
      waiting_.pop_front();
      continue;
    }
    Flow& flow = found->second;
    flow.connection->Expire(now_ns_);
    Update(found->first, flow);
    if (flow.connection->waiting()) {
      waiting_.splice(waiting_.end(), waiting_, waiting_.begin());
    } else {
      flow.waiting = false;
      waiting_.pop_front();
    }
  }
}

void PacketTracker::Flush() {
  for (const FlowKey& key : recent_) {
    Flow& flow = connections_.find(key)->second;
    flow.connection->Flush(now_ns_);
    Update(key, flow);
  }
}

void PacketTracker::Listens(const PacketAddress& address) {
  if (listeners_.size() < options_.max_addresses) listeners_.emplace(AddressKey(address));
}

bool PacketTracker::IsListener(const PacketAddress& address) const {
  return listeners_.contains(std::string(AddressKey(address)));
}

// Who connected decides the names and, where the capture does not say which host took it, the end
// that is told of. When the beginning was not seen it is guessed, for nothing but that: which end
// asks and which answers is in the bytes.
void PacketTracker::Describe(ConnectionEnds& ends, int client, const bool (&local)[2]) {
  int guessed = client;
  if (guessed < 0) {
    const PacketAddress& zero = ends.ends[0].address;
    const PacketAddress& one = ends.ends[1].address;
    const bool listens = IsListener(zero);
    guessed = listens != IsListener(one) ? (listens ? 1 : 0) : (zero.port >= one.port ? 0 : 1);
  }
  const auto& [a, b] = ends.ends;
  const bool one_host = a.address.bytes == b.address.bytes ||
                        (IsLoopback(ends.family, a.address) && IsLoopback(ends.family, b.address));
  for (int side = 0; side < 2; ++side) {
    ConnectionEnds::End& end = ends.ends[side];
    const bool serves = side != guessed;
    end.connection_id = ++last_connection_id_;
    if (client >= 0) end.role = serves ? ZT_ROLE_SERVER : ZT_ROLE_CLIENT;
    switch (options_.ends) {
      case EndChoice::kAuto:
        end.told = one_host || (local[0] || local[1] ? local[side] : serves);
        break;
      case EndChoice::kBoth:
        end.told = true;
        break;
      case EndChoice::kClient:
        end.told = !serves;
        break;
      case EndChoice::kServer:
        end.told = serves;
        break;
    }
    end.tgid = NumberOf(ends.family, end.address, serves);
  }
}

uint32_t PacketTracker::NumberOf(uint8_t family, const PacketAddress& address, bool serves) {
  std::string name = NameText(family, address, serves);
  auto found = numbers_.find(name);
  if (found != numbers_.end()) return found->second;
  if (numbers_.size() >= options_.max_addresses) return kOtherAddresses;
  const auto number = static_cast<uint32_t>(numbers_.size()) + kOtherAddresses + 1;
  numbers_.emplace(name, number);
  names_.emplace(number, std::move(name));
  return number;
}

const std::string& PacketTracker::NameOf(uint32_t tgid) const {
  auto found = names_.find(tgid);
  return found == names_.end() ? kNoName : found->second;
}

}  // namespace zerotap
