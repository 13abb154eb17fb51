// The types of the running kernel (BTF): in which file they are, and that everything which reads
// them, libbpf included, reads that one. The kernel has to have them itself; what may be elsewhere
// is the file that shows them.
#pragma once

#include <memory>
#include <string>

#include "agent/base/result.h"

struct btf;

namespace zerotap {

struct BtfDeleter {
  void operator()(btf* types) const;
};
using BtfPtr = std::unique_ptr<btf, BtfDeleter>;

// `wanted` (capture.btf) when it is not empty, else the first of the places where systems have it.
// The error says what is missing and what to do.
Result<std::string> FindKernelBtf(const std::string& wanted);

// Refuses one that is not the running kernel's, wherever the kernel can be asked (5.11 and later,
// CAP_SYS_ADMIN).
Result<BtfPtr> ReadKernelBtf(const std::string& path);

// While it lives, libbpf takes this file for the kernel's on this thread. Not nested.
class KernelBtfScope {
 public:
  explicit KernelBtfScope(std::string path);
  ~KernelBtfScope();
  KernelBtfScope(const KernelBtfScope&) = delete;
  KernelBtfScope& operator=(const KernelBtfScope&) = delete;

 private:
  std::string path_;
};

}  // namespace zerotap
