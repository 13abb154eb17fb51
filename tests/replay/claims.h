// What the tests of replays share: where the recordings are, spans as text against the known ones, and whether a damaged
// input made them say something new.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "agent/pipeline/ledger.h"
#include "agent/telemetry/semconv.h"
#include "agent/telemetry/span.h"
#include "exporters/otlp/json.h"

namespace zerotap {

struct Outcome {
  std::vector<Span> spans;
  LedgerCounts ledger;
};

// The files below tests/data that end in `extension`, sorted.
inline std::vector<std::string> Scenarios(std::string_view extension = ".capture") {
  namespace fs = std::filesystem;
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(ZEROTAP_SOURCE_DIR) / "tests/data")) {
    if (entry.path().extension() == extension) found.push_back(entry.path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// As the name of a test: its folder and its own.
inline std::string ScenarioName(const ::testing::TestParamInfo<std::string>& scenario) {
  const std::filesystem::path path(scenario.param);
  std::string name = path.parent_path().filename().string() + "_" + path.stem().string();
  std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
}

// Spans come out as they end, and those that wait for their parents later.
inline void SortByStart(std::vector<Span>& spans) {
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) {
    return std::tie(a.start_unix_ns, a.span_id.value) < std::tie(b.start_unix_ns, b.span_id.value);
  });
}

// The spans are those of <scenario>.spans.json, byte for byte; or become them, with ZEROTAP_UPDATE_GOLDEN.
inline void ExpectGolden(const std::string& scenario, const std::string& actual) {
  const auto golden = std::filesystem::path(scenario).replace_extension(".spans.json");
  ASSERT_FALSE(actual.empty());
  if (std::getenv("ZEROTAP_UPDATE_GOLDEN") != nullptr) std::ofstream(golden) << actual;
  std::ifstream in(golden);
  ASSERT_TRUE(in) << "missing " << golden;
  std::stringstream expected;
  expected << in.rdbuf();
  EXPECT_EQ(actual, expected.str());
}

inline std::string Json(const std::vector<Span>& spans) {
  std::string text;
  for (const Span& span : spans) text += otlp::EncodeTracesJson(std::span<const Span>(&span, 1)) + "\n";
  return text;
}

// What a span claims, without what a hole in the capture may rightly change (ids of parents, sizes, end).
inline std::string Claim(const Span& span) {
  std::ostringstream out;
  out << static_cast<int>(span.kind) << ' ' << span.resource->service_name;
  for (std::string_view key :
       {semconv::kHttpRequestMethod, semconv::kUrlPath, semconv::kUrlFull, semconv::kDbQueryText,
        semconv::kDbResponseStatusCode}) {
    out << '|' << span.attributes.FindText(key);
  }
  for (size_t i = 0; i < span.attributes.size(); ++i) {
    Attribute attribute = span.attributes[i];
    if (attribute.key == semconv::kHttpResponseStatusCode) out << std::get<int64_t>(attribute.value);
  }
  return out.str();
}

// The claim with its statement text taken out: joining late, the text of a prepared statement is unknown, and where bytes are
// missing the text ends there.
inline std::string ClaimWithoutText(const Span& span) {
  std::string claim = Claim(span);
  std::string_view text = span.attributes.FindText(semconv::kDbQueryText);
  if (!text.empty()) claim.erase(claim.find(text), text.size());
  return claim;
}

inline void ExpectNothingFalse(const Outcome& truth, const Outcome& degraded, const std::string& what,
                               bool failures_too = false) {
  std::multiset<std::string> claims;
  std::multimap<std::string, std::string> texts;
  for (const Span& span : truth.spans) {
    claims.insert(Claim(span));
    texts.emplace(ClaimWithoutText(span), span.attributes.FindText(semconv::kDbQueryText));
  }
  for (const Span& span : degraded.spans) {
    EXPECT_GE(span.end_unix_ns, span.start_unix_ns);
    if (!failures_too && span.attributes.Has(semconv::kErrorType) && span.status == SpanStatus::kError &&
        span.attributes.FindText(semconv::kErrorType).find('_') != std::string_view::npos) {
      continue;  // a transport failure: the connection ended before its answer was seen
    }
    bool known = claims.contains(Claim(span));
    auto [from, to] = texts.equal_range(ClaimWithoutText(span));
    for (auto text = from; text != to && !known; ++text) {
      known = text->second.starts_with(span.attributes.FindText(semconv::kDbQueryText));
    }
    EXPECT_TRUE(known) << what << ": invented " << Claim(span);
  }
}

}  // namespace zerotap
