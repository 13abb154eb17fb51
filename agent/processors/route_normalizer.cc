#include "agent/processors/route_normalizer.h"

#include <algorithm>
#include <unordered_map>

#include "agent/base/hash.h"
#include "agent/processors/path_segment.h"

namespace zerotap {
namespace {

constexpr size_t kMaxDepth = 16;       // segments; deeper ones become {*}
constexpr size_t kMaxServices = 512;   // further services share one memory
constexpr size_t kMaxNodes = 16384;    // over all services
constexpr size_t kCacheEntries = 2048;  // a power of two
constexpr size_t kMaxCachedPath = 256;
constexpr uint64_t kSharedService = 0x5A4E17ull;
constexpr std::string_view kRest = "{*}";
constexpr std::string_view kSlug = "{slug}";

// One segment below a prefix.
struct Node {
  std::string text;
  Node* parent = nullptr;
  std::vector<std::unique_ptr<Node>> children;
  std::vector<std::string> candidates;  // words seen once, when there are many words already
  uint32_t words = 0;                   // children that are words
  uint64_t hits = 0;                    // requests that ended here
  bool word = false;
  bool collapsed = false;  // new words are {slug}
  bool issued = false;
  std::string route;  // set when issued

  Node* Find(std::string_view wanted) const {
    for (const std::unique_ptr<Node>& child : children) {
      if (child->text == wanted) return child.get();
    }
    return nullptr;
  }
  uint64_t AllHits() const {
    uint64_t sum = hits;
    for (const std::unique_ptr<Node>& child : children) sum += child->AllHits();
    return sum;
  }
  size_t Size() const {
    size_t size = 1;
    for (const std::unique_ptr<Node>& child : children) size += child->Size();
    return size;
  }
};

struct Service {
  Node root;
  size_t issued = 0;     // distinct routes ever given out
  uint32_t version = 0;  // changes when a route stops being given out
};

struct Pattern {
  std::string text;
  std::vector<std::string> segments;  // empty = any one segment
  bool rest = false;                  // ends with *
};

struct CacheEntry {
  uint64_t hash = 0;
  uint64_t service_key = 0;
  Service* service = nullptr;         // null: `pattern` says the route, or the entry is empty
  const Pattern* pattern = nullptr;
  Node* node = nullptr;  // valid while the service's version is `version`
  uint32_t version = 0;
  std::string path;
};

// A plural names a collection (users, repos): the words below it are mostly its members.
bool IsPlural(std::string_view word) {
  return word.size() >= 4 && word.back() == 's' && word[word.size() - 2] != 's';
}

// The next segment of `path` from `position` on, which is moved behind it; duplicate slashes are
// skipped.
std::string_view NextSegment(std::string_view path, size_t& position) {
  while (position < path.size() && path[position] == '/') ++position;
  size_t end = std::min(path.find('/', position), path.size());
  std::string_view segment = path.substr(position, end - position);
  position = end;
  return segment;
}

bool Matches(const Pattern& pattern, std::string_view path) {
  size_t position = 0;
  for (const std::string& wanted : pattern.segments) {
    std::string_view segment = NextSegment(path, position);
    if (segment.empty() || (!wanted.empty() && segment != wanted)) return false;
  }
  if (pattern.rest) return position < path.size();
  return NextSegment(path, position).empty();
}

Result<Pattern> ParsePattern(const std::string& text) {
  auto bad = [&text](std::string_view why) {
    return Fail("bad route pattern \"" + text + "\": " + std::string(why) +
                "; write it like /users/{id}/orders or /static/*");
  };
  if (text.empty() || text[0] != '/') return bad("it must begin with /");
  if (text.find_first_of("?#") != std::string::npos) return bad("it must not have a query");
  Pattern pattern;
  pattern.text = text;
  size_t position = 0;
  while (true) {
    std::string_view segment = NextSegment(text, position);
    if (segment.empty()) break;
    if (pattern.rest) return bad("* must come last");
    bool braces = segment.find_first_of("{}") != std::string_view::npos;
    if (segment == "*") {
      pattern.rest = true;
    } else if (segment.find('*') != std::string_view::npos) {
      return bad("* must be a segment of its own");
    } else if (segment[0] == ':') {
      return bad("a variable segment is {name}, not :name");
    } else if (!braces) {
      pattern.segments.emplace_back(segment);
    } else if (segment.size() > 2 && segment.front() == '{' && segment.back() == '}' &&
               segment.find_first_of("{}", 1) == segment.size() - 1) {
      pattern.segments.emplace_back();
    } else {
      return bad("{name} must be a whole segment");
    }
  }
  return pattern;
}

}  // namespace

struct RouteNormalizer::State {
  RouteOptions options;
  std::vector<Pattern> patterns;
  std::unordered_map<uint64_t, std::unique_ptr<Service>> services;
  std::vector<CacheEntry> cache = std::vector<CacheEntry>(kCacheEntries);
  size_t nodes = 0;
  std::string text;  // of the segment in work

