#include "exporters/otlp/request_builder.h"

#include <algorithm>
#include <type_traits>

#include "exporters/utf8.h"

namespace zerotap::otlp {
namespace {

// Encoded resources are kept between requests; processes come and go, so not for ever.
constexpr size_t kMaxCachedResources = 256;
constexpr size_t kKeptGroups = 8;

std::string_view Repaired(std::string_view text, std::string& scratch) {
  if (IsValidUtf8(text)) return text;
  scratch.clear();
  AppendValidUtf8(text, scratch);
  return scratch;
}
inline std::string_view ValidText(std::string_view text, std::string& scratch) {
  return IsAscii(text) ? text : Repaired(text, scratch);
}

// KeyValue { 1: key, 2: AnyValue { ... } } of which `value_size` bytes of AnyValue are still to be
// written.
inline char* BeginKeyValue(uint8_t tag, std::string_view key, size_t value_size, WireBuffer& out) {
  size_t pair_size = BytesFieldSize(key.size()) + BytesFieldSize(value_size);
  char* at = out.Room(BytesFieldSize(pair_size));
  *at++ = static_cast<char>(tag);
  at = PutVarint(at, pair_size);
  at = PutBytesField(at, BytesTag(1), key);
  *at++ = static_cast<char>(BytesTag(2));
  return PutVarint(at, value_size);
}

void WriteList(uint8_t tag, std::string_view key, const std::vector<std::string_view>& values,
               WireBuffer& out) {
  size_t pair = out.BeginMessage(tag);
  out.Bytes(BytesTag(1), key);
  size_t any = out.BeginMessage(BytesTag(2));
  size_t array = out.BeginMessage(BytesTag(5));
  std::string scratch;
  for (std::string_view value : values) {
    size_t item = out.BeginMessage(BytesTag(1));
    out.Bytes(BytesTag(1), ValidText(value, scratch));
    out.EndMessage(item);
  }
  out.EndMessage(array);
  out.EndMessage(any);
  out.EndMessage(pair);
}

}  // namespace

void WriteText(uint8_t tag, std::string_view text, WireBuffer& out) {
  if (text.empty()) return;
  std::string scratch;
  out.Bytes(tag, ValidText(text, scratch));
}

void WriteAttributes(uint8_t tag, const AttributeSet& attributes, WireBuffer& out) {
  std::string key_scratch;
  std::string value_scratch;
  attributes.ForEach([&](std::string_view name, const auto& value) {
    using Value = std::decay_t<decltype(value)>;
    const std::string_view key = ValidText(name, key_scratch);
    if constexpr (std::is_same_v<Value, std::string_view>) {
      const std::string_view valid = ValidText(value, value_scratch);
      char* at = BeginKeyValue(tag, key, BytesFieldSize(valid.size()), out);
      out.Commit(PutBytesField(at, BytesTag(1), valid));
    } else if constexpr (std::is_same_v<Value, int64_t>) {
      auto bits = static_cast<uint64_t>(value);
      char* at = BeginKeyValue(tag, key, 1 + VarintSize(bits), out);
      *at++ = static_cast<char>(VarintTag(3));
      out.Commit(PutVarint(at, bits));
    } else if constexpr (std::is_same_v<Value, bool>) {
      char* at = BeginKeyValue(tag, key, 2, out);
      *at++ = static_cast<char>(VarintTag(2));
      *at++ = value ? 1 : 0;
      out.Commit(at);
    } else if constexpr (std::is_same_v<Value, double>) {
      char* at = BeginKeyValue(tag, key, 9, out);
      *at++ = static_cast<char>(Fixed64Tag(4));
      std::memcpy(at, &value, 8);
      out.Commit(at + 8);
    } else {
      WriteList(tag, key, value, out);
    }
  });
}

RequestBuilder::RequestBuilder(const InstrumentationScope& scope, size_t max_bytes)
    : max_bytes_(max_bytes) {
  WireBuffer content;
  WriteText(BytesTag(1), scope.name, content);
  WriteText(BytesTag(2), scope.version, content);
  WireBuffer field;
  field.Bytes(BytesTag(1), content.view());
  scope_field_ = field.view();
}

void RequestBuilder::Clear() {
  for (size_t i = 0; i < used_; ++i) {
    groups_[i].items.ClearAndRelax();
  }
  // Buffers that this request had no use for are left from one with more resources.
  groups_.resize(std::min(groups_.size(), std::max(used_, kKeptGroups)));
  used_ = 0;
  current_ = 0;
  closed_bytes_ = 0;
  index_.clear();
  // Only between requests: groups point into the cache.
  if (resources_.size() > kMaxCachedResources) resources_.clear();
}

std::string_view RequestBuilder::EncodedResource(const ResourcePtr& resource) {
  std::unique_ptr<CachedResource>& cached = resources_[resource.get()];
  if (cached == nullptr) {
    cached = std::make_unique<CachedResource>();
    cached->resource = resource;
    if (resource != nullptr) {
      WireBuffer content;
      WriteAttributes(BytesTag(1), resource->attributes, content);
      cached->bytes = content.view();
    }
  }
  return cached->bytes;
}

size_t RequestBuilder::Overhead(const Group& group) const {
  // Tag and length of resource_X and scope_X (at most five bytes of length each), the resource and
  // the scope.
  return 2 * 6 + BytesFieldSize(group.encoded_resource.size()) + scope_field_.size();
}

WireBuffer& RequestBuilder::Items(const ResourcePtr& resource) {
  if (used_ > 0 && groups_[current_].resource == resource.get()) return groups_[current_].items;
  if (used_ > 0) closed_bytes_ += groups_[current_].items.size();
  auto [found, added] = index_.try_emplace(resource.get(), used_);
  current_ = found->second;
  if (added) {
    if (groups_.size() == used_) groups_.emplace_back();
    Group& group = groups_[used_++];
    group.resource = resource.get();
    group.encoded_resource = EncodedResource(resource);
    closed_bytes_ += Overhead(group);
  } else {
    closed_bytes_ -= groups_[current_].items.size();
  }
  return groups_[current_].items;
}

void RequestBuilder::Undo(size_t size) {
  Group& group = groups_[current_];
  group.items.Truncate(size);
  if (size > 0 || current_ + 1 != used_) return;
  closed_bytes_ -= Overhead(group);
  index_.erase(group.resource);
  group.resource = nullptr;
  --used_;
  if (used_ == 0) {
    current_ = 0;
    return;
  }
  current_ = used_ - 1;
  closed_bytes_ -= groups_[current_].items.size();
}

void RequestBuilder::Build(std::string& body) const {
  body.clear();
  size_t total = 0;
  for (size_t i = 0; i < used_; ++i) total += Overhead(groups_[i]) + groups_[i].items.size();
  body.reserve(total);
  auto append_head = [&body](uint8_t tag, size_t length) {
    char head[11];
    head[0] = static_cast<char>(tag);
    body.append(head, static_cast<size_t>(PutVarint(head + 1, length) - head));
  };
  for (size_t i = 0; i < used_; ++i) {
    const Group& group = groups_[i];
    size_t scope_size = scope_field_.size() + group.items.size();
    append_head(BytesTag(1),
                BytesFieldSize(group.encoded_resource.size()) + BytesFieldSize(scope_size));
    append_head(BytesTag(1), group.encoded_resource.size());
    body.append(group.encoded_resource);
    append_head(BytesTag(2), scope_size);
    body.append(scope_field_);
    body.append(group.items.view());
  }
}

}  // namespace zerotap::otlp
