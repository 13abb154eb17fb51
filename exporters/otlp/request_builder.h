// One OTLP export request under construction. Traces and metrics have the same outer shape:
//   request { 1: resource_X { 1: resource, 2: scope_X { 1: scope, 2: item, 2: item ... } } ... }
// Items are written into one buffer per resource, in the order in which resources are first seen.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agent/telemetry/resource.h"
#include "exporters/otlp/wire_buffer.h"

namespace zerotap::otlp {

constexpr uint8_t kItemTag = BytesTag(2);  // ScopeSpans.spans, ScopeMetrics.metrics

// Who made the spans. An empty version is left out.
struct InstrumentationScope {
  std::string name = "zerotap";
  std::string version = {};
};

// Writes `attributes` as repeated KeyValue under `tag`. Texts that are not UTF-8 are repaired.
void WriteAttributes(uint8_t tag, const AttributeSet& attributes, WireBuffer& out);
// A string field; left out when empty, as proto3 does.
void WriteText(uint8_t tag, std::string_view text, WireBuffer& out);

class RequestBuilder {
 public:
  RequestBuilder(const InstrumentationScope& scope, size_t max_bytes);

  // Of the requests begun from now on.
  void set_max_bytes(size_t max_bytes) { max_bytes_ = max_bytes; }

  // Forgets the request; before the first and between any two.
  void Clear();
  bool empty() const { return used_ == 0; }

  // Where the items of `resource` go. After writing, the caller asks Fits(); when not, it takes
  // back what it wrote with Undo, down to `size` bytes of that buffer (a resource without items
  // disappears). Valid until the next Items call.
  WireBuffer& Items(const ResourcePtr& resource);
  bool Fits() const { return closed_bytes_ + current().items.size() + kSlack <= max_bytes_; }
  void Undo(size_t size);

  // The serialized request.
  void Build(std::string& body) const;

 private:
  struct Group {
    const Resource* resource = nullptr;
    std::string_view encoded_resource;
    WireBuffer items;
  };
  struct CachedResource {
    ResourcePtr resource;  // keeps the address from being used again
    std::string bytes;
  };
  // Lengths of enclosing messages that grow after the check: at most five bytes each.
  static constexpr size_t kSlack = 32;

  const Group& current() const { return groups_[current_]; }
  size_t Overhead(const Group& group) const;
  std::string_view EncodedResource(const ResourcePtr& resource);

  size_t max_bytes_;
  std::string scope_field_;
  std::vector<Group> groups_;  // the first used_ are of this request, the others keep their memory
  size_t used_ = 0;
  size_t current_ = 0;
  size_t closed_bytes_ = 0;  // of all groups but the current one's items
  std::unordered_map<const Resource*, size_t> index_;
  std::unordered_map<const Resource*, std::unique_ptr<CachedResource>> resources_;
};

}  // namespace zerotap::otlp
