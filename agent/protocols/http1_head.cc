#include "agent/protocols/http1_head.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <utility>

#include "agent/base/bytes.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace zerotap {
namespace {

constexpr size_t kMaxMethodBytes = 64;
constexpr size_t kMaxUndecidedLine = 16 * 1024;
constexpr std::string_view kVersionPrefix = "HTTP/1.";

// RFC 9110 section 5.6.2.
constexpr std::array<bool, 256> MakeTokenTable() {
  std::array<bool, 256> table{};
  for (char c : std::string_view("!#$%&'*+-.^_`|~")) table[static_cast<unsigned char>(c)] = true;
  for (int c = '0'; c <= '9'; ++c) table[static_cast<size_t>(c)] = true;
  for (int c = 'a'; c <= 'z'; ++c) table[static_cast<size_t>(c)] = true;
  for (int c = 'A'; c <= 'Z'; ++c) table[static_cast<size_t>(c)] = true;
  return table;
}
constexpr std::array<bool, 256> kIsToken = MakeTokenTable();

bool IsToken(char c) { return kIsToken[static_cast<unsigned char>(c)]; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsAlpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsBlank(char c) { return c == ' ' || c == '\t'; }
// Folded values contain line ends.
bool IsSpace(char c) { return IsBlank(c) || c == '\r' || c == '\n'; }
bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

std::string_view Trim(std::string_view text) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

// `lower` has only lower-case letters, digits and dashes, all of which have bit 0x20 set.
bool EqualsLower(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((text[i] | 0x20) != lower[i]) return false;
  }
  return true;
}

bool EqualsIgnoreCase(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] | 0x20) : text[i];
    if (c != lower[i]) return false;
  }
  return true;
}

// '/' origin-form, '*' asterisk-form, else the start of a scheme, a host or an IPv6 address.
bool StartsTarget(char c) {
  return c == '/' || c == '*' || c == '[' || c == '.' || c == '_' || c == '?' || IsAlpha(c) ||
         IsDigit(c);
}

// A control character other than a tab.
bool HasControl(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
#ifdef __SSE2__
  const __m128i last_control = _mm_set1_epi8(0x1F);
  for (; end - at >= 16; at += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    const __m128i below = _mm_cmpeq_epi8(_mm_min_epu8(bytes, last_control), bytes);
    const __m128i control = _mm_or_si128(below, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7F)));
    if (_mm_movemask_epi8(_mm_andnot_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t')), control)) != 0) return true;
  }
#endif
  return std::any_of(at, end, [](char c) { return IsControl(c) && c != '\t'; });
}

LineMatch MatchRequestPrefix(std::string_view text) {
  size_t method = 0;
  while (method < text.size() && IsToken(text[method])) ++method;
  if (method > kMaxMethodBytes) return LineMatch::kNo;
  if (method == text.size()) return LineMatch::kNeedMore;
  if (method == 0 || !IsBlank(text[method])) return LineMatch::kNo;
  size_t target = method;
  while (target < text.size() && IsBlank(text[target])) ++target;
  if (target == text.size()) return LineMatch::kNeedMore;
  if (!StartsTarget(text[target])) return LineMatch::kNo;
  for (size_t i = target; i < text.size(); ++i) {
    bool line_end = text[i] == '\r' && i + 1 == text.size();
    if (IsControl(text[i]) && text[i] != '\t' && !line_end) return LineMatch::kNo;
  }
  return LineMatch::kNeedMore;
}

void ReadContentLength(std::string_view value, FramingFields& framing) {
  // A list of equal numbers counts as one (RFC 9110 section 8.6).
  while (true) {
    size_t comma = value.find(',');
    std::string_view item = Trim(value.substr(0, comma));
    uint64_t number = 0;
    bool valid = !item.empty() && item.size() <= 19;
    for (char c : item) {
      if (!IsDigit(c)) valid = false;
      number = number * 10 + static_cast<uint64_t>(c - '0');
    }
    if (!valid || (framing.has_length && framing.length != number)) framing.length_invalid = true;
    framing.has_length = true;
    framing.length = number;
    if (comma == std::string_view::npos) return;
    value.remove_prefix(comma + 1);
  }
}

