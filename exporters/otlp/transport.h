// One attempt to hand a serialized request to a receiver. What is done about the outcome, above all
// when it is tried again, is Sender's business and the same for all transports.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "agent/http/client.h"

namespace zerotap::otlp {

struct OutgoingBody {
  std::string_view bytes;
  bool gzip = false;
};

enum class AttemptResult {
  kAccepted,     // all of it, or all but `rejected`
  kBusy,         // the receiver asks to be tried again
  kUnreachable,  // no answer; may heal by itself
  kRefused,      // the receiver will never take it
  kTooLarge,     // it may take the same in smaller requests
  kBroken,       // no answer, and waiting does not heal it
  kStopped,
};

struct Attempt {
  AttemptResult result = AttemptResult::kAccepted;
  uint64_t rejected = 0;  // of a partial success
  bool unsent = false;    // of kStopped: the receiver cannot have it
  std::string reason;     // for counting: few values, such as "http_503" or "timeout"
  std::string message;    // for people, printable: what the receiver said and what to do
  std::optional<std::chrono::milliseconds> retry_after;
};

class Transport {
 public:
  virtual ~Transport() = default;
  // From one thread at a time.
  virtual Attempt Post(const OutgoingBody& body, std::chrono::milliseconds timeout) = 0;
  // From any thread: ends the attempt under way and every later one.
  virtual void RequestStop() = 0;
  virtual bool stop_requested() const = 0;
  virtual const std::string& url() const = 0;
};

// A failure without an answer. `protocol_remedy`: what to do when the other side speaks another
// protocol.
Attempt FailedConnection(const HttpError& error, std::string_view protocol_remedy);

// Of an answer that says that everything, or all but a part, was taken.
struct ExportResponse;
Attempt AcceptedAttempt(const std::optional<ExportResponse>& response, const std::string& status);

// What a receiver said, cut and fit for a log.
std::string Shown(std::string_view text);

}  // namespace zerotap::otlp
