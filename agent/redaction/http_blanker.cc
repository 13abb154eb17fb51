// HTTP/1.x: kept are methods, versions, status codes, the names of well-known headers, the values
// of those that frame messages, chunk sizes, traceparent, and the separators of targets.
#include <algorithm>
#include <array>
#include <cctype>
#include <deque>
#include <string>

#include "agent/redaction/blanker.h"

namespace zerotap {
namespace {

constexpr size_t kMaxLine = 64 * 1024;
constexpr size_t kMaxOutstanding = 1024;
constexpr size_t kMaxChunkDigits = 15;
constexpr size_t kMaxName = 32;    // of the headers that are known
constexpr size_t kMaxValue = 200;  // of those whose values may be kept
constexpr size_t kNone = std::string::npos;
constexpr std::string_view kHexDigits = "0123456789abcdefABCDEF";
constexpr std::string_view kTraceparent = "traceparent";

constexpr std::array<std::string_view, 10> kMethods = {
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"};
// Names that are public knowledge. The first ones' values are kept as far as they consist of kWords
// and numbers.
constexpr std::array<std::string_view, 7> kFramingHeaders = {
    "content-length", "transfer-encoding", "connection", "proxy-connection", "upgrade", "expect",
    "trailer"};
constexpr std::array<std::string_view, 24> kKnownHeaders = {"host",
                                                            "user-agent",
                                                            "accept",
                                                            "accept-encoding",
                                                            "accept-language",
                                                            "authorization",
                                                            "cookie",
                                                            "set-cookie",
                                                            "content-type",
                                                            "content-encoding",
                                                            "cache-control",
                                                            "date",
                                                            "server",
                                                            "etag",
                                                            "last-modified",
                                                            "location",
                                                            "referer",
                                                            "origin",
                                                            "vary",
                                                            "x-forwarded-for",
                                                            "forwarded",
                                                            "x-request-id",
                                                            "tracestate",
                                                            "if-none-match"};
constexpr std::array<std::string_view, 10> kWords = {
    "chunked",    "gzip",    "deflate",   "identity",     "close",
    "keep-alive", "upgrade", "websocket", "100-continue", "h2c"};

template <size_t N>
bool Among(const std::array<std::string_view, N>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

template <size_t N>
bool BeginsOneOf(const std::array<std::string_view, N>& words, std::string_view text) {
  return std::any_of(words.begin(), words.end(),
                     [text](std::string_view word) { return word.starts_with(text); });
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

bool IsDigits(std::string_view text) {
  return !text.empty() && text.size() < 20 &&
         text.find_first_not_of("0123456789") == std::string_view::npos;
}

bool IsVersion(std::string_view text) { return text == "HTTP/1.1" || text == "HTTP/1.0"; }

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == '\r' || text.back() == '\n' || text.back() == ' '))
    text.remove_suffix(1);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return text;
}

class HttpBlanker final : public Blanker {
 public:
  void Bytes(int direction, std::span<char> bytes, bool run_start) override {
    Side& side = sides_[direction];
    if (run_start && (side.state == State::kOpaque || side.state == State::kUntilClose))
      side.BeginMessage();
    while (!bytes.empty()) {
      const size_t done = Step(side, bytes);
      bytes = bytes.subspan(done);
    }
  }

  void Gap(int direction, uint64_t length) override {
    Side& side = sides_[direction];
    const bool counted = side.state == State::kBody || side.state == State::kChunkData;
    if (counted && length <= side.remaining) {
      side.remaining -= length;
      if (side.remaining == 0) EndOfCounted(side);
    } else if (side.state != State::kUntilClose) {
      side.state = State::kOpaque;
    }
  }

 private:
  enum class State : uint8_t {
    kStartLine,
    kHeader,
    kBody,
    kUntilClose,
    kChunkSize,
    kChunkData,
    kChunkEnd,
    kTrailer,
    kOpaque,   // until the next run
    kForever,  // another protocol took over
  };
  struct Side {
    State state = State::kStartLine;
    std::string line;  // so far, as it was
    // Where its parts begin, so that no byte costs more than a look at a short word.
    size_t first_space = kNone, second_space = kNone, colon = kNone;
    uint64_t remaining = 0;
    uint64_t content_length = 0;
    bool has_length = false;
    bool chunked = false;
    bool is_response = false;
    int status = 0;
    char method = 0;  // 'H' HEAD, 'C' CONNECT, other

    void EndLine() {
      line.clear();
      first_space = second_space = colon = kNone;
    }
    void BeginMessage() { *this = Side{}; }
  };

