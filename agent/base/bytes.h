// Borrowed bytes and a reader over them that never reads past the end.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace zerotap {

using ByteSpan = std::span<const std::byte>;

inline std::string_view AsText(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline ByteSpan AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// std::memchr for a byte that is near or a text that is short: the call takes longer than the search. Null: not there.
inline const char* FindNear(const char* from, const char* end, char wanted) {
#ifdef __SSE2__
  const __m128i pattern = _mm_set1_epi8(wanted);
  for (; end - from >= 16; from += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    const auto equal = static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, pattern)));
    if (equal != 0) return from + std::countr_zero(equal);
  }
#endif
  return from == end ? nullptr : static_cast<const char*>(std::memchr(from, wanted, static_cast<size_t>(end - from)));
}

// Sequential big-endian reader. After a read past the end `ok()` is false for ever and reads give zeros.
class ByteReader {
 public:
  explicit ByteReader(ByteSpan bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  size_t position() const { return position_; }
  size_t remaining() const { return bytes_.size() - position_; }

  uint8_t U8() { return static_cast<uint8_t>(Unsigned(1)); }
  uint16_t U16() { return static_cast<uint16_t>(Unsigned(2)); }
  uint32_t U32() { return static_cast<uint32_t>(Unsigned(4)); }
  uint64_t U64() { return Unsigned(8); }

  ByteSpan Bytes(size_t count) {
    if (!Has(count)) return {};
    ByteSpan result = bytes_.subspan(position_, count);
    position_ += count;
    return result;
  }

  // Text up to (not including) the next NUL, which is consumed; not ok when there is none.
  std::string_view NulTerminated() {
    std::string_view rest = AsText(bytes_.subspan(position_));
    size_t end = rest.find('\0');
    if (!ok_ || end == std::string_view::npos) {
      ok_ = false;
      return {};
    }
    position_ += end + 1;
    return rest.substr(0, end);
  }

 private:
  bool Has(size_t count) {
    if (!ok_ || remaining() < count) ok_ = false;
    return ok_;
  }
  uint64_t Unsigned(size_t width) {
    if (!Has(width)) return 0;
    uint64_t value = 0;
    for (size_t i = 0; i < width; ++i) {
      value = (value << 8) | std::to_integer<uint64_t>(bytes_[position_ + i]);
    }
    position_ += width;
    return value;
  }

  ByteSpan bytes_;
  size_t position_ = 0;
  bool ok_ = true;
};

}  // namespace zerotap
