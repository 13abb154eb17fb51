#include "exporters/otlp/json_writer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace zerotap::otlp {
namespace {

std::string Written(std::string_view text) {
  const std::vector<char> copy(text.begin(), text.end());  // nothing may be read behind it
  JsonWriter json;
  json.String({copy.data(), copy.size()});
  return std::string(json.text());
}

TEST(JsonWriterTest, EveryCharacterComesBackFromEveryPlace) {
  for (int c = 0; c < 0x80; ++c) {
    for (size_t size = 1; size < 36; ++size) {
      for (size_t at = 0; at < size; ++at) {
        std::string text(size, 'a');
        text[at] = static_cast<char>(c);
        const std::string written = Written(text);
        ASSERT_EQ(nlohmann::json::parse(written).get<std::string>(), text) << c << " " << size << " " << at;
        for (const char out : written) ASSERT_GE(out, 0x20) << "a control character as it is";
      }
    }
  }
}

TEST(JsonWriterTest, WhatIsNotUtf8IsRepairedAtEveryPlace) {
  for (size_t before = 0; before < 20; ++before) {
    for (size_t after = 0; after < 20; ++after) {
      const std::string left(before, 'a');
      const std::string right(after, 'b');
      EXPECT_EQ(Written(left + "\xFF" + right), "\"" + left + "\xEF\xBF\xBD" + right + "\"");
      EXPECT_EQ(Written(left + "\xC3\xA9" + right), "\"" + left + "\xC3\xA9" + right + "\"");
    }
  }
}

// The first piece of memory is 1024 bytes: what goes over its end must find more, from any place near it.
TEST(JsonWriterTest, MemoryGrowsWhereverItEnds) {
  for (size_t before = 960; before < 1040; ++before) {
    for (size_t size = 0; size < 40; ++size) {
      for (const char* end : {"", "\"", "\x01", "\xC3\xA9"}) {
        const std::string text = std::string(size, 'x') + end;
        JsonWriter json;
        json.BeginArray();
        json.String(std::string(before, 'a'));
        json.String(text);
        json.Hex(uint64_t{0x123}, ~uint64_t{0});
        json.EndArray();
        const nlohmann::json parsed = nlohmann::json::parse(json.text());
        ASSERT_EQ(parsed.at(1).get<std::string>(), text) << before << " " << size;
        ASSERT_EQ(parsed.at(2).get<std::string>(), "0000000000000123ffffffffffffffff");
      }
    }
  }
}

TEST(JsonWriterTest, WhatIsCutOffIsGone) {
  JsonWriter json;
  json.BeginArray();
  json.Number(1);
  const size_t size = json.size();
  json.String("no");
  json.Truncate(size);
  JsonWriter moved(std::move(json));
  moved.Number(2);
  moved.EndArray();
  EXPECT_EQ(moved.text(), "[1,2]");
}

}  // namespace
}  // namespace zerotap::otlp
