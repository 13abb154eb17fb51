#include "agent/app/pipeline_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <filesystem>
#include <mutex>
#include <thread>

#include "agent/base/clock.h"
#include "agent/pipeline/replay.h"
#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

constexpr uint64_t kConnection = 77;
constexpr uint32_t kServerPid = 4242;
constexpr std::string_view kRequest = "GET /items/17 HTTP/1.1\r\nHost: shop\r\n\r\n";
constexpr std::string_view kResponse = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

using Record = std::vector<uint64_t>;  // 8-byte aligned

template <typename T>
Record MakeRecord(T event, zt_event_kind kind, std::string_view payload = {}) {
  event.header.time_ns = MonotonicNs();
  event.header.kind = kind;
  event.header.size = static_cast<zt_u32>(sizeof(T) + payload.size());
  Record record((event.header.size + 7) / 8);
  std::memcpy(record.data(), &event, sizeof(T));
  if (!payload.empty()) {
    std::memcpy(reinterpret_cast<char*>(record.data()) + sizeof(T), payload.data(), payload.size());
  }
  return record;
}

Record Opened() {
  zt_connection_opened_event event{};
  event.connection_id = kConnection;
  event.tgid = kServerPid;
  event.tid = kServerPid;
  event.local_port = 8080;
  event.remote_port = 40000;
  event.family = ZT_FAMILY_IPV4;
  event.role = ZT_ROLE_SERVER;
  event.flags = ZT_OPENED_POSITIONS_EXACT;
  event.local_address[0] = 10;
  event.remote_address[0] = 11;
  return MakeRecord(event, ZT_EVENT_CONNECTION_OPENED);
}

Record Data(zt_direction direction, uint64_t offset, std::string_view payload) {
  zt_data_event event{};
  event.connection_id = kConnection;
  event.offset = offset;
  event.start_ns = MonotonicNs();
  event.end_ns = event.start_ns;
  event.length = static_cast<zt_u32>(payload.size());
  event.head = event.length;
  event.tgid = kServerPid;
  event.tid = kServerPid;
  event.direction = static_cast<zt_u8>(direction);
  return MakeRecord(event, ZT_EVENT_DATA, payload);
}

Record Exec(uint32_t tgid) {
  zt_process_exec_event event{};
  event.tgid = tgid;
  return MakeRecord(event, ZT_EVENT_PROCESS_EXEC);
}
Record Fork(uint32_t parent, uint32_t child) {
  zt_process_fork_event event{};
  event.parent_tgid = parent;
  event.child_tgid = child;
  return MakeRecord(event, ZT_EVENT_PROCESS_FORK);
}
Record Exit(uint32_t tgid) {
  zt_process_exit_event event{};
  event.tgid = tgid;
  return MakeRecord(event, ZT_EVENT_PROCESS_EXIT);
}

// Gives what a test puts in, as a ring would.
class FakeSource : public EventSource {
 public:
  void Put(Record record) {
    std::lock_guard lock(mutex_);
    records_.push_back(std::move(record));
  }
  // Comes out when it was waited for.
  void PutFresh(Record record) {
    std::lock_guard lock(mutex_);
    fresh_.push_back(std::move(record));
  }
  uint64_t settle_ns() const override { return settle_ns_; }
  void SetSettleNs(uint64_t ns) { settle_ns_ = ns; }
  // All for one turn.
  void Put(const std::vector<Record>& records) {
    std::lock_guard lock(mutex_);
    records_.insert(records_.end(), records.begin(), records.end());
  }
  // Each turn says that it gave so many, which takes it no time: a turn with that many real ones may
  // take so long, under a sanitizer on a busy host, that the load is not one any more.
  void ClaimPerTurn(size_t records) { claimed_ = records; }
  void Break() {
    std::lock_guard lock(mutex_);
    broken_ = true;
  }
  Result<size_t> Drain(int timeout_ms, const std::function<void(ByteSpan)>& handler) override {
    std::deque<Record> taken;
    {
      std::lock_guard lock(mutex_);
      if (broken_) return Fail("the ring is gone");
      taken.swap(records_);
    }
    for (const Record& record : taken) {
      zt_event_header header;
      std::memcpy(&header, record.data(), sizeof(header));
      handler(ByteSpan(reinterpret_cast<const std::byte*>(record.data()), header.size));
    }
    const size_t count = taken.size() + claimed_;
    if (count == 0 && timeout_ms > 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(timeout_ms));
    {
      std::lock_guard lock(mutex_);
      turns_.push_back(count);
    }
    return count;
  }
  void Pause(uint64_t ns) override {
    std::lock_guard lock(mutex_);
    pauses_.emplace_back(turns_.empty() ? 0 : turns_.back(), ns);
    if (ns != settle_ns_) return;
    records_.insert(records_.end(), fresh_.begin(), fresh_.end());
    fresh_.clear();
  }
  // Each pause with the records of the turn before it.
  std::vector<std::pair<size_t, uint64_t>> pauses() {
    std::lock_guard lock(mutex_);
    return pauses_;
  }
  std::vector<size_t> turns() {
    std::lock_guard lock(mutex_);
    return turns_;
  }

