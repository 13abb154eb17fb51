#include "agent/base/bytes.h"

#include <gtest/gtest.h>

namespace zerotap {
namespace {

using namespace std::string_view_literals;

TEST(ByteReader, ReadsBigEndian) {
  ByteReader reader(AsBytes("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\xff"sv));
  EXPECT_EQ(reader.U8(), 0x01);
  EXPECT_EQ(reader.U16(), 0x0203);
  EXPECT_EQ(reader.U32(), 0x04050607u);
  EXPECT_EQ(reader.position(), 7u);
  EXPECT_EQ(reader.U64(), 0x08090A0B0C0D0EFFull);
  EXPECT_EQ(reader.remaining(), 0u);
  EXPECT_TRUE(reader.ok());
}

TEST(ByteReader, NeverReadsPastTheEndAndRemembers) {
  ByteReader reader(AsBytes("\x01\x02\x03"sv));
  EXPECT_EQ(reader.U32(), 0u);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.U8(), 0) << "also when the byte is there";
  EXPECT_TRUE(reader.Bytes(0).empty());
  EXPECT_TRUE(reader.NulTerminated().empty());
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.position(), 0u);
}

TEST(ByteReader, HugeCountsDoNotWrap) {
  ByteReader reader(AsBytes("abc"sv));
  reader.U8();
  EXPECT_TRUE(reader.Bytes(SIZE_MAX).empty());
  EXPECT_FALSE(reader.ok());
}

TEST(ByteReader, BytesAreBorrowedInOrder) {
  ByteReader reader(AsBytes("abcdef"sv));
  EXPECT_EQ(AsText(reader.Bytes(2)), "ab");
  EXPECT_EQ(AsText(reader.Bytes(0)), "");
  EXPECT_EQ(AsText(reader.Bytes(4)), "cdef");
  EXPECT_TRUE(reader.ok());
}

TEST(ByteReader, NulTerminatedTexts) {
  ByteReader reader(AsBytes("user\0joe\0\0tail"sv));
  EXPECT_EQ(reader.NulTerminated(), "user");
  EXPECT_EQ(reader.NulTerminated(), "joe");
  EXPECT_EQ(reader.NulTerminated(), "");
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.NulTerminated(), "") << "no end";
  EXPECT_FALSE(reader.ok());
}

TEST(ByteReader, NothingToRead) {
  ByteReader reader{ByteSpan()};
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.remaining(), 0u);
  EXPECT_EQ(AsText(ByteSpan()), "");
  EXPECT_EQ(reader.NulTerminated(), "");
  EXPECT_FALSE(reader.ok());
}

}  // namespace
}  // namespace zerotap
