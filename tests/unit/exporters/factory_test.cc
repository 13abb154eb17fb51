#include "exporters/factory.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "exporters/file_exporter.h"
#include "tests/support/fake_collector.h"
#include "tests/unit/exporters/builders.h"

namespace zerotap {
namespace {

using namespace zerotap::testing;  // NOLINT: builders

class TemporaryFolder {
 public:
  TemporaryFolder() {
    char path[] = "/tmp/exporters_test.XXXXXX";
    if (mkdtemp(path) == nullptr) std::abort();
    path_ = path;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::vector<std::string> ReadLines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  std::string line;
  while (std::getline(file, line)) lines.push_back(line);
  return lines;
}

std::shared_ptr<ExportStats> NewStats() { return std::make_shared<ExportStats>(); }

TEST(FactoryTest, MakesEveryExporterByName) {
  TemporaryFolder folder;
  ExporterOptions options;
  options.file_path = folder.File("out.jsonl");
  ExporterFactory factory(options);
  EXPECT_EQ(ExporterFactory::Names().size(), 4u);
  for (std::string_view name : ExporterFactory::Names()) {
    auto spans = factory.MakeSpanExporter(name, NewStats());
    ASSERT_TRUE(spans.has_value()) << name;
    EXPECT_EQ((*spans)->name(), name);
    auto metrics = factory.MakeMetricExporter(name, NewStats());
    ASSERT_TRUE(metrics.has_value()) << name;
    EXPECT_EQ((*metrics)->name(), name);
  }
}

TEST(FactoryTest, WrongOptionsAreNamed) {
  auto error_of = [](const ExporterOptions& options, std::string_view name) {
    auto exporter = ExporterFactory(options).MakeSpanExporter(name, NewStats());
    return exporter.has_value() ? std::string() : exporter.error().message;
  };
  EXPECT_NE(error_of({}, "jaeger").find("otlp, console, file, none"), std::string::npos);
  ExporterOptions protocol;
  protocol.traces.protocol = "grpc/json";
  EXPECT_NE(error_of(protocol, "otlp").find("http/protobuf, http/json or grpc"), std::string::npos);
  ExporterOptions endpoint;
  endpoint.traces.endpoint = "collector:4318";
  EXPECT_NE(error_of(endpoint, "otlp").find("collector:4318"), std::string::npos);
  ExporterOptions ca;
  ca.traces.ca_file = "/nonexistent.pem";
  EXPECT_NE(error_of(ca, "otlp").find("/nonexistent.pem"), std::string::npos);
  EXPECT_NE(error_of({}, "file").find("path"), std::string::npos);
  ExporterOptions file;
  file.file_path = "/nonexistent/x";
  EXPECT_NE(error_of(file, "file").find("/nonexistent/x"), std::string::npos);
}

TEST(FactoryTest, NoneTakesEverything) {
  ExporterFactory factory({});
  auto exporter = factory.MakeSpanExporter("none", NewStats());
  auto spans = MakeSpans(1, 5, MakeResource("cart"));
  EXPECT_EQ((*exporter)->Export(spans).exported, 5u);
}

TEST(FactoryTest, OtlpEndToEndThroughTheBatcher) {
  FakeCollector collector;
  ExporterOptions options;
  options.agent_version = "1.2.3";
  options.traces.endpoint = collector.url("/base/");
  options.traces.headers = {{"key", "value"}};
  options.traces.gzip = true;
  options.metrics.signal_endpoint = collector.url();
  ExporterFactory factory(options);
  auto stats = NewStats();
  SpanBatcher spans(*factory.MakeSpanExporter("otlp", stats), {}, stats, {});
  MetricBatcher metrics(*factory.MakeMetricExporter("otlp", NewStats()), {}, NewStats());
  spans.Push(MakeSpans(1, 10, MakeResource("cart")));
  spans.Shutdown(std::chrono::steady_clock::now() + std::chrono::seconds(5));
  Metric metric;
  metric.descriptor = &kRequestsTotal;
  metric.numbers.emplace_back();
  std::vector<Metric> collection = {metric};
  metrics.Push(std::move(collection));
  metrics.Shutdown(std::chrono::steady_clock::now() + std::chrono::seconds(5));
  EXPECT_EQ(stats->Snapshot().exported, 10u);
  auto requests = collector.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].path, "/base/v1/traces");
  EXPECT_EQ(requests[0].Header("key"), "value");
  EXPECT_EQ(requests[0].Header("content-encoding"), "gzip");
  EXPECT_EQ(requests[0].Header("user-agent"), "zerotap/1.2.3 OTel-OTLP-Exporter-Cpp/1.2.3");
  EXPECT_EQ(requests[1].path, "/");
}

TEST(FactoryTest, TheConsoleTicksOften) {
  SpanBatcherOptions options;
  ExporterFactory::AdjustBatcher("otlp", options);
  EXPECT_EQ(options.tick, std::chrono::milliseconds(1000));
  EXPECT_FALSE(options.tick_when_idle);
  ExporterFactory::AdjustBatcher("console", options);
  EXPECT_LE(options.tick, std::chrono::milliseconds(200));
  EXPECT_TRUE(options.tick_when_idle);
}

TEST(FileExporterTest, AppendsOneLinePerRequestOfBothSignals) {
  TemporaryFolder folder;
  std::string path = folder.File("out.jsonl");
  std::ofstream(path) << "{}\n";
  ExporterOptions options;
  options.file_path = path;
  ExporterFactory factory(options);
  auto spans = factory.MakeSpanExporter("file", NewStats());
  auto metrics = factory.MakeMetricExporter("file", NewStats());
  auto batch = MakeSpans(1, 3, MakeResource("cart"));
  EXPECT_EQ((*spans)->Export(batch).exported, 3u);
  EXPECT_EQ((*spans)->Export({}).exported, 0u);
  Metric metric;
  metric.descriptor = &kRequestsTotal;
  metric.numbers.emplace_back();
  EXPECT_EQ((*metrics)->Export({&metric, 1}).exported, 1u);
  auto lines = ReadLines(path);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], "{}");
  auto parsed = nlohmann::json::parse(lines[1]);
  EXPECT_EQ(parsed["resourceSpans"][0]["scopeSpans"][0]["spans"].size(), 3u);
  EXPECT_TRUE(nlohmann::json::parse(lines[2]).contains("resourceMetrics"));
}

