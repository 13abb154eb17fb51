// OTEL_RESOURCE_ATTRIBUTES: key=value,key=value with percent-encoding.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace zerotap {

class ResourceAttributes {
 public:
  // Any error (a member without "=", an empty key, a bad percent-encoding, bytes that are no UTF-8)
  // discards the whole value, as the OpenTelemetry specification says. Of several members with one
  // key the last counts.
  static ResourceAttributes Parse(std::string_view text);

  // Empty when absent.
  std::string_view Find(std::string_view key) const;
  const std::vector<std::pair<std::string, std::string>>& entries() const { return entries_; }

 private:
  std::vector<std::pair<std::string, std::string>> entries_;
};

}  // namespace zerotap