void ReadTransferEncoding(std::string_view value, FramingFields& framing) {
  while (true) {
    size_t comma = value.find(',');
    std::string_view item = value.substr(0, comma);
    item = Trim(item.substr(0, item.find(';')));
    if (!item.empty() && !EqualsLower(item, "identity")) {
      framing.has_coding = true;
      framing.chunked_last = EqualsLower(item, "chunked");
    }
    if (comma == std::string_view::npos) return;
    value.remove_prefix(comma + 1);
  }
}

constexpr std::string_view kContentLength = "content-length";
constexpr std::string_view kTransferEncoding = "transfer-encoding";

bool MayFrame(std::string_view name) {
  return name.size() == kContentLength.size() || name.size() == kTransferEncoding.size();
}

void ReadFramingField(std::string_view name, std::string_view value, FramingFields& framing) {
  if (EqualsLower(name, kContentLength)) {
    ReadContentLength(value, framing);
  } else if (EqualsLower(name, kTransferEncoding)) {
    ReadTransferEncoding(value, framing);
  }
}

void TakeFirst(std::string_view& field, std::string_view value) {
  if (field.empty()) field = value;
}

void ReadRequestField(std::string_view name, std::string_view value, RequestHead& head) {
  switch (name.size()) {
    case 2:
      if (EqualsLower(name, "b3")) TakeFirst(head.b3, value);
      break;
    case 4:
      if (EqualsLower(name, "host")) TakeFirst(head.host, value);
      break;
    case 9:
      if (EqualsLower(name, "forwarded")) TakeFirst(head.forwarded, value);
      break;
    case 10:
      if (EqualsLower(name, "user-agent")) {
        TakeFirst(head.user_agent, value);
      } else if (EqualsLower(name, "tracestate")) {
        TakeFirst(head.tracestate, value);
        ++head.tracestate_count;
      }
      break;
    case 11:
      if (EqualsLower(name, "traceparent")) {
        TakeFirst(head.traceparent, value);
        ++head.traceparent_count;
      } else if (EqualsLower(name, "x-b3-spanid")) {
        TakeFirst(head.b3_span_id, value);
      }
      break;
    case 12:
      if (EqualsLower(name, "x-b3-traceid")) {
        TakeFirst(head.b3_trace_id, value);
      } else if (EqualsLower(name, "x-request-id")) {
        TakeFirst(head.request_id, value);
      } else if (EqualsLower(name, "content-type")) {
        TakeFirst(head.content_type, value);
      }
      break;
    case 15:
      if (EqualsLower(name, "x-forwarded-for")) TakeFirst(head.x_forwarded_for, value);
      break;
    default:
      ReadFramingField(name, value, head.framing);
      break;
  }
}

void CaptureField(std::string_view name, std::string_view value, const HeaderCapture& capture) {
  if (capture.fields.size() >= HeaderCapture::kMaxFields) return;
  for (const std::string& wanted : capture.wanted) {
    if (EqualsIgnoreCase(name, wanted)) {
      if (!IsSensitiveHeader(wanted)) capture.fields.push_back({wanted, value});
      return;
    }
  }
}