  size_t Step(Side& side, std::span<char> bytes) {
    switch (side.state) {
      case State::kBody:
      case State::kChunkData: {
        const size_t count = static_cast<size_t>(std::min<uint64_t>(side.remaining, bytes.size()));
        BlankBytes(bytes.first(count));
        side.remaining -= count;
        if (side.remaining == 0) EndOfCounted(side);
        return count;
      }
      case State::kUntilClose:
      case State::kOpaque:
      case State::kForever:
        BlankOpaque(bytes);
        return bytes.size();
      default:
        return Line(side, bytes);
    }
  }

  static void BlankBytes(std::span<char> bytes) { std::fill(bytes.begin(), bytes.end(), 'x'); }

  // The end of a chunked body is told by its looks where its framing was not captured.
  static void BlankOpaque(std::span<char> bytes) {
    constexpr std::string_view kLastChunk = "\r\n0\r\n\r\n";
    const std::string_view text(bytes.data(), bytes.size());
    BlankBytes(text.ends_with(kLastChunk) ? bytes.first(bytes.size() - kLastChunk.size()) : bytes);
  }

  static void EndOfCounted(Side& side) {
    if (side.state == State::kChunkData) {
      side.state = State::kChunkEnd;
    } else {
      side.BeginMessage();
    }
  }

  // What is there of a line. Whether a byte is kept depends on the line so far, wherever records
  // cut it.
  size_t Line(Side& side, std::span<char> bytes) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      const char c = bytes[i];
      if (c == '\n') {
        const std::string line = std::move(side.line);
        side.EndLine();
        Understand(side, line);
        return i + 1;
      }
      if (side.line.size() == kMaxLine) {
        side.EndLine();
        side.state = State::kOpaque;
        return i;
      }
      if (c == ' ' && side.second_space == kNone) {
        (side.first_space == kNone ? side.first_space : side.second_space) = side.line.size();
      }
      if (c == ':' && side.colon == kNone) side.colon = side.line.size();
      side.line.push_back(c);
      if (!Keeps(side)) BlankText(bytes.subspan(i, 1));
    }
    return bytes.size();
  }

  // Of the last byte of the line so far.
  static bool Keeps(const Side& side) {
    const std::string& line = side.line;
    switch (side.state) {
      case State::kStartLine:
        return KeepsStart(side);
      case State::kHeader:
      case State::kTrailer:
        return KeepsHeader(side);
      case State::kChunkSize:
        return line.back() == ';' || (line.size() <= kMaxChunkDigits &&
                                      line.find_first_not_of(kHexDigits) == std::string::npos);
      default:
        return false;
    }
  }

  static bool KeepsStart(const Side& side) {
    const std::string_view line = side.line;
    constexpr std::string_view kForm = "HTTP/1.0 000";
    bool response = line.size() <= kForm.size();
    for (size_t i = 0; response && i < line.size(); ++i) {
      response = kForm[i] == '0' ? IsDigits(line.substr(i, 1)) : line[i] == kForm[i];
    }
    if (response || side.first_space == kNone) return response || BeginsOneOf(kMethods, line);
    if (!Among(kMethods, line.substr(0, side.first_space))) return false;
    const size_t second = side.second_space;
    if (second == kNone)
      return std::string_view("/?&=*").find(line.back()) != std::string_view::npos;
    return std::string_view("HTTP/1.1").starts_with(line.substr(second + 1)) ||
           std::string_view("HTTP/1.0").starts_with(line.substr(second + 1));
  }

  static bool KeepsHeader(const Side& side) {
    const std::string_view line = side.line;
    const size_t colon = side.colon;
    if (std::min(colon, line.size()) > kMaxName) return false;
    const std::string name = Lower(line.substr(0, colon));
    if (colon == kNone) {
      return name == kTraceparent.substr(0, name.size()) || BeginsOneOf(kFramingHeaders, name) ||
             BeginsOneOf(kKnownHeaders, name);
    }
    if (colon + 1 == line.size()) return true;
    if (line.size() > colon + kMaxValue) return false;
    std::string value = Lower(line.substr(colon + 1));
    value.erase(0, std::min(value.find_first_not_of(' '), value.size()));
    if (name == "content-length") return IsDigits(value);
    if (name == kTraceparent) return BeginsTraceparent(value);
    if (!Among(kFramingHeaders, name)) return false;
    const size_t comma = value.rfind(',');
    if (comma == value.size() - 1) return true;
    std::string word = comma == std::string::npos ? value : value.substr(comma + 1);
    word.erase(0, std::min(word.find_first_not_of(' '), word.size()));
    return BeginsOneOf(kWords, word);
  }

