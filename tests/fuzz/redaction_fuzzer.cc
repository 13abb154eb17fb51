// LIBRARIES: zerotap_redaction
// Hostile traffic through the redaction of recordings, which the live agent does: the input is read as a script of records of
// a few connections. Oracles: nothing crashes; a record keeps its size and all that is not payload; what comes back can be
// written (its sizes add up); a word that no protocol has is never kept.
#include <cstdlib>
#include <cstring>
#include <string>

#include "agent/redaction/record_redactor.h"
#include "tests/support/record_builder.h"

namespace zerotap {
namespace {

// Longer than what names of statements can turn into by chance, and no word of HTTP or SQL.
constexpr std::string_view kCanary = "Zq7Zq7secretZq7Zq7";

void Run(const uint8_t* data, size_t size) {
  RecordRedactor redactor(RecordedPayload::kRedacted, size);
  size_t at = 0;
  auto byte = [&] { return at < size ? data[at++] : uint8_t{0}; };
  uint64_t next[4][2] = {};
  while (at < size) {
    const uint8_t shape = byte();
    testing::ConnectionEnd end{.id = shape % 4u};
    const uint8_t direction = shape >> 2 & 1;
    size_t count = byte();
    if ((shape & 8) != 0) count *= 8;
    count = std::min(count, size - at);
    std::string text(reinterpret_cast<const char*>(data + at), count);
    at += count;
    if ((shape & 16) != 0) text.insert(byte() % (text.size() + 1), kCanary);
    uint64_t& position = next[shape % 4][direction];
    if ((shape & 32) != 0) position += byte();
    testing::Record record = end.Data(1, direction, position, text);
    auto& event = record.As<zt_data_event>();
    if ((shape & 64) != 0) {
      event.tail = static_cast<uint32_t>(text.size() / 2);
      event.head -= event.tail;
      event.length += byte();
    }
    if ((shape & 128) != 0) event.flags = byte();
    position += event.length;
    const ByteSpan after = redactor.Redact(record.bytes());
    if (after.size() != record.bytes().size()) std::abort();
    if (std::memcmp(after.data(), record.bytes().data(), sizeof(zt_data_event)) != 0) std::abort();
    if (AsText(after).find(kCanary) != std::string_view::npos) std::abort();
    if (shape == 255) {
      testing::Record closed = end.Closed(1);
      if (redactor.Redact(closed.bytes()).size() != closed.bytes().size()) std::abort();
    }
  }
}

}  // namespace
}  // namespace zerotap

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  zerotap::Run(data, size);
  return 0;
}
