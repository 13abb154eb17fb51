#include "agent/processors/route_normalizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <random>
#include <set>

#include "agent/processors/path_segment.h"

namespace zerotap {
namespace {

RouteNormalizer Make(RouteOptions options = {}) {
  Result<RouteNormalizer> result = RouteNormalizer::Create(options);
  EXPECT_TRUE(result.has_value()) << (result ? "" : result.error().message);
  return std::move(*result);
}

std::string Route(std::string_view path) {
  RouteNormalizer routes = Make();
  return std::string(routes.Normalize(1, path));
}

struct PathCase {
  const char* path;
  const char* route;
};

void PrintTo(const PathCase& value, std::ostream* out) { *out << value.path; }

class HeuristicTest : public testing::TestWithParam<PathCase> {};

TEST_P(HeuristicTest, NamesTheRoute) { EXPECT_EQ(Route(GetParam().path), GetParam().route); }

INSTANTIATE_TEST_SUITE_P(
    Numbers, HeuristicTest,
    testing::Values(PathCase{"/users/42", "/users/{id}"}, PathCase{"/users/-1/x", "/users/{id}/x"},
                    PathCase{"/items/1,2,3", "/items/{id}"}, PathCase{"/price/12.50", "/price/{id}"},
                    PathCase{"/orders/order-1001", "/orders/{id}"},
                    PathCase{"/orders/INV-2024-0007", "/orders/{id}"},
                    PathCase{"/host/10.0.0.17", "/host/{id}"},
                    PathCase{"/a/7/b/8/c", "/a/{id}/b/{id}/c"}));

INSTANTIATE_TEST_SUITE_P(
    Identifiers, HeuristicTest,
    testing::Values(
        PathCase{"/u/3F2504E0-4F89-11D3-9A0C-0305E82C3301", "/u/{uuid}"},
        PathCase{"/commit/9fceb02d0ae598e95dc970b74767f19372d61af8", "/commit/{hex}"},
        PathCase{"/o/507f1f77bcf86cd799439011/x", "/o/{hex}/x"}, PathCase{"/m/0xdeadbeef", "/m/{hex}"},
        PathCase{"/d/2024-01-31", "/d/{date}"}, PathCase{"/d/2024-01-31T10:20:30.5Z", "/d/{date}"},
        PathCase{"/d/2024-02", "/d/{date}"}, PathCase{"/mail/a.b@example.org", "/mail/{email}"},
        PathCase{"/mail/a.b%40example.org", "/mail/{email}"},
        PathCase{"/t/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.Zm9v", "/t/{token}"},
        PathCase{"/t/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/t/{token}"},
        PathCase{"/t/sk_live_4eC39HqLyjWDarjtT1zdP7dc", "/t/{token}"},
        PathCase{"/watch/dQw4w9WgXcQ", "/watch/{token}"},
        PathCase{"/t/cjld2cjxh0000qzrmn831i7rn", "/t/{token}"}));

INSTANTIATE_TEST_SUITE_P(
    Slugs, HeuristicTest,
    testing::Values(PathCase{"/blog/how-to-make-a-good-cake", "/blog/{slug}"},
                    PathCase{"/blog/ten-best-cars-of-2024", "/blog/{slug}"},
                    PathCase{"/q/hello%20world", "/q/{slug}"}, PathCase{"/q/gr%C3%BCn", "/q/{slug}"},
                    PathCase{"/q/gr\xc3\xbcn", "/q/{slug}"}, PathCase{"/q/a=b", "/q/{slug}"},
                    PathCase{"/q/%zz", "/q/{slug}"}));

INSTANTIATE_TEST_SUITE_P(
    StaticSegmentsStay, HeuristicTest,
    testing::Values(PathCase{"/", "/"}, PathCase{"/api/v1/users", "/api/v1/users"},
                    PathCase{"/api/v2.1/x", "/api/v2.1/x"}, PathCase{"/apis/v1beta1/x", "/apis/v1beta1/x"},
                    PathCase{"/oauth2/token", "/oauth2/token"}, PathCase{"/index.html", "/index.html"},
                    PathCase{"/.well-known/jwks.json", "/.well-known/jwks.json"},
                    PathCase{"/terms-and-conditions", "/terms-and-conditions"},
                    PathCase{"/checksum/sha256", "/checksum/sha256"}, PathCase{"/users/", "/users/"},
                    PathCase{"/getUserByIdAndName", "/getUserByIdAndName"},
                    PathCase{"/a//b", "/a/b"}, PathCase{"/health%7a", "/healthz"}));

INSTANTIATE_TEST_SUITE_P(
    FilesAndSuffixes, HeuristicTest,
    testing::Values(PathCase{"/js/main.3f4a9c1b.js", "/js/main.{hex}.js"},
                    PathCase{"/js/app-3f4a9c1b2d.min.css", "/js/app-{hex}.min.css"},
                    PathCase{"/img/12345.png", "/img/{id}.png"},
                    PathCase{"/img/photo_0042.jpg", "/img/photo_{id}.jpg"},
                    PathCase{"/f/3f2504e0-4f89-11d3-9a0c-0305e82c3301.pdf", "/f/{uuid}.pdf"},
                    PathCase{"/users/17.json", "/users/{id}.json"},
                    PathCase{"/books/123:cancel", "/books/{id}:cancel"},
                    PathCase{"/books:batchGet", "/books:batchGet"},
                    PathCase{"/odata/Users(5)", "/odata/Users({id})"},
                    PathCase{"/page;jsessionid=8A7B6C5D/x", "/page/x"}));

INSTANTIATE_TEST_SUITE_P(NotPlainPaths, HeuristicTest,
                         testing::Values(PathCase{"*", "*"}, PathCase{"", "/"},
                                         PathCase{"/a/1?id=2", "/a/{id}"}, PathCase{"/a#b", "/a"},
                                         PathCase{"http://host:80/a/1", "/a/{id}"},
                                         PathCase{"http://host", "/"},
                                         PathCase{"example.org:443", ""}));

TEST(RouteNormalizer, LiteralBracesInAPathAreNotTakenForARoute) {
  EXPECT_EQ(Route("/users/{id}"), "/users/{slug}");
}

TEST(RouteNormalizer, VeryLongPathsEndInAWildcard) {
  std::string path = "/files";
  while (path.size() < 4000) path += "/segment";
  std::string route = Route(path);
  EXPECT_EQ(route.substr(route.size() - 4), "/{*}");
  EXPECT_LT(route.size(), 1100u);
  EXPECT_EQ(Route("/" + std::string(5000, 'x')), "/{*}");
}

TEST(RouteNormalizer, ConfiguredPatternsComeFirstAndInOrder) {
  RouteOptions options;
  options.patterns = {"/users/me", "/users/{name}/orders", "/static/*", "/users/{name}"};
  RouteNormalizer routes = Make(options);
  EXPECT_EQ(routes.Normalize(1, "/users/me"), "/users/me");
  EXPECT_EQ(routes.Normalize(1, "/users/bob/orders"), "/users/{name}/orders");
  EXPECT_EQ(routes.Normalize(1, "/users/bob"), "/users/{name}");
  EXPECT_EQ(routes.Normalize(1, "/users/bob"), "/users/{name}") << "from the cache";
  EXPECT_EQ(routes.Normalize(1, "/static/a/b/c.js"), "/static/*");
  EXPECT_EQ(routes.Normalize(1, "/staticx/7"), "/staticx/{id}");
  EXPECT_EQ(routes.Normalize(1, "/users"), "/users");
}

TEST(RouteNormalizer, BadPatternsAreRefusedWithTheirText) {
  for (const char* pattern : {"users", "", "/a/*/b", "/a/x*", "/users/:id", "/u/{id", "/u/a{id}", "/a?b"}) {
    RouteOptions options;
    options.patterns = {pattern};
    Result<RouteNormalizer> result = RouteNormalizer::Create(options);
    ASSERT_FALSE(result.has_value()) << pattern;
    EXPECT_NE(result.error().message.find(std::string("\"") + pattern + "\""), std::string::npos)
        << result.error().message;
  }
}

TEST(RouteNormalizer, WordsThatVaryBecomeASlug) {
  RouteNormalizer routes = Make();
  auto name = [](int i) {
    std::string text = "x";
    for (int n = i; text.size() < 6; n /= 26) text.push_back(static_cast<char>('a' + n % 26));
    return text;
  };
  std::set<std::string> names;
  for (int i = 0; i < 1000; ++i) names.insert(std::string(routes.Normalize(1, "/people/" + name(i) + "/cv")));
  EXPECT_LE(names.size(), 32u);
  EXPECT_EQ(routes.Normalize(1, "/people/" + name(5000) + "/cv"), "/people/{slug}/cv");
  EXPECT_EQ(routes.Normalize(1, "/people/" + name(3) + "/cv"), "/people/{slug}/cv")
      << "also those that had a name of their own";
  EXPECT_EQ(routes.Normalize(2, "/people/anna/cv"), "/people/anna/cv") << "learned per service";
}

TEST(RouteNormalizer, ABusyWordAmongValuesStays) {
  RouteNormalizer routes = Make();
  for (int i = 0; i < 300; ++i) {
    routes.Normalize(1, "/login");
    std::string user = "/u";
    for (int n = i + 26; n > 0; n /= 26) user.push_back(static_cast<char>('a' + n % 26));
    routes.Normalize(1, user);
  }
  EXPECT_EQ(routes.Normalize(1, "/login"), "/login");
  EXPECT_EQ(routes.Normalize(1, "/someone"), "/{slug}");
}

TEST(RouteNormalizer, AllStaticRoutesOfASmallServiceAreExactAtOnce) {
  RouteNormalizer routes = Make();
  for (const char* path : {"/", "/cart", "/checkout", "/products", "/login", "/logout", "/search", "/about",
                           "/contact", "/healthz", "/metrics", "/api/cart", "/api/products"}) {
    EXPECT_EQ(routes.Normalize(1, path), path);
  }
}

TEST(RouteNormalizer, NeverMoreRoutesThanTheLimit) {
  RouteOptions options;
  options.max_routes_per_service = 20;
  options.max_values_per_segment = 1000;
  RouteNormalizer routes = Make(options);
  std::mt19937 random(7);
  std::set<std::string> names;
  for (int i = 0; i < 20000; ++i) {
    std::string path;
    for (uint32_t depth = random() % 5 + 1; depth > 0; --depth) {
      path += "/";
      for (int c = 0; c < 3; ++c) path.push_back(static_cast<char>('a' + random() % 26));
    }
    names.insert(std::string(routes.Normalize(1, path)));
  }
  EXPECT_LE(names.size(), 20u);
  EXPECT_TRUE(names.count("/{*}"));
}

TEST(RouteNormalizer, ManyServicesStayBounded) {
  RouteNormalizer routes = Make();
  for (uint64_t service = 0; service < 5000; ++service) {
    EXPECT_EQ(routes.Normalize(service, "/api/users/7"), "/api/users/{id}");
  }
}

// An API as large as GitHub's: user and repository names, labels, branches and topics are words; issue and pull request
// numbers, commits, gists, dates, assets are ids.
class LargeApi {
 public:
  LargeApi() {
    for (std::vector<std::string>* list : {&owners_, &repositories_, &labels_}) {
      for (int i = 0; i < 4000; ++i) list->push_back(Word());
    }
  }

