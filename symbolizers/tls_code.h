// Whether a program carries TLS code of its own, which no mapped library shows.
#pragma once

#include <string>

namespace zerotap {

// "OpenSSL in the program" (Node and others that link it statically), "crypto/tls" (Go), else empty. Reads
// names only, and of huge programs only a part: empty is no proof.
std::string TlsCodeOf(const std::string& file);

}  // namespace zerotap
