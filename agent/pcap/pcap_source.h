// A pcap or pcapng file as a source of kernel records. libpcap reads the file; agent/packets does
// the rest.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "agent/base/result.h"
#include "agent/base/unique_fd.h"
#include "agent/events/event_source.h"
#include "agent/packets/packet_tracker.h"

namespace zerotap {

class PcapFile {
 public:
  // True for the first four bytes of a pcap or pcapng file in either byte order.
  static bool HasMagic(ByteSpan first_bytes);
  // `already_read` is what was taken from `fd` to look at it. The error says what is not right with
  // the file.
  static Result<std::unique_ptr<PcapFile>> Open(UniqueFd fd, std::string name,
                                                std::string_view already_read);
  ~PcapFile();
  PcapFile(const PcapFile&) = delete;
  PcapFile& operator=(const PcapFile&) = delete;

  // What Next gives next.
  Result<bool> Peek(RawPacket& packet);
  // False at the end of the file. An error is what keeps the rest of it from being read; what came
  // before is good. `packet` is borrowed until the next call.
  Result<bool> Next(RawPacket& packet);

 private:
  struct State;
  PcapFile(std::unique_ptr<State> state, std::string name);
  std::unique_ptr<State> state_;
  std::string name_;
  RawPacket peeked_;
  bool has_peeked_ = false;
};

class PcapSource final : public EventSource {
 public:
  explicit PcapSource(const PacketOptions& options);
  ~PcapSource() override;

  // Packets come from this file now. Those of another one before go on: a capture that was cut into
  // several files.
  void Read(std::unique_ptr<PcapFile> file);
  // A batch of packets; 0 records may come of it. See ended().
  Result<size_t> Drain(int timeout_ms, const std::function<void(ByteSpan)>& handler) override;
  void Pause(uint64_t) override {}  // a file has it all
  bool ended() const { return ended_; }
  // After the last file: gives what was still waited for.
  size_t Finish(const std::function<void(ByteSpan)>& handler);

  const PacketTracker& tracker() const { return tracker_; }

 private:
  PacketTracker tracker_;
  std::unique_ptr<PcapFile> file_;
  bool ended_ = true;
  const std::function<void(ByteSpan)>* handler_ = nullptr;  // during Drain and Finish
  size_t handed_ = 0;
};

}  // namespace zerotap
