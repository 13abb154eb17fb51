// The load generator's engine: requests over many connections, closed loop or at a fixed rate.
//
// At a fixed rate a request's latency counts from when it was due, not from when it could be sent:
// a server that stalls is charged for all who waited (no coordinated omission).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace zerotap::bench {

struct LoadOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;
  size_t connections = 1;
  double seconds = 1;
  double rate = 0;  // requests a second; 0: each connection as fast as it is answered
  bool connection_per_request = false;  // the response ends with the connection
  uint64_t response_bytes = 0;          // exact size of a response; 0: HTTP, by its Content-Length
  std::vector<std::string> requests;    // sent in turn
};

struct LoadResult {
  uint64_t requests = 0;          // answered
  uint64_t requests_in_time = 0;  // of them before the time was over
  uint64_t errors = 0;            // not answered, or not with what was expected
  uint64_t unsent = 0;            // due, but no connection was free until long after the end
  uint64_t response_bytes = 0;
  double seconds = 0;
  std::vector<uint64_t> latencies_ns;
  std::string failure;  // why nothing could be measured
};

LoadResult RunLoad(const LoadOptions& options);

// Streams the result sets of `query` from a PostgreSQL server, `count` times, and throws them away.
struct StreamOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;
  std::string user = "postgres";
  std::string database;
  std::string query;
  uint64_t count = 1;
};
LoadResult StreamPostgres(const StreamOptions& options);

// A connected stream socket without Nagle's delay, or -1 with errno.
int ConnectTo(const std::string& address, uint16_t port, bool nonblocking);

}  // namespace zerotap::bench
