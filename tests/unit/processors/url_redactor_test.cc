#include "agent/processors/url_redactor.h"

#include <gtest/gtest.h>

namespace zerotap {
namespace {

std::string Query(std::string_view query, UrlRedactorOptions options = {}) {
  std::string out;
  UrlRedactor(std::move(options)).AppendQuery(query, out);
  return out;
}
std::string Url(std::string_view authority, std::string_view path, std::string_view query) {
  std::string out;
  UrlRedactor({}).AppendUrl("http", authority, path, query, out);
  return out;
}

TEST(UrlRedactor, KeepsOrdinaryQueriesByteForByte) {
  for (const char* query : {"", "a=1", "a=1&b=&c", "q=x%20y&&z", "page=2;sort=asc", "=", "&", "a==b"}) {
    EXPECT_EQ(Query(query), query);
  }
}

TEST(UrlRedactor, MasksTheKeysOfTheConventions) {
  for (const char* key : {"X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "AWSAccessKeyId",
                          "Signature", "sig", "X-Goog-Signature"}) {
    EXPECT_EQ(Query(std::string("a=1&") + key + "=s3cret&b=2"), std::string("a=1&") + key + "=REDACTED&b=2");
  }
}

TEST(UrlRedactor, MasksCommonCredentialsHoweverTheyAreSpelled) {
  for (const char* key : {"password", "PASSWORD", "api_key", "apiKey", "api-key", "access_token", "client_secret",
                          "pass%77ord", "user[password]", "token[]", "jwt"}) {
    EXPECT_EQ(Query(std::string(key) + "=s3cret"), std::string(key) + "=REDACTED");
  }
  EXPECT_EQ(Query("tokens=5&passport=x&keyword=y"), "tokens=5&passport=x&keyword=y");
  EXPECT_EQ(Query("password="), "password=") << "nothing there to mask";
  EXPECT_EQ(Query("token=a=b&token=c"), "token=REDACTED&token=REDACTED");
  EXPECT_EQ(Query("a=1;token=b;c=2"), "a=1;token=REDACTED;c=2");
}

TEST(UrlRedactor, MasksConfiguredKeysAndEverythingOnRequest) {
  EXPECT_EQ(Query("Iban=DE1&x=1", {{"iban"}, false}), "Iban=REDACTED&x=1");
  EXPECT_EQ(Query("a=1&b=2&c=", {{}, true}), "a=REDACTED&b=REDACTED&c=");
  EXPECT_EQ(Query("justavalue", {{}, true}), "REDACTED");
}

TEST(UrlRedactor, BuildsUrlsWithoutCredentials) {
  EXPECT_EQ(Url("example.org:8080", "/a/b", "c=d"), "http://example.org:8080/a/b?c=d");
  EXPECT_EQ(Url("example.org", "/", ""), "http://example.org/");
  EXPECT_EQ(Url("example.org:443", "", ""), "http://example.org:443") << "of CONNECT";
  EXPECT_EQ(Url("example.org", "*", ""), "http://example.org") << "of OPTIONS *";
  EXPECT_EQ(Url("joe:pw@example.org", "/", "sig=x"), "http://REDACTED:REDACTED@example.org/?sig=REDACTED");
  EXPECT_EQ(Url("joe@example.org", "/", ""), "http://REDACTED:REDACTED@example.org/");
  EXPECT_EQ(Url("j:p@w@example.org", "/", ""), "http://REDACTED:REDACTED@example.org/");
}

TEST(UrlRedactor, MasksSessionIdsInPathParameters) {
  EXPECT_EQ(Url("h", "/a;jsessionid=ABC/b;v=1;token=x", ""), "http://h/a;jsessionid=REDACTED/b;v=1;token=REDACTED");
  EXPECT_EQ(Url("h", "/a;;b=;", ""), "http://h/a;;b=;");
}

TEST(UrlRedactor, Appends) {
  std::string out = "?";
  UrlRedactor({}).AppendQuery("a=1", out);
  EXPECT_EQ(out, "?a=1");
}

}  // namespace
}  // namespace zerotap
