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
inline uint64_t HashText(std::string_view text, uint64_t seed = 0) {
  uint64_t hash = MixHash(seed ^ text.size());
  while (text.size() >= 8) {
    uint64_t word;
    std::memcpy(&word, text.data(), 8);
    hash = CombineHash(hash, word);
    text.remove_prefix(8);
  }
  uint64_t word = 0;
  if (!text.empty()) std::memcpy(&word, text.data(), text.size());  // data() may be null
  return CombineHash(hash, word);
}

}  // namespace zerotap
