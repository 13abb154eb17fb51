#include "agent/http/client.h"

#include <curl/curl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>

namespace zerotap {
namespace {

constexpr size_t kMaxResponseHeaders = 64;
constexpr size_t kMaxHeaderLine = 8192;

// curl_global_init is not thread-safe in older versions and must come before any handle.
bool InitializeCurl() {
  static std::once_flag once;
  static bool ok = false;
  std::call_once(once, [] { ok = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK; });
  return ok;
}

char LowerCase(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r' ||
                           text.back() == '\n')) {
    text.remove_suffix(1);
  }
  return text;
}

Status CheckReadable(std::string_view what, const std::string& path) {
  if (path.empty() || access(path.c_str(), R_OK) == 0) return {};
  return FailErrno("cannot read the " + std::string(what) + " " + path);
}

HttpFailure Classify(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return HttpFailure::kResolve;
    case CURLE_COULDNT_CONNECT:
    case CURLE_INTERFACE_FAILED:
    case CURLE_PROXY:
      return HttpFailure::kConnect;
    case CURLE_GOT_NOTHING:
      return HttpFailure::kNoAnswer;
    case CURLE_OPERATION_TIMEDOUT:
      return HttpFailure::kTimeout;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
      return HttpFailure::kTls;
    case CURLE_UNSUPPORTED_PROTOCOL:  // includes an answer that is not HTTP ("HTTP/0.9")
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_HTTP2:
      return HttpFailure::kProtocol;
    case CURLE_URL_MALFORMAT:
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_OUT_OF_MEMORY:
      return HttpFailure::kRequest;
    default:
      return HttpFailure::kConnection;
  }
}

// What the callbacks of one transfer fill in.
struct Transfer {
  HttpResponse response;
  size_t max_body = 0;
  bool head_complete = false;  // header fields that follow are trailers
};

size_t OnBody(char* data, size_t size, size_t count, void* user) {
  auto* transfer = static_cast<Transfer*>(user);
  size_t bytes = size * count;
  size_t room = transfer->max_body - transfer->response.body.size();
  transfer->response.body.append(data, std::min(bytes, room));
  if (bytes <= room) return bytes;
  transfer->response.body_truncated = true;
  return 0;  // ends the transfer with CURLE_WRITE_ERROR
}

size_t OnHeader(char* data, size_t size, size_t count, void* user) {
  auto* transfer = static_cast<Transfer*>(user);
  size_t bytes = size * count;
  std::string_view line(data, bytes);
  if (line.substr(0, 5) == "HTTP/") {
    transfer->response.headers.clear();  // a new head: 100 Continue and proxy answers come first
    transfer->head_complete = false;
    return bytes;
  }
  if (Trim(line).empty()) {
    transfer->head_complete = true;
    return bytes;
  }
  HttpHeaders& fields =
      transfer->head_complete ? transfer->response.trailers : transfer->response.headers;
  size_t colon = line.find(':');
  if (colon == std::string_view::npos || bytes > kMaxHeaderLine ||
      fields.size() >= kMaxResponseHeaders) {
    return bytes;
  }
  std::string name(Trim(line.substr(0, colon)));
  for (char& c : name) c = LowerCase(c);
  fields.emplace_back(std::move(name), Trim(line.substr(colon + 1)));
  return bytes;
}

// Frees the header list of one request.
class HeaderList {
 public:
  ~HeaderList() { curl_slist_free_all(list_); }
  void Add(const std::string& line) {
    curl_slist* longer = curl_slist_append(list_, line.c_str());
    if (longer != nullptr) list_ = longer;
  }
  curl_slist* get() const { return list_; }

 private:
  curl_slist* list_ = nullptr;
};

std::string_view Find(const HttpHeaders& fields, std::string_view name) {
  for (const auto& [key, value] : fields) {
    if (key == name) return value;
  }
  return {};
}

bool IsTls(std::string_view url) {
  std::string scheme(url.substr(0, 6));
  for (char& c : scheme) c = LowerCase(c);
  return scheme == "https:";
}

// HTTP_PROXY in capitals, which libcurl leaves to its callers: in a CGI script it would be a header
// of the request. Here it can only be meant.
std::string HttpProxyInCapitals() {
  const char* lower = std::getenv("http_proxy");
  const char* capital = std::getenv("HTTP_PROXY");
  return lower == nullptr && capital != nullptr ? capital : "";
}

}  // namespace

