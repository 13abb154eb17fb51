// LIBRARIES: zerotap_processors
// Paths of one service, one a line: bounded names, no long run of digits, the same answer for the
// same path while nothing was learned in between, well-formed routes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>

#include "agent/processors/path_segment.h"
#include "agent/processors/route_normalizer.h"

namespace {

void Check(bool holds) {
  if (!holds) std::abort();
}

void CheckRoute(std::string_view route, size_t max_path) {
  if (route.empty() || route == "*") return;
  Check(route[0] == '/');
  Check(route.find("//") == std::string_view::npos);
  Check(route.find_first_of("?#%") == std::string_view::npos);
  Check(route.size() <= 4 * max_path + 64);
  bool braces = false;
  size_t digits = 0;
  for (char c : route) {
    Check(c > 0x20 && c < 0x7F);
    digits = c >= '0' && c <= '9' ? digits + 1 : 0;
    Check(digits <= 3);  // sha256
    if (c == '{') {
      Check(!braces);
      braces = true;
    } else if (c == '}') {
      Check(braces);
      braces = false;
    } else if (c == '/') {
      Check(!braces);
    }
  }
  Check(!braces);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  zerotap::RouteOptions options;
  options.max_routes_per_service = 1 + data[0] % 64;
  options.max_values_per_segment = data[1] % 16;
  options.max_path_bytes = 200;
  if (data[0] & 0x80) options.patterns = {"/p/{a}/q", "/s/*"};
  std::string_view input(reinterpret_cast<const char*>(data) + 2, size - 2);
  zerotap::Result<zerotap::RouteNormalizer> created = zerotap::RouteNormalizer::Create(options);
  Check(created.has_value());
  zerotap::RouteNormalizer& routes = *created;
  std::set<std::string> names;
  while (!input.empty()) {
    size_t end = std::min(input.find('\n'), input.size());
    std::string_view path = input.substr(0, end);
    input.remove_prefix(std::min(end + 1, input.size()));
    std::string first(routes.Normalize(1, path));
    CheckRoute(first, options.max_path_bytes);
    names.insert(first);
    // A word may come to be known at its second visit; then nothing changes any more.
    std::string second(routes.Normalize(1, path));
    CheckRoute(second, options.max_path_bytes);
    names.insert(second);
    std::string third(routes.Normalize(1, path));
    names.insert(third);
    Check(third == std::string(routes.Normalize(1, path)));

    std::string text;
    std::string_view segment = path.substr(0, path.find('/'));
    if (!segment.empty()) {
      zerotap::SegmentKind kind = zerotap::ClassifySegment(segment, text);
      Check(!text.empty());
      Check(kind == zerotap::SegmentKind::kWord || text.find('{') != std::string::npos ||
            text.find("()") != std::string::npos);
    }
  }
  // Besides what comes from patterns, "*", "/" and "".
  Check(names.size() <= options.max_routes_per_service + 5);
  return 0;
}