  struct Request {
    std::string path;
    std::string route;
  };

  Request Next() {
    const std::string& shape = kShapes[random_() % kShapes.size()];
    Request request;
    size_t position = 0;
    while (position < shape.size()) {
      size_t end = std::min(shape.find('/', position + 1), shape.size());
      std::string segment = shape.substr(position + 1, end - position - 1);
      request.path += "/" + (segment[0] == '<' ? Value(segment) : segment);
      request.route += "/" + (segment[0] == '<' ? "{}" : segment);
      position = end;
    }
    return request;
  }

  std::vector<std::string> owners_, repositories_, labels_;

 private:
  std::string Word() {
    // Pronounceable and with the odd digit or hyphen, like names people choose.
    static const char* const kSyllables[] = {"ka", "to", "mi", "ren", "sol", "vex", "lin", "dar", "bo",
                                             "que", "zy", "har", "net", "lab", "dev", "cat", "fox", "hub"};
    std::string word;
    for (uint32_t n = 2 + random_() % 3; n > 0; --n) word += kSyllables[random_() % 18];
    if (random_() % 6 == 0) word += "-" + std::string(kSyllables[random_() % 18]);
    if (random_() % 8 == 0) word += std::to_string(random_() % 100);
    return word;
  }
  std::string Hex(size_t size) {
    std::string text;
    while (text.size() < size) text.push_back("0123456789abcdef"[random_() % 16]);
    text[size / 2] = '7';
    return text;
  }
  std::string Value(const std::string& kind) {
    if (kind == "<owner>") return owners_[random_() % owners_.size()];
    if (kind == "<repo>") return repositories_[random_() % repositories_.size()];
    if (kind == "<label>") return labels_[random_() % labels_.size()];
    if (kind == "<id>") return std::to_string(1 + random_() % 100000000);
    if (kind == "<sha>") return Hex(40);
    if (kind == "<gist>") return Hex(32);
    std::string uuid = Hex(32);
    for (size_t at : {8, 13, 18, 23}) uuid.insert(at, 1, '-');
    return uuid;
  }

