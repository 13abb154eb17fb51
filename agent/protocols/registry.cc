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

}  // namespace zerotap
