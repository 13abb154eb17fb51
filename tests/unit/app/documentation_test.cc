// The documents name what the program has: the agent's own metrics, the reasons of the ledger.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "agent/app/self_metrics.h"

namespace zerotap {
namespace {

using ::testing::Contains;

std::string Operations() {
  std::ifstream file(std::string(ZEROTAP_SOURCE_DIR) + "/docs/operations.md");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Everything in backquotes, "a.{b,c}" as a.b and a.c.
std::set<std::string> QuotedNames(const std::string& text) {
  std::set<std::string> names;
  for (size_t begin = text.find('`'); begin != std::string::npos;) {
    const size_t end = text.find('`', begin + 1);
    if (end == std::string::npos) break;
    const std::string name = text.substr(begin + 1, end - begin - 1);
    const size_t open = name.find('{');
    const size_t close = name.find('}');
    if (open == std::string::npos || close == std::string::npos) {
      names.insert(name);
    } else {
      std::stringstream parts(name.substr(open + 1, close - open - 1));
      for (std::string part; std::getline(parts, part, ',');) {
        names.insert(name.substr(0, open) + part + name.substr(close + 1));
      }
    }
    begin = text.find('`', end + 1);
  }
  return names;
}

TEST(Documentation, EveryMetricOfTheAgentIsNamed) {
  SelfSnapshot snapshot;
  snapshot.exporters.push_back({.exporter = "otlp", .signal = "traces"});
  const std::set<std::string> names = QuotedNames(Operations());
  for (const SelfSample& sample : SelfSamples(snapshot)) {
    EXPECT_THAT(names, Contains(std::string(sample.descriptor->name)));
  }
}

TEST(Documentation, EveryReasonOfTheLedgerIsNamed) {
  const std::set<std::string> names = QuotedNames(Operations());
  for (size_t i = 0; i < static_cast<size_t>(DropReason::kCount); ++i) {
    EXPECT_THAT(names, Contains(std::string(DropReasonName(static_cast<DropReason>(i)))));
  }
  for (size_t i = 0; i < static_cast<size_t>(FilterReason::kCount); ++i) {
    EXPECT_THAT(names, Contains(std::string(FilterReasonName(static_cast<FilterReason>(i)))));
  }
}

}  // namespace
}  // namespace zerotap
