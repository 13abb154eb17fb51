// Drives the HTTP/1.x parser with conversations made from the input and checks what must hold for
// any of them: the sink's contract, bounded memory, and the same exchanges however the bytes are
// cut.
//
// Input: a byte of settings, a byte that says where to cut, then steps. A step is a command byte
// and, for data, a length byte and the bytes; a length of 255 takes the rest up to the next 0xFF
// 0x00. See ReadConversation.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "agent/protocols/http1.h"
#include "tests/support/parser_harness.h"

namespace zerotap {
namespace {

constexpr size_t kMaxSteps = 64;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return at_ >= size_; }
  uint8_t Byte() { return empty() ? 0 : data_[at_++]; }
  std::string Text() {
    size_t length = Byte();
    if (length != 0xFF) {
      length = std::min(length, size_ - at_);
      std::string text(reinterpret_cast<const char*>(data_) + at_, length);
      at_ += length;
      return text;
    }
    std::string text;
    while (!empty()) {
      if (data_[at_] == 0xFF && at_ + 1 < size_ && data_[at_ + 1] == 0) {
        at_ += 2;
        break;
      }
      text.push_back(static_cast<char>(data_[at_++]));
    }
    return text;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

Conversation ReadConversation(Input& input, uint8_t settings) {
  Conversation talk((settings & 1) != 0 ? Role::kClient : Role::kServer);
  talk.set_from_first_byte((settings & 2) == 0);
  while (!input.empty() && talk.steps().size() < kMaxSteps) {
    uint8_t command = input.Byte();
    switch (command & 7) {
      case 0:
      case 1:
        talk.Client(input.Text());
        break;
      case 2:
      case 3:
        talk.Server(input.Text());
        break;
      case 4:
        talk.ClientGap(1 + input.Byte(), (command & 8) != 0);
        break;
      case 5:
        talk.ServerGap(1 + input.Byte(), (command & 8) != 0);
        break;
      case 6: {
        EndReason reason = static_cast<EndReason>(input.Byte() % 3);
        if ((command & 8) != 0) {
          talk.ClientEnd(reason);
        } else {
          talk.ServerEnd(reason);
        }
        break;
      }
      default:
        talk.Close(static_cast<EndReason>(input.Byte() % 3));
        return talk;
    }
  }
  return talk;
}

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

void CheckOutcome(const Outcome& outcome, const ParserOptions& options) {
  for (const std::string& violation : outcome.violations) Check(false, violation.c_str());
  Check(outcome.begun == outcome.exchanges.size() + outcome.drops.size(),
        "requests unaccounted for");
  Check(outcome.largest_memory < 64 * 1024 + 8 * options.max_head_bytes, "memory grows");
  for (const RecordedExchange& exchange : outcome.exchanges) {
    Check(!exchange.method.empty() && !exchange.target.empty(), "exchange without a request line");
    Check(exchange.target.size() <= options.max_target_bytes, "target is not cut");
    Check(exchange.http_status == 0 || (exchange.http_status >= 101 && exchange.http_status <= 999),
          "invented status");
    Check(exchange.http_status != 0 || !exchange.transport_error.empty(), "no status and no error");
  }
}

void CheckSame(const Outcome& whole, const Outcome& cut) {
  Check(whole.exchanges == cut.exchanges, "other exchanges when cut elsewhere");
  Check(whole.drops == cut.drops, "other drops when cut elsewhere");
  Check(whole.status == cut.status, "other status when cut elsewhere");
}

}  // namespace
}  // namespace zerotap

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace zerotap;
  Input input(data, size);
  uint8_t settings = input.Byte();
  ParserOptions options;
  options.request_headers = {"x-a", "cookie"};
  options.response_headers = {"x-b"};
  if ((settings & 4) != 0) options.max_head_bytes = 128;
  if ((settings & 8) != 0) options.max_requests_in_flight = 2;
  options.max_target_bytes = 64;
  uint8_t position = input.Byte();
  Conversation talk = ReadConversation(input, settings);

  Outcome whole = RunConversation(kHttp1Protocol, talk, options);
  CheckOutcome(whole, options);
  size_t total = talk.data_bytes();
  CheckSame(whole, RunConversation(kHttp1Protocol, CutEvery(talk, 1), options));
  CheckSame(whole, RunConversation(kHttp1Protocol, CutEvery(talk, 2 + position % 61), options));
  if (total > 1) {
    CheckSame(whole,
              RunConversation(kHttp1Protocol, CutAt(talk, 1 + position % (total - 1)), options));
  }
  // With a hole there may be anything, but the contract holds.
  for (bool lost : {false, true}) {
    CheckOutcome(RunConversation(
                     kHttp1Protocol,
                     WithoutRange(talk, position, position + 1 + settings / 16 * 8, lost), options),
                 options);
  }
  DetectInput detect;
  std::string text(reinterpret_cast<const char*>(data), size);
  detect.egress = text;
  detect.egress_at_run_start = true;
  kHttp1Protocol.detect(detect);
  return 0;
}
