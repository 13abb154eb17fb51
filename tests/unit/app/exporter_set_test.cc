#include "agent/app/exporter_set.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>
#include <utility>

namespace zerotap {
namespace {

bool Compresses(std::string endpoint, std::string compression, std::string proxy = "", std::string protocol = "http/protobuf") {
  ExportConfig exports;
  exports.otlp.endpoint = std::move(endpoint);
  exports.otlp.protocol = std::move(protocol);
  exports.otlp.proxy = std::move(proxy);
  if (!compression.empty()) exports.otlp.compression = std::move(compression);
  return OtlpOptionsOf(exports, Signal::kTraces).gzip;
}

TEST(OtlpOptionsTest, WhatLeavesThisHostIsCompressedUnlessSaidOtherwise) {
  EXPECT_TRUE(Compresses("http://collector:4318", ""));
  EXPECT_FALSE(Compresses("http://collector:4318", "none"));
  EXPECT_FALSE(Compresses("http://127.0.0.1:4318", ""));
  EXPECT_FALSE(Compresses("", ""));
  EXPECT_TRUE(Compresses("http://127.0.0.1:4318", "gzip"));
  EXPECT_TRUE(Compresses("http://127.0.0.1:4318", "", "http://proxy:3128")) << "the proxy may be elsewhere";
  EXPECT_FALSE(Compresses("http://127.0.0.1:4318", "", "off"));
  EXPECT_TRUE(Compresses("localhost:4317", "", "", "grpc")) << "an early answer to a large request stops its sending";
  EXPECT_TRUE(Compresses("collector:4317", "", "", "grpc"));
}

TEST(OtlpOptionsTest, AProxyOfTheEnvironmentMayBeElsewhereToo) {
  ASSERT_EQ(::setenv("https_proxy", "http://proxy:3128", 1), 0);
  EXPECT_TRUE(Compresses("https://localhost:4318", ""));
  EXPECT_FALSE(Compresses("https://localhost:4318", "", "off"));
  ASSERT_EQ(::setenv("https_proxy", "", 1), 0);
  EXPECT_FALSE(Compresses("https://localhost:4318", ""));
  ASSERT_EQ(::unsetenv("https_proxy"), 0);
}

}  // namespace
}  // namespace zerotap
