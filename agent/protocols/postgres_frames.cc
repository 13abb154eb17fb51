#include "agent/protocols/postgres_frames.h"

#include <algorithm>

#include "agent/protocols/postgres_messages.h"

namespace zerotap::postgres {
namespace {

constexpr uint32_t kMaxMessageBytes = 0x40000000;  // PostgreSQL refuses messages of 1 GiB and more
constexpr uint32_t kMaxSmallMessageBytes = 30000;  // its own limit for what is not data

constexpr size_t kReadyBytes = 6;  // 'Z' 0 0 0 5 status
constexpr size_t kLookBack = 512;  // how far a chain before a ReadyForQuery is followed
constexpr size_t kScanPiece = 1024;
constexpr size_t kBufferToKeep = 4096;  // capacity that an idle reader may hold

// Whether `body` can be what it says, for messages that may stand between the last row and a
// ReadyForQuery.
bool PlausibleTailBody(char type, std::string_view body) {
  switch (type) {
    case 'C': {
      if (body.size() < 2 || body.back() != '\0') return false;
      return ParseCommandTag(body.substr(0, body.size() - 1)).valid;
    }
    case 'E':
    case 'N':
      return ParseErrorFields(body).whole;
    case 'S': {
      size_t name_end = body.find('\0');
      return name_end != std::string_view::npos && name_end > 0 && body.back() == '\0' &&
             body.find('\0', name_end + 1) == body.size() - 1;
    }
    case 'A': {
      if (body.size() < 6 || body.back() != '\0') return false;
      size_t channel_end = body.find('\0', 4);
      return channel_end != body.size() - 1 && body.find('\0', channel_end + 1) == body.size() - 1;
    }
    case '1':
    case '2':
    case '3':
    case 'n':
    case 's':
    case 'I':
    case 'c':
      return body.empty();
    case 't':
      return body.size() >= 2 &&
             body.size() == 2 + 4 * (static_cast<unsigned char>(body[0]) * 256u +
                                     static_cast<unsigned char>(body[1]));
    case 'V': {
      if (body.size() < 4) return false;
      uint32_t size = ReadUint32(body.data());
      return size == UINT32_MAX ? body.size() == 4 : body.size() == 4 + static_cast<size_t>(size);
    }
    default:
      return false;
  }
}

bool EndsStatement(char type) {
  return type == 'C' || type == 'E' || type == 'I' || type == 's' || type == 'V';
}

// Walks frames backwards from the ReadyForQuery at `ready` to the message that ended a statement.
void WalkBack(std::string_view window, size_t ready, Tail& tail) {
  size_t lowest = ready > kLookBack ? ready - kLookBack : 0;
  size_t end = ready;
  while (end >= lowest + kHeaderBytes) {
    bool found = false;
    for (size_t at = end - kHeaderBytes + 1; at-- > lowest;) {
      uint32_t length = ReadUint32(window.data() + at + 1);
      if (length != end - at - 1) continue;
      char type = window[at];
      std::string_view body = window.substr(at + kHeaderBytes, length - 4);
      if (!PlausibleTailBody(type, body)) continue;
      if (EndsStatement(type)) {
        tail.terminal = type;
        tail.body = body;
        return;
      }
      end = at;
      found = true;
      break;
    }
    if (!found) return;
  }
}

}  // namespace

bool PlausibleHeader(Side side, char type, uint32_t length) {
  if (length < 4 || length > kMaxMessageBytes) return false;
  if (side == Side::kFrontend) {
    switch (type) {
      case 'H':
      case 'S':
      case 'X':
      case 'c':
        return length == 4;
      case 'Q':
      case 'f':
        return length >= 5;
      case 'P':
        return length >= 8;
      case 'B':
        return length >= 12;
      case 'D':
      case 'C':
        return length >= 6 && length <= kMaxSmallMessageBytes;
      case 'E':
        return length >= 9 && length <= kMaxSmallMessageBytes;
      case 'F':
        return length >= 14;
      case 'p':
        return length <= 65535 + 4;
      case 'd':
        return true;
      default:
        return false;
    }
  }
  switch (type) {
    case '1':
    case '2':
    case '3':
    case 'I':
    case 'c':
    case 'n':
    case 's':
      return length == 4;
    case 'Z':
      return length == 5;
    case 'C':
      return length >= 5 && length <= kMaxSmallMessageBytes;
    case 'D':
    case 'T':
    case 't':
      return length >= 6;
    case 'G':
    case 'H':
    case 'W':
      return length >= 7 && length <= 4 + 3 + 2 * 65535;
    case 'K':
      return length >= 8 && length <= 4 + 4 + 256;
    case 'R':
      return length >= 8 && length <= kMaxSmallMessageBytes + 4;
    case 'S':
      return length >= 6 && length <= kMaxMessageBytes;
    case 'A':
      return length >= 10 && length <= kMaxSmallMessageBytes;
    case 'V':
      return length >= 8;
    case 'v':
      return length >= 12 && length <= kMaxSmallMessageBytes;
    case 'E':
    case 'N':
      return length >= 5;
    case 'd':
      return true;
    default:
      return false;
  }
}

// How much of a body is wanted. Never anything of passwords, parameters, rows or COPY data.
uint32_t FrameReader::Keep() const {
  if (startup_) return kMaxStartupBytes;
  if (side_ == Side::kFrontend) {
    switch (type_) {
      case 'Q':
        return query_keep_ + 1;
      case 'P':
        return query_keep_ + kMaxNameBytes + 2;
      case 'B':
        return 2 * kMaxNameBytes + 2;
      case 'D':
      case 'C':
      case 'E':
        return kMaxNameBytes + 2;
      default:
        return 0;
    }
  }
  switch (type_) {
    case 'C':
      return kMaxTagBytes;
    case 'E':
      return kMaxErrorBytes;
    case 'S':
      return 2 * kMaxNameBytes;
    case 'Z':
      return 1;
    default:
      return 0;
  }
}

void FrameReader::LoseFraming() {
  framed_ = false;
  ever_lost_ = true;
  in_body_ = false;
  header_fill_ = 0;
  tail_.clear();
}

void FrameReader::Finish(Frame& frame, std::string_view body) {
  frame.type = type_;
  frame.length = length_;
  frame.body = body;
  frame.cut = cut_;
  frame.offset = frame_offset_;
  frame.start_ns = frame_start_ns_;
  in_body_ = false;
  header_fill_ = 0;
}

void FrameReader::BeginBody() {
  if (buffer_.capacity() > kBufferToKeep) {
    std::string().swap(buffer_);
  } else {
    buffer_.clear();
  }
  in_body_ = true;
  remaining_ = length_;
}

FrameReader::Step FrameReader::Next(Cursor& cursor, Frame& frame) {
  const Chunk& chunk = cursor.chunk;
  if (!in_body_) {
    if (cursor.remaining() == 0) return Step::kNeedMore;
    const size_t header_bytes = startup_ ? 4 : kHeaderBytes;
    if (header_fill_ == 0) {
      frame_offset_ = cursor.offset();
      frame_start_ns_ = chunk.start_ns;
      cut_ = false;
    }
    if (header_fill_ == 0 && cursor.remaining() >= header_bytes) {
      std::copy_n(cursor.text.data() + cursor.position, header_bytes, header_.data());
      cursor.position += header_bytes;
    } else {
      size_t taken = std::min(header_bytes - header_fill_, cursor.remaining());
      std::copy_n(cursor.text.data() + cursor.position, taken, header_.data() + header_fill_);
      header_fill_ = static_cast<uint8_t>(header_fill_ + taken);
      cursor.position += taken;
      if (header_fill_ < header_bytes) return Step::kNeedMore;
    }
    uint32_t wire_length = ReadUint32(header_.data() + (startup_ ? 0 : 1));
    type_ = startup_ ? '\0' : header_[0];
    bool plausible = startup_ ? wire_length >= 8 && wire_length <= kMaxStartupBytes
                              : PlausibleHeader(side_, type_, wire_length);
    if (!plausible) {
      LoseFraming();
      return Step::kBad;
    }
    length_ = wire_length - 4;
    keep_ = Keep();
    frame.mover = {chunk.end_ns,   chunk.tgid,       chunk.tid,
                   chunk.blocking, chunk.context_id, chunk.parent_context_id};
    if (cursor.remaining() >= length_) {
      std::string_view body = cursor.text.substr(cursor.position, std::min(length_, keep_));
      cursor.position += length_;
      Finish(frame, body);
      return Step::kFrame;
    }
    BeginBody();
  }
  uint32_t taken = static_cast<uint32_t>(std::min<size_t>(remaining_, cursor.remaining()));
  if (!cut_ && buffer_.size() < keep_) {
    buffer_.append(
        cursor.text.substr(cursor.position, std::min<size_t>(taken, keep_ - buffer_.size())));
  }
  cursor.position += taken;
  remaining_ -= taken;
  if (remaining_ > 0) return Step::kNeedMore;
  frame.mover = {chunk.end_ns,   chunk.tgid,       chunk.tid,
                 chunk.blocking, chunk.context_id, chunk.parent_context_id};
  Finish(frame, buffer_);
  return Step::kFrame;
}

uint64_t FrameReader::PassAlike(Cursor& cursor) {
  uint64_t passed = 0;
  while (cursor.remaining() >= kHeaderBytes && cursor.text[cursor.position] == type_) {
    const uint32_t length = ReadUint32(cursor.text.data() + cursor.position + 1);
    if (!PlausibleHeader(side_, type_, length) || cursor.remaining() < size_t{1} + length) break;
    cursor.position += size_t{1} + length;
    ++passed;
  }
  return passed;
}

bool FrameReader::Skip(const Gap& gap, Frame& frame) {
  if (!framed_) {
    tail_.clear();
    return false;
  }
  if (!in_body_) {
    LoseFraming();
    return false;
  }
  cut_ = true;
  if (gap.length < remaining_) {
    remaining_ -= static_cast<uint32_t>(gap.length);
    return false;
  }
  bool more = gap.length > remaining_;
  frame.mover = {gap.end_ns, gap.tgid, gap.tid, false, 0, 0};
  Finish(frame, buffer_);
  if (more) LoseFraming();
  return true;
}

FrameReader::Step FrameReader::FindReady(Cursor& cursor, Tail& tail) {
  while (cursor.remaining() > 0) {
    // The last bytes are kept so that a ReadyForQuery and its chain may lie across pieces.
    constexpr size_t kOverlap = kLookBack + kReadyBytes;
    if (tail_.size() > kOverlap) tail_.erase(0, tail_.size() - kOverlap);
    size_t old_size = tail_.size();
    size_t taken = std::min(cursor.remaining(), kScanPiece);
    tail_.append(cursor.text.substr(cursor.position, taken));
    std::string_view window = tail_;
    // Where a ReadyForQuery may begin whose last byte is new.
    size_t from = old_size >= kReadyBytes - 1 ? old_size - (kReadyBytes - 1) : 0;
    constexpr std::string_view kReadyHeader("Z\0\0\0\5", 5);
    size_t at = window.find(kReadyHeader, from);
    while (at != std::string_view::npos && at + kReadyBytes <= window.size()) {
      char status = window[at + kReadyBytes - 1];
      if (status == 'I' || status == 'T' || status == 'E') {
        tail = {};
        tail.status = status;
        WalkBack(window, at, tail);
        cursor.position += at + kReadyBytes - old_size;
        framed_ = true;
        header_fill_ = 0;
        in_body_ = false;
        return Step::kFrame;
      }
      at = window.find(kReadyHeader, at + 1);
    }
    cursor.position += taken;
  }
  return Step::kNeedMore;
}

}  // namespace zerotap::postgres