// One pass over the lines of a head. `on_start_line(line)` may refuse; `on_field(name, value)` gets
// every field, the value with the space around it.
template <typename OnStartLine, typename OnField>
HeadResult WalkHead(std::string_view text, size_t& size, OnStartLine on_start_line,
                    OnField on_field) {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  auto line_end = [end](const char* from) { return FindNear(from, end, '\n'); };
  auto view = [](const char* from, const char* to) {
    if (to > from && to[-1] == '\r') --to;
    return std::string_view(from, static_cast<size_t>(to - from));
  };
  const char* at = begin;
  if (at == end) return HeadResult::kIncomplete;
  const char* newline = line_end(at);
  if (newline == nullptr) return HeadResult::kIncomplete;
  if (!on_start_line(view(at, newline))) return HeadResult::kInvalid;
  while (true) {
    at = newline + 1;
    if (at == end || (newline = line_end(at)) == nullptr) return HeadResult::kIncomplete;
    if (view(at, newline).empty()) {
      size = static_cast<size_t>(newline + 1 - begin);
      return HeadResult::kComplete;
    }
    while (newline + 1 != end && IsBlank(newline[1])) {
      newline = line_end(newline + 1);
      if (newline == nullptr) return HeadResult::kIncomplete;
    }
    std::string_view line = view(at, newline);
    // Beyond the line's end if there is more, so that whole steps do for short lines, too.
    const auto room = std::min(static_cast<size_t>(end - line.data()), line.size() + 15);
    const char* colon = FindNear(line.data(), line.data() + room, ':');
    if (colon == nullptr || colon >= line.data() + line.size() || IsBlank(line.front())) continue;
    std::string_view name(line.data(), static_cast<size_t>(colon - line.data()));
    while (!name.empty() && IsBlank(name.back())) name.remove_suffix(1);
    on_field(name, line.substr(static_cast<size_t>(colon - line.data()) + 1));
  }
}

}  // namespace

LineMatch MatchRequestLine(std::string_view text) {
  size_t start = text.find_first_not_of("\r\n");
  if (start == std::string_view::npos) return LineMatch::kNeedMore;
  text.remove_prefix(start);
  size_t newline = text.substr(0, kMaxUndecidedLine).find('\n');
  if (newline == std::string_view::npos) {
    if (text.size() >= kMaxUndecidedLine) return LineMatch::kNo;
    return MatchRequestPrefix(text);
  }
  std::string_view line = text.substr(0, newline);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  RequestHead head;
  return ParseRequestLine(line, head) ? LineMatch::kYes : LineMatch::kNo;
}

LineMatch MatchStatusLine(std::string_view text) {
  size_t start = text.find_first_not_of("\r\n");
  if (start == std::string_view::npos) return LineMatch::kNeedMore;
  text.remove_prefix(start);
  // "HTTP/1.1 200" and what may follow the status.
  size_t known = std::min(text.size(), kVersionPrefix.size());
  if (text.substr(0, known) != kVersionPrefix.substr(0, known)) return LineMatch::kNo;
  if (text.size() <= 7) return LineMatch::kNeedMore;
  if (text[7] != '0' && text[7] != '1') return LineMatch::kNo;
  size_t at = 8;
  while (at < text.size() && IsBlank(text[at])) ++at;
  if (at == text.size()) return at < 64 ? LineMatch::kNeedMore : LineMatch::kNo;
  if (at == 8) return LineMatch::kNo;
  for (size_t i = 0; i < 3; ++i, ++at) {
    if (at == text.size()) return LineMatch::kNeedMore;
    if (!IsDigit(text[at]) || (i == 0 && text[at] == '0')) return LineMatch::kNo;
  }
  if (at == text.size()) return LineMatch::kNeedMore;
  return IsSpace(text[at]) ? LineMatch::kYes : LineMatch::kNo;
}

bool ParseRequestLine(std::string_view line, RequestHead& head) {
  // The version is cut off at the end first: some clients leave spaces in the target.
  while (!line.empty() && IsBlank(line.back())) line.remove_suffix(1);
  if (line.size() < 8 + 1) return false;
  std::string_view version = line.substr(line.size() - 8);
  if (version.substr(0, 7) != kVersionPrefix || (version[7] != '0' && version[7] != '1'))
    return false;
  line.remove_suffix(8);
  if (!IsBlank(line.back())) return false;
  size_t method = 0;
  while (method < line.size() && IsToken(line[method])) ++method;
  if (method == 0 || method > kMaxMethodBytes || !IsBlank(line[method])) return false;
  std::string_view target = line.substr(method);
  while (!target.empty() && IsBlank(target.front())) target.remove_prefix(1);
  while (!target.empty() && IsBlank(target.back())) target.remove_suffix(1);
  if (target.empty() || !StartsTarget(target.front())) return false;
  if (HasControl(target)) return false;
  head.method = line.substr(0, method);
  head.target = target;
  head.version = version[7] == '0' ? "1.0" : "1.1";
  return true;
}

