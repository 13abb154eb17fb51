#include "agent/traces/span_assembler.h"

#include <gtest/gtest.h>

#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

size_t IndexOf(const AttributeSet& set, std::string_view key) {
  for (size_t i = 0; i < set.size(); ++i) {
    if (set[i].key == key) return i;
  }
  return ~size_t{0};
}

int64_t IntOf(const AttributeSet& set, std::string_view key) {
  size_t index = IndexOf(set, key);
  return index == ~size_t{0} ? -1 : std::get<int64_t>(set[index].value);
}

struct HttpCase {
  HttpFields http;
  Exchange exchange;
  HttpTexts texts{"/cart/7", "a=1", "http://shop:8080/cart/7?a=1"};
  ConnectionFacts facts{"10.0.0.9", 5555, "10.0.0.1", 8080, {}};
  AssemblerOptions options;
  HttpCase(Role role, uint16_t status) {
    http.method = "GET";
    http.scheme = "http";
    http.host = "shop:8080";
    http.version = "1.1";
    http.status_code = status;
    http.route = "/cart/{id}";
    exchange.role = role;
    exchange.http = &http;
  }
  Span Build() {
    Span span;
    AssembleHttpSpan(exchange, texts, facts, options, span);
    return span;
  }
};

TEST(SpanAssembler, HttpServerFollowsTheConventions) {
  Span span = HttpCase(Role::kServer, 200).Build();
  EXPECT_EQ(span.name, "GET /cart/{id}");
  EXPECT_EQ(span.kind, SpanKind::kServer);
  EXPECT_EQ(span.status, SpanStatus::kUnset);
  EXPECT_EQ(span.attributes.FindText(semconv::kUrlPath), "/cart/7");
  EXPECT_EQ(span.attributes.FindText(semconv::kServerAddress), "shop");
  EXPECT_EQ(IntOf(span.attributes, semconv::kServerPort), 8080);
  EXPECT_EQ(IntOf(span.attributes, semconv::kHttpResponseStatusCode), 200);
  EXPECT_LT(IndexOf(span.attributes, semconv::kClientAddress),
            IndexOf(span.attributes, semconv::kServerAddress));
  EXPECT_FALSE(span.attributes.Has(semconv::kNetPeerName));
  EXPECT_FALSE(span.attributes.Has(semconv::kErrorType));
}

TEST(SpanAssembler, HttpClientHasFullUrlAndLegacyPeerName) {
  Span span = HttpCase(Role::kClient, 404).Build();
  EXPECT_EQ(span.name, "GET");
  EXPECT_EQ(span.status, SpanStatus::kError);
  EXPECT_EQ(span.attributes.FindText(semconv::kErrorType), "404");
  EXPECT_EQ(span.attributes.FindText(semconv::kUrlFull), "http://shop:8080/cart/7?a=1");
  EXPECT_EQ(span.attributes.FindText(semconv::kNetPeerName), "shop");
}

TEST(SpanAssembler, ATargetThatNamesItsServerSaysThePortToo) {
  for (Role role : {Role::kClient, Role::kServer}) {
    HttpCase c(role, 200);
    c.http.target = "http://shop.example/cart";
    c.http.host = "shop.example";
    EXPECT_EQ(IntOf(c.Build().attributes, semconv::kServerPort), 80);
    c.http.target = "ws://shop.example/cart";
    EXPECT_EQ(IntOf(c.Build().attributes, semconv::kServerPort), 80);
    c.http.target = "HTTPS://shop.example/cart";
    EXPECT_EQ(IntOf(c.Build().attributes, semconv::kServerPort), 443);
    c.http.host = "shop.example:8443";
    EXPECT_EQ(IntOf(c.Build().attributes, semconv::kServerPort), 8443);
    c.http.host = "shop.example";  // of which port is not said: the one that was connected to
    for (const char* target : {"/go?to=http://a.example/", "ftp://shop.example/cart"}) {
      c.http.target = target;
      EXPECT_EQ(IntOf(c.Build().attributes, semconv::kServerPort),
                role == Role::kClient ? 5555 : 8080);
    }
  }
}

