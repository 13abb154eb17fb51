#include "agent/capture/btf_file.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <linux/bpf.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstring>
#include <iterator>
#include <utility>
#include <vector>

#include "agent/base/unique_fd.h"

namespace zerotap {
namespace {

constexpr char kSysfs[] = "/sys/kernel/btf/vmlinux";

thread_local const std::string* scope_path = nullptr;

std::string Release() {
  utsname names{};
  ::uname(&names);
  return names.release;
}

// Where kernels with their types in them are kept, by distribution and by package of debugging
// data.
std::vector<std::string> Places() {
  const std::string release = Release();
  const std::string modules = "/lib/modules/" + release;
  return {kSysfs,
          "/boot/vmlinux-" + release,
          modules + "/vmlinux-" + release,
          modules + "/build/vmlinux",
          "/usr" + modules + "/kernel/vmlinux",
          "/usr/lib/debug/boot/vmlinux-" + release,
          "/usr/lib/debug/boot/vmlinux-" + release + ".debug",
          "/usr/lib/debug" + modules + "/vmlinux"};
}

// The kernel makes its types ready with the first program that it verifies.
void LetTheKernelReadItsTypes() {
  const bpf_insn program[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0},
                              {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  UniqueFd loaded(bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "zt_types", "GPL", program,
                                std::size(program), nullptr));
}

// The types as the kernel itself gives them out; empty where it does not, or not to this process.
std::vector<std::byte> TypesOfTheKernel() {
  LetTheKernelReadItsTypes();
  uint32_t id = 0;
  while (bpf_btf_get_next_id(id, &id) == 0) {
    UniqueFd fd(bpf_btf_get_fd_by_id(id));
    if (!fd) continue;
    char name[16] = {};
    bpf_btf_info info{};
    info.name = reinterpret_cast<uintptr_t>(name);
    info.name_len = sizeof(name);
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) continue;
    if (info.kernel_btf == 0 || std::strcmp(name, "vmlinux") != 0) continue;
    std::vector<std::byte> types(info.btf_size);
    info = {};
    info.btf = reinterpret_cast<uintptr_t>(types.data());
    info.btf_size = static_cast<uint32_t>(types.size());
    size = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) return {};
    return types;
  }
  return {};
}

}  // namespace

void BtfDeleter::operator()(btf* types) const { btf__free(types); }

Result<std::string> FindKernelBtf(const std::string& wanted) {
  if (!wanted.empty()) {
    if (::access(wanted.c_str(), R_OK) != 0) return FailErrno("capture.btf: cannot read " + wanted);
    return wanted;
  }
  for (std::string& place : Places()) {
    if (::access(place.c_str(), R_OK) == 0) return std::move(place);
  }
  return Fail(
      "there is no BTF of this kernel (/sys/kernel/btf/vmlinux), which needs "
      "CONFIG_DEBUG_INFO_BTF=y, as the kernels of Debian 11, "
      "Ubuntu 20.10, RHEL 8.2 and later have. In a container mount /sys, or name a copy of the "
      "host's file in capture.btf, or put "
      "it at /boot/vmlinux-" +
      Release());
}

Result<BtfPtr> ReadKernelBtf(const std::string& path) {
  BtfPtr types(btf__parse(path.c_str(), nullptr));
  if (!types) {
    return Fail(
        path + " has no BTF that can be read (" + std::strerror(errno) +
        "): it must be a copy of /sys/kernel/btf/vmlinux, or a vmlinux file with a section .BTF");
  }
  if (path == kSysfs) return types;
  const std::vector<std::byte> own = TypesOfTheKernel();
  uint32_t size = 0;
  const void* data = btf__raw_data(types.get(), &size);
  if (!own.empty() &&
      (data == nullptr || size != own.size() || std::memcmp(data, own.data(), size) != 0)) {
    return Fail(path + " has the BTF of another kernel than " + Release() +
                ": its field offsets would be wrong");
  }
  return types;
}

KernelBtfScope::KernelBtfScope(std::string path) : path_(std::move(path)) { scope_path = &path_; }
KernelBtfScope::~KernelBtfScope() { scope_path = nullptr; }

}  // namespace zerotap

// libbpf asks this of itself for the programs that are attached by BTF, and has no option for it:
// the program's own definition goes before the library's. Weak, because in a static program there
// is only one, and libbpf's is as good there.
extern "C" __attribute__((weak, visibility("default"))) btf* btf__load_vmlinux_btf() {
  const zerotap::Result<std::string> path =
      zerotap::FindKernelBtf(zerotap::scope_path == nullptr ? std::string() : *zerotap::scope_path);
  if (!path) {
    errno = ESRCH;
    return nullptr;
  }
  return btf__parse(path->c_str(), nullptr);
}
