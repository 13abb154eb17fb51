// How many instructions the verifier went through for each program. Kernels since 5.16 say so of a
// loaded program; before, it is only in the verifier's log, so the programs are loaded once more
// with that log.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace zerotap::conformance {

std::map<std::string, uint64_t> ReadVerifierCosts(const std::vector<std::string>& programs);

}  // namespace zerotap::conformance
