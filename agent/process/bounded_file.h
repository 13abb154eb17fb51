// Reads of small files that others own: bounded, never blocking on what is no plain file.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "agent/base/unique_fd.h"

namespace zerotap {

// The first `limit` bytes of a file relative to an open directory (or AT_FDCWD); empty when it
// cannot be read. For files that the kernel or the host's administrator makes.
std::optional<std::string> ReadFileAt(int directory, const char* path, size_t limit);
std::optional<std::string> ReadLinkAt(int directory, const char* path);

// A directory taken as the root of a file system: a container's view, /proc/PID/root.
class RootDirectory {
 public:
  RootDirectory() = default;  // has no files
  explicit RootDirectory(const std::string& path);

  // As ReadFileAt for a path as the process sees it. Symbolic links are followed inside the root
  // only, and what is no regular file (a FIFO, a device) is never opened: the container may have
  // put it there to hold or to mislead us.
  std::optional<std::string> Read(const std::string& path, size_t limit) const;
  bool HasFile(const std::string& path) const;

 private:
  UniqueFd Find(const std::string& path) const;

  UniqueFd root_;
};

}  // namespace zerotap
