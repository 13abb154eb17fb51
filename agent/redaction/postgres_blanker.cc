// PostgreSQL protocol 3: kept are the types and lengths of messages, SQL's own words and
// punctuation, command tags, severities and SQLSTATEs, transaction states. Names of prepared
// statements and portals become others, one for one.
#include <algorithm>
#include <array>
#include <cctype>
#include <string>

#include "agent/base/bytes.h"
#include "agent/base/hash.h"
#include "agent/redaction/blanker.h"

namespace zerotap {
namespace {

constexpr std::string_view kFrontendTypes = "BCDEFHPQSXcdfp";
constexpr std::string_view kBackendTypes = "123ACDEGHIKNRSTVWZcdnstv";
constexpr std::string_view kOnlyFrontend = "BPQXp";
constexpr std::string_view kOnlyBackend = "123RTZKI";
constexpr uint32_t kMaxLength = 1u << 24;  // text taken for a length is beyond it
constexpr uint32_t kMaxName = 64;             // of a prepared statement, of what is kept different
constexpr uint32_t kMaxTag = 64;              // of a command, with its numbers
constexpr uint32_t kProtocol3 = 196608, kCancel = 80877102, kSsl = 80877103, kGss = 80877104;

// Upper case. Words of SQL and of command tags; a value that is one of them says nothing.
constexpr std::array<std::string_view, 104> kSqlWords = {
    "ABORT",    "ADD",       "ALL",     "ALTER",    "ANALYZE",     "AND",       "ANY",
    "AS",       "ASC",       "BEGIN",   "BETWEEN",  "BY",          "CALL",      "CASCADE",
    "CASE",     "CAST",      "CLOSE",   "COALESCE", "COMMIT",      "CONFLICT",  "CONSTRAINT",
    "COPY",     "COUNT",     "CREATE",  "CROSS",    "CURSOR",      "DATABASE",  "DEALLOCATE",
    "DECLARE",  "DEFAULT",   "DELETE",  "DESC",     "DISCARD",     "DISTINCT",  "DO",
    "DROP",     "ELSE",      "END",     "EXCEPT",   "EXECUTE",     "EXISTS",    "EXPLAIN",
    "FALSE",    "FETCH",     "FIRST",   "FOR",      "FORWARD",     "FROM",      "FULL",
    "FUNCTION", "GROUP",     "HAVING",  "IF",       "IN",          "INDEX",     "INNER",
    "INSERT",   "INTERSECT", "INTO",    "IS",       "JOIN",        "KEY",       "LATERAL",
    "LEFT",     "LIKE",      "LIMIT",   "LISTEN",   "MOVE",        "NOT",       "NOTHING",
    "NOTIFY",   "NULL",      "OFFSET",  "ON",       "OR",          "ORDER",     "OUTER",
    "OVER",     "PARTITION", "PREPARE", "PRIMARY",  "RELEASE",     "RETURNING", "RIGHT",
    "ROLLBACK", "SAVEPOINT", "SCHEMA",  "SELECT",   "SET",         "SHOW",      "STDIN",
    "STDOUT",   "TABLE",     "THEN",    "TO",       "TRANSACTION", "TRUE",      "TRUNCATE",
    "UNION",    "UPDATE",    "USING",   "VALUES",   "WHERE",       "WITH"};
constexpr std::array<std::string_view, 9> kSeverities = {
    "ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "DEBUG", "INFO", "LOG", "x"};
constexpr std::array<std::string_view, 5> kStartupKeys = {"user", "database", "application_name",
                                                          "client_encoding", "replication"};

bool IsWordByte(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

template <typename Words>
bool Among(const Words& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// Words of `text` that are not SQL's own become x, numbers 0 unless `keep_numbers`. A word at an
// open edge may go on there.
void BlankSql(std::span<char> text, bool open_left, bool open_right, bool keep_numbers) {
  size_t at = 0;
  while (at < text.size()) {
    if (!IsWordByte(text[at])) {
      const bool control = static_cast<unsigned char>(text[at]) < ' ' && text[at] != '\n' &&
                           text[at] != '\t' && text[at] != '\r' && text[at] != '\0';
      if (control) text[at] = 'x';
      ++at;
      continue;
    }
    size_t end = at;
    std::string upper;
    bool number = true;
    while (end < text.size() && IsWordByte(text[end])) {
      number = number && IsDigit(text[end]);
      upper.push_back(static_cast<char>(std::toupper(static_cast<unsigned char>(text[end]))));
      ++end;
    }
    const bool cut = (open_left && at == 0) || (open_right && end == text.size());
    if (number && !keep_numbers) {
      std::fill(text.begin() + static_cast<long>(at), text.begin() + static_cast<long>(end), '0');
    } else if (cut || (!number && !Among(kSqlWords, upper))) {
      std::fill(text.begin() + static_cast<long>(at), text.begin() + static_cast<long>(end), 'x');
    }
    at = end;
  }
}

class PostgresBlanker final : public Blanker {
 public:
  PostgresBlanker(int frontend, bool startup, uint64_t key) : frontend_(frontend), key_(key) {
    sides_[frontend].startup = startup;
  }

  void Bytes(int direction, std::span<char> bytes, bool run_start) override {
    Side& side = sides_[direction];
    if (run_start && side.opaque) side.Restart();
    while (!bytes.empty()) {
      size_t done = bytes.size();
      if (side.opaque || encrypted_) {
        BlankOpaque(direction, bytes);
      } else if (direction != frontend_ && ssl_asked_) {
        done = SslAnswer(bytes);
      } else if (!side.in_body) {
        done = Header(direction, side, bytes);
      } else {
        done = std::min<size_t>(bytes.size(), side.remaining);
        Body(direction, side, bytes.first(done));
        side.remaining -= static_cast<uint32_t>(done);
        side.position += static_cast<uint32_t>(done);
        if (side.remaining == 0) side.EndFrame();
      }
      bytes = bytes.subspan(done);
    }
  }

  void Gap(int direction, uint64_t length) override {
    Side& side = sides_[direction];
    if (side.opaque) return;
    if (!side.in_body || length > side.remaining) {
      side.opaque = true;
      return;
    }
    side.remaining -= static_cast<uint32_t>(length);
    side.position += static_cast<uint32_t>(length);
    side.blind = true;
    if (side.remaining == 0) side.EndFrame();
  }

 private:
  struct Side {
    bool startup = false;  // the next message has no type
    bool opaque = false;   // where messages begin is not known, until the next run
    bool in_body = false;
    bool blind = false;  // part of this message is missing: nothing more of it is kept
    std::string header;
    char type = 0;  // 0: startup
    uint32_t remaining = 0;
    uint32_t position = 0;
    uint32_t field = 0;     // NULs so far
    uint32_t in_field = 0;  // bytes of the current field so far
    char error_field = 0;
    uint32_t code = 0;  // of a startup message

    void EndFrame() {
      in_body = blind = false;
      header.clear();
      position = field = in_field = 0;
      error_field = 0;
    }
    void Restart() {
      opaque = false;
      startup = false;
      EndFrame();
    }
  };

  // The state of a session after lost bytes is told by this message.
  void BlankOpaque(int direction, std::span<char> bytes) const {
    constexpr std::string_view kReady("Z\0\0\0\5", 5);
    size_t kept = 0;
    if (direction != frontend_ && !encrypted_ && bytes.size() >= 6) {
      const std::string_view last(bytes.data() + bytes.size() - 6, 6);
      if (last.starts_with(kReady) && (last[5] == 'I' || last[5] == 'T' || last[5] == 'E'))
        kept = 6;
    }
    std::fill(bytes.begin(), bytes.end() - static_cast<long>(kept), '\0');
  }

  size_t SslAnswer(std::span<char> bytes) {
    ssl_asked_ = false;
    if (bytes[0] == 'N') {
      sides_[frontend_].startup = true;
      return 1;
    }
    if (bytes[0] == 'S' || bytes[0] == 'G') {
      encrypted_ = true;
      return 1;
    }
    return 0;  // an error message, as from servers of old
  }

  // Type and length. What cannot be one is blanked with all that follows.
  size_t Header(int direction, Side& side, std::span<char> bytes) {
    const size_t size = side.startup ? 4 : 5;
    const size_t count = std::min(size - side.header.size(), bytes.size());
    side.header.append(bytes.data(), count);
    const size_t prefix = side.startup ? 0 : 1;
    const std::string_view types = direction == frontend_ ? kFrontendTypes : kBackendTypes;
    const bool possible = (side.startup || types.find(side.header[0]) != std::string_view::npos) &&
                          (side.header.size() <= prefix || side.header[prefix] == '\0');
    uint32_t length = 0;
    if (possible && side.header.size() == size) {
      length = ByteReader(AsBytes(side.header).subspan(prefix)).U32();
    }
    if (!possible || (side.header.size() == size && (length < 4 || length > kMaxLength))) {
      side.EndFrame();
      side.opaque = true;
      return 0;
    }
    if (side.header.size() < size) return count;
    side.type = side.startup ? '\0' : side.header[0];
    side.startup = false;
    side.in_body = true;
    side.remaining = length - 4;
    if (side.remaining == 0) side.EndFrame();
    return count;
  }

  void Body(int direction, Side& side, std::span<char> bytes) {
    if (side.blind) {
      std::fill(bytes.begin(), bytes.end(), '\0');
    } else if (side.type == '\0') {
      Startup(side, bytes);
    } else if (direction == frontend_) {
      Frontend(side, bytes);
    } else {
      Backend(side, bytes);
    }
  }

  // Calls `on_field(text, field, open_left, open_right)` for each NUL-terminated text of the
  // message.
  template <typename OnField>
  void Fields(Side& side, std::span<char> bytes, OnField on_field) {
    while (!bytes.empty()) {
      const auto nul = std::find(bytes.begin(), bytes.end(), '\0');
      const bool ended = nul != bytes.end();
      const auto size = static_cast<size_t>(nul - bytes.begin());
      if (size > 0) on_field(bytes.first(size), side.field, side.in_field > 0, !ended);
      side.in_field += static_cast<uint32_t>(size);
      if (ended) {
        ++side.field;
        side.in_field = 0;
      }
      bytes = bytes.subspan(size + (ended ? 1 : 0));
    }
  }

  void Startup(Side& side, std::span<char> bytes) {
    const uint32_t kept =
        side.position < 4
            ? std::min<uint32_t>(4 - side.position, static_cast<uint32_t>(bytes.size()))
            : 0;
    for (uint32_t i = 0; i < kept; ++i)
      side.code = side.code << 8 | static_cast<unsigned char>(bytes[i]);
    if (side.position + kept == 4 && kept > 0) {
      if (side.code == kSsl || side.code == kGss) {
        ssl_asked_ = true;
        side.startup = true;
      } else if (side.code != kProtocol3 && side.code != kCancel) {
        std::fill(bytes.begin(), bytes.end(), '\0');
      }
    }
    std::span<char> rest = bytes.subspan(kept);
    if (side.code != kProtocol3) {
      std::fill(rest.begin(), rest.end(), '\0');
      return;
    }
    Fields(side, rest, [](std::span<char> text, uint32_t field, bool left, bool right) {
      const bool key = field % 2 == 0 && !left && !right;
      if (!key || !Among(kStartupKeys, std::string_view(text.data(), text.size()))) BlankText(text);
    });
  }

  // Letters and digits become others: which, depends on where they stand and on the key, so names
  // stay different.
  void BlankName(std::span<char> name, uint32_t position) const {
    constexpr std::string_view kAlphabet =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (char& c : name) {
      const size_t index = kAlphabet.find(c);
      const bool kept = index != std::string_view::npos && position < kMaxName;
      const uint64_t shift = CombineHash(key_, position++) % kAlphabet.size();
      c = kept ? kAlphabet[(index + shift) % kAlphabet.size()] : '_';
    }
  }

  void Frontend(Side& side, std::span<char> bytes) {
    const char type = side.type;
    if (type == 'Q') {
      Fields(side, bytes, [](std::span<char> text, uint32_t, bool left, bool right) {
        BlankSql(text, left, right, false);
      });
    } else if (type == 'P' || type == 'B' || type == 'E' || type == 'D' || type == 'C') {
      if ((type == 'D' || type == 'C') && side.position == 0)
        bytes = bytes.subspan(1);  // statement or portal
      const uint32_t texts = type == 'P' || type == 'B' ? 2 : 1;
      while (!bytes.empty() && side.field < texts) {
        const auto nul = std::find(bytes.begin(), bytes.end(), '\0');
        const bool ended = nul != bytes.end();
        const auto size = static_cast<size_t>(nul - bytes.begin());
        if (type == 'P' && side.field == 1) {
          BlankSql(bytes.first(size), side.in_field > 0, !ended, false);
        } else {
          BlankName(bytes.first(size), side.in_field);
        }
        side.in_field = ended ? 0 : side.in_field + static_cast<uint32_t>(size);
        side.field += ended ? 1 : 0;
        bytes = bytes.subspan(size + (ended ? 1 : 0));
      }
      if (type == 'E' && side.field == texts) {  // then a number of rows
        const size_t kept =
            std::min<size_t>(side.in_field < 4 ? 4 - side.in_field : 0, bytes.size());
        side.in_field += static_cast<uint32_t>(kept);
        bytes = bytes.subspan(kept);
      }
      std::fill(bytes.begin(), bytes.end(), '\0');
    } else {
      std::fill(bytes.begin(), bytes.end(), '\0');
    }
  }

  void Backend(Side& side, std::span<char> bytes) {
    const char type = side.type;
    uint32_t kept = 0;
    if (type == 'C') {
      const bool is_tag = side.position + side.remaining <= kMaxTag;
      Fields(side, bytes, [is_tag](std::span<char> text, uint32_t field, bool left, bool right) {
        BlankSql(text, left, right, is_tag && field == 0);
      });
      return;
    }
    if (type == 'E' || type == 'N') {
      ErrorFields(side, bytes);
      return;
    }
    if (type == 'Z') kept = 1;
    if (type == 'G' || type == 'H' || type == 'W') kept = 3;  // format and number of columns
    if (type == 'R') kept = 4;
    if (type == 'T' || type == 'D') kept = 2;
    const size_t skip =
        side.position >= kept ? 0 : std::min<size_t>(kept - side.position, bytes.size());
    std::fill(bytes.begin() + static_cast<long>(skip), bytes.end(), '\0');
  }

  void ErrorFields(Side& side, std::span<char> bytes) {
    Fields(side, bytes, [&side](std::span<char> text, uint32_t, bool left, bool right) {
      if (!left) {
        side.error_field = text[0];
        text = text.subspan(1);
      }
      const std::string_view value(text.data(), text.size());
      const bool whole = !left && !right;
      const bool severity =
          (side.error_field == 'S' || side.error_field == 'V') && Among(kSeverities, value);
      const bool state = side.error_field == 'C' && value.size() == 5 &&
                         std::all_of(value.begin(), value.end(),
                                     [](char c) { return IsDigit(c) || (c >= 'A' && c <= 'Z'); });
      if (!whole || !(severity || state)) BlankText(text);
    });
  }

  const int frontend_;
  const uint64_t key_;
  Side sides_[2];
  bool ssl_asked_ = false;
  bool encrypted_ = false;
};

}  // namespace

bool IsPostgresStartup(std::string_view run) {
  ByteReader reader(AsBytes(run));
  const uint32_t length = reader.U32();
  const uint32_t code = reader.U32();
  return reader.ok() && length >= 8 && length <= 10000 &&
         (code == kProtocol3 || code == kCancel || code == kSsl || code == kGss);
}

int PostgresFrontend(int direction, std::string_view run) {
  if (IsPostgresStartup(run)) return direction;
  if (run.size() < 5 || run[1] != '\0') return -1;
  if (kOnlyFrontend.find(run[0]) != std::string_view::npos) return direction;
  return kOnlyBackend.find(run[0]) != std::string_view::npos ? 1 - direction : -1;
}

std::unique_ptr<Blanker> MakePostgresBlanker(int frontend, bool startup, uint64_t key) {
  return std::make_unique<PostgresBlanker>(frontend, startup, key);
}

}  // namespace zerotap
