// A made-up host for tests: processes that ask each other over TCP and unix sockets, pass connections on, fork, exec and end,
// with records lost, late or twice. The same seed gives the same records.
#pragma once

#include <algorithm>
#include <deque>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/postgres_builders.h"
#include "tests/support/record_builder.h"

namespace zerotap::testing {

class RandomHost {
 public:
  static constexpr uint32_t kProcesses = 9;
  static constexpr uint32_t kFirstProcess = 100;

  explicit RandomHost(uint32_t seed) : random_(seed) {}

  // The next few records.
  std::vector<Record> Next() {
    records_.clear();
    const uint32_t what = Below(100);
    if (connections_.size() < 4 || (what < 10 && connections_.size() < 60)) {
      Open();
    } else if (what < 14) {
      Close();
    } else if (what < 17) {
      ChangeProcess();
    } else if (what < 19) {
      Oddity();
    } else {
      Converse(Below(static_cast<uint32_t>(connections_.size())), 0);
    }
    return std::move(records_);
  }
  uint64_t now_ns() const { return now_ns_; }
  uint32_t Below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }

 private:
  enum class Speech { kHttp, kExport, kPostgres, kNoise };
  struct Pair {
    ConnectionEnd client, server;
    bool has_client = true, has_server = true;  // on this host
    bool is_unix = false;
    Speech speech = Speech::kHttp;
    uint32_t client_lost = 0, server_lost = 0;
    bool all_told = true;  // no record of an opening was lost
  };

