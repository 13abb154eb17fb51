#include "agent/protocols/http1_body.h"

#include <algorithm>

namespace zerotap {
namespace {

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool IsFieldNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.';
}

constexpr uint8_t kMaxDigits = 16;

}  // namespace

size_t BodyFramer::Consume(std::string_view bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    switch (state_) {
      case State::kDone:
      case State::kInvalid:
        return at;
      case State::kUntilEnd:
        size_ += bytes.size() - at;
        return bytes.size();
      case State::kLength:
      case State::kChunkData: {
        size_t taken = static_cast<size_t>(std::min<uint64_t>(remaining_, bytes.size() - at));
        at += taken;
        size_ += taken;
        remaining_ -= taken;
        if (remaining_ == 0) {
          state_ = state_ == State::kLength ? State::kDone : State::kChunkDataEnd;
          saw_return_ = false;
        }
        break;
      }
      case State::kChunkSize:
        ReadChunkSizeByte(bytes[at++]);
        break;
      case State::kChunkExtension: {
        size_t newline = bytes.find('\n', at);
        if (newline == std::string_view::npos) return bytes.size();
        at = newline + 1;
        EndChunkSizeLine();
        break;
      }
      case State::kChunkDataEnd: {
        char c = bytes[at++];
        if (c == '\n') {
          StartChunkSize();
        } else if (c == '\r' && !saw_return_) {
          saw_return_ = true;
        } else {
          state_ = State::kInvalid;
        }
        break;
      }
      case State::kTrailer: {
        size_t newline = bytes.find('\n', at);
        std::string_view piece = bytes.substr(at, newline - at);
        if (piece.find_first_not_of('\r') != std::string_view::npos) line_has_text_ = true;
        if (newline == std::string_view::npos) return bytes.size();
        at = newline + 1;
        if (!line_has_text_) state_ = State::kDone;
        line_has_text_ = false;
        break;
      }
      case State::kFindEnd:
        at += FindEnd(bytes.substr(at));
        break;
    }
  }
  return at;
}

void BodyFramer::ReadChunkSizeByte(char c) {
  int value = HexValue(c);
  if (value >= 0 && !saw_return_) {
    if (digits_ == kMaxDigits) {
      state_ = State::kInvalid;
      return;
    }
    ++digits_;
    remaining_ = remaining_ << 4 | static_cast<uint64_t>(value);
  } else if (digits_ == 0) {
    state_ = State::kInvalid;
  } else if (c == '\n') {
    EndChunkSizeLine();
  } else if (c == '\r' && !saw_return_) {
    saw_return_ = true;
  } else if ((c == ';' || c == ' ' || c == '\t') && !saw_return_) {
    state_ = State::kChunkExtension;
  } else {
    state_ = State::kInvalid;
  }
}

void BodyFramer::EndChunkSizeLine() {
  if (remaining_ == 0) {
    state_ = State::kTrailer;
    line_has_text_ = false;
  } else {
    state_ = State::kChunkData;
  }
}

uint64_t BodyFramer::Skip(uint64_t length) {
  switch (state_) {
    case State::kDone:
    case State::kInvalid:
      return 0;
    case State::kUntilEnd:
      size_ += length;
      return length;
    case State::kLength: {
      uint64_t taken = std::min(remaining_, length);
      remaining_ -= taken;
      size_ += taken;
      if (remaining_ == 0) state_ = State::kDone;
      return taken;
    }
    case State::kChunkData: {
      uint64_t data = std::min(remaining_, length);
      remaining_ -= data;
      size_ += data;
      if (remaining_ > 0) return length;
      state_ = State::kChunkDataEnd;
      saw_return_ = false;
      if (data == length) return length;
      Skip(length - data);
      return length;
    }
    case State::kChunkDataEnd:
      // The line end after the data is CR LF; what else the gap may hold cannot be told.
      if (length == 1 && !saw_return_) {
        saw_return_ = true;
      } else if (length == (saw_return_ ? 1u : 2u)) {
        StartChunkSize();
      } else {
        LoseFraming();
      }
      return length;
    case State::kChunkSize:
    case State::kChunkExtension:
    case State::kTrailer:
    case State::kFindEnd:
      LoseFraming();
      return length;
  }
  return 0;
}

bool BodyFramer::End() {
  if (state_ == State::kUntilEnd) state_ = State::kDone;
  return state_ == State::kDone;
}

void BodyFramer::LoseFraming() {
  state_ = State::kFindEnd;
  size_known_ = false;
  found_last_chunk_ = false;
  saw_return_ = false;
  line_ = Line::kEmpty;
}

// Per byte only at the beginning of a line; the rest of a line that cannot matter is jumped over.
size_t BodyFramer::FindEnd(std::string_view bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    if (line_ == Line::kOther && !found_last_chunk_) {
      size_t newline = bytes.find('\n', at);
      if (newline == std::string_view::npos) return bytes.size();
      at = newline;
    }
    char c = bytes[at++];
    if (c == '\n') {
      EndLineOfSearch();
      if (state_ == State::kDone) return at;
      continue;
    }
    if (saw_return_) {
      line_ = Line::kOther;  // a CR inside a line
      saw_return_ = false;
    }
    if (c == '\r') {
      saw_return_ = true;
      continue;
    }
    switch (line_) {
      case Line::kEmpty:
        line_ = c == '0' ? Line::kZeros : IsFieldNameByte(c) ? Line::kName : Line::kOther;
        break;
      case Line::kZeros:
        if (c == ';') {
          line_ = Line::kExtension;
        } else if (c != '0') {
          line_ = IsFieldNameByte(c) ? Line::kName : Line::kOther;
        }
        break;
      case Line::kName:
        if (c == ':') {
          line_ = Line::kTrailer;
        } else if (!IsFieldNameByte(c)) {
          line_ = Line::kOther;
        }
        break;
      case Line::kExtension:
      case Line::kTrailer:
      case Line::kOther:
        break;
    }
  }
  return at;
}

void BodyFramer::EndLineOfSearch() {
  if (!saw_return_) {
    found_last_chunk_ = false;
  } else if (line_ == Line::kZeros || line_ == Line::kExtension) {
    found_last_chunk_ = true;
  } else if (line_ == Line::kEmpty) {
    if (found_last_chunk_) state_ = State::kDone;
  } else if (line_ != Line::kTrailer) {
    found_last_chunk_ = false;
  }
  line_ = Line::kEmpty;
  saw_return_ = false;
}

}  // namespace zerotap
