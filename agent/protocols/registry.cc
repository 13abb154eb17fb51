#include <algorithm>
#include <array>

#include "agent/protocols/http1.h"
#include "agent/protocols/postgres.h"
#include "agent/protocols/protocol.h"

namespace zerotap {

std::span<const Protocol> Protocols() {
  static const std::array kProtocols = {
      kHttp1Protocol,
      kPostgresProtocol,
  };
  return kProtocols;
}

std::vector<const Protocol*> EnabledProtocols(const std::vector<std::string>& disabled) {
  std::vector<const Protocol*> enabled;
  for (const Protocol& protocol : Protocols()) {
    if (std::find(disabled.begin(), disabled.end(), protocol.name) == disabled.end()) {
      enabled.push_back(&protocol);
    }
  }
  return enabled;
}

}  // namespace zerotap
