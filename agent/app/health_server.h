// Answers /livez, /readyz, /metrics and /ledger to whoever watches over the agent. cpp-httplib
// stays behind this header.
//
// Its threads never touch the pipeline: the callbacks below give copies and may be called from
// several threads at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "agent/app/config.h"
#include "agent/base/result.h"

namespace zerotap {

struct HealthReport {
  bool live = false;
  bool ready = false;
  std::string reason;  // why it is not
};

struct HealthCallbacks {
  std::function<HealthReport()> report;
  std::function<std::string()> metrics;  // Prometheus text format 0.0.4
  std::function<std::string()> ledger;   // JSON
};

class HealthServer {
 public:
  // Port 0 takes any free one. Fails when the address cannot be bound.
  static Result<std::unique_ptr<HealthServer>> Start(const HostPort& address,
                                                     HealthCallbacks callbacks);
  ~HealthServer();

  uint16_t port() const;

 private:
  struct State;
  explicit HealthServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace zerotap
