#include "agent/processors/sampler.h"

#include <charconv>
#include <cmath>
#include <string>

namespace zerotap {
namespace {

constexpr uint64_t kAll = 0;
constexpr uint64_t kNone = uint64_t{1} << 56;
constexpr uint64_t kRandomnessMask = kNone - 1;

struct Known {
  std::string_view name;
  bool parent_based;
  enum class Root { kOn, kOff, kRatio } root;
};
constexpr Known kSamplers[] = {
    {"always_on", false, Known::Root::kOn},
    {"always_off", false, Known::Root::kOff},
    {"traceidratio", false, Known::Root::kRatio},
    {"parentbased_always_on", true, Known::Root::kOn},
    {"parentbased_always_off", true, Known::Root::kOff},
    {"parentbased_traceidratio", true, Known::Root::kRatio},
};

Result<double> ParseRatio(std::string_view text) {
  if (text.empty()) return 1.0;
  double ratio = 0;
  const char* end = text.data() + text.size();
  auto [stopped, error] = std::from_chars(text.data(), end, ratio);
  if (error != std::errc() || stopped != end || !(ratio >= 0 && ratio <= 1)) {
    return Fail("bad sampler argument \"" + std::string(text) +
                "\": the ratio of traces to keep must be a number from 0 to 1, for example 0.1");
  }
  return ratio;
}

}  // namespace

Result<Sampler> Sampler::Create(std::string_view name, std::string_view argument) {
  for (const Known& known : kSamplers) {
    if (known.name != name) continue;
    switch (known.root) {
      case Known::Root::kOn:
        return Sampler(known.parent_based, kAll);
      case Known::Root::kOff:
        return Sampler(known.parent_based, kNone);
      case Known::Root::kRatio: {
        Result<double> ratio = ParseRatio(argument);
        if (!ratio) return tl::unexpected<Error>(ratio.error());
        double kept = std::round(*ratio * static_cast<double>(kNone));
        return Sampler(known.parent_based, kNone - static_cast<uint64_t>(kept));
      }
    }
  }
  std::string message = "unknown sampler \"" + std::string(name) + "\": use one of ";
  for (const Known& known : kSamplers) {
    if (&known != kSamplers) message += ", ";
    message += known.name;
  }
  return Fail(std::move(message));
}

bool Sampler::ShouldSample(const TraceId& trace_id, std::optional<bool> parent_sampled) const {
  if (parent_based_ && parent_sampled.has_value()) return *parent_sampled;
  return (trace_id.low & kRandomnessMask) >= threshold_;
}

}  // namespace zerotap
