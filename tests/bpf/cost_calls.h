// The calls that bpf_cost measures, and how it measures them.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <vector>

#include "agent/base/clock.h"
#include "agent/base/unique_fd.h"

namespace zerotap {

inline constexpr int kBatch = 100;
inline constexpr int kBatches = 600;

struct Pair {
  UniqueFd first;
  UniqueFd second;
};

inline Pair UnixPair() {
  int fds[2] = {-1, -1};
  ::socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

inline Pair TcpPair() {
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size);
  ::listen(listener.get(), 1);
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  Pair pair;
  pair.first.Reset(::socket(AF_INET, SOCK_STREAM, 0));
  ::connect(pair.first.get(), reinterpret_cast<sockaddr*>(&address), size);
  pair.second.Reset(::accept(listener.get(), nullptr, nullptr));
  int one = 1;
  ::setsockopt(pair.first.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  return pair;
}

// Nanoseconds (tenth percentile, the machine may be busy) of a call (half of them sends, half
// receives).
inline double RunCalls(const Pair& pair, size_t size, const std::function<void()>& drain,
                       bool gathered = false) {
  std::vector<char> bytes(size, 'x');
  const iovec segments[2] = {{bytes.data(), size / 2}, {bytes.data(), size - size / 2}};
  std::vector<double> batches;
  for (int batch = 0; batch < kBatches; ++batch) {
    uint64_t begin = MonotonicNs();
    for (int i = 0; i < kBatch; ++i) {
      const ssize_t sent = gathered ? ::writev(pair.first.get(), segments, 2)
                                    : ::write(pair.first.get(), bytes.data(), size);
      if (sent < 0) std::abort();
      if (::read(pair.second.get(), bytes.data(), size) < 0) std::abort();
    }
    batches.push_back(static_cast<double>(MonotonicNs() - begin) / (2.0 * kBatch));
    if (drain) drain();
  }
  std::nth_element(batches.begin(), batches.begin() + kBatches / 10, batches.end());
  return batches[kBatches / 10];
}

// bpf_cost floor: see floor.bpf.c.
int MeasureFloor();

}  // namespace zerotap
