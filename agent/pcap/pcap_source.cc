#include "agent/pcap/pcap_source.h"

#include <pcap/pcap.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

namespace zerotap {
namespace {

constexpr size_t kPacketsPerDrain = 64;
constexpr uint64_t kMaxDrainNs =
    5'000'000;  // of the capture's time, so that the pipeline's clock does not jump
constexpr uint64_t kSecond = 1'000'000'000;
// Times further in the future than this are damage.
constexpr uint64_t kMaxSeconds = uint64_t{1} << 33;

std::optional<LinkLayer> LinkLayerOf(int type) {
  switch (type) {
    case DLT_EN10MB:
      return LinkLayer::kEthernet;
    case DLT_LINUX_SLL:
      return LinkLayer::kLinuxCooked;
    case DLT_LINUX_SLL2:
      return LinkLayer::kLinuxCooked2;
    case DLT_NULL:
    case DLT_LOOP:
      return LinkLayer::kLoopback;
    case DLT_RAW:
    case DLT_IPV4:
    case DLT_IPV6:
      return LinkLayer::kRaw;
    default:
      return std::nullopt;
  }
}

// What was read to look at the file, then the rest of it.
struct Input {
  UniqueFd fd;
  std::string prefix;
  size_t taken = 0;

  static ssize_t Read(void* cookie, char* room, size_t size) {
    auto* input = static_cast<Input*>(cookie);
    const size_t left = input->prefix.size() - input->taken;
    if (left > 0) {
      const size_t count = std::min(left, size);
      std::memcpy(room, input->prefix.data() + input->taken, count);
      input->taken += count;
      return static_cast<ssize_t>(count);
    }
    while (true) {
      const ssize_t got = ::read(input->fd.get(), room, size);
      if (got >= 0 || errno != EINTR) return got;
    }
  }
  static int Close(void* cookie) {
    delete static_cast<Input*>(cookie);
    return 0;
  }
};

}  // namespace

struct PcapFile::State {
  pcap_t* handle = nullptr;
  LinkLayer link = LinkLayer::kEthernet;
};

bool PcapFile::HasMagic(ByteSpan first_bytes) {
  uint32_t magic = 0;
  if (first_bytes.size() < sizeof(magic)) return false;
  std::memcpy(&magic, first_bytes.data(), sizeof(magic));
  // Microseconds, nanoseconds, the modified form of some older Linux systems, pcapng.
  constexpr std::array<uint32_t, 7> kMagics = {0xA1B2C3D4, 0xD4C3B2A1, 0xA1B23C4D, 0x4D3CB2A1,
                                               0xA1B2CD34, 0x34CDB2A1, 0x0A0D0D0A};
  return std::find(kMagics.begin(), kMagics.end(), magic) != kMagics.end();
}

PcapFile::PcapFile(std::unique_ptr<State> state, std::string name)
    : state_(std::move(state)), name_(std::move(name)) {}

PcapFile::~PcapFile() {
  if (state_->handle != nullptr) pcap_close(state_->handle);
}

Result<std::unique_ptr<PcapFile>> PcapFile::Open(UniqueFd fd, std::string name,
                                                 std::string_view already_read) {
  auto* input = new Input{std::move(fd), std::string(already_read)};
  std::FILE* stream =
      ::fopencookie(input, "r", cookie_io_functions_t{Input::Read, nullptr, nullptr, Input::Close});
  if (stream == nullptr) {
    delete input;
    return FailErrno("cannot read " + name);
  }
  char message[PCAP_ERRBUF_SIZE] = "";
  auto state = std::make_unique<State>();
  state->handle =
      pcap_fopen_offline_with_tstamp_precision(stream, PCAP_TSTAMP_PRECISION_NANO, message);
  if (state->handle == nullptr) {
    std::fclose(stream);
    return Fail(name + ": " + message);
  }
  const int type = pcap_datalink(state->handle);
  const std::optional<LinkLayer> link = LinkLayerOf(type);
  std::unique_ptr<PcapFile> file(new PcapFile(std::move(state), std::move(name)));
  if (!link) {
    const char* type_name = pcap_datalink_val_to_name(type);
    return Fail(file->name_ + ": packets of link type " +
                (type_name != nullptr ? std::string(type_name) : std::to_string(type)) +
                " are not read; Ethernet, Linux cooked (v1, v2), loopback and raw IP are");
  }
  file->state_->link = *link;
  return file;
}

Result<bool> PcapFile::Peek(RawPacket& packet) {
  if (!has_peeked_) {
    Result<bool> got = Next(peeked_);
    if (!got || !*got) return got;
    has_peeked_ = true;
  }
  packet = peeked_;
  return true;
}

Result<bool> PcapFile::Next(RawPacket& packet) {
  if (has_peeked_) {
    has_peeked_ = false;
    packet = peeked_;
    return true;
  }
  pcap_pkthdr* header = nullptr;
  const u_char* bytes = nullptr;
  const int got = pcap_next_ex(state_->handle, &header, &bytes);
  if (got == PCAP_ERROR_BREAK) return false;
  if (got != 1) return Fail(name_ + ": " + pcap_geterr(state_->handle));
  const auto seconds = static_cast<uint64_t>(std::max<int64_t>(header->ts.tv_sec, 0));
  const auto nanoseconds = static_cast<uint64_t>(std::max<int64_t>(header->ts.tv_usec, 0));
  packet.unix_ns = std::min(seconds, kMaxSeconds) * kSecond + std::min(nanoseconds, kSecond - 1);
  packet.link = state_->link;
  packet.bytes = {reinterpret_cast<const std::byte*>(bytes), header->caplen};
  packet.wire_length = std::max<uint32_t>(header->len, header->caplen);
  return true;
}

PcapSource::PcapSource(const PacketOptions& options)
    : tracker_(options, [this](ByteSpan record) {
        ++handed_;
        (*handler_)(record);
      }) {}

PcapSource::~PcapSource() = default;

void PcapSource::Read(std::unique_ptr<PcapFile> file) {
  file_ = std::move(file);
  ended_ = false;
}

Result<size_t> PcapSource::Drain(int, const std::function<void(ByteSpan)>& handler) {
  handler_ = &handler;
  handed_ = 0;
  uint64_t began_ns = 0;
  for (size_t i = 0; i < kPacketsPerDrain && !ended_; ++i) {
    RawPacket packet;
    Result<bool> got = file_->Peek(packet);
    if (!got || !*got) {
      ended_ = true;
      file_.reset();
      if (!got) return tl::unexpected<Error>(got.error());
      break;
    }
    if (i == 0) began_ns = packet.unix_ns;
    if (packet.unix_ns > began_ns + kMaxDrainNs) break;
    file_->Next(packet);
    tracker_.OnPacket(packet);
  }
  return handed_;
}

size_t PcapSource::Finish(const std::function<void(ByteSpan)>& handler) {
  handler_ = &handler;
  handed_ = 0;
  tracker_.Flush();
  return handed_;
}

}  // namespace zerotap
