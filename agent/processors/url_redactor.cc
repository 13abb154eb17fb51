#include "agent/processors/url_redactor.h"

#include <algorithm>
#include <array>

namespace zerotap {
namespace {

constexpr std::string_view kRedacted = "REDACTED";

// In the form that Normalize gives. The first group is the list of the HTTP semantic conventions
// (url.full, url.query).
constexpr std::string_view kSecretKeys[] = {
    "xamzsignature", "xamzcredential", "xamzsecuritytoken", "awsaccesskeyid", "signature", "sig",
    "xgoogsignature", "xgoogcredential",
    "password", "passwd", "passphrase", "pwd", "pass", "secret", "clientsecret", "token",
    "accesstoken", "refreshtoken", "idtoken", "authtoken", "sessiontoken", "csrftoken",
    "xsrftoken", "securitytoken", "privatetoken", "bearertoken", "apitoken", "jwt", "apikey",
    "xapikey", "accesskey", "accesskeyid", "secretkey", "secretaccesskey", "privatekey", "auth",
    "authorization", "credential", "credentials", "session", "sessionid", "sid", "jsessionid",
    "phpsessid", "otp", "pin", "assertion", "clientassertion", "samlresponse", "samlrequest",
    "codeverifier", "authcode", "hmac", "subscriptionkey",
};

char LowerCase(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = LowerCase(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Lower case, percent-decoded, without - _ and ., the innermost name of a[b][c]. Longer keys are
// cut: none of the names we know is that long.
class NormalKey {
 public:
  explicit NormalKey(std::string_view key) {
    for (size_t i = 0; i < key.size(); ++i) {
      char c = key[i];
      if (c == '%' && i + 2 < key.size() && HexValue(key[i + 1]) >= 0 &&
          HexValue(key[i + 2]) >= 0) {
        c = static_cast<char>(HexValue(key[i + 1]) * 16 + HexValue(key[i + 2]));
        i += 2;
      }
      if (c == '-' || c == '_' || c == '.' || c == ']' || c == ' ' || c == '+') continue;
      if (c == '[') {
        if (i + 1 < key.size() && key[i + 1] != ']') size_ = 0;
        continue;
      }
      if (size_ < buffer_.size()) buffer_[size_++] = LowerCase(c);
    }
  }
  std::string_view text() const { return {buffer_.data(), size_}; }

 private:
  std::array<char, 64> buffer_{};
  size_t size_ = 0;
};

}  // namespace

UrlRedactor::UrlRedactor(UrlRedactorOptions options) : options_(std::move(options)) {
  for (std::string& key : options_.extra_query_keys) key = std::string(NormalKey(key).text());
}

bool UrlRedactor::IsSecret(std::string_view key) const {
  if (options_.redact_all_query_values) return true;
  NormalKey normal(key);
  std::string_view name = normal.text();
  return std::find(std::begin(kSecretKeys), std::end(kSecretKeys), name) !=
             std::end(kSecretKeys) ||
         std::find(options_.extra_query_keys.begin(), options_.extra_query_keys.end(), name) !=
             options_.extra_query_keys.end();
}

void UrlRedactor::AppendQuery(std::string_view query, std::string& out) const {
  while (!query.empty()) {
    size_t end = std::min(query.find_first_of("&;#"), query.size());
    std::string_view pair = query.substr(0, end);
    size_t equals = pair.find('=');
    if (equals != std::string_view::npos && equals + 1 < pair.size() &&
        IsSecret(pair.substr(0, equals))) {
      out.append(pair.substr(0, equals + 1)).append(kRedacted);
    } else if (equals == std::string_view::npos && options_.redact_all_query_values) {
      // A query without keys is a value as a whole.
      if (!pair.empty()) out.append(kRedacted);
    } else {
      out.append(pair);
    }
    if (end < query.size()) out.push_back(query[end]);
    query.remove_prefix(std::min(end + 1, query.size()));
  }
}

void UrlRedactor::AppendUrl(std::string_view scheme, std::string_view authority,
                            std::string_view path, std::string_view query,
                            std::string& out) const {
  out.append(scheme).append("://");
  size_t at = authority.rfind('@');
  if (at != std::string_view::npos) {
    out.append("REDACTED:REDACTED@");
    authority.remove_prefix(at + 1);
  }
  out.append(authority);
  if (!path.empty() && path.front() != '/') path = {};

  // ;key=value parameters of a path segment (RFC 3986 section 3.3) carry session ids.
  while (!path.empty()) {
    size_t semicolon = path.find(';');
    out.append(path.substr(0, semicolon));
    if (semicolon == std::string_view::npos) break;
    path.remove_prefix(semicolon + 1);
    out.push_back(';');
    size_t end = std::min(path.find_first_of(";/"), path.size());
    size_t equals = path.substr(0, end).find('=');
    if (equals != std::string_view::npos && equals + 1 < end && IsSecret(path.substr(0, equals))) {
      out.append(path.substr(0, equals + 1)).append(kRedacted);
      path.remove_prefix(end);
    }
  }
  if (!query.empty()) {
    out.push_back('?');
    AppendQuery(query, out);
  }
}

}  // namespace zerotap