TEST(SpanAssembler, ATunnelHasNoPath) {
  HttpCase c(Role::kServer, 200);
  c.http.method = "CONNECT";
  c.http.host = c.http.target = "tunnel.example:443";
  c.http.route = {};
  c.texts = {};
  Span span = c.Build();
  EXPECT_EQ(span.name, "CONNECT");
  EXPECT_FALSE(span.attributes.Has(semconv::kUrlPath));
  EXPECT_EQ(span.attributes.FindText(semconv::kServerAddress), "tunnel.example");
  EXPECT_EQ(IntOf(span.attributes, semconv::kServerPort), 443);
}

TEST(SpanAssembler, TheLimitOfTextsCountsCharacters) {
  HttpCase c(Role::kServer, 200);
  c.options.attribute_value_limit = 5;
  c.texts.path = "/caf\xc3\xa9\xc3\xa9";
  c.http.user_agent = "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac";  // five of three bytes
  Span span = c.Build();
  EXPECT_EQ(span.attributes.FindText(semconv::kUrlPath), "/caf\xc3\xa9");
  EXPECT_EQ(span.attributes.FindText(semconv::kUserAgentOriginal), c.http.user_agent);
  c.texts.path = "\x80\x80\xe2\xe2\x82/\xc3";  // of what is none, each byte or beginning of one counts
  EXPECT_EQ(c.Build().attributes.FindText(semconv::kUrlPath), "\x80\x80\xe2\xe2\x82/");
}

TEST(SpanAssembler, ClientErrorIsNoErrorOnTheServer) {
  EXPECT_EQ(HttpCase(Role::kServer, 404).Build().status, SpanStatus::kUnset);
  EXPECT_EQ(HttpCase(Role::kServer, 503).Build().status, SpanStatus::kError);
}

TEST(SpanAssembler, CutConnectionHasNoStatusCode) {
  HttpCase c(Role::kServer, 0);
  c.exchange.transport_error = "connection_reset";
  Span span = c.Build();
  EXPECT_EQ(span.status, SpanStatus::kError);
  EXPECT_EQ(span.attributes.FindText(semconv::kErrorType), "connection_reset");
  EXPECT_FALSE(span.attributes.Has(semconv::kHttpResponseStatusCode));
}

TEST(SpanAssembler, UnknownMethodDoesNotReachTheName) {
  HttpCase c(Role::kServer, 200);
  c.http.method = "BREW";
  Span span = c.Build();
  EXPECT_EQ(span.name, "HTTP /cart/{id}");
  EXPECT_EQ(span.attributes.FindText(semconv::kHttpRequestMethod), "_OTHER");
  EXPECT_EQ(span.attributes.FindText(semconv::kHttpRequestMethodOriginal), "BREW");
}

TEST(SpanAssembler, AConfiguredListOfMethodsTakesThePlaceOfTheConventions) {
  const std::string methods[] = {"PURGE", "POST"};
  for (const auto& [method, name] : {std::pair("PURGE", "PURGE"), std::pair("GET", "HTTP"), std::pair("purge", "HTTP")}) {
    HttpCase c(Role::kClient, 200);
    c.options.known_methods = methods;
    c.http.method = method;
    EXPECT_EQ(c.Build().name, name);
    const MetricSample sample = HttpMetricSample(c.exchange, c.facts, c.options);
    EXPECT_EQ(std::get<std::string_view>(sample.attributes[0].value), std::string_view(name) == "HTTP" ? "_OTHER" : name);
  }
}

TEST(SpanAssembler, StableOnlyLeavesTheLegacySetOut) {
  HttpCase c(Role::kClient, 200);
  c.options.legacy_attributes = false;
  Span span = c.Build();
  EXPECT_FALSE(span.attributes.Has(semconv::kHttpMethod));
  EXPECT_FALSE(span.attributes.Has(semconv::kNetPeerName));
}

