// What an exchange costs in user space, stage by stage, without a kernel: records from memory
// through the real pipeline.
//
//   pipeline_bench --stage STAGE --traffic NAME|FILE.capture [--exchanges N] [--warm-up N]
//   [--compressor WHICH:LEVEL] [--waste N] [--shards N] pipeline_bench --toolchain | --help
//
// prints one JSON line. Stages contain each other: decode < parse < metrics < sampled (10 %) <
// spans < encode < gzip. What is measured is one function, so that `valgrind --tool=callgrind
// --collect-atstart=no --toggle-collect=pipeline_bench_measured` counts it alone:
// tests/bench/pipeline and tests/bench/guard do that. --waste makes each exchange dearer by a loop
// of that many turns, for the test of the guard. --shards N has the pipeline in so many, in turn.
#include <gnu/libc-version.h>
#include <libdeflate.h>
#include <zlib.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "agent/base/clock.h"
#include "agent/connection/connection_tracker.h"
#include "agent/events/event.h"
#include "exporters/otlp/encoder.h"
#include "exporters/otlp/gzip.h"
#include "tests/bench/traffic.h"

namespace zerotap::bench {
namespace {

constexpr std::array<std::string_view, 7> kStages = {"decode", "parse",  "metrics", "sampled",
                                                     "spans",  "encode", "gzip"};

// The agent hands over at least as often; a batch of the exporters is up to eight times as large.
constexpr size_t kBatchSpans = 1024;

class NoControl final : public CaptureControl {
 public:
  void SetVerdict(uint64_t, const zt_verdict&) override {}
  void SetProcessPolicy(uint32_t, zt_process_policy) override {}
  void ForgetProcess(uint32_t) override {}
};

// A part of the way, as a feed, with what went through it.
class Stage : public Feed {
 public:
  // Says what is wrong when not all of `exchanges` came out in some way.
  virtual std::string Missing(uint64_t exchanges, uint64_t events) = 0;
  // After each round.
  virtual void EndOfRound() {}
  uint64_t spans = 0;
  uint64_t body_bytes = 0;  // as sent
};

std::string Expected(uint64_t wanted, uint64_t got, const char* what) {
  if (wanted == got) return {};
  return "expected " + std::to_string(wanted) + " " + what + ", got " + std::to_string(got);
}

class DecodeStage final : public Stage {
 public:
  void OnRecord(ByteSpan record) override { decoded_ += DecodeEvent(record).has_value() ? 1 : 0; }
  void OnClock(uint64_t) override {}
  std::string Missing(uint64_t, uint64_t events) override {
    return Expected(events, decoded_, "events");
  }

 private:
  uint64_t decoded_ = 0;
};

class ParseStage final : public Stage, public RequestListener {
 public:
  ParseStage() : tracker_({}, AllProtocols(), options_, *this) {}

  void OnRecord(ByteSpan record) override {
    std::optional<Event> event = DecodeEvent(record);
    if (!event) return;
    if (event->data != nullptr) {
      const zt_data_event& data = *event->data;
      Connection& connection = tracker_.Find(data.connection_id, data.header.time_ns);
      connection.OnRecord(data, event->head, event->tail);
      tracker_.AfterRecord(connection);
      if ((data.flags & ZT_DATA_EOF) != 0) tracker_.OnEndOfStream(connection, data.header.time_ns);
    } else if (event->opened != nullptr) {
      tracker_.OnOpened(*event->opened);
    } else if (event->shutdown != nullptr) {
      tracker_.OnShutdown(*event->shutdown);
    } else if (event->closed != nullptr) {
      tracker_.OnClosed(*event->closed);
    }
  }
  void OnClock(uint64_t now_ns) override { tracker_.Advance(now_ns); }
  std::string Missing(uint64_t exchanges, uint64_t) override {
    const std::string lost = Expected(begun_, ended_ + dropped_, "ends of requests");
    return lost.empty() ? Expected(exchanges, begun_, "exchanges") : lost;
  }

