// One end of a connection: what it is, its two streams, and the parser that reads them.
//
// Life: detecting -> parsing -> ignored, or detecting -> ignored. A parser that finds its stream invalid puts the connection
// back to detecting a few times. Single-threaded; owned by ConnectionTracker.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/short_text.h"
#include "agent/connection/byte_stream.h"
#include "agent/protocols/protocol.h"

namespace zerotap {

class Connection;

// Who is told of requests; the pipeline.
class RequestListener {
 public:
  virtual ~RequestListener() = default;
  virtual WorkId BeginRequest(Connection& connection, const RequestStart& start) = 0;
  virtual void EndExchange(Connection& connection, const Exchange& exchange) = 0;
  virtual void DropRequest(Connection& connection, WorkId work, DropReason reason) = 0;
  // What the connection carries was decided: a protocol, or nullptr for nothing we know (or no longer).
  virtual void OnProtocolKnown(Connection& connection, const Protocol* protocol) = 0;
  // So many bytes of the connection passed without a record.
  virtual void OnUnseen(Connection& connection, uint64_t bytes) = 0;
  // So many requests of its protocol were counted by the kernel side, which told nothing else of them.
  virtual void OnCounted(Connection& connection, uint64_t requests) = 0;
};

struct Endpoint {
  std::array<uint8_t, ZT_ADDRESS_SIZE> address{};
  uint16_t port = 0;
};

// What all connections share; outlives them.
struct ConnectionContext {
  std::span<const Protocol* const> protocols;
  const ParserOptions& options;
  RequestListener& listener;
};

// There may be very many, most of them quiet: what only some need, and only for a while, is behind a pointer.
class Connection final : private StreamConsumer, private ExchangeSink {
 public:
  enum class State : uint8_t { kDetecting, kParsing, kIgnored };

  Connection(uint64_t id, const ConnectionContext& context);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Describe(const zt_connection_opened_event& opened);
  void OnRecord(const zt_data_event& record, ByteSpan head, ByteSpan tail);
  void OnShutdown(Direction direction, uint64_t time_ns);
  void OnClosed(EndReason reason, uint64_t time_ns);
  // The kernel's totals at the close: shows records that were lost at the very end. Before OnClosed.
  void CompareTotals(const zt_connection_closed_event& closed);
  // This end has read all that the peer sent: AF_UNIX positions are counted by the hooks, so what they did not see at
  // one end shows as a difference between the two.
  void CompareWithPeer();
  void Expire(uint64_t now_ns);
  // Gives up what is in flight and everything that follows.
  void Ignore(DropReason reason);
  // Transfers were counted only before a record, a shutdown or the close: what is in flight lacks them.
  void OnSkipped(uint32_t requests);
  // Nothing of it is told any more: what is in flight will not end. Resume: all of what passed is unknown.
  void Suspend();
  void Resume();
  // Looks anew at what the connection carries, as if it was joined in its middle now. Not while it is parsed.
  void Reconsider();

  uint64_t id() const { return id_; }
  State state() const { return state_; }
  bool waiting() const { return egress_.waiting() || ingress_.waiting(); }
  const Protocol* protocol() const { return protocol_; }
  Role role() const { return role_; }                // as the protocol showed it
  Role socket_role() const { return socket_role_; }  // who connected
  bool described() const { return described_; }
  bool midstream() const { return midstream_; }
  // Nothing of it was seen yet.
  bool untouched() const { return state_ == State::kDetecting && !any_chunk_ && !waiting(); }
  uint64_t opened_ns() const { return opened_ns_; }
  uint8_t family() const { return family_; }
  const Endpoint& local() const { return local_; }
  const Endpoint& remote() const { return remote_; }
  std::string_view unix_path() const {
    return unix_path_ ? std::string_view(*unix_path_) : std::string_view();
  }
  std::string_view remote_text() const { return remote_text_.view(); }  // IP address, empty for AF_UNIX
  std::string_view local_text() const { return local_text_.view(); }
  // By which the two ends of a connection find each other: the first sequence numbers of both directions, or the inode of
  // an AF_UNIX socket. 0: not known.
  uint64_t own_key() const { return own_key_; }
  uint64_t peer_key() const { return peer_key_; }
  size_t MemorySize() const;

