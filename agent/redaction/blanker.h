// Blanks what one connection carried, in place and length for length, so that it can be parsed as
// before and says nothing of its users. A blanker keeps what it knows to be framing or a word of
// the protocol itself and blanks the rest, so a stream that is not what it seems leaks nothing
// either.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace zerotap {

class Blanker {
 public:
  virtual ~Blanker() = default;
  // The next bytes of a direction (0 or 1). `run_start`: the other direction spoke before.
  virtual void Bytes(int direction, std::span<char> bytes, bool run_start) = 0;
  // Bytes of a direction that are not there.
  virtual void Gap(int direction, uint64_t length) = 0;
};

// By the first bytes of a run. Null when they are the beginning of nothing that is known.
std::unique_ptr<Blanker> BlankerFor(int direction, std::string_view run, uint64_t key);

std::unique_ptr<Blanker> MakeHttpBlanker();
bool LooksLikeHttp(std::string_view run);
// `frontend`: the direction in which the client of the database speaks; `startup`: its first
// message is next. `key` hides the names of prepared statements.
std::unique_ptr<Blanker> MakePostgresBlanker(int frontend, bool startup, uint64_t key);
bool IsPostgresStartup(std::string_view run);
// The direction in which the client speaks, given one that begins with `run`; -1: not PostgreSQL,
// or not to be told.
int PostgresFrontend(int direction, std::string_view run);

// Every byte but space, tab, CR, LF and NUL.
void BlankText(std::span<char> bytes);

}  // namespace zerotap
