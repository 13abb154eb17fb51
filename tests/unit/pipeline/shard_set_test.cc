// Several shards against one: whatever a host does, and however the shards are interleaved, everything that can be seen from
// outside is the same.
#include "agent/pipeline/shard_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <string>

#include "agent/pipeline/pipeline.h"
#include "tests/support/random_host.h"
#include "tests/support/shard_runners.h"

namespace zerotap {
namespace {

using testing::ConnectionEnd;
using testing::RandomHost;
using testing::Record;

constexpr uint32_t kUnknownProcess = RandomHost::kFirstProcess;
constexpr uint32_t kUntracedProcess = RandomHost::kFirstProcess + 1;

class LastControl : public CaptureControl {
 public:
  void SetVerdict(uint64_t connection_id, const zt_verdict& verdict) override {
    verdicts[connection_id] = {verdict.mode, verdict.egress_budget_kib, verdict.ingress_budget_kib};
    ++verdicts_set;
  }
  void SetProcessPolicy(uint32_t tgid, zt_process_policy policy) override { policies[tgid] = policy; }
  void ForgetProcess(uint32_t tgid) override { policies.erase(tgid); }
  std::map<uint64_t, std::array<int, 3>> verdicts;
  std::map<uint32_t, zt_process_policy> policies;
  uint64_t verdicts_set = 0;
};

void Write(std::ostream& out, const AttributeSet& attributes) {
  attributes.ForEach([&out](std::string_view key, const auto& value) {
    out << ' ' << key << '=';
    if constexpr (requires { value.size(); value.empty(); out << value; }) {
      out << value;
    } else if constexpr (requires { out << value; }) {
      out << value;
    } else {
      for (std::string_view item : value) out << item << ',';
    }
  });
}

std::string TextOf(const Span& span) {
  std::ostringstream out;
  out << span.start_unix_ns << '-' << span.end_unix_ns << ' ' << span.name << ' ' << std::hex
      << span.trace_id.high << span.trace_id.low << ' ' << span.span_id.value << " < "
      << span.parent_span_id.value << std::dec << ' ' << span.flags << ' '
      << static_cast<int>(span.kind) << static_cast<int>(span.status) << ' '
      << span.resource->service_name << ' ' << span.ledger_row << span.trace_state;
  Write(out, span.attributes);
  return out.str();
}

void Write(std::ostream& out, const std::vector<Metric>& metrics) {
  for (const Metric& metric : metrics) {
    for (const HistogramPoint& point : metric.histograms) {
      out << metric.descriptor->name << ' ' << metric.resource->service_name << ' ' << point.count
          << ' ' << point.sum << ' ' << point.min << ' ' << point.max << ' '
          << point.exemplars.size();
      for (const Exemplar& exemplar : point.exemplars) out << ' ' << exemplar.span_id.value;
      Write(out, point.attributes);
      out << '\n';
    }
  }
}

// What a pipeline does, as text.
class Player {
 public:
  Player(size_t shards, RunShards run, uint32_t seed) : random_(seed) {
    options_.shards = shards;
    options_.run_shards = std::move(run);
    options_.waits.threshold_ns = 500'000'000;
    if (seed % 3 == 0) options_.max_held_spans = 3;
    auto created = Pipeline::Create(options_, control_, [this](uint32_t tgid) { return Resolve(tgid); });
    EXPECT_TRUE(created);
    pipeline_ = std::move(*created);
    pipeline_->SetOnHandled([this](ByteSpan record) {
      handled_.append(reinterpret_cast<const char*>(record.data()), record.size());
    });
    pipeline_->SetThreadReader([this](uint32_t, uint32_t tid) {
      // The order of the questions shows in the answers.
      ThreadTimes times;
      times.at_ns = now_ns_;
      times.on_cpu_ns = 1'000'000 * ++questions_;
      times.waits_ns[1] = tid * questions_;
      return std::optional(times);
    });
  }

