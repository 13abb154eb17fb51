// Where numbers go when there are too many processes to count each by itself: to one resource per service, and beyond a
// number of services to one for all others. So short processes, each a resource of its own, cannot fill the memory.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>

#include "agent/telemetry/resource.h"

namespace zerotap {

class GatheredResources {
 public:
  static constexpr std::string_view kOtherServices = "(other services)";

  explicit GatheredResources(size_t max_services) : max_services_(max_services) {}

  // The same for all processes of a service; says of it only what holds for all of them. Stays for good.
  const ResourcePtr& Of(const Resource& resource);

  size_t size() const { return by_service_.size(); }

 private:
  static ResourcePtr Make(const Resource& resource, std::string_view service);

  const size_t max_services_;
  std::unordered_map<std::string, ResourcePtr> by_service_;
  ResourcePtr others_;
};

}  // namespace zerotap
