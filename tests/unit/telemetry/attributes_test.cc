#include "agent/telemetry/attributes.h"

#include <gtest/gtest.h>

namespace zerotap {
namespace {

TEST(AttributeSet, KeepsOrderTypesAndValues) {
  AttributeSet set;
  set.Add("text", "value");
  set.Add("int", int64_t{-5});
  set.Add("double", 2.5);
  set.Add("bool", true);
  set.Add("list", std::vector<std::string_view>{"a", "", "ccc"});
  ASSERT_EQ(set.size(), 5u);
  EXPECT_EQ(set[0].key, "text");
  EXPECT_EQ(std::get<std::string_view>(set[0].value), "value");
  EXPECT_EQ(std::get<int64_t>(set[1].value), -5);
  EXPECT_EQ(std::get<double>(set[2].value), 2.5);
  EXPECT_EQ(std::get<bool>(set[3].value), true);
  EXPECT_EQ(std::get<std::vector<std::string_view>>(set[4].value), (std::vector<std::string_view>{"a", "", "ccc"}));
}

TEST(AttributeSet, ACharPointerIsATextNotABool) {
  AttributeSet set;
  const char* value = "x";
  set.Add("k", value);
  EXPECT_TRUE(std::holds_alternative<std::string_view>(set[0].value));
}

TEST(AttributeSet, ValuesAndOwnedKeysOutliveTheirSources) {
  AttributeSet set;
  {
    std::string key = "http.request.header.x-" + std::string(40, 'k');
    std::string value(100, 'v');
    set.AddOwnedKey(key, value);
    set.AddOwnedKey(key + "2", std::vector<std::string_view>{value, "w"});
    key.assign(key.size(), '!');
    value.assign(value.size(), '!');
  }
  for (int i = 0; i < 100; ++i) set.Add("more", "text that makes the buffer grow");
  EXPECT_EQ(set[0].key, "http.request.header.x-" + std::string(40, 'k'));
  EXPECT_EQ(std::get<std::string_view>(set[0].value), std::string(100, 'v'));
  EXPECT_EQ(set[1].key.back(), '2');
  EXPECT_EQ(std::get<std::vector<std::string_view>>(set[1].value)[1], "w");
}

TEST(AttributeSet, CopiesAreIndependent) {
  AttributeSet set;
  set.AddOwnedKey("own", "1");
  AttributeSet copy = set;
  set.Clear();
  EXPECT_TRUE(set.empty());
  EXPECT_EQ(copy[0].key, "own");
  EXPECT_EQ(copy.FindText("own"), "1");
  AttributeSet moved = std::move(copy);
  EXPECT_EQ(moved.FindText("own"), "1");
}

TEST(AttributeSet, FindsTextsAndKeys) {
  AttributeSet set;
  set.Add("a", int64_t{1});
  set.Add("b", "two");
  EXPECT_EQ(set.FindText("b"), "two");
  EXPECT_EQ(set.FindText("a"), "") << "not a text";
  EXPECT_EQ(set.FindText("c"), "");
  EXPECT_TRUE(set.Has("a"));
  EXPECT_FALSE(set.Has("c"));
  EXPECT_FALSE(set.Has("aa"));
}

TEST(AttributeSet, EmptyTextsAndLists) {
  AttributeSet set;
  set.Add("a", std::string_view());
  set.Add("b", std::vector<std::string_view>{});
  set.AddOwnedKey("", "");
  EXPECT_EQ(std::get<std::string_view>(set[0].value), "");
  EXPECT_TRUE(std::get<std::vector<std::string_view>>(set[1].value).empty());
  EXPECT_EQ(set[2].key, "");
}

TEST(AttributeSet, EqualityIsByKeyTypeValueAndOrder) {
  AttributeSet a;
  a.Add("x", "1");
  a.Add("y", int64_t{2});
  AttributeSet b;
  b.AddOwnedKey("x", "1");
  b.Add("y", int64_t{2});
  EXPECT_EQ(a, b) << "however the key is held";
  AttributeSet other_order;
  other_order.Add("y", int64_t{2});
  other_order.Add("x", "1");
  EXPECT_FALSE(a == other_order);
  AttributeSet other_type;
  other_type.Add("x", "1");
  other_type.Add("y", 2.0);
  EXPECT_FALSE(a == other_type);
  b.Add("z", true);
  EXPECT_FALSE(a == b);
}

TEST(AttributeSet, MemoryIsAccounted) {
  AttributeSet set;
  size_t before = set.MemorySize();
  set.Add("k", std::string(1000, 'x'));
  EXPECT_GE(set.MemorySize(), before + 1000);
}

}  // namespace
}  // namespace zerotap
