#include "agent/packets/tcp_connection.h"

#include <algorithm>

namespace zerotap {
namespace {

constexpr size_t kMaxEarly = 32;
// The same ports may be used again by a connection whose first packets were not captured.
constexpr uint64_t kPortsRestNs = 60'000'000'000;
// A position further ahead than any window cannot be this connection's.
constexpr int64_t kMaxAhead = int64_t{1} << 30;

bool Before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

}  // namespace

TcpConnection::TcpConnection(const TcpSegment& first, const TcpConnectionOptions& options,
                             EndDescriber& describer, const RecordHandler& handler,
                             PacketStats& stats)
    : options_(options), describer_(describer), stats_(stats), writer_(ends_, handler) {
  addresses_[0] = first.source;
  addresses_[1] = first.destination;
  ends_.family = first.family;
}

bool TcpConnection::IsSuccessor(const TcpSegment& segment, uint64_t now_ns) const {
  const int side = SideOf(segment);
  if (closed_ && segment.length > 0 && now_ns > last_ns_ + kPortsRestNs) return true;
  if (!segment.syn || segment.rst) return false;
  const uint32_t first = segment.sequence + 1;
  if (segment.ack && !closed_) return false;
  if (started_) return streams_[side].first_sequence() != first;
  return known_[side] ? sequences_[side] != first : closed_;
}

void TcpConnection::OnSegment(const TcpSegment& segment, uint64_t now_ns) {
  const int side = SideOf(segment);
  if (closed_) {
    if (segment.length > 0) stats_.repeated_bytes += segment.length;
    return;
  }
  last_ns_ = now_ns;
  if (started_) {
    Place(segment, now_ns);
  } else {
    if (segment.path == PacketPath::kOutgoing) local_[side] = true;
    if (segment.path == PacketPath::kIncoming) local_[1 - side] = true;
    if (segment.syn) LearnFromHandshake(segment, side);
    const bool refused = segment.rst && early_.empty();
    if (refused) {
      closed_ = true;  // nothing was said
      return;
    }
    if (segment.length > 0 || segment.fin || segment.rst) KeepEarly(segment);
    if (!early_.empty() && (StartKnown() || early_.size() >= kMaxEarly)) Start(now_ns);
  }
  Expire(now_ns);
}

void TcpConnection::LearnFromHandshake(const TcpSegment& segment, int side) {
  sequences_[side] = segment.sequence + 1;
  known_[side] = true;
  client_ = segment.ack ? 1 - side : side;
  // What the SYN itself said counts more: data that came with it may be acknowledged here.
  if (segment.ack && !known_[1 - side]) {
    sequences_[1 - side] = segment.acknowledgment;
    known_[1 - side] = true;
  }
}

void TcpConnection::KeepEarly(const TcpSegment& segment) {
  if (early_.empty()) early_since_ns_ = last_ns_;
  Early early{segment, {segment.payload.begin(), segment.payload.end()}};
  early.segment.payload = {};
  early_bytes_ += early.bytes.size();
  early_.push_back(std::move(early));
}

// Joined in the middle: each stream begins with the first of what is there.
void TcpConnection::GuessStart() {
  bool found[2] = {false, false};
  auto take = [&](int side, uint32_t sequence) {
    if (known_[side]) return;
    if (!found[side] || Before(sequence, sequences_[side])) sequences_[side] = sequence;
    found[side] = anchored_[side] = true;
  };
  for (const Early& early : early_) {
    const TcpSegment& segment = early.segment;
    const int side = SideOf(segment);
    if (!segment.syn) take(side, segment.sequence);
    if (segment.ack) take(1 - side, segment.acknowledgment);
  }
}

void TcpConnection::Start(uint64_t now_ns) {
  ends_.from_start = StartKnown();
  anchored_[0] = known_[0];
  anchored_[1] = known_[1];
  if (!ends_.from_start) GuessStart();
  started_ = true;
  for (int side = 0; side < 2; ++side) {
    streams_[side].Start(sequences_[side]);
    ends_.ends[side].address = addresses_[side];
    ends_.ends[side].first_sequence = sequences_[side];
  }
  describer_.Describe(ends_, client_, local_);
  ++stats_.connections;
  writer_.Opened(now_ns);
  std::vector<Early> early;
  early.swap(early_);
  early_bytes_ = 0;
  for (Early& one : early) {
    if (closed_) return;
    one.segment.payload = one.bytes;
    Place(one.segment, now_ns);
  }
}

// A side of which nothing was known at the start begins with the first that is heard of it.
void TcpConnection::Anchor(int side, uint32_t sequence) {
  if (anchored_[side]) return;
  anchored_[side] = true;
  streams_[side].Start(sequence);
}

void TcpConnection::Place(const TcpSegment& segment, uint64_t now_ns) {
  const int side = SideOf(segment);
  TcpStream& stream = streams_[side];
  TcpStream& other = streams_[1 - side];
  const uint32_t sequence = segment.sequence + (segment.syn ? 1 : 0);
  Anchor(side, sequence);
  uint64_t needs = 0;
  if (segment.ack && !segment.rst) {
    Anchor(1 - side, segment.acknowledgment);
    int64_t position = other.PositionOf(segment.acknowledgment);
    if (position - static_cast<int64_t>(other.next()) > kMaxAhead) {
      ++stats_.unplaced_packets;
      return;
    }
    needs = position > 0 ? static_cast<uint64_t>(position) : 0;
    other.Acknowledge(needs);
  }
  int64_t position = stream.PositionOf(sequence);
  const int64_t end = position + segment.length;
  if (end < 0 || position - static_cast<int64_t>(stream.next()) > kMaxAhead) {
    ++stats_.unplaced_packets;
    return;
  }
  if (segment.length > 0) {
    StreamPiece piece{0, segment.length, segment.payload, segment.unix_ns, needs};
    if (position < 0) {  // its first bytes are from before we came in
      const auto cut = static_cast<uint32_t>(-position);
      piece.length -= cut;
      piece.bytes = piece.bytes.subspan(std::min<size_t>(cut, piece.bytes.size()));
      position = 0;
    }
    piece.offset = static_cast<uint64_t>(position);
    PlacePayload(stream, side, piece, now_ns);
  }
  if (segment.fin) stream.SetEnd(static_cast<uint64_t>(end), needs, segment.unix_ns);
  if (segment.rst && PlaceReset(segment, side)) {
    Flush(now_ns);
    if (closed_) return;
    Skip(side, static_cast<uint64_t>(end));
    Close(now_ns, false);
    return;
  }
  Pump(now_ns);
}

void TcpConnection::PlacePayload(TcpStream& stream, int side, const StreamPiece& piece,
                                 uint64_t now_ns) {
  if (stream.ended() || piece.offset + piece.length <= stream.next()) {
    stats_.repeated_bytes += piece.length;
    return;
  }
  // The normal case: nothing waits and this is next.
  if (piece.offset == stream.next() && piece.length > 0 && !Stuck() && !stream.knows_end() &&
      piece.needs <= streams_[1 - side].position()) {
    Deliver(side, piece, now_ns);
    stream.Advance(piece.length);
    return;
  }
  const uint64_t repeated = stream.repeated_bytes();
  stream.Add(piece);
  stats_.repeated_bytes += stream.repeated_bytes() - repeated;
}

// One whose sequence number lies in what has passed is an old or a forged one, which hosts do not
// heed either.
bool TcpConnection::PlaceReset(const TcpSegment& segment, int side) {
  if (streams_[side].PositionOf(segment.sequence) < static_cast<int64_t>(streams_[side].next())) {
    ++stats_.unplaced_packets;
    return false;
  }
  reset_by_ = side;
  return true;
}

void TcpConnection::Deliver(int side, const StreamPiece& piece, uint64_t now_ns) {
  stats_.cut_bytes += piece.length - piece.bytes.size();
  writer_.Data(side, piece, streams_[side].lost_before(), now_ns);
  streams_[side].LossTold();
}

// Missing bytes with none behind them: the last of them stands for where they end.
void TcpConnection::TellTail(int side, uint64_t now_ns) {
  TcpStream& stream = streams_[side];
  if (!stream.lost_before()) return;
  writer_.Data(side, StreamPiece{stream.next() - 1, 1, {}, now_ns, 0}, true, now_ns);
  stream.LossTold();
}

void TcpConnection::DeliverEnd(int side, uint64_t now_ns) {
  TellTail(side, now_ns);
  writer_.Ended(side, now_ns);
  streams_[side].TakeEnd();
}

// Hands on the older of what is next on the two sides, if the other side has got as far as its
// sender knew.
bool TcpConnection::PumpOne(uint64_t now_ns) {
  int best = -1;
  uint64_t best_ns = 0;
  for (int side = 0; side < 2; ++side) {
    const TcpStream& stream = streams_[side];
    const bool next_is_here =
        stream.end_ready() || (stream.held_pieces() > 0 && stream.WaitingOffset() == stream.next());
    if (!next_is_here || stream.WaitingNeeds() > streams_[1 - side].position()) continue;
    if (best < 0 || stream.WaitingSince() < best_ns) {
      best = side;
      best_ns = stream.WaitingSince();
    }
  }
  if (best < 0) return false;
  if (std::optional<StreamPiece> piece = streams_[best].Front()) {
    Deliver(best, *piece, now_ns);
    streams_[best].Pop();
  } else {
    DeliverEnd(best, now_ns);
  }
  return true;
}

void TcpConnection::Pump(uint64_t now_ns) {
  bool moved = false;
  while (PumpOne(now_ns)) moved = true;
  if (streams_[0].ended() && streams_[1].ended()) {
    Close(now_ns, false);
  } else if (!Stuck()) {
    stuck_since_ns_ = 0;
  } else if (moved || stuck_since_ns_ == 0) {
    stuck_since_ns_ = now_ns;
  }
}

// Whether the bytes that are missing have reached the other side: then they passed, and were not
// captured.
bool TcpConnection::MissingIsAcknowledged() const {
  for (int side = 0; side < 2; ++side) {
    const TcpStream& stream = streams_[side];
    if (!stream.waiting()) continue;
    if (stream.WaitingOffset() > stream.next() && stream.acknowledged() > stream.next())
      return true;
    if (stream.WaitingNeeds() > streams_[1 - side].position()) return true;
  }
  return false;
}

bool TcpConnection::OverLimit() const {
  return streams_[0].held_pieces() + streams_[1].held_pieces() > options_.max_held_pieces ||
         held_bytes() > options_.max_held_bytes;
}

void TcpConnection::Skip(int side, uint64_t offset) {
  TcpStream& stream = streams_[side];
  if (stream.ended()) return;  // nothing comes after the end, whatever was acknowledged
  if (stream.waiting()) offset = std::min(offset, stream.WaitingOffset());
  if (offset <= stream.next()) return;
  ++stats_.gaps;
  stats_.missing_bytes += offset - stream.next();
  stream.SkipTo(offset);
}

// Makes the oldest of what waits the next one: whatever is missing before it is given up.
void TcpConnection::GiveUpOne(uint64_t now_ns) {
  int oldest = -1;
  for (int side = 0; side < 2; ++side) {
    if (!streams_[side].waiting()) continue;
    if (oldest < 0 || streams_[side].WaitingSince() < streams_[oldest].WaitingSince())
      oldest = side;
  }
  if (oldest < 0) return;
  TcpStream& stream = streams_[oldest];
  TcpStream& other = streams_[1 - oldest];
  Skip(oldest, stream.WaitingOffset());
  if (stream.WaitingNeeds() > other.position()) {
    const uint64_t before = other.next();
    Skip(1 - oldest, stream.WaitingNeeds());
    if (other.next() == before) {
      // Both wait for each other, which no honest traffic does; the older one goes first.
      if (std::optional<StreamPiece> piece = stream.Front()) {
        Deliver(oldest, *piece, now_ns);
        stream.Pop();
      } else {
        DeliverEnd(oldest, now_ns);
      }
    }
  }
  Pump(now_ns);
}

void TcpConnection::Expire(uint64_t now_ns) {
  if (closed_) return;
  if (!started_) {
    if (early_.empty() || now_ns < early_since_ns_ + options_.start_wait_ns) return;
    Start(now_ns);
  }
  while (!closed_ && Stuck()) {
    const uint64_t wait =
        MissingIsAcknowledged() ? options_.acknowledged_wait_ns : options_.sent_wait_ns;
    if (now_ns < stuck_since_ns_ + wait && !OverLimit()) return;
    GiveUpOne(now_ns);
  }
}

void TcpConnection::Flush(uint64_t now_ns) {
  if (closed_) return;
  if (!started_ && !early_.empty()) Start(now_ns);
  while (!closed_ && Stuck()) GiveUpOne(now_ns);
}

void TcpConnection::Abandon(uint64_t now_ns) {
  Flush(now_ns);
  if (!closed_) Close(now_ns, true);
}

void TcpConnection::Close(uint64_t now_ns, bool lost_tail) {
  closed_ = true;
  if (!started_) return;
  for (int side = 0; side < 2 && !lost_tail; ++side) {
    // Bytes that the other side has and we have not: what looks unanswered may have been answered.
    if (!streams_[side].ended()) Skip(side, streams_[side].acknowledged());
    TellTail(side, now_ns);
  }
  writer_.Closed(reset_by_, lost_tail, now_ns);
}

}  // namespace zerotap
