#include "exporters/otlp/json_writer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
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

}  // namespace
}  // namespace zerotap::otlp
