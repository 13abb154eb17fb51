// A blocking HTTP/1.1 or HTTP/2 client for sending telemetry: keep-alive, TLS, proxies, a cap on
// what is read back, and cancellation from another thread. The only user of libcurl.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "agent/base/result.h"

namespace zerotap {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

enum class HttpVersion {
  k1,  // HTTP/1.1
  // HTTP/2 and nothing else: by ALPN over TLS, by prior knowledge without. Without TLS every
  // request has its own connection: libcurl 7.88, which Debian 12 has, cannot use such a one twice.
  k2,
};

struct HttpClientOptions {
  HttpVersion version = HttpVersion::k1;
  std::string ca_file;                  // PEM; empty: the system's
  std::string client_certificate_file;  // PEM; with client_key_file
  std::string client_key_file;
  // A URL (http://, https://, socks5://), or kNoProxy. Empty: http_proxy or HTTP_PROXY for http://
  // URLs, https_proxy or HTTPS_PROXY for https:// ones, then all_proxy or ALL_PROXY. Hosts that
  // no_proxy or NO_PROXY names are always asked directly.
  std::string proxy;
  std::string user_agent;
  std::chrono::milliseconds connect_timeout{5000};
  size_t max_response_bytes = size_t{4} << 20;  // what OTLP tells clients to allow
};

constexpr std::string_view kNoProxy = "off";

struct HttpResponse {
  int status = 0;
  HttpHeaders headers;   // names in lower case
  HttpHeaders trailers;  // header fields after the body; names in lower case
  std::string body;
  bool body_truncated = false;  // longer than max_response_bytes; the rest was not read

  // The first of that (lower-case) name, empty when absent.
  std::string_view Header(std::string_view name) const;
  std::string_view Trailer(std::string_view name) const;
};

enum class HttpFailure {
  kResolve,     // the name has no address
  kConnect,     // nobody listens, no route, proxy unreachable
  kConnection,  // it broke while sending or receiving
  kNoAnswer,    // it ended without one byte of an answer
  kTimeout,
  kTls,       // certificates: nothing that waiting would heal
  kProtocol,  // the answer is not HTTP, or not of the version that was asked for
  kRequest,   // the request itself is wrong (URL, header)
  kStopped,   // RequestStop
};

struct HttpError {
  HttpFailure failure = HttpFailure::kConnection;
  std::string message;
  bool unsent = false;  // of kStopped: no byte of the request has left

  // Whether the same request may succeed a little later.
  bool retryable() const {
    return failure == HttpFailure::kResolve || failure == HttpFailure::kConnect ||
           failure == HttpFailure::kConnection || failure == HttpFailure::kNoAnswer ||
           failure == HttpFailure::kTimeout;
  }
};

using HttpResult = tl::expected<HttpResponse, HttpError>;

// One request at a time; RequestStop may come from any thread. Redirects are not followed: headers
// carry keys.
class HttpClient {
 public:
  // Fails when a certificate or key file cannot be read.
  static Result<std::unique_ptr<HttpClient>> Create(HttpClientOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Any status is a response. `timeout` covers everything from the look-up of the name to the last
  // byte.
  HttpResult Post(const std::string& url, const HttpHeaders& headers, std::string_view body,
                  std::chrono::milliseconds timeout);

  // Aborts the transfer under way and every later one.
  void RequestStop();
  bool stop_requested() const;

  // Connections opened so far; tests see by it that they are reused.
  size_t connections_opened() const;

 private:
  struct State;
  explicit HttpClient(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Whether `name: value` can be sent as a header: a token, and a value without control characters.
bool IsValidHeader(std::string_view name, std::string_view value);

}  // namespace zerotap
