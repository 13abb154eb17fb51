// bench_load: the load generator of tests/bench/run. Prints one JSON line.
//
//   bench_load exchange --port P --request FILE... [--connections N] [--seconds S] [--rate R]
//                       [--response-bytes N] [--connection-per-request]
//   bench_load postgres --port P --database D --query SQL [--count N]
//
// Without --response-bytes a response is HTTP with a Content-Length and status 200. With --rate the
// latencies count from the instant at which a request was due.
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "tests/bench/programs/exchange_load.h"

namespace zerotap::bench {
namespace {

int Usage(const std::string& problem) {
  std::fprintf(stderr, "bench_load: %s\n", problem.c_str());
  return 2;
}

double Percentile(std::vector<uint64_t>& sorted_ns, double part) {
  if (sorted_ns.empty()) return 0;
  const auto last = static_cast<double>(sorted_ns.size() - 1);
  return static_cast<double>(sorted_ns[static_cast<size_t>(last * part + 0.5)]) / 1000;
}

int Report(LoadResult& result) {
  if (!result.failure.empty()) return Usage(result.failure);
  std::sort(result.latencies_ns.begin(), result.latencies_ns.end());
  const double seconds = result.seconds > 0 ? result.seconds : 1;
  std::printf(
      "{\"requests\": %llu, \"errors\": %llu, \"unsent\": %llu, \"bytes\": %llu, \"seconds\": "
      "%.6f, "
      "\"requests_per_second\": %.3f, \"p50_us\": %.3f, \"p99_us\": %.3f, \"p999_us\": %.3f, "
      "\"max_us\": %.3f}\n",
      static_cast<unsigned long long>(result.requests),
      static_cast<unsigned long long>(result.errors),
      static_cast<unsigned long long>(result.unsent),
      static_cast<unsigned long long>(result.response_bytes), result.seconds,
      static_cast<double>(result.requests_in_time) / seconds, Percentile(result.latencies_ns, 0.5),
      Percentile(result.latencies_ns, 0.99), Percentile(result.latencies_ns, 0.999),
      Percentile(result.latencies_ns, 1));
  return 0;
}

int Main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  if (argc < 2) return Usage("exchange or postgres?");
  const std::string mode = argv[1];
  LoadOptions load;
  StreamOptions stream;
  for (int i = 2; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--connection-per-request") {
      load.connection_per_request = true;
      continue;
    }
    if (++i == argc) return Usage(flag + " has no value");
    const char* value = argv[i];
    if (flag == "--port") {
      load.port = stream.port = static_cast<uint16_t>(std::atoi(value));
    } else if (flag == "--connections") {
      load.connections = std::strtoul(value, nullptr, 10);
    } else if (flag == "--seconds") {
      load.seconds = std::atof(value);
    } else if (flag == "--rate") {
      load.rate = std::atof(value);
    } else if (flag == "--response-bytes") {
      load.response_bytes = std::strtoull(value, nullptr, 10);
    } else if (flag == "--request") {
      std::ifstream file(value, std::ios::binary);
      if (!file) return Usage(std::string("cannot read ") + value);
      load.requests.emplace_back(std::istreambuf_iterator<char>(file),
                                 std::istreambuf_iterator<char>());
    } else if (flag == "--database") {
      stream.database = value;
    } else if (flag == "--query") {
      stream.query = value;
    } else if (flag == "--count") {
      stream.count = std::strtoull(value, nullptr, 10);
    } else {
      return Usage("unknown option " + flag);
    }
  }
  if (load.port == 0) return Usage("--port is missing");
  LoadResult result;
  if (mode == "postgres") {
    result = StreamPostgres(stream);
  } else if (mode == "exchange") {
    if (load.requests.empty()) return Usage("--request is missing");
    if (load.connections == 0 || load.seconds <= 0) return Usage("nothing to do");
    result = RunLoad(load);
  } else {
    return Usage("unknown mode " + mode);
  }
  return Report(result);
}

}  // namespace
}  // namespace zerotap::bench

int main(int argc, char** argv) { return zerotap::bench::Main(argc, argv); }
