#include "agent/capture/tracefs.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>

#include <cstdlib>

namespace zerotap {
namespace {

bool HasEvents(int root) { return ::faccessat(root, "events", X_OK, 0) == 0; }

UniqueFd MountDetached() {
  UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, "tracefs", FSOPEN_CLOEXEC)));
  if (!context) return {};
  if (::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return {};
  }
  return UniqueFd(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0)));
}

}  // namespace

Result<Tracefs> Tracefs::Open() {
  for (const char* path : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    UniqueFd root(::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (root && HasEvents(root.get())) return Tracefs(std::move(root), false);
  }
  UniqueFd root = MountDetached();
  if (root && HasEvents(root.get())) return Tracefs(std::move(root), true);
  return Fail("tracefs is not mounted and cannot be; mount -t tracefs tracefs /sys/kernel/tracing");
}

Result<uint64_t> Tracefs::EventId(std::string_view group, std::string_view name) const {
  std::string path = "events/" + std::string(group) + "/" + std::string(name) + "/id";
  UniqueFd file(::openat(root_.get(), path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return FailErrno("tracefs " + path);
  char text[32] = {};
  if (::read(file.get(), text, sizeof(text) - 1) <= 0) return FailErrno("tracefs " + path);
  return std::strtoull(text, nullptr, 10);
}

}  // namespace zerotap