 private:
  std::mutex mutex_;
  std::vector<size_t> turns_;
  std::vector<std::pair<size_t, uint64_t>> pauses_;
  std::deque<Record> records_;
  std::deque<Record> fresh_;
  uint64_t settle_ns_ = 0;  // set before the start
  size_t claimed_ = 0;      // set before the start
  bool broken_ = false;
};

class FakeControl : public CaptureControl {
 public:
  void SetVerdict(uint64_t, const zt_verdict&) override {}
  void SetProcessPolicy(uint32_t tgid, zt_process_policy policy) override {
    std::lock_guard lock(mutex);
    log.push_back("policy " + std::to_string(tgid) + " " + std::to_string(policy));
  }
  void ForgetProcess(uint32_t tgid) override {
    std::lock_guard lock(mutex);
    log.push_back("forget " + std::to_string(tgid));
  }
  std::mutex mutex;
  std::vector<std::string> log;
};

class PipelineLoopTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }

  void Create(std::unique_ptr<RecordingWriter> recording = nullptr) {
    options_.agent_resource = MakeAgentResource({});
    options_.pipeline.id_seed = 5;
    ProcessHooks hooks;
    hooks.resolve = [this](uint32_t tgid) { return Resolve(tgid); };
    hooks.on_exec = [this](const zt_process_exec_event& event) { Note("exec", event.tgid); };
    hooks.on_fork = [this](const zt_process_fork_event& event) { Note("fork", event.child_tgid); };
    hooks.on_exit = [this](const zt_process_exit_event& event) { Note("exit", event.tgid); };
    TelemetrySinks sinks;
    sinks.spans = [this](std::vector<Span>&& spans) {
      std::lock_guard lock(mutex_);
      for (Span& span : spans) spans_.push_back(std::move(span));
    };
    sinks.metrics = [this](std::vector<Metric>&& metrics) {
      std::lock_guard lock(mutex_);
      collections_.push_back(std::move(metrics));
    };
    sinks.shed = [this] { Note("shed", 0); };
    SelfSources self;
    self.kernel = [] {
      KernelCounts counts;
      counts.counters[ZT_COUNTER_RING_FULL] = 3;
      return counts;
    };
    auto loop =
        PipelineLoop::Create(options_, source_, control_, hooks, sinks, self, std::move(recording));
    ASSERT_TRUE(loop.has_value()) << loop.error().message;
    loop_ = std::move(*loop);
  }

  std::optional<TracedProcess> Resolve(uint32_t tgid) {
    std::lock_guard lock(mutex_);
    notes_.push_back("resolve " + std::to_string(tgid));
    if (unknown_) return std::nullopt;
    auto resource = std::make_shared<Resource>();
    resource->service_name = "shop";
    resource->pid = tgid;
    resource->attributes.Add(semconv::kServiceName, resource->service_name);
    resource->attributes.Add(semconv::kProcessPid, int64_t{tgid});
    return TracedProcess{tgid, traced_, resource};
  }
  void Note(const std::string& what, uint32_t tgid) {
    std::lock_guard lock(mutex_);
    notes_.push_back(what + " " + std::to_string(tgid));
  }
  size_t Count(const std::string& note) {
    std::lock_guard lock(mutex_);
    return static_cast<size_t>(std::count(notes_.begin(), notes_.end(), note));
  }
  void PutExchange() {
    source_.Put(Opened());
    source_.Put(Data(ZT_DIRECTION_INGRESS, 0, kRequest));
    source_.Put(Data(ZT_DIRECTION_EGRESS, 0, kResponse));
  }
  template <typename Condition>
  bool WaitFor(const Condition& condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  size_t spans() {
    std::lock_guard lock(mutex_);
    return spans_.size();
  }

  const std::string path_ =
      (std::filesystem::temp_directory_path() / ("zerotap-loop-" + std::to_string(::getpid())))
          .string();
  PipelineLoopOptions options_;
  FakeSource source_;
  FakeControl control_;
  std::mutex mutex_;
  std::vector<std::string> notes_;
  std::vector<Span> spans_;
  std::vector<std::vector<Metric>> collections_;
  bool traced_ = true;
  bool unknown_ = false;
  std::unique_ptr<PipelineLoop> loop_;
};

