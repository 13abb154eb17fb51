// HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112) of either end of a connection.
#pragma once

#include "agent/protocols/protocol.h"

namespace zerotap {

extern const Protocol kHttp1Protocol;

}  // namespace zerotap