std::string_view HttpResponse::Header(std::string_view name) const { return Find(headers, name); }
std::string_view HttpResponse::Trailer(std::string_view name) const { return Find(trailers, name); }

bool IsValidHeader(std::string_view name, std::string_view value) {
  constexpr std::string_view kTokenMarks = "!#$%&'*+-.^_`|~";  // RFC 9110, section 5.6.2
  if (name.empty()) return false;
  for (char c : name) {
    bool alphanumeric = (c >= '0' && c <= '9') || (LowerCase(c) >= 'a' && LowerCase(c) <= 'z');
    if (!alphanumeric && kTokenMarks.find(c) == std::string_view::npos) return false;
  }
  for (char c : value) {
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) return false;
  }
  return true;
}

// The multi handle owns the connection cache and can be woken from another thread, which is what
// makes RequestStop immediate; one easy handle is used again for every request.
struct HttpClient::State {
  HttpClientOptions options;
  std::string http_proxy;  // of the environment
  CURLM* multi = nullptr;
  CURL* easy = nullptr;
  std::atomic<bool> stop{false};
  std::atomic<size_t> connections_opened{0};

  ~State() {
    if (easy != nullptr) curl_easy_cleanup(easy);
    if (multi != nullptr) curl_multi_cleanup(multi);
  }

  void SetUp(const std::string& url, curl_slist* headers, std::string_view body,
             std::chrono::milliseconds timeout, Transfer& transfer, char* error_text);
  void SetUpVersion(bool tls);
  void SetUpProxy(bool tls);
  void SetUpTls();
  CURLcode Run();
};

void HttpClient::State::SetUp(const std::string& url, curl_slist* headers, std::string_view body,
                              std::chrono::milliseconds timeout, Transfer& transfer,
                              char* error_text) {
  curl_easy_reset(easy);  // keeps the connections
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  const bool tls = IsTls(url);
  SetUpVersion(tls);
  SetUpProxy(tls);
  if (tls) SetUpTls();
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);  // do not wait for a resolver thread when stopped
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(options.connect_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy, CURLOPT_POST, 1L);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body.data());
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &OnBody);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &OnHeader);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error_text);
  if (!options.user_agent.empty()) {
    curl_easy_setopt(easy, CURLOPT_USERAGENT, options.user_agent.c_str());
  }
}

void HttpClient::State::SetUpVersion(bool tls) {
  if (options.version == HttpVersion::k1) {
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    return;
  }
  if (tls) {
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
    return;
  }
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                   static_cast<long>(CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE));
  curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
  curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
}

void HttpClient::State::SetUpProxy(bool tls) {
  // A proxy that does not tunnel would speak HTTP/1.1 for us.
  if (options.version == HttpVersion::k2) curl_easy_setopt(easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
  if (options.proxy == kNoProxy) {
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
  } else if (!options.proxy.empty()) {
    curl_easy_setopt(easy, CURLOPT_PROXY, options.proxy.c_str());
  } else if (!tls && !http_proxy.empty()) {
    curl_easy_setopt(easy, CURLOPT_PROXY, http_proxy.c_str());
  }
}

void HttpClient::State::SetUpTls() {
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!options.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options.ca_file.c_str());
  if (!options.client_certificate_file.empty()) {
    curl_easy_setopt(easy, CURLOPT_SSLCERT, options.client_certificate_file.c_str());
    curl_easy_setopt(easy, CURLOPT_SSLKEY, options.client_key_file.c_str());
  }
}

CURLcode HttpClient::State::Run() {
  if (curl_multi_add_handle(multi, easy) != CURLM_OK) return CURLE_FAILED_INIT;
  CURLcode result = CURLE_OK;
  bool done = false;
  while (!done) {
    if (stop.load(std::memory_order_acquire)) {
      result = CURLE_ABORTED_BY_CALLBACK;
      break;
    }
    int running = 0;
    CURLMcode code = curl_multi_perform(multi, &running);
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      result = message->data.result;
      done = true;
    }
    if (done) break;
    // The time-out of the transfer wakes the poll; RequestStop does so by curl_multi_wakeup.
    if (code == CURLM_OK) code = curl_multi_poll(multi, nullptr, 0, 1000, nullptr);
    if (code != CURLM_OK) {
      result = CURLE_FAILED_INIT;
      break;
    }
  }
  curl_multi_remove_handle(multi, easy);
  return result;
}