  void Play(RandomHost& host, int turns) {
    for (int turn = 0; turn < turns; ++turn) {
      for (const Record& record : host.Next()) {
        given_.append(reinterpret_cast<const char*>(record.bytes().data()), record.bytes().size());
        pipeline_->HandleRecord(record.bytes());
      }
      now_ns_ = host.now_ns();
      // Both rare and many records, so that batches are small and large.
      if (random_() % 200 == 0) Look();
      if (random_() % 300 == 0) Change();
    }
    Look();
    pipeline_->Finish(now_ns_);
    Look();
    EXPECT_EQ(handled_, given_) << "each record is told of, in order";
  }

  std::string text() const { return out_.str(); }
  PipelineStats stats() const { return pipeline_->stats(); }

 private:
  std::optional<TracedProcess> Resolve(uint32_t tgid) {
    asked_.push_back(tgid);
    if (tgid == kUnknownProcess) return std::nullopt;
    TracedProcess process;
    process.tgid = tgid;
    process.traced = tgid != kUntracedProcess && tgid != untraced_too_;
    auto resource = std::make_shared<Resource>();
    resource->service_name = "service-" + std::to_string(tgid) + '-' + std::to_string(questions_ % 2);
    resource->pid = tgid;
    process.resource = resource;
    return process;
  }

  void Look() {
    pipeline_->Advance(now_ns_);
    std::vector<Span> spans;
    pipeline_->TakeSpans(spans);
    std::vector<std::string> lines;
    for (const Span& span : spans) lines.push_back(TextOf(span));
    // Connections that are given up together have no order.
    std::sort(lines.begin(), lines.end());
    std::sort(asked_.begin(), asked_.end());
    for (uint32_t tgid : asked_) out_ << "who is " << tgid << '\n';
    asked_.clear();
    for (const std::string& line : lines) out_ << line << '\n';
    for (const LedgerRow& row : pipeline_->ledger().Snapshot()) {
      out_ << row.service << ' ' << row.pid << ' ' << row.protocol << ' '
           << static_cast<int>(row.role) << ": " << row.counts.seen << ' ' << row.counts.sampled_out;
      for (uint64_t count : row.counts.filtered_by) out_ << ' ' << count;
      for (uint64_t count : row.counts.dropped) out_ << ' ' << count;
      out_ << '\n';
    }
    const PipelineStats stats = pipeline_->stats();
    out_ << pipeline_->ledger().unseen_bytes() << ' ' << stats.records << ' '
         << stats.malformed_records << ' ' << stats.connections_opened << ' '
         << stats.connections_ignored << ' ' << stats.spans_held << ' ' << stats.parents_unresolved
         << ' ' << stats.lost_events << ' ' << stats.live_connections << ' ' << questions_ << '\n';
    for (const auto& [id, verdict] : control_.verdicts) {
      out_ << id << '=' << verdict[0] << ',' << verdict[1] << ',' << verdict[2] << ' ';
    }
    for (const auto& [tgid, policy] : control_.policies) out_ << tgid << '=' << policy << ' ';
    out_ << control_.verdicts_set << '\n';
    for (const SelfExporter& exporter : pipeline_->TakeSelfExporters()) out_ << exporter.service << '\n';
    std::vector<Metric> metrics;
    pipeline_->CollectMetrics(now_ns_, metrics);
    Write(out_, metrics);
  }

  void Change() {
    const uint32_t tgid = RandomHost::kFirstProcess + random_() % RandomHost::kProcesses;
    switch (random_() % 4) {
      case 0:
        return pipeline_->SetHarmRung(tgid, static_cast<HarmRung>(random_() % kHarmRungs));
      case 1:
        options_.exclude_ports = {static_cast<uint16_t>(random_() % 2 == 0 ? 8080 : 1)};
        ASSERT_TRUE(pipeline_->Reconfigure(options_, false));
        return;
      case 2:
        untraced_too_ = random_() % 2 == 0 ? tgid : 0;
        ASSERT_TRUE(pipeline_->Reconfigure(options_, true));
        return;
      default:
        pipeline_->ForgetProcess(tgid);
    }
  }

