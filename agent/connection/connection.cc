#include "agent/connection/connection.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "agent/events/event.h"

namespace zerotap {
namespace {

// A connection whose first runs are nothing that we know is ignored; one that was joined in the middle gets more
// chances, since its first runs may be the rest of something.
constexpr uint8_t kUnknownRunsFromStart = 4;
constexpr uint8_t kUnknownRunsMidstream = 12;
constexpr uint8_t kMaxInvalidStreams = 3;
constexpr size_t kMaxBufferedBytes = 48 * 1024;
constexpr size_t kMaxBufferedChunks = 64;

ByteStream& StreamOf(Direction direction, ByteStream& egress, ByteStream& ingress) {
  return direction == Direction::kEgress ? egress : ingress;
}

}  // namespace

std::string AddressText(uint8_t family, const std::array<uint8_t, ZT_ADDRESS_SIZE>& address) {
  char text[INET6_ADDRSTRLEN] = "";
  constexpr uint8_t kMappedPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
  if (family == ZT_FAMILY_IPV4) {
    inet_ntop(AF_INET, address.data(), text, sizeof(text));
  } else if (family == ZT_FAMILY_IPV6) {
    if (std::memcmp(address.data(), kMappedPrefix, sizeof(kMappedPrefix)) == 0) {
      inet_ntop(AF_INET, address.data() + sizeof(kMappedPrefix), text, sizeof(text));
    } else {
      inet_ntop(AF_INET6, address.data(), text, sizeof(text));
    }
  }
  return text;
}

Connection::Connection(uint64_t id, const ConnectionContext& context)
    : id_(id), context_(context) {}

Connection::~Connection() = default;

void Connection::Describe(const zt_connection_opened_event& opened) {
  described_ = true;
  midstream_ = (opened.flags & ZT_OPENED_MIDSTREAM) != 0;
  opened_ns_ = opened.header.time_ns;
  from_first_byte_ = !midstream_;
  family_ = opened.family;
  if (opened.role <= ZT_ROLE_SERVER) socket_role_ = static_cast<Role>(opened.role);
  std::copy_n(opened.local_address, ZT_ADDRESS_SIZE, local_.address.begin());
  std::copy_n(opened.remote_address, ZT_ADDRESS_SIZE, remote_.address.begin());
  local_.port = opened.local_port;
  remote_.port = opened.remote_port;
  if (const std::string_view path = FieldText(opened.unix_path); !path.empty()) {
    unix_path_ = std::make_unique<std::string>(path);
  }
  remote_text_.Set(AddressText(family_, remote_.address));
  local_text_.Set(AddressText(family_, local_.address));
  if (family_ == ZT_FAMILY_UNIX) {
    own_key_ = opened.socket_inode;
    peer_key_ = opened.peer_inode;
  } else {
    own_key_ = (uint64_t{opened.first_out} << 32) | opened.first_in;
    peer_key_ = (own_key_ << 32) | (own_key_ >> 32);
  }
  if (from_first_byte_ && (opened.flags & ZT_OPENED_POSITIONS_EXACT) != 0) {
    egress_.StartAtZero();
    ingress_.StartAtZero();
    positions_from_zero_ = true;
  }
}

void Connection::OnRecord(const zt_data_event& record, ByteSpan head, ByteSpan tail) {
  if (state_ == State::kIgnored) return;
  if ((record.flags & ZT_DATA_SKIPPED) != 0) {
    OnSkipped(record.turns_before);
  }
  lost_records_ += record.lost_before;
  // Of which direction a lost record was is not known.
  if (record.lost_before > 0) may_lack_record_ = {true, true};
  auto direction = static_cast<Direction>(record.direction);
  if (resuming_) {
    // A response whose request was counted would be counted again.
    const bool asks = state_ != State::kParsing ||
                      (direction == Direction::kEgress) == (role_ == Role::kClient);
    if (!asks || head.empty()) {
      if ((record.flags & ZT_DATA_EOF) != 0) OnShutdown(Direction::kIngress, record.header.time_ns);
      return;
    }
    resuming_ = false;
  }
  ByteStream& stream = StreamOf(direction, egress_, ingress_);
  stream.Add(record, head, tail, *this);
  if (!stream.waiting()) may_lack_record_[static_cast<size_t>(direction)] = false;
  if ((record.flags & ZT_DATA_EOF) != 0) OnShutdown(Direction::kIngress, record.header.time_ns);
}

// How much passed is not known, so nothing that the parser has begun can be brought to its end.
void Connection::OnSkipped(uint32_t requests) {
  if (state_ == State::kIgnored) return;
  if (requests > 0 && protocol_ != nullptr) context_.listener.OnCounted(*this, requests);
  egress_ = ByteStream(Direction::kEgress);
  ingress_ = ByteStream(Direction::kIngress);
  positions_from_zero_ = false;
  may_lack_record_ = {false, false};
  resuming_ = true;
  after_skip_ = true;
  any_chunk_ = true;
  last_direction_ = Direction::kIngress;
  DropBuffered();
  skip_run_ = true;
  from_first_byte_ = false;
  if (state_ != State::kParsing) return;
  parser_->Abandon(DropReason::kHarmBudget);
  if (parser_->StartAnew(DropReason::kHarmBudget)) return;
  parser_ = protocol_->make_parser(role_, /*from_first_byte=*/false, context_.options, *this);
}

void Connection::Suspend() {
  if (state_ == State::kIgnored) return;
  Ignore(DropReason::kHarmBudget);
  suspended = true;
}

void Connection::Resume() {
  if (std::exchange(suspended, false)) Reconsider();
}

void Connection::OnChunk(Direction direction, const Chunk& chunk) {
  bool run_start = !any_chunk_ || direction != last_direction_;
  any_chunk_ = true;
  last_direction_ = direction;
  if (state_ == State::kParsing) {
    AfterParse(parser_->OnData(direction, chunk));
  } else if (state_ == State::kDetecting) {
    Detect(direction, chunk, run_start);
  }
}

void Connection::OnGap(Direction direction, const Gap& gap) {
  any_chunk_ = true;
  last_direction_ = direction;
  if (state_ == State::kParsing) {
    AfterParse(parser_->OnGap(direction, gap));
  } else if (state_ == State::kDetecting) {
    DropBuffered();
    skip_run_ = true;
    from_first_byte_ = false;
  }
}

void Connection::OnJump(Direction direction, uint64_t bytes) {
  bool& may_lack_record = may_lack_record_[static_cast<size_t>(direction)];
  if (!may_lack_record) context_.listener.OnUnseen(*this, bytes);
  may_lack_record = false;
}

void Connection::Detect(Direction direction, const Chunk& chunk, bool run_start) {
  if (run_start) {
    if (!buffered_.empty()) {  // the run ended undecided
      DropBuffered();
      from_first_byte_ = false;
      ++unknown_runs_;
    }
    skip_run_ = false;
  } else if (skip_run_) {
    return;
  }
  std::string joined;
  std::string_view text = AsText(chunk.bytes);
  if (!buffered_.empty()) {
    for (const Buffered& earlier : buffered_) joined += earlier.text;
    joined += text;
    text = joined;
  }
  DetectInput input;
  input.socket_role = socket_role_;
  input.from_first_byte = from_first_byte_;
  if (direction == Direction::kEgress) {
    input.egress = text;
    input.egress_at_run_start = true;
  } else {
    input.ingress = text;
    input.ingress_at_run_start = true;
  }
  bool need_more = false;
  for (const Protocol* protocol : context_.protocols) {
    DetectResult result = protocol->detect(input);
    if (result.match == Match::kYes) {
      StartParsing(*protocol, result.role, direction, chunk);
      return;
    }
    need_more |= result.match == Match::kNeedMore;
  }
  if (need_more && buffered_bytes_ + chunk.bytes.size() <= kMaxBufferedBytes &&
      buffered_.size() < kMaxBufferedChunks) {
    buffered_.push_back(Buffered{direction, chunk, std::string(AsText(chunk.bytes))});
    buffered_bytes_ += static_cast<uint32_t>(chunk.bytes.size());
    return;
  }
  DropBuffered();
  skip_run_ = true;
  from_first_byte_ = false;
  ++unknown_runs_;
  if (unknown_runs_ >= (midstream_ ? kUnknownRunsMidstream : kUnknownRunsFromStart)) {
    BecomeIgnored();
  }
}

void Connection::StartParsing(const Protocol& protocol, Role role, Direction direction,
                              const Chunk& chunk) {
  protocol_ = &protocol;
  role_ = role;
  parser_ = protocol.make_parser(role, from_first_byte_, context_.options, *this);
  state_ = State::kParsing;
  context_.listener.OnProtocolKnown(*this, protocol_);
  std::vector<Buffered> earlier;
  earlier.swap(buffered_);
  buffered_bytes_ = 0;
  for (Buffered& piece : earlier) {
    if (state_ != State::kParsing) return;
    piece.chunk.bytes = AsBytes(piece.text);
    AfterParse(parser_->OnData(piece.direction, piece.chunk));
  }
  if (state_ == State::kParsing) AfterParse(parser_->OnData(direction, chunk));
}

void Connection::AfterParse(ParseStatus status) {
  if (status == ParseStatus::kOk) return;
  parser_.reset();
  if (status == ParseStatus::kInvalid && ++invalid_streams_ < kMaxInvalidStreams) {
    state_ = State::kDetecting;
    skip_run_ = true;
    from_first_byte_ = false;
    return;
  }
  BecomeIgnored();
}

void Connection::BecomeIgnored() {
  state_ = State::kIgnored;
  parser_.reset();
  DropBuffered();
  context_.listener.OnProtocolKnown(*this, nullptr);
}

void Connection::DropBuffered() {
  if (!buffered_.empty()) std::vector<Buffered>().swap(buffered_);
  buffered_bytes_ = 0;
}

void Connection::OnShutdown(Direction direction, uint64_t time_ns) {
  bool& ended = ended_[static_cast<size_t>(direction)];
  if (ended) return;
  // The kernel has the peer's FIN before the process read the last bytes: the reading side ends with the read that
  // returns 0, or with the close.
  ended = true;
  StreamOf(direction, egress_, ingress_).Expire(time_ns, true, *this);
  if (state_ == State::kParsing) parser_->OnEnd(direction, EndReason::kFin, time_ns);
}

void Connection::CompareTotals(const zt_connection_closed_event& closed) {
  if ((closed.flags & ZT_DATA_SKIPPED) != 0) OnSkipped(closed.turns_before);
  if (state_ == State::kIgnored || closed.lost_events <= lost_records_) return;
  egress_.Expire(closed.header.time_ns, true, *this);
  ingress_.Expire(closed.header.time_ns, true, *this);
  for (auto [stream, total] : {std::pair(&egress_, closed.bytes_sent),
                               std::pair(&ingress_, closed.bytes_received)}) {
    // Joined in the middle, positions and totals do not compare: then any byte may be missing in both directions.
    uint64_t missing = !positions_from_zero_           ? 1
                       : total > stream->position() ? total - stream->position()
                                                    : 0;
    if (missing > 0) stream->LoseEnd(missing, closed.header.time_ns, *this);
  }
}

void Connection::CompareWithPeer() {
  if (peer == nullptr || !positions_from_zero_ || !peer->positions_from_zero_) return;
  if (state_ == State::kIgnored || peer->state_ == State::kIgnored) return;
  if (lost_records_ != 0 || peer->lost_records_ != 0) return;
  if (std::exchange(compared_with_peer_, true)) return;  // an end may be read again and again
  uint64_t sent = peer->egress_.position();
  uint64_t read = ingress_.position();
  if (sent > read) context_.listener.OnUnseen(*this, sent - read);
  if (read > sent) context_.listener.OnUnseen(*peer, read - sent);
}

void Connection::OnClosed(EndReason reason, uint64_t time_ns) {
  egress_.Expire(time_ns, true, *this);
  ingress_.Expire(time_ns, true, *this);
  if (state_ == State::kParsing) parser_->OnClose(reason, time_ns);
  parser_.reset();
  state_ = State::kIgnored;
}

void Connection::Expire(uint64_t now_ns) {
  egress_.Expire(now_ns, false, *this);
  ingress_.Expire(now_ns, false, *this);
}

void Connection::Ignore(DropReason reason) {
  if (state_ == State::kParsing) parser_->Abandon(reason);
  parser_.reset();
  DropBuffered();
  state_ = State::kIgnored;
}

void Connection::Reconsider() {
  if (state_ == State::kParsing) return;
  egress_ = ByteStream(Direction::kEgress);
  ingress_ = ByteStream(Direction::kIngress);
  state_ = State::kDetecting;
  protocol_ = nullptr;
  role_ = Role::kUnknown;
  midstream_ = true;
  from_first_byte_ = false;
  positions_from_zero_ = false;
  any_chunk_ = false;
  skip_run_ = false;
  unknown_runs_ = 0;
  invalid_streams_ = 0;
  resuming_ = false;
  after_skip_ = false;
}

WorkId Connection::BeginRequest(const RequestStart& start) {
  ++in_flight;
  return context_.listener.BeginRequest(*this, start);
}
void Connection::EndExchange(const Exchange& exchange) {
  --in_flight;
  after_skip_ = false;
  context_.listener.EndExchange(*this, exchange);
}
void Connection::DropRequest(WorkId work, DropReason reason) {
  --in_flight;
  const bool missed = reason == DropReason::kCaptureGap || reason == DropReason::kRingFull;
  const bool skipped = after_skip_ && missed;
  context_.listener.DropRequest(*this, work, skipped ? DropReason::kHarmBudget : reason);
}

size_t Connection::MemorySize() const {
  return sizeof(*this) + (parser_ ? parser_->MemorySize() : 0) + egress_.MemorySize() +
         ingress_.MemorySize() + buffered_bytes_ + buffered_.capacity() * sizeof(Buffered) +
         unix_path().size() + remote_text_.MemorySize() + local_text_.MemorySize();
}

}  // namespace zerotap
