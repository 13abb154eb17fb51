#include "agent/processors/request_target.h"

namespace zerotap {

RequestTarget SplitTarget(std::string_view method, std::string_view target) {
  RequestTarget result;
  if (method == "CONNECT") return result;
  size_t scheme = target.starts_with('/') ? std::string_view::npos : target.find("://");
  if (scheme != std::string_view::npos && scheme < target.find('/')) {
    size_t slash = target.find('/', scheme + 3);
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  size_t question = target.find('?');
  result.path = target.substr(0, question);
  if (question != std::string_view::npos) result.query = target.substr(question + 1);
  return result;
}

}  // namespace zerotap
