// What the scripted peers say to each other: conversations of exact bytes, so that the spans that
// come of them are known beforehand (tests/kernels/judge.py has them).
#pragma once

#include <string>
#include <vector>

namespace zerotap::peers {

// One side says `request`, the other answers with `response`. `cut` > 0: the request goes out in
// two calls, the first of so many bytes. No span comes of a turn that is not `counted`.
struct Turn {
  std::string request;
  std::string response;
  size_t cut = 0;
  bool counted = true;
};

// A keep-alive connection. An `index` >= 0 makes the first path tell it, for endless repetition.
std::vector<Turn> HttpConversation();
Turn HttpLoadTurn(int index);
std::vector<Turn> PostgresConversation();

}  // namespace zerotap::peers
