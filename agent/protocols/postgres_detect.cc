// Recognises PostgreSQL in the first bytes of a connection or of a run. Every message that is
// looked at must be right to its last byte, and there must be enough of them that other protocols
// and random bytes cannot pass.
#include <algorithm>
#include <string_view>

#include "agent/protocols/postgres_frames.h"
#include "agent/protocols/postgres_messages.h"
#include "agent/protocols/postgres_session.h"
#include "agent/protocols/postgres_sql.h"

namespace zerotap::postgres {
namespace {

// What a piece of stream says: impossible, possible but weak, or beyond doubt.
enum class Verdict : uint8_t { kNo, kMaybe, kYes };

// Reads what is there of a body; a value that lies past the captured bytes is not wrong, only
// unknown.
class BodyReader {
 public:
  BodyReader(std::string_view captured, size_t length) : captured_(captured), length_(length) {}

  uint32_t Unsigned(size_t width) {
    uint32_t value = 0;
    for (size_t i = 0; i < width; ++i) {
      if (position_ + i < captured_.size()) {
        value = value << 8 | static_cast<unsigned char>(captured_[position_ + i]);
      } else {
        short_ = true;
      }
    }
    Advance(width);
    return value;
  }
  void Advance(size_t count) {
    if (position_ + count > length_) wrong_ = true;
    position_ += count;
  }
  // A NUL-terminated text without control characters.
  std::string_view Text() {
    size_t begin = std::min(position_, captured_.size());
    size_t end = captured_.find('\0', begin);
    if (end == std::string_view::npos) {
      short_ = true;
      end = captured_.size();
      if (captured_.size() >= length_) wrong_ = true;
    }
    std::string_view text = captured_.substr(begin, end - begin);
    for (char c : text) {
      unsigned char u = static_cast<unsigned char>(c);
      if ((u < 0x20 && c != '\t' && c != '\n' && c != '\r' && c != '\f') || u == 0x7f)
        wrong_ = true;
    }
    position_ = end + 1;
    return text;
  }
  bool wrong() const { return wrong_; }
  bool cut() const { return short_ || position_ > captured_.size(); }
  // Everything was there and the body ends here.
  bool complete() const { return !wrong_ && !cut() && position_ == length_; }
  size_t position() const { return position_; }