TEST_F(PipelineLoopTest, ExchangeBecomesASpanWithoutStopping) {
  Create();
  loop_->Start();
  PutExchange();
  ASSERT_TRUE(WaitFor([this] { return spans() == 1; }));
  std::lock_guard lock(mutex_);
  EXPECT_EQ(spans_[0].name, "GET /items/{id}");
  EXPECT_EQ(spans_[0].resource->service_name, "shop");
  EXPECT_EQ(loop_->ledger().Total().seen, 1u);
}

TEST_F(PipelineLoopTest, NearItsLimitOfMemoryItGivesUpWhatItCanAndCountsIt) {
  options_.memory.total_bytes = 1 << 20;  // less than any process has
  Create();
  loop_->Start();
  source_.Put(Opened());
  source_.Put(Data(ZT_DIRECTION_INGRESS, 0, kRequest));  // not answered
  ASSERT_TRUE(WaitFor([this] { return Count("shed 0") > 0; }));
  ASSERT_TRUE(WaitFor([this] { return loop_->Snapshot().memory_sheds > 0; }));
  // The first look may come before the records.
  ASSERT_TRUE(WaitFor([this] {
    return loop_->ledger().Total().dropped[static_cast<size_t>(DropReason::kMemoryLimit)] == 1;
  }));
  ASSERT_TRUE(WaitFor([this] { return loop_->Snapshot().pipeline.live_connections == 0; }));
  const SelfSnapshot snapshot = loop_->Snapshot();
  EXPECT_GT(snapshot.memory_used_bytes, snapshot.memory_limit_bytes);
  const LedgerCounts total = loop_->ledger().Total();
  EXPECT_EQ(total.seen, 1u);
  EXPECT_EQ(total.in_flight(), 0u);
}

TEST_F(PipelineLoopTest, ConnectionsThatHoldLittleAreNotGivenUpForOthers) {
  options_.memory.total_bytes = 1 << 20;
  options_.memory.connection_bytes = uint64_t{64} << 20;
  Create();
  loop_->Start();
  source_.Put(Opened());
  source_.Put(Data(ZT_DIRECTION_INGRESS, 0, kRequest));
  ASSERT_TRUE(WaitFor([this] { return loop_->Snapshot().pipeline.live_connections == 1; }));
  const size_t sheds = Count("shed 0");
  ASSERT_TRUE(WaitFor([this, sheds] { return Count("shed 0") > sheds; }));
  EXPECT_EQ(loop_->Snapshot().pipeline.live_connections, 1u);
  EXPECT_EQ(loop_->ledger().Total().dropped[static_cast<size_t>(DropReason::kMemoryLimit)], 0u);
}

TEST_F(PipelineLoopTest, BelowItsLimitOfMemoryNothingIsGivenUp) {
  options_.memory.total_bytes = uint64_t{1} << 40;
  Create();
  loop_->Start();
  PutExchange();
  ASSERT_TRUE(WaitFor([this] { return loop_->Snapshot().memory_used_bytes > 0; }));
  EXPECT_EQ(Count("shed 0"), 0u);
  EXPECT_EQ(loop_->Snapshot().memory_sheds, 0u);
}

