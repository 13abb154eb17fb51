// Cost of an exchange in user space, stage by stage, without a kernel: a keep-alive HTTP server end with wrk-sized requests, or
// a PostgreSQL client end with extended-protocol SELECTs, replayed from memory.
//
//   pipeline_bench --stage STAGE --protocol http|postgresql --exchanges N
//
// prints one JSON line {stage, protocol, exchanges, ns_per_exchange, cpu_ns_per_exchange}. Stages contain each other:
// decode < parse < metrics < sampled (10 %) < spans < encode. tests/bench/run adds instruction counts (callgrind).
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "agent/base/clock.h"
#include "agent/connection/connection_tracker.h"
#include "agent/events/event.h"
#include "agent/pipeline/pipeline.h"
#include "agent/telemetry/semconv.h"
#include "exporters/otlp/encoder.h"
#include "tests/support/record_builder.h"

namespace zerotap {
namespace {

using testing::ConnectionEnd;
using testing::Record;

constexpr size_t kConnections = 64;

class NoControl final : public CaptureControl {
 public:
  void SetVerdict(uint64_t, const zt_verdict&) override {}
  void SetProcessPolicy(uint32_t, zt_process_policy) override {}
  void ForgetProcess(uint32_t) override {}
};

class CountingListener final : public RequestListener {
 public:
  WorkId BeginRequest(Connection&, const RequestStart&) override { return ++begun; }
  void EndExchange(Connection&, const Exchange&) override { ++ended; }
  void DropRequest(Connection&, WorkId, DropReason) override { ++dropped; }
  void OnProtocolKnown(Connection&, const Protocol*) override {}
  void OnUnseen(Connection&, uint64_t) override {}
  void OnCounted(Connection&, uint64_t) override {}
  uint64_t begun = 0, ended = 0, dropped = 0;
};

std::string Frame(char type, std::string_view body) {
  std::string frame(1, type);
  auto length = static_cast<uint32_t>(body.size() + 4);
  for (int shift = 24; shift >= 0; shift -= 8) frame.push_back(static_cast<char>(length >> shift));
  return frame.append(body);
}

struct Traffic {
  std::string opening_egress, opening_ingress;  // once per connection
  std::string request, response;
  uint8_t role;
};

Traffic HttpTraffic() {
  Traffic traffic;
  traffic.role = ZT_ROLE_SERVER;
  traffic.request = "GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
  traffic.response =
      "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n"
      "Content-Type: text/plain\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nok\n";
  return traffic;
}

Traffic PostgresTraffic() {
  Traffic traffic;
  traffic.role = ZT_ROLE_CLIENT;
  traffic.opening_egress = std::string("\0\0\0 \0\3\0\0user\0bob\0database\0shop\0\0", 0x20);
  traffic.opening_ingress = Frame('R', std::string(4, '\0')) + Frame('Z', "I");
  traffic.request = Frame('P', std::string("\0SELECT abalance FROM pgbench_accounts WHERE aid = $1\0\0\0", 56)) +
                    Frame('B', std::string("\0\0\0\0\0\1\0\0\0\5" "12345\0\0", 17)) +
                    Frame('D', std::string("P\0", 2)) + Frame('E', std::string("\0\0\0\0\0", 5)) +
                    Frame('S', "");
  traffic.response = Frame('1', "") + Frame('2', "") +
                     Frame('T', std::string("\0\1abalance\0\0\0\0\0\0\0\0\0\0\x17\0\4\xff\xff\xff\xff\0\0", 29)) +
                     Frame('D', std::string("\0\1\0\0\0\1" "0", 7)) +
                     Frame('C', std::string("SELECT 1\0", 9)) + Frame('Z', "I");
  return traffic;
}

void SetField(Record& record, uint64_t time, uint64_t offset) {
  auto& data = record.As<zt_data_event>();
  data.header.time_ns = data.start_ns = data.end_ns = time;
  data.offset = offset;
}

ResourcePtr BenchResource() {
  auto resource = std::make_shared<Resource>();
  resource->service_name = "bench";
  resource->attributes.Add(semconv::kServiceName, "bench");
  return resource;
}

// Calls `feed` with the records of `exchanges` exchanges over kConnections connections.
template <typename Feed>
void Generate(const Traffic& traffic, uint64_t exchanges, Feed feed) {
  std::vector<ConnectionEnd> ends(kConnections);
  for (size_t i = 0; i < kConnections; ++i) {
    ConnectionEnd& end = ends[i];
    end.id = i + 1;
    end.tgid = 77;
    end.tid = 77;
    end.role = traffic.role;
    end.nonblocking = true;
    end.client_isn = static_cast<uint32_t>(i + 1);
    feed(end.Opened(1));
    if (!traffic.opening_egress.empty()) feed(end.Send(2, traffic.opening_egress));
    if (!traffic.opening_ingress.empty()) feed(end.Read(3, traffic.opening_ingress));
  }
  bool client = traffic.role == ZT_ROLE_CLIENT;
  std::vector<Record> requests, responses;
  for (ConnectionEnd& end : ends) {
    requests.push_back(end.Data(0, client ? ZT_DIRECTION_EGRESS : ZT_DIRECTION_INGRESS, 0, traffic.request));
    responses.push_back(end.Data(0, client ? ZT_DIRECTION_INGRESS : ZT_DIRECTION_EGRESS, 0, traffic.response));
  }
  uint64_t time = 1000;
  for (uint64_t n = 0; n < exchanges; ++n) {
    size_t i = n % kConnections;
    uint64_t& request_offset = client ? ends[i].sent : ends[i].received;
    uint64_t& response_offset = client ? ends[i].received : ends[i].sent;
    SetField(requests[i], time += 1000, request_offset);
    feed(requests[i]);
    SetField(responses[i], time += 1000, response_offset);
    feed(responses[i]);
    request_offset += traffic.request.size();
    response_offset += traffic.response.size();
  }
}

int Fail(const char* what) {
  std::fprintf(stderr, "pipeline_bench: %s\n", what);
  return 2;
}

int Main(int argc, char** argv) {
  std::string stage = "spans", protocol = "http";
  uint64_t exchanges = 1'000'000;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string flag = argv[i];
    if (flag == "--stage") stage = argv[i + 1];
    if (flag == "--protocol") protocol = argv[i + 1];
    if (flag == "--exchanges") exchanges = std::strtoull(argv[i + 1], nullptr, 10);
  }
  Traffic traffic = protocol == "http" ? HttpTraffic() : PostgresTraffic();
  NoControl control;
  uint64_t done = 0;
  uint64_t wall = 0, cpu = 0;
  auto timed = [&](auto&& body) {
    uint64_t wall_before = MonotonicNs(), cpu_before = ReadClockNs(CLOCK_THREAD_CPUTIME_ID);
    body();
    wall = MonotonicNs() - wall_before;
    cpu = ReadClockNs(CLOCK_THREAD_CPUTIME_ID) - cpu_before;
  };
  if (stage == "decode") {
    timed([&] {
      Generate(traffic, exchanges, [&](const Record& r) {
        auto event = DecodeEvent(r.bytes());
        done += event && event->data != nullptr;
      });
    });
    if (!traffic.opening_egress.empty()) done -= 2 * kConnections;
    done /= 2;
  } else if (stage == "parse") {
    CountingListener listener;
    ParserOptions parser_options;
    std::vector<const Protocol*> protocols;
    for (const Protocol& known : Protocols()) protocols.push_back(&known);
    ConnectionTracker tracker({}, protocols, parser_options, listener);
    timed([&] {
      Generate(traffic, exchanges, [&](const Record& r) {
        auto event = DecodeEvent(r.bytes());
        if (event->opened != nullptr) tracker.OnOpened(*event->opened);
        if (event->data != nullptr) {
          tracker.Find(event->data->connection_id, 1).OnRecord(*event->data, event->head, event->tail);
        }
      });
    });
    done = listener.ended;
  } else {
    PipelineOptions options;
    options.spans_enabled = stage != "metrics";
    if (stage == "sampled") {
      options.sampler = "parentbased_traceidratio";
      options.sampler_argument = "0.1";
    }
    ResourcePtr resource = BenchResource();
    auto created = Pipeline::Create(options, control, [&resource](uint32_t tgid) {
      TracedProcess process;
      process.tgid = tgid;
      process.resource = resource;
      return std::optional(process);
    });
    if (!created) return Fail(created.error().message.c_str());
    Pipeline& pipeline = **created;
    std::vector<Span> spans;
    uint64_t records = 0, bytes = 0;
    otlp::TraceEncoder encoder;
    std::string body;
    timed([&] {
      Generate(traffic, exchanges, [&](const Record& r) {
        pipeline.HandleRecord(r.bytes());
        if (++records % 2048 != 0) return;
        pipeline.TakeSpans(spans);
        if (stage == "encode") {
          std::span<const Span> rest(spans);
          while (!rest.empty()) {
            rest = rest.subspan(encoder.Encode(rest, body).consumed);
            bytes += body.size();
          }
        }
        spans.clear();
      });
    });
    done = pipeline.ledger().Total().seen;
  }
  if (done != exchanges) return Fail(("expected " + std::to_string(exchanges) + " exchanges, saw " + std::to_string(done)).c_str());
  std::printf("{\"stage\": \"%s\", \"protocol\": \"%s\", \"exchanges\": %llu, \"ns_per_exchange\": %.1f, \"cpu_ns_per_exchange\": %.1f}\n",
              stage.c_str(), protocol.c_str(), static_cast<unsigned long long>(exchanges),
              static_cast<double>(wall) / static_cast<double>(exchanges), static_cast<double>(cpu) / static_cast<double>(exchanges));
  return 0;
}

}  // namespace
}  // namespace zerotap

int main(int argc, char** argv) { return zerotap::Main(argc, argv); }
