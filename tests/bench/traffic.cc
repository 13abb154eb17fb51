#include "tests/bench/traffic.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <unordered_map>
#include <utility>

#include "agent/pipeline/replay.h"
#include "agent/telemetry/semconv.h"
#include "tests/support/record_builder.h"

namespace zerotap::bench {
namespace {

using testing::ConnectionEnd;
using testing::Record;

constexpr size_t kConnections = 64;
constexpr uint32_t kTgid = 77;

struct Conversation {
  std::string opening_egress, opening_ingress;  // once per connection
  std::string request, response;
  uint8_t role = ZT_ROLE_SERVER;
  bool is_traced = true;   // false: of no protocol that is traced
  bool reconnects = false;  // a connection for each exchange
};

std::string Frame(char type, std::string_view body) {
  std::string frame(1, type);
  auto length = static_cast<uint32_t>(body.size() + 4);
  for (int shift = 24; shift >= 0; shift -= 8) frame.push_back(static_cast<char>(length >> shift));
  return frame.append(body);
}

// What wrk sends and nginx answers.
Conversation Http(uint8_t role) {
  Conversation http;
  http.role = role;
  http.request = "GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
  http.response =
      "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n"
      "Content-Type: text/plain\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nok\n";
  return http;
}

// An unnamed prepared statement, as most drivers use them.
Conversation Postgres(uint8_t role) {
  Conversation sql;
  sql.role = role;
  sql.opening_egress = std::string("\0\0\0 \0\3\0\0user\0bob\0database\0shop\0\0", 0x20);
  sql.opening_ingress = Frame('R', std::string(4, '\0')) + Frame('Z', "I");
  sql.request = Frame('P', std::string("\0SELECT abalance FROM pgbench_accounts WHERE aid = $1\0\0\0", 56)) +
                Frame('B', std::string("\0\0\0\0\0\1\0\0\0\5" "12345\0\0", 17)) +
                Frame('D', std::string("P\0", 2)) + Frame('E', std::string("\0\0\0\0\0", 5)) + Frame('S', "");
  sql.response = Frame('1', "") + Frame('2', "") +
                 Frame('T', std::string("\0\1abalance\0\0\0\0\0\0\0\0\0\0\x17\0\4\xff\xff\xff\xff\0\0", 29)) +
                 Frame('D', std::string("\0\1\0\0\0\1" "0", 7)) +
                 Frame('C', std::string("SELECT 1\0", 9)) + Frame('Z', "I");
  if (role == ZT_ROLE_SERVER) std::swap(sql.opening_egress, sql.opening_ingress);
  return sql;
}

Conversation Redis() {
  Conversation redis;
  redis.is_traced = false;
  redis.request = "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n";
  redis.response = "$3\r\nxxx\r\n";
  return redis;
}

Conversation Reconnecting(Conversation conversation) {
  conversation.reconnects = true;
  return conversation;
}

struct Named {
  std::string_view name, meaning;
  Conversation (*make)();
};
const std::array<Named, 6> kNamed = {{
    {"http", "the server end of keep-alive connections, requests as wrk sends them", [] { return Http(ZT_ROLE_SERVER); }},
    {"http-client", "the same from the client end", [] { return Http(ZT_ROLE_CLIENT); }},
    {"http-churn", "the same, a connection for each request", [] { return Reconnecting(Http(ZT_ROLE_SERVER)); }},
    {"postgresql", "the client end of a pool, SELECTs by the extended protocol", [] { return Postgres(ZT_ROLE_CLIENT); }},
    {"postgresql-server", "the same from the server end", [] { return Postgres(ZT_ROLE_SERVER); }},
    {"redis", "a protocol that is not traced; exchanges are a request and its answer", [] { return Redis(); }},
}};

class MadeUpTraffic final : public Traffic {
 public:
  explicit MadeUpTraffic(Conversation conversation) : conversation_(std::move(conversation)), ends_(kConnections) {
    auto resource = std::make_shared<Resource>();
    resource->service_name = "bench";
    resource->attributes.Add(semconv::kServiceName, "bench");
    process_.tgid = kTgid;
    process_.resource = std::move(resource);
    const bool client = conversation_.role == ZT_ROLE_CLIENT;
    const Directions directions = DirectionsOf(client);
    for (size_t i = 0; i < kConnections; ++i) {
      ConnectionEnd& end = ends_[i];
      end.id = next_id_++;
      end.tgid = end.tid = kTgid;
      end.role = conversation_.role;
      end.nonblocking = true;
      end.client_isn = static_cast<uint32_t>(end.id);
      opened_.push_back(end.Opened(1));
      requests_.push_back(end.Data(0, directions.request, 0, conversation_.request));
      responses_.push_back(end.Data(0, directions.response, 0, conversation_.response));
      closed_.push_back(end.Closed(1));
    }
    exchanges = kConnections;
    is_traced = conversation_.is_traced;
    events = kConnections * (conversation_.reconnects ? 4 : 2);
    if (!conversation_.reconnects) {
      opening_events = kConnections * (conversation_.opening_egress.empty() ? 1 : 3);
    }
  }

