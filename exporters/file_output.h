// Appends lines to a file that others may read, rotate or delete meanwhile. A line is in the file
// whole or not at all. Outputs of one path (the former exporters and the new ones, while settings
// change) take turns.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "agent/base/result.h"
#include "agent/base/unique_fd.h"

namespace zerotap {

class FileOutput {
 public:
  // `max_bytes`: a file that would become larger is renamed to <path>.1, over an older one, and a
  // new one begun; 0: no limit.
  static Result<std::unique_ptr<FileOutput>> Open(std::string path, uint64_t max_bytes);

  // Adds the line break. Any thread.
  Status WriteLine(std::string_view line);

  const std::string& path() const { return path_; }

 private:
  FileOutput(std::string path, uint64_t max_bytes);

  Status Reopen();
  // Opens again when the path no longer leads to the open file (logrotate), and rotates when the
  // line does not fit.
  Status MakeReady(uint64_t line_bytes);

  const std::string path_;
  const uint64_t max_bytes_;
  std::shared_ptr<std::mutex> mutex_;  // of all outputs of this path
  UniqueFd fd_;
};

}  // namespace zerotap
