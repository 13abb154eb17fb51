// A receiver of OTLP over HTTP that reads what it gets, counts it and throws it away.
#pragma once

#include <cstdint>

namespace zerotap::bench {

// Serves on the loopback port until the process ends: POST is answered with 200, GET with
// {"requests": N, "bytes": N} of the bodies so far. Returns only when it cannot begin.
int RunReceiver(uint16_t port);

}  // namespace zerotap::bench