 private:
  std::string_view captured_;
  size_t length_;
  size_t position_ = 0;
  bool wrong_ = false;
  bool short_ = false;
};

Verdict Of(const BodyReader& body, Verdict complete) {
  if (body.wrong()) return Verdict::kNo;
  if (body.cut()) return Verdict::kMaybe;
  return body.complete() ? complete : Verdict::kNo;
}

bool IsSqlStart(std::string_view text) {
  constexpr std::string_view kKeywords[] = {"SELECT",
                                            "INSERT",
                                            "UPDATE",
                                            "DELETE",
                                            "WITH",
                                            "BEGIN",
                                            "START",
                                            "COMMIT",
                                            "ROLLBACK",
                                            "SET",
                                            "SHOW",
                                            "CREATE",
                                            "ALTER",
                                            "DROP",
                                            "COPY",
                                            "VALUES",
                                            "MERGE",
                                            "END",
                                            "CALL",
                                            "DO",
                                            "EXPLAIN",
                                            "VACUUM",
                                            "ANALYZE",
                                            "TRUNCATE",
                                            "LISTEN",
                                            "NOTIFY",
                                            "UNLISTEN",
                                            "FETCH",
                                            "MOVE",
                                            "CLOSE",
                                            "DECLARE",
                                            "EXECUTE",
                                            "PREPARE",
                                            "DEALLOCATE",
                                            "DISCARD",
                                            "LOCK",
                                            "RESET",
                                            "SAVEPOINT",
                                            "RELEASE",
                                            "GRANT",
                                            "REVOKE",
                                            "REINDEX",
                                            "CLUSTER",
                                            "REFRESH",
                                            "TABLE",
                                            "COMMENT",
                                            "ABORT",
                                            "CHECKPOINT",
                                            "IDENTIFY_SYSTEM",
                                            "START_REPLICATION"};
  char buffer[16];
  std::string_view keyword = FirstKeyword(text, buffer);
  return std::any_of(std::begin(kKeywords), std::end(kKeywords), [&](std::string_view known) {
    return keyword == known.substr(0, sizeof(buffer));
  });
}

Verdict FrontendBody(char type, std::string_view captured, size_t length) {
  BodyReader body(captured, length);
  switch (type) {
    case 'Q': {
      std::string_view text = body.Text();
      if (body.wrong() || (!body.cut() && !body.complete())) return Verdict::kNo;
      if (IsSqlStart(text))
        return body.complete() || text.size() >= 32 ? Verdict::kYes : Verdict::kMaybe;
      return body.complete() && text.size() >= 2 ? Verdict::kYes : Verdict::kMaybe;
    }
    case 'P': {
      body.Text();
      std::string_view text = body.Text();
      size_t types = body.Unsigned(2);
      if (!body.cut()) body.Advance(4 * types);
      Verdict verdict = Of(body, text.empty() ? Verdict::kMaybe : Verdict::kYes);
      return verdict == Verdict::kMaybe && text.size() >= 32 && IsSqlStart(text) ? Verdict::kYes
                                                                                 : verdict;
    }
    case 'B': {
      body.Text();
      body.Text();
      size_t formats = body.Unsigned(2);
      for (size_t i = 0; i < formats && !body.cut() && !body.wrong(); ++i) {
        if (body.Unsigned(2) > 1) return Verdict::kNo;
      }
      size_t values = body.cut() ? 0 : body.Unsigned(2);
      if (!body.cut() && formats > 1 && formats != values) return Verdict::kNo;
      for (size_t i = 0; i < values && !body.cut() && !body.wrong(); ++i) {
        uint32_t size = body.Unsigned(4);
        if (size != UINT32_MAX) body.Advance(size);
      }
      size_t results = body.cut() ? 0 : body.Unsigned(2);
      for (size_t i = 0; i < results && !body.cut() && !body.wrong(); ++i) {
        if (body.Unsigned(2) > 1) return Verdict::kNo;
      }
      return Of(body, Verdict::kMaybe);
    }
    case 'D':
    case 'C': {
      uint32_t kind = body.Unsigned(1);
      if (!body.cut() && kind != 'S' && kind != 'P') return Verdict::kNo;
      body.Text();
      return Of(body, Verdict::kMaybe);
    }
    case 'E':
      body.Text();
      if (body.Unsigned(4) > INT32_MAX) return Verdict::kNo;
      return Of(body, Verdict::kMaybe);
    case 'S':
    case 'H':
    case 'X':
    case 'd':
    case 'c':
    case 'f':
      return Verdict::kMaybe;
    default:  // an answer to an authentication request or a function call begins no run that we can
              // tell
      return Verdict::kNo;
  }
}

Verdict BackendBody(char type, std::string_view captured, size_t length) {
  BodyReader body(captured, length);
  switch (type) {
    case 'Z': {
      uint32_t status = body.Unsigned(1);
      if (body.cut()) return Verdict::kMaybe;
      return status == 'I' || status == 'T' || status == 'E' ? Verdict::kYes : Verdict::kNo;
    }
    case 'C': {
      std::string_view tag = body.Text();
      if (body.wrong()) return Verdict::kNo;
      if (body.cut()) return Verdict::kMaybe;
      return body.complete() && ParseCommandTag(tag).valid ? Verdict::kMaybe : Verdict::kNo;
    }
    case 'E':
    case 'N': {
      if (captured.size() < length) return Verdict::kMaybe;
      ErrorFields fields = ParseErrorFields(captured);
      return fields.whole && !fields.sql_state.empty() ? Verdict::kMaybe : Verdict::kNo;
    }
    case 'T': {
      size_t columns = body.Unsigned(2);
      for (size_t i = 0; i < columns && !body.cut() && !body.wrong(); ++i) {
        body.Text();
        body.Advance(16);
        if (body.Unsigned(2) > 1 && !body.cut()) return Verdict::kNo;
      }
      return Of(body, Verdict::kMaybe);
    }
    case 'D': {
      size_t columns = body.Unsigned(2);
      for (size_t i = 0; i < columns && !body.cut() && !body.wrong(); ++i) {
        uint32_t size = body.Unsigned(4);
        if (size != UINT32_MAX && !body.cut()) body.Advance(size);
      }
      return Of(body, Verdict::kMaybe);
    }
    case 't': {
      size_t types = body.Unsigned(2);
      body.Advance(4 * types);
      return Of(body, Verdict::kMaybe);
    }
    case 'S':
      body.Text();
      body.Text();
      return Of(body, Verdict::kMaybe);
    case 'R':
    case 'K':
    case '1':
    case '2':
    case '3':
    case 'n':
    case 's':
    case 'I':
    case 'c':
    case 'd':
    case 'A':
    case 'G':
    case 'H':
    case 'V':
      return Verdict::kMaybe;
    default:
      return Verdict::kNo;
  }
}

// Messages from the beginning of `text` to its end, the last one possibly cut off.
Verdict Messages(Side side, std::string_view text) {
  size_t position = 0;
  size_t messages = 0;
  bool strong = false;
  bool executes = false;
  while (position < text.size()) {
    std::string_view rest = text.substr(position);
    if (rest.size() < kHeaderBytes) {
      // The shortest lengths that can begin so; a type that does not exist is refused at once.
      bool type_exists = false;
      for (uint32_t length : {4u, 5u, 8u, 12u, 16u, 64u}) {
        type_exists = type_exists || PlausibleHeader(side, rest[0], length);
      }
      if (!type_exists || (rest.size() > 1 && static_cast<unsigned char>(rest[1]) >= 0x40))
        return Verdict::kNo;
      break;
    }
    const char type = rest[0];
    const uint32_t length = ReadUint32(rest.data() + 1);
    if (!PlausibleHeader(side, type, length)) return Verdict::kNo;
    std::string_view body = rest.substr(kHeaderBytes, length - 4);
    Verdict verdict = side == Side::kFrontend ? FrontendBody(type, body, length - 4)
                                              : BackendBody(type, body, length - 4);
    if (verdict == Verdict::kNo) return Verdict::kNo;
    const bool complete = body.size() == length - 4;
    if (side == Side::kFrontend) {
      strong = strong || verdict == Verdict::kYes;
      executes = executes || (type == 'E' && complete);
      // Bind or Execute of a prepared statement, up to Sync or Flush.
      if ((type == 'S' || type == 'H') && executes && messages >= 1) strong = true;
    } else {
      // A ReadyForQuery with something before it; alone it is too short to be sure.
      strong = strong || (type == 'Z' && verdict == Verdict::kYes && messages >= 1);
    }
    if (complete) ++messages;
    position += std::min<size_t>(rest.size(), size_t{1} + length);
  }
  return strong ? Verdict::kYes : Verdict::kMaybe;
}

// The packet that begins a connection.
Verdict Startup(std::string_view text) {
  constexpr std::string_view kNames[] = {
      "user",     "database",    "application_name",   "client_encoding", "options",   "DateStyle",
      "TimeZone", "replication", "extra_float_digits", "search_path",     "datestyle", "timezone"};
  constexpr size_t kPrefix = 8;
  unsigned char head[kPrefix] = {};
  std::copy_n(text.begin(), std::min(text.size(), kPrefix), reinterpret_cast<char*>(head));
  // Both numbers are small or well known: a prefix is checked as far as it goes.
  if (text.size() < kPrefix) {
    if (text.size() >= 1 && head[0] != 0) return Verdict::kNo;
    if (text.size() >= 2 && head[1] != 0) return Verdict::kNo;
    if (text.size() >= 3 && head[2] > kMaxStartupBytes >> 8) return Verdict::kNo;
    if (text.size() >= 5 && head[4] != 0 && head[4] != 4) return Verdict::kNo;
    if (text.size() >= 6 && head[5] != 3 && head[5] != 0xd2) return Verdict::kNo;
    return Verdict::kMaybe;
  }
  const uint32_t length = ReadUint32(text.data());
  const uint32_t code = ReadUint32(text.data() + 4);
  if (code == kSslRequestCode || code == kGssEncRequestCode)
    return length == 8 ? Verdict::kYes : Verdict::kNo;
  if (code == kCancelRequestCode)
    return length >= 16 && length <= 268 ? Verdict::kYes : Verdict::kNo;
  if (code >> 16 != kProtocolMajor || length < 16 || length > kMaxStartupBytes) return Verdict::kNo;
  std::string_view body = text.substr(kPrefix, length - kPrefix);
  const bool whole = text.size() >= length;
  if (text.size() > length) return Verdict::kNo;  // the frontend waits for an answer
  if (whole && (body.back() != '\0' || body[body.size() - 2] != '\0')) return Verdict::kNo;
  bool has_user = false;
  bool first_known = false;
  bool first = true;
  while (!body.empty() && body != std::string_view("\0", 1)) {
    std::optional<std::string_view> name = TakeText(body);
    std::optional<std::string_view> value = name ? TakeText(body) : std::nullopt;
    if (!value) {
      if (whole) return Verdict::kNo;
      break;
    }
    has_user = has_user || *name == "user";
    if (name->empty()) return Verdict::kNo;
    for (char c : *name) {
      if (c <= ' ' || c > '~') return Verdict::kNo;
    }
    bool known = std::find(std::begin(kNames), std::end(kNames), *name) != std::end(kNames) ||
                 name->substr(0, 5) == "_pq_.";
    if (first) first_known = known;
    first = false;
  }
  if (whole) return has_user ? Verdict::kYes : Verdict::kNo;
  return first_known ? Verdict::kYes : Verdict::kMaybe;
}

}  // namespace

DetectResult Detect(const DetectInput& input) {
  struct View {
    std::string_view text;
    bool at_run_start;
    Role role_if_frontend;  // of this end, when this direction carries the frontend's bytes
  };
  const View views[] = {{input.egress, input.egress_at_run_start, Role::kClient},
                        {input.ingress, input.ingress_at_run_start, Role::kServer}};
  DetectResult result;
  bool undecided = input.egress.empty() && input.ingress.empty();
  for (const View& view : views) {
    if (view.text.empty()) continue;
    const Role other = view.role_if_frontend == Role::kClient ? Role::kServer : Role::kClient;
    Verdict frontend = Verdict::kNo;
    Verdict backend = Verdict::kNo;
    if (view.text[0] == '\0') {
      frontend = Startup(view.text);
    } else if (!input.from_first_byte && view.at_run_start) {
      frontend = Messages(Side::kFrontend, view.text);
      backend = Messages(Side::kBackend, view.text);
    } else if (!input.from_first_byte) {
      undecided = true;  // the middle of something
    }
    if (frontend == Verdict::kYes || backend == Verdict::kYes) {
      // The same bytes cannot be both; that they seem so means that they are neither.
      if (frontend == backend) return {};
      Role role = frontend == Verdict::kYes ? view.role_if_frontend : other;
      if (result.match == Match::kYes && result.role != role) return {};
      result = {Match::kYes, role};
    }
    undecided = undecided || frontend == Verdict::kMaybe || backend == Verdict::kMaybe;
  }
  if (result.match == Match::kYes) return result;
  result.match = undecided ? Match::kNeedMore : Match::kNo;
  return result;
}

}  // namespace zerotap::postgres
