// Writes protobuf's wire format (https://protobuf.dev/programming-guides/encoding/) forward in one
// pass.
//
// A nested message is begun before its length is known: two bytes are left for it (most of our
// messages have 128 to 16383 bytes), and EndMessage moves the content when the length needs another
// number of bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

namespace zerotap::otlp {

static_assert(std::endian::native == std::endian::little, "fixed32 and fixed64 are copied");

// Tags of fields 1 to 15 are one byte.
constexpr uint8_t VarintTag(int field) { return static_cast<uint8_t>(field << 3); }
constexpr uint8_t Fixed64Tag(int field) { return static_cast<uint8_t>((field << 3) | 1); }
constexpr uint8_t BytesTag(int field) { return static_cast<uint8_t>((field << 3) | 2); }

constexpr size_t VarintSize(uint64_t value) {
  if (value < 0x80) return 1;
  return (static_cast<size_t>(std::bit_width(value | 1)) + 6) / 7;
}
// A length-delimited field with a one-byte tag.
constexpr size_t BytesFieldSize(size_t length) { return 1 + VarintSize(length) + length; }

inline char* PutVarint(char* at, uint64_t value) {
  while (value >= 0x80) {
    *at++ = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  *at++ = static_cast<char>(value);
  return at;
}
// Most texts are shorter than what calling memcpy costs: two words that overlap do.
inline char* PutBytes(char* at, std::string_view bytes) {
  const char* from = bytes.data();
  const size_t size = bytes.size();
  auto ends = [&]<size_t kWord>(std::integral_constant<size_t, kWord>) {
    std::memcpy(at, from, kWord);
    std::memcpy(at + size - kWord, from + size - kWord, kWord);
  };
  if (size > 32) {
    std::memcpy(at, from, size);
  } else if (size >= 16) {
    ends(std::integral_constant<size_t, 16>());
  } else if (size >= 8) {
    ends(std::integral_constant<size_t, 8>());
  } else if (size >= 4) {
    ends(std::integral_constant<size_t, 4>());
  } else {
    for (size_t i = 0; i < size; ++i) at[i] = from[i];
  }
  return at + size;
}
inline char* PutBytesField(char* at, uint8_t tag, std::string_view bytes) {
  *at++ = static_cast<char>(tag);
  return PutBytes(PutVarint(at, bytes.size()), bytes);
}

// Whether a buffer that is used again and again should give back its memory, after holding `used`
// bytes this time.
constexpr bool IsOversized(size_t used, size_t capacity) {
  return capacity > (size_t{256} << 10) && used < capacity / 8;
}
// Of a text that is used again and again: gives back what a burst left.
inline void Relax(std::string& text) {
  if (IsOversized(text.size(), text.capacity())) std::string().swap(text);
}

class WireBuffer {
 public:
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::string_view view() const { return {data_.get(), size_}; }
  void Truncate(size_t size) { size_ = size; }
  // Forgets the content. Under load the memory is kept for the next request; what a burst left is
  // given back.
  void ClearAndRelax() {
    if (IsOversized(size_, capacity_)) {
      data_.reset();
      capacity_ = 0;
    }
    size_ = 0;
  }

  // Room for `bytes` more; Commit says how many were written.
  char* Room(size_t bytes) {
    if (capacity_ - size_ < bytes) Grow(bytes);
    return data_.get() + size_;
  }
  void Commit(const char* end) { size_ = static_cast<size_t>(end - data_.get()); }

  void Varint(uint8_t tag, uint64_t value) {
    char* at = Room(11);
    *at++ = static_cast<char>(tag);
    Commit(PutVarint(at, value));
  }
  void Fixed64(uint8_t tag, uint64_t value) {
    char* at = Room(9);
    *at++ = static_cast<char>(tag);
    std::memcpy(at, &value, 8);
    Commit(at + 8);
  }
  // proto3 leaves zeros out, except in a oneof and in optional fields.
  void Fixed64UnlessZero(uint8_t tag, uint64_t value) {
    if (value != 0) Fixed64(tag, value);
  }
  void VarintUnlessZero(uint8_t tag, uint64_t value) {
    if (value != 0) Varint(tag, value);
  }
  void Double(uint8_t tag, double value) { Fixed64(tag, std::bit_cast<uint64_t>(value)); }
  void Bytes(uint8_t tag, std::string_view bytes) {
    Commit(PutBytesField(Room(11 + bytes.size()), tag, bytes));
  }
  void Append(std::string_view bytes) {
    char* at = Room(bytes.size());
    if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
    size_ += bytes.size();
  }

  // Returns the position that EndMessage wants.
  size_t BeginMessage(uint8_t tag) {
    char* at = Room(1 + kLengthBytes);
    *at = static_cast<char>(tag);
    size_ += 1 + kLengthBytes;
    return size_;
  }
  void EndMessage(size_t begin) {
    size_t length = size_ - begin;
    size_t needed = VarintSize(length);
    if (needed != kLengthBytes) {
      Room(needed);
      char* content = data_.get() + begin;
      std::memmove(content + needed - kLengthBytes, content, length);
      size_ = size_ + needed - kLengthBytes;
    }
    PutVarint(data_.get() + begin - kLengthBytes, length);
  }

 private:
  static constexpr size_t kLengthBytes = 2;

  void Grow(size_t bytes) {
    size_t wanted = size_ + bytes;
    size_t larger = capacity_ < 1024 ? 1024 : capacity_ * 2;
    capacity_ = larger < wanted ? wanted : larger;
    std::unique_ptr<char[]> data(new char[capacity_]);
    if (size_ > 0) std::memcpy(data.get(), data_.get(), size_);
    data_ = std::move(data);
  }

  std::unique_ptr<char[]> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace zerotap::otlp
