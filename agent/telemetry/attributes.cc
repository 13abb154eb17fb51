#include "agent/telemetry/attributes.h"

#include <cstring>

namespace zerotap {

void AttributeSet::OwnKey(Entry& entry, std::string_view key) {
  entry.key_offset = text_.size();
  entry.key_is_owned = true;
  text_.append(key);
}

void AttributeSet::AppendList(Entry& entry, const std::vector<std::string_view>& values) {
  const size_t begin = text_.size();
  for (std::string_view value : values) {
    auto size = static_cast<uint32_t>(value.size());
    text_.append(reinterpret_cast<const char*>(&size), sizeof(size));
    text_.append(value);
  }
  entry.text = {static_cast<uint32_t>(begin), static_cast<uint32_t>(text_.size() - begin)};
}

std::vector<std::string_view> AttributeSet::ListOf(const Entry& entry) const {
  std::vector<std::string_view> items;
  for (std::string_view text = TextOf(entry); !text.empty();) {
    uint32_t size;
    std::memcpy(&size, text.data(), sizeof(size));
    items.push_back(text.substr(sizeof(size), size));
    text.remove_prefix(sizeof(size) + size);
  }
  return items;
}

void AttributeSet::Add(std::string_view key, const std::vector<std::string_view>& values) {
  AppendList(NewEntry(key, Type::kStringList), values);
}

void AttributeSet::AddOwnedKey(std::string_view key, std::string_view value) {
  Add(key, value);
  OwnKey(entries_.back(), key);
}

void AttributeSet::AddOwnedKey(std::string_view key, const std::vector<std::string_view>& values) {
  Add(key, values);
  OwnKey(entries_.back(), key);
}

void AttributeSet::AddOwnedKeyOf(std::string_view key, const AttributeValue& value) {
  std::visit([this, key](const auto& typed) { Add(key, typed); }, value);
  OwnKey(entries_.back(), key);
}

Attribute AttributeSet::operator[](size_t index) const {
  const Entry& entry = entries_[index];
  Attribute attribute{KeyOf(entry), {}};
  switch (entry.type) {
    case Type::kString:
      attribute.value = TextOf(entry);
      break;
    case Type::kInt:
      attribute.value = entry.number;
      break;
    case Type::kDouble:
      attribute.value = std::bit_cast<double>(entry.number);
      break;
    case Type::kBool:
      attribute.value = entry.number != 0;
      break;
    case Type::kStringList:
      attribute.value = ListOf(entry);
      break;
  }
  return attribute;
}

std::string_view AttributeSet::FindText(std::string_view key) const {
  for (const Entry& entry : entries_) {
    if (entry.type == Type::kString && KeyOf(entry) == key) {
      return TextOf(entry);
    }
  }
  return {};
}

bool AttributeSet::Has(std::string_view key) const {
  for (const Entry& entry : entries_) {
    if (KeyOf(entry) == key) return true;
  }
  return false;
}

void AttributeSet::Clear() {
  entries_.clear();
  text_.clear();
}

size_t AttributeSet::MemorySize() const {
  return entries_.capacity() * sizeof(Entry) + text_.capacity();
}

bool AttributeSet::operator==(const AttributeSet& other) const {
  if (size() != other.size()) return false;
  for (size_t i = 0; i < size(); ++i) {
    Attribute mine = (*this)[i];
    Attribute theirs = other[i];
    if (mine.key != theirs.key || mine.value != theirs.value) return false;
  }
  return true;
}

}  // namespace zerotap