  void Begin(Feed& feed) override {
    if (conversation_.reconnects) return;
    for (size_t i = 0; i < kConnections; ++i) {
      feed.OnRecord(opened_[i].bytes());
      ConnectionEnd& end = ends_[i];
      // Who asks speaks first.
      const bool client = conversation_.role == ZT_ROLE_CLIENT;
      if (client && !conversation_.opening_egress.empty()) feed.OnRecord(end.Send(2, conversation_.opening_egress).bytes());
      if (!conversation_.opening_ingress.empty()) feed.OnRecord(end.Read(3, conversation_.opening_ingress).bytes());
      if (!client && !conversation_.opening_egress.empty()) feed.OnRecord(end.Send(4, conversation_.opening_egress).bytes());
    }
  }

  void Round(Feed& feed) override {
    const bool client = conversation_.role == ZT_ROLE_CLIENT;
    for (size_t i = 0; i < kConnections; ++i) {
      ConnectionEnd& end = ends_[i];
      if (conversation_.reconnects) Reopen(feed, i);
      uint64_t& request_offset = client ? end.sent : end.received;
      uint64_t& response_offset = client ? end.received : end.sent;
      Give(feed, requests_[i], end.id, request_offset);
      Give(feed, responses_[i], end.id, response_offset);
      request_offset += conversation_.request.size();
      response_offset += conversation_.response.size();
      if (conversation_.reconnects) Close(feed, i);
    }
    feed.OnClock(time_ns_);
  }

  std::optional<TracedProcess> Resolve(uint32_t) const override { return process_; }

 private:
  struct Directions {
    uint8_t request, response;
  };
  static Directions DirectionsOf(bool client) {
    return client ? Directions{ZT_DIRECTION_EGRESS, ZT_DIRECTION_INGRESS} : Directions{ZT_DIRECTION_INGRESS, ZT_DIRECTION_EGRESS};
  }

  void Give(Feed& feed, Record& record, uint64_t id, uint64_t offset) {
    auto& data = record.As<zt_data_event>();
    data.header.time_ns = data.start_ns = data.end_ns = time_ns_ += 1000;
    data.connection_id = id;
    data.offset = offset;
    feed.OnRecord(record.bytes());
  }
  void Reopen(Feed& feed, size_t i) {
    ConnectionEnd& end = ends_[i];
    end.id = next_id_++;
    end.sent = end.received = 0;
    auto& opened = opened_[i].As<zt_connection_opened_event>();
    opened.header.time_ns = time_ns_ += 1000;
    opened.connection_id = end.id;
    opened.socket_inode = end.id;
    (conversation_.role == ZT_ROLE_CLIENT ? opened.first_out : opened.first_in) = static_cast<uint32_t>(end.id);
    feed.OnRecord(opened_[i].bytes());
  }
  void Close(Feed& feed, size_t i) {
    auto& closed = closed_[i].As<zt_connection_closed_event>();
    closed.header.time_ns = time_ns_ += 1000;
    closed.connection_id = ends_[i].id;
    closed.bytes_sent = ends_[i].sent;
    closed.bytes_received = ends_[i].received;
    feed.OnRecord(closed_[i].bytes());
  }

  Conversation conversation_;
  TracedProcess process_;
  std::vector<ConnectionEnd> ends_;
  std::vector<Record> opened_, requests_, responses_, closed_;
  uint64_t next_id_ = 1;
  uint64_t time_ns_ = 1000;
};

class RecordedTraffic final : public Traffic {
 public:
  explicit RecordedTraffic(Recording recording) : recording_(std::move(recording)) {
    std::set<uint64_t> open;
    uint64_t first_ns = ~uint64_t{0}, last_ns = 0;
    for (RecordedItem& item : recording_.items) {
      if (item.kind == RecordedItem::Kind::kProcess) processes_[item.process.tgid] = item.process;
      if (item.kind != RecordedItem::Kind::kRecord) continue;
      auto& header = HeaderOf(item);
      first_ns = std::min(first_ns, header.time_ns);
      last_ns = std::max(last_ns, header.time_ns);
      if (!NamesConnection(header.kind)) continue;
      ++events;
      const uint64_t id = ConnectionOf(item);
      most_ids_ = std::max(most_ids_, id);
      if (header.kind == ZT_EVENT_CONNECTION_CLOSED) {
        open.erase(id);
      } else {
        open.insert(id);
      }
    }
    // The next time is far enough behind that nothing of this one is still waited for.
    step_ns_ = last_ns - first_ns + 1'000'000'000;
    for (uint64_t id : open) {
      ConnectionEnd end;
      end.id = id;
      left_open_.push_back(end.Closed(last_ns));
    }
    events += left_open_.size();
  }