TEST(FileExporterTest, AFullDiskIsCountedAndLeavesNoHalfLine) {
  TemporaryFolder folder;
  std::string path = folder.File("out.jsonl");
  auto output = FileOutput::Open(path, 0);
  ASSERT_TRUE(output.has_value());
  ASSERT_TRUE((*output)->WriteLine("first"));
  // A file size limit cuts a write as a full disk does: some bytes go, then an error comes.
  signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = before;
  small.rlim_cur = 1000;
  setrlimit(RLIMIT_FSIZE, &small);
  auto stats = NewStats();
  FileSpanExporter exporter(std::move(*output), {}, stats);
  auto spans = MakeSpans(1, 50, MakeResource("cart"));
  ExportOutcome outcome = exporter.Export(spans);
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(outcome.failed, 50u);
  EXPECT_EQ(outcome.exported, 0u);
  EXPECT_NE(stats->Snapshot().last_error.find(path), std::string::npos);
  EXPECT_EQ(std::filesystem::file_size(path), 6u);
  EXPECT_EQ(exporter.Export(spans).exported, 50u) << "there is room again";
  EXPECT_EQ(ReadLines(path).size(), 2u);
}

TEST(FileSpanExporterTest, WritesALineAtATimeAndEachSpanOnce) {
  TemporaryFolder folder;
  std::string path = folder.File("out.jsonl");
  auto output = FileOutput::Open(path, 0);
  ASSERT_TRUE(output.has_value());
  FileSpanExporter exporter(std::move(*output), {}, NewStats());
  constexpr size_t kSpans = 2 * FileSpanExporter::kMaxSpansALine + 50;
  const std::vector<ResourcePtr> resources = {MakeResource("cart"), MakeResource("shop")};
  auto spans = MakeSpans(1, kSpans, resources[0]);
  for (size_t i = 0; i < kSpans; i += 2) spans[i].resource = resources[1];
  std::span<const Span> rest = spans;
  std::multiset<std::string> expected;
  for (const Span& span : spans) expected.insert(span.span_id.Hex());
  while (!rest.empty()) {
    const ExportOutcome outcome = exporter.Export(rest);
    ASSERT_EQ(outcome.exported, std::min(rest.size(), FileSpanExporter::kMaxSpansALine));
    rest = rest.subspan(outcome.exported);
  }
  const std::vector<std::string> lines = ReadLines(path);
  EXPECT_EQ(lines.size(), 3u);
  std::multiset<std::string> written;
  for (const std::string& line : lines) {
    const auto json = nlohmann::json::parse(line);
    EXPECT_EQ(json["resourceSpans"].size(), 2u);
    for (const auto& group : json["resourceSpans"]) {
      for (const auto& span : group["scopeSpans"][0]["spans"]) written.insert(span["spanId"]);
    }
  }
  EXPECT_EQ(written, expected);
}

TEST(FileOutputTest, RotatesAtTheLimit) {
  TemporaryFolder folder;
  std::string path = folder.File("out.jsonl");
  auto output = FileOutput::Open(path, 25);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE((*output)->WriteLine("123456789"));
  EXPECT_EQ(ReadLines(path).size(), 1u);
  EXPECT_EQ(ReadLines(path + ".1").size(), 2u);
}

TEST(FileOutputTest, TwoOfOnePathLoseNothingWhenItRotates) {
  TemporaryFolder folder;
  constexpr int kLines = 75;
  for (int round = 0; round < 200; ++round) {
    const std::string path = folder.File("out" + std::to_string(round));
    std::atomic<int> ready{0};
    std::vector<std::thread> writers;
    for (int i = 0; i < 2; ++i) {
      auto output = FileOutput::Open(path, 1000);  // 100 lines
      ASSERT_TRUE(output.has_value());
      writers.emplace_back([&ready, output = std::move(*output)] {
        ++ready;
        while (ready < 2) std::this_thread::yield();
        for (int line = 0; line < kLines; ++line) EXPECT_TRUE(output->WriteLine("123456789"));
      });
    }
    for (std::thread& writer : writers) writer.join();
    ASSERT_EQ(ReadLines(path).size() + ReadLines(path + ".1").size(), 2u * kLines) << round;
  }
}

TEST(FileOutputTest, FollowsAFileThatWasMovedAway) {
  TemporaryFolder folder;
  std::string path = folder.File("out.jsonl");
  auto output = FileOutput::Open(path, 0);
  ASSERT_TRUE((*output)->WriteLine("old"));
  std::filesystem::rename(path, path + ".moved");
  ASSERT_TRUE((*output)->WriteLine("new"));
  EXPECT_EQ(ReadLines(path), std::vector<std::string>{"new"});
  EXPECT_EQ(ReadLines(path + ".moved"), std::vector<std::string>{"old"});
}

TEST(FileOutputTest, APipeWithoutReaderIsAnErrorAndNoHang) {
  TemporaryFolder folder;
  std::string path = folder.File("pipe");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_FALSE(FileOutput::Open(path, 0).has_value());
}

}  // namespace
}  // namespace zerotap
