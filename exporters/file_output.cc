#include "exporters/file_output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>
#include <utility>

#include "exporters/sigpipe_block.h"

namespace zerotap {
namespace {

std::shared_ptr<std::mutex> MutexOf(const std::string& path) {
  static std::mutex guard;
  static auto& by_path = *new std::map<std::string, std::weak_ptr<std::mutex>>;
  std::lock_guard lock(guard);
  std::erase_if(by_path, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<std::mutex>& known = by_path[path];
  std::shared_ptr<std::mutex> mutex = known.lock();
  if (!mutex) known = mutex = std::make_shared<std::mutex>();
  return mutex;
}

}  // namespace

FileOutput::FileOutput(std::string path, uint64_t max_bytes)
    : path_(std::move(path)), max_bytes_(max_bytes), mutex_(MutexOf(path_)) {}

Result<std::unique_ptr<FileOutput>> FileOutput::Open(std::string path, uint64_t max_bytes) {
  if (path.empty()) return Fail("the file exporter needs a path");
  std::unique_ptr<FileOutput> output(new FileOutput(std::move(path), max_bytes));
  Status status = output->Reopen();
  if (!status) return tl::unexpected<Error>(status.error());
  return output;
}

Status FileOutput::Reopen() {
  // Not blocking, so that a named pipe without reader is an error and not an agent that hangs.
  fd_.Reset(open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0640));
  if (!fd_) return FailErrno("cannot open " + path_);
  return {};
}

Status FileOutput::MakeReady(uint64_t line_bytes) {
  struct stat open_file {};
  struct stat at_path {};
  bool same = fd_ && fstat(fd_.get(), &open_file) == 0 && stat(path_.c_str(), &at_path) == 0 &&
              open_file.st_dev == at_path.st_dev && open_file.st_ino == at_path.st_ino;
  if (!same) {
    if (Status status = Reopen(); !status) return status;
    if (fstat(fd_.get(), &open_file) != 0) return FailErrno("cannot inspect " + path_);
  }
  auto size = static_cast<uint64_t>(open_file.st_size);
  if (max_bytes_ == 0 || !S_ISREG(open_file.st_mode) || size == 0 ||
      size + line_bytes <= max_bytes_) {
    return {};
  }
  if (std::rename(path_.c_str(), (path_ + ".1").c_str()) != 0) {
    return FailErrno("cannot rotate " + path_);
  }
  return Reopen();
}

Status FileOutput::WriteLine(std::string_view line) {
  std::lock_guard lock(*mutex_);
  if (Status status = MakeReady(line.size() + 1); !status) return status;
  struct stat before {};
  if (fstat(fd_.get(), &before) != 0) return FailErrno("cannot inspect " + path_);

  SigpipeBlock block;
  const size_t all = line.size() + 1;
  size_t written = 0;
  while (written < all) {
    const std::string_view rest = line.substr(std::min(written, line.size()));
    char line_break = '\n';
    iovec parts[] = {{const_cast<char*>(rest.data()), rest.size()}, {&line_break, 1}};
    ssize_t count = writev(fd_.get(), parts, 2);
    if (count > 0) {
      written += static_cast<size_t>(count);
      continue;
    }
    if (count < 0 && errno == EINTR) continue;
    int error = count == 0 ? ENOSPC : errno;
    // Half a line would spoil the next one too.
    if (S_ISREG(before.st_mode) && written > 0 &&
        ftruncate(fd_.get(), before.st_size) != 0) {
      fd_.Reset();
    }
    return FailErrno("cannot write to " + path_, error);
  }
  return {};
}

}  // namespace zerotap
