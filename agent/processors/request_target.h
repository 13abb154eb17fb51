// Path and query of an HTTP request target in any of the four forms of RFC 9112 section 3.2. The
// authority-form of CONNECT (host:port) has neither.
#pragma once

#include <string_view>

namespace zerotap {

struct RequestTarget {
  std::string_view path;
  std::string_view query;
};

// What both say is borrowed from `target`.
RequestTarget SplitTarget(std::string_view method, std::string_view target);

}  // namespace zerotap
