#include "agent/app/reload.h"

#include <algorithm>

#include "agent/app/config_schema.h"
#include "agent/app/memory_plan.h"

namespace zerotap {
namespace {

// A group stands for all of its keys.
constexpr std::string_view kAtRestart[] = {
    "capture",           // sizes of the kernel's maps, and which programs are loaded
    "protocols.disabled",
    "syscalls",
    "tcp",
    "waits",
    "metrics.temporality",  // what was counted so far would mean something else
    "metrics.histogram",
    "metrics.exemplars",
    "metrics.max_series",
    "pipeline",
    "memory",  // who has been given what
    "agent",  // who the agent's own metrics come from
    "health",
};
constexpr std::string_view kOfProcesses[] = {"targets.select", "targets.exclude", "services",
                                             "resource", "spans.legacy_attributes"};
constexpr std::string_view kOfExporters[] = {"export"};

template <size_t n>
bool IsAmong(std::string_view key, const std::string_view (&names)[n]) {
  return std::any_of(std::begin(names), std::end(names), [key](std::string_view name) {
    return key.substr(0, name.size()) == name &&
           (key.size() == name.size() || key[name.size()] == '.' || key[name.size()] == '[');
  });
}

// The fields behind kAtRestart.
void HoldBack(const Config& current, Config& next) {
  next.capture = current.capture;
  next.memory = current.memory;
  next.shards = current.shards;
  const uint64_t interval_ns = next.metrics.interval_ns;
  next.metrics = current.metrics;
  next.metrics.interval_ns = interval_ns;
  next.syscalls = current.syscalls;
  next.tcp = current.tcp;
  next.waits_enabled = current.waits_enabled;
  next.pipeline.waits = current.pipeline.waits;
  next.agent = current.agent;
  next.health_address = current.health_address;
  next.disabled = current.disabled;
  next.pipeline.disabled_protocols = current.pipeline.disabled_protocols;
  next.pipeline.red = current.pipeline.red;
  next.pipeline.own_ports = current.pipeline.own_ports;
  next.pipeline.max_held_bytes = current.pipeline.max_held_bytes;
  next.pipeline.max_connections = current.pipeline.max_connections;
}

}  // namespace

Config AtStart(Config config) {
  config.waits_enabled = config.waits_enabled && config.pipeline.spans_enabled;
  return config;
}

bool ChangesLive(std::string_view key) { return !IsAmong(key, kAtRestart); }

ConfigChange PlanChange(const Config& current, const Config& wanted) {
  ConfigChange change;
  change.config = wanted;
  HoldBack(current, change.config);
  // Whether the size of the queues was asked for is no matter of memory: it changes with that size.
  change.config.memory.sizes_queues = wanted.memory.sizes_queues;
  Config compared = wanted;
  if (!current.pipeline.spans_enabled && !wanted.pipeline.spans_enabled) {
    compared.waits_enabled = current.waits_enabled;  // no matter without spans
  }
  // Nobody asked for another, and as many share it: it follows from what changes at a restart only.
  if (current.memory.sizes_queues && wanted.memory.sizes_queues &&
      SendingExporters(current.exports.traces) == SendingExporters(wanted.exports.traces)) {
    compared.exports.queue_bytes = change.config.exports.queue_bytes = current.exports.queue_bytes;
  }
  for (std::string& key : ChangedKeys(current, compared)) {
    if (!ChangesLive(key)) {
      change.held.push_back(std::move(key));
      continue;
    }
    change.processes = change.processes || IsAmong(key, kOfProcesses);
    change.exporters = change.exporters || IsAmong(key, kOfExporters);
    change.taken.push_back(std::move(key));
  }
  return change;
}

}  // namespace zerotap
