#include <array>

#include "agent/protocols/http1.h"
#include "agent/protocols/protocol.h"

namespace zerotap {

std::span<const Protocol> Protocols() {
  static const std::array kProtocols = {
      kHttp1Protocol,
  };
  return kProtocols;
}

}  // namespace zerotap