bool ParseStatusLine(std::string_view line, ResponseHead& head) {
  if (line.size() < 12 || line.substr(0, 7) != kVersionPrefix) return false;
  if ((line[7] != '0' && line[7] != '1') || !IsBlank(line[8])) return false;
  size_t at = 9;
  while (at < line.size() && IsBlank(line[at])) ++at;
  if (at >= 64 || line.size() - at < 3) return false;
  unsigned status = 0;
  for (size_t i = 0; i < 3; ++i, ++at) {
    if (!IsDigit(line[at])) return false;
    status = status * 10 + static_cast<unsigned>(line[at] - '0');
  }
  if (status < 100 || (at < line.size() && !IsSpace(line[at]))) return false;
  head.status = static_cast<uint16_t>(status);
  return true;
}

HeadResult ParseRequestHead(std::string_view text, HeaderCapture capture, RequestHead& head) {
  capture.fields.clear();
  const bool capturing = !capture.wanted.empty();
  return WalkHead(
      text, head.size, [&](std::string_view line) { return ParseRequestLine(line, head); },
      [&](std::string_view name, std::string_view raw) {
        const std::string_view value = Trim(raw);
        ReadRequestField(name, value, head);
        if (capturing) CaptureField(name, value, capture);
      });
}

HeadResult ParseResponseHead(std::string_view text, HeaderCapture capture, ResponseHead& head) {
  capture.fields.clear();
  const bool capturing = !capture.wanted.empty();
  return WalkHead(
      text, head.size, [&](std::string_view line) { return ParseStatusLine(line, head); },
      [&](std::string_view name, std::string_view raw) {
        if (!capturing && !MayFrame(name)) return;
        const std::string_view value = Trim(raw);
        ReadFramingField(name, value, head.framing);
        if (capturing) CaptureField(name, value, capture);
      });
}

bool IsUnmistakableMethod(std::string_view method) {
  static constexpr std::string_view kMethods[] = {
      "GET",         "POST",        "PUT",      "DELETE",   "HEAD",      "OPTIONS",    "PATCH",
      "TRACE",       "QUERY",       "CONNECT",  "PROPFIND", "PROPPATCH", "MKCOL",      "COPY",
      "MOVE",        "UNLOCK",      "M-SEARCH", "REPORT",   "UNBIND",    "REBIND",     "UNLINK",
      "CHECKIN",     "UNCHECKOUT",  "LABEL",    "MERGE",    "NOTIFY",    "MKACTIVITY", "MKCALENDAR",
      "MKWORKSPACE", "UNSUBSCRIBE", "PURGE",    "ACL"};
  return std::find(std::begin(kMethods), std::end(kMethods), method) != std::end(kMethods);
}

bool IsSensitiveHeader(std::string_view lower_case_name) {
  static constexpr std::string_view kParts[] = {
      "authoriz", "authentica", "cookie",  "token",  "secret", "passw", "api-key",
      "apikey",   "credential", "session", "x-auth", "jwt",    "csrf",  "xsrf"};
  for (std::string_view part : kParts) {
    if (lower_case_name.find(part) != std::string_view::npos) return true;
  }
  return false;
}

std::string JoinFieldValues(std::string_view head_text, std::string_view lower_case_name,
                            size_t max_bytes) {
  std::string joined;
  size_t size = 0;
  WalkHead(
      head_text, size, [](std::string_view) { return true; },
      [&](std::string_view name, std::string_view raw) {
        if (!EqualsLower(name, lower_case_name)) return;
        const std::string_view value = Trim(raw);
        if (value.empty()) return;
        if (joined.size() + 1 + value.size() > max_bytes) return;
        if (!joined.empty()) joined += ',';
        joined += value;
      });
  return joined;
}

