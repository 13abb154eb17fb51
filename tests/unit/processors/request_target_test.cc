#include "agent/processors/request_target.h"

#include <gtest/gtest.h>

namespace zerotap {
namespace {

void ExpectSplit(std::string_view target, std::string_view path, std::string_view query) {
  const RequestTarget split = SplitTarget("GET", target);
  EXPECT_EQ(split.path, path) << target;
  EXPECT_EQ(split.query, query) << target;
}

TEST(RequestTarget, AllForms) {
  ExpectSplit("/cart/17?color=red&size=4", "/cart/17", "color=red&size=4");
  ExpectSplit("/cart", "/cart", "");
  ExpectSplit("/cart?", "/cart", "");
  ExpectSplit("http://shop.example/cart?a=b", "/cart", "a=b");
  ExpectSplit("*", "*", "");
  ExpectSplit("", "", "");
}

TEST(RequestTarget, TheAuthorityOfATunnelIsNoPath) {
  const RequestTarget split = SplitTarget("CONNECT", "shop.example:443");
  EXPECT_EQ(split.path, "");
  EXPECT_EQ(split.query, "");
}

TEST(RequestTarget, AUrlWithinATargetIsNoSchemeOfIts) {
  ExpectSplit("/go?to=http://a.example/b", "/go", "to=http://a.example/b");
  ExpectSplit("/http://a.example/b", "/http://a.example/b", "");
}

TEST(RequestTarget, WithoutAPathTheRootIsMeant) { ExpectSplit("http://shop.example", "/", ""); }

}  // namespace
}  // namespace zerotap