  std::mt19937 random_;
  PipelineOptions options_;
  LastControl control_;
  std::unique_ptr<Pipeline> pipeline_;
  std::ostringstream out_;
  std::string given_, handled_;
  uint64_t now_ns_ = 0;
  uint64_t questions_ = 0;
  uint32_t untraced_too_ = 0;
  std::vector<uint32_t> asked_;  // who these are, since the last look
};

struct Played {
  std::string text;
  PipelineStats stats;
};

Played PlayHost(uint32_t seed, int turns, size_t shards, RunShards run = {}) {
  RandomHost host(seed);
  Player player(shards, std::move(run), seed);
  player.Play(host, turns);
  return {player.text(), player.stats()};
}

// The first line in which they differ.
std::string Difference(const std::string& one, const std::string& other) {
  std::istringstream a(one), b(other);
  std::string left, right;
  while (std::getline(a, left) && std::getline(b, right)) {
    if (left != right) return left + "\n  against\n" + right;
  }
  return "one is longer";
}

TEST(ShardSetTest, AnyHostGivesWhatItGivesWithOneShard) {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    const Played one = PlayHost(seed, 1500, 1);
    for (size_t shards : {2u, 5u}) {
      const Played several = PlayHost(seed, 1500, shards, testing::RunShuffled(seed));
      ASSERT_EQ(several.stats.shards, shards);
      ASSERT_TRUE(one.text == several.text)
          << "seed " << seed << ", " << shards << " shards\n" << Difference(one.text, several.text);
    }
  }
}

TEST(ShardSetTest, ThreadsThatStallChangeNothing) {
  for (uint32_t seed = 101; seed <= 106; ++seed) {
    const Played one = PlayHost(seed, 1500, 1);
    uint64_t runs = 0;
    const Played several = PlayHost(seed, 1500, 4, testing::RunInThreads(seed, &runs));
    ASSERT_TRUE(one.text == several.text) << "seed " << seed << '\n' << Difference(one.text, several.text);
    EXPECT_GT(runs, 0u);
    EXPECT_GT(several.stats.shared_records, several.stats.records / 2);
    EXPECT_LE(several.stats.shared_records, several.stats.records) << "each is counted once";
  }
}

// What was said of a request goes with the addresses that were known by then.
TEST(ShardSetTest, AConnectionThatIsToldOfLateGetsItsAddressesLate) {
  std::string addresses[2];
  for (size_t shards : {1u, 2u}) {
    PipelineOptions options;
    options.shards = shards;
    LastControl control;
    auto pipeline = Pipeline::Create(options, control, [](uint32_t tgid) {
      auto resource = std::make_shared<Resource>();
      resource->service_name = "shop";
      return std::optional(TracedProcess{tgid, true, resource});
    });
    ASSERT_TRUE(pipeline);
    ConnectionEnd server;
    server.id = 7;
    server.tgid = server.tid = 200;
    server.role = ZT_ROLE_SERVER;
    const auto exchange = [&](uint64_t time_ns) {
      (*pipeline)->HandleRecord(server.Read(time_ns, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n").bytes());
      (*pipeline)->HandleRecord(
          server.Send(time_ns + 1000, "HTTP/1.1 204 Gone\r\n\r\n").bytes());
    };
    exchange(1'000'000);
    exchange(2'000'000);
    (*pipeline)->HandleRecord(server.Opened(3'000'000).bytes());
    exchange(4'000'000);
    (*pipeline)->Finish(5'000'000);
    std::vector<Span> spans;
    (*pipeline)->TakeSpans(spans);
    ASSERT_EQ(spans.size(), 3u);
    for (const Span& span : spans) addresses[shards - 1] += TextOf(span) + '\n';
    EXPECT_EQ(spans[1].attributes.FindText("network.peer.address"), "");
    EXPECT_EQ(spans[2].attributes.FindText("network.peer.address"), "127.0.0.1");
  }
  EXPECT_EQ(addresses[0], addresses[1]);
}

}  // namespace
}  // namespace zerotap
