// Tells from one path segment alone whether it is a value (number, UUID, hash, date, ...) or a word
// of the API.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace zerotap {

enum class SegmentKind : uint8_t {
  kWord,       // static as far as one can see
  kComposite,  // a word with a value inside: main.{hex}.js
  kValue,      // a value as a whole: {id}
};

// Sets `out` to what stands for `segment` in a route: itself or a text with {id}, {uuid}, {hex},
// {date}, {token}, {slug}, {email}. `segment` holds no '/' and is not empty.
SegmentKind ClassifySegment(std::string_view segment, std::string& out);

}  // namespace zerotap