HttpClient::HttpClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
HttpClient::~HttpClient() = default;

Result<std::unique_ptr<HttpClient>> HttpClient::Create(HttpClientOptions options) {
  if (!InitializeCurl()) return Fail("libcurl could not be initialized");
  if (auto status = CheckReadable("CA file", options.ca_file); !status) {
    return tl::unexpected<Error>(status.error());
  }
  if (auto status = CheckReadable("client certificate", options.client_certificate_file); !status) {
    return tl::unexpected<Error>(status.error());
  }
  if (auto status = CheckReadable("client key", options.client_key_file); !status) {
    return tl::unexpected<Error>(status.error());
  }
  if (options.client_certificate_file.empty() != options.client_key_file.empty()) {
    return Fail("a client certificate and a client key are only useful together: set both");
  }
  auto state = std::make_unique<State>();
  state->options = std::move(options);
  state->http_proxy = HttpProxyInCapitals();
  state->multi = curl_multi_init();
  state->easy = curl_easy_init();
  if (state->multi == nullptr || state->easy == nullptr) return Fail("out of memory");
  return std::unique_ptr<HttpClient>(new HttpClient(std::move(state)));
}

HttpResult HttpClient::Post(const std::string& url, const HttpHeaders& headers,
                            std::string_view body, std::chrono::milliseconds timeout) {
  auto fail = [](HttpFailure failure, std::string message) {
    return tl::unexpected<HttpError>(HttpError{failure, std::move(message)});
  };
  const auto stopped = [](bool unsent) {
    return tl::unexpected<HttpError>(HttpError{HttpFailure::kStopped, "stopped", unsent});
  };
  if (stop_requested()) return stopped(/*unsent=*/true);

  HeaderList list;
  list.Add("Expect:");  // no 100-continue round trip before large bodies
  for (const auto& [name, value] : headers) {
    if (!IsValidHeader(name, value)) {
      return fail(HttpFailure::kRequest, "the header \"" + name + "\" cannot be sent");
    }
    list.Add(value.empty() ? name + ";" : name + ": " + value);
  }

  Transfer transfer;
  transfer.max_body = state_->options.max_response_bytes;
  char error_text[CURL_ERROR_SIZE] = "";
  state_->SetUp(url, list.get(), body, timeout, transfer, error_text);
  CURLcode code = state_->Run();
  curl_easy_setopt(state_->easy, CURLOPT_ERRORBUFFER, nullptr);

  long connects = 0;
  curl_easy_getinfo(state_->easy, CURLINFO_NUM_CONNECTS, &connects);
  state_->connections_opened.fetch_add(static_cast<size_t>(connects), std::memory_order_relaxed);

  // An answer that is too long still has its status, and that is what counts.
  if (code == CURLE_OK || transfer.response.body_truncated) {
    long status = 0;
    curl_easy_getinfo(state_->easy, CURLINFO_RESPONSE_CODE, &status);
    transfer.response.status = static_cast<int>(status);
    long version = 0;
    curl_easy_getinfo(state_->easy, CURLINFO_HTTP_VERSION, &version);
    if (state_->options.version == HttpVersion::k2 && version != CURL_HTTP_VERSION_2_0) {
      return fail(HttpFailure::kProtocol, "the server does not speak HTTP/2");
    }
    return std::move(transfer.response);
  }
  if (code == CURLE_ABORTED_BY_CALLBACK) {
    curl_off_t connected_us = 0;  // when the request began to be written
    curl_easy_getinfo(state_->easy, CURLINFO_PRETRANSFER_TIME_T, &connected_us);
    return stopped(connected_us == 0);
  }
  return fail(Classify(code), error_text[0] != '\0' ? error_text : curl_easy_strerror(code));
}

void HttpClient::RequestStop() {
  state_->stop.store(true, std::memory_order_release);
  curl_multi_wakeup(state_->multi);
}

bool HttpClient::stop_requested() const { return state_->stop.load(std::memory_order_acquire); }

size_t HttpClient::connections_opened() const {
  return state_->connections_opened.load(std::memory_order_relaxed);
}

}  // namespace zerotap