  static bool BeginsTraceparent(std::string_view value) {
    for (size_t i = 0; i < value.size(); ++i) {
      const bool dash = i == 2 || i == 35 || i == 52;
      if (dash ? value[i] != '-' : kHexDigits.find(value[i]) == std::string_view::npos)
        return false;
    }
    return value.size() <= 55;
  }

  void Understand(Side& side, std::string_view line) {
    const bool empty = Trimmed(line).empty();
    switch (side.state) {
      case State::kStartLine:
        if (!empty) StartLine(side, Trimmed(line));
        break;
      case State::kHeader:
        if (empty) {
          EndOfHead(side);
        } else {
          Header(side, line);
        }
        break;
      case State::kChunkSize:
        ChunkSize(side, Trimmed(line));
        break;
      case State::kChunkEnd:
        side.state = empty ? State::kChunkSize : State::kOpaque;
        break;
      case State::kTrailer:
        if (empty) side.BeginMessage();
        break;
      default:
        break;
    }
  }

  void StartLine(Side& side, std::string_view text) {
    const bool response = text.size() >= 12 && IsVersion(text.substr(0, 8)) && text[8] == ' ' &&
                          IsDigits(text.substr(9, 3)) && (text.size() == 12 || text[12] == ' ');
    const size_t space = text.find(' ');
    const size_t last = text.rfind(' ');
    const bool request = !response && space != std::string_view::npos && last > space &&
                         Among(kMethods, text.substr(0, space)) && IsVersion(text.substr(last + 1));
    side.state = response || request ? State::kHeader : State::kOpaque;
    side.is_response = response;
    if (response) {
      side.status = (text[9] - '0') * 100 + (text[10] - '0') * 10 + (text[11] - '0');
      side.method = outstanding_.empty() ? 'o' : outstanding_.front();
      if (side.status >= 200 && !outstanding_.empty()) outstanding_.pop_front();
    } else if (request) {
      if (outstanding_.size() >= kMaxOutstanding) outstanding_.clear();
      outstanding_.push_back(text.starts_with("HEAD")      ? 'H'
                             : text.starts_with("CONNECT") ? 'C'
                                                           : 'o');
    }
  }

  static void Header(Side& side, std::string_view line) {
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || line[0] == ' ' || line[0] == '\t') return;
    const std::string name = Lower(line.substr(0, colon));
    const std::string value = Lower(Trimmed(line.substr(colon + 1)));
    if (name == "content-length" && IsDigits(value)) {
      side.has_length = true;
      side.content_length = std::stoull(value);
    } else if (name == "transfer-encoding" && value.ends_with("chunked")) {
      side.chunked = true;
    }
  }

  static void ChunkSize(Side& side, std::string_view text) {
    const size_t digits = std::min(text.find_first_not_of(kHexDigits), text.size());
    if (digits == 0 || digits > kMaxChunkDigits ||
        (digits < text.size() && text[digits] != ';' && text[digits] != ' ')) {
      side.state = State::kOpaque;
      return;
    }
    side.remaining = std::stoull(std::string(text.substr(0, digits)), nullptr, 16);
    side.state = side.remaining == 0 ? State::kTrailer : State::kChunkData;
  }

  static void EndOfHead(Side& side) {
    if (side.is_response &&
        (side.status == 101 || (side.method == 'C' && side.status / 100 == 2))) {
      side.state = State::kForever;
      return;
    }
    const bool bodiless = side.is_response && (side.status < 200 || side.status == 204 ||
                                               side.status == 304 || side.method == 'H');
    if (bodiless) {
      side.BeginMessage();
    } else if (side.chunked) {
      side.state = State::kChunkSize;
    } else if (side.has_length) {
      side.remaining = side.content_length;
      side.state = State::kBody;
      if (side.remaining == 0) side.BeginMessage();
    } else if (side.is_response) {
      side.state = State::kUntilClose;
    } else {
      side.BeginMessage();
    }
  }

  Side sides_[2];
  std::deque<char> outstanding_;
};

}  // namespace

bool LooksLikeHttp(std::string_view run) {
  if (run.starts_with("HTTP/1.")) return true;
  const size_t space = run.find(' ');
  return space != std::string_view::npos && Among(kMethods, run.substr(0, space));
}

std::unique_ptr<Blanker> MakeHttpBlanker() { return std::make_unique<HttpBlanker>(); }

}  // namespace zerotap
