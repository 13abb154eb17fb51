#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <thread>

#include "exporters/console_exporter.h"
#include "exporters/console_format.h"
#include "exporters/console_output.h"
#include "exporters/red_summary.h"
#include "tests/unit/exporters/builders.h"

namespace zerotap {
namespace {

using std::chrono::milliseconds;
using namespace zerotap::testing;  // NOLINT: builders
using Clock = std::chrono::steady_clock;

// Both ends of a pipe; what was written can be read without blocking.
class Pipe {
 public:
  Pipe() {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) std::abort();
    read_fd_ = fds[0];
    write_fd_ = fds[1];
    fcntl(read_fd_, F_SETFL, O_NONBLOCK);
  }
  ~Pipe() {
    CloseReader();
    close(write_fd_);
  }
  int write_fd() const { return write_fd_; }
  void CloseReader() {
    if (read_fd_ >= 0) close(read_fd_);
    read_fd_ = -1;
  }
  std::string Read() {
    std::string text;
    char piece[4096];
    ssize_t count;
    while ((count = read(read_fd_, piece, sizeof(piece))) > 0) {
      text.append(piece, static_cast<size_t>(count));
    }
    return text;
  }

 private:
  int read_fd_ = -1;
  int write_fd_ = -1;
};

struct Fixture {
  Pipe pipe;
  uint64_t now_ns = kSecond;
  ConsoleOptions options;
  std::shared_ptr<ConsoleOutput> output;

  explicit Fixture(ColorMode color = ColorMode::kNever) {
    setenv("TZ", "UTC", 1);
    output = std::make_shared<ConsoleOutput>(pipe.write_fd(), color, milliseconds(200));
    options.monotonic_ns = [this] { return now_ns; };
  }
  // What was written, without the line of column names.
  std::string ReadLines() {
    std::string text = pipe.Read();
    if (text.find("TIME") == 0) text.erase(0, text.find('\n') + 1);
    return text;
  }
};

Span ClientSpan(uint64_t id, const Span& parent, ResourcePtr resource) {
  Span span = MakeSpan(id, std::move(resource), "GET");
  span.trace_id = parent.trace_id;
  span.parent_span_id = parent.span_id;
  span.kind = SpanKind::kClient;
  span.attributes.Add(semconv::kUrlFull, "http://stock:9000/items/7");
  span.attributes.Add(semconv::kHttpResponseStatusCode, int64_t{404});
  span.attributes.Add(semconv::kServerAddress, "stock");
  span.attributes.Add(semconv::kServerPort, int64_t{9000});
  span.attributes.Add(semconv::kErrorType, "404");
  span.status = SpanStatus::kError;
  return span;
}

Span SqlSpan(uint64_t id, const Span& parent, ResourcePtr resource) {
  Span span = MakeSpan(id, std::move(resource), "SELECT items");
  span.trace_id = parent.trace_id;
  span.parent_span_id = parent.span_id;
  span.kind = SpanKind::kClient;
  span.end_unix_ns = span.start_unix_ns + 87'400;
  span.attributes.Add(semconv::kDbSystemName, "postgresql");
  span.attributes.Add(semconv::kDbQueryText, "SELECT *\n  FROM items\n  WHERE id = ?");
  span.attributes.Add(semconv::kServerAddress, "db");
  return span;
}

TEST(ConsoleSpanTest, GoldenTree) {
  Fixture fixture;
  ConsoleSpanExporter exporter(fixture.output, fixture.options);
  auto cart = MakeResource("cart", 4711);
  Span root = MakeHttpServerSpan(1, cart);
  root.end_unix_ns = root.start_unix_ns + 12'345'678;
  Span stock = MakeHttpServerSpan(4, MakeResource("stock", 99));
  Span client = ClientSpan(3, root, cart);
  stock.trace_id = root.trace_id;
  stock.parent_span_id = client.span_id;
  Span sql = SqlSpan(2, root, cart);
  // As they end: children first.
  std::vector<Span> spans = {sql, stock, client, root};

  EXPECT_EQ(exporter.Export(spans).exported, 4u);

  EXPECT_EQ(fixture.pipe.Read(),
            "TIME          DURATION  SERVICE (PID)           SPAN                                  "
            "        STATUS    PEER                    DETAILS\n"
            "22:13:20.001   12.3 ms  cart (4711)             ← GET /cart/{id}                      "
            "        200       10.0.0.7                /cart/4711?full=1\n"
            "22:13:20.002     87 µs  cart (4711)               → SELECT items                      "
            "        ok        db                      SELECT * FROM items WHERE id = ?\n"
            "22:13:20.003   1.00 ms  cart (4711)               → GET                               "
            "        404       stock:9000              http://stock:9000/items/7\n"
            "22:13:20.004   1.00 ms  stock (99)                  ← GET /cart/{id}                  "
            "        200       10.0.0.7                /cart/4711?full=1\n");
}

TEST(ConsoleSpanTest, WaitsForAParentThatMayStillComeButNotLong) {
  Fixture fixture;
  ConsoleSpanExporter exporter(fixture.output, fixture.options);
  auto cart = MakeResource("cart");
  Span root = MakeHttpServerSpan(1, cart);
  Span sql = SqlSpan(2, root, cart);
  exporter.Export({&sql, 1});
  EXPECT_EQ(fixture.ReadLines(), "");
  fixture.now_ns += 200 * kMillisecond;
  exporter.Export({&root, 1});
  std::string text = fixture.ReadLines();
  EXPECT_LT(text.find("GET /cart"), text.find("  → SELECT items")) << text;

  Span late = SqlSpan(5, root, cart);
  late.trace_id.low = 77;
  late.parent_span_id = {78};
  exporter.Export({&late, 1});
  fixture.now_ns += 299 * kMillisecond;
  exporter.Export({});
  EXPECT_EQ(fixture.ReadLines(), "");
  fixture.now_ns += kMillisecond;
  exporter.Export({});
  EXPECT_NE(fixture.ReadLines().find("… → SELECT items"), std::string::npos)
      << "its parent has not been seen";
}

TEST(ConsoleSpanTest, AChildThatEndsAfterItsParentIsIndentedToo) {
  Fixture fixture;
  ConsoleSpanExporter exporter(fixture.output, fixture.options);
  auto cart = MakeResource("cart");
  Span root = MakeHttpServerSpan(1, cart);
  exporter.Export({&root, 1});
  fixture.ReadLines();
  Span sql = SqlSpan(2, root, cart);
  exporter.Export({&sql, 1});
  fixture.now_ns += kSecond;
  exporter.Export({});
  EXPECT_NE(fixture.ReadLines().find("cart (1)                  → SELECT items"),
            std::string::npos);
}

TEST(ConsoleSpanTest, HoldsABoundedNumberAndPrintsTheRestAtTheEnd) {
  Fixture fixture;
  fixture.options.max_held_spans = 10;
  auto exporter = std::make_unique<ConsoleSpanExporter>(fixture.output, fixture.options);
  auto spans = MakeSpans(1, 15, MakeResource("cart"));
  for (Span& span : spans) span.parent_span_id = {1000};
  exporter->Export(spans);
  std::string text = fixture.ReadLines();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 10);
  exporter.reset();
  text = fixture.ReadLines();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 5);
}