  // Said by data records; what the closed record says beyond that was lost at the very end.
  uint64_t lost_records() const { return lost_records_; }
  bool ended_either() const { return ended_[0] || ended_[1]; }

  // For the tracker and the listener.
  Connection* peer = nullptr;        // the other end, when it is on this host and known
  Connection* older = nullptr;       // by use
  Connection* newer = nullptr;
  uint64_t last_active_ns = 0;
  uint32_t last_tgid = 0;
  uint32_t answering_tid = 0;        // the thread that sent last since the latest request began
  uint32_t records_since_verdict = 0;
  uint32_t in_flight = 0;            // requests begun and not ended
  uint32_t ledger_row = 0;           // of ledger_tgid, _protocol and _role
  uint32_t ledger_tgid = 0;
  const Protocol* ledger_protocol = nullptr;
  uint64_t begin_offset = ~0ull;     // of the latest request, to tell requests that share an offset apart
  uint32_t begin_ordinal = 0;
  bool left_out = false;             // ignored because rules say so
  bool suspended = false;            // ignored until Resume
  bool ledger_row_known = false;
  Role ledger_role = Role::kUnknown;

 private:
  struct Buffered {
    Direction direction;
    Chunk chunk;  // bytes point into `text` once fed
    std::string text;
  };

  void OnChunk(Direction direction, const Chunk& chunk) override;
  void OnGap(Direction direction, const Gap& gap) override;
  void OnJump(Direction direction, uint64_t bytes) override;
  WorkId BeginRequest(const RequestStart& start) override;
  void EndExchange(const Exchange& exchange) override;
  void DropRequest(WorkId work, DropReason reason) override;

  void Detect(Direction direction, const Chunk& chunk, bool run_start);
  void StartParsing(const Protocol& protocol, Role role, Direction direction, const Chunk& chunk);
  void AfterParse(ParseStatus status);
  void BecomeIgnored();
  void DropBuffered();

  const uint64_t id_;
  const ConnectionContext& context_;
  const Protocol* protocol_ = nullptr;
  std::unique_ptr<Parser> parser_;
  ByteStream egress_{Direction::kEgress};
  ByteStream ingress_{Direction::kIngress};
  uint64_t lost_records_ = 0;  // said by data records

  // Description.
  uint64_t opened_ns_ = 0;
  uint64_t own_key_ = 0;
  uint64_t peer_key_ = 0;
  std::unique_ptr<std::string> unix_path_;
  ShortText remote_text_;
  ShortText local_text_;
  Endpoint local_, remote_;
  uint8_t family_ = 0;
  Role socket_role_ = Role::kUnknown;
  bool described_ = false;
  bool midstream_ = true;
  bool positions_from_zero_ = false;

  State state_ = State::kDetecting;
  Role role_ = Role::kUnknown;
  std::array<bool, 2> ended_{};
  bool compared_with_peer_ = false;
  bool resuming_ = false;    // after what was skipped: until a request begins
  bool after_skip_ = false;  // until the parser is sure: what it drops may be what was skipped
  std::array<bool, 2> may_lack_record_{};  // the next jump of that direction may be a record that was lost

  // Detection.
  bool any_chunk_ = false;
  bool skip_run_ = false;
  Direction last_direction_ = Direction::kEgress;
  uint8_t unknown_runs_ = 0;
  uint8_t invalid_streams_ = 0;
  bool from_first_byte_ = false;
  uint32_t buffered_bytes_ = 0;
  std::vector<Buffered> buffered_;
};

// Dotted or colon-separated text; IPv4-mapped IPv6 is shown as IPv4.
std::string AddressText(uint8_t family, const std::array<uint8_t, ZT_ADDRESS_SIZE>& address);

}  // namespace zerotap
