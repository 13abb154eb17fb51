// OpenTelemetry's base-2 exponential histogram for values >= 0 (specification,
// metrics/data-model.md "ExponentialHistogram"): bucket i holds (base^i, base^(i+1)], base =
// 2^(2^-scale).
//
// Starts at the finest scale and gives up resolution when the values span more than kMaxBuckets.
// Record allocates nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace zerotap {

class ExponentialHistogram {
 public:
  static constexpr int32_t kMaxScale = 20;
  static constexpr int32_t kMinScale = -10;
  static constexpr int32_t kMaxBuckets = 160;

  // `value`: finite, >= 0.
  void Record(double value);
  void Reset() { *this = ExponentialHistogram(); }

  int32_t scale() const { return scale_; }
  uint64_t zero_count() const { return zero_count_; }
  // Index of the first bucket of Counts().
  int32_t offset() const { return low_ <= high_ ? low_ : 0; }
  std::vector<uint64_t> Counts() const;

  // The bucket of a value > 0 at a scale; exact at powers of two.
  static int32_t IndexOf(double value, int32_t scale);

 private:
  static size_t SlotOf(int32_t index) {
    int32_t slot = index % kMaxBuckets;
    return static_cast<size_t>(slot < 0 ? slot + kMaxBuckets : slot);
  }
  void Downscale(int32_t steps);

  int32_t scale_ = kMaxScale;
  int32_t low_ = 0;    // buckets in use: low_..high_, none when low_ > high_
  int32_t high_ = -1;
  uint64_t zero_count_ = 0;
  std::array<uint64_t, kMaxBuckets> counts_{};  // bucket i at i mod kMaxBuckets
};

}  // namespace zerotap