TEST(ConsoleSpanTest, SpansThatAreTheirOwnAncestorsArePrintedOnce) {
  Fixture fixture;
  fixture.options.hold_ns = 0;
  ConsoleSpanExporter exporter(fixture.output, fixture.options);
  auto spans = MakeSpans(1, 4, MakeResource("cart"));
  for (Span& span : spans) span.trace_id = {1, 1};
  spans[0].parent_span_id = spans[0].span_id;
  spans[1].parent_span_id = spans[2].span_id;
  spans[2].parent_span_id = spans[1].span_id;
  spans[3].span_id = spans[2].span_id;  // the same id twice
  spans[3].parent_span_id = spans[2].span_id;
  exporter.Export(spans);
  std::string text = fixture.ReadLines();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4) << text;
}

TEST(ConsoleSpanTest, ADeepTraceIsPrintedWhole) {
  Fixture fixture;
  fixture.options.max_held_spans = 1'000'000;
  ConsoleSpanExporter exporter(fixture.output, fixture.options);
  auto spans = MakeSpans(1, 300, MakeResource("cart"));
  for (size_t i = 0; i < spans.size(); ++i) {
    spans[i].trace_id = {1, 1};
    if (i > 0) spans[i].parent_span_id = spans[i - 1].span_id;
  }
  exporter.Export(spans);
  std::string text = fixture.ReadLines();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 300);
}

TEST(ConsoleSpanTest, NothingFromTheNetworkReachesTheTerminalRaw) {
  Fixture fixture;
  ConsoleSpanExporter exporter(fixture.output, fixture.options);
  Span span = MakeSpan(1, MakeResource("ca\x1brt"), "GET /\x1b[2J\n\u202e");
  span.attributes.Add(semconv::kUrlPath,
                      "/\x07\x9b"
                      "31m");
  span.attributes.Add(semconv::kClientAddress, "\x1b]0;title\x07");
  span.attributes.Add(semconv::kErrorType, "\x1b[1m");
  exporter.Export({&span, 1});
  std::string text = fixture.ReadLines();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  for (char c : text) EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20);
  EXPECT_EQ(text.find('\x9b'), std::string::npos);
  EXPECT_EQ(text.find("\u202e"), std::string::npos);
  EXPECT_NE(text.find("\\x1b[2J\\n\\u202e"), std::string::npos);
}

