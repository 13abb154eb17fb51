// PostgreSQL, frontend/backend protocol 3.0 to 3.2: detection and parser (PostgreSQL documentation,
// chapter "Frontend/Backend Protocol").
#pragma once

#include "agent/protocols/protocol.h"

namespace zerotap {

extern const Protocol kPostgresProtocol;

}  // namespace zerotap