  WorkId BeginRequest(Connection&, const RequestStart&) override { return ++begun_; }
  void EndExchange(Connection&, const Exchange&) override { ++ended_; }
  void DropRequest(Connection&, WorkId, DropReason) override { ++dropped_; }
  void OnProtocolKnown(Connection&, const Protocol*) override {}
  void OnUnseen(Connection&, uint64_t) override {}
  void OnCounted(Connection&, uint64_t) override {}

 private:
  static std::vector<const Protocol*> AllProtocols() {
    std::vector<const Protocol*> all;
    for (const Protocol& known : Protocols()) all.push_back(&known);
    return all;
  }
  ParserOptions options_;
  ConnectionTracker tracker_;
  uint64_t begun_ = 0, ended_ = 0, dropped_ = 0;
};

// Whole bodies, by the compressor under test.
class Compressor {
 public:
  virtual ~Compressor() = default;
  virtual size_t Compress(std::string_view body) = 0;
};

class AgentsCompressor final : public Compressor {
 public:
  size_t Compress(std::string_view body) override { return gzip_.Compress(body).size(); }

 private:
  otlp::GzipCompressor gzip_;
};

class LibdeflateCompressor final : public Compressor {
 public:
  explicit LibdeflateCompressor(int level) : compressor_(libdeflate_alloc_compressor(level)) {}
  ~LibdeflateCompressor() override { libdeflate_free_compressor(compressor_); }
  size_t Compress(std::string_view body) override {
    buffer_.resize(libdeflate_gzip_compress_bound(compressor_, body.size()));
    return libdeflate_gzip_compress(compressor_, body.data(), body.size(), buffer_.data(),
                                    buffer_.size());
  }

 private:
  libdeflate_compressor* compressor_;
  std::string buffer_;
};

class ZlibCompressor final : public Compressor {
 public:
  explicit ZlibCompressor(int level) {
    deflateInit2(&stream_, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  }
  ~ZlibCompressor() override { deflateEnd(&stream_); }
  size_t Compress(std::string_view body) override {
    deflateReset(&stream_);
    buffer_.resize(deflateBound(&stream_, body.size()));
    stream_.next_in = reinterpret_cast<Bytef*>(
        const_cast<char*>(body.data()));  // zlib's type; it does not write there
    stream_.avail_in = static_cast<uInt>(body.size());
    stream_.next_out = reinterpret_cast<Bytef*>(buffer_.data());
    stream_.avail_out = static_cast<uInt>(buffer_.size());
    return deflate(&stream_, Z_FINISH) == Z_STREAM_END ? stream_.total_out : 0;
  }

 private:
  z_stream stream_{};
  std::string buffer_;
};

// Empty when there is no such compressor.
std::unique_ptr<Compressor> MakeCompressor(const std::string& text) {
  if (text == "agent") return std::make_unique<AgentsCompressor>();
  const size_t colon = text.find(':');
  if (colon == std::string::npos) return nullptr;
  const int level = std::atoi(text.c_str() + colon + 1);
  if (text.starts_with("zlib:") && level >= 0 && level <= 9)
    return std::make_unique<ZlibCompressor>(level);
  if (text.starts_with("libdeflate:") && level >= 0 && level <= 12)
    return std::make_unique<LibdeflateCompressor>(level);
  return nullptr;
}

class PipelineStage final : public Stage {
 public:
  static Result<std::unique_ptr<PipelineStage>> Create(const std::string& stage,
                                                       const Traffic& traffic,
                                                       std::unique_ptr<Compressor> compressor,
                                                       size_t shards) {
    auto self = std::unique_ptr<PipelineStage>(new PipelineStage());
    PipelineOptions options;
    options.shards = shards;
    options.spans_enabled = stage != "metrics";
    if (stage == "sampled") {
      options.sampler = "parentbased_traceidratio";
      options.sampler_argument = "0.1";
    }
    auto created = Pipeline::Create(options, self->control_,
                                    [&traffic](uint32_t tgid) { return traffic.Resolve(tgid); });
    if (!created) return tl::unexpected<Error>(created.error());
    self->pipeline_ = std::move(*created);
    self->encodes_ = stage == "encode" || stage == "gzip";
    if (stage == "gzip") self->compressor_ = std::move(compressor);
    return self;
  }