void HeadAssembler::Start(size_t max_bytes) {
  text_.clear();
  max_bytes_ = max_bytes;
  line_start_ = 0;
  first_line_size_ = 0;
  excess_lines_ = 0;
  excess_ = false;
  line_cut_ = false;
  line_has_text_ = false;
  done_ = false;
  too_long_ = false;
}

std::string_view HeadAssembler::first_line() const {
  std::string_view line(text_.data(), first_line_size_ - 1);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

size_t HeadAssembler::Feed(std::string_view bytes) {
  size_t at = 0;
  while (at < bytes.size() && !done_ && !too_long_) {
    const void* found = std::memchr(bytes.data() + at, '\n', bytes.size() - at);
    size_t end = found == nullptr
                     ? bytes.size()
                     : static_cast<size_t>(static_cast<const char*>(found) - bytes.data()) + 1;
    std::string_view piece = bytes.substr(at, end - at);
    if (!line_has_text_) {
      // A line of CR and LF only is blank; how it was cut does not matter.
      line_has_text_ = piece.find_first_not_of("\r\n") != std::string_view::npos ||
                       (text_.size() + piece.size() - line_start_ > 2 && !line_cut_);
    }
    at = end;
    if (!line_cut_) {
      size_t line_size = text_.size() - line_start_ + piece.size();
      size_t room = !excess_ && max_bytes_ > line_start_ ? max_bytes_ - line_start_ : 0;
      if (line_size > std::max(room, kMaxExcessLine)) {
        if (first_line_size_ == 0) {
          too_long_ = true;
          break;
        }
        line_cut_ = true;
        excess_ = true;
        text_.resize(line_start_);
      } else {
        text_.append(piece);
      }
    }
    if (found != nullptr) EndLine();
  }
  return at;
}

void HeadAssembler::EndLine() {
  if (first_line_size_ == 0) {
    first_line_size_ = text_.size();
  } else if (!line_has_text_) {
    done_ = true;
  } else if (!line_cut_ && (excess_ || text_.size() > max_bytes_)) {
    excess_ = true;
    std::string_view line = std::string_view(text_).substr(line_start_);
    std::string_view name = Trim(line.substr(0, line.find(':')));
    bool frames = EqualsLower(name, kContentLength) || EqualsLower(name, kTransferEncoding);
    if (!frames || excess_lines_ >= kMaxExcessLines) {
      text_.resize(line_start_);
    } else {
      ++excess_lines_;
    }
  }
  line_start_ = text_.size();
  line_cut_ = false;
  line_has_text_ = false;
}

void HeadAssembler::Release() {
  constexpr size_t kKeep = 4096;
  if (text_.capacity() > kKeep) {
    text_ = std::string();
  } else {
    text_.clear();
  }
}

namespace {

// Of this thread.
struct SpareAssemblers {
  std::array<std::unique_ptr<HeadAssembler>, 16> all;
  size_t count = 0;
};
SpareAssemblers& Spare() {
  static thread_local SpareAssemblers spare;
  return spare;
}

}  // namespace

void HeadPieces::Start(size_t max_bytes) {
  SpareAssemblers& spare = Spare();
  if (!assembler_) {
    assembler_ = spare.count > 0 ? std::move(spare.all[--spare.count])
                                 : std::make_unique<HeadAssembler>();
  }
  assembler_->Start(max_bytes);
}

void HeadPieces::Release() {
  if (!assembler_) return;
  assembler_->Release();
  SpareAssemblers& spare = Spare();
  if (spare.count < spare.all.size()) {
    spare.all[spare.count++] = std::move(assembler_);
  } else {
    assembler_.reset();
  }
}

}  // namespace zerotap
