// The project's result type: a value or an Error. Nothing here throws.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace zerotap {

// What failed and what to do about it; `errno_value` is 0 unless a system call failed.
struct Error {
  std::string message;
  int errno_value = 0;

  static Error FromErrno(std::string_view what, int errno_value = errno) {
    return {std::string(what) + ": " + std::strerror(errno_value), errno_value};
  }
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = tl::expected<void, Error>;

inline tl::unexpected<Error> Fail(std::string message) {
  return tl::unexpected<Error>(Error{std::move(message), 0});
}
inline tl::unexpected<Error> FailErrno(std::string_view what, int errno_value = errno) {
  return tl::unexpected<Error>(Error::FromErrno(what, errno_value));
}

}  // namespace zerotap