  void OnRecord(ByteSpan record) override { pipeline_->HandleRecord(record); }
  void OnClock(uint64_t now_ns) override { pipeline_->Advance(now_ns); }
  void EndOfRound() override {
    pipeline_->TakeSpans(taken_);
    if (taken_.size() >= kBatchSpans) HandOver();
  }
  std::string Missing(uint64_t exchanges, uint64_t) override {
    pipeline_->Finish(0);
    pipeline_->TakeSpans(taken_);
    HandOver();
    const LedgerCounts counts = pipeline_->ledger().Total();
    if (counts.in_flight() != spans) return Expected(counts.in_flight(), spans, "spans");
    if (failed_bodies_ > 0)
      return std::to_string(failed_bodies_) + " bodies could not be encoded or compressed";
    return Expected(exchanges, counts.seen, "exchanges");
  }

 private:
  PipelineStage() = default;

  // What an exporter does with a batch before it is on the wire.
  void HandOver() {
    spans += taken_.size();
    std::span<const Span> rest(taken_);
    while (encodes_ && !rest.empty()) {
      const otlp::EncodedPart part = encoder_.Encode(rest, body_);
      rest = rest.subspan(part.consumed);
      const size_t size = compressor_ ? compressor_->Compress(body_) : body_.size();
      failed_bodies_ += size == 0 || part.encoded < part.consumed ? 1 : 0;
      body_bytes += size;
    }
    for (Span& span : taken_) span.Reset();
    pipeline_->Recycle(taken_);
  }

  NoControl control_;
  std::unique_ptr<Pipeline> pipeline_;
  otlp::TraceEncoder encoder_;
  std::unique_ptr<Compressor> compressor_;
  std::vector<Span> taken_;
  std::string body_;
  bool encodes_ = false;
  uint64_t failed_bodies_ = 0;
};

Result<std::unique_ptr<Stage>> MakeStage(const std::string& name, const Traffic& traffic,
                                         const std::string& compressor, size_t shards) {
  if (std::find(kStages.begin(), kStages.end(), name) == kStages.end())
    return Fail("there is no stage " + name);
  if (name == "decode") return std::unique_ptr<Stage>(std::make_unique<DecodeStage>());
  if (name == "parse") return std::unique_ptr<Stage>(std::make_unique<ParseStage>());
  std::unique_ptr<Compressor> made = MakeCompressor(compressor);
  if (!made) return Fail("there is no compressor " + compressor);
  auto stage = PipelineStage::Create(name, traffic, std::move(made), shards);
  if (!stage) return tl::unexpected<Error>(stage.error());
  return std::unique_ptr<Stage>(std::move(*stage));
}

struct Run {
  Traffic& traffic;
  Stage& stage;
  uint64_t waste;
  uint64_t rounds = 0;

  void Rounds(uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
      traffic.Round(stage);
      stage.EndOfRound();
    }
    rounds += count;
    for (volatile uint64_t turns = waste * count * traffic.exchanges; turns > 0;) turns = turns - 1;
  }
};

}  // namespace
}  // namespace zerotap::bench

// All that is counted. Neither inlined nor renamed, since callgrind is told its name.
extern "C" __attribute__((noinline)) void pipeline_bench_measured(zerotap::bench::Run& run,
                                                                  uint64_t rounds) {
  run.Rounds(rounds);
}