  uint64_t Tick() { return now_ns_ += 1000 + Below(200'000); }
  uint32_t AnyProcess() { return kFirstProcess + Below(kProcesses); }

  bool Add(Record record, bool may_be_lost = false, uint32_t* lost = nullptr) {
    if (may_be_lost && Below(60) == 0) {
      if (lost != nullptr) ++*lost;
      return false;
    }
    if (lost != nullptr) record.As<zt_data_event>().lost_before = std::exchange(*lost, 0);
    records_.push_back(std::move(record));
    return true;
  }

  void AddOpened(Pair& pair, const ConnectionEnd& end, bool knows_peer) {
    Record record = end.Opened(Tick());
    auto& opened = record.As<zt_connection_opened_event>();
    if (pair.is_unix) {
      const ConnectionEnd& other = &end == &pair.client ? pair.server : pair.client;
      opened.family = ZT_FAMILY_UNIX;
      opened.first_out = opened.first_in = 0;
      opened.local_port = opened.remote_port = 0;
      std::memset(opened.local_address, 0, sizeof(opened.local_address));
      std::memset(opened.remote_address, 0, sizeof(opened.remote_address));
      opened.peer_inode = knows_peer ? other.id + 100000 : 0;
      std::strcpy(opened.unix_path, "/run/shop");
    }
    // Who accepts is not known before the first byte.
    if (end.role == ZT_ROLE_SERVER && Below(2) == 0) opened.tgid = opened.tid = 0;
    if (!Add(std::move(record), true)) pair.all_told = false;
  }

  void Open() {
    Pair pair;
    // So few that each look at the clock sees whether they are over.
    pair.is_unix = Below(4) == 0 && unix_pairs_ < 7;
    if (pair.is_unix) ++unix_pairs_;
    pair.client.id = ++last_id_;
    pair.server.id = ++last_id_;
    pair.server.role = ZT_ROLE_SERVER;
    pair.client.client_isn = pair.server.client_isn = static_cast<uint32_t>(random_());
    pair.client.server_isn = pair.server.server_isn = static_cast<uint32_t>(random_());
    pair.client.client_port = pair.server.client_port = static_cast<uint16_t>(30000 + Below(1000));
    pair.client.server_port = pair.server.server_port = Below(2) == 0 ? 80 : 8080;
    for (ConnectionEnd* end : {&pair.client, &pair.server}) {
      end->tgid = AnyProcess();
      end->tid = end->tgid * 10 + Below(2);
      end->nonblocking = Below(4) == 0;
      end->midstream = Below(12) == 0;
    }
    pair.has_client = pair.is_unix || Below(6) != 0;
    pair.has_server = !pair.has_client || pair.is_unix || Below(6) != 0;
    const uint32_t speech = Below(20);
    pair.speech = speech < 12   ? Speech::kHttp
                  : speech < 13 ? Speech::kExport
                  : speech < 18 ? Speech::kPostgres
                                : Speech::kNoise;
    const bool server_first = Below(2) == 0;
    if (server_first && pair.has_server) AddOpened(pair, pair.server, Below(2) == 0);
    if (pair.has_client) AddOpened(pair, pair.client, server_first || Below(2) == 0);
    if (!server_first && pair.has_server) AddOpened(pair, pair.server, true);
    connections_.push_back(std::move(pair));
  }

  std::pair<std::string, std::string> Texts(Speech speech) {
    const std::string number = std::to_string(Below(30));
    switch (speech) {
      case Speech::kHttp:
        return {"GET /items/" + number + "?q=" + number + " HTTP/1.1\r\nHost: shop\r\n" +
                    (Below(6) == 0 ? "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033" +
                                         std::to_string(10 + Below(80)) + "-01\r\n"
                                   : "") +
                    "\r\n",
                "HTTP/1.1 " + std::string(Below(5) == 0 ? "500 Oh" : "200 OK") +
                    "\r\nContent-Length: 2\r\n\r\nok"};
      case Speech::kExport:
        return {"POST /v1/traces HTTP/1.1\r\nHost: collector\r\nContent-Type: application/x-protobuf\r\n"
                "Content-Length: 2\r\n\r\n\x0a\x01",
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
      case Speech::kPostgres:
        return {postgres_test::Query("SELECT name FROM items WHERE id = " + number),
                postgres_test::Message('C', postgres_test::Text("SELECT 0")) +
                    postgres_test::Message('Z', "I")};
      case Speech::kNoise:
        break;
    }
    return {"\x01\x02noise" + number, "\x03\x04" + number};
  }

  // A request with what its server asks of others in the meantime.
  void Converse(size_t which, int depth) {
    Pair& pair = connections_[which];
    const auto texts = Texts(pair.speech);
    const std::string& request = texts.first;
    const std::string& response = texts.second;
    if (Below(40) == 0) pair.server.tgid = AnyProcess();  // handed on
    const bool late = Below(4) == 0;  // the server's hook ran before the client's
    const auto send = [&] {
      if (pair.has_client) Add(pair.client.Send(Tick(), request), true, &pair.client_lost);
    };
    if (!late) send();
    const size_t half = Below(8) == 0 ? request.size() / 2 : request.size();
    if (pair.has_server) {
      Add(pair.server.Read(Tick(), request.substr(0, half)), true, &pair.server_lost);
      if (half < request.size()) Add(pair.server.Read(Tick(), request.substr(half)));
    }
    if (late) send();
    if (Below(50) == 0) now_ns_ += 700'000'000;
    if (depth < 2 && Below(2) == 0) {
      const size_t inner = Below(static_cast<uint32_t>(connections_.size()));
      if (inner != which) {
        Pair& next = connections_[inner];
        if (Below(4) != 0) {
          next.client.tgid = pair.server.tgid;
          next.client.tid = pair.server.tid;
        }
        Converse(inner, depth + 1);
      }
    }
    if (Below(30) == 0) return;  // no answer
    Pair& again = connections_[which];
    if (again.has_server) Add(again.server.Send(Tick(), response), true, &again.server_lost);
    if (again.has_client) Add(again.client.Read(Tick(), response), true, &again.client_lost);
  }

  void Close() {
    const size_t which = Below(static_cast<uint32_t>(connections_.size()));
    Pair pair = connections_[which];
    connections_.erase(connections_.begin() + static_cast<long>(which));
    for (const ConnectionEnd* end : {&pair.client, &pair.server}) {
      if (!(end == &pair.client ? pair.has_client : pair.has_server)) continue;
      if (pair.is_unix) {
        Record record = end->Data(Tick(), ZT_DIRECTION_INGRESS, end->received, "");
        record.As<zt_data_event>().flags |= ZT_DATA_EOF;
        Add(std::move(record));
        continue;
      }
      if (Below(2) == 0) {
        Record record = MakeRecord<zt_connection_shutdown_event>(ZT_EVENT_CONNECTION_SHUTDOWN, Tick());
        record.As<zt_connection_shutdown_event>().connection_id = end->id;
        Add(std::move(record));
      }
      Record record = end->Closed(Tick(), Below(8) == 0 ? 104 : 0);
      auto& closed = record.As<zt_connection_closed_event>();
      closed.bytes_sent = end->sent;
      closed.bytes_received = end->received;
      closed.lost_events = Below(10) == 0 ? 1 : 0;
      Add(std::move(record), true);
      if (closed_.size() < 20) closed_.push_back(*end);
    }
  }

  void ChangeProcess() {
    const uint32_t tgid = AnyProcess();
    switch (Below(3)) {
      case 0: {
        Record record = MakeRecord<zt_process_exec_event>(ZT_EVENT_PROCESS_EXEC, Tick());
        record.As<zt_process_exec_event>().tgid = tgid;
        Add(std::move(record));
        return;
      }
      case 1: {
        Record record = MakeRecord<zt_process_fork_event>(ZT_EVENT_PROCESS_FORK, Tick());
        record.As<zt_process_fork_event>().parent_tgid = AnyProcess();
        record.As<zt_process_fork_event>().child_tgid = tgid;
        Add(std::move(record));
        return;
      }
      default: {
        Record record = MakeRecord<zt_process_exit_event>(ZT_EVENT_PROCESS_EXIT, Tick());
        record.As<zt_process_exit_event>().tgid = tgid;
        Add(std::move(record));
        return;
      }
    }
  }

  void Oddity() {
    Pair& pair = connections_[Below(static_cast<uint32_t>(connections_.size()))];
    ConnectionEnd& end = Below(2) == 0 ? pair.client : pair.server;
    switch (Below(7)) {
      case 0:  // again; never after other records of a connection that was not told of
        if (pair.all_told && !pair.is_unix) Add(end.Opened(Tick()));
        return;
      case 1: {  // counted only
        Record record = end.Data(Tick(), ZT_DIRECTION_INGRESS, end.received, "");
        record.As<zt_data_event>().flags |= ZT_DATA_SKIPPED;
        record.As<zt_data_event>().turns_before = static_cast<uint8_t>(Below(5));
        Add(std::move(record));
        return;
      }
      case 2: {  // of a connection that nobody knows
        ConnectionEnd other = end;
        other.id = 900000 + Below(20);
        Add(other.Data(Tick(), ZT_DIRECTION_INGRESS, 0, "GET / HTTP/1.1\r\n\r\n"));
        return;
      }
      case 5:
      case 6: {  // after its end
        if (closed_.empty()) return;
        ConnectionEnd& late = closed_[Below(static_cast<uint32_t>(closed_.size()))];
        const bool asked = late.role == ZT_ROLE_SERVER;
        const auto [request, response] = Texts(Speech::kHttp);
        Add(asked ? late.Read(Tick(), request) : late.Send(Tick(), request));
        Add(asked ? late.Send(Tick(), response) : late.Read(Tick(), response));
        return;
      }
      case 3: {  // no record at all
        Record record(24);
        record.As<zt_event_header>() = {Tick(), 24, 99, 0};
        Add(std::move(record));
        return;
      }
      default:  // bytes that are nowhere
        end.received += 100;
        end.sent += Below(2) * 50;
    }
  }

  std::mt19937 random_;
  std::vector<Record> records_;
  std::vector<Pair> connections_;
  std::vector<ConnectionEnd> closed_;
  uint32_t unix_pairs_ = 0;
  uint64_t last_id_ = 0;
  uint64_t now_ns_ = 1'000'000'000;
};

}  // namespace zerotap::testing
