#include "agent/process/container_id.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "agent/process/bounded_file.h"
#include "agent/process/utf8.h"

namespace zerotap {
namespace {

constexpr size_t kIdLength = 64;

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}
bool IsDigits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}
bool EndsWith(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}

std::vector<std::string_view> Segments(std::string_view path) {
  std::vector<std::string_view> segments;
  while (!path.empty()) {
    size_t end = std::min(path.find('/'), path.size());
    if (end > 0) segments.push_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return segments;
}

// A Garden handle: 8-4-4-4-4 or a whole UUID, in hex.
bool IsGardenHandle(std::string_view text) {
  if (text.size() != 28 && text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !IsHex(text.substr(i, 1))) return false;
  }
  return true;
}

// The id in one segment, for example "docker-<id>.scope", "cri-containerd-<id>.scope", "crio-<id>",
// "libpod-<id>.scope", "kubepods-burstable-pod<uid>.slice:cri-containerd:<id>", "<id>".
std::string_view IdInSegment(std::string_view segment, std::string_view parent) {
  size_t colon = segment.rfind(':');
  if (colon != std::string_view::npos) segment.remove_prefix(colon + 1);
  if (EndsWith(segment, ".scope")) segment.remove_suffix(6);
  if (segment.size() >= kIdLength) {
    std::string_view id = segment.substr(segment.size() - kIdLength);
    std::string_view prefix = segment.substr(0, segment.size() - kIdLength);
    // conmon watches the container from outside.
    bool outside = EndsWith(prefix, "conmon-");
    if (IsHex(id) && !outside && (prefix.empty() || prefix.back() == '-')) return id;
  }
  // ECS on Fargate: <32 hex of the task>-<number>.
  if (segment.size() > 33 && segment.size() <= 44 && segment[32] == '-' &&
      IsHex(segment.substr(0, 32)) && IsDigits(segment.substr(33))) {
    return segment;
  }
  if (parent == "garden" && IsGardenHandle(segment)) return segment;
  return {};
}

// systemd writes bytes that a path or unit name cannot hold as \xNN.
std::string Unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 2) == "\\x" && i + 3 < text.size() && IsHex(text.substr(i + 2, 2))) {
      auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
      plain.push_back(static_cast<char>(digit(text[i + 2]) * 16 + digit(text[i + 3])));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return ToUtf8(plain, 256);
}

// Index of the innermost container segment, segments.size() when there is none.
size_t ContainerSegment(const std::vector<std::string_view>& segments) {
  for (size_t i = segments.size(); i-- > 0;) {
    if (!IdInSegment(segments[i], i > 0 ? segments[i - 1] : "").empty()) return i;
  }
  return segments.size();
}

}  // namespace

std::string ContainerIdFromCgroup(std::string_view cgroup_path) {
  std::vector<std::string_view> segments = Segments(cgroup_path);
  size_t index = ContainerSegment(segments);
  if (index == segments.size()) return {};
  return std::string(IdInSegment(segments[index], index > 0 ? segments[index - 1] : ""));
}

std::string SystemdUnitFromCgroup(std::string_view cgroup_path) {
  std::vector<std::string_view> segments = Segments(cgroup_path);
  size_t container = ContainerSegment(segments);
  size_t first = container == segments.size() ? 0 : container + 1;
  // Podman's own units (quadlets) hold one container:
  // /system.slice/shop.service/libpod-payload-<id>.
  bool is_payload = container > 0 && container < segments.size() &&
                    segments[container].substr(0, 15) == "libpod-payload-";
  if (is_payload) first = container - 1;
  for (size_t i = segments.size(); i-- > first;) {
    // systemd puts "_" before names that the kernel would take for its own files.
    std::string_view segment = segments[i];
    if (!EndsWith(segment, ".service") || segment.size() <= 8) continue;
    if (segment.front() == '_') segment.remove_prefix(1);
    return Unescape(segment);
  }
  return {};
}

CgroupPaths::CgroupPaths(const std::string& root, size_t capacity) : capacity_(capacity) {
  for (const char* place : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    std::string path = root + place;
    struct statfs info{};
    if (statfs(path.c_str(), &info) != 0 || info.f_type != CGROUP2_SUPER_MAGIC) continue;
    mount_.Reset(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!mount_) continue;
    // As readlink of /proc/self/fd will spell it.
    std::string self = "/proc/self/fd/" + std::to_string(mount_.get());
    mount_path_ = ReadLinkAt(AT_FDCWD, self.c_str()).value_or(path);
    return;
  }
}

std::string CgroupPaths::Ask(uint64_t cgroup_id) const {
  if (!mount_ || cgroup_id == 0) return {};
  // A cgroup's id is its kernfs node id, and that is the whole of its file handle (FILEID_KERNFS).
  constexpr int kFileIdKernfs = 0xfe;
  alignas(file_handle) std::array<char, sizeof(file_handle) + sizeof(cgroup_id)> storage{};
  auto* handle = reinterpret_cast<file_handle*>(storage.data());
  handle->handle_bytes = sizeof(cgroup_id);
  handle->handle_type = kFileIdKernfs;
  std::memcpy(storage.data() + sizeof(file_handle), &cgroup_id, sizeof(cgroup_id));
  UniqueFd cgroup(open_by_handle_at(mount_.get(), handle, O_PATH | O_CLOEXEC));
  if (!cgroup) return {};
  std::string self = "/proc/self/fd/" + std::to_string(cgroup.get());
  std::string link = ReadLinkAt(AT_FDCWD, self.c_str()).value_or("");
  std::string_view path = link;
  if (path.substr(0, mount_path_.size()) != mount_path_) return {};
  path.remove_prefix(mount_path_.size());
  constexpr std::string_view kDeleted = " (deleted)";
  if (EndsWith(path, kDeleted)) path.remove_suffix(kDeleted.size());
  return path.empty() ? "/" : ToUtf8(path);
}

std::string CgroupPaths::Find(uint64_t cgroup_id) {
  auto known = paths_.find(cgroup_id);
  if (known != paths_.end()) return known->second;
  std::string path = Ask(cgroup_id);
  // A failure is not remembered: the id may belong to a cgroup that is being made.
  if (path.empty() || capacity_ == 0) return path;
  if (order_.size() >= capacity_) {
    paths_.erase(order_.front());
    order_.pop_front();
  }
  paths_.emplace(cgroup_id, path);
  order_.push_back(cgroup_id);
  return path;
}

}  // namespace zerotap
