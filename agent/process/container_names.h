// Names of containers, from what their runtime keeps on this host or sets in their environment.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>

#include "agent/process/process.h"

namespace zerotap {

struct ContainerName {
  std::string name;             // "shop-web-1"
  std::string compose_service;  // "web"
  std::string compose_project;  // "shop"
};

// Docker's own records, <root>/var/lib/docker/containers/<id>/config.v2.json. Bounded,
// single-threaded.
class ContainerNames {
 public:
  explicit ContainerNames(std::string root = "", size_t capacity = 512);

  ContainerName Find(const std::string& container_id);

 private:
  std::string root_;
  size_t capacity_;
  std::unordered_map<std::string, ContainerName> names_;
  std::deque<std::string> order_;  // oldest first
};

// The name of the workload that a Kubernetes pod belongs to, from its host name:
// "checkout-7d9f8b6c5d-x2x4z" is a pod of the deployment checkout. Empty when the process is in no
// pod, or the pod has the node's host name, or the name has not the form that the controllers give.
std::string WorkloadFromPodName(const ProcessFacts& facts, std::string_view host_name);

}  // namespace zerotap
