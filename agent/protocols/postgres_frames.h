// Frames of the PostgreSQL protocol, cut out of one direction of a stream that comes in any pieces
// and with holes.
//
//   message:          | type (1) | length (4, big-endian, counts itself and the body) | body |
//   startup packet:   | length (4) | code (4) | body |     the frontend's first packets carry no
//   type
// (PostgreSQL documentation, "Message Formats".)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "agent/protocols/protocol.h"

namespace zerotap::postgres {

enum class Side : uint8_t { kFrontend, kBackend };

constexpr size_t kHeaderBytes = 5;
constexpr uint32_t kMaxStartupBytes =
    10000;  // what servers accept, see PG's MAX_STARTUP_PACKET_LENGTH

// Whether a message of this type and length (as on the wire) can exist.
bool PlausibleHeader(Side side, char type, uint32_t length);

inline uint32_t ReadUint32(const char* at) {
  auto byte = [at](int index) {
    return static_cast<uint32_t>(static_cast<unsigned char>(at[index]));
  };
  return byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
}

// Who moved the bytes that completed a frame, and when it was complete.
struct Mover {
  uint64_t end_ns = 0;
  uint32_t tgid = 0;
  uint32_t tid = 0;
  bool blocking = false;
  uint64_t context_id = 0;
  uint64_t parent_context_id = 0;
};

struct Frame {
  char type = 0;          // 0: startup packet
  uint32_t length = 0;    // of the body
  std::string_view body;  // its beginning, as far as wanted and captured; borrowed
  bool cut = false;       // a gap lies inside the frame
  uint64_t offset = 0;    // of its first byte
  uint64_t start_ns = 0;
  Mover mover;
};

// What is left of a chunk.
struct Cursor {
  explicit Cursor(const Chunk& from) : chunk(from), text(AsText(from.bytes)) {}
  const Chunk& chunk;
  std::string_view text;
  size_t position = 0;

  size_t remaining() const { return text.size() - position; }
  uint64_t offset() const { return chunk.offset + position; }
};

// How a stretch of frames that was found behind a hole ended: what stands directly before its
// ReadyForQuery.
struct Tail {
  char terminal = 0;      // 'C', 'E', 'I', 's' or 'V'; 0: cannot be told
  std::string_view body;  // of the terminal message; borrowed until the reader is used again
  char status = 0;        // of the ReadyForQuery
};

class FrameReader {
 public:
  enum class Step : uint8_t { kFrame, kNeedMore, kBad };

  FrameReader(Side side, uint32_t query_keep) : side_(side), query_keep_(query_keep) {}

  // Takes bytes up to the end of the next frame. After kBad the reader has lost the framing.
  Step Next(Cursor& cursor, Frame& frame);

  // Behind a frame without state of its own (DataRow, CopyData): passes over those of the same type
  // that follow and are whole in the chunk. Returns how many.
  uint64_t PassAlike(Cursor& cursor);

  // `gap` follows what was read. True: it ends the frame under way. Whatever it hides behind that
  // frame makes the reader lose the framing.
  bool Skip(const Gap& gap, Frame& frame);

  // Whether the next byte is the first of a frame.
  bool at_boundary() const { return framed_ && header_fill_ == 0 && !in_body_; }
  bool framed() const { return framed_; }
  bool ever_lost() const { return ever_lost_; }
  // Type of the frame under way, if its header is known, else of the last one.
  char current_type() const { return type_; }
  uint64_t frame_offset() const { return frame_offset_; }
  uint64_t frame_start_ns() const { return frame_start_ns_; }

  void LoseFraming();
  // The next byte begins a frame.
  void Resume() {
    framed_ = true;
    in_body_ = false;
    header_fill_ = 0;
  }
  void set_startup(bool startup) { startup_ = startup; }
  bool startup() const { return startup_; }

  // Backend without framing: looks for a ReadyForQuery and walks back from there. kFrame: found,
  // the cursor stands behind it and the reader is framed again. The result does not depend on how
  // the bytes are cut.
  Step FindReady(Cursor& cursor, Tail& tail);

  size_t MemorySize() const { return buffer_.capacity() + tail_.capacity(); }

 private:
  uint32_t Keep() const;
  void BeginBody();
  void Finish(Frame& frame, std::string_view body);

  const Side side_;
  const uint32_t query_keep_;
  bool framed_ = true;
  bool ever_lost_ = false;
  bool startup_ = false;
  bool in_body_ = false;
  bool cut_ = false;
  uint8_t header_fill_ = 0;
  std::array<char, kHeaderBytes> header_{};
  char type_ = 0;
  uint32_t length_ = 0;     // of the body
  uint32_t remaining_ = 0;  // of the body, still to come
  uint32_t keep_ = 0;
  uint64_t frame_offset_ = 0;
  uint64_t frame_start_ns_ = 0;
  std::string buffer_;  // kept beginning of a body that comes in pieces
  std::string tail_;    // last bytes while the framing is lost
};

}  // namespace zerotap::postgres