TEST_F(PipelineLoopTest, SpanTimesAreUnixTimes) {
  Create();
  loop_->Start();
  const uint64_t before = RealtimeNs();
  PutExchange();
  ASSERT_TRUE(WaitFor([this] { return spans() == 1; }));
  std::lock_guard lock(mutex_);
  EXPECT_GE(spans_[0].start_unix_ns + 50'000'000, before);
  EXPECT_LE(spans_[0].end_unix_ns, RealtimeNs() + 50'000'000);
}

TEST_F(PipelineLoopTest, UnderLoadRecordsGather) {
  Create();
  source_.ClaimPerTurn(4000);
  loop_->Start();
  ASSERT_TRUE(WaitFor([this] { return !source_.pauses().empty(); }));
  for (const auto& [records, ns] : source_.pauses()) {
    EXPECT_GE(ns, 200'000u) << records;
    EXPECT_LT(ns, 5'000'000u) << records;
  }
}

TEST_F(PipelineLoopTest, WhoIsFarBehindDoesNotWait) {
  Create();
  source_.Put(std::vector<Record>(20000, Fork(1, kServerPid)));
  loop_->Start();
  ASSERT_TRUE(WaitFor([this] { return source_.turns().size() >= 2; }));
  loop_->Stop();
  EXPECT_EQ(source_.turns()[0], 20000u);
  for (const auto& [records, ns] : source_.pauses()) EXPECT_NE(records, 20000u) << ns;
}

TEST_F(PipelineLoopTest, StopTakesWhatIsStillInTheRing) {
  Create();
  PutExchange();
  source_.Put(Data(ZT_DIRECTION_INGRESS, kRequest.size(), kRequest));  // gets no answer any more
  loop_->Start();
  loop_->Stop();
  EXPECT_EQ(spans(), 1u);
  const LedgerCounts total = loop_->ledger().Total();
  EXPECT_EQ(total.seen, 2u);
  EXPECT_EQ(total.dropped[static_cast<size_t>(DropReason::kShutdown)], 1u);
}

TEST_F(PipelineLoopTest, StopWaitsForWhatHasNotSettled) {
  Create();
  PutExchange();
  source_.SetSettleNs(12'345);
  source_.PutFresh(Data(ZT_DIRECTION_INGRESS, kRequest.size(), kRequest));
  loop_->Start();
  loop_->Stop();
  EXPECT_EQ(loop_->ledger().Total().seen, 2u);
}

TEST_F(PipelineLoopTest, LastMetricsLeaveAtTheEnd) {
  Create();
  PutExchange();
  loop_->Start();
  loop_->Stop();
  ASSERT_EQ(collections_.size(), 1u);
  uint64_t requests = 0;
  int64_t seen = -1;
  int64_t ring_full = -1;
  for (const Metric& metric : collections_[0]) {
    if (metric.descriptor->name == semconv::kHttpServerRequestDuration)
      requests += metric.histograms[0].count;
    if (metric.descriptor->name == "zerotap.requests.seen")
      seen = std::get<int64_t>(metric.numbers[0].value);
    if (metric.descriptor->name == "zerotap.kernel.losses")
      ring_full = std::get<int64_t>(metric.numbers[0].value);
  }
  EXPECT_EQ(requests, 1u);
  EXPECT_EQ(seen, 1);
  EXPECT_EQ(ring_full, 3);
}

TEST_F(PipelineLoopTest, MetricsComeAtTheirInterval) {
  options_.metric_interval_ns = 20'000'000;
  Create();
  loop_->Start();
  EXPECT_TRUE(WaitFor([this] {
    std::lock_guard lock(mutex_);
    return collections_.size() >= 3;
  }));
}

TEST_F(PipelineLoopTest, SnapshotIsRefreshedForTheHealthServer) {
  Create();
  loop_->Start();
  PutExchange();
  EXPECT_TRUE(WaitFor([this] { return loop_->Snapshot().pipeline.records == 3; }));
  const SelfSnapshot snapshot = loop_->Snapshot();
  EXPECT_EQ(snapshot.requests.seen, 1u);
  EXPECT_GT(snapshot.resident_bytes, 0u);
  EXPECT_GT(snapshot.start_unix_ns, 0u);
}

TEST_F(PipelineLoopTest, ProcessEventsReachTheirHooksInOrder) {
  Create();
  source_.Put(Fork(1, 900));
  source_.Put(Exec(900));
  source_.Put(Exit(900));
  loop_->Start();
  loop_->Stop();
  EXPECT_THAT(notes_, testing::ElementsAre("fork 900", "exec 900", "resolve 900", "exit 900"));
  EXPECT_THAT(control_.log, testing::Contains("forget 900"));
}

TEST_F(PipelineLoopTest, WhatWasDecidedOfAProcessEndsWithIt) {
  Create();
  source_.Put(Exit(900));
  loop_->Start();
  loop_->Stop();
  EXPECT_THAT(control_.log, testing::Contains("forget 900"));
}

TEST_F(PipelineLoopTest, OwnPolicySurvivesAnExecEventOfOurPid) {
  options_.own_pid = 900;
  Create();
  source_.Put(Exec(900));
  loop_->Start();
  loop_->Stop();
  EXPECT_THAT(control_.log, testing::Not(testing::Contains("forget 900")));
}

TEST_F(PipelineLoopTest, StormOfExecsIsNotAllResolvedAtOnce) {
  options_.eager_resolves_per_second = 10;
  Create();
  for (uint32_t pid = 1000; pid < 2000; ++pid) source_.Put(Exec(pid));
  loop_->Start();
  loop_->Stop();
  const auto resolved = std::count_if(notes_.begin(), notes_.end(), [](const std::string& note) {
    return note.rfind("resolve", 0) == 0;
  });
  EXPECT_GE(resolved, 10);
  EXPECT_LE(resolved, 20);
}

TEST_F(PipelineLoopTest, ExcludedProcessGivesNoSpanAndIsIgnoredInTheKernel) {
  traced_ = false;
  Create();
  PutExchange();
  loop_->Start();
  loop_->Stop();
  EXPECT_EQ(spans(), 0u);
  EXPECT_THAT(control_.log, testing::Contains("policy 4242 2"));
}

TEST_F(PipelineLoopTest, AChangeIsTakenBetweenTwoRecords) {
  Create();
  loop_->Start();
  PutExchange();
  ASSERT_TRUE(WaitFor([this] { return spans() == 1; }));
  std::thread::id changed_by;
  const Status status = loop_->Reconfigure([&](const PipelineLoop::Target& target) {
    changed_by = std::this_thread::get_id();
    PipelineOptions options = options_.pipeline;
    options.routes.patterns = {"/items/{number}"};
    return target.pipeline.Reconfigure(options, false);
  });
  ASSERT_TRUE(status);
  EXPECT_NE(changed_by, std::this_thread::get_id());
  source_.Put(Data(ZT_DIRECTION_INGRESS, kRequest.size(), kRequest));
  source_.Put(Data(ZT_DIRECTION_EGRESS, kResponse.size(), kResponse));
  ASSERT_TRUE(WaitFor([this] { return spans() == 2; }));
  std::lock_guard lock(mutex_);
  EXPECT_EQ(spans_[1].name, "GET /items/{number}");
}

TEST_F(PipelineLoopTest, MetricsComeAtTheirNewInterval) {
  options_.metric_interval_ns = 3'600'000'000'000;
  Create();
  loop_->Start();
  ASSERT_TRUE(loop_->Reconfigure([](const PipelineLoop::Target& target) -> Status {
    target.metric_interval_ns = 20'000'000;
    return {};
  }));
  EXPECT_TRUE(WaitFor([this] {
    std::lock_guard lock(mutex_);
    return collections_.size() >= 2;
  }));
}

TEST_F(PipelineLoopTest, AChangeThatFailsSaysWhy) {
  Create();
  loop_->Start();
  const Status status = loop_->Reconfigure(
      [](const PipelineLoop::Target&) -> Status { return Fail("it must not be"); });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "it must not be");
}

TEST_F(PipelineLoopTest, AfterTheEndNothingChanges) {
  Create();
  loop_->Start();
  source_.Break();
  ASSERT_TRUE(WaitFor([this] { return loop_->failure().has_value(); }));
  EXPECT_FALSE(loop_->Reconfigure([](const PipelineLoop::Target&) -> Status { return {}; }));
}

TEST_F(PipelineLoopTest, BrokenRingEndsTheThreadAndSaysWhy) {
  Create();
  loop_->Start();
  EXPECT_FALSE(loop_->failure().has_value());
  source_.Break();
  ASSERT_TRUE(WaitFor([this] { return loop_->failure().has_value(); }));
  EXPECT_EQ(loop_->failure()->message, "the ring is gone");
  loop_->Stop();
}

TEST_F(PipelineLoopTest, MalformedRecordsAreCounted) {
  Create();
  source_.Put(Record(2, 0));
  Record lying = Exec(5);
  const uint32_t size = 20;  // shorter than an exec record
  std::memcpy(reinterpret_cast<char*>(lying.data()) + offsetof(zt_event_header, size), &size,
              sizeof(size));
  source_.Put(lying);
  loop_->Start();
  loop_->Stop();
  EXPECT_GE(loop_->Snapshot().pipeline.malformed_records, 1u);
  EXPECT_EQ(Count("exec 5"), 0u);
}

// Spans as text, so that a difference shows.
std::vector<std::string> Describe(const std::vector<Span>& spans) {
  std::vector<std::string> result;
  for (const Span& span : spans) {
    result.push_back(span.trace_id.Hex() + " " + span.span_id.Hex() + " " + span.name + " " +
                     std::to_string(span.start_unix_ns) + " " + std::to_string(span.end_unix_ns) +
                     " " + ResourceToJson(*span.resource));
  }
  return result;
}

TEST_F(PipelineLoopTest, ReplayOfTheRecordingGivesTheSameSpans) {
  for (const bool unknown : {false, true}) {
    unknown_ = unknown;
    spans_.clear();
    options_.pipeline.id_seed = 5;
    options_.wall_offset_ns = RealtimeMinusMonotonicNs();
    auto recording =
        RecordingWriter::Create(path_, {options_.pipeline.id_seed, options_.wall_offset_ns});
    ASSERT_TRUE(recording.has_value());
    Create(std::move(*recording));
    loop_->Start();
    PutExchange();
    ASSERT_TRUE(WaitFor([this] { return spans() == 1; }));
    source_.Put(Data(ZT_DIRECTION_INGRESS, kRequest.size(), kRequest));
    source_.Put(Data(ZT_DIRECTION_EGRESS, kResponse.size(), kResponse));
    loop_->Stop();
    ASSERT_EQ(spans(), 2u);
    loop_.reset();

    std::vector<Span> replayed;
    LedgerCounts total;
    Status status = ReplayFile(
        path_, options_.pipeline,
        [&](std::vector<Span>&& spans) {
          for (Span& span : spans) replayed.push_back(std::move(span));
        },
        [&](Pipeline& pipeline) { total = pipeline.ledger().Total(); });
    ASSERT_TRUE(status.has_value()) << status.error().message;
    EXPECT_EQ(Describe(replayed), Describe(spans_));
    EXPECT_EQ(total.seen, 2u);
    EXPECT_NE(Describe(spans_)[0].find(unknown ? "unknown_service" : "shop"), std::string::npos);
  }
}

// With rules that leave it out, the recording says so too.
TEST_F(PipelineLoopTest, ReplayLeavesOutWhoWasLeftOut) {
  traced_ = false;
  options_.wall_offset_ns = RealtimeMinusMonotonicNs();
  auto recording = RecordingWriter::Create(path_, {5, options_.wall_offset_ns});
  ASSERT_TRUE(recording.has_value());
  Create(std::move(*recording));
  loop_->Start();
  source_.Put(Data(ZT_DIRECTION_INGRESS, 0, kRequest));  // of a connection older than the agent
  source_.Put(Data(ZT_DIRECTION_EGRESS, 0, kResponse));
  ASSERT_TRUE(WaitFor([this] { return loop_->Snapshot().requests.filtered() == 1; }));
  loop_->Stop();
  EXPECT_EQ(spans(), 0u);
  loop_.reset();
  LedgerCounts total;
  Status status = ReplayFile(
      path_, options_.pipeline, [](std::vector<Span>&& spans) { EXPECT_TRUE(spans.empty()); },
      [&](Pipeline& pipeline) { total = pipeline.ledger().Total(); });
  ASSERT_TRUE(status.has_value()) << status.error().message;
  EXPECT_EQ(total.seen, 1u);
  EXPECT_EQ(total.filtered(), 1u);
}

}  // namespace
}  // namespace zerotap
