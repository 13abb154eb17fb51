// Attributes of spans, metric points and resources.
//
// AttributeSet keeps insertion order (SigNoz derives columns from the wire order) and stores all texts in one buffer,
// so a span costs two allocations however many attributes it has. Keys are borrowed unless AddOwnedKey is used:
// pass the constants of semconv.h or texts that live as long as the set.
#pragma once

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

class AttributeSet {
 public:
  void Add(std::string_view key, std::string_view value);
  void Add(std::string_view key, const char* value) { Add(key, std::string_view(value)); }
  void Add(std::string_view key, int64_t value);
  void Add(std::string_view key, double value);
  void Add(std::string_view key, bool value);
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
  struct Entry {
    const char* key;  // nullptr: the key is owned, at [key_offset, key_offset + key_size) of text_
    uint32_t key_offset;
    uint32_t key_size;
    uint32_t text_offset;  // string: its text; list: its items, each with a 4-byte length before it
    uint32_t text_size;
    int64_t number;  // int, bool, the bits of a double, or the item count of a list
    Type type;
  };

  Entry& NewEntry(std::string_view key, Type type);
  void OwnKey(Entry& entry, std::string_view key);
  void AppendList(Entry& entry, const std::vector<std::string_view>& values);
  std::string_view KeyOf(const Entry& entry) const;

  std::vector<Entry> entries_;
  std::string text_;
};

}  // namespace zerotap