TEST(ConsoleSpanTest, ColorOnlyWhenForced) {
  Fixture forced(ColorMode::kAlways);
  ConsoleSpanExporter colored(forced.output, forced.options);
  Span root = MakeHttpServerSpan(1, MakeResource("cart"));
  Span failed = ClientSpan(2, root, root.resource);
  failed.parent_span_id = {};
  failed.trace_id.low = 9;
  colored.Export({&root, 1});
  colored.Export({&failed, 1});
  std::string text = forced.pipe.Read();
  EXPECT_NE(text.find("\x1b[32m200     \x1b[0m"), std::string::npos) << text;
  EXPECT_NE(text.find("\x1b[31m404     \x1b[0m"), std::string::npos);

  setenv("TERM", "xterm", 1);
  Pipe not_a_terminal;
  EXPECT_FALSE(ConsoleOutput(not_a_terminal.write_fd()).color());
  int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal < 0 || isatty(terminal) != 1) GTEST_SKIP() << "no pseudo terminals here";
  unsetenv("NO_COLOR");
  EXPECT_TRUE(ConsoleOutput(terminal).color());
  setenv("NO_COLOR", "1", 1);
  EXPECT_FALSE(ConsoleOutput(terminal).color());
  EXPECT_TRUE(ConsoleOutput(terminal, ColorMode::kAlways).color());
  unsetenv("NO_COLOR");
  setenv("TERM", "dumb", 1);
  EXPECT_FALSE(ConsoleOutput(terminal).color());
  close(terminal);
}

TEST(ConsoleOutputTest, AReaderThatWentAwayEndsItQuietly) {
  Fixture fixture;
  ConsoleSpanExporter exporter(fixture.output, fixture.options);
  fixture.pipe.CloseReader();
  auto spans = MakeSpans(1, 3, MakeResource("cart"));
  EXPECT_EQ(exporter.Export(spans).failed, 3u);  // and no SIGPIPE
  EXPECT_TRUE(fixture.output->closed());
  EXPECT_EQ(exporter.Export(spans).failed, 3u);
}

TEST(ConsoleOutputTest, AReaderThatStallsCostsTimeButNotForEver) {
  Fixture fixture;
  std::string large(1 << 20, 'x');
  auto start = Clock::now();
  EXPECT_FALSE(fixture.output->Write(large));
  EXPECT_LT(Clock::now() - start, milliseconds(10000));
  EXPECT_FALSE(fixture.output->closed());
  fixture.pipe.Read();
  EXPECT_TRUE(fixture.output->Write("again\n"));
}

