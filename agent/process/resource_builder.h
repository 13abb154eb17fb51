// Makes the Resource of a process: the attributes and their order are the contract with the
// receivers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/process/container_names.h"
#include "agent/process/process.h"
#include "agent/process/resource_attributes.h"
#include "agent/telemetry/resource.h"
#include "symbolizers/runtime_kind.h"

namespace zerotap {

// The same for every process of the host; read once.
struct HostFacts {
  std::string name;
  std::string id;       // machine-id
  std::string arch;     // amd64, arm64 ...
  std::string boot_id;  // makes instance ids differ between boots

  static HostFacts Read(const std::string& root);
};

struct ResourceOptions {
  std::string version = "0.1.0";  // zerotap's own
  bool legacy_attributes = true;  // deployment.environment besides deployment.environment.name
  // Added to every resource that has not the attribute already (the agent's own
  // OTEL_RESOURCE_ATTRIBUTES, configuration). service.name and service.instance.id among them are
  // the agent's and are not taken.
  std::vector<std::pair<std::string, std::string>> extra_attributes;
};

struct ResourceInput {
  const ProcessFacts& facts;
  const BinaryFacts& binary;
  const ResourceAttributes& own_attributes;  // of the process; they win
  std::string_view service_name;
  std::string_view script;
  std::string_view container_id;
  const ContainerName& container;
  std::string_view systemd_unit;
};

class ResourceBuilder {
 public:
  ResourceBuilder(HostFacts host, ResourceOptions options);

  ResourcePtr Build(const ResourceInput& input) const;
  const HostFacts& host() const { return host_; }

 private:
  std::string InstanceId(const ProcessFacts& facts) const;

  HostFacts host_;
  ResourceOptions options_;
};

// telemetry.sdk.language of a runtime.
std::string_view SdkLanguage(RuntimeKind kind);
// "2026-01-31T12:00:00.123Z".
std::string FormatUtc(uint64_t unix_ns);

}  // namespace zerotap
