// Numbers as people write them in a configuration: sizes, durations, lists. Everything is checked
// to the last character.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zerotap {

std::optional<uint64_t> ParseUnsigned(std::string_view text);
std::optional<double> ParseNumber(std::string_view text);  // finite
std::optional<bool> ParseBool(std::string_view text);      // true or false
// "64MiB", "64KiB", "1GiB" or plain bytes.
std::optional<uint64_t> ParseByteSize(std::string_view text);
// "200ms", "1s", "5m", "1h", "10us"; nanoseconds. A number without a unit is refused: its meaning
// would be a guess.
std::optional<uint64_t> ParseDuration(std::string_view text);

// "5%" is 0.05; "off" and "0" are 0. Up to 100%.
std::optional<double> ParseShare(std::string_view text);

// The shortest text that the parsers above read back to the same value.
std::string ByteSizeText(uint64_t bytes);
std::string DurationText(uint64_t nanoseconds);

std::string_view TrimSpace(std::string_view text);
std::string ToLowerAscii(std::string_view text);
// Parts between commas, trimmed; empty parts are left out.
std::vector<std::string> SplitList(std::string_view text);
// "a, b, c"
std::string JoinList(const std::vector<std::string>& items);
// W3C-baggage style "key=value,key=value" with percent-encoding; empty when any of it cannot be
// decoded.
std::optional<std::vector<std::pair<std::string, std::string>>> ParseKeyValueList(
    std::string_view text);

// The candidate that `word` was probably meant to be; empty when none is near.
std::string ClosestWord(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace zerotap
