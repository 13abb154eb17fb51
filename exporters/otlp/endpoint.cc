#include "exporters/otlp/endpoint.h"

#include "exporters/printable.h"

namespace zerotap::otlp {
namespace {

constexpr std::string_view kHttpExample = "http://localhost:4318";
constexpr std::string_view kGrpcExample = "http://localhost:4317";

struct UrlParts {
  std::string scheme;  // lower case
  std::string_view user_information;
  std::string_view host_and_port;
  std::string_view path;
  std::string_view query;  // with its "?"
};

UrlParts Split(std::string_view url) {
  UrlParts parts;
  url = url.substr(0, url.find('#'));
  size_t scheme_end = url.find("://");
  if (scheme_end == std::string_view::npos) return parts;
  for (char c : url.substr(0, scheme_end)) {
    parts.scheme += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  url.remove_prefix(scheme_end + 3);
  size_t authority_end = url.find_first_of("/?");
  std::string_view authority = url.substr(0, authority_end);
  if (authority_end != std::string_view::npos) {
    url.remove_prefix(authority_end);
    size_t question = url.find('?');
    parts.path = url.substr(0, question);
    if (question != std::string_view::npos) parts.query = url.substr(question);
  }
  size_t at = authority.rfind('@');
  if (at != std::string_view::npos) {
    parts.user_information = authority.substr(0, at);
    authority.remove_prefix(at + 1);
  }
  parts.host_and_port = authority;
  return parts;
}

std::string Join(const UrlParts& parts, std::string_view path) {
  std::string url = parts.scheme + "://";
  if (!parts.user_information.empty()) url.append(parts.user_information) += '@';
  url.append(parts.host_and_port).append(path).append(parts.query);
  return url;
}

Result<UrlParts> Check(std::string_view endpoint, std::string_view example) {
  UrlParts parts = Split(endpoint);
  if (parts.scheme != "http" && parts.scheme != "https") {
    return Fail("the OTLP endpoint \"" + Printable(endpoint.substr(endpoint.rfind('@') + 1), 200) +
                "\" must begin with http:// or https://, as in " + std::string(example));
  }
  if (parts.host_and_port.empty() || parts.host_and_port.front() == ':') {
    return Fail("the OTLP endpoint \"" + WithoutSecrets(endpoint) + "\" names no host");
  }
  for (char c : endpoint) {
    if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f) {
      return Fail("the OTLP endpoint \"" + WithoutSecrets(endpoint) +
                  "\" contains a space or control character");
    }
  }
  return parts;
}

}  // namespace

Result<std::string> SignalUrl(std::string_view base, std::string_view signal_endpoint,
                              std::string_view signal) {
  if (!signal_endpoint.empty()) {
    Result<UrlParts> parts = Check(signal_endpoint, kHttpExample);
    if (!parts) return tl::unexpected<Error>(parts.error());
    return Join(*parts, parts->path.empty() ? "/" : parts->path);
  }
  Result<UrlParts> parts = Check(base.empty() ? kHttpExample : base, kHttpExample);
  if (!parts) return tl::unexpected<Error>(parts.error());
  std::string path(parts->path);
  while (!path.empty() && path.back() == '/') path.pop_back();
  path += "/v1/";
  path += signal;
  return Join(*parts, path);
}

Result<std::string> GrpcCallUrl(std::string_view base, std::string_view signal_endpoint,
                                bool insecure, std::string_view signal) {
  std::string endpoint(signal_endpoint.empty() ? base : signal_endpoint);
  if (endpoint.empty()) endpoint = kGrpcExample;
  if (endpoint.find("://") == std::string::npos) {
    endpoint.insert(0, insecure ? "http://" : "https://");
  }
  Result<UrlParts> parts = Check(endpoint, kGrpcExample);
  if (!parts) return tl::unexpected<Error>(parts.error());
  parts->query = {};
  return Join(*parts, signal == "traces"
                          ? "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
                          : "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
}

bool LeadsToThisHost(std::string_view endpoint) {
  if (endpoint.empty()) return true;
  const std::string url = (endpoint.find("://") == std::string_view::npos ? "http://" : "") + std::string(endpoint);
  std::string_view host = Split(url).host_and_port;
  if (host.starts_with("[")) return host.starts_with("[::1]");
  host = host.substr(0, host.find(':'));
  const bool is_address = host.find_first_not_of("0123456789.") == std::string_view::npos;
  return host == "localhost" || (is_address && host.starts_with("127."));
}

std::string WithoutSecrets(std::string_view url) {
  UrlParts parts = Split(url);
  return Printable(
      parts.scheme + "://" + std::string(parts.host_and_port) + std::string(parts.path), 200);
}

std::string Origin(std::string_view url) {
  UrlParts parts = Split(url);
  return Printable(parts.scheme + "://" + std::string(parts.host_and_port), 200);
}

}  // namespace zerotap::otlp