  Service& ServiceFor(uint64_t key) {
    auto found = services.find(key);
    if (found != services.end()) return *found->second;
    if (services.size() >= kMaxServices) key = kSharedService;
    std::unique_ptr<Service>& slot = services[key];
    if (!slot) slot = std::make_unique<Service>();
    return *slot;
  }

  // A quarter of the routes is kept for {*}, the last one for /{*}.
  bool MayIssue(const Service& service) const {
    size_t reserved = std::max<size_t>(options.max_routes_per_service / 4, 1);
    size_t limit = options.max_routes_per_service - reserved;
    return service.issued < limit && nodes < kMaxNodes;
  }
  bool MayIssueRest(const Service& service) const {
    return service.issued + 1 < options.max_routes_per_service && nodes < kMaxNodes + 1024;
  }

  Node* AddChild(Node& parent, std::string_view child_text, bool word) {
    auto child = std::make_unique<Node>();
    child->text = child_text;
    child->parent = &parent;
    child->word = word;
    if (word) ++parent.words;
    ++nodes;
    parent.children.push_back(std::move(child));
    return parent.children.back().get();
  }

  void Issue(Service& service, Node& node) {
    node.issued = true;
    ++service.issued;
    node.route.clear();
    for (const Node* at = &node; at->parent != nullptr; at = at->parent) {
      node.route.insert(0, at->text);
      node.route.insert(0, 1, '/');
    }
    if (node.route.empty()) node.route = "/";
  }

  // The deepest {*} at or above `node` that may be given out.
  Node& Rest(Service& service, Node* node) {
    for (; node != nullptr; node = node->parent) {
      Node* rest = node->Find(kRest);
      if (rest != nullptr && rest->issued) return *rest;
      if (node->parent != nullptr && !MayIssueRest(service)) continue;
      if (rest == nullptr) rest = AddChild(*node, kRest, false);
      Issue(service, *rest);
      return *rest;
    }
    return service.root;  // not reached: the root always gives one
  }

  // Too many words below one prefix: they are values. Words that were asked for far more often than
  // the rest stay.
  void Collapse(Service& service, Node& node) {
    node.collapsed = true;
    std::vector<uint64_t> hits(node.candidates.size(), 1);
    node.candidates = {};
    for (const std::unique_ptr<Node>& child : node.children) {
      if (child->word) hits.push_back(child->AllHits());
    }
    if (hits.empty()) return;
    auto middle = hits.begin() + static_cast<ptrdiff_t>(hits.size() / 2);
    std::nth_element(hits.begin(), middle, hits.end());
    uint64_t threshold = std::max<uint64_t>(10, *middle * 8);
    std::erase_if(node.children, [&](const std::unique_ptr<Node>& child) {
      if (!child->word || child->AllHits() >= threshold) return false;
      nodes -= child->Size();
      --node.words;
      return true;
    });
    ++service.version;
  }

  // Whether `text` below `node` belongs to the API. Sets `final` to false when a later call may say
  // otherwise. The first words are taken at once; then a word must come twice, for values seldom
  // do; when both together are too many, the prefix collapses.
  bool IsStaticWord(Service& service, Node& node, bool& final) {
    if (node.collapsed) return false;
    size_t limit = std::max<size_t>(options.max_values_per_segment, 1);
    auto candidate = std::find(node.candidates.begin(), node.candidates.end(), text);
    if (candidate != node.candidates.end()) {
      node.candidates.erase(candidate);
      return true;
    }
    size_t at_once = IsPlural(node.text) ? limit / 6 : limit / 2;
    if (node.words < std::max<size_t>(at_once, 1)) return true;
    if (node.words + node.candidates.size() >= limit) {
      Collapse(service, node);
      return false;
    }
    node.candidates.push_back(text);
    final = false;
    return false;
  }

