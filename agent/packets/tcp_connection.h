// A TCP connection put together from its packets, both directions in the one order in which they
// happened: bytes of one side are handed on only after everything that their sender had
// acknowledged of the other side.
//
// So a request never overtakes the response before it, however the capture shuffled the packets,
// and what is missing is a gap at its place. Packets that are late are waited for, within bounds;
// what was acknowledged and does not come was not captured. See
// docs/adr/0006-packets-as-records.md.
#pragma once

#include <cstdint>
#include <vector>

#include "agent/packets/packet.h"
#include "agent/packets/packet_events.h"
#include "agent/packets/tcp_stream.h"

namespace zerotap {

struct TcpConnectionOptions {
  uint64_t start_wait_ns = 20'000'000;          // for packets of a handshake that come out of order
  uint64_t acknowledged_wait_ns = 250'000'000;  // for bytes that the other side has and we have not
  uint64_t sent_wait_ns = 60'000'000'000;       // for bytes that may be sent again
  size_t max_held_pieces = 512;                 // per connection
  size_t max_held_bytes = 2 * 1024 * 1024;
};

struct PacketStats {
  uint64_t packets = 0;
  uint64_t other = 0;  // no TCP
  uint64_t fragments = 0;
  uint64_t truncated = 0;
  uint64_t malformed = 0;
  uint64_t connections = 0;  // told of
  uint64_t connections_evicted = 0;
  uint64_t repeated_bytes = 0;
  uint64_t gaps = 0;  // places where bytes are missing
  uint64_t missing_bytes = 0;
  uint64_t cut_bytes = 0;         // by the snap length
  uint64_t unplaced_packets = 0;  // of no connection that was told of, or after its end
};

// Fills what names and shows the two ends once it is known who is who.
class EndDescriber {
 public:
  virtual ~EndDescriber() = default;
  // `client` is the side that connected, -1 when its beginning was not seen; `local` says which
  // sides' hosts captured.
  virtual void Describe(ConnectionEnds& ends, int client, const bool (&local)[2]) = 0;
};

class TcpConnection {
 public:
  // `first` decides which side is 0: its source. All referenced must outlive the connection.
  TcpConnection(const TcpSegment& first, const TcpConnectionOptions& options,
                EndDescriber& describer, const RecordHandler& handler, PacketStats& stats);

  void OnSegment(const TcpSegment& segment, uint64_t now_ns);
  // Gives up what was waited for long enough.
  void Expire(uint64_t now_ns);
  // Gives up everything that is waited for.
  void Flush(uint64_t now_ns);
  // It is followed no further: whatever else it carried is unknown.
  void Abandon(uint64_t now_ns);

  // True for a first packet of another connection between the same ports.
  bool IsSuccessor(const TcpSegment& segment, uint64_t now_ns) const;
  bool waiting() const { return !closed_ && (!early_.empty() || Stuck()); }
  bool closed() const { return closed_; }
  size_t held_bytes() const {
    return early_bytes_ + streams_[0].held_bytes() + streams_[1].held_bytes();
  }
  uint64_t last_ns() const { return last_ns_; }

 private:
  // A segment from before it was known where the streams begin.
  struct Early {
    TcpSegment segment;  // its payload points nowhere
    std::vector<std::byte> bytes;
  };

  int SideOf(const TcpSegment& segment) const { return segment.source == addresses_[0] ? 0 : 1; }
  void LearnFromHandshake(const TcpSegment& segment, int side);
  void KeepEarly(const TcpSegment& segment);
  bool StartKnown() const { return known_[0] && known_[1]; }
  void GuessStart();
  void Start(uint64_t now_ns);
  void Anchor(int side, uint32_t sequence);
  void Place(const TcpSegment& segment, uint64_t now_ns);
  void PlacePayload(TcpStream& stream, int side, const StreamPiece& piece, uint64_t now_ns);
  bool PlaceReset(const TcpSegment& segment, int side);
  void Pump(uint64_t now_ns);
  bool PumpOne(uint64_t now_ns);
  void Deliver(int side, const StreamPiece& piece, uint64_t now_ns);
  void DeliverEnd(int side, uint64_t now_ns);
  void TellTail(int side, uint64_t now_ns);
  void GiveUpOne(uint64_t now_ns);
  void Skip(int side, uint64_t offset);
  bool Stuck() const { return streams_[0].waiting() || streams_[1].waiting(); }
  bool MissingIsAcknowledged() const;
  bool OverLimit() const;
  void Close(uint64_t now_ns, bool lost_tail);

  const TcpConnectionOptions& options_;
  EndDescriber& describer_;
  PacketStats& stats_;
  ConnectionEnds ends_;
  ConnectionWriter writer_;
  PacketAddress addresses_[2];
  TcpStream streams_[2];
  uint32_t sequences_[2] = {0, 0};
  bool known_[2] = {false, false};  // sequences_ are those of the first bytes
  bool anchored_[2] = {false, false};
  bool local_[2] = {false, false};
  int client_ = -1;
  bool started_ = false;
  bool closed_ = false;
  int reset_by_ = -1;
  std::vector<Early> early_;
  size_t early_bytes_ = 0;
  uint64_t early_since_ns_ = 0;
  uint64_t stuck_since_ns_ = 0;
  uint64_t last_ns_ = 0;
};

}  // namespace zerotap