namespace zerotap::bench {
namespace {

int Complain(const std::string& what) {
  std::fprintf(stderr, "pipeline_bench: %s\n", what.c_str());
  return 2;
}

// Whose instructions are counted: counts of others cannot be compared.
std::string Toolchain() {
#if defined(__clang__)
  std::string text = "clang " __clang_version__;
#else
  std::string text = "gcc " __VERSION__;
#endif
  text.append(", glibc ").append(gnu_get_libc_version());
#if defined(__x86_64__)
  // The C library picks its string functions by this; valgrind shows programs what the host has.
  text.append(", x86_64").append(__builtin_cpu_supports("avx2") ? " with avx2" : " without avx2");
#elif defined(__aarch64__)
  text.append(", aarch64");
#endif
#if !defined(__OPTIMIZE__) || !defined(NDEBUG)
  text.append(", not optimized");
#endif
  return text;
}

int Main(int argc, char** argv) {
  std::map<std::string, std::string> options = {{"--stage", "spans"},       {"--traffic", "http"},
                                                {"--exchanges", "1000000"}, {"--warm-up", "4096"},
                                                {"--compressor", "agent"},  {"--waste", "0"},
                                                {"--shards", "1"}};
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--toolchain") return std::printf("%s\n", Toolchain().c_str()) < 0 ? 1 : 0;
    if (flag == "--help") {
      std::string text = "stages:";
      for (std::string_view stage : kStages) text.append(" ").append(stage);
      return std::printf("%s\ntraffic, beside the path of a recording:\n%s", text.c_str(),
                         TrafficNames().c_str()) < 0
                 ? 1
                 : 0;
    }
    if (!options.contains(flag) || i + 1 == argc)
      return Complain("what is " + flag + "? See the beginning of pipeline_bench.cc");
    options[flag] = argv[i + 1];
  }
  auto number = [&options](const char* name) {
    return std::strtoull(options[name].c_str(), nullptr, 10);
  };
  auto traffic = MakeTraffic(options["--traffic"]);
  if (!traffic) return Complain(traffic.error().message);
  auto stage = MakeStage(options["--stage"], **traffic, options["--compressor"], number("--shards"));
  if (!stage) return Complain(stage.error().message);

  const uint64_t per_round = (*traffic)->exchanges;
  auto rounds_of = [per_round](uint64_t exchanges) {
    return std::max<uint64_t>(1, (exchanges + per_round - 1) / per_round);
  };
  Run run{**traffic, **stage, number("--waste")};
  (*traffic)->Begin(**stage);
  run.Rounds(rounds_of(number("--warm-up")));
  const uint64_t rounds = rounds_of(number("--exchanges"));
  const uint64_t body_before = (*stage)->body_bytes, spans_before = (*stage)->spans;
  const uint64_t wall_before = MonotonicNs(), cpu_before = ReadClockNs(CLOCK_THREAD_CPUTIME_ID);
  pipeline_bench_measured(run, rounds);
  const uint64_t wall = MonotonicNs() - wall_before,
                 cpu = ReadClockNs(CLOCK_THREAD_CPUTIME_ID) - cpu_before;
  const uint64_t body_bytes = (*stage)->body_bytes - body_before,
                 spans = (*stage)->spans - spans_before;
  const uint64_t exchanges = rounds * per_round;

  const std::string missing =
      (*stage)->Missing((*traffic)->is_traced ? run.rounds * per_round : 0,
                        (*traffic)->opening_events + run.rounds * (*traffic)->events);
  if (!missing.empty()) return Complain(missing);
  const auto each = [exchanges](uint64_t total) {
    return static_cast<double>(total) / static_cast<double>(exchanges);
  };
  std::printf(
      "{\"stage\": \"%s\", \"traffic\": \"%s\", \"exchanges\": %llu, \"events\": %llu, \"spans\": "
      "%llu, "
      "\"ns_per_exchange\": %.1f, \"cpu_ns_per_exchange\": %.1f, \"bytes_per_exchange\": %.1f}\n",
      options["--stage"].c_str(), options["--traffic"].c_str(),
      static_cast<unsigned long long>(exchanges),
      static_cast<unsigned long long>(rounds * (*traffic)->events),
      static_cast<unsigned long long>(spans), each(wall), each(cpu), each(body_bytes));
  return 0;
}

}  // namespace
}  // namespace zerotap::bench

int main(int argc, char** argv) { return zerotap::bench::Main(argc, argv); }
