#include "agent/telemetry/attributes.h"

#include <bit>
#include <cstring>

namespace zerotap {

AttributeSet::Entry& AttributeSet::NewEntry(std::string_view key, Type type) {
  return entries_.emplace_back(
      Entry{key.data(), 0, static_cast<uint32_t>(key.size()), 0, 0, 0, type});
}

void AttributeSet::OwnKey(Entry& entry, std::string_view key) {
  entry.key = nullptr;
  entry.key_offset = static_cast<uint32_t>(text_.size());
  text_.append(key);
}

void AttributeSet::Add(std::string_view key, std::string_view value) {
  Entry& entry = NewEntry(key, Type::kString);
  entry.text_offset = static_cast<uint32_t>(text_.size());
  entry.text_size = static_cast<uint32_t>(value.size());
  text_.append(value);
}

void AttributeSet::Add(std::string_view key, int64_t value) {
  NewEntry(key, Type::kInt).number = value;
}

void AttributeSet::Add(std::string_view key, double value) {
  NewEntry(key, Type::kDouble).number = std::bit_cast<int64_t>(value);
}

void AttributeSet::Add(std::string_view key, bool value) {
  NewEntry(key, Type::kBool).number = value ? 1 : 0;
}

void AttributeSet::AppendList(Entry& entry, const std::vector<std::string_view>& values) {
  entry.text_offset = static_cast<uint32_t>(text_.size());
  entry.number = static_cast<int64_t>(values.size());
  for (std::string_view value : values) {
    auto size = static_cast<uint32_t>(value.size());
    text_.append(reinterpret_cast<const char*>(&size), sizeof(size));
    text_.append(value);
  }
  entry.text_size = static_cast<uint32_t>(text_.size()) - entry.text_offset;
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

std::string_view AttributeSet::KeyOf(const Entry& entry) const {
  return {entry.key != nullptr ? entry.key : text_.data() + entry.key_offset, entry.key_size};
}

Attribute AttributeSet::operator[](size_t index) const {
  const Entry& entry = entries_[index];
  std::string_view text(text_.data() + entry.text_offset, entry.text_size);
  Attribute attribute{KeyOf(entry), {}};
  switch (entry.type) {
    case Type::kString:
      attribute.value = text;
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
    case Type::kStringList: {
      std::vector<std::string_view> items;
      items.reserve(static_cast<size_t>(entry.number));
      while (!text.empty()) {
        uint32_t size;
        std::memcpy(&size, text.data(), sizeof(size));
        items.push_back(text.substr(sizeof(size), size));
        text.remove_prefix(sizeof(size) + size);
      }
      attribute.value = std::move(items);
      break;
    }
  }
  return attribute;
}

std::string_view AttributeSet::FindText(std::string_view key) const {
  for (const Entry& entry : entries_) {
    if (entry.type == Type::kString && KeyOf(entry) == key) {
      return {text_.data() + entry.text_offset, entry.text_size};
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
