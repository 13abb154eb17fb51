#include "agent/process/bounded_file.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace zerotap {
namespace {

std::optional<std::string> ReadAll(int fd, size_t limit) {
  std::string bytes;
  while (bytes.size() < limit) {
    size_t filled = bytes.size();
    size_t step = limit - filled < 4096 ? limit - filled : filled < 4096 ? 4096 : filled;
    if (step > limit - filled) step = limit - filled;
    bytes.resize(filled + step);
    ssize_t count = read(fd, bytes.data() + filled, step);
    if (count < 0 && errno == EINTR)
      count = 0;
    else if (count < 0)
      return std::nullopt;
    else if (count == 0) {
      bytes.resize(filled);
      break;
    }
    bytes.resize(filled + static_cast<size_t>(count));
  }
  return bytes;
}

}  // namespace

std::optional<std::string> ReadFileAt(int directory, const char* path, size_t limit) {
  UniqueFd file(openat(directory, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return std::nullopt;
  return ReadAll(file.get(), limit);
}

std::optional<std::string> ReadLinkAt(int directory, const char* path) {
  char buffer[PATH_MAX];
  ssize_t length = readlinkat(directory, path, buffer, sizeof(buffer));
  if (length <= 0) return std::nullopt;
  return std::string(buffer, static_cast<size_t>(length));
}

RootDirectory::RootDirectory(const std::string& path)
    : root_(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {}

UniqueFd RootDirectory::Find(const std::string& path) const {
  if (!root_ || path.empty() || path.front() != '/') return UniqueFd();
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  UniqueFd found(
      static_cast<int>(syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof(how))));
  struct stat info{};
  if (!found || fstat(found.get(), &info) != 0 || !S_ISREG(info.st_mode)) return UniqueFd();
  return found;
}

bool RootDirectory::HasFile(const std::string& path) const { return static_cast<bool>(Find(path)); }

std::optional<std::string> RootDirectory::Read(const std::string& path, size_t limit) const {
  UniqueFd found = Find(path);
  if (!found) return std::nullopt;
  // An O_PATH descriptor is opened for reading through /proc/self/fd, so that it is the very file
  // that was checked.
  std::string self = "/proc/self/fd/" + std::to_string(found.get());
  return ReadFileAt(AT_FDCWD, self.c_str(), limit);
}

}  // namespace zerotap
