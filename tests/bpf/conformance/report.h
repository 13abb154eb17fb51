// The result, for people and for the runner that boots kernels.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "agent/capture/bpf_capture.h"

namespace zerotap::conformance {

struct RowResult {
  std::string variant;
  std::string family;
  std::string result;  // ok, blind, absent, FAIL
  std::string detail;
};

struct Program {
  std::string name;
  uint64_t instructions = 0;
  uint64_t recursion_misses = 0;
};

struct Report {
  std::FILE* out = stdout;  // for people
  std::string kernel;
  std::string tier;
  std::string attach_form;
  std::vector<RowResult> rows;
  std::vector<Program> programs;

  size_t Count(const char* result) const;
  // Prints a row as soon as it is there.
  void Add(RowResult row);
  void PrintPrograms() const;
  std::string Json() const;
};

}  // namespace zerotap::conformance