  Node& Walk(Service& service, std::string_view path, bool& final) {
    bool cut = path.size() > options.max_path_bytes;
    if (cut) {
      path = path.substr(0, options.max_path_bytes);
      path = path.substr(0, path.rfind('/') + 1);
    }
    Node* node = &service.root;
    size_t position = 0;
    for (size_t depth = 0;; ++depth) {
      bool slash = position < path.size();
      std::string_view segment = NextSegment(path, position);
      if (segment.empty()) {
        if (cut) return Rest(service, node);
        if (!slash || depth == 0) break;
        // A trailing slash belongs to the route.
        Node* child = node->Find("");
        if (child == nullptr) {
          if (!MayIssue(service)) return Rest(service, node->parent);
          child = AddChild(*node, "", false);
        }
        node = child;
        break;
      }
      if (depth == kMaxDepth) return Rest(service, node);
      SegmentKind kind = ClassifySegment(segment, text);
      bool word = kind != SegmentKind::kValue;
      Node* child = node->Find(text);
      if (child == nullptr && word && !(MayIssue(service) && IsStaticWord(service, *node, final))) {
        if (!node->collapsed && final) return Rest(service, node);  // no room to learn
        text = kSlug;
        word = false;
        child = node->Find(text);
      }
      if (child == nullptr) {
        if (!MayIssue(service)) return Rest(service, node);
        child = AddChild(*node, text, word);
      }
      node = child;
    }
    if (node->issued) return *node;
    if (!MayIssue(service)) return Rest(service, node->parent != nullptr ? node->parent : node);
    Issue(service, *node);
    return *node;
  }
};

RouteNormalizer::RouteNormalizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
RouteNormalizer::RouteNormalizer(RouteNormalizer&&) noexcept = default;
RouteNormalizer& RouteNormalizer::operator=(RouteNormalizer&&) noexcept = default;
RouteNormalizer::~RouteNormalizer() = default;

Result<RouteNormalizer> RouteNormalizer::Create(const RouteOptions& options) {
  auto state = std::make_unique<State>();
  state->options = options;
  state->options.max_routes_per_service = std::max<size_t>(options.max_routes_per_service, 1);
  state->options.max_path_bytes = std::max<size_t>(options.max_path_bytes, 1);
  for (const std::string& text : options.patterns) {
    Result<Pattern> pattern = ParsePattern(text);
    if (!pattern) return tl::unexpected<Error>(pattern.error());
    state->patterns.push_back(std::move(*pattern));
  }
  return RouteNormalizer(std::move(state));
}

std::string_view RouteNormalizer::Normalize(uint64_t service_key, std::string_view path) {
  State& state = *state_;
  // Not by find_first_of, which searches the set anew for each character.
  path = path.substr(0, static_cast<size_t>(std::find_if(path.begin(), path.end(), [](char c) { return c == '?' || c == '#'; }) -
                                            path.begin()));
  if (path.empty()) return "/";
  if (path[0] != '/') {
    if (path == "*") return "*";
    size_t scheme = path.find("://");
    if (scheme == std::string_view::npos || scheme > 16) return {};  // CONNECT's host:port
    size_t slash = path.find('/', scheme + 3);
    if (slash == std::string_view::npos) return "/";
    path.remove_prefix(slash);
  }

  uint64_t hash = HashText(path, service_key);
  CacheEntry& entry = state.cache[hash & (kCacheEntries - 1)];
  if (entry.hash == hash && entry.service_key == service_key && entry.path == path) {
    if (entry.pattern != nullptr) return entry.pattern->text;
    if (entry.service != nullptr && entry.version == entry.service->version) {
      ++entry.node->hits;
      return entry.node->route;
    }
  }

  Service* service = nullptr;
  Node* node = nullptr;
  bool final = true;
  auto pattern =
      std::find_if(state.patterns.begin(), state.patterns.end(),
                   [path](const Pattern& candidate) { return Matches(candidate, path); });
  std::string_view route;
  if (pattern != state.patterns.end()) {
    route = pattern->text;
  } else {
    service = &state.ServiceFor(service_key);
    node = &state.Walk(*service, path, final);
    ++node->hits;
    route = node->route;
  }
  if (final && path.size() <= kMaxCachedPath) {
    entry.hash = hash;
    entry.service_key = service_key;
    entry.service = service;
    entry.pattern = service == nullptr ? &*pattern : nullptr;
    entry.node = node;
    entry.version = service != nullptr ? service->version : 0;
    entry.path.assign(path);
  }
  return route;
}

}  // namespace zerotap
