// Removes secrets from URLs: userinfo, and the values of query keys that carry credentials.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace zerotap {

struct UrlRedactorOptions {
  // Besides the list of the semantic conventions (X-Amz-Signature, sig, ...) and common credential names
  // (password, token, api_key, access_token, secret ...). Compared without case.
  std::vector<std::string> extra_query_keys;
  bool redact_all_query_values = false;
};

class UrlRedactor {
 public:
  explicit UrlRedactor(UrlRedactorOptions options);

  // Appends `query` (without '?') to `out` with secret values replaced by REDACTED, keys kept.
  void AppendQuery(std::string_view query, std::string& out) const;
  // Appends scheme://authority/path?query; user:password@ becomes REDACTED:REDACTED@. What does not
  // begin with / (the * of OPTIONS) is no path of a URL and is left out.
  void AppendUrl(std::string_view scheme, std::string_view authority, std::string_view path,
                 std::string_view query, std::string& out) const;

 private:
  bool IsSecret(std::string_view key) const;
  UrlRedactorOptions options_;
};

}  // namespace zerotap
