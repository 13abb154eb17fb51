// What pipeline_bench feeds: kernel records of conversations that never end, made up or recorded.
//
// Made-up traffic is one conversation repeated on 64 connections that stay open: what a keep-alive server or a connection
// pool is to the pipeline. A recording (tests/data/**/*.capture) is played again and again, each time as new connections
// later in time, with its opens and closes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/bytes.h"
#include "agent/base/result.h"
#include "agent/pipeline/pipeline.h"

namespace zerotap::bench {

// Where records go.
class Feed {
 public:
  virtual ~Feed() = default;
  virtual void OnRecord(ByteSpan record) = 0;
  virtual void OnClock(uint64_t now_ns) = 0;
};

class Traffic {
 public:
  virtual ~Traffic() = default;
  // What comes once, before the first round.
  virtual void Begin(Feed& feed) = 0;
  virtual void Round(Feed& feed) = 0;
  virtual std::optional<TracedProcess> Resolve(uint32_t tgid) const = 0;

  // Of one round.
  uint64_t exchanges = 0;
  uint64_t events = 0;  // kernel records
  uint64_t opening_events = 0;  // that Begin feeds
  bool is_traced = true;  // false: requests that the pipeline must not see as such
};

// The names of made-up traffic, one to a line with what it is.
std::string TrafficNames();
// Made-up traffic by name, or the recording of that path.
Result<std::unique_ptr<Traffic>> MakeTraffic(const std::string& name);

}  // namespace zerotap::bench
