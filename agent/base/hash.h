// 64-bit mixing for hash tables and for ids that must be the same in live capture and replay.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace zerotap {

// Finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection with full avalanche.
constexpr uint64_t MixHash(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
  return value ^ (value >> 31);
}
// Of an ordered pair. The seed is spread over the word first: a plain sum would give (1, 3) and (2, 2) the same hash,
// and callers combine small dense numbers (connection ids, offsets).
constexpr uint64_t CombineHash(uint64_t seed, uint64_t value) {
  return MixHash((seed + 1) * 0x9E3779B97F4A7C15ull + value);
}
// calls on_word with each eight bytes of the text, then with the 0 to 7 that remain, as little-endian words padded with
// zeros. Loads of fixed sizes only: one of a size that is not known is a loop over bytes.
template <typename OnWord>
inline void ForEachWord(std::string_view text, OnWord on_word) {
  const char* at = text.data();
  size_t left = text.size();
  uint64_t word = 0;
  for (; left >= 8; at += 8, left -= 8) {
    std::memcpy(&word, at, 8);
    on_word(word);
  }
  if (left == 0) {
    word = 0;
  } else if (text.size() >= 8) {
    std::memcpy(&word, at + left - 8, 8);
    word >>= 64 - 8 * left;
  } else if (left >= 4) {
    uint32_t first, last;
    std::memcpy(&first, at, 4);
    std::memcpy(&last, at + left - 4, 4);
    word = first | static_cast<uint64_t>(last) << (8 * (left - 4));
  } else {
    const auto byte = [at](size_t index) { return static_cast<uint64_t>(static_cast<unsigned char>(at[index])); };
    word = byte(0) | byte(left / 2) << (8 * (left / 2)) | byte(left - 1) << (8 * (left - 1));
  }
  on_word(word);
}

inline uint64_t HashText(std::string_view text, uint64_t seed = 0) {
  uint64_t hash = MixHash(seed ^ text.size());
  ForEachWord(text, [&hash](uint64_t word) { hash = CombineHash(hash, word); });
  return hash;
}

}  // namespace zerotap
