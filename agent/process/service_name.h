// service.name by the OpenTelemetry rule and, where a process says nothing itself, by what it
// evidently is.
//
// First match: OTEL_SERVICE_NAME; service.name in OTEL_RESOURCE_ATTRIBUTES; -Dotel.service.name
// (Java); a configured rule; the systemd unit; the container (compose service, workload of the pod,
// container name); the command; unknown_service:<executable>.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/process/command_name.h"
#include "agent/process/container_names.h"
#include "agent/process/process.h"
#include "agent/process/resource_attributes.h"

namespace zerotap {

enum class NameSource : uint8_t {
  kEnvironment,
  kResourceAttributes,
  kJavaProperty,
  kRule,
  kSystemdUnit,
  kContainer,
  kCommand,
  kUnknown,
};

struct ServiceName {
  std::string name;  // never empty, at most 255 bytes
  NameSource source = NameSource::kUnknown;
};

// What the name derives from, besides the facts.
struct ServiceNameInput {
  const ProcessFacts& facts;
  const ResourceAttributes& own_attributes;  // parsed OTEL_RESOURCE_ATTRIBUTES
  std::string_view configured;  // of the first configured rule that matches, empty = none
  std::string_view container_id;
  std::string_view systemd_unit;
  const ContainerName& container;
  std::string_view workload;  // of the pod
  const CommandName& command;
};
ServiceName DeriveServiceName(const ServiceNameInput& input);

// The service that a systemd unit names, empty for units that hold other people's processes (user@,
// cron, ssh, docker, process managers): "postgresql@15-main.service" is postgresql,
// "app@8080.service" is app.
std::string ServiceFromUnit(std::string_view unit);

}  // namespace zerotap
