#include "agent/metrics/gathered_resources.h"

#include <algorithm>
#include <array>
#include <memory>

#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

// What processes of one host have in common, and nothing that tells them apart.
constexpr std::array<std::string_view, 6> kShared = {
    semconv::kHostName,         semconv::kOsType,           semconv::kTelemetrySdkName,
    semconv::kTelemetrySdkVersion, semconv::kTelemetryDistroName, semconv::kTelemetryDistroVersion};

}  // namespace

const ResourcePtr& GatheredResources::Of(const Resource& resource) {
  auto found = by_service_.find(resource.service_name);
  if (found != by_service_.end()) return found->second;
  if (by_service_.size() < max_services_) {
    return by_service_.emplace(resource.service_name, Make(resource, resource.service_name)).first->second;
  }
  if (!others_) others_ = Make(resource, kOtherServices);
  return others_;
}

ResourcePtr GatheredResources::Make(const Resource& resource, std::string_view service) {
  auto made = std::make_shared<Resource>();
  made->service_name = std::string(service);
  made->attributes.Add(semconv::kServiceName, service);
  for (size_t i = 0; i < resource.attributes.size(); ++i) {
    const Attribute attribute = resource.attributes[i];
    if (std::find(kShared.begin(), kShared.end(), attribute.key) == kShared.end()) continue;
    made->attributes.AddOwnedKeyOf(attribute.key, attribute.value);
  }
  return made;
}

}  // namespace zerotap
