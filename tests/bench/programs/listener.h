// A TCP socket that listens on loopback, for the programs that a benchmark talks to.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>

#include "agent/base/unique_fd.h"

namespace zerotap::bench {

// `type`: SOCK_STREAM with its flags. Empty when it failed; errno says why.
inline UniqueFd ListenOnLoopback(uint16_t port, int type, int backlog) {
  UniqueFd listener(::socket(AF_INET, type, 0));
  int one = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(listener.get(), backlog) != 0) {
    return {};
  }
  return listener;
}

}  // namespace zerotap::bench
