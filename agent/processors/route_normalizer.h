// Turns request paths into low-cardinality routes for http.route and span names.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"

namespace zerotap {

struct RouteOptions {
  // Tried in order, before the heuristic: "/users/{id}/orders", "/static/*" ({name} is one segment, a final * the rest).
  std::vector<std::string> patterns;
  size_t max_routes_per_service = 200;      // distinct results; beyond it unknown segments become {*}
  size_t max_values_per_segment = 32;       // distinct word-like values below one prefix before they become {slug}
  size_t max_path_bytes = 1024;

  bool operator==(const RouteOptions&) const = default;
};

// Learns per service which segments vary, so that word-like identifiers do not defeat it. Memory is bounded by the options.
class RouteNormalizer {
 public:
  static Result<RouteNormalizer> Create(const RouteOptions& options);
  RouteNormalizer(RouteNormalizer&&) noexcept;
  RouteNormalizer& operator=(RouteNormalizer&&) noexcept;
  ~RouteNormalizer();

  // The route of `path` (no query). The view is valid until the next call. `service_key` separates what is learned.
  // The heuristic names: {id} numbers, {uuid}, {hex}, {date}, {token}, {slug}, {email}, {*}.
  std::string_view Normalize(uint64_t service_key, std::string_view path);

 private:
  struct State;
  explicit RouteNormalizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace zerotap
