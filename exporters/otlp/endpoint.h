// Endpoint rules of the OTLP exporter specification (protocol/exporter.md).
#pragma once

#include <string>
#include <string_view>

#include "agent/base/result.h"

namespace zerotap::otlp {

// The URL of one signal ("traces", "metrics"): `signal_endpoint` verbatim (no path means "/"), else
// `base` with "v1/<signal>" appended to its path, else http://localhost:4318/v1/<signal>.
Result<std::string> SignalUrl(std::string_view base, std::string_view signal_endpoint,
                              std::string_view signal);

// The URL of the gRPC call that takes one signal. An endpoint has a scheme, which decides about
// TLS, or is host:port, where `insecure` does. Its path means nothing to gRPC. Without any:
// http://localhost:4317.
Result<std::string> GrpcCallUrl(std::string_view base, std::string_view signal_endpoint,
                                bool insecure, std::string_view signal);

// Does an endpoint name the loopback interface: localhost, 127.0.0.0/8 or ::1? Empty is the default one.
bool LeadsToThisHost(std::string_view endpoint);

// For messages: without user name, password, query and fragment.
std::string WithoutSecrets(std::string_view url);

// scheme://host[:port], without credentials.
std::string Origin(std::string_view url);

}  // namespace zerotap::otlp
