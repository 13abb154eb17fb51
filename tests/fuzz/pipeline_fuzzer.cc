// LIBRARIES: zerotap_pipeline
// The whole pipeline on hostile records: the input is read as a script of kernel records on a few connections, with
// arbitrary offsets, lengths, flags, times and payloads, and of records that are malformed altogether. Oracles: nothing crashes, the ledger balances, nothing is held for ever.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "agent/pipeline/pipeline.h"

namespace zerotap {
namespace {

class NoControl final : public CaptureControl {
 public:
  void SetVerdict(uint64_t, const zt_verdict&) override {}
  void SetProcessPolicy(uint32_t, zt_process_policy) override {}
  void ForgetProcess(uint32_t) override {}
};

class Script {
 public:
  Script(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool done() const { return position_ >= size_; }
  uint8_t Byte() { return done() ? 0 : data_[position_++]; }
  uint16_t Word() { return static_cast<uint16_t>(Byte() | (Byte() << 8)); }
  ByteSpan Take(size_t count) {
    count = std::min(count, size_ - std::min(position_, size_));
    ByteSpan taken(reinterpret_cast<const std::byte*>(data_ + position_), count);
    position_ += count;
    return taken;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t position_ = 0;
};

void Send(Pipeline& pipeline, const void* record, size_t size, ByteSpan payload = {}) {
  std::vector<uint64_t> aligned((size + payload.size() + 7) / 8 + 1);
  std::memcpy(aligned.data(), record, size);
  if (!payload.empty()) {
    std::memcpy(reinterpret_cast<std::byte*>(aligned.data()) + size, payload.data(), payload.size());
  }
  pipeline.HandleRecord(
      ByteSpan(reinterpret_cast<const std::byte*>(aligned.data()), size + payload.size()));
}

template <typename T>
T NewRecord(uint16_t kind, uint64_t now) {
  T record{};
  record.header.kind = kind;
  record.header.size = sizeof(T);
  record.header.time_ns = now;
  return record;
}

void Run(const uint8_t* data, size_t size) {
  Script script(data, size);
  NoControl control;
  PipelineOptions options;
  options.max_connections = 8;
  options.max_held_spans = 16;
  auto created = Pipeline::Create(options, control, [](uint32_t tgid) {
    TracedProcess process;
    process.tgid = tgid;
    process.traced = tgid % 7 != 3;
    auto resource = std::make_shared<Resource>();
    resource->service_name = std::string("fuzzed");
    process.resource = resource;
    return std::optional(process);
  });
  if (!created) std::abort();
  Pipeline& pipeline = **created;
  uint64_t now = 1;
  uint64_t positions[16][2] = {};
  std::vector<Span> spans;
  while (!script.done()) {
    uint8_t what = script.Byte();
    uint8_t connection = script.Byte() % 16;
    now += script.Byte() * uint64_t{1000};
    switch (what % 8) {
      case 0: {
        auto opened = NewRecord<zt_connection_opened_event>(ZT_EVENT_CONNECTION_OPENED, now);
        opened.connection_id = connection;
        opened.tgid = script.Byte();
        opened.first_out = connection / 2 * 2 + (connection % 2);
        opened.first_in = connection / 2 * 2 + 1 - (connection % 2);
        opened.family = what & 0x10 ? ZT_FAMILY_UNIX : ZT_FAMILY_IPV4;
        opened.socket_inode = connection + 1u;
        opened.peer_inode = (connection ^ 1u) + 1u;
        opened.role = script.Byte();
        opened.flags = script.Byte();
        Send(pipeline, &opened, sizeof(opened));
        break;
      }
      case 4: {  // a record whose size, kind and contents are what they are
        zt_event_header header{};
        header.time_ns = now;
        header.kind = script.Byte() % 10;
        ByteSpan body = script.Take(script.Word() % 2048);
        header.size = script.Byte() % 2 ? static_cast<uint32_t>(sizeof(header) + body.size())
                                        : script.Word();
        Send(pipeline, &header, sizeof(header), body);
        break;
      }
      case 5:
        if (what & 0x10) {
          pipeline.SetHarmRung(script.Byte() % 4, static_cast<HarmRung>(script.Byte() % kHarmRungs));
        } else {
          pipeline.Advance(now);
        }
        break;
      case 6: {
        auto closed = NewRecord<zt_connection_closed_event>(ZT_EVENT_CONNECTION_CLOSED, now);
        closed.connection_id = connection;
        closed.error = script.Byte() % 120;
        closed.flags = what & 0x10 ? ZT_DATA_SKIPPED : 0;
        closed.turns_before = what & 0x10 ? what >> 5 : 0;
        Send(pipeline, &closed, sizeof(closed));
        break;
      }
      case 7: {
        auto shutdown = NewRecord<zt_connection_shutdown_event>(ZT_EVENT_CONNECTION_SHUTDOWN, now);
        shutdown.connection_id = connection;
        shutdown.direction = script.Byte() % 3;
        shutdown.flags = what & 0x10 ? ZT_DATA_SKIPPED : 0;
        Send(pipeline, &shutdown, sizeof(shutdown));
        break;
      }
      default: {
        auto record = NewRecord<zt_data_event>(ZT_EVENT_DATA, now);
        uint8_t shape = script.Byte();
        record.connection_id = connection;
        record.direction = shape & 1;
        record.flags = shape & 2 ? script.Byte() : 0;
        record.turns_before = record.flags & ZT_DATA_SKIPPED ? what >> 3 : 0;
        record.tgid = shape >> 6;
        record.tid = shape >> 5;
        record.start_ns = record.end_ns = now;
        ByteSpan payload = script.Take(script.Byte());
        uint64_t& position = positions[connection][record.direction];
        uint32_t skipped = shape & 4 ? script.Word() : 0;
        record.tail = shape & 8 ? static_cast<uint32_t>(payload.size() / 2) : 0;
        record.head = static_cast<uint32_t>(payload.size()) - record.tail;
        record.length = static_cast<uint32_t>(payload.size()) + skipped;
        record.offset = position + (shape & 16 ? script.Word() : 0);
        record.lost_before = shape & 16 ? shape >> 7 : 0;
        position = record.offset + record.length;
        record.header.size = static_cast<uint32_t>(sizeof(record) + payload.size());
        Send(pipeline, &record, sizeof(record), payload);
      }
    }
    pipeline.TakeSpans(spans);
    for (const Span& span : spans) {
      if (!span.trace_id.valid() || span.end_unix_ns < span.start_unix_ns) std::abort();
      pipeline.ledger().Emitted(span.ledger_row);
    }
    spans.clear();
  }
  pipeline.Finish(now + 1'000'000'000);
  pipeline.TakeSpans(spans);
  for (const Span& span : spans) pipeline.ledger().Emitted(span.ledger_row);
  if (pipeline.stats().spans_held != 0 || pipeline.ledger().Total().in_flight() != 0) std::abort();
}

}  // namespace
}  // namespace zerotap

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  zerotap::Run(data, size);
  return 0;
}
