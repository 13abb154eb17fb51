// Container and systemd unit of a process, from its cgroup path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>

#include "agent/base/unique_fd.h"

namespace zerotap {

// The id of the innermost container in a cgroup path, empty when there is none. Known: docker,
// containerd and cri-o (with and without Kubernetes, systemd and cgroupfs drivers), podman, ECS,
// Garden.
std::string ContainerIdFromCgroup(std::string_view cgroup_path);

// The systemd service unit that the cgroup belongs to, escapes undone ("foo-bar.service"), inside
// the container if there is one; empty when there is none.
std::string SystemdUnitFromCgroup(std::string_view cgroup_path);

// Paths of cgroups by their ids, which stay known for a while after the cgroup is gone.
// Single-threaded.
class CgroupPaths {
 public:
  // cgroup2 is looked for at <root>/sys/fs/cgroup and its subdirectory unified.
  explicit CgroupPaths(const std::string& root = "", size_t capacity = 1024);

  // Empty when the cgroup is gone and was never asked for, or the kernel does not let us (needs
  // CAP_DAC_READ_SEARCH).
  std::string Find(uint64_t cgroup_id);
  size_t size() const { return paths_.size(); }

 private:
  std::string Ask(uint64_t cgroup_id) const;

  UniqueFd mount_;
  std::string mount_path_;
  size_t capacity_;
  std::unordered_map<uint64_t, std::string> paths_;
  std::deque<uint64_t> order_;  // oldest first
};

}  // namespace zerotap
