// Where the body of an HTTP/1.x message ends, without keeping any of it.
//
// RFC 9112 section 6: Content-Length octets, or the chunked coding (section 7.1), or until the
// connection ends:
//   chunked = *( size-in-hex [ ";" extension ] CRLF data CRLF )
//             1*"0" [ ";" extension ] CRLF  *( trailer-line CRLF )  CRLF
// Bytes that were not captured are stepped over as long as they lie in data whose length is known.
// When they hid a chunk-size line, the framing is lost; then the end is recognised by a last-chunk
// line, trailer lines and a blank line, with exact line ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace zerotap {

class BodyFramer {
 public:
  void StartEmpty() { Start(State::kDone); }
  void StartLength(uint64_t length) {
    Start(length == 0 ? State::kDone : State::kLength);
    remaining_ = length;
  }
  void StartChunked() { Start(State::kChunkSize); }
  void StartUntilEnd() { Start(State::kUntilEnd); }

  // Says how many of the bytes belong to the body (framing included).
  size_t Consume(std::string_view bytes);
  // The same for a gap.
  uint64_t Skip(uint64_t length);
  // The connection ended in this direction. True when that is a proper end of this body.
  bool End();

  bool done() const { return state_ == State::kDone; }
  bool invalid() const { return state_ == State::kInvalid; }
  bool until_end() const { return state_ == State::kUntilEnd; }
  bool framing_lost() const { return state_ == State::kFindEnd; }
  // Bytes of content so far; empty when some were passed that cannot be told from framing.
  std::optional<uint64_t> size() const {
    if (!size_known_) return std::nullopt;
    return size_;
  }

 private:
  enum class State : uint8_t {
    kDone,
    kInvalid,
    kLength,
    kUntilEnd,
    kChunkSize,       // in the hex digits or the line end after them
    kChunkExtension,  // between them
    kChunkData,
    kChunkDataEnd,  // in the line end after the data
    kTrailer,
    kFindEnd,  // framing lost
  };
  // What a line looks like so far while the end is being looked for.
  enum class Line : uint8_t { kEmpty, kZeros, kExtension, kName, kTrailer, kOther };

  void Start(State state) {
    state_ = state;
    remaining_ = 0;
    size_ = 0;
    size_known_ = true;
    digits_ = 0;
    saw_return_ = false;
    line_has_text_ = false;
    found_last_chunk_ = false;
    line_ = Line::kEmpty;
  }
  void StartChunkSize() {
    state_ = State::kChunkSize;
    remaining_ = 0;
    digits_ = 0;
    saw_return_ = false;
  }
  void EndChunkSizeLine();
  void ReadChunkSizeByte(char c);
  void LoseFraming();
  size_t FindEnd(std::string_view bytes);
  void EndLineOfSearch();

  State state_ = State::kDone;
  Line line_ = Line::kEmpty;
  bool size_known_ = true;
  bool saw_return_ = false;
  bool line_has_text_ = false;
  bool found_last_chunk_ = false;
  uint8_t digits_ = 0;
  uint64_t remaining_ = 0;
  uint64_t size_ = 0;
};

}  // namespace zerotap
