// Attributes of spans, metric points and resources.
//
// AttributeSet keeps insertion order (SigNoz derives columns from the wire order) and stores all texts in one buffer,
// so a span costs two allocations however many attributes it has. Keys are borrowed unless AddOwnedKey is used:
// pass the constants of semconv.h or texts that live as long as the set.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace zerotap {

// A borrowed value. Lists of strings are the one array type that the conventions we follow need.
using AttributeValue =
    std::variant<std::string_view, int64_t, double, bool, std::vector<std::string_view>>;

struct Attribute {
  std::string_view key;
  AttributeValue value;
};

// Of a metric point: borrowed, and cheap to put together, since each request does.
struct MetricAttribute {
  std::string_view key;
  std::variant<std::string_view, int64_t> value;
};

class AttributeSet {
 public:
  void Add(std::string_view key, std::string_view value) {
    const auto offset = static_cast<uint32_t>(text_.size());
    text_.append(value);
    NewEntry(key, Type::kString).text = {offset, static_cast<uint32_t>(value.size())};
  }
  void Add(std::string_view key, const char* value) { Add(key, std::string_view(value)); }
  void Add(std::string_view key, int64_t value) { NewEntry(key, Type::kInt).number = value; }
  void Add(std::string_view key, double value) {
    NewEntry(key, Type::kDouble).number = std::bit_cast<int64_t>(value);
  }
  void Add(std::string_view key, bool value) { NewEntry(key, Type::kBool).number = value ? 1 : 0; }
  void Add(std::string_view key, const std::vector<std::string_view>& values);
  // For keys made at run time (http.request.header.<name>): the key is copied.
  void AddOwnedKey(std::string_view key, std::string_view value);
  void AddOwnedKey(std::string_view key, const std::vector<std::string_view>& values);
  void AddOwnedKeyOf(std::string_view key, const AttributeValue& value);  // of any type

  // Room for that many attributes and text bytes, to save reallocations.
  void Reserve(size_t attributes, size_t text_bytes) {
    entries_.reserve(attributes);
    text_.reserve(text_bytes);
  }
  size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  // The i-th attribute in insertion order; views are valid until the set is changed or destroyed.
  Attribute operator[](size_t index) const;
  // visit(key, value) for each, in insertion order, with a value of one of the types of AttributeValue.
  template <typename Visit>
  void ForEach(Visit&& visit) const;
  // The text of `key`, empty when absent or not a string.
  std::string_view FindText(std::string_view key) const;
  bool Has(std::string_view key) const;
  void Clear();
  // Keeps the first `count`.
  void Truncate(size_t count) {
    if (count < entries_.size()) entries_.resize(count);
  }
  // Bytes held, for memory budgets.
  size_t MemorySize() const;

  bool operator==(const AttributeSet& other) const;

 private:
  enum class Type : uint8_t { kString, kInt, kDouble, kBool, kStringList };
  struct Text {
    uint32_t offset;  // into text_
    uint32_t size;
  };
  // Spans have a dozen and more of these, so they are small.
  struct Entry {
    union {
      const char* key;
      uint64_t key_offset;  // owned: into text_
    };
    union {
      int64_t number;  // int, bool, or the bits of a double
      Text text;       // of a string; of a list: its items, each with a 4-byte length before it
    };
    uint32_t key_size;
    Type type;
    bool key_is_owned;
  };
  static_assert(sizeof(Entry) == 24);

  Entry& NewEntry(std::string_view key, Type type) {
    Entry entry;
    entry.key = key.data();
    entry.number = 0;
    entry.key_size = static_cast<uint32_t>(key.size());
    entry.type = type;
    entry.key_is_owned = false;
    entries_.push_back(entry);
    return entries_.back();
  }
  void OwnKey(Entry& entry, std::string_view key);
  void AppendList(Entry& entry, const std::vector<std::string_view>& values);
  std::string_view KeyOf(const Entry& entry) const {
    return {entry.key_is_owned ? text_.data() + entry.key_offset : entry.key, entry.key_size};
  }
  std::string_view TextOf(const Entry& entry) const {
    return {text_.data() + entry.text.offset, entry.text.size};
  }
  std::vector<std::string_view> ListOf(const Entry& entry) const;

  std::vector<Entry> entries_;
  std::string text_;
};

template <typename Visit>
void AttributeSet::ForEach(Visit&& visit) const {
  for (const Entry& entry : entries_) {
    const std::string_view key = KeyOf(entry);
    switch (entry.type) {
      case Type::kString:
        visit(key, TextOf(entry));
        break;
      case Type::kInt:
        visit(key, entry.number);
        break;
      case Type::kDouble:
        visit(key, std::bit_cast<double>(entry.number));
        break;
      case Type::kBool:
        visit(key, entry.number != 0);
        break;
      case Type::kStringList:
        visit(key, ListOf(entry));
        break;
    }
  }
}

}  // namespace zerotap
