// Builds kernel records for tests: a scripted connection end that "sends" and "reads" text at given times.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/bytes.h"
#include "bpf/abi/event.h"

namespace zerotap::testing {

// 8-byte aligned bytes of one record.
class Record {
 public:
  explicit Record(size_t size) : words_((size + 7) / 8), size_(size) {}
  template <typename T>
  T& As() {
    return *reinterpret_cast<T*>(words_.data());
  }
  std::byte* data() { return reinterpret_cast<std::byte*>(words_.data()); }
  ByteSpan bytes() const { return {reinterpret_cast<const std::byte*>(words_.data()), size_}; }

 private:
  std::vector<uint64_t> words_;
  size_t size_;
};

template <typename T>
Record MakeRecord(uint16_t kind, uint64_t time_ns, size_t payload = 0) {
  Record record(sizeof(T) + payload);
  auto& header = record.As<zt_event_header>();
  header.time_ns = time_ns;
  header.size = static_cast<uint32_t>(sizeof(T) + payload);
  header.kind = kind;
  return record;
}

// One end of a TCP connection on 127.0.0.1.
struct ConnectionEnd {
  uint64_t id = 0;
  uint32_t tgid = 0;
  uint32_t tid = 0;
  uint8_t role = ZT_ROLE_CLIENT;
  uint16_t client_port = 40000;
  uint16_t server_port = 80;
  uint32_t client_isn = 1000;
  uint32_t server_isn = 9000;
  bool nonblocking = false;
  bool midstream = false;
  uint64_t sent = 0;
  uint64_t received = 0;

  Record Opened(uint64_t time_ns) const {
    Record record = MakeRecord<zt_connection_opened_event>(ZT_EVENT_CONNECTION_OPENED, time_ns);
    auto& opened = record.As<zt_connection_opened_event>();
    bool client = role == ZT_ROLE_CLIENT;
    opened.connection_id = id;
    opened.socket_inode = id + 100000;
    opened.tgid = tgid;
    opened.tid = tid;
    opened.first_out = client ? client_isn : server_isn;
    opened.first_in = client ? server_isn : client_isn;
    opened.local_port = client ? client_port : server_port;
    opened.remote_port = client ? server_port : client_port;
    opened.family = ZT_FAMILY_IPV4;
    opened.role = role;
    opened.flags = static_cast<uint8_t>(ZT_OPENED_POSITIONS_EXACT | (midstream ? ZT_OPENED_MIDSTREAM : 0));
    const uint8_t loopback[4] = {127, 0, 0, 1};
    std::memcpy(opened.local_address, loopback, 4);
    std::memcpy(opened.remote_address, loopback, 4);
    return record;
  }
  Record Send(uint64_t time_ns, std::string_view text) {
    Record record = Data(time_ns, ZT_DIRECTION_EGRESS, sent, text);
    sent += text.size();
    return record;
  }
  Record Read(uint64_t time_ns, std::string_view text) {
    Record record = Data(time_ns, ZT_DIRECTION_INGRESS, received, text);
    received += text.size();
    return record;
  }
  Record Data(uint64_t time_ns, uint8_t direction, uint64_t offset, std::string_view text) const {
    Record record = MakeRecord<zt_data_event>(ZT_EVENT_DATA, time_ns, text.size());
    auto& data = record.As<zt_data_event>();
    data.connection_id = id;
    data.offset = offset;
    data.start_ns = time_ns;
    data.end_ns = time_ns;
    data.length = static_cast<uint32_t>(text.size());
    data.head = static_cast<uint32_t>(text.size());
    data.tgid = tgid;
    data.tid = tid;
    data.direction = direction;
    data.flags = nonblocking ? ZT_DATA_NONBLOCKING : 0;
    std::memcpy(record.data() + sizeof(zt_data_event), text.data(), text.size());
    return record;
  }
  Record Closed(uint64_t time_ns, uint32_t error = 0) const {
    Record record = MakeRecord<zt_connection_closed_event>(ZT_EVENT_CONNECTION_CLOSED, time_ns);
    record.As<zt_connection_closed_event>().connection_id = id;
    record.As<zt_connection_closed_event>().error = error;
    return record;
  }
};

}  // namespace zerotap::testing
