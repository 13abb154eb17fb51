#include "agent/metrics/exponential_histogram.h"

#include <algorithm>
#include <cmath>

namespace zerotap {

int32_t ExponentialHistogram::IndexOf(double value, int32_t scale) {
  int exponent = 0;
  // value = fraction * 2^exponent, fraction in [1, 2)
  double fraction = std::frexp(value, &exponent) * 2;
  --exponent;
  bool power_of_two = fraction == 1.0;
  if (scale <= 0) {
    return (power_of_two ? exponent - 1 : exponent) >> -scale;
  }
  // The bucket just above 2^exponent.
  auto first = static_cast<int32_t>(exponent * (int64_t{1} << scale));
  if (power_of_two) return first - 1;
  int32_t buckets = int32_t{1} << scale;
  auto within = static_cast<int32_t>(std::ceil(std::log2(fraction) * buckets)) - 1;
  // Rounding must not carry it past a power of two.
  return first + std::clamp(within, 0, buckets - 1);
}

void ExponentialHistogram::Record(double value) {
  if (value <= 0) {
    ++zero_count_;
    return;
  }
  int32_t index = IndexOf(value, scale_);
  if (low_ > high_) {
    low_ = high_ = index;
  } else if (index < low_ || index > high_) {
    int32_t low = std::min(low_, index);
    int32_t high = std::max(high_, index);
    int32_t steps = 0;
    while (int64_t{high} - low >= kMaxBuckets) {
      low >>= 1;
      high >>= 1;
      ++steps;
    }
    if (steps > 0) {
      Downscale(steps);
      index >>= steps;
    }
    low_ = std::min(low_, index);
    high_ = std::max(high_, index);
  }
  ++counts_[SlotOf(index)];
}

void ExponentialHistogram::Downscale(int32_t steps) {
  std::array<uint64_t, kMaxBuckets> merged{};
  for (int32_t index = low_; index <= high_; ++index) {
    merged[SlotOf(index >> steps)] += counts_[SlotOf(index)];
  }
  counts_ = merged;
  low_ >>= steps;
  high_ >>= steps;
  scale_ -= steps;
}

std::vector<uint64_t> ExponentialHistogram::Counts() const {
  std::vector<uint64_t> counts;
  if (low_ > high_) return counts;
  counts.reserve(static_cast<size_t>(high_ - low_) + 1);
  for (int32_t index = low_; index <= high_; ++index) counts.push_back(counts_[SlotOf(index)]);
  return counts;
}

}  // namespace zerotap
