// Heads of HTTP/1.x messages: the start line and the header fields that matter here.
//
// RFC 9112 sections 3 and 4:
//   request  = method SP request-target SP HTTP-version CRLF *( field-line CRLF ) CRLF
//   response = HTTP-version SP 3DIGIT SP [ reason ] CRLF *( field-line CRLF ) CRLF
// Read as leniently as real servers do: a bare LF ends a line (2.2), folded lines continue a value
// (5.2), white space may surround names and values. All views point into the text that was parsed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/protocols/exchange.h"

namespace zerotap {

enum class LineMatch : uint8_t { kNo, kNeedMore, kYes };

// Whether `text` starts with a whole request line (kYes), with what may still become one, or with
// neither.
LineMatch MatchRequestLine(std::string_view text);
// The same for a status line; its reason need not be there yet.
LineMatch MatchStatusLine(std::string_view text);

// What the header fields say about the length of the body (RFC 9112 section 6).
struct FramingFields {
  bool has_length = false;
  bool length_invalid = false;  // not a number, or several that differ
  uint64_t length = 0;
  bool has_coding = false;  // Transfer-Encoding other than identity
  bool chunked_last = false;
};

struct RequestHead {
  size_t size = 0;  // of the head, blank line included
  std::string_view method;
  std::string_view target;
  std::string_view version;  // "1.0" or "1.1"
  std::string_view host;
  std::string_view user_agent;
  std::string_view forwarded;
  std::string_view x_forwarded_for;
  std::string_view traceparent;
  std::string_view tracestate;
  std::string_view b3;
  std::string_view b3_trace_id;
  std::string_view b3_span_id;
  std::string_view request_id;
  std::string_view content_type;
  uint32_t traceparent_count = 0;
  uint32_t tracestate_count = 0;  // `tracestate` is the first; several make one list
  FramingFields framing;
};

struct ResponseHead {
  size_t size = 0;
  uint16_t status = 0;
  FramingFields framing;
};

// Header fields that the configuration wants. Names that can carry secrets are never captured.
struct HeaderCapture {
  static constexpr size_t kMaxFields = 32;
  const std::vector<std::string>& wanted;  // lower case
  std::vector<HeaderField>& fields;        // cleared first; names point into `wanted`
};

enum class HeadResult : uint8_t { kComplete, kIncomplete, kInvalid };

// `text` starts with the first byte of the start line. kInvalid as soon as the start line is whole
// and wrong.
HeadResult ParseRequestHead(std::string_view text, HeaderCapture capture, RequestHead& head);
HeadResult ParseResponseHead(std::string_view text, HeaderCapture capture, ResponseHead& head);

// A start line without its line end.
bool ParseRequestLine(std::string_view line, RequestHead& head);
bool ParseStatusLine(std::string_view line, ResponseHead& head);

// A method in use that does not end another one: what is left of a cut name must not pass. (PATCH
// ends PROPPATCH, but is too common to be refused.)
bool IsUnmistakableMethod(std::string_view method);

bool IsSensitiveHeader(std::string_view lower_case_name);

// The values of all fields of that name as one list; values that do not fit are left out.
std::string JoinFieldValues(std::string_view head_text, std::string_view lower_case_name,
                            size_t max_bytes);

// Puts together a head that came in pieces. What is above the cap is left out line by line, except
// for the few fields that tell where the message ends.
class HeadAssembler {
 public:
  static constexpr size_t kMaxExcessLine = 1024;
  static constexpr size_t kMaxExcessLines = 8;

  void Start(size_t max_bytes);
  // Takes bytes up to the end of the head and says how many. After it one of done(), too_long() or
  // neither holds.
  size_t Feed(std::string_view bytes);
  bool done() const { return done_; }
  bool too_long() const { return too_long_; }  // the start line alone is above the cap
  bool has_first_line() const { return first_line_size_ != 0; }
  std::string_view first_line() const;  // without its line end
  std::string_view text() const { return text_; }
  // Gives up the text; keeps an ordinary amount of memory for the next head.
  void Release();
  size_t MemorySize() const { return text_.capacity(); }

 private:
  void EndLine();

  std::string text_;
  size_t max_bytes_ = 0;
  size_t line_start_ = 0;
  size_t first_line_size_ = 0;
  uint32_t excess_lines_ = 0;
  bool excess_ = false;         // the cap was reached
  bool line_cut_ = false;       // the line in progress is too long to be kept
  bool line_has_text_ = false;  // and has something else than its line end
  bool done_ = false;
  bool too_long_ = false;
};

// The assembler of one direction while a head is coming in pieces; at other times there is none.
// Those that are done with are kept for the next heads of any connection.
class HeadPieces {
 public:
  ~HeadPieces() { Release(); }
  HeadPieces() = default;
  HeadPieces(const HeadPieces&) = delete;
  HeadPieces& operator=(const HeadPieces&) = delete;

  void Start(size_t max_bytes);
  // Between Start and Release.
  HeadAssembler* operator->() const { return assembler_.get(); }
  const HeadAssembler& assembler() const { return *assembler_; }
  void Release();
  size_t MemorySize() const {
    return assembler_ ? sizeof(*assembler_) + assembler_->MemorySize() : 0;
  }

 private:
  std::unique_ptr<HeadAssembler> assembler_;
};

}  // namespace zerotap
