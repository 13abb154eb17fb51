// What a TCP connection in a capture gives: the records that the kernel side would have written at
// its ends.
//
// An end stands where its packets were captured: sent bytes have the time of their packet, received
// ones the time at which everything before them had passed as well.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "agent/packets/packet.h"
#include "agent/packets/tcp_stream.h"

namespace zerotap {

using RecordHandler = std::function<void(ByteSpan)>;

// The two sides of a connection; which of them is told of. At least one is.
struct ConnectionEnds {
  struct End {
    bool told = false;
    uint64_t connection_id = 0;
    uint32_t tgid = 0;  // stands for the address that serves here, or for the client's
    uint8_t role = ZT_ROLE_UNKNOWN;
    PacketAddress address;
    uint32_t first_sequence = 0;
  };
  End ends[2];
  uint8_t family = 0;
  bool from_start = false;  // positions count from the connection's first bytes
};

class ConnectionWriter {
 public:
  ConnectionWriter(const ConnectionEnds& ends, const RecordHandler& handler)
      : ends_(ends), handler_(handler) {}

  void Opened(uint64_t now_ns);
  // Bytes that `side` sent.
  void Data(int side, const StreamPiece& piece, bool lost_before, uint64_t now_ns);
  // `side` has said that it sends no more.
  void Ended(int side, uint64_t now_ns);
  // `reset_by`: the side that reset it, or -1. `lost_tail`: its last bytes were not captured.
  void Closed(int reset_by, bool lost_tail, uint64_t now_ns);

 private:
  void WriteData(const ConnectionEnds::End& end, zt_data_event event, ByteSpan bytes);

  const ConnectionEnds& ends_;
  const RecordHandler& handler_;
};

}  // namespace zerotap