  static const std::vector<std::string> kShapes;
  std::mt19937 random_{20240501};
};

const std::vector<std::string> LargeApi::kShapes = {
    "/users/<owner>", "/users/<owner>/repos", "/users/<owner>/followers", "/users/<owner>/gists",
    "/orgs/<owner>", "/orgs/<owner>/members", "/orgs/<owner>/teams", "/orgs/<owner>/repos",
    "/repos/<owner>/<repo>", "/repos/<owner>/<repo>/issues", "/repos/<owner>/<repo>/issues/<id>",
    "/repos/<owner>/<repo>/issues/<id>/comments", "/repos/<owner>/<repo>/issues/<id>/labels/<label>",
    "/repos/<owner>/<repo>/pulls", "/repos/<owner>/<repo>/pulls/<id>",
    "/repos/<owner>/<repo>/pulls/<id>/files", "/repos/<owner>/<repo>/pulls/<id>/merge",
    "/repos/<owner>/<repo>/commits", "/repos/<owner>/<repo>/commits/<sha>",
    "/repos/<owner>/<repo>/commits/<sha>/status", "/repos/<owner>/<repo>/branches",
    "/repos/<owner>/<repo>/branches/<label>", "/repos/<owner>/<repo>/branches/<label>/protection",
    "/repos/<owner>/<repo>/releases/<id>/assets", "/repos/<owner>/<repo>/actions/runs/<id>/jobs",
    "/repos/<owner>/<repo>/git/trees/<sha>", "/repos/<owner>/<repo>/git/blobs/<sha>",
    "/repos/<owner>/<repo>/labels/<label>", "/repos/<owner>/<repo>/stargazers",
    "/gists/<gist>", "/gists/<gist>/comments", "/gists/<gist>/star", "/notifications/threads/<id>",
    "/search/repositories", "/search/issues", "/search/code", "/user", "/user/repos", "/user/emails",
    "/user/keys/<id>", "/app/installations/<id>/access_tokens", "/deployments/<uuid>/statuses",
    "/rate_limit", "/emojis", "/meta", "/licenses", "/events", "/feeds", "/teams/<id>/members",
    "/teams/<id>/repos/<owner>/<repo>", "/zen", "/api/v3/nodes/<uuid>"};

TEST(RouteNormalizer, ALargeApiGivesFewNamesWithoutIds) {
  RouteNormalizer routes = Make();
  LargeApi api;
  std::set<std::string> urls;
  std::set<std::string> names;
  std::set<std::string> late_names;
  uint64_t static_segments = 0;
  uint64_t static_kept = 0;
  while (urls.size() < 100000) {
    LargeApi::Request request = api.Next();
    urls.insert(request.path);
    std::string route(routes.Normalize(1, request.path));
    names.insert(route);
    if (urls.size() > 5000) late_names.insert(route);
    // Compare segment by segment with the truth.
    size_t truth = 0;
    size_t got = 0;
    while (truth < request.route.size()) {
      size_t truth_end = std::min(request.route.find('/', truth + 1), request.route.size());
      size_t got_end = got < route.size() ? std::min(route.find('/', got + 1), route.size()) : got;
      std::string wanted = request.route.substr(truth + 1, truth_end - truth - 1);
      if (wanted != "{}") {
        ++static_segments;
        if (got < route.size() && route.substr(got + 1, got_end - got - 1) == wanted) ++static_kept;
      }
      truth = truth_end;
      got = got_end;
    }
  }
  EXPECT_LE(names.size(), 200u);
  EXPECT_GE(static_cast<double>(static_kept), 0.95 * static_cast<double>(static_segments))
      << static_kept << " of " << static_segments;
  for (const std::string& name : names) {
    // Numbers, hashes and UUIDs never show, not even while it learns.
    size_t digits = 0;
    for (char c : name) digits = std::isdigit(static_cast<unsigned char>(c)) ? digits + 1 : 0;
    EXPECT_LT(digits, 3u) << name;
  }
  std::set<std::string> words(api.owners_.begin(), api.owners_.end());
  words.insert(api.repositories_.begin(), api.repositories_.end());
  words.insert(api.labels_.begin(), api.labels_.end());
  for (const std::string& name : late_names) {
    for (size_t start = 1; start < name.size();) {
      size_t end = std::min(name.find('/', start), name.size());
      EXPECT_FALSE(words.count(name.substr(start, end - start))) << name;
      start = end + 1;
    }
  }
  RecordProperty("names", static_cast<int>(names.size()));
}

}  // namespace
}  // namespace zerotap