TEST(ConsoleOutputTest, StopEndsAStalledWrite) {
  Pipe pipe;
  ConsoleOutput output(pipe.write_fd(), ColorMode::kNever, milliseconds(60'000));
  std::thread stopper([&] {
    std::this_thread::sleep_for(milliseconds(50));
    output.RequestStop();
  });
  auto start = Clock::now();
  EXPECT_FALSE(output.Write(std::string(1 << 20, 'x')));
  EXPECT_LT(Clock::now() - start, milliseconds(10000));
  stopper.join();
}

// The column is narrow, and both begin alike.
TEST(ConsoleSpanTest, AClosedAndAResetConnectionAreToldApart) {
  for (std::string_view how : {"closed", "reset"}) {
    Span span = MakeSpan(1, MakeResource("cart"), "GET");
    span.status = SpanStatus::kError;
    span.attributes.Add(semconv::kErrorType, "connection_" + std::string(how));
    EXPECT_EQ(MakeConsoleLine(span, 80).status, how);
  }
}

TEST(FormatDurationTest, ThreeDigitsAndAUnit) {
  EXPECT_EQ(FormatSpanDuration(0), "0 µs");
  EXPECT_EQ(FormatSpanDuration(87'400), "87 µs");
  EXPECT_EQ(FormatSpanDuration(999'499), "999 µs");
  EXPECT_EQ(FormatSpanDuration(999'500), "1.00 ms");
  EXPECT_EQ(FormatSpanDuration(1'234'000), "1.23 ms");
  EXPECT_EQ(FormatSpanDuration(12'340'000), "12.3 ms");
  EXPECT_EQ(FormatSpanDuration(345'600'000), "346 ms");
  EXPECT_EQ(FormatSpanDuration(1'234'000'000), "1.23 s");
  EXPECT_EQ(FormatSpanDuration(12'340'000'000), "12.3 s");
  EXPECT_EQ(FormatSpanDuration(59'999'000'000), "1m00s");
  EXPECT_EQ(FormatSpanDuration(123'000'000'000), "2m03s");
  EXPECT_FALSE(FormatSpanDuration(UINT64_MAX).empty());
}

Metric HistogramMetric(const ResourcePtr& resource, std::vector<uint64_t> counts, bool error,
                       Temporality temporality) {
  Metric metric;
  metric.descriptor = &kServerDuration;
  metric.resource = resource;
  metric.temporality = temporality;
  metric.histograms.push_back(MakeHistogramPoint(std::move(counts), "/a"));
  if (error) metric.histograms[0].attributes.Add(semconv::kErrorType, "500");
  return metric;
}

TEST(RedSummaryTest, DeltasAddUpAndErrorsAreCounted) {
  RedSummary summary;
  auto cart = MakeResource("cart");
  std::vector<Metric> metrics = {
      HistogramMetric(cart, {80, 10, 0, 0, 0}, false, Temporality::kDelta),
      HistogramMetric(cart, {0, 0, 10, 0, 0}, true, Temporality::kDelta)};
  summary.Add(metrics);
  summary.Add(metrics);
  auto rows = summary.Take();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].service, "cart");
  EXPECT_EQ(rows[0].operation, "GET /a");
  EXPECT_EQ(rows[0].count, 200u);
  EXPECT_EQ(rows[0].errors, 20u);
  EXPECT_NEAR(rows[0].mean_seconds, 4 * 0.25 / 200, 1e-9);
  EXPECT_NEAR(rows[0].p95_seconds, 0.01 + 0.09 * 0.5, 1e-9);
  EXPECT_TRUE(summary.Take().empty());
}

TEST(RedSummaryTest, CumulativeCountsBecomeDifferences) {
  RedSummary summary;
  auto cart = MakeResource("cart");
  Metric metric = HistogramMetric(cart, {10, 0, 0, 0, 0}, false, Temporality::kCumulative);
  summary.Add({&metric, 1});
  EXPECT_EQ(summary.Take()[0].count, 10u);
  summary.Add({&metric, 1});
  EXPECT_TRUE(summary.Take().empty()) << "nothing happened";
  metric.histograms[0].bucket_counts = {10, 5, 0, 0, 1};
  summary.Add({&metric, 1});
  auto rows = summary.Take();
  EXPECT_EQ(rows[0].count, 6u);
  EXPECT_NEAR(rows[0].p95_seconds, 1, 1e-9) << "the last bucket has no upper bound";
  metric.histograms[0].start_unix_ns += 5;  // began anew
  metric.histograms[0].bucket_counts = {3, 0, 0, 0, 0};
  summary.Add({&metric, 1});
  rows = summary.Take();
  EXPECT_EQ(rows[0].count, 3u);
  EXPECT_NEAR(rows[0].mean_seconds, 0.25 / 3, 1e-9);
  metric.histograms[0].bucket_counts = {5, 0, 0, 0, 0};
  metric.histograms[0].sum = 0.254;
  summary.Add({&metric, 1});
  EXPECT_NEAR(summary.Take()[0].mean_seconds, 0.002, 1e-9) << "of the interval, not of all time";
}

// Requests on one host take microseconds, and the first bucket of the conventions ends at 5 ms.
TEST(RedSummaryTest, TheFirstBucketDoesNotMakeFastRequestsSlow) {
  RedSummary summary;
  Metric metric =
      HistogramMetric(MakeResource("cart"), {4, 0, 0, 0, 0}, false, Temporality::kCumulative);
  metric.histograms[0].sum = 400e-6;
  metric.histograms[0].min = 60e-6;
  metric.histograms[0].max = 160e-6;
  summary.Add({&metric, 1});
  auto rows = summary.Take();
  EXPECT_NEAR(rows[0].mean_seconds, 100e-6, 1e-12);
  EXPECT_NEAR(rows[0].p95_seconds, 155e-6, 1e-12);
}

TEST(RedSummaryTest, TheLastBucketEndsAtTheSlowestRequest) {
  RedSummary summary;
  Metric metric =
      HistogramMetric(MakeResource("cart"), {0, 0, 0, 0, 10}, false, Temporality::kDelta);
  metric.histograms[0].min = 20;
  metric.histograms[0].max = 40;
  summary.Add({&metric, 1});
  EXPECT_NEAR(summary.Take()[0].p95_seconds, 39, 1e-9);
  metric.histograms[0].has_extremes = false;
  metric.histograms[0].min = metric.histograms[0].max = 0;
  summary.Add({&metric, 1});
  EXPECT_NEAR(summary.Take()[0].p95_seconds, 1, 1e-9) << "its lower bound is all that is known";
}

// A resource that comes later must not be taken for one that is gone, by its address.
TEST(RedSummaryTest, AResourceStaysForAsLongAsItsSeriesIsRemembered) {
  RedSummary summary;
  Metric metric =
      HistogramMetric(MakeResource("cart"), {10, 0, 0, 0, 0}, false, Temporality::kCumulative);
  const std::weak_ptr<const Resource> resource = metric.resource;
  summary.Add({&metric, 1});
  metric.resource = nullptr;
  EXPECT_FALSE(resource.expired());
  summary.Add({});
  EXPECT_TRUE(resource.expired());
}

TEST(RedSummaryTest, ExponentialHistogramsMayLowerTheirScale) {
  RedSummary summary;
  Metric metric;
  metric.descriptor = &kServerDurationExponential;
  metric.resource = MakeResource("cart");
  metric.temporality = Temporality::kCumulative;
  ExponentialHistogramPoint point;
  point.scale = 1;
  point.positive_offset = -4;  // buckets -4..-1 at base sqrt(2)
  point.positive_counts = {1, 1, 1, 1};
  point.zero_count = 1;
  point.min = 0;
  point.max = 2;
  metric.exponential_histograms = {point};
  summary.Add({&metric, 1});
  EXPECT_EQ(summary.Take()[0].count, 5u);
  metric.exponential_histograms[0].scale = 0;  // buckets -2..0 at base 2
  metric.exponential_histograms[0].positive_offset = -2;
  metric.exponential_histograms[0].positive_counts = {2, 2, 7};
  summary.Add({&metric, 1});
  auto rows = summary.Take();
  EXPECT_EQ(rows[0].count, 7u);
  EXPECT_NEAR(rows[0].p95_seconds, 1.95, 1e-9);
}

TEST(RedSummaryTest, IgnoresWhatIsNotARequestDuration) {
  RedSummary summary;
  Metric metric;
  metric.descriptor = &kRequestsTotal;
  metric.numbers.emplace_back();
  Metric broken = HistogramMetric(MakeResource("x"), {1, 2}, false, Temporality::kDelta);
  Metric empty;
  summary.Add({&metric, 1});
  summary.Add({&broken, 1});
  summary.Add({&empty, 1});
  EXPECT_TRUE(summary.Take().empty());
}

TEST(ConsoleMetricTest, GoldenTableEveryInterval) {
  Fixture fixture;
  ConsoleMetricExporter exporter(fixture.output, fixture.options);
  auto cart = MakeResource("cart");
  std::vector<Metric> metrics = {
      HistogramMetric(cart, {90, 0, 0, 0, 0}, false, Temporality::kDelta),
      HistogramMetric(cart, {0, 0, 10, 0, 0}, true, Temporality::kDelta)};
  fixture.now_ns += 5 * kSecond;
  EXPECT_EQ(exporter.Export(metrics).exported, 2u);
  EXPECT_EQ(fixture.pipe.Read(), "");
  fixture.now_ns += 5 * kSecond;
  exporter.Export(metrics);
  EXPECT_EQ(fixture.pipe.Read(),
            "LAST 10 s     SERVICE                 OPERATION                                       "
            "    RATE    ERRORS      MEAN      ~P95\n"
            "              cart                    ← GET /a                                        "
            "  20.0/s    10.0 %   5.00 ms   55.0 ms\n");
  fixture.now_ns += 10 * kSecond;
  exporter.Export({});
  EXPECT_EQ(fixture.pipe.Read(), "") << "no table without requests";
}

TEST(ConsoleFormatTest, TheTableNamesTheBusiestAndCountsTheOthers) {
  std::vector<RedRow> rows;
  for (uint64_t i = 0; i < 30; ++i) {
    RedRow row;
    row.service = "s" + std::to_string(i) + "\x1b";
    row.count = i + 1;
    rows.push_back(row);
  }
  std::string table = ConsoleFormat(false).RedTable(rows, 10, 5);
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 7);
  EXPECT_LT(table.find("s29"), table.find("s28"));
  EXPECT_NE(table.find("and 25 more"), std::string::npos);
  EXPECT_EQ(table.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace zerotap
