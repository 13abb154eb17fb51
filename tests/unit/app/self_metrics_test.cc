#include "agent/app/self_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "agent/app/ledger_json.h"
#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

using ::testing::HasSubstr;

SelfSnapshot Sample() {
  SelfSnapshot snapshot;
  snapshot.start_unix_ns = 1000;
  snapshot.now_unix_ns = 5000;
  snapshot.pipeline.records = 70;
  snapshot.pipeline.live_connections = 4;
  snapshot.kernel.counters[ZT_COUNTER_RING_FULL] = 9;
  snapshot.unseen_bytes = 1234;
  snapshot.requests.seen = 10;
  snapshot.requests.emitted = 6;
  snapshot.requests.dropped[static_cast<size_t>(DropReason::kRingFull)] = 1;
  snapshot.exporters.push_back({"otlp", "traces", 2, 6, 1, 0, 3, 5, 700});
  snapshot.resident_bytes = 1 << 20;
  snapshot.cpu_seconds = 1.5;
  return snapshot;
}

TEST(SelfMetrics, PrometheusTextIsWellFormed) {
  const std::string text = PrometheusText(SelfSamples(Sample()));
  EXPECT_THAT(text,
              HasSubstr("# HELP zerotap_requests_seen_total Requests whose head was recognised\n"
                        "# TYPE zerotap_requests_seen_total counter\n"
                        "zerotap_requests_seen_total 10\n"));
  EXPECT_THAT(text, HasSubstr("zerotap_requests_dropped_total{reason=\"ring_full\"} 1\n"));
  EXPECT_THAT(text,
              HasSubstr("# TYPE zerotap_requests_in_flight gauge\nzerotap_requests_in_flight 3\n"));
  EXPECT_THAT(text, HasSubstr("zerotap_kernel_losses_total{reason=\"ring_full\"} 9\n"));
  EXPECT_THAT(text, HasSubstr("zerotap_pipeline_unseen_bytes_total 1234\n"));
  EXPECT_THAT(text, HasSubstr("zerotap_export_items_total{exporter=\"otlp\",signal=\"traces\","
                              "outcome=\"dropped\"} 3\n"));
  EXPECT_THAT(
      text,
      HasSubstr("zerotap_export_sent_bytes_total{exporter=\"otlp\",signal=\"traces\"} 700\n"));
  EXPECT_THAT(text, HasSubstr("zerotap_process_cpu_time_seconds_total 1.5"));
  EXPECT_THAT(text, HasSubstr("zerotap_process_memory_resident_bytes 1048576\n"));
  // Each metric is declared once, and its samples stand together.
  std::set<std::string> declared;
  std::string current;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("# TYPE ", 0) == 0) {
      current = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(declared.insert(current).second) << current;
    } else if (line[0] != '#') {
      EXPECT_EQ(line.substr(0, line.find_first_of("{ ")), current);
    }
  }
}

TEST(SelfMetrics, CumulativeCountsFromTheStart) {
  SelfMetrics metrics(MakeAgentResource({}), Temporality::kCumulative);
  std::vector<Metric> out;
  metrics.Append(Sample(), out);
  metrics.Append(Sample(), out);
  int found = 0;
  for (const Metric& metric : out) {
    EXPECT_EQ(metric.resource->service_name, "zerotap");
    if (metric.descriptor->name != "zerotap.requests.seen") continue;
    ++found;
    ASSERT_EQ(metric.numbers.size(), 1u);
    EXPECT_EQ(metric.temporality, Temporality::kCumulative);
    EXPECT_EQ(metric.numbers[0].start_unix_ns, 1000u);
    EXPECT_EQ(metric.numbers[0].time_unix_ns, 5000u);
    EXPECT_EQ(std::get<int64_t>(metric.numbers[0].value), 10);
  }
  EXPECT_EQ(found, 2);
}

TEST(SelfMetrics, DeltaGivesDifferencesOfCountersButNotOfGauges) {
  SelfMetrics metrics(MakeAgentResource({}), Temporality::kDelta);
  SelfSnapshot snapshot = Sample();
  std::vector<Metric> out;
  metrics.Append(snapshot, out);
  snapshot.requests.seen += 5;
  snapshot.pipeline.live_connections = 3;
  snapshot.now_unix_ns = 9000;
  out.clear();
  metrics.Append(snapshot, out);
  for (const Metric& metric : out) {
    const NumberPoint& point = metric.numbers[0];
    if (metric.descriptor->name == "zerotap.requests.seen") {
      EXPECT_EQ(std::get<int64_t>(point.value), 5);
      EXPECT_EQ(point.start_unix_ns, 5000u);
      EXPECT_EQ(point.time_unix_ns, 9000u);
    } else if (metric.descriptor->name == "zerotap.connections.live") {
      EXPECT_EQ(std::get<int64_t>(point.value), 3);
    } else if (metric.descriptor->name == "zerotap.process.cpu.time") {
      EXPECT_EQ(std::get<double>(point.value), 0);
    }
  }
}

TEST(SelfMetrics, AgentResourceComesFromItsOwnSettings) {
  AgentConfig config;
  config.service_name = "tap";
  config.resource_attributes = {{"team", "a"}, {"host.name", "given"}, {"service.name", "ignored"}};
  ResourcePtr resource = MakeAgentResource(config);
  EXPECT_EQ(resource->service_name, "tap");
  EXPECT_EQ(resource->attributes.FindText(semconv::kServiceName), "tap");
  EXPECT_EQ(resource->attributes.FindText("team"), "a");
  EXPECT_EQ(resource->attributes.FindText(semconv::kHostName), "given");
}

TEST(SelfMetrics, ReadsItsOwnCost) {
  EXPECT_GT(ResidentBytes(), 100'000u);
  EXPECT_GE(CpuSeconds(), 0);
}

TEST(LedgerJson, RowsAndTheirSum) {
  LedgerRow row;
  row.service = "shop \"x\"\xFF";
  row.pid = 7;
  row.protocol = "http";
  row.role = Role::kServer;
  row.counts.seen = 10;
  row.counts.emitted = 4;
  row.counts.sampled_out = 3;
  row.counts.dropped[static_cast<size_t>(DropReason::kShutdown)] = 2;
  LedgerRow other = row;
  other.role = Role::kClient;
  const auto json = nlohmann::json::parse(LedgerJson({row, other}, 55));
  ASSERT_EQ(json["rows"].size(), 2u);
  EXPECT_EQ(json["rows"][0]["role"], "server");
  EXPECT_EQ(json["rows"][0]["pid"], 7);
  EXPECT_EQ(json["rows"][0]["in_flight"], 1);
  EXPECT_EQ(json["rows"][0]["dropped"], (nlohmann::json{{"shutdown", 2}}));
  EXPECT_EQ(json["rows"][1]["role"], "client");
  EXPECT_EQ(json["total"]["seen"], 20);
  EXPECT_EQ(json["total"]["dropped"]["shutdown"], 4);
  EXPECT_EQ(json["total"]["in_flight"], 2);
  EXPECT_EQ(json["unseen_bytes"], 55);
}

TEST(LedgerJson, EmptyLedgerIsStillJson) {
  const auto json = nlohmann::json::parse(LedgerJson({}, 0));
  EXPECT_TRUE(json["rows"].is_array());
  EXPECT_EQ(json["total"]["seen"], 0);
}

TEST(LedgerJson, InFlightNeverWraps) {
  LedgerCounts counts;
  counts.seen = 1;
  counts.emitted = 2;
  EXPECT_EQ(InFlight(counts), 0u);
}

}  // namespace
}  // namespace zerotap