  // How many there are is what the pipeline makes of it.
  Status CountExchanges() {
    return ReplayItems(recording_.header, recording_.items, PipelineOptions{}, [](std::vector<Span>&&) {},
                       [this](Pipeline& pipeline) { exchanges = pipeline.ledger().Total().seen; });
  }

  void Begin(Feed&) override {}

  void Round(Feed& feed) override {
    for (RecordedItem& item : recording_.items) {
      if (item.kind == RecordedItem::Kind::kClock) feed.OnClock(item.now_ns += step_ns_);
      if (item.kind != RecordedItem::Kind::kRecord || !NamesConnection(HeaderOf(item).kind)) continue;
      Advance(item);
      feed.OnRecord(item.bytes());
    }
    for (Record& record : left_open_) {
      auto& closed = record.As<zt_connection_closed_event>();
      closed.header.time_ns += step_ns_;
      closed.connection_id += most_ids_;
      feed.OnRecord(record.bytes());
    }
  }

  std::optional<TracedProcess> Resolve(uint32_t tgid) const override {
    auto found = processes_.find(tgid);
    return found == processes_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  static zt_event_header& HeaderOf(RecordedItem& item) { return *reinterpret_cast<zt_event_header*>(item.record.data()); }
  // All of these have it behind the header. Processes that end and threads' times have no part in what is measured.
  static bool NamesConnection(uint16_t kind) { return kind >= ZT_EVENT_CONNECTION_OPENED && kind <= ZT_EVENT_CONNECTION_CLOSED; }
  static uint64_t& ConnectionOf(RecordedItem& item) { return item.record[sizeof(zt_event_header) / sizeof(uint64_t)]; }

  // The same record of another connection, later.
  void Advance(RecordedItem& item) {
    zt_event_header& header = HeaderOf(item);
    header.time_ns += step_ns_;
    ConnectionOf(item) += most_ids_;
    if (header.kind == ZT_EVENT_DATA) {
      auto& data = *reinterpret_cast<zt_data_event*>(item.record.data());
      data.start_ns += step_ns_;
      data.end_ns += step_ns_;
    } else if (header.kind == ZT_EVENT_CONNECTION_OPENED) {
      auto& opened = *reinterpret_cast<zt_connection_opened_event*>(item.record.data());
      ++opened.first_out;
      ++opened.first_in;
      opened.socket_inode += kInodeStep;
      if (opened.peer_inode != 0) opened.peer_inode += kInodeStep;
    }
  }

  static constexpr uint64_t kInodeStep = 10'000'000;
  Recording recording_;
  std::unordered_map<uint32_t, TracedProcess> processes_;
  std::vector<Record> left_open_;  // closes that the recording ended before
  uint64_t most_ids_ = 0;
  uint64_t step_ns_ = 0;
};

}  // namespace

std::string TrafficNames() {
  std::string names;
  for (const Named& named : kNamed) {
    names.append("  ").append(named.name).append(20 - named.name.size(), ' ').append(named.meaning).append("\n");
  }
  return names;
}

Result<std::unique_ptr<Traffic>> MakeTraffic(const std::string& name) {
  for (const Named& named : kNamed) {
    if (named.name == name) return std::unique_ptr<Traffic>(std::make_unique<MadeUpTraffic>(named.make()));
  }
  Result<Recording> recording = LoadRecording(name);
  if (!recording) return tl::unexpected<Error>(recording.error());
  auto traffic = std::make_unique<RecordedTraffic>(std::move(*recording));
  Status counted = traffic->CountExchanges();
  if (!counted) return tl::unexpected<Error>(counted.error());
  if (traffic->exchanges == 0) return Fail(name + " has no exchange in it");
  return std::unique_ptr<Traffic>(std::move(traffic));
}

}  // namespace zerotap::bench
