#include "agent/process/container_names.h"

#include <fcntl.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agent/process/bounded_file.h"
#include "agent/process/utf8.h"

namespace zerotap {
namespace {

constexpr size_t kMaxConfig = 1024 * 1024;
constexpr size_t kMaxName = 255;

std::string TextAt(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return {};
  auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return {};
  return ToUtf8(found->get_ref<const std::string&>(), kMaxName);
}

ContainerName ReadDockerConfig(const std::string& path) {
  std::optional<std::string> text = ReadFileAt(AT_FDCWD, path.c_str(), kMaxConfig);
  if (!text) return {};
  auto keep = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) { return depth <= 3; };
  nlohmann::json config = nlohmann::json::parse(*text, keep, /*allow_exceptions=*/false);
  ContainerName result;
  result.name = TextAt(config, "Name");
  if (!result.name.empty() && result.name.front() == '/') result.name.erase(0, 1);
  auto details = config.is_object() ? config.find("Config") : config.end();
  if (config.is_object() && details != config.end() && details->is_object()) {
    auto labels = details->find("Labels");
    if (labels != details->end()) {
      result.compose_service = TextAt(*labels, "com.docker.compose.service");
      result.compose_project = TextAt(*labels, "com.docker.compose.project");
    }
  }
  return result;
}

// The alphabet of names that Kubernetes makes up: no vowels, and no digits that look like them.
bool IsGenerated(std::string_view text) {
  return !text.empty() &&
         text.find_first_not_of("bcdfghjklmnpqrstvwxz2456789") == std::string_view::npos;
}

}  // namespace

ContainerNames::ContainerNames(std::string root, size_t capacity)
    : root_(root == "/" ? "" : std::move(root)), capacity_(std::max<size_t>(capacity, 1)) {}

ContainerName ContainerNames::Find(const std::string& container_id) {
  if (container_id.empty()) return {};
  auto known = names_.find(container_id);
  if (known != names_.end()) return known->second;
  ContainerName name =
      ReadDockerConfig(root_ + "/var/lib/docker/containers/" + container_id + "/config.v2.json");
  if (order_.size() >= capacity_) {
    names_.erase(order_.front());
    order_.pop_front();
  }
  names_.emplace(container_id, name);
  order_.push_back(container_id);
  return name;
}

std::string WorkloadFromPodName(const ProcessFacts& facts, std::string_view host_name) {
  std::string_view pod = facts.Environment("HOSTNAME");
  if (pod.empty() || pod == host_name || facts.Environment("KUBERNETES_SERVICE_HOST").empty()) {
    return {};
  }
  size_t last = pod.rfind('-');
  if (last == std::string_view::npos || last == 0) return {};
  std::string_view suffix = pod.substr(last + 1);
  std::string_view stem = pod.substr(0, last);
  // A stateful set numbers its pods.
  if (!suffix.empty() && suffix.size() <= 4 &&
      suffix.find_first_not_of("0123456789") == std::string_view::npos) {
    return std::string(stem);
  }
  if (suffix.size() != 5 || !IsGenerated(suffix)) return {};
  // A deployment's replica set adds a hash before; a daemon set's or job's pods have none.
  size_t hash = stem.rfind('-');
  if (hash != std::string_view::npos && hash > 0 && stem.size() - hash - 1 >= 8 &&
      stem.size() - hash - 1 <= 10 && IsGenerated(stem.substr(hash + 1))) {
    return std::string(stem.substr(0, hash));
  }
  return std::string(stem);
}

}  // namespace zerotap
