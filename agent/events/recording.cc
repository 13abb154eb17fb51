#include "agent/events/recording.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace zerotap {
namespace {

constexpr char kMagic[8] = {'Z', 'T', 'R', 'E', 'C', '\0', '\0', '\1'};
constexpr size_t kFileHeaderSize = sizeof(kMagic) + 2 * sizeof(uint64_t);
constexpr uint16_t kProcessKind = 0x1001;
constexpr uint16_t kClockKind = 0x1002;
constexpr size_t kProcessPrefixSize = sizeof(zt_event_header) + 2 * sizeof(uint32_t);
// What is held back before it is written, and what one record may measure. Both sides keep to it,
// so a damaged size field cannot make the reader allocate more.
constexpr size_t kBufferSize = 1024 * 1024;
constexpr size_t kMaxRecordSize = kBufferSize;

constexpr size_t Aligned(size_t size) { return (size + 7) & ~size_t{7}; }

template <typename T>
ByteSpan ObjectBytes(const T& object) {
  return {reinterpret_cast<const std::byte*>(&object), sizeof(object)};
}

int WriteFully(int fd, ByteSpan bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return 0;
}

// Reads until `room` is full or the file ends.
Result<size_t> ReadFully(int fd, std::span<std::byte> room) {
  size_t filled = 0;
  while (filled < room.size()) {
    ssize_t got = ::read(fd, room.data() + filled, room.size() - filled);
    if (got < 0) {
      if (errno == EINTR) continue;
      return FailErrno("cannot read the recording");
    }
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  return filled;
}

}  // namespace

Result<std::unique_ptr<RecordingWriter>> RecordingWriter::Create(const std::string& path,
                                                                 const RecordingHeader& header) {
  // A recording holds payload bytes: nobody but the owner may read it, whatever was there before.
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return FailErrno("cannot create the recording " + path);
  struct stat info{};
  if (::fstat(fd.get(), &info) == 0 && S_ISREG(info.st_mode) && ::fchmod(fd.get(), 0600) != 0) {
    return FailErrno("cannot make the recording " + path + " private");
  }
  std::unique_ptr<RecordingWriter> writer(new RecordingWriter(std::move(fd)));
  writer->buffer_.reserve(kBufferSize);
  writer->Append(AsBytes(std::string_view(kMagic, sizeof(kMagic))));
  writer->Append(ObjectBytes(header.id_seed));
  writer->Append(ObjectBytes(header.realtime_minus_monotonic_ns));
  if (Status status = writer->Flush(); !status) return tl::unexpected<Error>(status.error());
  return writer;
}

RecordingWriter::~RecordingWriter() {
  if (fd_ && !buffer_.empty()) WriteFully(fd_.get(), buffer_);
}

void RecordingWriter::Append(ByteSpan bytes) {
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

void RecordingWriter::WriteRecord(ByteSpan record) {
  zt_event_header header;
  if (!fd_ || record.size() < sizeof(header)) return;
  std::memcpy(&header, record.data(), sizeof(header));
  // A record that claims more than it has would put every later one out of step.
  if (header.size < sizeof(header) || header.size > record.size() || header.size > kMaxRecordSize) {
    return;
  }
  if (buffer_.size() + Aligned(header.size) > kBufferSize) {
    write_error_ = WriteFully(fd_.get(), buffer_);
    buffer_.clear();
    if (write_error_ != 0) {
      fd_.Reset();
      return;
    }
  }
  Append(record.first(header.size));
  buffer_.resize(Aligned(buffer_.size()));
}

void RecordingWriter::WriteProcess(const RecordedProcess& process) {
  std::vector<std::byte> record(kProcessPrefixSize + process.resource_json.size());
  if (record.size() > kMaxRecordSize) return;
  zt_event_header header{};
  header.size = static_cast<zt_u32>(record.size());
  header.kind = kProcessKind;
  const uint32_t traced = process.traced ? 1 : 0;
  std::memcpy(record.data(), &header, sizeof(header));
  std::memcpy(record.data() + sizeof(header), &process.tgid, sizeof(process.tgid));
  std::memcpy(record.data() + sizeof(header) + sizeof(process.tgid), &traced, sizeof(traced));
  std::copy_n(AsBytes(process.resource_json).begin(), process.resource_json.size(),
              record.begin() + kProcessPrefixSize);
  WriteRecord(record);
}

void RecordingWriter::WriteClock(uint64_t now_ns) {
  zt_event_header header{};
  header.time_ns = now_ns;
  header.size = sizeof(header);
  header.kind = kClockKind;
  WriteRecord(ObjectBytes(header));
}

Status RecordingWriter::Flush() {
  if (fd_ && !buffer_.empty()) {
    write_error_ = WriteFully(fd_.get(), buffer_);
    buffer_.clear();
    if (write_error_ != 0) fd_.Reset();
  }
  if (write_error_ != 0) {
    return FailErrno("the recording stopped", std::exchange(write_error_, 0));
  }
  return {};
}

Result<std::unique_ptr<RecordingReader>> RecordingReader::Open(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return FailErrno("cannot open the recording " + path);
  return Open(std::move(fd), path, {});
}

bool RecordingReader::HasMagic(ByteSpan first_bytes) {
  return first_bytes.size() >= sizeof(kMagic) &&
         std::memcmp(first_bytes.data(), kMagic, sizeof(kMagic) - 1) == 0;
}

Result<std::unique_ptr<RecordingReader>> RecordingReader::Open(UniqueFd fd, const std::string& name,
                                                               std::string_view already_read) {
  std::array<std::byte, kFileHeaderSize> bytes;
  const size_t taken = std::min(already_read.size(), bytes.size());
  std::copy_n(AsBytes(already_read).begin(), taken, bytes.begin());
  Result<size_t> got = ReadFully(fd.get(), std::span(bytes).subspan(taken));
  if (!got) return tl::unexpected<Error>(got.error());
  if (taken + *got < bytes.size() || !HasMagic(bytes)) {
    return Fail(name + " is not a zerotap recording");
  }
  if (std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) != 0) {
    return Fail(name + " was written in recording format " +
                std::to_string(std::to_integer<int>(bytes[sizeof(kMagic) - 1])) +
                "; this zerotap reads format 1");
  }
  RecordingHeader header;
  std::memcpy(&header.id_seed, bytes.data() + sizeof(kMagic), sizeof(uint64_t));
  std::memcpy(&header.realtime_minus_monotonic_ns, bytes.data() + sizeof(kMagic) + sizeof(uint64_t),
              sizeof(int64_t));
  return std::unique_ptr<RecordingReader>(new RecordingReader(std::move(fd), header));
}

Status RecordingReader::ReadAll(const RecordingCallbacks& callbacks) {
  // u64 elements make every record 8-byte aligned: each starts at a multiple of 8 in the file and
  // in the buffer.
  std::vector<uint64_t> storage(2 * kBufferSize / sizeof(uint64_t));
  std::span<std::byte> buffer(reinterpret_cast<std::byte*>(storage.data()), 2 * kBufferSize);
  uint64_t file_offset = kFileHeaderSize;  // of buffer[0]
  size_t filled = 0;
  bool ended = false;
  while (!ended) {
    Result<size_t> got = ReadFully(fd_.get(), buffer.subspan(filled));
    if (!got) return tl::unexpected<Error>(got.error());
    ended = *got < buffer.size() - filled;
    filled += *got;
    size_t position = 0;
    while (filled - position >= sizeof(zt_event_header)) {
      zt_event_header header;
      std::memcpy(&header, buffer.data() + position, sizeof(header));
      if (header.size < sizeof(header) || header.size > kMaxRecordSize) {
        return Fail("the recording is damaged at byte " + std::to_string(file_offset + position) +
                    ": a record of " + std::to_string(header.size) + " bytes");
      }
      if (filled - position < header.size) break;
      ByteSpan record = buffer.subspan(position, header.size);
      if (header.kind == kClockKind) {
        if (callbacks.on_clock) callbacks.on_clock(header.time_ns);
      } else if (header.kind == kProcessKind) {
        if (header.size < kProcessPrefixSize) {
          return Fail("the recording is damaged at byte " + std::to_string(file_offset + position) +
                      ": a process record cut short");
        }
        RecordedProcess process;
        uint32_t traced = 0;
        std::memcpy(&process.tgid, record.data() + sizeof(header), sizeof(uint32_t));
        std::memcpy(&traced, record.data() + sizeof(header) + sizeof(uint32_t), sizeof(traced));
        process.traced = traced != 0;
        process.resource_json = AsText(record.subspan(kProcessPrefixSize));
        if (callbacks.on_process) callbacks.on_process(process);
      } else if (callbacks.on_record) {
        callbacks.on_record(record);
      }
      // The padding of the very last record may be missing.
      position = std::min(position + Aligned(header.size), filled);
    }
    std::memmove(buffer.data(), buffer.data() + position, filled - position);
    file_offset += position;
    filled -= position;
  }
  return {};
}

}  // namespace zerotap
