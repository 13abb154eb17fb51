#include "agent/redaction/blanker.h"

namespace zerotap {

std::unique_ptr<Blanker> BlankerFor(int direction, std::string_view run, uint64_t key) {
  if (LooksLikeHttp(run)) return MakeHttpBlanker();
  const int frontend = PostgresFrontend(direction, run);
  return frontend < 0 ? nullptr : MakePostgresBlanker(frontend, IsPostgresStartup(run), key);
}

void BlankText(std::span<char> bytes) {
  for (char& c : bytes) {
    if (c != ' ' && c != '\t' && c != '\r' && c != '\n' && c != '\0') c = 'x';
  }
}

}  // namespace zerotap