TEST(SpanAssembler, RepeatedHeadersBecomeOneList) {
  HttpCase c(Role::kServer, 200);
  HeaderField fields[] = {{"x-a", "1"}, {"x-b", "2"}, {"x-a", "3"}};
  c.http.request_headers = fields;
  Span span = c.Build();
  size_t index = IndexOf(span.attributes, "http.request.header.x-a");
  ASSERT_NE(index, ~size_t{0});
  auto values = std::get<std::vector<std::string_view>>(span.attributes[index].value);
  EXPECT_EQ(values, (std::vector<std::string_view>{"1", "3"}));
}

TEST(SpanAssembler, SplitsAuthorities) {
  EXPECT_EQ(SplitAuthority("a.b:80").host, "a.b");
  EXPECT_EQ(SplitAuthority("a.b:80").port, 80);
  EXPECT_EQ(SplitAuthority("a.b").port, 0);
  EXPECT_EQ(SplitAuthority("[::1]:8080").host, "::1");
  EXPECT_EQ(SplitAuthority("[::1]:8080").port, 8080);
  EXPECT_EQ(SplitAuthority("[::1").host, "[::1");
  EXPECT_EQ(SplitAuthority("user:pw@h:1").host, "h");
  EXPECT_EQ(SplitAuthority("h:99999999999").port, 0);
}

struct DatabaseCase {
  DatabaseFields database;
  Exchange exchange;
  ConnectionFacts facts{"10.0.0.9", 5432, "10.0.0.1", 41000, {}};
  explicit DatabaseCase(Role role) {
    database.system = "postgresql";
    database.name_space = "shop";
    database.sanitized_text = "SELECT * FROM items WHERE id = ?";
    database.summary = "SELECT items";
    database.operation = "SELECT";
    database.default_port = 5432;
    exchange.role = role;
    exchange.database = &database;
  }
  Span Build() {
    Span span;
    AssembleDatabaseSpan(exchange, facts, {}, span);
    return span;
  }
};

TEST(SpanAssembler, DatabaseClientHasWhatSigNozReads) {
  Span span = DatabaseCase(Role::kClient).Build();
  EXPECT_EQ(span.name, "SELECT items");
  EXPECT_EQ(span.kind, SpanKind::kClient);
  EXPECT_EQ(span.attributes.FindText(semconv::kDbSystem), "postgresql");
  EXPECT_EQ(span.attributes.FindText(semconv::kDbName), "shop");
  EXPECT_EQ(span.attributes.FindText(semconv::kDbOperation), "SELECT");
  EXPECT_FALSE(span.attributes.Has(semconv::kServerPort));  // the default one
}

TEST(SpanAssembler, SqlStateIsTheError) {
  DatabaseCase c(Role::kClient);
  c.database.status_code = "23505";
  Span span = c.Build();
  EXPECT_EQ(span.status, SpanStatus::kError);
  EXPECT_EQ(span.attributes.FindText(semconv::kErrorType), "23505");
  EXPECT_EQ(span.attributes.FindText(semconv::kDbResponseStatusCode), "23505");
}

TEST(SpanAssembler, WithoutTextTheServersTagNamesTheSpan) {
  DatabaseCase c(Role::kClient);
  c.database.sanitized_text = c.database.summary = c.database.operation = {};
  c.database.command_tag = "INSERT 0 12";
  Span span = c.Build();
  EXPECT_EQ(span.name, "INSERT");
  EXPECT_FALSE(span.attributes.Has(semconv::kDbQueryText));
}

TEST(SpanAssembler, MetricsAreForClientsOfDatabasesAndBothEndsOfHttp) {
  DatabaseCase server(Role::kServer);
  EXPECT_EQ(DatabaseMetricSample(server.exchange, server.facts).descriptor, nullptr);
  DatabaseCase client(Role::kClient);
  EXPECT_EQ(DatabaseMetricSample(client.exchange, client.facts).descriptor->name,
            semconv::kDbClientOperationDuration);
  HttpCase http(Role::kServer, 500);
  MetricSample sample = HttpMetricSample(http.exchange, http.facts, http.options);
  EXPECT_EQ(sample.descriptor->name, semconv::kHttpServerRequestDuration);
  EXPECT_EQ(sample.descriptor->bounds.size(), 14u);
}

}  // namespace
}  // namespace zerotap
